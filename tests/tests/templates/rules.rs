//! Our own rules, each a function from a template to what it does wrong. That the templates are valid
//! CloudFormation is for cfn-lint.

use lambda_kit::limits;
use serde_json::{Value, json};

use crate::document::{CONTEXTS, Template, one_or_more, repository, strings, target};

pub type Rule = fn(&Template) -> Vec<String>;

const TABLE: &str = "AWS::DynamoDB::Table";
const QUEUE: &str = "AWS::SQS::Queue";
const QUEUE_POLICY: &str = "AWS::SQS::QueuePolicy";
const TOPIC: &str = "AWS::SNS::Topic";
const TOPIC_POLICY: &str = "AWS::SNS::TopicPolicy";
const LOG_GROUP: &str = "AWS::Logs::LogGroup";
const ALARM: &str = "AWS::CloudWatch::Alarm";

/// Actions that AWS scopes to no resource, each with the reason.
const UNSCOPED: [(&str, &str); 13] = [
    ("sns:Publish", "an SMS goes to a phone number, which is no resource; topics are denied beside it"),
    ("states:SendTaskSuccess", "a task token names no state machine that a policy could match"),
    ("states:SendTaskFailure", "as SendTaskSuccess"),
    ("logs:CreateLogDelivery", "a state machine's log delivery belongs to the account"),
    ("logs:CreateLogStream", "as CreateLogDelivery, on AWS's own stream"),
    ("logs:GetLogDelivery", "as CreateLogDelivery"),
    ("logs:UpdateLogDelivery", "as CreateLogDelivery"),
    ("logs:DeleteLogDelivery", "as CreateLogDelivery"),
    ("logs:ListLogDeliveries", "as CreateLogDelivery"),
    ("logs:PutLogEvents", "as CreateLogDelivery, on AWS's own stream"),
    ("logs:PutResourcePolicy", "as CreateLogDelivery"),
    ("logs:DescribeResourcePolicies", "as CreateLogDelivery"),
    ("logs:DescribeLogGroups", "as CreateLogDelivery"),
];

/// The values that cross stacks: the SSM parameter, the template parameter, and the stack that writes it.
pub const CROSSING: [(&str, &str, &str); 14] = [
    ("http-api-id", "HttpApiId", "platform"),
    ("api-url", "ApiUrl", "platform"),
    ("websocket-api-id", "WebSocketApiId", "platform"),
    ("websocket-url", "WebSocketUrl", "platform"),
    ("websocket-endpoint", "WebSocketEndpoint", "platform"),
    ("allowed-origins", "AllowedOrigins", "platform"),
    ("events-topic-arn", "EventsTopicArn", "platform"),
    ("alarm-action-arn", "AlarmActionArn", "platform"),
    ("jwt-key-arn", "JwtKeyArn", "platform"),
    ("stripe-secret-arn", "StripeSecretArn", "platform"),
    ("deployment-role-arn", "DeploymentRoleArn", "platform"),
    ("payments-queue-url", "PaymentsQueueUrl", "payments"),
    ("codes-queue-url", "CodesQueueUrl", "notifications"),
    ("email-queue-url", "EmailQueueUrl", "notifications"),
];

/// A function's binary, by the name that it is deployed under.
fn binary(function: &Value) -> Option<&str> {
    function["FunctionName"]["Fn::Sub"].as_str()?.strip_prefix("ordersaga-${Stage}-")
}

/// The requirements of `sam local invoke`: unique logical ids, because `--env-vars` refers to them, and the
/// emulator's endpoint among the variables, because only declared ones are passed on.
pub fn functions_can_be_invoked_locally(template: &Template) -> Vec<String> {
    let mut wrong = Vec::new();
    for (id, function) in template.functions() {
        let expected = camel_case(binary(&function).unwrap_or_default());
        if id != expected {
            wrong.push(format!("{id}: its logical id is not its binary's name, {expected}"));
        }
        if function["Environment"]["Variables"]["AWS_ENDPOINT_URL"] != "" {
            wrong.push(format!("{id}: it declares no empty AWS_ENDPOINT_URL"));
        }
    }
    wrong
}

