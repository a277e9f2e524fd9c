//! After a stage's deployment: preflight checks, a smoke test, and removal.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::deploy::{ARCH, Said, Stage};
use crate::fixture::eventually;
use crate::harness::Outcome;

/// A stage whose name has the removed stage's name as a prefix.
const NEIGHBOUR: &str = "ordersaga-alice-x-orders";
/// The same for parameters, which have paths.
const NEIGHBOURS_PARAMETER: &str = "/ordersaga/alice-x/api-url";
const SENDER: &str = "EmailFrom=shop@stage.test";
/// The emulator counts an address as verified once it has sent from it, and the stage has sent from the other.
const UNVERIFIED: &str = "EmailFrom=shop@unverified.test";
/// A removal of one stack takes the emulator about a second.
const FIRST_STACK_WITHIN: Duration = Duration::from_secs(120);

/// All existing resources as `kind name`.
pub type Listing = BTreeSet<String>;

/// AWS as Python's library reaches it.
pub struct Aws<'a> {
    stage: &'a Stage<'a>,
    python: PathBuf,
}

impl<'a> Aws<'a> {
    pub async fn of(stage: &'a Stage<'a>) -> Outcome<Self> {
        let programs = stage.fixture.ops(&["tools", "local"]).await?;
        Ok(Self { stage, python: Path::new(programs.trim()).join("python") })
    }

    async fn python(&self, script: &str, arguments: &[&str]) -> Outcome<String> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/lifecycle");
        let mut command = Command::new(&self.python);
        self.stage.on_the_emulator(&mut command).arg(folder.join(script)).args(arguments);
        let said = Said::from(command.kill_on_drop(true).output().await?);
        Ok(said.succeeded().stdout)
    }

    /// The bucket of SAM's uploads.
    pub async fn artifacts_bucket(&self) -> Outcome<String> {
        let input =
            json!({"StackName": "aws-sam-cli-managed-default", "LogicalResourceId": "SamCliSourceBucket"});
        let found = self.call("cloudformation", "describe_stack_resource", input).await?;
        let bucket = found["StackResourceDetail"]["PhysicalResourceId"].as_str().map(str::to_owned);
        Ok(bucket.ok_or("SAM has a bucket")?)
    }

    async fn call(&self, service: &str, operation: &str, input: Value) -> Outcome<Value> {
        Ok(serde_json::from_str(&self.python("call.py", &[service, operation, &input.to_string()]).await?)?)
    }

    /// Whatever has the stage's name in its own: the stage's things, and its neighbour's.
    pub async fn listing(&self) -> Outcome<Listing> {
        let all = self.python("listing.py", &[]).await?;
        Ok(all.lines().filter(|line| line.contains(self.stage.name)).map(str::to_owned).collect())
    }

    /// Creates resources of another stage whose name begins like this one's.
    pub async fn neighbour(&self) -> Outcome {
        let table = json!({
            "TableName": NEIGHBOUR, "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
            "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
        });
        self.call("dynamodb", "create_table", table).await?;
        let group = format!("/aws/lambda/{NEIGHBOUR}-api");
        self.call("logs", "create_log_group", json!({"logGroupName": group})).await?;
        let secret = json!({"Name": "ordersaga-alice-x-stripe", "SecretString": "{}"});
        self.call("secretsmanager", "create_secret", secret).await?;
        let parameter = json!({"Name": NEIGHBOURS_PARAMETER, "Value": "x", "Type": "String"});
        self.call("ssm", "put_parameter", parameter).await?;
        let resource =
            json!({"Type": "AWS::SNS::Topic", "Properties": {"TopicName": "ordersaga-alice-x-events"}});
        let template = json!({"Resources": {"Topic": resource}}).to_string();
        let stack = json!({"StackName": NEIGHBOUR, "TemplateBody": template});
        self.call("cloudformation", "create_stack", stack).await?;
        eventually("the neighbour's stack is made", async || {
            let found = self.call("cloudformation", "describe_stacks", json!({"StackName": NEIGHBOUR})).await;
            let found = found.map_err(|error| format!("{error:?}"))?;
            match &found["Stacks"][0]["StackStatus"] {
                status if status == "CREATE_COMPLETE" => Ok(()),
                status => Err(status)?,
            }
        })
        .await?;
        Ok(())
    }

    /// Keys of a user without any right.
    async fn stranger(&self) -> Outcome<(String, String)> {
        self.call("iam", "create_user", json!({"UserName": "stranger"})).await?;
        let key = self.call("iam", "create_access_key", json!({"UserName": "stranger"})).await?;
        let text = |name: &str| key["AccessKey"][name].as_str().unwrap_or_default().to_owned();
        Ok((text("AccessKeyId"), text("SecretAccessKey")))
    }

    /// An HTTPS server in front of the emulator: its port, and the file of the certificate that clients must trust.
    async fn https(&self, folder: &Path) -> Outcome<(Child, u16, PathBuf)> {
        std::fs::create_dir_all(folder)?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/lifecycle/tls.py");
        let emulator = &self.stage.fixture.outputs.aws_endpoint_url;
        let port = emulator.rsplit(':').next().unwrap_or_default();
        let mut server = Command::new(&self.python)
            .arg(script)
            .arg(port)
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut line = String::new();
        let stdout = server.stdout.take().ok_or("it was asked for")?;
        BufReader::new(stdout).read_line(&mut line).await?;
        Ok((server, line.trim().parse()?, folder.join("ca.pem")))
    }
}

