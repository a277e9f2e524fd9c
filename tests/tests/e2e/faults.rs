//! Fault injection: functions that are off, a gateway that fails, and faster retries than in production.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use contracts::{FUNCTION_ALIAS, OrderId};
use reqwest::Method;
use serde_json::{Value, json};

use crate::fixture::Fixture;
use crate::harness::Outcome;
use crate::saga::{state_machine, states};

/// The changes to revert at the end of a test.
#[derive(Debug, Clone, Default)]
pub struct Changes(Arc<Mutex<Changed>>);

#[derive(Debug, Default)]
struct Changed {
    off: BTreeSet<String>,
    /// Functions that do not reach their table.
    cut_off: BTreeSet<String>,
    /// The original environments, by function.
    environments: BTreeMap<String, Value>,
    /// The original definition of the state machine.
    definition: Option<String>,
    /// Functions whose alias names a version.
    published: BTreeSet<String>,
    /// Breakers whose dependencies are not called.
    forced_open: BTreeSet<String>,
    /// Feature switches that were set.
    switches: BTreeSet<String>,
}

impl Changes {
    fn lock(&self) -> MutexGuard<'_, Changed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The name that the policy has which keeps a function from its table.
const CUT_OFF: &str = "the-table-is-down";

impl Fixture {
    /// The gateway fails the next `count` requests of one order's operation (`create`, `confirm`, `refund`) in this way
    /// (infra/local-stack/README.md has the modes), and no request of another order.
    pub async fn fail_gateway(&self, order: &OrderId, operation: &str, mode: &str, count: u32) -> Outcome {
        let fault = json!({"key_prefix": format!("{order}.{operation}."), "mode": mode, "count": count});
        Ok(self.gateway.plan_fault(&fault).await?)
    }

    /// No invocation of the function gets through from now on, as when a deployment broke it.
    pub async fn switch_off(&self, function: &str) -> Outcome {
        self.changes.lock().off.insert(function.to_owned());
        self.concurrency(function, Some(0)).await
    }

    pub async fn switch_on(&self, function: &str) -> Outcome {
        self.concurrency(function, None).await?;
        self.changes.lock().off.remove(function);
        Ok(())
    }

    /// No call of the function to its table gets through from now on, as when the table is down. Its instances stay.
    pub async fn cut_off_table(&self, function: &str) -> Outcome {
        self.changes.lock().cut_off.insert(function.to_owned());
        let statement = json!({"Effect": "Deny", "Action": "dynamodb:*", "Resource": "*"});
        let policy = json!({"Version": "2012-10-17", "Statement": [statement]}).to_string();
        self.role_policy(function, "PutRolePolicy", &[("PolicyDocument", policy)]).await
    }

    pub async fn reach_table(&self, function: &str) -> Outcome {
        self.role_policy(function, "DeleteRolePolicy", &[]).await?;
        self.changes.lock().cut_off.remove(function);
        Ok(())
    }

    async fn role_policy(&self, function: &str, action: &str, more: &[(&str, String)]) -> Outcome {
        let role = self.function(function).role().await?;
        let name = role.rsplit('/').next().unwrap_or_default().to_owned();
        let fixed = [("RoleName", name), ("PolicyName", CUT_OFF.to_owned())];
        let form: Vec<_> =
            fixed.iter().chain(more).map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        self.emulator.query("iam", action, "2010-05-08", &form).await?;
        Ok(())
    }

    async fn concurrency(&self, function: &str, most: Option<u32>) -> Outcome {
        let name = format!("ordersaga-{}-{function}", self.outputs.stage);
        Ok(self.emulator.reserve_concurrency(&name, most).await?)
    }

    /// Sets a feature switch as an operator does, and returns what the command printed.
    pub async fn set_switch(&self, switch: &str, position: &str, reason: &str) -> Outcome<String> {
        self.changes.lock().switches.insert(switch.to_owned());
        self.ops(&["switch", "set", switch, position, "--reason", reason]).await
    }

    /// Scales the delays of the state machine's retries to this many thousandths.
    pub async fn pace_retries(&self, thousandths: u32) -> Outcome {
        let scale = format!("{}.{:03}", thousandths / 1000, thousandths % 1000);
        let body = json!({"stepfunctions._SFN_WAIT_SCALE": scale}).to_string().into_bytes();
        self.emulator.send("states", "config", Method::POST, "/_ministack/config", &[], body).await?;
        Ok(())
    }

    /// Orders placed from now on do not wait for a service that is down: a step that has failed at all its
    /// tries is not entered again. In production they wait for half an hour.
    pub async fn end_the_order_wait(&self) -> Outcome {
        self.redefine(|definition| definition.replace(" 30 * 60000 %}", " 0 %}")).await
    }

