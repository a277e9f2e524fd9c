//! The functions' sample events (infra/events) and environments, as `sam local invoke` and `cargo lambda invoke` take them.

use std::collections::{BTreeMap, BTreeSet};

use local_stack::invocation::{NEEDS, outcome, sample_with_token};
use serde_json::{Value, json};

use crate::fixture::Fixture;
use crate::harness::Outcome;

crate::tests![
    every_function_reads_its_sample_event_however_often_it_comes,
    every_environment_names_what_is_deployed,
    a_local_invocation_of_an_unknown_function_names_those_that_exist,
];

/// All functions, as the folder of sample events names them; those before others that others need.
fn functions() -> std::io::Result<Vec<String>> {
    let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../infra/events"))?;
    let names =
        folder.map(|file| Ok(file?.path().file_stem().unwrap_or_default().to_string_lossy().into_owned()));
    let names: BTreeSet<String> = names.collect::<std::io::Result<_>>()?;
    let (first, rest): (Vec<_>, Vec<_>) =
        names.into_iter().partition(|name| NEEDS.iter().any(|(_, needed)| needed == name));
    Ok([first, rest].concat())
}

async fn every_function_reads_its_sample_event_however_often_it_comes(fixture: Fixture) -> Outcome {
    let functions = functions()?;
    assert_eq!(functions.len(), 35);
    let mut wrong = Vec::new();
    for _ in 0..2 {
        for function in &functions {
            let event = sample_with_token(function, fixture.admin.token().unwrap_or_default())?;
            let answer = fixture.invoke(function, &serde_json::from_str(&event)?).await?;
            if let Err(failure) = outcome(&answer) {
                wrong.push(format!("{function}: {failure}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

async fn every_environment_names_what_is_deployed(fixture: Fixture) -> Outcome {
    let text = std::fs::read_to_string(format!("{}/env.json", fixture.folder))?;
    let environments: BTreeMap<String, BTreeMap<String, String>> = serde_json::from_str(&text)?;
    assert_eq!(environments.len(), 35);
    let tables: Value = fixture.emulator.json("dynamodb", "DynamoDB_20120810.ListTables", &json!({})).await?;
    let tables: BTreeSet<&str> =
        tables["TableNames"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let topic = fixture.parameter("events-topic-arn").await?;
    for (function, variables) in &environments {
        assert!(variables["AWS_ENDPOINT_URL"].starts_with("http://"), "{function}: {variables:?}");
        assert_eq!(variables["STAGE"], fixture.outputs.stage, "{function}");
        for (name, value) in variables {
            assert!(
                !value.contains("http://127.0.0.1"),
                "{function}: a container does not reach {name}={value}"
            );
        }
        if let Some(table) = variables.get("TABLE_NAME") {
            assert!(tables.contains(table.as_str()), "{function}: {table}");
        }
        if let Some(named) = variables.get("EVENTS_TOPIC_ARN") {
            assert_eq!(named, &topic, "{function}");
        }
    }
    assert!(environments["OrdersRelay"]["STATE_MACHINE_ARN"].ends_with("order-saga"));
    let own = std::fs::read_to_string(format!("{}/env/orders-api.env", fixture.folder))?;
    assert!(own.contains(&format!("AWS_ENDPOINT_URL={}\n", fixture.outputs.aws_endpoint_url)), "{own}");
    Ok(())
}

async fn a_local_invocation_of_an_unknown_function_names_those_that_exist(fixture: Fixture) -> Outcome {
    let Err(failure) = fixture.ops(&["sam-local", "--only", "order-api"]).await else {
        return Err("a function that does not exist was invoked".into());
    };
    let message = failure.message().unwrap_or_default();
    assert!(message.contains("no function order-api") && message.contains("orders-api"), "{message}");
    Ok(())
}
