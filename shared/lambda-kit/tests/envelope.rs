//! Consumers must survive any message in their queues.

use contracts::{
    Envelope,
    events::{OrderCreated, PaymentFailed, UserRegistered},
};
use lambda_kit::testing::mutated;

const SEED: &str = r#"{
    "event_id": "evt_0123456789abcdef0123456789abcdef", "event_type": "payment.failed", "event_version": 1,
    "occurred_at": "2026-11-20T12:00:00Z", "source": "payments", "subject": "ord_0123456789abcdef0123456789abcdef",
    "sequence": 2, "correlation_id": "cor_1", "causation_id": "c", "traceparent": "00-0-0-01",
    "data": {"order_id": "ord_0123456789abcdef0123456789abcdef", "amount": {"amount": 4200, "currency": "USD"},
             "reason": "PaymentDeclined"},
    "metadata": {"user_id": "usr_0123456789abcdef0123456789abcdef", "tenant_id": null}
}"#;

#[test]
fn an_envelope_is_read_or_refused_and_what_is_read_is_written_as_it_was() {
    bolero::check!().with_type::<Vec<u8>>().for_each(|entropy| {
        let Ok(envelope) = serde_json::from_slice::<Envelope>(&mutated(SEED, entropy)) else { return };
        let written = serde_json::to_vec(&envelope).expect("what was JSON is JSON");
        assert_eq!(serde_json::from_slice::<Envelope>(&written).expect("an envelope"), envelope);
        // Whatever the envelopes hold, none of these panics.
        let _ = envelope.decode::<OrderCreated>();
        let _ = envelope.decode::<PaymentFailed>();
        let _ = envelope.decode::<UserRegistered>();
    });
}
