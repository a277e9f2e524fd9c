use std::collections::BTreeMap;
use std::path::Path;

use clap::Parser;
use futures::StreamExt;
use local_stack::{LOCAL_STAGE, Port};

use super::sam::Change;
use super::stacks::{Found, Step};
use super::target::{described, is_busy};
use super::*;

/// Concurrent SAM processes: each takes a second or two of a core.
const SIDE_BY_SIDE: usize = 3;

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    deploy: Deploy,
}

fn asked(words: &[&str]) -> std::result::Result<Deploy, String> {
    let words = std::iter::once("deploy").chain(words.iter().copied());
    Command::try_parse_from(words).map(|command| command.deploy).map_err(|error| error.to_string())
}

fn settings(name: &str) -> Settings {
    let folder = std::env::temp_dir().join(format!("ops-release-{name}-{}", std::process::id()));
    let settings = Settings::new(Some(folder.clone()), Port::Any, Port::Any).unwrap();
    std::fs::remove_dir_all(folder).unwrap();
    settings
}

async fn programs(settings: &Settings) -> PathBuf {
    python::environment(settings, Purpose::Deploy, &Progress::quiet()).await.unwrap()
}

/// The target that `cargo ops deploy` would use, with these arguments after `deploy`.
fn target<'a>(settings: &Settings, programs: &Path, progress: &'a Progress, words: &[&str]) -> Target<'a> {
    let asked = asked(words).unwrap();
    let config = StageConfig::read(&settings.samconfig(), asked.stage.name()).unwrap();
    let (_, parameters) = asked.parameters(settings, &config).unwrap();
    Target {
        source: settings.clone(),
        programs: programs.to_path_buf(),
        remote: Remote::by(programs.join("python"), &config.region),
        stage: asked.stage,
        config,
        parameters,
        progress,
    }
}

/// SAM validates its input before its first call, so an error about a closed port shows that the input is
/// valid.
#[tokio::test]
async fn sam_gets_as_far_as_calling_cloudformation_for_every_stage_and_template() {
    let settings = settings("sam");
    let programs = programs(&settings).await;
    let progress = Progress::quiet();
    // No server listens there, and no other test gets this port.
    let closed = "http://127.0.0.1:9";
    let odd = [
        "--parameter",
        "CorsOrigins=https://a.example, https://b.example?x=\"1\"",
        "--parameter",
        "EmailFrom=",
    ];
    let mut local = target(&settings, &programs, &progress, &["--stage", "dev"]);
    local.config = StageConfig::read(&settings.samconfig(), LOCAL_STAGE).unwrap();
    local.parameters = local.config.parameters.clone();
    let targets = [
        local,
        target(&settings, &programs, &progress, &["--stage", "dev"]),
        target(&settings, &programs, &progress, &["--stage", "prod"]),
        target(&settings, &programs, &progress, &[&["--stage", "pr-17"], odd.as_slice()].concat()),
    ];
    let templates: Vec<Named> = deploy::waves(&settings)
        .into_iter()
        .flatten()
        .map(|(name, file)| (name, Template::read(&file).unwrap()))
        .collect();
    assert_eq!(templates.len(), deploy::names().len());
    let runs = targets.iter().flat_map(|target| templates.iter().map(move |named| (target, named)));
    let results = futures::stream::iter(runs)
        .map(async |(target, (name, template))| {
            let stack = target.stack(name);
            let parameters = template.pick(&target.parameters);
            let mut command =
                target.sam_command(&stack, template, &parameters, &["--disable-rollback"]).unwrap();
            command
                .env("AWS_ENDPOINT_URL", closed)
                .env("AWS_ACCESS_KEY_ID", "test")
                .env("AWS_SECRET_ACCESS_KEY", "test")
                .env("AWS_MAX_ATTEMPTS", "1");
            (stack, sam::run(command, drop).await)
        })
        .buffer_unordered(SIDE_BY_SIDE)
        .collect::<Vec<_>>()
        .await;
    assert_eq!(results.len(), targets.len() * templates.len());
    for (stack, result) in results {
        let said = result.unwrap_err();
        assert!(said.trim().starts_with("Could not connect to the endpoint URL"), "{stack}: {said}");
    }
}