/// The stage is deployed. `before` is what there was without it.
pub async fn it_is_checked_tried_and_removed(stage: &Stage<'_>, aws: &Aws<'_>, before: &Listing) -> Outcome {
    it_is_checked(stage, aws).await?;
    it_is_tried_over_https(stage, aws).await?;
    it_is_removed(stage, aws, before).await
}

async fn it_is_checked(stage: &Stage<'_>, aws: &Aws<'_>) -> Outcome {
    let said = stage.ops(&["preflight"], "test").await?.failed_with_output();
    assert!(
        said.contains("✗ sender") && said.contains("shop@ordersaga.example"),
        "the example sender: {said}"
    );

    let report = preflight(stage, UNVERIFIED, &[]).await?;
    let sender = finding(&report, "sender");
    assert_eq!(sender["verdict"], "warning");
    assert!(sender["next"].as_str().is_some_and(|next| next.contains("create-email-identity")), "{sender}");
    aws.call("sesv2", "create_email_identity", json!({"EmailIdentity": "shop@stage.test"})).await?;
    let report = preflight(stage, SENDER, &[]).await?;
    for subject in ["credentials", "e-mail", "sender", "Stripe keys", "leftovers", "build"] {
        assert_eq!(finding(&report, subject)["verdict"], "fine", "{report}");
    }
    // The emulator does not have these two calls of SNS.
    assert_eq!(finding(&report, "SMS")["verdict"], "warning");
    assert_eq!(report["stops"], 0);

    let expired = stage.ops(&["preflight", "--parameter", SENDER], "AKIAEXPIRED000000000").await?;
    let said = expired.failed_with_output();
    assert!(said.contains("✗ credentials") && said.contains("aws sso login"), "{said}");

    let (id, secret) = aws.stranger().await?;
    let environment = [("AWS_ACCESS_KEY_ID", id.as_str()), ("AWS_SECRET_ACCESS_KEY", &secret)];
    let report = preflight(stage, SENDER, &environment).await?;
    // The emulator does not check who reads Lambda's quota.
    for subject in ["e-mail", "sender", "Stripe keys", "leftovers"] {
        let finding = finding(&report, subject);
        assert_eq!(finding["verdict"], "warning", "{report}");
        assert!(finding["finding"].as_str().is_some_and(|text| text.contains("may not call")), "{finding}");
    }
    Ok(())
}

async fn preflight(stage: &Stage<'_>, sender: &str, environment: &[(&str, &str)]) -> Outcome<Value> {
    let mut command = stage.command(&["preflight", "--json", "--arch", ARCH, "--parameter", sender])?;
    command.envs(environment.iter().copied());
    let said = Said::from(command.output().await?);
    Ok(serde_json::from_str(&said.succeeded().stdout)?)
}

fn finding<'a>(report: &'a Value, subject: &str) -> &'a Value {
    let mut checks = report["checks"].as_array().into_iter().flatten();
    checks.find(|check| check["subject"] == subject).unwrap_or(&Value::Null)
}