/// `OrdersApi` for `orders-api`.
fn camel_case(name: &str) -> String {
    let words = name.split('-').filter_map(|word| word.split_at_checked(1));
    words.map(|(first, rest)| first.to_uppercase() + rest).collect()
}

/// Whether an alarm watches the resource, on this metric if one is given.
fn is_watched(template: &Template, id: &str, metric: Option<&str>) -> bool {
    template.of_type(ALARM).map(|(_, alarm)| &alarm["Properties"]).any(|alarm| {
        metric.is_none_or(|metric| alarm["MetricName"] == metric)
            && one_or_more(&alarm["Dimensions"])
                .iter()
                .any(|dimension| target(&dimension["Value"]) == Some(id))
    })
}

pub fn names_only_its_own_table(template: &Template) -> Vec<String> {
    let is_own = |value: &Value| target(value).is_some_and(|id| template.is(id, TABLE));
    let mut wrong = Vec::new();
    for (id, function) in template.functions() {
        for (name, value) in function["Environment"]["Variables"].as_object().into_iter().flatten() {
            if name.ends_with("TABLE_NAME") && !is_own(value) {
                wrong.push(format!("{id}: {name} is not a table of this template: {value}"));
            }
        }
    }
    for statement in template.statements() {
        if statement.actions.iter().any(|action| action.starts_with("dynamodb:")) {
            for resource in statement.resources.iter().filter(|resource| !is_own(resource)) {
                wrong.push(format!(
                    "{}: a dynamodb policy outside this template: {resource}",
                    statement.owner
                ));
            }
        }
    }
    // Names built by hand: a table is `ordersaga-<stage>-<context>`, and a function's name goes on with `-`.
    for other in CONTEXTS.iter().filter(|context| **context != template.name) {
        let name = format!("ordersaga-${{Stage}}-{other}");
        for text in strings(template.root()) {
            if text.split(&name).skip(1).any(|rest| !rest.starts_with('-')) {
                wrong.push(format!("names the table of {other}: {text}"));
            }
        }
    }
    wrong
}

pub fn policies_say_what_on_which(template: &Template) -> Vec<String> {
    let mut wrong = Vec::new();
    for (id, resource) in template.principals() {
        for policy in one_or_more(&resource["Properties"]["Policies"]) {
            if policy["Statement"].is_null() {
                wrong.push(format!("{id}: a policy that is not written out: {policy}"));
            }
        }
    }
    for statement in template.statements() {
        let owner = statement.owner;
        if statement.actions.is_empty() || statement.resources.is_empty() {
            wrong.push(format!("{owner}: a statement without actions or resources"));
        }
        for action in statement.actions.iter().filter(|action| action.contains('*')) {
            wrong.push(format!("{owner}: {action} is more than one action"));
        }
        if statement.resources.iter().any(|resource| **resource == "*") {
            if statement.actions.contains(&"sns:Publish") && !is_denied_every_topic(template, owner) {
                wrong.push(format!("{owner}: may publish to every topic"));
            }
            let scoped = |action: &&&str| !UNSCOPED.iter().any(|(unscoped, _)| unscoped == *action);
            for action in statement.actions.iter().filter(scoped) {
                wrong.push(format!("{owner}: {action} on '*' is not in the list of those that need it"));
            }
        }
    }
    wrong
}

fn is_denied_every_topic(template: &Template, owner: &str) -> bool {
    template.statements().any(|statement| {
        let every = json!({ "Fn::Sub": "arn:${AWS::Partition}:sns:*:*:*" });
        statement.owner == owner
            && statement.effect == "Deny"
            && statement.actions.contains(&"sns:Publish")
            && statement.resources.contains(&&every)
    })
}

