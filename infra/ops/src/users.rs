//! Account changes for operators. There is no API for them: permission is access to the table.

use serde_json::{Value, json};

use crate::aws::{Aws, Service};
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::settings::Settings;
use crate::stage::Stage;

#[derive(Debug, clap::Subcommand)]
pub enum Users {
    /// Make an account an administrator's: `cargo ops users grant-admin anna@example.com`
    GrantAdmin {
        /// The address that the account was registered with
        email: String,
        /// On AWS; without it, on this machine's stack
        #[arg(long)]
        stage: Option<Stage>,
    },
}

impl Users {
    /// # Errors
    /// No such stack or account, or the table refuses.
    pub async fn run(self, settings: &Settings, progress: &Progress) -> Result<()> {
        let Self::GrantAdmin { email, stage } = self;
        let aws = Aws::of(settings, stage, progress).await?;
        match aws.call(Service::DynamoDb, "UpdateItem", admin_grant(&aws.name("users"), &email)).await {
            Ok(_) => {}
            Err(error) if error.to_string().contains("ConditionalCheckFailed") => {
                return Err(Error::Users(format!(
                    "nobody has registered as {email}. Register the account first; then run the command again."
                )));
            }
            Err(error) => return Err(error),
        }
        println!(
            "{email} is an administrator from the next login or refresh on, within a quarter of an hour"
        );
        Ok(())
    }
}

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
