//! The functions' sample events (infra/events), and the outcome of a function's answer.

use serde_json::Value;

use crate::error::{AboutFile, Result};
use crate::settings::repository;

/// Stands in the events for `Bearer <access token>`.
const PLACEHOLDER: &str = "Bearer TOKEN";

/// The order of all sample events. It was never placed, but the stack has its reservation once they were sent.
pub const SAMPLE_ORDER: &str = "ord_0123456789abcdef0123456789abcdef";

/// Functions whose sample event depends on that of another one: an order completes only when its stock is
/// reserved.
pub const NEEDS: [(&str, &str); 1] = [("inventory-consumer", "inventory-commands")];

/// Characters of an answer that are shown.
const SHOWN: usize = 60;

/// A function's event with this access token in it, where it has one.
///
/// # Errors
/// The file cannot be read.
pub fn sample_with_token(function: &str, token: &str) -> Result<String> {
    let file = repository().join("infra/events").join(format!("{function}.json"));
    let text = std::fs::read_to_string(&file).about("cannot read", &file)?;
    Ok(text.replace(PLACEHOLDER, &format!("Bearer {token}")))
}

/// Summarises an answer: an error when the function failed, could not parse its event, or refused its caller.
/// "Not found" is a valid answer, since the events' order was never placed.
///
/// # Errors
/// Why it failed.
pub fn outcome(answer: &Value) -> std::result::Result<String, String> {
    if let Some(kind) = answer.get("errorType").or_else(|| answer.get("errorMessage")) {
        let message = answer["errorMessage"].as_str().unwrap_or_default();
        return Err(format!("{}: {message}", kind.as_str().unwrap_or_default()));
    }
    if let Some(failures) = answer["batchItemFailures"].as_array() {
        return match failures.len() {
            0 => Ok("batch done".to_owned()),
            some => Err(format!("{some} of the batch failed")),
        };
    }
    if let Some(status) = answer["statusCode"].as_u64() {
        let body = answer["body"].as_str().unwrap_or_default();
        let text = shortened(&format!("{status} {body}"));
        return if status < 400 || status == 404 { Ok(text) } else { Err(text) };
    }
    if let Some(effect) = answer["policyDocument"]["Statement"][0]["Effect"].as_str() {
        return Ok(effect.to_owned());
    }
    Ok(shortened(&answer.to_string()))
}

fn shortened(text: &str) -> String {
    let text = text.trim();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_sample_event_reserves_is_for_the_sample_order() {
        assert!(sample_with_token("inventory-commands", "").unwrap().contains(SAMPLE_ORDER));
    }

    #[test]
    fn a_failure_is_told_from_an_answer() {
        let answers = [
            (json!({"statusCode": 200, "body": "{}"}), "200 {}"),
            (json!({"statusCode": 404, "body": ""}), "404"),
            (json!({"batchItemFailures": []}), "batch done"),
            (json!({"policyDocument": {"Statement": [{"Effect": "Deny"}]}}), "Deny"),
            (json!({"outcome": "nothing_taken"}), r#"{"outcome":"nothing_taken"}"#),
        ];
        for (answer, expected) in answers {
            assert_eq!(outcome(&answer), Ok(expected.to_owned()));
        }
        let failures = [
            (json!({"errorType": "MalformedCommand", "errorMessage": "no"}), "MalformedCommand: no"),
            (json!({"errorMessage": "RequestId: 1 Error: exited"}), "RequestId: 1 Error: exited"),
            (json!({"batchItemFailures": [{"itemIdentifier": "1"}]}), "1 of the batch failed"),
            (json!({"statusCode": 401, "body": ""}), "401"),
            (json!({"statusCode": 503, "body": ""}), "503"),
        ];
        for (answer, expected) in failures {
            assert!(outcome(&answer).unwrap_err().contains(expected), "{answer}");
        }
    }

    #[test]
    fn a_long_answer_is_cut_between_characters() {
        let answer = outcome(&json!({"statusCode": 200, "body": "ü".repeat(100)})).unwrap();
        assert_eq!(answer.chars().count(), SHOWN + 1);
    }
}
