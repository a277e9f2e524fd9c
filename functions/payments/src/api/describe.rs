//! The descriptions of the operations for openapi.json.

use lambda_kit::openapi::{Operation, Who};
use serde_json::json;

use super::PaymentView;

pub fn operations() -> Vec<Operation> {
    vec![
        Operation::get("/v1/payments/{order_id}", Who::OwnerOrAdmin, "How the payment of an order stands")
            .answers::<PaymentView>(
            200,
            "The payment.",
            &["Cache-Control"],
            json!({
                "order_id": "ord_0123456789abcdef0123456789abcdef", "status": "succeeded",
                "amount": {"amount": 4200, "currency": "USD"}, "refunded": {"amount": 0, "currency": "USD"}
            }),
        ),
        Operation::post(
            "/v1/payments/webhook",
            Who::Signed,
            "What Stripe tells, signed by it in `Stripe-Signature`",
        )
        .header("Stripe-Signature", true, "Time and HMAC, as Stripe documents them.")
        .takes_any(json!({
            "id": "evt_1", "type": "payment_intent.succeeded",
            "data": {"object": {"id": "pi_1", "object": "payment_intent", "status": "succeeded"}}
        }))
        .answers_nothing(200, "It is noted, also when it came before.")
        .problem(400, "The signature is bad or older than five minutes, or the body is no event."),
    ]
}
