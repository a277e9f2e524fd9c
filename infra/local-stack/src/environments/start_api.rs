//! The REST API as one template that `sam local start-api` understands.
//!
//! It does not understand ours (SAM 1.167): once a template has an AWS::Serverless::Function, it reads only
//! that function's `HttpApi` events and not explicit routes, and it cannot resolve the ARN of a function
//! whose name is an expression. So this writes the same routes as such events, with all values resolved.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::deployed::{Deployed, Environment, deployed_name};
use crate::deploy;
use crate::settings::Settings;
use crate::template::Function;

pub fn template(
    settings: &Settings,
    functions: &[Function],
    deployed: &BTreeMap<String, Deployed>,
    environments: &BTreeMap<String, Environment>,
) -> Value {
    let resources: Map<String, Value> = functions
        .iter()
        .filter(|function| !function.routes.is_empty())
        .filter_map(|function| {
            let found = deployed.get(&deployed_name(&function.name))?;
            let properties = json!({
                "FunctionName": found.function_name,
                "CodeUri": settings.target.join("lambda").join(&function.name),
                "Runtime": "provided.al2023",
                "Handler": "bootstrap",
                "Architectures": [deploy::architecture()],
                "Timeout": found.timeout,
                "MemorySize": found.memory_size,
                "Environment": {"Variables": environments.get(&function.logical_id)?},
                "Events": events(&function.routes),
            });
            let resource = json!({"Type": "AWS::Serverless::Function", "Properties": properties});
            Some((function.logical_id.clone(), resource))
        })
        .collect();
    json!({
        "AWSTemplateFormatVersion": "2010-09-09",
        "Transform": "AWS::Serverless-2016-10-31",
        "Description": "The REST API of the stack that runs, for sam local start-api. Written by cargo ops up.",
        "Resources": resources,
    })
}

fn events(routes: &[String]) -> Map<String, Value> {
    let events = routes.iter().enumerate().map(|(index, route)| {
        let event = match route.split_once(' ') {
            Some((method, path)) => {
                json!({"Type": "HttpApi", "Properties": {"Method": method, "Path": path}})
            }
            // `$default`: an event that names no path takes what no other route does.
            None => json!({"Type": "HttpApi"}),
        };
        (format!("Route{}", index + 1), event)
    });
    events.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_become_events_and_the_default_route_names_no_path() {
        let events = events(&["ANY /v1/orders/{proxy+}".to_owned(), "$default".to_owned()]);
        let orders = json!({"Method": "ANY", "Path": "/v1/orders/{proxy+}"});
        assert_eq!(events["Route1"], json!({"Type": "HttpApi", "Properties": orders}));
        assert_eq!(events["Route2"], json!({"Type": "HttpApi"}));
    }
}