/// With SAM's own parser: what it reads is what CloudFormation gets.
#[tokio::test]
async fn every_value_of_a_parameter_survives_sams_parser() {
    let values = [
        "",
        " ",
        "a b",
        " a ",
        "a,b",
        "a=b",
        "a, b = c",
        "it's",
        "'",
        "''",
        "\"",
        "\"\"",
        "say \"hi\"",
        "\"q\"",
        "ü €",
        "a\\b",
        "a\nb",
        "*",
        "$x `y`",
        "{\"a\": [1, \"b\"]}",
        "ParameterKey=X,ParameterValue=Y",
        "A=b C=d",
        "file://x",
    ];
    let programs = programs(&settings("values")).await;
    let arguments: Vec<String> =
        values.iter().map(|value| sam::override_argument("Name", value).unwrap()).collect();
    let script = "import json, sys\n\
                  from samcli.cli.types import CfnParameterOverridesType\n\
                  read = CfnParameterOverridesType().convert\n\
                  print(json.dumps([read((text,), None, None) for text in sys.argv[1:]]))";
    let output = tokio::process::Command::new(programs.join("python"))
        .args(["-c", script])
        .args(&arguments)
        .output()
        .await
        .unwrap();
    let read: Vec<BTreeMap<String, String>> = serde_json::from_slice(&output.stdout).unwrap();
    for (value, read) in values.iter().zip(read) {
        assert_eq!(read, BTreeMap::from([("Name".to_owned(), (*value).to_owned())]));
    }
}

#[tokio::test]
async fn a_template_with_an_error_is_refused_before_anything_is_built() {
    let settings = settings("template");
    let programs = programs(&settings).await;
    let root = std::env::temp_dir().join(format!("ops-release-root-{}", std::process::id()));
    std::fs::create_dir_all(root.join("infra")).unwrap();
    let template = std::fs::read_to_string(settings.infra().join("catalog.yaml")).unwrap();
    let broken = template.replacen("BillingMode:", "BilingMode:", 1);
    std::fs::write(root.join("infra/catalog.yaml"), broken).unwrap();
    let progress = Progress::quiet();
    let words = ["--stage", "dev", "--only", "catalog"];
    let mut target = target(&settings, &programs, &progress, &words);
    target.source.root = root.clone();
    let waves = asked(&words).unwrap().waves(&target.source).unwrap();
    let said = target.check_templates(&waves).await.unwrap_err().to_string();
    assert!(said.contains("nothing was changed") && said.contains("BilingMode"), "{said}");

    std::fs::write(root.join("infra/catalog.yaml"), "Resources: [").unwrap();
    let said = asked(&words).unwrap().waves(&target.source).unwrap_err().to_string();
    assert!(said.contains("catalog.yaml cannot be read as a template"), "{said}");
    std::fs::remove_dir_all(root).unwrap();
}

#[test]
fn bad_input_is_refused_with_what_is_allowed() {
    for (words, expected) in [
        (&["--stage", "Dev"][..], "small letters, digits and hyphens"),
        (&["--stage", "local"], "cargo ops up"),
        (&["--stage", "dev", "--only", "shop"], "possible values: platform, catalog"),
        (&["--stage", "dev", "--arch", "mips"], "possible values: arm64, x86_64"),
        (&["--stage", "dev", "--parameter", "LogLevel"], "Name=Value"),
        (&["--stage", "dev", "--parameter", "Stage=prod"], "--stage says that"),
    ] {
        let said = asked(words).unwrap_err();
        assert!(said.contains(expected), "{words:?}: {said}");
    }
}

#[test]
fn a_parameter_that_no_template_has_is_refused_with_those_that_there_are() {
    let settings = settings("unknown");
    let asked = asked(&["--stage", "dev", "--parameter", "LogLevle=debug"]).unwrap();
    let config = StageConfig::read(&settings.samconfig(), "dev").unwrap();
    let said = asked.parameters(&settings, &config).unwrap_err().to_string();
    assert!(said.contains("LogLevle") && said.contains("LogLevel"), "{said}");
}

#[test]
fn the_processor_is_the_stages_unless_another_is_asked_for() {
    let settings = settings("arch");
    let config = StageConfig::read(&settings.samconfig(), "dev").unwrap();
    for (words, expected) in
        [(&["--stage", "dev"][..], Arch::Arm64), (&["--stage", "dev", "--arch", "x86_64"], Arch::X86_64)]
    {
        let (arch, parameters) = asked(words).unwrap().parameters(&settings, &config).unwrap();
        assert_eq!((arch, parameters["Architecture"].as_str()), (expected, expected.name()));
    }
}