    /// Orders placed from now on have this saga.
    pub async fn redefine(&self, change: impl FnOnce(&str) -> String) -> Outcome {
        let machine = json!({"stateMachineArn": state_machine(self).await?});
        let machine = states(self, "DescribeStateMachine", machine).await?;
        let definition = machine["definition"].as_str().ok_or("a state machine has a definition")?;
        self.changes.lock().definition = Some(definition.to_owned());
        self.define(&change(definition)).await
    }

    async fn define(&self, definition: &str) -> Outcome {
        let machine = json!({"stateMachineArn": state_machine(self).await?, "definition": definition});
        states(self, "UpdateStateMachine", machine).await?;
        Ok(())
    }

    /// A function's environment with one value changed, until the test is over.
    pub async fn set_variable(&self, function: &str, name: &str, value: &str) -> Outcome {
        let before = self.function(function).variables().await?;
        let mut variables = before.clone();
        variables[name] = json!(value);
        // The emulator ends the function's instances at every change, also in the middle of another test's invocation.
        if variables == before {
            return Ok(());
        }
        self.changes.lock().environments.entry(function.to_owned()).or_insert(before);
        Ok(self.function(function).set_variables(&variables).await?)
    }

    /// Publishes a version of the function as it is now, and moves the alias to it as a deployment does, until the test is
    /// over.
    pub async fn publish_version(&self, function: &str) -> Outcome {
        let path = format!("/2015-03-31/functions/ordersaga-{}-{function}/versions", self.outputs.stage);
        let nothing = b"{}".to_vec();
        let version =
            self.emulator.send("lambda", "PublishVersion", Method::POST, &path, &[], nothing).await?;
        let version: Value = serde_json::from_str(&version)?;
        self.changes.lock().published.insert(function.to_owned());
        self.call_version(function, version["Version"].as_str().ok_or("a version has a number")?).await
    }

    async fn call_version(&self, function: &str, version: &str) -> Outcome {
        let name = format!("ordersaga-{}-{function}", self.outputs.stage);
        let path = format!("/2015-03-31/functions/{name}/aliases/{FUNCTION_ALIAS}");
        let body = json!({"FunctionVersion": version}).to_string().into_bytes();
        self.emulator.send("lambda", "UpdateAlias", Method::PUT, &path, &[], body).await?;
        Ok(())
    }

    /// Switches a circuit breaker, as `cargo ops breaker set` does: `normal`, `forced_open` or `off`.
    pub async fn switch_breaker(&self, context: &str, dependency: &str, mode: &str) -> Outcome {
        let input = json!({
            "TableName": format!("ordersaga-{}-{context}", self.outputs.stage),
            "Key": {"pk": {"S": format!("BREAKER#{dependency}")}, "sk": {"S": "BREAKER"}},
            "UpdateExpression": "SET #mode = :mode ADD version :one REMOVE #state",
            "ExpressionAttributeNames": {"#mode": "mode", "#state": "state"},
            "ExpressionAttributeValues": {":mode": {"S": mode}, ":one": {"N": "1"}},
        });
        self.emulator.json("dynamodb", "DynamoDB_20120810.UpdateItem", &input).await?;
        Ok(())
    }

    /// Stops the calls of a dependency as an operator does, until the test is over. `breaker` is its name in
    /// `cargo ops breaker list`.
    pub async fn force_open(&self, breaker: &str) -> Outcome {
        self.changes.lock().forced_open.insert(breaker.to_owned());
        self.ops(&["breaker", "set", breaker, "forced-open"]).await.map(drop)
    }

    /// The gateway's breaker is off but in the test that is about it: what one test makes fail would keep the others from
    /// paying for half a minute.
    pub async fn leave_the_gateway_to_each_test(&self) -> Outcome {
        self.switch_breaker("payments", "gateway", "off").await
    }

    /// Reverts all changes.
    pub async fn mend(&self) -> Outcome {
        self.pace_retries(1000).await?;
        self.gateway.forget_faults().await?;
        self.leave_the_gateway_to_each_test().await?;
        let Changed { off, cut_off, environments, definition, published, forced_open, switches } =
            std::mem::take(&mut *self.changes.lock());
        for function in off {
            self.switch_on(&function).await?;
        }
        for function in cut_off {
            self.reach_table(&function).await?;
        }
        for (function, variables) in environments {
            self.function(&function).set_variables(&variables).await?;
        }
        for function in published {
            self.call_version(&function, "$LATEST").await?;
        }
        if let Some(definition) = definition {
            self.define(&definition).await?;
        }
        for breaker in forced_open {
            self.ops(&["breaker", "set", &breaker, "normal"]).await?;
        }
        for switch in switches {
            self.set_switch(&switch, "on", "the test is over").await?;
        }
        Ok(())
    }
}