pub fn queues_have_dead_letters(template: &Template) -> Vec<String> {
    let mut wrong = Vec::new();
    for (id, queue) in template.of_type(QUEUE) {
        let properties = &queue["Properties"];
        let name = properties["QueueName"]["Fn::Sub"].as_str().unwrap_or_default();
        let own =
            name.strip_prefix("ordersaga-${Stage}-").and_then(|rest| rest.strip_prefix(&*template.name));
        if !own.is_some_and(|rest| rest.starts_with(['-', '.'])) {
            wrong.push(format!("{id}: its name does not carry its context: {name}"));
        }
        if properties["SqsManagedSseEnabled"] != true {
            wrong.push(format!("{id}: is not encrypted by SQS"));
        }
        if name.trim_end_matches(".fifo").ends_with("-dlq") {
            if !is_watched(template, id, None) {
                wrong.push(format!("{id}: nobody is told when something lands in it"));
            }
            continue;
        }
        let redrive = &properties["RedrivePolicy"];
        let dead = target(&redrive["deadLetterTargetArn"]).filter(|dead| template.is(dead, QUEUE));
        match dead.map(|dead| template.properties(dead)) {
            None => wrong.push(format!("{id}: has no dead-letter queue")),
            Some(dead) if dead["FifoQueue"] != properties["FifoQueue"] => {
                wrong.push(format!("{id}: its dead-letter queue must be FIFO when it is, and only then"));
            }
            Some(_) => {}
        }
        // 5 receives. payments-commands takes 20: only failures of AWS count there, and 20 tries outlast an
        // hour of them.
        let receives = if name.ends_with("-payments-commands") { 20 } else { 5 };
        if redrive["maxReceiveCount"] != receives {
            wrong.push(format!(
                "{id}: gives up after {} receives, not {receives}",
                redrive["maxReceiveCount"]
            ));
        }
    }
    wrong
}

/// Every queue and topic denies calls with plain HTTP, at least on AWS.
pub fn queues_and_topics_deny_plain_http(template: &Template) -> Vec<String> {
    let policies = template.of_type(QUEUE_POLICY).chain(template.of_type(TOPIC_POLICY));
    let denied: Vec<&str> = policies
        .flat_map(|(_, policy)| one_or_more(&policy["Properties"]["PolicyDocument"]["Statement"]))
        .map(|statement| {
            let on_aws = &statement["Fn::If"];
            if on_aws[0] == "OnAws" { &on_aws[1] } else { statement }
        })
        .filter(|statement| {
            statement["Effect"] == "Deny"
                && statement["Principal"] == "*"
                && (statement["Action"] == "sqs:*" || statement["Action"] == "sns:Publish")
                && statement["Condition"] == json!({ "Bool": { "aws:SecureTransport": "false" } })
        })
        .flat_map(|statement| one_or_more(&statement["Resource"]))
        .filter_map(target)
        .collect();
    let queues_and_topics = template.of_type(QUEUE).chain(template.of_type(TOPIC));
    let allowed = queues_and_topics.filter(|(id, _)| !denied.contains(id));
    allowed.map(|(id, _)| format!("{id}: its policy does not deny plain HTTP")).collect()
}

pub fn topics_are_encrypted(template: &Template) -> Vec<String> {
    // Alarms cannot use SNS's key, and an alarm's text has no customer's data.
    let others = template.of_type(TOPIC).filter(|(id, _)| *id != "AlarmTopic");
    let plain = others.filter(|(_, topic)| topic["Properties"]["KmsMasterKeyId"].is_null());
    plain.map(|(id, _)| format!("{id}: is not encrypted")).collect()
}

pub fn functions_are_named_after_their_binary(template: &Template) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut deployed = Vec::new();
    let sources = repository().join(format!("functions/{}/src/bin", template.name));
    for (id, function) in template.functions() {
        let Some(binary) = binary(&function) else {
            let name = &function["FunctionName"];
            wrong.push(format!("{id}: its name is not ordersaga-${{Stage}}-<binary> but {name}"));
            continue;
        };
        if function["CodeUri"] != format!("../target/lambda/{binary}/") {
            wrong.push(format!("{id}: runs {} under the name of {binary}", function["CodeUri"]));
        }
        if !sources.join(format!("{binary}.rs")).exists() {
            wrong.push(format!("{id}: functions/{}/src/bin/{binary}.rs does not exist", template.name));
        }
        deployed.push(binary.to_owned());
    }
    for source in std::fs::read_dir(&sources).into_iter().flatten().flatten() {
        let binary = source.path().file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if !deployed.contains(&binary) {
            wrong.push(format!("{binary} is built and not deployed"));
        }
    }
    wrong
}

