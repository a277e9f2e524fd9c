//! Parses the frames that a client sends.

use contracts::OrderId;
use serde_json::{Map, Value};

use super::{ErrorCode, Refusal};

/// In bytes; API Gateway's own limit for one frame.
const FRAME_LIMIT: usize = lambda_kit::limits::FRAME_BYTES;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    Subscribe {
        subject: Subject,
        /// The order's last version that the client has seen; nothing for live frames only.
        after: Option<u64>,
    },
    Unsubscribe {
        subject: Subject,
    },
    Ping,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    Order(OrderId),
    AllOwn,
}

/// Parses a client's frame. Unknown fields are ignored, so that newer clients work.
///
/// # Errors
/// The error frame for the client.
pub fn parse(body: &str) -> Result<Request, Refusal> {
    if body.len() > FRAME_LIMIT {
        return Err(bad_request(format!("A frame may have {FRAME_LIMIT} bytes.")));
    }
    // The fields are read by hand, so that the answer can say what is wrong.
    let Ok(Value::Object(fields)) = serde_json::from_str(body) else {
        return Err(bad_request("A frame is a JSON object with an `action`."));
    };
    match fields.get("action") {
        Some(Value::String(action)) => match action.as_str() {
            "subscribe" => subscribe(&fields),
            "unsubscribe" => Ok(Request::Unsubscribe { subject: subject(&fields)? }),
            "ping" => Ok(Request::Ping),
            _ => Err(Refusal {
                code: ErrorCode::UnknownAction,
                message: "The actions are `subscribe`, `unsubscribe` and `ping`.".to_owned(),
            }),
        },
        _ => Err(bad_request("Say what to do in `action`, a string.")),
    }
}

fn subscribe(fields: &Map<String, Value>) -> Result<Request, Refusal> {
    let subject = subject(fields)?;
    let after = match (fields.get("after"), &subject) {
        (None | Some(Value::Null), _) => None,
        (Some(_), Subject::AllOwn) => {
            return Err(bad_request("`after` is a version of one order: send `order_id` with it."));
        }
        (Some(after), Subject::Order(_)) => Some(
            after
                .as_u64()
                .ok_or_else(|| bad_request("`after` is an order's version: 0 or a whole number above."))?,
        ),
    };
    Ok(Request::Subscribe { subject, after })
}

fn subject(fields: &Map<String, Value>) -> Result<Subject, Refusal> {
    match fields.get("order_id") {
        None | Some(Value::Null) => Ok(Subject::AllOwn),
        Some(Value::String(id)) => OrderId::try_from(id.as_str())
            .map(Subject::Order)
            .map_err(|_| bad_request("`order_id` is not an order id.")),
        Some(_) => Err(bad_request("`order_id` is a string.")),
    }
}

fn bad_request(message: impl Into<String>) -> Refusal {
    Refusal { code: ErrorCode::BadRequest, message: message.into() }
}

#[cfg(test)]
mod tests {
    use lambda_kit::testing::mutated;
    use rstest::rstest;

    use super::*;

    const ORDER: &str = "ord_0123456789abcdef0123456789abcdef";

    fn order() -> Subject {
        Subject::Order(OrderId::try_from(ORDER).unwrap())
    }

    #[test]
    fn a_client_can_follow_one_order_or_all_and_stop_and_ping() {
        let read = |body: String| parse(&body).unwrap();
        assert_eq!(
            read(format!(r#"{{"action":"subscribe","order_id":"{ORDER}","after":3}}"#)),
            Request::Subscribe { subject: order(), after: Some(3) }
        );
        assert_eq!(
            read(format!(r#"{{"action":"subscribe","order_id":"{ORDER}","later":true}}"#)),
            Request::Subscribe { subject: order(), after: None }
        );
        assert_eq!(
            read(r#"{"action":"subscribe"}"#.into()),
            Request::Subscribe { subject: Subject::AllOwn, after: None }
        );
        assert_eq!(
            read(format!(r#"{{"action":"unsubscribe","order_id":"{ORDER}"}}"#)),
            Request::Unsubscribe { subject: order() }
        );
        assert_eq!(
            read(r#"{"action":"unsubscribe"}"#.into()),
            Request::Unsubscribe { subject: Subject::AllOwn }
        );
        assert_eq!(read(r#"{"action":"ping"}"#.into()), Request::Ping);
    }

    #[rstest]
    #[case::no_json("hello", ErrorCode::BadRequest)]
    #[case::nothing("", ErrorCode::BadRequest)]
    #[case::no_object("[]", ErrorCode::BadRequest)]
    #[case::no_action("{}", ErrorCode::BadRequest)]
    #[case::action_of_another_type(r#"{"action":1}"#, ErrorCode::BadRequest)]
    #[case::action_of_somebody_else(r#"{"action":"buy"}"#, ErrorCode::UnknownAction)]
    #[case::no_order_id(r#"{"action":"subscribe","order_id":"12"}"#, ErrorCode::BadRequest)]
    #[case::order_id_of_another_type(r#"{"action":"unsubscribe","order_id":12}"#, ErrorCode::BadRequest)]
    #[case::after_of_all_orders(r#"{"action":"subscribe","after":1}"#, ErrorCode::BadRequest)]
    #[case::negative_after(
        r#"{"action":"subscribe","order_id":"ord_0123456789abcdef0123456789abcdef","after":-1}"#,
        ErrorCode::BadRequest
    )]
    #[case::after_of_another_type(
        r#"{"action":"subscribe","order_id":"ord_0123456789abcdef0123456789abcdef","after":"1"}"#,
        ErrorCode::BadRequest
    )]
    fn an_invalid_request_gets_an_error_code(#[case] body: &str, #[case] expected: ErrorCode) {
        assert!(matches!(parse(body), Err(Refusal { code, .. }) if code == expected));
    }

    #[test]
    fn a_frame_that_is_too_long_is_refused() {
        let body = format!(r#"{{"action":"ping","padding":"{}"}}"#, "x".repeat(FRAME_LIMIT));
        assert!(parse(&body).is_err());
        let ping = r#"{"action":"ping"}"#;
        assert_eq!(parse(&format!("{ping:FRAME_LIMIT$}")), Ok(Request::Ping), "as long as a frame may be");
        assert!(parse(&format!("{ping:0$}", FRAME_LIMIT + 1)).is_err());
    }

    #[test]
    fn a_frame_is_understood_or_answered_whatever_it_is() {
        let seed = format!(r#"{{"action":"subscribe","order_id":"{ORDER}","after":3}}"#);
        bolero::check!().with_type::<Vec<u8>>().for_each(|entropy| {
            let frame = String::from_utf8_lossy(&mutated(&seed, entropy)).into_owned();
            let read = parse(&frame);
            assert!(frame.len() <= FRAME_LIMIT || read.is_err());
            if let Ok(Request::Subscribe { subject: Subject::AllOwn, after }) = read {
                assert_eq!(after, None);
            }
        });
    }
}
