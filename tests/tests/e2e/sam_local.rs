//! Every function by `sam local invoke`, in Lambda's image. It needs Docker and, for the first run, access to
//! the image, so it runs only on request: `cargo test -p ordersaga-tests --test e2e -- --ignored
//! sam_local::`.

use crate::fixture::Fixture;
use crate::harness::Outcome;

crate::tests![ignored: every_function_answers_in_a_container];

async fn every_function_answers_in_a_container(fixture: Fixture) -> Outcome {
    println!("{}", fixture.ops(&["sam-local"]).await?);
    Ok(())
}
