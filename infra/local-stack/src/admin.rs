//! The role of administrators. There is no API for it: permission is access to the table.

use serde_json::{Value, json};

/// The update that makes an account an administrator's: of that one attribute, and only of an account that there is. An
/// erasure at the same time is not undone by it, a profile is not touched, and a repeat changes nothing. (There is one
/// role; with a second, this has to keep it.)
pub fn admin_grant(table: &str, email: &str) -> Value {
    json!({
        "TableName": table,
        // As users keeps addresses.
        "Key": {"pk": {"S": format!("EMAIL#{}", email.trim().to_lowercase())}, "sk": {"S": "ACCOUNT"}},
        "UpdateExpression": "SET #roles = :roles",
        "ConditionExpression": "attribute_exists(pk)",
        "ExpressionAttributeNames": {"#roles": "roles"},
        "ExpressionAttributeValues": {":roles": {"L": [{"S": "admin"}]}},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_needs_the_account_and_finds_it_however_the_address_is_written() {
        let grant = admin_grant("ordersaga-dev-users", " Anna@Example.com ");
        assert_eq!(grant["Key"]["pk"]["S"], "EMAIL#anna@example.com");
        assert_eq!(grant["ConditionExpression"], "attribute_exists(pk)");
    }
}
