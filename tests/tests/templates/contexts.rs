//! Compares the table of contexts in functions/README.md with the templates, the published events and the contexts'
//! own descriptions.

use std::{collections::BTreeSet, fmt::Write, fs, path::Path};

use serde_json::Value;

use crate::document::{CONTEXTS, Template, block, one_or_more, repository, sources, strings, target};

const README: &str = "functions/README.md";

/// The service outside AWS that a context has a secret for.
const SECRETS: [(&str, &str); 2] = [("payments", "Stripe"), ("notifications", "SMTP")];

/// Other services that a permission is for. The service's name, and the action that only its callers have.
const SERVICES: [(&str, &str); 5] = [
    ("states:StartExecution", "Step Functions"),
    ("states:SendTaskSuccess", "Step Functions"),
    ("kms:Sign", "KMS"),
    ("ses:SendEmail", "SES"),
    ("execute-api:ManageConnections", "WebSocket connections"),
];

#[test]
fn functions_readme_has_the_table_of_contexts() {
    let events = published();
    let rows: String = contexts().iter().map(|template| row(template, &events)).collect();
    let table = format!(
        "| context | functions | owns | publishes | listens to | calls |\n|---|---|---|---|---|---|\n{rows}"
    );
    assert!(block(README, "contexts") == table, "{README}: put this between the marks:\n{table}");
}

#[test]
fn a_changed_template_changes_its_row() {
    let events = published();
    let catalog = fs::read_to_string(repository().join("infra/catalog.yaml")).expect("a template");
    let before = row(&Template::parse("catalog", &catalog), &events);
    let changes = [
        ("- order.completed", "- order.cancelled", "`order.cancelled`"),
        (
            "function:ordersaga-${Stage}-inventory-commands",
            "function:ordersaga-${Stage}-users-api",
            "`users-api`",
        ),
        ("Action: kms:GetPublicKey", "Action: kms:Sign", "KMS"),
        ("ordersaga-${Stage}-catalog-relay", "ordersaga-${Stage}-catalog-views", "views"),
    ];
    for (from, to, expected) in changes {
        assert!(catalog.contains(from) && !before.contains(expected), "{from}");
        let after = row(&Template::parse("catalog", &catalog.replace(from, to)), &events);
        assert!(after.contains(expected), "{from} as {to} gave {after}");
    }
}

#[test]
fn each_context_publishes_the_events_that_name_it_as_their_source() {
    let events = published();
    for template in contexts() {
        let publishes = events.iter().filter(|(source, _)| *source == template.name);
        let publishes: Vec<&String> = publishes.map(|(_, event_type)| event_type).collect();
        let may_publish = template.statements().any(|statement| {
            statement.actions.contains(&"sns:PublishBatch")
                && statement.resources.iter().any(|resource| target(resource) == Some("EventsTopicArn"))
        });
        assert_eq!(may_publish, !publishes.is_empty(), "infra/{}.yaml: sns:PublishBatch", template.name);

        let code = code_of(&template.name);
        for event_type in publishes {
            let payload = camel_case(event_type);
            assert!(code.contains(&payload), "functions/{} does not name {payload}", template.name);
        }
    }
}

fn contexts() -> Vec<Template> {
    let mut all = Template::all();
    all.retain(|template| CONTEXTS.contains(&&*template.name));
    all.sort_by_key(|template| CONTEXTS.iter().position(|name| *name == template.name));
    assert_eq!(all.len(), CONTEXTS.len());
    all
}

/// The source and the type of each published event, from the examples of the contract.
fn published() -> BTreeSet<(String, String)> {
    let folder = fs::read_dir(repository().join("shared/contracts/schemas")).expect("the schemas");
    let files = folder.map(|entry| entry.expect("an entry").path());
    let examples = files.filter(|path| path.to_string_lossy().ends_with(".example.json"));
    let events = examples.map(|path| {
        let example: Value =
            serde_json::from_str(&fs::read_to_string(path).expect("an example")).expect("it is JSON");
        let text = |field: &str| example[field].as_str().expect("a text").to_owned();
        (text("source"), text("event_type"))
    });
    events.collect()
}

/// The code of a context without its tests.
fn code_of(context: &str) -> String {
    let folder = repository().join("functions").join(context).join("src");
    let is_test = |path: &Path| {
        path.ends_with("tests.rs")
            || path.strip_prefix(&folder).is_ok_and(|path| path.iter().any(|part| part == "tests"))
    };
    let code =
        sources(&folder).into_iter().filter(|path| path.extension() == Some("rs".as_ref()) && !is_test(path));
    code.map(|path| fs::read_to_string(path).expect("a source")).collect()
}

/// `order.payment_pending` as `OrderPaymentPending`.
fn camel_case(event_type: &str) -> String {
    let words = event_type.split(['.', '_']).map(|word| {
        let (first, rest) = word.split_at(1);
        first.to_uppercase() + rest
    });
    words.collect()
}

fn row(template: &Template, events: &BTreeSet<(String, String)>) -> String {
    let name = &template.name;
    let mut row = format!("| [{name}]({name}/src/lib.rs) ");
    for cell in
        [functions(template), owns(template), publishes(name, events), listens_to(template), calls(template)]
    {
        let cell = if cell.is_empty() { "–" } else { &cell };
        write!(row, "| {cell} ").expect("a String takes every text");
    }
    row + "|\n"
}

