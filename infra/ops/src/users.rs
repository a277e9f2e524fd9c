//! Account changes for operators. There is no API for them: permission is access to the table.

use local_stack::{Progress, Settings, admin_grant};

use crate::aws::{Aws, Service};
use crate::error::{Error, Result};
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