#[test]
fn a_context_alone_needs_the_platform_to_be_there() {
    let settings = settings("alone");
    let progress = Progress::quiet();
    let words = ["--stage", "pr-17", "--only", "users"];
    let target = target(&settings, Path::new("/nowhere"), &progress, &words);
    let waves = asked(&words).unwrap().waves(&settings).unwrap();
    let said = target.steps(&waves, &BTreeMap::new()).unwrap_err().to_string();
    assert!(said.contains("cargo ops deploy --stage pr-17"), "{said}");
    let there = |status: &str| Found { status: status.to_owned(), ..Found::default() };
    let mut found = BTreeMap::from([("ordersaga-pr-17-platform".to_owned(), there("CREATE_COMPLETE"))]);
    assert_eq!(target.steps(&waves, &found).unwrap(), BTreeMap::from([("users", Step::Create)]));
    found.insert("ordersaga-pr-17-users".to_owned(), there("UPDATE_ROLLBACK_FAILED"));
    let said = target.steps(&waves, &found).unwrap_err().to_string();
    assert!(said.contains("nothing was changed") && said.contains("continue-update-rollback"), "{said}");
}

#[test]
fn a_smaller_number_of_partitions_is_refused_for_every_template_that_has_one() {
    let settings = settings("partitions");
    let progress = Progress::quiet();
    let words = ["--stage", "dev"];
    let target = target(&settings, Path::new("/nowhere"), &progress, &words);
    let waves = asked(&words).unwrap().waves(&settings).unwrap();
    for (template, parameter) in
        [("orders", "WatchPartitions"), ("orders", "ListPartitions"), ("inventory", "HeldPartitions")]
    {
        let deployed = |number: &str| {
            let parameters = BTreeMap::from([(parameter.to_owned(), number.to_owned())]);
            BTreeMap::from([(target.stack(template), Found { parameters, ..Found::default() })])
        };
        target.grows(&waves, &deployed("8")).unwrap();
        let said = target.grows(&waves, &deployed("32")).unwrap_err().to_string();
        assert!(said.contains("nothing was changed") && said.contains(parameter), "{said}");
    }
    target.grows(&waves, &BTreeMap::new()).unwrap();
}

fn change(action: &str, replacement: &str) -> Change {
    Change {
        action: action.to_owned(),
        logical_id: "Table".to_owned(),
        resource_type: "AWS::DynamoDB::Table".to_owned(),
        replacement: replacement.to_owned(),
    }
}

#[test]
fn a_change_set_says_what_is_added_changed_replaced_and_removed() {
    assert_eq!(described(&[]), "no changes");
    let all = [
        change("Add", "N/A"),
        change("Modify", "False"),
        change("Modify", "True"),
        change("Modify", "Conditional"),
        change("Remove", "N/A"),
    ];
    let lines = [
        "5 changes",
        "  + add         Table (AWS::DynamoDB::Table)",
        "  ~ change      Table (AWS::DynamoDB::Table)",
        "  ! replace     Table (AWS::DynamoDB::Table)",
        "  ! may replace Table (AWS::DynamoDB::Table)",
        "  - remove      Table (AWS::DynamoDB::Table)",
    ];
    assert_eq!(described(&all), lines.join("\n"));
    assert!(described(&all[..1]).starts_with("1 change\n"));
}

#[test]
fn a_stack_that_another_was_in_the_way_of_is_told_from_one_that_fails() {
    let busy = "  Route (AWS::ApiGatewayV2::Route): Unable to complete operation due to concurrent modification. Please try \
                again later. (Service: AmazonApiGatewayV2; Status Code: 409)";
    assert!(is_busy(busy));
    assert!(is_busy(
        "  Stack aws-sam-cli-managed-default exists, but is missing the managed source bucket key."
    ));
    assert!(!is_busy("  Table (AWS::DynamoDB::Table): Table already exists: ordersaga-dev-users"));
}

#[test]
fn a_parameter_is_a_name_and_a_value() {
    assert_eq!(parameters::parameter("A=b=c, d"), Ok(("A".to_owned(), "b=c, d".to_owned())));
    assert_eq!(parameters::parameter("A="), Ok(("A".to_owned(), String::new())));
    for refused in ["A", "Stage=x", "Architecture=arm64", "Fingerprint=0a"] {
        assert!(parameters::parameter(refused).is_err(), "{refused}");
    }
}