fn functions(template: &Template) -> String {
    let prefix = format!("{}-", template.name);
    let names = template.functions().map(|(id, _)| binary(template, id).replacen(&prefix, "", 1));
    names.collect::<Vec<_>>().join(", ")
}

/// The first sentence of the crate's description, with the template's tables and state machines.
fn owns(template: &Template) -> String {
    let lib = repository().join("functions").join(&template.name).join("src/lib.rs");
    let lib = fs::read_to_string(lib).expect("a library");
    let description: Vec<&str> =
        lib.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim).collect();
    let description = description.join(" ");
    let (first, _) = description.split_once(". ").expect("a sentence");
    let what = first.strip_prefix("Owns ");
    let what = what.unwrap_or_else(|| panic!("functions/{}/src/lib.rs begins with `Owns …`", template.name));

    let named = |kind: &'static str, property: &'static str, label: &'static str| {
        template.of_type(kind).map(move |(_, resource)| {
            let name = strings(&resource["Properties"][property]).concat();
            format!("{label} `{}`", name.trim_start_matches("ordersaga-${Stage}-"))
        })
    };
    let tables = named("AWS::DynamoDB::Table", "TableName", "table");
    let machines = named("AWS::Serverless::StateMachine", "Name", "state machine");
    format!("{what}: {}", tables.chain(machines).collect::<Vec<_>>().join(", "))
}

/// The types with this source; `order.*` when it publishes all types that begin like this.
fn publishes(context: &str, events: &BTreeSet<(String, String)>) -> String {
    let subject = |event_type: &str| event_type.split('.').next().unwrap_or_default().to_owned();
    let own: BTreeSet<String> = events
        .iter()
        .filter(|(source, _)| source == context)
        .map(|(_, event_type)| subject(event_type))
        .collect();
    for (source, event_type) in events {
        assert!(
            source == context || !own.contains(&subject(event_type)),
            "{event_type} is published by {source}, and {context} publishes others with this prefix"
        );
    }
    own.iter().map(|subject| format!("`{subject}.*`")).collect::<Vec<_>>().join(", ")
}

fn listens_to(template: &Template) -> String {
    let types: BTreeSet<String> = template
        .of_type("AWS::SNS::Subscription")
        .flat_map(|(_, resource)| one_or_more(&resource["Properties"]["FilterPolicy"]["event_type"]))
        .map(|wanted| match wanted["prefix"].as_str() {
            Some(prefix) => format!("`{prefix}*`"),
            None => format!("`{}`", wanted.as_str().expect("a type")),
        })
        .collect();
    types.into_iter().collect::<Vec<_>>().join(", ")
}

/// Functions of other contexts and other services that the policies allow, first those of the functions, then those of
/// the state machine.
fn calls(template: &Template) -> String {
    let machine = |owner: &str| template.is(owner, "AWS::Serverless::StateMachine");
    let called = |by_machine: bool| {
        let mut called = BTreeSet::new();
        for statement in template.statements() {
            if statement.effect != "Allow" || machine(statement.owner) != by_machine {
                continue;
            }
            for action in &statement.actions {
                let services = SERVICES.iter().filter(|(name, _)| name == action);
                called.extend(services.map(|(_, service)| (*service).to_owned()));
                if *action == "secretsmanager:GetSecretValue" {
                    let service = SECRETS.iter().find(|(context, _)| *context == template.name);
                    called.insert(service.expect("the service is known").1.to_owned());
                }
                if *action == "sns:Publish" && statement.resources.iter().any(|resource| *resource == "*") {
                    called.insert("SNS (SMS)".to_owned());
                }
                let texts: Vec<String> = statement
                    .resources
                    .iter()
                    .filter_map(|resource| function(template, resource))
                    .filter(|name| by_machine || !name.starts_with(&format!("{}-", template.name)))
                    .collect();
                match *action {
                    "lambda:InvokeFunction" => called.extend(texts.iter().map(|name| format!("`{name}`"))),
                    "sqs:SendMessage" => {
                        called.extend(texts.iter().map(|name| format!("the queue `{name}`")));
                    }
                    _ => {}
                }
            }
        }
        called.into_iter().collect::<Vec<_>>().join(", ")
    };
    match (called(false), called(true)) {
        (by_functions, by_machine) if by_machine.is_empty() => by_functions,
        (by_functions, by_machine) => format!("{by_functions}; the saga calls {by_machine}"),
    }
}

/// The name of the function or queue that a policy's resource is, without the stage.
fn function(template: &Template, resource: &Value) -> Option<String> {
    if let Some(id) = target(resource).filter(|id| template.is(id, "AWS::Serverless::Function")) {
        return Some(binary(template, id));
    }
    let (_, name) = resource["Fn::Sub"].as_str()?.split_once(":ordersaga-${Stage}-")?;
    Some(name.trim_end_matches(":live").to_owned())
}

fn binary(template: &Template, id: &str) -> String {
    let name = template.properties(id)["FunctionName"]["Fn::Sub"].as_str().expect("a name");
    name.trim_start_matches("ordersaga-${Stage}-").to_owned()
}