/// As on AWS: `cargo ops` has no TLS of its own, and goes through a process that does.
async fn it_is_tried_over_https(stage: &Stage<'_>, aws: &Aws<'_>) -> Outcome {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("e2e-https");
    let (_server, port, certificate) = aws.https(&folder).await?;
    let emulator = stage.fixture.outputs.aws_endpoint_url.trim_start_matches("http://");
    for (name, scheme) in [("api-url", "https"), ("websocket-url", "wss")] {
        let name = format!("/ordersaga/{}/{name}", stage.name);
        let found = aws.call("ssm", "get_parameter", json!({"Name": name})).await?;
        let plain = found["Parameter"]["Value"].as_str().unwrap_or_default().to_owned();
        let (_, rest) = plain.split_once(emulator).ok_or("the emulator's address")?;
        let value = format!("{scheme}://localhost:{port}{rest}");
        let input = json!({"Name": name, "Value": value, "Type": "String", "Overwrite": true});
        aws.call("ssm", "put_parameter", input).await?;
    }
    let outputs = stage.ops(&["outputs"], "test").await?.succeeded().stdout;
    let outputs: Value = serde_json::from_str(&outputs)?;
    assert_eq!(outputs["stage"], stage.name);
    assert_eq!(outputs["region"], stage.fixture.outputs.region);
    assert!(outputs["api_url"].as_str().is_some_and(|url| url.starts_with("https://localhost")), "{outputs}");
    assert!(
        outputs["websocket_url"].as_str().is_some_and(|url| url.starts_with("wss://localhost")),
        "{outputs}"
    );
    assert_eq!(outputs["account"], "000000000000");

    let distrusted = Said::from(stage.command(&["smoke"])?.output().await?).failed();
    assert!(distrusted.contains("CERTIFICATE_VERIFY_FAILED"), "{distrusted}");

    let mut command = stage.command(&["smoke"])?;
    let said = Said::from(command.env("AWS_CA_BUNDLE", certificate).output().await?).succeeded().stdout;
    for expected in [
        "no product is in stock: makes SMOKE-",
        "completed, on REST and on the WebSocket",
        "account is deleted",
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    Ok(())
}

async fn it_is_removed(stage: &Stage<'_>, aws: &Aws<'_>, before: &Listing) -> Outcome {
    let deployed = aws.listing().await?;
    assert!(deployed.len() > before.len() + 100, "{deployed:?}");
    let said = stage.ops(&["destroy"], "test").await?.failed();
    assert!(said.contains("add --yes"), "no terminal to ask on: {said}");
    assert_eq!(aws.listing().await?, deployed, "nothing was removed");

    stopped_after_its_first_stack(stage).await?;
    let protect =
        |on: bool| json!({"StackName": "ordersaga-alice-catalog", "EnableTerminationProtection": on});
    aws.call("cloudformation", "update_termination_protection", protect(true)).await?;
    let said = stage.ops(&["destroy", "--yes", "--keep-data"], "test").await?.failed();
    assert!(said.contains("stack ordersaga-alice-catalog is protected against deletion"), "{said}");
    aws.call("cloudformation", "update_termination_protection", protect(false)).await?;
    let said = stage.ops(&["destroy", "--yes", "--keep-data"], "test").await?.succeeded();
    assert!(said.stdout.contains("table ordersaga-alice-orders: kept"), "{}", said.stdout);
    let kept: Listing = aws.listing().await?.difference(before).cloned().collect();
    assert_eq!(kept.len(), 9, "{kept:?}");
    assert!(kept.iter().all(|line| line.starts_with("table ")), "{kept:?}");

    // The next deployment would find them in its way.
    let said = stage.ops(&["preflight", "--parameter", SENDER], "test").await?.failed_with_output();
    assert!(said.contains("✗ leftovers") && said.contains("ordersaga-alice-users"), "{said}");

    stage.ops(&["destroy", "--yes"], "test").await?.succeeded();
    assert_eq!(aws.listing().await?, *before);
    let said = stage.ops(&["destroy", "--yes"], "test").await?.failed();
    assert!(said.contains("there is no stage alice"), "{said}");
    let said = stage.ops(&["outputs"], "test").await?.failed();
    assert!(said.contains("stage alice is not deployed"), "{said}");
    let said = stage.ops(&["smoke"], "test").await?.failed();
    assert!(said.contains("stage alice is not deployed"), "{said}");
    Ok(())
}

/// As when a person presses Ctrl-C, or the network goes.
async fn stopped_after_its_first_stack(stage: &Stage<'_>) -> Outcome {
    let mut removal = stage
        .command(&["destroy", "--yes", "--keep-data"])?
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut lines = BufReader::new(removal.stderr.take().ok_or("it was asked for")?).lines();
    let first = async {
        while let Some(line) = lines.next_line().await? {
            if line.contains("deleted ordersaga-alice-orders") {
                return Ok(true);
            }
        }
        Outcome::Ok(false)
    };
    assert!(tokio::time::timeout(FIRST_STACK_WITHIN, first).await??, "orders go first");
    removal.kill().await?;
    Ok(())
}
