//! The role of administrators, for accounts that this program has made itself. The function users-commands grants it;
//! permission is `lambda:InvokeFunction` on it.

use serde_json::{Value, json};

/// Asks users-commands to make the account with this address an administrator's. `by` is the caller, as AWS STS names
/// it. The address need not be verified: there is no person who could have registered it first.
pub fn admin_grant(email: &str, by: &str) -> Value {
    json!({
        "action": "GrantRole", "account": email, "role": "admin", "unverified": true, "by": by,
        "reason": "made by cargo ops",
    })
}

/// Whether the function's answer says that it was done.
///
/// # Errors
/// Why it was not.
pub fn granted(answer: &str) -> Result<(), String> {
    match serde_json::from_str::<Value>(answer) {
        Ok(answer) if answer["account"].is_object() => Ok(()),
        _ => Err(answer.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_that_failed_is_not_taken_for_one() {
        assert_eq!(granted(r#"{"account":{"roles":["admin"]},"changed":true,"sessions_ended":0}"#), Ok(()));
        let failed = r#"{"errorType":"Refused","errorMessage":"there is no such user"}"#;
        for answer in [failed, r#"{"account":null,"changed":false,"sessions_ended":0}"#, ""] {
            assert_eq!(granted(answer), Err(answer.to_owned()));
        }
    }
}