/// The log groups of a template's functions.
pub fn log_groups_of_functions(template: &Template) -> Vec<String> {
    let group = |(_, function): (&str, Value)| {
        binary(&function).map(|name| format!("/aws/lambda/ordersaga-${{Stage}}-{name}"))
    };
    template.functions().filter_map(group).collect()
}

/// The log groups that a saved query reads.
pub fn read_log_groups(query: &Value) -> Vec<String> {
    let groups = query["Properties"]["LogGroupNames"].as_array().into_iter().flatten();
    groups.filter_map(|group| group["Fn::Sub"].as_str().map(str::to_owned)).collect()
}

pub fn functions_are_traced_and_logged(template: &Template) -> Vec<String> {
    let mut wrong = Vec::new();
    for (id, function) in template.functions() {
        let begins_traces = binary(&function).is_some_and(|binary| binary.ends_with("-api"));
        let mode = if begins_traces { json!({"Ref": "TracingMode"}) } else { json!("PassThrough") };
        if function["Tracing"] != mode {
            wrong.push(format!("{id}: its traces are not {mode}"));
        }
        if function["LoggingConfig"]["SystemLogLevel"] != "WARN" {
            wrong.push(format!("{id}: Lambda logs each invocation of it"));
        }
        let name = format!("/aws/lambda/ordersaga-${{Stage}}-{}", binary(&function).unwrap_or_default());
        let group =
            target(&function["LoggingConfig"]["LogGroup"]).filter(|group| template.is(group, LOG_GROUP));
        match group.map(|group| &template.properties(group)["LogGroupName"]["Fn::Sub"]) {
            None => wrong.push(format!("{id}: has no log group")),
            Some(group) if *group != name => {
                wrong.push(format!("{id}: its log group does not have its name: {group}"));
            }
            Some(_) => {}
        }
        let variables = &function["Environment"]["Variables"];
        let sampling = if begins_traces { json!({"Ref": "TraceSamplingPercent"}) } else { Value::Null };
        if variables["TRACE_SAMPLING_PERCENT"] != sampling {
            wrong.push(format!("{id}: of its requests, {sampling} begin a trace"));
        }
        if variables["STAGE"] != json!({ "Ref": "Stage" }) || variables["SERVICE"] != template.name.as_str() {
            wrong.push(format!("{id}: its environment does not say its stage and service"));
        }
    }
    for (id, machine) in template.of_type("AWS::Serverless::StateMachine") {
        if machine["Properties"]["Tracing"]["Enabled"] != true {
            wrong.push(format!("{id}: is not traced"));
        }
        if machine["Properties"]["Logging"]["IncludeExecutionData"] != false {
            wrong.push(format!("{id}: would log addresses"));
        }
    }
    for (id, group) in template.of_type(LOG_GROUP) {
        if group["Properties"]["RetentionInDays"].is_null() {
            wrong.push(format!("{id}: keeps its lines for ever"));
        }
    }
    wrong
}

/// Each timeout is shorter than the one around it: API Gateway's integration 4 s > API function 3 s;
/// functions for commands, events and streams 30 s; functions that only a schedule starts 300 s. A queue
/// hides a message for six times its function's timeout, as Lambda recommends.
pub fn timeouts_nest(template: &Template) -> Vec<String> {
    let mut wrong = Vec::new();
    for (id, function) in template.functions() {
        let mut sources = template.sources().filter(|source| source.function == id).peekable();
        let scheduled = sources.peek().is_some() && sources.all(|source| source.kind == "ScheduleV2");
        let is_api = binary(&function).is_some_and(|binary| binary.ends_with("-api"));
        let most = match (is_api, scheduled) {
            (true, _) => limits::API_FUNCTION,
            (false, true) => limits::SCHEDULED_FUNCTION,
            (false, false) => limits::COMMAND_FUNCTION,
        }
        .as_secs();
        if !function["Timeout"].as_u64().is_some_and(|seconds| (1..=most).contains(&seconds)) {
            wrong.push(format!("{id}: its timeout is {}, not at most {most}", function["Timeout"]));
        }
        for source in template.sources().filter(|source| source.function == id && source.kind == "SQS") {
            let Some(queue) = target(&source.properties["Queue"]) else { continue };
            let hidden = template.properties(queue)["VisibilityTimeout"].as_u64();
            if hidden.zip(function["Timeout"].as_u64()).is_none_or(|(hidden, runs)| hidden < 6 * runs) {
                wrong.push(format!("{queue}: hands a batch out again while {id} works on it"));
            }
        }
    }
    for (id, integration) in template.of_type("AWS::ApiGatewayV2::Integration") {
        let properties = &integration["Properties"];
        let waits = json!(limits::API_INTEGRATION.as_secs() * 1000);
        if properties["PayloadFormatVersion"] == "2.0" && properties["TimeoutInMillis"] != waits {
            wrong.push(format!("{id}: waits {} ms, not {waits}", properties["TimeoutInMillis"]));
        }
    }
    wrong
}

