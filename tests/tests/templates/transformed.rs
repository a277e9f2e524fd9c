//! The templates after SAM's transform: the roles, schedules and mappings that it adds, and the names that it
//! generates. The same kind of `Rule`s as for the templates, for what a template does not show.

use std::{collections::BTreeMap, path::PathBuf, process::Command, sync::LazyLock};

use contracts::metrics::{self, Metric};
use local_stack::{
    Port, Progress, Settings,
    python::{self, Purpose},
};
use serde_json::{Value, json};

use crate::{
    document::{Template, one_or_more, repository, target},
    rules::CROSSING,
};

mod aliases;

const FUNCTION: &str = "AWS::Lambda::Function";
const ROLE: &str = "AWS::IAM::Role";
const MAPPING: &str = "AWS::Lambda::EventSourceMapping";
const SCHEDULE: &str = "AWS::Scheduler::Schedule";
const ALARM: &str = "AWS::CloudWatch::Alarm";
const QUEUE: &str = "AWS::SQS::Queue";
const ALIAS: &str = "AWS::Lambda::Alias";

/// Every template, transformed once for all tests.
static ALL: LazyLock<Vec<Template>> = LazyLock::new(|| transformed(&json!({})));

/// The same for a stage like `prod`, as `cargo ops deploy` gives its parameters.
static WITH_CANARY: LazyLock<Vec<Template>> =
    LazyLock::new(|| transformed(&json!({"Canary": "true", "Fingerprint": "0a1b"})));

fn transformed(parameters: &Value) -> Vec<Template> {
    let run = Command::new(python())
        .arg(repository().join("tests/tests/templates/transform.py"))
        .arg(repository().join("infra"))
        .arg(parameters.to_string())
        .env("AWS_DEFAULT_REGION", "eu-central-1")
        .output()
        .expect("Python runs");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let all: BTreeMap<String, Value> = serde_json::from_slice(&run.stdout).expect("the script prints JSON");
    all.into_iter().map(|(name, root)| Template::of(&name, root)).collect()
}

/// The environment of the local stack has SAM's translator. It is made when it is missing, which takes a minute.
fn python() -> PathBuf {
    let settings = Settings::new(None, Port::Any, Port::Any).expect("the state folder can be made");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let progress = Progress::new();
    let made = runtime.block_on(python::environment(&settings, Purpose::Local, &progress));
    made.expect("the Python environment can be made").join("python")
}

/// The statements of a role's own policies.
fn statements(role: &Value) -> impl Iterator<Item = &Value> {
    one_or_more(&role["Properties"]["Policies"])
        .into_iter()
        .flat_map(|policy| one_or_more(&policy["PolicyDocument"]["Statement"]))
}

