//! Stages of one's own: `cargo ops deploy` into the emulator, with SAM, as into an AWS account.

use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use contracts::OrderStatus;
use local_stack::Outputs;
use reqwest::Method;
use serde_json::{Value, json};
use shop_client::{NewAccount, Shop};
use tokio::process::Command;

use crate::faults::Changes;
use crate::fixture::{Fixture, buy, unique};
use crate::harness::Outcome;
use crate::lifecycle::{self, Aws};

crate::tests![
    two_stages_live_side_by_side_and_each_takes_orders,
    a_deployment_that_failed_half_way_goes_on_when_it_is_run_again,
    nothing_is_deployed_while_what_is_live_could_not_read_it,
    credentials_that_do_not_count_stop_a_deployment_before_it_begins,
];

/// The processor that this machine's functions were built for, and the other.
pub const ARCH: &str = if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" };
const OTHER_ARCH: &str = if cfg!(target_arch = "aarch64") { "x86_64" } else { "arm64" };

/// The emulator creates and deletes stacks in the background.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(200);

/// A second stage in the same emulator, in addition to the stack that all tests share.
pub struct Stage<'a> {
    pub fixture: &'a Fixture,
    pub name: &'static str,
}

/// The exit status and the output of a command.
pub struct Said {
    success: bool,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { success: output.status.success(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }
}

impl Said {
    #[track_caller]
    pub fn succeeded(self) -> Self {
        assert!(self.success, "{}{}", self.stdout, self.stderr);
        self
    }

    /// The error message of a command that must fail.
    #[track_caller]
    pub fn failed(self) -> String {
        assert!(!self.success, "{}{}", self.stdout, self.stderr);
        self.stderr
    }