pub fn tables_are_kept_safe(template: &Template) -> Vec<String> {
    let mut wrong = Vec::new();
    for (id, table) in template.of_type(TABLE) {
        let properties = &table["Properties"];
        let expected = [
            ("TableName", json!({ "Fn::Sub": format!("ordersaga-${{Stage}}-{}", template.name) })),
            ("BillingMode", json!("PAY_PER_REQUEST")),
            ("PointInTimeRecoverySpecification", json!({ "PointInTimeRecoveryEnabled": true })),
            ("SSESpecification", json!({ "SSEEnabled": true })),
            ("TimeToLiveSpecification", json!({ "AttributeName": "expires_at", "Enabled": true })),
            ("DeletionProtectionEnabled", json!({ "Fn::If": ["IsLocal", false, true] })),
        ];
        for (field, value) in expected.iter().filter(|(field, value)| properties[field] != *value) {
            wrong.push(format!("{id}: {field} is {}, not {value}", properties[field]));
        }
        for policy in ["DeletionPolicy", "UpdateReplacePolicy"] {
            if !table[policy].as_str().unwrap_or_default().starts_with("Retain") {
                wrong.push(format!("{id}: its {policy} would delete the data"));
            }
        }
        let is_local = &template.root()["Conditions"]["IsLocal"];
        if *is_local != json!({ "Fn::Equals": [{ "Ref": "Stage" }, "local"] }) {
            wrong.push(format!("{id}: its protection depends on IsLocal, which is {is_local}"));
        }
    }
    wrong
}

pub fn event_sources_lose_nothing(template: &Template) -> Vec<String> {
    let mut wrong = Vec::new();
    for source in template.sources() {
        let function = source.function;
        let expected = match source.kind {
            "DynamoDB" => vec![
                ("StartingPosition", json!("TRIM_HORIZON")),
                ("MaximumRetryAttempts", json!(-1)),
                ("BisectBatchOnFunctionError", json!(true)),
                ("FunctionResponseTypes", json!(["ReportBatchItemFailures"])),
            ],
            "SQS" => vec![("FunctionResponseTypes", json!(["ReportBatchItemFailures"]))],
            "Schedule" | "ScheduleV2" => Vec::new(),
            // Routes are written out, because SAM's own would belong to another API.
            other => {
                wrong.push(format!("{function}: an event source of the kind {other}"));
                continue;
            }
        };
        for (field, value) in expected.iter().filter(|(field, value)| source.properties[field] != *value) {
            wrong.push(format!("{function}: {field} is {}, not {value}", source.properties[field]));
        }
        if source.kind == "DynamoDB" && !is_watched(template, function, Some("IteratorAge")) {
            wrong.push(format!("{function}: nobody is told when its stream lags"));
        }
        if source.kind == "SQS" && source.properties["ScalingConfig"]["MaximumConcurrency"].is_null() {
            wrong.push(format!("{function}: its queue has no bulkhead"));
        }
    }
    for (id, subscription) in template.of_type("AWS::SNS::Subscription") {
        let properties = &subscription["Properties"];
        // A person's mailbox is no queue.
        if properties["Protocol"] == "email" {
            continue;
        }
        if properties["RawMessageDelivery"] != true {
            wrong.push(format!("{id}: must be raw"));
        }
        let dead = target(&properties["RedrivePolicy"]["deadLetterTargetArn"]);
        if !dead.is_some_and(|dead| template.is(dead, QUEUE)) {
            wrong.push(format!("{id}: has no dead-letter queue"));
        }
        // A topic of the context's own has what its one listener wants.
        if target(&properties["TopicArn"]).is_some_and(|topic| template.is(topic, "AWS::SNS::Topic")) {
            continue;
        }
        if properties["FilterPolicyScope"] != "MessageAttributes" {
            wrong.push(format!("{id}: must filter by attributes"));
        }
        if one_or_more(&properties["FilterPolicy"]["event_type"]).is_empty() {
            wrong.push(format!("{id}: takes every event"));
        }
    }
    wrong
}

