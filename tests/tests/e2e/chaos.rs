//! A few runs of `cargo ops chaos`, on the stack that it starts itself. `.ci/run chaos` makes more, and the disturbances.

use tokio::process::Command;

use crate::fixture::Fixture;
use crate::harness::Outcome;

crate::tests![alone:
    orders_with_one_fault_each_end_well,
    a_fault_that_names_no_call_is_refused_before_anything_starts,
];

/// Orders with one fault each. They and the stack of their own take a minute on two busy cores.
const RUNS: &str = "12";

async fn chaos(arguments: &[&str]) -> Outcome<(bool, String)> {
    let program = std::env::current_exe()?.with_file_name("../ops");
    let ended = Command::new(program).arg("chaos").args(arguments).kill_on_drop(true).output().await?;
    let said = [ended.stdout, ended.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
    Ok((ended.status.success(), said))
}

async fn orders_with_one_fault_each_end_well(_: Fixture) -> Outcome {
    let (is_fine, said) = chaos(&["--fresh", "--sample", RUNS]).await?;
    eprintln!("{said}");
    if is_fine { Ok(()) } else { Err(said.into()) }
}

async fn a_fault_that_names_no_call_is_refused_before_anything_starts(_: Fixture) -> Outcome {
    let (is_fine, said) = chaos(&["--fault", "nothing:lost"]).await?;
    assert!(!is_fine && said.contains("--list prints those of each scenario"), "{said}");
    let (is_fine, said) = chaos(&["--fault", "orders-relay.sns.PublishBatch.1:lost"]).await?;
    assert!(!is_fine && said.contains("needs its --scenario"), "{said}");
    Ok(())
}