    /// The standard output of a command that must fail.
    #[track_caller]
    pub fn failed_with_output(self) -> String {
        assert!(!self.success, "{}{}", self.stdout, self.stderr);
        self.stdout
    }
}

impl Stage<'_> {
    /// With the emulator as its AWS, and its root as the caller.
    pub fn on_the_emulator<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        command
            .env("AWS_ENDPOINT_URL", &self.fixture.outputs.aws_endpoint_url)
            .env("AWS_REGION", &self.fixture.outputs.region)
            .env("AWS_DEFAULT_REGION", &self.fixture.outputs.region)
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env_remove("AWS_PROFILE")
            .env_remove("AWS_SESSION_TOKEN")
    }

    /// `cargo ops` for this stage.
    pub fn command(&self, arguments: &[&str]) -> Outcome<Command> {
        let mut command = Command::new(std::env::current_exe()?.with_file_name("../ops"));
        self.on_the_emulator(&mut command)
            .args(["--state-dir", self.fixture.folder])
            .args(arguments)
            .args(["--stage", self.name])
            // SAM looks after a stack every five seconds otherwise.
            .env("SAM_CLI_POLL_DELAY", "0.2")
            // No terminal to ask for confirmation.
            .stdin(Stdio::null())
            .kill_on_drop(true);
        Ok(command)
    }

    pub async fn ops(&self, arguments: &[&str], access_key: &str) -> Outcome<Said> {
        let output = self.command(arguments)?.env("AWS_ACCESS_KEY_ID", access_key).output().await?;
        Ok(output.into())
    }

    /// The functions are those of the stack that all tests share.
    async fn deploy(&self, arguments: &[&str]) -> Outcome<Said> {
        let Outputs { aws_endpoint_url, stripe_url, .. } = &self.fixture.outputs;
        let endpoint = format!("EndpointUrl={aws_endpoint_url}");
        let stripe = format!("StripeUrl={stripe_url}");
        let fixed = [
            &["deploy", "--no-build", "--parameter", &endpoint, "--parameter", &stripe][..],
            &["--parameter", "EmailFrom=shop@stage.test"],
        ];
        let arch: &[&str] = if arguments.contains(&"--arch") { &[] } else { &["--arch", ARCH] };
        self.ops(&[&fixed.concat(), arch, arguments].concat(), "test").await
    }

    /// The state of each of its stacks, by the name of the template.
    async fn stacks(&self) -> Outcome<Vec<(String, String)>> {
        let xml = self.fixture.emulator.query("cloudformation", "DescribeStacks", "2010-05-15", &[]).await?;
        let prefix = format!("<StackName>ordersaga-{}-", self.name);
        let stacks = xml.split(&prefix).skip(1).filter_map(|rest| {
            let (template, rest) = rest.split_once("</StackName>")?;
            let (_, rest) = rest.split_once("<StackStatus>")?;
            let (status, _) = rest.split_once("</StackStatus>")?;
            Some((template.to_owned(), status.to_owned()))
        });
        Ok(stacks.filter(|(_, status)| status != "DELETE_COMPLETE").collect())
    }

    /// Leaves nothing that works on: the emulator looks at every queue and stream by the clock.
    async fn delete_stacks(&self) -> Outcome {
        for (template, _) in self.stacks().await? {
            let form = [("StackName".to_owned(), format!("ordersaga-{}-{template}", self.name))];
            self.fixture.emulator.query("cloudformation", "DeleteStack", "2010-05-15", &form).await?;
        }
        self.reaches(&[]).await
    }

    /// Waits until these are its stacks.
    async fn reaches(&self, wanted: &[(&str, &str)]) -> Outcome {
        let deadline = Instant::now() + SETTLED_WITHIN;
        let mut wanted: Vec<_> =
            wanted.iter().map(|(template, status)| ((*template).to_owned(), (*status).to_owned())).collect();
        wanted.sort();
        loop {
            let mut stacks = self.stacks().await?;
            stacks.sort();
            if stacks == wanted {
                return Ok(());
            }
            assert!(Instant::now() < deadline, "{stacks:?}, not {wanted:?}");
            tokio::time::sleep(POLL).await;
        }
    }

    /// The stage's shop, with its own administrator and the gateway's key.
    async fn open(&self) -> Outcome<Fixture> {
        let mut outputs = Outputs { stage: self.name.to_owned(), ..self.fixture.outputs.clone() };
        let mut stage =
            Fixture { outputs: outputs.clone(), changes: Changes::default(), ..self.fixture.clone() };
        outputs.api_url = stage.parameter("api-url").await?;
        outputs.websocket_url = stage.parameter("websocket-url").await?;
        let secret = json!({
            "SecretId": format!("ordersaga-{}-stripe", self.name),
            "SecretString": json!({"api_key": "sk_test_stage", "webhook_secrets": ["whsec_stage"]}).to_string(),
        });
        stage.emulator.json("secretsmanager", "secretsmanager.PutSecretValue", &secret).await?;
        stage.shop = Shop::new(&outputs.api_url);
        let (email, password) = ("admin@stage.test", unique("Pass"));
        stage.shop.register(&NewAccount { email, password: &password, name: "Admin", phone: None }).await?;
        self.ops(&["users", "grant-admin", email, "--unverified"], "test").await?.succeeded();
        stage.admin = stage.shop.login(email, &password).await?;
        stage.outputs = outputs;
        Ok(stage)
    }
}

/// Orders a new product, waits for the order's end, and returns the product.
async fn order_in(stage: &Fixture) -> Outcome<contracts::Sku> {
    let sku = stage.product(1).await?;
    let customer = stage.customer().await?;
    let placed = customer.shop.place(&buy(&sku), &unique("key")).await?;
    let order = customer.ended(&placed.order_id).await?;
    assert_eq!(order.status, OrderStatus::OrderCompleted);
    assert_eq!(stage.taken(&placed.order_id).await?.len(), 1);
    Ok(sku)
}

