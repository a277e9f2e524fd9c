//! `cargo ops load`, on a stack that it starts itself.

use std::path::Path;

use crate::fixture::Fixture;
use crate::harness::Outcome;

crate::tests![alone: customers_at_a_rate_see_their_orders_end_and_the_stores_are_verified];

async fn customers_at_a_rate_see_their_orders_end_and_the_stores_are_verified(fixture: Fixture) -> Outcome {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("load");
    // Two customers a second.
    let said = fixture.ops_of(&folder, &["load", "--rate", "7200", "--for", "4", "--within", "120"]).await?;
    assert!(said.contains(" 0 were not seen to end") && said.contains("order until completed"), "{said}");
    assert!(said.contains("violations  none"), "{said}");
    Ok(())
}
