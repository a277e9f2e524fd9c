//! The descriptions of the operations for openapi.json.

use lambda_kit::openapi::{Operation, Who};
use serde_json::{Value, json};

use crate::{dashboard::Dashboard, export::Export, readiness::Readiness};

const USER_ID: &str = "usr_0123456789abcdef0123456789abcdef";

pub fn operations() -> Vec<Operation> {
    let report = |status: &str| json!({"status": status, "contexts": {"orders": {"status": status, "checks": {"table": status}}}});
    vec![
        Operation::get("/", Who::Public, "The shop's page").answers_text(200, "The page.", "text/html"),
        Operation::get("/v1/dashboard", Who::User, "What a customer wants to see first, composed of several contexts")
            .answers::<Dashboard>(200, "The dashboard; what is missing is named in `degraded`.", &["Cache-Control"], json!({
                "customer": {"user_id": USER_ID, "name": "Ada Lovelace"}, "recent_orders": [], "shipments": [],
                "recommendations": [], "degraded": ["shipments"]
            })),
        Operation::get("/v1/users/me/export", Who::User, "All that is held about the person")
            .query("cursor", "`next_cursor` of the part before, for customers with many orders.", json!({"type": "string"}))
            .answers::<Export>(200, "The person's data.", &["Cache-Control"], json!({
                "exported_at": "2026-11-21T12:00:00Z",
                "profile": {"user_id": USER_ID, "name": "Ada Lovelace"}, "orders": [], "next_cursor": null
            }))
            .problem(404, "The account was deleted.")
            .problem(503, "A part cannot be had now, and the rest alone would not be all."),
        Operation::get("/health/live", Who::Public, "Whether anything answers").answers::<Value>(
            200,
            "It does.",
            &["Cache-Control"],
            json!({"status": "ok"}),
        ),
        Operation::get("/health/ready", Who::Public, "How every context is")
            .answers::<Readiness>(200, "All are well.", &["Cache-Control"], report("ok"))
            .answers::<Readiness>(503, "Some are not.", &["Cache-Control", "Retry-After"], report("down")),
    ]
}