async fn two_stages_live_side_by_side_and_each_takes_orders(fixture: Fixture) -> Outcome {
    let stage = Stage { fixture: &fixture, name: "alice" };
    let aws = Aws::of(&stage).await?;
    aws.neighbour().await?;
    let without = aws.listing().await?;
    let said = stage.deploy(&[]).await?.succeeded();
    let alice = stage.open().await?;
    assert!(said.stderr.contains(&alice.outputs.api_url), "the addresses are at the end: {}", said.stderr);

    let (there, here) = tokio::try_join!(order_in(&alice), order_in(&fixture))?;
    for (stranger, sku) in [(&fixture, &there), (&alice, &here)] {
        let unknown = stranger.shop.stock(sku).await.expect_err("another stage's product");
        assert_eq!(unknown.status().map(|status| status.as_u16()), Some(404));
    }

    let before = stage.stacks().await?;
    let again = stage.deploy(&[]).await?.succeeded();
    assert!(again.stderr.contains("Nothing has changed since the stage was deployed"), "{}", again.stderr);
    assert!(again.stderr.contains(&alice.outputs.api_url), "{}", again.stderr);
    assert_eq!(stage.stacks().await?, before);
    lifecycle::it_is_checked_tried_and_removed(&stage, &aws, &without).await
}

async fn a_deployment_that_failed_half_way_goes_on_when_it_is_run_again(fixture: Fixture) -> Outcome {
    let stage = Stage { fixture: &fixture, name: "bob" };
    let said = stage.deploy(&["--only", "users"]).await?.failed();
    assert!(said.contains("`cargo ops deploy --stage bob`"), "users need the platform: {said}");
    let said = stage.deploy(&["--arch", OTHER_ARCH, "--only", "platform", "--only", "users"]).await?.failed();
    assert!(said.contains(&format!("target/lambda/users-api/bootstrap is for {ARCH}")), "{said}");
    stage.reaches(&[]).await?;

    // A stack whose creation failed and was rolled back: AWS does not allow updates of it.
    let unusable = json!({"Resources": {"Wrong": {
        "Type": "AWS::SSM::Parameter", "Properties": {"Name": "/ordersaga/bob/wrong", "Type": "Wrong", "Value": "x"},
    }}});
    let form = [("StackName", "ordersaga-bob-catalog"), ("TemplateBody", &unusable.to_string())];
    let form = form.map(|(name, value)| (name.to_owned(), value.to_owned()));
    fixture.emulator.query("cloudformation", "CreateStack", "2010-05-15", &form).await?;
    stage.reaches(&[("catalog", "ROLLBACK_COMPLETE")]).await?;
    // And something in the way of a resource in the middle of another stack.
    let taken = json!({"Name": "/ordersaga/bob/payments-queue-url", "Type": "String", "Value": "x"});
    fixture.emulator.json("ssm", "AmazonSSM.PutParameter", &taken).await?;
    let wanted = ["platform", "catalog", "notifications", "payments", "users"].map(|name| ["--only", name]);
    let command = wanted.as_flattened();
    let said = stage.deploy(command).await?.failed();
    assert!(
        said.contains("ordersaga-bob-payments:\n  PaymentsQueueUrlParameter (AWS::SSM::Parameter): "),
        "{said}"
    );
    assert!(said.contains("run the command again"), "{said}");
    let rest = ["platform", "catalog", "notifications"].map(|name| (name, "CREATE_COMPLETE"));
    stage.reaches(&[&rest[..], &[("payments", "CREATE_FAILED")]].concat()).await?;

    let taken = json!({"Name": "/ordersaga/bob/payments-queue-url"});
    fixture.emulator.json("ssm", "AmazonSSM.DeleteParameter", &taken).await?;
    let said = stage.deploy(command).await?.succeeded();
    for unchanged in ["ordersaga-bob-platform is unchanged", "ordersaga-bob-catalog is unchanged"] {
        assert!(said.stderr.contains(unchanged), "{}", said.stderr);
    }
    stage
        .reaches(&[&rest[..], &[("payments", "UPDATE_COMPLETE"), ("users", "CREATE_COMPLETE")]].concat())
        .await?;
    let registered = stage.open().await?.customer().await?;
    assert!(registered.shop.token().is_some(), "the stage works");

    // The changes are shown, and nothing is changed.
    let diff = ["--only", "users", "--diff", "--parameter", "LogLevel=warn"];
    let said = stage.deploy(&diff).await?.succeeded();
    assert!(said.stdout.starts_with("ordersaga-bob-users: "), "{}", said.stdout);
    assert!(said.stdout.contains("~ change      UsersApi (AWS::Lambda::Function)"), "{}", said.stdout);
    let form = [("StackName".to_owned(), "ordersaga-bob-users".to_owned())];
    let left = fixture.emulator.query("cloudformation", "ListChangeSets", "2010-05-15", &form).await?;
    assert!(!left.contains("<ExecutionStatus>AVAILABLE"), "a change set is left: {left}");
    let said =
        stage.deploy(&["--only", "users", "--diff", "--parameter", "LogLevel=debug"]).await?.succeeded();
    assert_eq!(said.stdout, "ordersaga-bob-users: no changes\n");
    stage.delete_stacks().await
}

