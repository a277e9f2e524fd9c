//! The metrics of reservations, as a process writes them.

use std::process::{Command as Process, Stdio};

use contracts::metrics::{self, Metric};
use lambda_kit::telemetry;

use super::*;

/// Set in the process whose metrics are read. The tests of one process share its metrics.
const IS_COUNTED: &str = "RESERVATIONS_ARE_COUNTED";

#[tokio::test]
async fn reservations_of_a_counted_process() {
    if std::env::var_os(IS_COUNTED).is_none() {
        return;
    }
    telemetry::init();
    let warehouse = Warehouse::with(&[("MUG", 5)]).await;
    for _ in 0..2 {
        assert_eq!(warehouse.reserve(&order(1), &[("MUG", 2)]).await, held(&order(1)));
        assert_eq!(warehouse.reserve(&order(2), &[("MUG", 3)]).await, held(&order(2)));
        assert_eq!(warehouse.reserve(&order(3), &[("MUG", 1)]).await, refused("InventoryNotAvailable"));
    }
    warehouse.release(&order(1)).await.unwrap();
    warehouse.commit(&order(2)).await;
}

#[test]
fn each_order_counts_once_as_held_or_refused_however_often_it_comes() {
    let name = format!("{}::reservations_of_a_counted_process", module_path!().split_once("::").unwrap().1);
    let process = Process::new(std::env::current_exe().unwrap())
        .args(["--exact", &name, "--nocapture"])
        .env(IS_COUNTED, "1")
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    let written = String::from_utf8(process.stdout).unwrap();
    assert!(process.status.success(), "{written}");
    let values = |metric: &Metric| written.matches(&format!("\"{}\":1", metric.name)).count();
    assert_eq!(
        (values(&metrics::RESERVATIONS_HELD), values(&metrics::RESERVATIONS_REFUSED)),
        (2, 1),
        "{written}"
    );
}
