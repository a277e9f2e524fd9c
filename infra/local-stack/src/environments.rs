//! Writes each function's deployed environment into the state folder: all in `env.json`, for `sam local
//! invoke --env-vars`, and one by one in `env/<function>.env`, for `cargo lambda watch --env-file`. Also
//! writes `start-api.json`, the REST API for `sam local start-api`.

mod deployed;
mod start_api;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use crate::containers;
use crate::deploy;
use crate::emulator::Emulator;
use crate::error::{Error, Result};
use crate::settings::{REGION, Settings};
use crate::state::{Running, StateDir};
use deployed::{Deployed, Environment, deployed_name};

/// Names the emulator to a function. SAM passes on no variable that the template does not declare, so every template
/// declares it, empty.
const ENDPOINT: &str = "AWS_ENDPOINT_URL";

/// Writes the environment of every function of the templates: by its logical id as a container needs it, and in a file of
/// its own as a process of this machine does.
///
/// # Errors
/// The emulator does not answer, a template cannot be read, or two functions have one logical id.
pub async fn write(settings: &Settings, state: &StateDir, running: &Running) -> Result<()> {
    let deployed = deployed::deployed(&Emulator::new(&running.endpoint())).await?;
    let functions = deploy::functions(settings)?;
    for function in &functions {
        let Some(found) = deployed.get(&deployed_name(&function.name)) else { continue };
        state
            .record_env_file(&function.name, &env_file(&found.environment.variables, &running.endpoint()))?;
    }
    let ids = functions.iter().map(|function| (function.logical_id.as_str(), function.name.as_str()));
    let host = containers::host_address();
    let environments = by_logical_id(ids, &deployed, host, running.gateway_port)?;
    state.record_start_api(&start_api::template(settings, &functions, &deployed, &environments))?;
    state.record_environments(&environments)
}

/// `NAME=value` lines, with the credentials and the region that Lambda would add.
fn env_file(variables: &Environment, endpoint: &str) -> String {
    let added = [
        (ENDPOINT, endpoint),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_REGION", REGION),
    ];
    let own = variables.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let own = own.filter(|(name, value)| *name != ENDPOINT && !value.is_empty());
    own.chain(added).map(|(name, value)| format!("{name}={value}\n")).collect()
}

fn by_logical_id<'a>(
    ids: impl Iterator<Item = (&'a str, &'a str)>,
    deployed: &BTreeMap<String, Deployed>,
    host: Ipv4Addr,
    gateway_port: u16,
) -> Result<BTreeMap<String, Environment>> {
    let mut all = BTreeMap::new();
    for (logical_id, name) in ids {
        // One that is in a template and is not deployed has no environment.
        let Some(found) = deployed.get(&deployed_name(name)) else { continue };
        let seen = |value: &String| containers::seen_from_a_container(value, host);
        let mut environment: Environment =
            found.environment.variables.iter().map(|(name, value)| (name.clone(), seen(value))).collect();
        environment.insert(ENDPOINT.to_owned(), format!("http://{host}:{gateway_port}"));
        if all.insert(logical_id.to_owned(), environment).is_some() {
            return Err(Error::Deploy(format!(
                "two functions have the logical id {logical_id}, and `sam local invoke --env-vars` tells them apart by it. \
                 Name {name}'s as the function is named, in CamelCase, and run the command again."
            )));
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::deployed::Variables;
    use super::*;

    const HOST: Ipv4Addr = Ipv4Addr::new(172, 17, 0, 1);

    fn deployed() -> BTreeMap<String, Deployed> {
        let variables = |table: &str| {
            [("TABLE_NAME", table), ("STRIPE_URL", "http://127.0.0.1:8420"), (ENDPOINT, "")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into()
        };
        ["users", "orders"]
            .map(|context| {
                let name = format!("ordersaga-local-{context}-api");
                let environment = Variables { variables: variables(&format!("ordersaga-local-{context}")) };
                (name.clone(), Deployed { function_name: name, timeout: 3, memory_size: 256, environment })
            })
            .into()
    }

    #[test]
    fn each_function_has_its_own_values_and_the_address_that_a_container_reaches() {
        let ids = [("UsersApi", "users-api"), ("OrdersApi", "orders-api"), ("Gone", "gone")];
        let all = by_logical_id(ids.into_iter(), &deployed(), HOST, 4566).unwrap();
        assert_eq!(all.keys().collect::<Vec<_>>(), ["OrdersApi", "UsersApi"]);
        assert_eq!(all["OrdersApi"]["TABLE_NAME"], "ordersaga-local-orders");
        assert_eq!(all["UsersApi"]["STRIPE_URL"], "http://172.17.0.1:8420");
        assert_eq!(all["UsersApi"][ENDPOINT], "http://172.17.0.1:4566");
    }

    #[test]
    fn a_process_of_this_machine_gets_the_values_as_they_are_and_credentials() {
        let file =
            env_file(&deployed()["ordersaga-local-users-api"].environment.variables, "http://127.0.0.1:4566");
        let expected = "STRIPE_URL=http://127.0.0.1:8420\nTABLE_NAME=ordersaga-local-users\n\
                        AWS_ENDPOINT_URL=http://127.0.0.1:4566\nAWS_ACCESS_KEY_ID=test\nAWS_SECRET_ACCESS_KEY=test\n\
                        AWS_REGION=us-east-1\n";
        assert_eq!(file, expected);
    }

    #[test]
    fn two_functions_with_one_logical_id_are_refused() {
        let ids = [("Api", "users-api"), ("Api", "orders-api")];
        let error = by_logical_id(ids.into_iter(), &deployed(), HOST, 4566).unwrap_err().to_string();
        assert!(error.contains("Api") && error.contains("orders-api"), "{error}");
    }
}