/// The object in which a stage keeps what a context publishes and reads.
struct StoredContract<'a> {
    fixture: &'a Fixture,
    path: String,
}

impl StoredContract<'_> {
    async fn read(&self) -> Outcome<Value> {
        let text =
            self.fixture.emulator.send("s3", "GetObject", Method::GET, &self.path, &[], vec![]).await?;
        Ok(serde_json::from_str(&text)?)
    }

    async fn write(&self, contract: &Value) -> Outcome {
        let body = contract.to_string().into_bytes();
        self.fixture.emulator.send("s3", "PutObject", Method::PUT, &self.path, &[], body).await?;
        Ok(())
    }
}

/// The stored contract of a reader is made that of an older one, and then that of a newer one with another schema.
async fn nothing_is_deployed_while_what_is_live_could_not_read_it(fixture: Fixture) -> Outcome {
    let stage = Stage { fixture: &fixture, name: "erin" };
    let only = ["platform", "notifications", "users"].map(|name| ["--only", name]);
    stage.deploy(only.as_flattened()).await?.succeeded();
    let aws = Aws::of(&stage).await?;
    let bucket = aws.artifacts_bucket().await?;
    let path = format!("/{bucket}/ordersaga-erin/contracts/notifications.json");
    let stored = StoredContract { fixture: &fixture, path };
    let contract = stored.read().await?;
    assert!(contract["reads"]["user.registered"]["1"].is_object(), "{contract}");

    let mut older = contract.clone();
    older["reads"]["user.registered"] = json!({});
    stored.write(&older).await?;
    let users = ["--only", "users", "--parameter", "LogLevel=warn"];
    let before = stage.stacks().await?;
    let said = stage.deploy(&users).await?.failed();
    assert!(said.contains("nothing was changed"), "{said}");
    assert!(said.contains("users would publish user.registered version 1, and notifications"), "{said}");
    assert!(said.contains("`cargo ops deploy --stage erin --only notifications`"), "{said}");
    assert_eq!(stage.stacks().await?, before);

    let mut different = contract.clone();
    different["reads"]["user.registered"]["1"]["properties"]["sequence"] = json!({"type": "string"});
    stored.write(&different).await?;
    let said = stage.deploy(&users).await?.failed();
    assert!(said.contains("#/properties/sequence"), "{said}");

    // The reader first, as the message says; then the publisher.
    stage.deploy(&["--only", "notifications", "--parameter", "LogLevel=warn"]).await?.succeeded();
    assert_eq!(stored.read().await?, contract);
    stage.deploy(&users).await?.succeeded();
    stage.delete_stacks().await
}

async fn credentials_that_do_not_count_stop_a_deployment_before_it_begins(fixture: Fixture) -> Outcome {
    let stage = Stage { fixture: &fixture, name: "carol" };
    let said = stage.ops(&["deploy", "--no-build", "--arch", ARCH], "AKIAEXPIRED000000000").await?.failed();
    assert!(said.contains("Sign in (`aws sso login`"), "{said}");
    stage.reaches(&[]).await
}