/// A relay republishes its table (`cargo ops republish`), so it needs the table's name and permission to read
/// it.
pub fn relays_can_publish_again(template: &Template) -> Vec<String> {
    let mut wrong = Vec::new();
    for (id, function) in template.functions() {
        if !binary(&function).is_some_and(|binary| binary.ends_with("-relay")) {
            continue;
        }
        if function["Environment"]["Variables"]["TABLE_NAME"].is_null() {
            wrong.push(format!("{id}: does not know its table"));
        }
        let mut own = template.statements().filter(|statement| statement.owner == id);
        if !own.any(|statement| statement.actions.contains(&"dynamodb:Scan")) {
            wrong.push(format!("{id}: may not scan its table"));
        }
    }
    wrong
}

/// A misspelled event type would be waited for in silence.
pub fn filters_name_known_events(template: &Template) -> Vec<String> {
    let contract = repository().join("shared/contracts/src/events.rs");
    let contract = std::fs::read_to_string(contract).expect("the contract's events can be read");
    let known: Vec<&str> = contract.split('"').filter(|text| is_event_type(text)).collect();
    let exists = |wanted: &Value| match (wanted.as_str(), wanted["prefix"].as_str()) {
        (Some(exact), _) => known.contains(&exact),
        (None, Some(prefix)) => known.iter().any(|event| event.starts_with(prefix)),
        (None, None) => false,
    };
    let mut wrong = Vec::new();
    for (id, subscription) in template.of_type("AWS::SNS::Subscription") {
        let wanted = one_or_more(&subscription["Properties"]["FilterPolicy"]["event_type"]);
        for unknown in wanted.into_iter().filter(|wanted| !exists(wanted)) {
            wrong.push(format!("{id}: no event is called {unknown}"));
        }
    }
    wrong
}

fn is_event_type(text: &str) -> bool {
    let is_word = |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    text.split_once('.').is_some_and(|(subject, fact)| is_word(subject) && is_word(fact))
}

pub fn stacks_meet_in_known_parameters(template: &Template) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, parameter) in template.section("Parameters") {
        let kind = parameter["Type"].as_str().unwrap_or_default();
        match CROSSING.iter().find(|(_, taken_as, _)| *taken_as == name) {
            Some((ssm, _, _)) => {
                let default = format!("/ordersaga/local/{ssm}");
                if kind != "AWS::SSM::Parameter::Value<String>" || parameter["Default"] != default {
                    wrong.push(format!("{name}: must be an SSM parameter with the default {default}"));
                }
            }
            None if kind.starts_with("AWS::SSM::") => {
                wrong.push(format!("{name}: no stack writes such an SSM parameter"));
            }
            None => {}
        }
    }
    let mut written = Vec::new();
    for (id, parameter) in template.of_type("AWS::SSM::Parameter") {
        let name = parameter["Properties"]["Name"]["Fn::Sub"].as_str().unwrap_or_default();
        match name.strip_prefix("/ordersaga/${Stage}/") {
            Some(name) => written.push(name),
            None => wrong.push(format!("{id}: is not called /ordersaga/${{Stage}}/…")),
        }
    }
    let owed = CROSSING.iter().filter(|(_, _, writer)| *writer == template.name);
    let mut owed: Vec<&str> = owed.map(|(ssm, _, _)| *ssm).collect();
    written.sort_unstable();
    owed.sort_unstable();
    if written != owed {
        wrong.push(format!("writes the SSM parameters {written:?}, and should {owed:?}"));
    }
    let root = template.root().to_string();
    if root.contains("Fn::ImportValue") || root.contains("\"Export\"") {
        wrong.push("stacks meet in SSM parameters, not in exports".to_owned());
    }
    wrong
}
