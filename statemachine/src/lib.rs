//! The definition of the order saga, for deployments and tests.

/// Amazon States Language, as deployed: `${…}` are the substitutions that `infra/orders.yaml` makes.
pub const ORDER_SAGA: &str = include_str!("../order_saga.asl.json");
