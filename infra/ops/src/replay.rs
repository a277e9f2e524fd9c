//! Rebuilding what is projected from events. The function orders-views does it part by part; this drives it, and holds the
//! place between the parts.

use std::time::Duration;

use local_stack::{Progress, Settings};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::aws::Aws;
use crate::error::{Error, Result};
use crate::stage::Stage;

const FUNCTION: &str = "orders-views";
/// The function's timeout of 30 s (infra/orders.yaml), and what getting there takes.
const PATIENCE: Duration = Duration::from_secs(45);
/// A part can be done again. The table may be away for a moment.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_secs(2);

#[derive(Debug, clap::Args)]
pub struct Replay {
    #[arg(value_enum)]
    projection: Projection,
    /// On AWS; without it, on this machine's stack
    #[arg(long)]
    stage: Option<Stage>,
}

/// What can be rebuilt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Projection {
    /// The views that lists of orders are read from
    Orders,
    /// Sales by day
    Sales,
}

impl Projection {
    /// As the function spells it.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Orders => "orders",
            Self::Sales => "sales",
        }
    }
}

/// The function's answer to one part.
#[derive(Debug, Deserialize)]
struct Part {
    orders: u64,
    removed: u64,
    unreadable: u64,
    position: Option<Value>,
}

impl Replay {
    /// On this machine's stack.
    pub const fn local(projection: Projection) -> Self {
        Self { projection, stage: None }
    }

    /// # Errors
    /// The function cannot be invoked, or refuses.
    pub async fn run(self, settings: &Settings, progress: &Progress) -> Result<()> {
        let Self { projection, stage } = self;
        let name = projection.as_str();
        let aws = Aws::of(settings, stage, progress).await?;
        let step = progress.step(&format!("replaying {name}"));
        let mut sum = Part { orders: 0, removed: 0, unreadable: 0, position: None };
        loop {
            let request = json!({"action": "Replay", "projection": name, "position": sum.position});
            let part = ask(&aws, &request).await?;
            sum.orders += part.orders;
            sum.removed += part.removed;
            sum.unreadable += part.unreadable;
            sum.position = part.position;
            if sum.position.is_none() {
                break;
            }
            step.at(format!("{} orders", sum.orders));
        }
        step.done(&format!("replayed {name}"));
        println!("{}", result(projection, &sum)?);
        Ok(())
    }
}

async fn ask(aws: &Aws, request: &Value) -> Result<Part> {
    let function = aws.name(FUNCTION);
    for _ in 1..TRIES {
        match read(&function, &aws.invoke(&function, request, PATIENCE).await?) {
            Ok(Some(part)) => return Ok(part),
            Ok(None) => tokio::time::sleep(PAUSE).await,
            Err(error) => return Err(error),
        }
    }
    let answer = aws.invoke(&function, request, PATIENCE).await?;
    read(&function, &answer)?.ok_or_else(|| {
        Error::Replay(format!(
            "{function} fails again and again: {answer}\nIts log says more; begin again when it is mended."
        ))
    })
}

/// The function's answer; nothing when it failed and may not the next time.
fn read(function: &str, answer: &str) -> Result<Option<Part>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Failed {
        error_type: String,
        error_message: String,
    }
    match serde_json::from_str(answer) {
        Ok(Failed { error_type, error_message }) if error_type == "Refused" => Err(Error::Replay(format!(
            "{function} does not go on: {error_message}\nIts log says more; `cargo ops replay` begins again."
        ))),
        Ok(Failed { .. }) => Ok(None),
        Err(_) => serde_json::from_str(answer).map(Some).map_err(|error| {
            Error::Replay(format!("{function} answers what cannot be read ({error}): {answer}"))
        }),
    }
}

fn result(projection: Projection, Part { orders, removed, unreadable, .. }: &Part) -> Result<String> {
    if *unreadable > 0 {
        return Err(Error::Replay(format!(
            "{unreadable} of {orders} orders cannot be read, and are left out: orders-views' log says which and why."
        )));
    }
    Ok(match projection {
        Projection::Orders => format!("{orders} orders, {removed} views of none removed"),
        Projection::Sales => format!("{orders} orders counted"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_may_go_well_the_next_time_is_told_from_one_that_does_not() {
        let part = read("f", r#"{"orders":3,"removed":0,"unreadable":0,"position":{"generation":2}}"#);
        assert_eq!(part.unwrap().unwrap().position, Some(json!({"generation": 2})));
        let failed = |kind: &str| json!({"errorType": kind, "errorMessage": "no table"}).to_string();
        assert!(read("f", &failed("Transient")).unwrap().is_none());
        assert!(read("f", &failed("Refused")).unwrap_err().to_string().contains("no table"));
        assert!(read("f", "null").is_err());
    }

    #[test]
    fn orders_that_are_left_out_are_an_error() {
        let part = |unreadable| Part { orders: 2, removed: 0, unreadable, position: None };
        assert_eq!(result(Projection::Sales, &part(0)).unwrap(), "2 orders counted");
        assert!(result(Projection::Orders, &part(1)).is_err());
    }
}