#[track_caller]
fn kept_by_all(rule: fn(&Template) -> Vec<String>) {
    let wrong: Vec<String> = ALL
        .iter()
        .chain(&*WITH_CANARY)
        .flat_map(|template| {
            rule(template).into_iter().map(|what| format!("infra/{}.yaml: {what}", template.name))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Breaks a transformed template by one replacement in its JSON, and expects `complaint` from the rule.
#[track_caller]
fn sees(rule: fn(&Template) -> Vec<String>, name: &str, from: &str, to: &str, complaint: &str) {
    sees_in(&ALL, rule, name, from, to, complaint);
}

#[track_caller]
fn sees_in(
    all: &[Template],
    rule: fn(&Template) -> Vec<String>,
    name: &str,
    from: &str,
    to: &str,
    complaint: &str,
) {
    let template = all.iter().find(|template| template.name == name).expect("there is such a template");
    assert_eq!(rule(template), Vec::<String>::new(), "unbroken, it keeps the rule");
    let text = template.root().to_string();
    assert!(text.contains(from), "there is no {from:?} to break");
    let broken = serde_json::from_str(&text.replace(from, to)).expect("still JSON");
    let wrong = rule(&Template::of(name, broken));
    assert!(wrong.iter().any(|what| what.contains(complaint)), "{from:?} as {to:?} gave {wrong:?}");
}

/// The function that a value refers to, by itself or by its alias.
fn function_of<'a>(template: &'a Template, value: &'a Value) -> Option<&'a str> {
    let id = target(value)?;
    if template.is(id, ALIAS) { target(&template.properties(id)["FunctionName"]) } else { Some(id) }
}

mod names_carry_the_stage {
    use super::*;

    /// The property that names a resource of the type, and how many characters AWS allows it.
    const NAMES: [(&str, &str, usize); 15] = [
        (FUNCTION, "FunctionName", 64),
        (QUEUE, "QueueName", 80),
        (ALARM, "AlarmName", 255),
        ("AWS::CloudWatch::Dashboard", "DashboardName", 255),
        (SCHEDULE, "Name", 64),
        ("AWS::SNS::Topic", "TopicName", 256),
        ("AWS::DynamoDB::Table", "TableName", 255),
        ("AWS::Logs::LogGroup", "LogGroupName", 512),
        ("AWS::Logs::QueryDefinition", "Name", 255),
        ("AWS::StepFunctions::StateMachine", "StateMachineName", 80),
        ("AWS::ApiGatewayV2::Api", "Name", 128),
        ("AWS::SSM::Parameter", "Name", 1011),
        ("AWS::SecretsManager::Secret", "Name", 512),
        ("AWS::KMS::Alias", "AliasName", 256),
        ("AWS::SES::ConfigurationSet", "Name", 64),
    ];

    /// Types without a name, or with one that CloudFormation makes or that belongs to a resource above.
    const NAMELESS: [&str; 20] = [
        ROLE,
        MAPPING,
        ALIAS,
        "AWS::Lambda::Version",
        "AWS::Lambda::Permission",
        "AWS::Lambda::EventInvokeConfig",
        "AWS::CodeDeploy::Application",
        "AWS::CodeDeploy::DeploymentGroup",
        "AWS::ApiGatewayV2::Route",
        "AWS::ApiGatewayV2::Integration",
        "AWS::ApiGatewayV2::Stage",
        "AWS::ApiGatewayV2::Authorizer",
        "AWS::ApiGatewayV2::DomainName",
        "AWS::ApiGatewayV2::ApiMapping",
        "AWS::SQS::QueuePolicy",
        "AWS::SNS::Subscription",
        "AWS::SNS::TopicPolicy",
        "AWS::KMS::Key",
        "AWS::SES::ConfigurationSetEventDestination",
        "AWS::SES::EmailIdentity",
    ];

    fn rule(template: &Template) -> Vec<String> {
        let pattern = &template.root()["Parameters"]["Stage"]["AllowedPattern"];
        assert_eq!(*pattern, "^[a-z][a-z0-9-]{1,15}$", "the longest stage has 16 characters");
        let longest = "s".repeat(16);
        let mut wrong = Vec::new();
        for (id, resource) in template.section("Resources") {
            let kind = resource["Type"].as_str().unwrap_or_default();
            let Some((_, property, most)) = NAMES.iter().find(|(named, ..)| *named == kind) else {
                if !NAMELESS.contains(&kind) {
                    wrong.push(format!("{id}: whether a {kind} has a name is not known to this rule"));
                }
                continue;
            };
            let name = resource["Properties"][property]["Fn::Sub"].as_str().unwrap_or_default();
            if !name.contains("${Stage}") {
                wrong.push(format!("{id}: two stages would share {}", resource["Properties"][property]));
            }
            let length = name.replace("${Stage}", &longest).len();
            if length > *most {
                wrong.push(format!("{id}: {name} has up to {length} characters, more than {most}"));
            }
        }
        wrong
    }

    #[test]
    fn kept() {
        kept_by_all(rule);
    }

    #[test]
    fn seen_when_broken() {
        let name = r#"{"Fn::Sub":"ordersaga-${Stage}-inventory-sweeper"}"#;
        sees(rule, "inventory", name, r#""InventorySweeperTimer""#, "two stages would share");
        let long = "ordersaga-${Stage}-inventory-sweeper-that-looks-after-what-is-held";
        sees(rule, "inventory", "ordersaga-${Stage}-inventory-sweeper", long, "more than 64");
        sees(rule, "catalog", "AWS::SQS::QueuePolicy", "AWS::SQS::Other", "not known to this rule");
    }
}

mod alarms_reach_somebody {
    use super::*;

    fn rule(template: &Template) -> Vec<String> {
        let mut wrong = Vec::new();
        for (id, alarm) in template.of_type(ALARM) {
            for actions in ["AlarmActions", "OKActions"] {
                if one_or_more(&alarm["Properties"][actions]).is_empty() {
                    wrong.push(format!("{id}: has no {actions}"));
                }
            }
        }
        wrong
    }

    #[test]
    fn kept() {
        kept_by_all(rule);
    }

    #[test]
    fn seen_when_broken() {
        sees(rule, "catalog", r#""AlarmActions":[{"Ref":"AlarmActionArn"}]"#, r#""A":1"#, "no AlarmActions");
        sees(
            rule,
            "catalog",
            r#""OKActions":[{"Ref":"AlarmActionArn"}]"#,
            r#""OKActions":[]"#,
            "no OKActions",
        );
    }
}

mod whatever_stops_raises_an_alarm {
    use super::*;

    /// Whether an alarm on the metric has this dimension.
    fn is_watched(template: &Template, metric: &str, dimension: &str, value: &Value) -> bool {
        let has = |metric_of: &Value, dimensions: &Value| {
            *metric_of == metric
                && one_or_more(dimensions)
                    .iter()
                    .any(|one| one["Name"] == dimension && one["Value"] == *value)
        };
        // An alarm for the minutes of a deployment watches no more after them.
        let lasting = template.of_type(ALARM).filter(|(_, alarm)| alarm["Condition"] != "HasCanary");
        lasting.map(|(_, alarm)| &alarm["Properties"]).any(|alarm| {
            has(&alarm["MetricName"], &alarm["Dimensions"])
                || one_or_more(&alarm["Metrics"]).iter().any(|part| {
                    let metric = &part["MetricStat"]["Metric"];
                    has(&metric["MetricName"], &metric["Dimensions"])
                        && alarm["Metrics"][0]["Expression"]
                            .as_str()
                            .zip(part["Id"].as_str())
                            .is_some_and(|(expression, id)| expression.contains(&format!("FILL({id}, 0)")))
                })
        })
    }

    /// Whose errors are answers to the state machine as well; the alarm ordersaga-<stage>-orders-step-failed is for them.
    /// And the one whose failure ends a deployment, which tells the person who deploys.
    const STEPS: [&str; 4] =
        ["inventory-commands", "orders-commands", "fulfillment-commands", "platform-canary"];

    /// What a context counts when a person has to look: the metric, and the value of its dimension if it has one.
    const COUNTED: [(&str, Metric, Option<&str>); 23] = [
        ("inventory", metrics::RESERVATIONS_SWEPT, Some("stuck")),
        ("notifications", metrics::BREAKER_OPEN, Some("email")),
        ("notifications", metrics::BREAKER_OPEN, Some("sms")),
        ("notifications", metrics::BREAKER_OPEN, Some("smtp")),
        ("orders", metrics::ORDERS_RECONCILED, Some("unresolved")),
        ("orders", metrics::ORDERS_UNREADABLE, None),
        ("orders", metrics::STEPS_FAILED, None),
        ("orders", metrics::UNDOS_FAILED, None),
        ("payments", metrics::BREAKER_OPEN, Some("gateway")),
        ("payments", metrics::GATEWAY_MISUSED, None),
        ("payments", metrics::PAYMENTS, Some("declined")),
        ("payments", metrics::PAYMENTS, Some("succeeded")),
        ("payments", metrics::PAYMENTS_DIFFERENT, None),
        ("payments", metrics::REFUNDS_FAILED, None),
        ("platform", metrics::SECURITY_EVENTS, Some("login_failed")),
        ("platform", metrics::SECURITY_EVENTS, Some("token_refused")),
        ("realtime", metrics::PUSHES_FAILED, None),
        ("storefront", metrics::BREAKER_OPEN, Some("users")),
        ("storefront", metrics::BREAKER_OPEN, Some("orders")),
        ("storefront", metrics::BREAKER_OPEN, Some("payments")),
        ("storefront", metrics::BREAKER_OPEN, Some("fulfillment")),
        ("storefront", metrics::BREAKER_OPEN, Some("catalog")),
        ("storefront", metrics::BREAKER_OPEN, Some("inventory")),
    ];

    /// Whether an alarm is on the metric of the template's context, with this value of its dimension.
    fn is_counted(template: &Template, metric: &Metric, value: Option<&str>) -> bool {
        match (metric.dimension, value) {
            (Some(dimension), Some(value)) => is_watched(template, metric.name, dimension, &json!(value)),
            _ => is_watched(template, metric.name, "Service", &json!(template.name)),
        }
    }

    fn rule(template: &Template) -> Vec<String> {
        let mut wrong = Vec::new();
        for (_, metric, value) in COUNTED.iter().filter(|(context, ..)| *context == template.name) {
            if !is_counted(template, metric, *value) {
                wrong.push(format!("no alarm on {} {}", metric.name, value.unwrap_or_default()));
            }
        }
        for (id, function) in template.of_type(FUNCTION) {
            let name = function["Properties"]["FunctionName"]["Fn::Sub"].as_str().unwrap_or_default();
            if name.ends_with("-relay") && !is_counted(template, &metrics::RECORDS_PARKED, None) {
                wrong.push(format!("{id}: no alarm on records that are parked"));
            }
            let is_step = STEPS.iter().any(|step| name.ends_with(step));
            if !is_step && !is_watched(template, "Errors", "FunctionName", &json!({ "Ref": id })) {
                wrong.push(format!("{id}: no alarm on its errors"));
            }
        }
        for (id, mapping) in template.of_type(MAPPING) {
            let source = &mapping["Properties"]["EventSourceArn"];
            let Some(resource) = target(source) else {
                wrong.push(format!("{id}: reads from elsewhere: {source}"));
                continue;
            };
            let (metric, dimension, value) = if template.is(resource, QUEUE) {
                let queue = json!({ "Fn::GetAtt": [resource, "QueueName"] });
                ("ApproximateAgeOfOldestMessage", "QueueName", queue)
            } else {
                ("ReturnedBytes", "TableName", json!({ "Ref": resource }))
            };
            if !is_watched(template, metric, dimension, &value) {
                wrong.push(format!("{id}: no alarm when nothing is read from {resource}"));
            }
        }
        let is_consumer = template
            .of_type("AWS::SNS::Subscription")
            .any(|(_, subscription)| subscription["Properties"]["TopicArn"]["Ref"] == "EventsTopicArn");
        if is_consumer && !is_counted(template, &metrics::UNEXPECTED_EVENTS, None) {
            wrong.push("no alarm on events of unexpected types".to_owned());
        }
        wrong
    }

    #[test]
    fn kept() {
        kept_by_all(rule);
    }

    #[test]
    fn seen_when_broken() {
        sees(rule, "catalog", "FILL(api, 0)", "0", "CatalogApi: no alarm on its errors");
        sees(rule, "catalog", "ApproximateAgeOfOldestMessage", "Other", "nothing is read from ConsumerQueue");
        sees(rule, "catalog", "ReturnedBytes", "Other", "nothing is read from Table");
        sees(rule, "catalog", "RecordsParked", "Other", "CatalogRelay: no alarm on records that are parked");
        sees(rule, "payments", "GatewayMisused", "Other", "no alarm on GatewayMisused");
        sees(rule, "storefront", "FILL(catalog, 0)", "0", "no alarm on BreakerOpen catalog");
        sees(rule, "payments", "FILL(declined, 0)", "0", "no alarm on Payments declined");
        sees(rule, "catalog", "UnexpectedEvents", "Other", "unexpected types");
    }
}

mod runs_of_a_schedule_are_not_repeated {
    use super::*;

    /// The scheduler invokes asynchronously, and Lambda repeats a failed run twice by default.
    fn rule(template: &Template) -> Vec<String> {
        let mut wrong = Vec::new();
        for (id, schedule) in template.of_type(SCHEDULE) {
            let goal = &schedule["Properties"]["Target"];
            if goal["RetryPolicy"]["MaximumRetryAttempts"] != 0 {
                wrong.push(format!("{id}: the scheduler repeats it"));
            }
            let function = function_of(template, &goal["Arn"]);
            let once = template.of_type("AWS::Lambda::EventInvokeConfig").any(|(_, config)| {
                target(&config["Properties"]["FunctionName"]) == function
                    && config["Properties"]["MaximumRetryAttempts"] == 0
            });
            if !once {
                wrong.push(format!("{id}: Lambda repeats it"));
            }
        }
        wrong
    }

    #[test]
    fn kept() {
        kept_by_all(rule);
    }

    #[test]
    fn seen_when_broken() {
        let retries = r#""RetryPolicy":{"MaximumRetryAttempts":0}"#;
        sees(rule, "inventory", retries, r#""R":0"#, "the scheduler repeats it");
        sees(rule, "inventory", "AWS::Lambda::EventInvokeConfig", "AWS::Lambda::Other", "Lambda repeats it");
    }
}

mod roles_are_narrower_than_their_managed_policies {
    use super::*;

    const LOGS: [&str; 3] = ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"];
    const RECEIVES: [&str; 3] = ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"];
    /// Without `ListStreams`, which AWS grants for all streams or none, and which only returns their names.
    const READS: [&str; 3] = ["dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator"];

    /// The actions that each managed policy allows on `*`.
    fn allows(policy: &str) -> Option<Vec<&'static str>> {
        Some(match policy.rsplit('/').next()? {
            "AWSLambdaBasicExecutionRole" => LOGS.to_vec(),
            "AWSLambdaSQSQueueExecutionRole" => [LOGS, RECEIVES].concat(),
            "AWSLambdaDynamoDBExecutionRole" => [LOGS, READS].concat(),
            // Traces belong to no resource.
            "AWSXrayWriteOnlyAccess" => Vec::new(),
            _ => return None,
        })
    }

    /// The resources on which functions with this role may perform the action.
    fn own<'a>(template: &'a Template, role: &str, action: &str) -> Vec<&'a Value> {
        let functions: Vec<(&str, &Value)> = template
            .of_type(FUNCTION)
            .filter(|(_, function)| target(&function["Properties"]["Role"]) == Some(role))
            .collect();
        if action.starts_with("logs:") {
            return functions.iter().map(|(_, it)| &it["Properties"]["LoggingConfig"]["LogGroup"]).collect();
        }
        template
            .of_type(MAPPING)
            .map(|(_, mapping)| &mapping["Properties"])
            .filter(|mapping| {
                functions.iter().any(|(id, _)| function_of(template, &mapping["FunctionName"]) == Some(*id))
            })
            .map(|mapping| &mapping["EventSourceArn"])
            .collect()
    }

    fn rule(template: &Template) -> Vec<String> {
        let mut wrong = Vec::new();
        for (id, role) in template.of_type(ROLE) {
            let denies: Vec<&Value> =
                statements(role).filter(|statement| statement["Effect"] == "Deny").collect();
            for policy in one_or_more(&role["Properties"]["ManagedPolicyArns"]) {
                let Some(actions) = policy.as_str().and_then(allows) else {
                    wrong.push(format!("{id}: what {policy} allows is not known to this rule"));
                    continue;
                };
                for action in actions {
                    let mut left: Vec<Option<&str>> =
                        own(template, id, action).into_iter().map(target).collect();
                    left.sort_unstable();
                    let is_narrowed = denies.iter().any(|statement| {
                        let mut excepted: Vec<Option<&str>> =
                            one_or_more(&statement["NotResource"]).into_iter().map(target).collect();
                        excepted.sort_unstable();
                        one_or_more(&statement["Action"]).contains(&&json!(action))
                            && statement["Condition"].is_null()
                            && !left.is_empty()
                            && excepted == left
                    });
                    if !is_narrowed {
                        wrong.push(format!("{id}: {action} on more than its own {left:?}"));
                    }
                }
            }
        }
        wrong
    }

    #[test]
    fn kept() {
        kept_by_all(rule);
    }

    #[test]
    fn seen_when_broken() {
        let all = r#""NotResource":{"Fn::GetAtt":["ConsumerQueue","Arn"]}"#;
        sees(rule, "inventory", all, r#""NotResource":"*""#, "sqs:ReceiveMessage on more than");
        let other = r#""NotResource":{"Fn::GetAtt":["ConsumerDeadLetters","Arn"]}"#;
        sees(rule, "inventory", all, other, "sqs:ReceiveMessage on more than");
        sees(rule, "catalog", r#""dynamodb:GetRecords","#, "", "dynamodb:GetRecords on more than");
        sees(
            rule,
            "catalog",
            "CatalogApiLog\",\"Arn",
            "ConsumerLog\",\"Arn",
            "logs:PutLogEvents on more than",
        );
        sees(rule, "catalog", "AWSXrayWriteOnlyAccess", "AdministratorAccess", "not known to this rule");
    }
}

/// AWS does not document how it evaluates `LeadingKeys` in a transaction: by item, by all items' keys, or not at all.
mod keys_that_a_policy_asks_for_do_not_stop_a_transaction {
    use super::*;

    fn rule(template: &Template) -> Vec<String> {
        let in_a_transaction =
            json!({ "ForAnyValue:StringEquals": { "dynamodb:EnclosingOperation": ["TransactWriteItems"] } });
        let mut wrong = Vec::new();
        for (id, role) in template.of_type(ROLE) {
            let statements: Vec<&Value> = statements(role).collect();
            // Relays write parked records, rate limits their buckets, and realtime tickets without a transaction. A query
            // is never part of one.
            let asks = |statement: &&&Value| {
                let condition = statement["Condition"].to_string();
                condition.contains("dynamodb:LeadingKeys")
                    && !["PARKED", r#"["BUCKET#*"]"#, "TICKET"].iter().any(|alone| condition.contains(alone))
                    && statement["Action"] != "dynamodb:Query"
            };
            for asking in statements.iter().filter(asks) {
                let allows = |other: &&Value| {
                    other["Effect"] == "Allow"
                        && other["Action"] == asking["Action"]
                        && other["Resource"] == asking["Resource"]
                        && other["Condition"] == in_a_transaction
                };
                if !statements.iter().any(allows) {
                    wrong.push(format!("{id}: {} may be refused in a transaction", asking["Action"]));
                }
            }
        }
        wrong
    }

    #[test]
    fn kept() {
        kept_by_all(rule);
    }

    #[test]
    fn seen_when_broken() {
        sees(rule, "orders", "TransactWriteItems", "TransactGetItems", "may be refused in a transaction");
    }
}

mod mail_goes_out_in_the_senders_name_only {
    use super::*;

    /// On AWS; the emulator has neither identity nor sender.
    fn rule(template: &Template) -> Vec<String> {
        let on_aws = |value: &Value| match &value["Fn::If"] {
            Value::Array(branches) if branches.first() == Some(&json!("OnEmulator")) => branches[2].clone(),
            _ => value.clone(),
        };
        let mut wrong = Vec::new();
        for (id, role) in template.of_type(ROLE) {
            let sends =
                |statement: &&Value| one_or_more(&statement["Action"]).contains(&&json!("ses:SendEmail"));
            for statement in statements(role).filter(sends) {
                let sender = json!({ "StringEquals": { "ses:FromAddress": { "Ref": "EmailFrom" } } });
                if on_aws(&statement["Condition"]) != sender {
                    wrong.push(format!("{id}: sends in anybody's name"));
                }
                let resources = on_aws(&statement["Resource"]).to_string();
                if !resources.contains("identity/*")
                    || !resources.contains("configuration-set/${MailSettings}")
                {
                    wrong.push(format!("{id}: {resources} leaves out what SES asks for"));
                }
            }
        }
        wrong
    }

    #[test]
    fn kept() {
        kept_by_all(rule);
    }

    #[test]
    fn seen_when_broken() {
        sees(rule, "notifications", "ses:FromAddress", "ses:Recipients", "in anybody's name");
        sees(rule, "notifications", "identity/*", "identity/${EmailFrom}", "leaves out what SES asks for");
    }
}

/// All templates get their values from one list (samconfig.toml), by name.
mod a_parameter_means_the_same_everywhere {
    use super::*;

    const SHARED: [&str; 11] = [
        "Canary",
        "Fingerprint",
        "Dashboards",
        "Stage",
        "Architecture",
        "LogLevel",
        "LogRetentionDays",
        "TracingMode",
        "TraceSamplingPercent",
        "EndpointUrl",
        "SmsCountries",
    ];

    fn wrong(templates: &[Template]) -> Vec<String> {
        let mut seen: BTreeMap<&str, (&str, &Value)> = BTreeMap::new();
        let mut wrong = Vec::new();
        for template in templates {
            for (name, parameter) in template.section("Parameters") {
                let Some((first, same)) = seen.get(name) else {
                    seen.insert(name, (template.name.as_str(), parameter));
                    continue;
                };
                let is_shared =
                    SHARED.contains(&name) || CROSSING.iter().any(|(_, crossing, _)| *crossing == name);
                if !is_shared {
                    wrong.push(format!("{name} is one of {first} and one of {}", template.name));
                }
                if parameter != *same {
                    wrong.push(format!("{name} of {} is not that of {first}: {parameter}", template.name));
                }
            }
        }
        wrong
    }

    #[test]
    fn kept() {
        assert_eq!(wrong(&ALL), Vec::<String>::new());
    }

    #[test]
    fn seen_when_broken() {
        let with = |name: &str, parameter: Value| {
            Template::of(name, json!({ "Parameters": { "CommandsConcurrency": parameter } }))
        };
        let twice = [with("inventory", json!({"Default": 20})), with("payments", json!({"Default": 20}))];
        assert_eq!(wrong(&twice), ["CommandsConcurrency is one of inventory and one of payments"]);
        let stage = |name: &str, default: &str| {
            Template::of(name, json!({"Parameters": {"Stage": {"Default": default}}}))
        };
        assert_eq!(wrong(&[stage("a", "local"), stage("b", "dev")]).len(), 1);
    }
}
