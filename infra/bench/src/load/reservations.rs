//! Reserved concurrency, as a shop sets it before a sale in an account that has little: functions that customers call get a
//! part of the account's concurrency at most, so that sagas, queues and streams have the rest.

use local_stack::{Emulator, LOCAL_STAGE, Outputs};

use crate::error::Result;

/// Of 24 invocations at a time, which two processors keep up with.
const RESERVED: [(&str, u32); 6] = [
    ("orders-api", 5),
    ("realtime-api", 2),
    ("realtime-authorizer", 2),
    ("realtime-ws", 2),
    ("catalog-api", 2),
    ("inventory-api", 2),
];

/// # Errors
/// The emulator refuses, or does not answer.
pub async fn reserve(outputs: &Outputs) -> Result<()> {
    let emulator = Emulator::new(&outputs.aws_endpoint_url);
    for (function, most) in RESERVED {
        emulator.reserve_concurrency(&format!("ordersaga-{LOCAL_STAGE}-{function}"), Some(most)).await?;
    }
    Ok(())
}
