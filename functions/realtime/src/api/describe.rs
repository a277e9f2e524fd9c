//! The descriptions of the operations for openapi.json.

use lambda_kit::openapi::{Operation, Who};
use serde_json::json;

use super::TicketAnswer;

pub fn operations() -> Vec<Operation> {
    vec![
        Operation::post("/v1/realtime/tickets", Who::User, "A ticket for the WebSocket")
            .answers::<TicketAnswer>(
                201,
                "The ticket, and where it is good: connect to `<url>?ticket=<ticket>`.",
                &["Cache-Control"],
                json!({
                    "ticket": "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ1c3JfMDEifQ.c2lnbmF0dXJl", "expires_in": 60,
                    "url": "wss://example.execute-api.us-east-1.amazonaws.com/live"
                }),
            ),
    ]
}
