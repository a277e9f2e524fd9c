//! The order saga's definition, for whoever deploys or checks it.

/// Amazon States Language, as deployed: `${…}` are the substitutions that `infra/orders.yaml` makes.
pub const ORDER_SAGA: &str = include_str!("../order_saga.asl.json");
