//! The operations as the API's description tells them.

use lambda_kit::openapi::{Operation, Who};
use serde_json::{Value, json};

use crate::readiness::Report;

pub fn operations() -> Vec<Operation> {
    let report = |status: &str| json!({"status": status, "contexts": {"orders": {"status": status, "checks": {"table": status}}}});
    vec![
        Operation::get("/", Who::Public, "The shop's page").answers_text(200, "The page.", "text/html"),
        Operation::get("/health/live", Who::Public, "Whether anything answers").answers::<Value>(
            200,
            "It does.",
            &["Cache-Control"],
            json!({"status": "ok"}),
        ),
        Operation::get("/health/ready", Who::Public, "How every context is")
            .answers::<Report>(200, "All are well.", &["Cache-Control"], report("ok"))
            .answers::<Report>(503, "Some are not.", &["Cache-Control", "Retry-After"], report("down")),
    ]
}
