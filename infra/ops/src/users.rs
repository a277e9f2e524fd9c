//! Accounts. The function users-commands does the work; this shows the account first, and then invokes it. There is no
//! API for it: permission is `lambda:InvokeFunction` on that function.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use jiff::Timestamp;
use local_stack::{Progress, Settings};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::aws::{self, Aws, Failed};
use crate::confirm;
use crate::error::{Error, Result};
use crate::stage::Stage;

const FUNCTION: &str = "users-commands";
/// The error name with which the function refuses.
const REFUSED: &str = "Refused";
/// The function's timeout of 30 s (infra/users.yaml), and what getting there takes.
pub const PATIENCE: Duration = Duration::from_secs(45);

#[derive(Debug, Subcommand)]
pub enum Users {
    /// Show an account: `cargo ops users show anna@example.com`
    Show(Show),
    /// Make an account an administrator's, from its next login or refresh on
    #[command(
        after_help = "The same as `grant-role admin`. Refuses an account whose e-mail address is not verified: \
                            another person may have registered the address first."
    )]
    GrantAdmin(Change),
    /// Take the administrator's role from an account
    #[command(
        after_help = "The same as `revoke-role admin`. Access tokens keep the role until they expire, 15 minutes at \
                            most."
    )]
    RevokeAdmin(Change),
    /// Give an account a role, from its next login or refresh on
    #[command(
        after_help = "Refuses an account whose e-mail address is not verified: another person may have registered \
                            the address first."
    )]
    GrantRole(RoleChange),
    /// Take a role from an account
    #[command(after_help = "Access tokens keep the role until they expire, 15 minutes at most.")]
    RevokeRole(RoleChange),
    /// Suspend an account: its sessions end, and it can neither log in nor order
    #[command(after_help = "Orders that were placed go on. `cargo ops users restore` ends the suspension.")]
    Suspend(Change),
    /// End the suspension of an account, which must log in again
    Restore(Change),
    /// End all sessions of an account, which must log in again
    #[command(
        after_help = "Access tokens are good until they expire, 15 minutes at most. A person who knows the password can \
                            log in again: `cargo ops users suspend` prevents that."
    )]
    EndSessions(Change),
}

#[derive(Debug, Clone, Args)]
pub struct Show {
    /// The account's e-mail address, or its user id (`usr_…`)
    account: String,
    /// On AWS; without it, on this machine's stack
    #[arg(long)]
    stage: Option<Stage>,
}

#[derive(Debug, Clone, Args)]
pub struct Change {
    #[command(flatten)]
    of: Show,
    /// Why, for the audit trail: no personal data, because it is kept when the account is deleted
    #[arg(long)]
    reason: Option<String>,
    /// Also when the account's e-mail address is not verified; only a role needs it
    #[arg(long)]
    unverified: bool,
    /// Do not ask on prod
    #[arg(long)]
    yes: bool,
}

#[derive(Debug, Clone, Args)]
pub struct RoleChange {
    /// What the account may do
    #[arg(value_enum)]
    role: Role,
    #[command(flatten)]
    change: Change,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
enum Role {
    /// Everything
    Admin,
    /// Shipments
    Fulfillment,
    /// Read and cancel orders
    Support,
}

/// What is done with an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "action")]
enum Action {
    ShowAccount,
    GrantRole { role: Role, unverified: bool },
    RevokeRole { role: Role },
    SuspendAccount,
    RestoreAccount,
    EndSessions,
}

/// The function's answer.
#[derive(Debug, Deserialize)]
struct Answer {
    account: Option<Account>,
    changed: bool,
    sessions_ended: u64,
}

#[derive(Debug, Deserialize)]
struct Account {
    user_id: String,
    email: String,
    name: String,
    registered_at: Option<Timestamp>,
    email_verified: bool,
    phone_verified: bool,
    roles: Vec<String>,
    suspended_at: Option<Timestamp>,
    open_sessions: u64,
}

impl Users {
    /// # Errors
    /// No such stack or account, production was not confirmed, or the function refuses or fails.
    pub async fn run(self, settings: &Settings, progress: &Progress) -> Result<()> {
        let (action, change) = match self {
            Self::Show(show) => {
                let stage = show.stage.clone();
                let operator = Operator::of(settings, stage, progress).await?;
                print!("{}", described(&operator.find(&show.account).await?));
                return Ok(());
            }
            Self::GrantAdmin(change) => (granting(Role::Admin, &change), change),
            Self::RevokeAdmin(change) => (Action::RevokeRole { role: Role::Admin }, change),
            Self::GrantRole(RoleChange { role, change }) => (granting(role, &change), change),
            Self::RevokeRole(RoleChange { role, change }) => (Action::RevokeRole { role }, change),
            Self::Suspend(change) => (Action::SuspendAccount, change),
            Self::Restore(change) => (Action::RestoreAccount, change),
            Self::EndSessions(change) => (Action::EndSessions, change),
        };
        let Change { of: Show { account, stage }, reason, unverified: _, yes } = change;
        let operator = Operator::of(settings, stage.clone(), progress).await?;
        let account = operator.find(&account).await?;
        print!("{}", described(&account));
        check(action, &account)?;
        if let Some(stage) = &stage {
            confirm::production(stage, yes, "This changes an account on production.")?;
        }
        // By its id: what was shown is what is changed.
        let answer = operator.ask(action, &account.user_id, reason.as_deref()).await?;
        println!("{}", result(action, &account, &answer));
        Ok(())
    }
}

const fn granting(role: Role, change: &Change) -> Action {
    Action::GrantRole { role, unverified: change.unverified }
}

/// Whether it can be done. The function checks it again.
fn check(action: Action, account: &Account) -> Result<()> {
    match action {
        Action::GrantRole { unverified: false, .. } if !account.email_verified => {
            let Account { email, user_id, .. } = account;
            Err(Error::Users(format!(
                "{email} is not verified: another person may have registered it. Ask the owner of the account for the \
                 user id that their profile shows, and whether it is {user_id}. Then let them confirm the address, or run \
                 the command again with --unverified. Nothing was changed."
            )))
        }
        _ => Ok(()),
    }
}

/// The caller, and the function of a stage.
struct Operator {
    aws: Aws,
    by: String,
    function: String,
}

impl Operator {
    async fn of(settings: &Settings, stage: Option<Stage>, progress: &Progress) -> Result<Self> {
        let aws = Aws::of(settings, stage, progress).await?;
        let (by, function) = (aws.caller().await?, aws.name(FUNCTION));
        Ok(Self { aws, by, function })
    }

    async fn find(&self, account: &str) -> Result<Account> {
        let found = self.ask(Action::ShowAccount, account, None).await?.account;
        found.ok_or_else(|| {
            Error::Users(format!(
                "nobody has registered as {account}. Register the account first; then run the command again."
            ))
        })
    }

    async fn ask(&self, action: Action, account: &str, reason: Option<&str>) -> Result<Answer> {
        let mut request = json!(action);
        request["account"] = json!(account);
        request["by"] = json!(self.by);
        if let Some(reason) = reason {
            request["reason"] = Value::from(reason);
        }
        let answer = self.aws.invoke(&self.function, &request, PATIENCE).await?;
        read(&self.function, &answer)
    }
}

fn read(function: &str, answer: &str) -> Result<Answer> {
    aws::answer(function, answer)?
        .map_err(|failed: Failed| Error::Users(failed.told_unless(REFUSED, function)))
}

fn described(account: &Account) -> String {
    let verified = |is: bool| if is { "verified" } else { "NOT verified" };
    let registered =
        account.registered_at.map_or_else(|| "at an unknown time".to_owned(), |at| at.to_string());
    let roles = if account.roles.is_empty() { "none".to_owned() } else { account.roles.join(", ") };
    let state =
        account.suspended_at.map_or_else(|| "active".to_owned(), |at| format!("SUSPENDED since {at}"));
    format!(
        "account     {} ({})\nname        {}\nregistered  {registered}\ne-mail      {}\nphone       {}\nroles       \
         {roles}\nstate       {state}\nsessions    {} open\n",
        account.email,
        account.user_id,
        account.name,
        verified(account.email_verified),
        verified(account.phone_verified),
        account.open_sessions,
    )
}

fn result(action: Action, account: &Account, answer: &Answer) -> String {
    let Account { email, .. } = account;
    let ended = match answer.sessions_ended {
        1 => "1 session has ended".to_owned(),
        count => format!("{count} sessions have ended"),
    };
    let role = |role: Role| json!(role).as_str().unwrap_or_default().to_owned();
    match (action, answer.changed) {
        (Action::ShowAccount, _) => String::new(),
        (Action::GrantRole { role: Role::Admin, .. }, true) => {
            format!(
                "{email} is an administrator from the next login or refresh on, within a quarter of an hour"
            )
        }
        (Action::GrantRole { role: granted, .. }, true) => {
            format!(
                "{email} has the role {} from the next login or refresh on, within a quarter of an hour",
                role(granted)
            )
        }
        (Action::GrantRole { role: granted, .. }, false) => {
            format!("{email} had the role {} before: nothing was changed", role(granted))
        }
        (Action::RevokeRole { role: revoked }, true) => {
            format!(
                "{email} has the role {} no longer than for a quarter of an hour, until its tokens expire",
                role(revoked)
            )
        }
        (Action::RevokeRole { role: revoked }, false) => {
            format!("{email} does not have the role {}: nothing was changed", role(revoked))
        }
        (Action::SuspendAccount, true) => format!("{email} is suspended; {ended}"),
        (Action::SuspendAccount, false) => format!("{email} was suspended before; {ended}"),
        (Action::RestoreAccount, true) => format!("{email} is no longer suspended, and must log in again"),
        (Action::RestoreAccount, false) => format!("{email} is not suspended: nothing was changed"),
        (Action::EndSessions, _) => format!("{ended} of {email}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(changed: bool, sessions_ended: u64, of_account: Value) -> Answer {
        let mut account = json!({
            "user_id": "usr_0123456789abcdef0123456789abcdef", "email": "anna@example.com", "name": "Anna",
            "registered_at": "2026-11-21T12:00:00Z", "email_verified": true, "phone_verified": false, "roles": [],
            "suspended_at": null, "open_sessions": 3,
        });
        account.as_object_mut().unwrap().extend(of_account.as_object().unwrap().clone());
        let answer = json!({"account": account, "changed": changed, "sessions_ended": sessions_ended});
        read("f", &answer.to_string()).unwrap()
    }

    fn account(differences: Value) -> Account {
        answer(false, 0, differences).account.unwrap()
    }

    #[test]
    fn an_account_is_shown_with_what_an_operator_must_know_before_a_change() {
        let text = described(&account(json!({})));
        for line in [
            "account     anna@example.com (usr_0123456789abcdef0123456789abcdef)\n",
            "registered  2026-11-21T12:00:00Z\n",
            "e-mail      verified\n",
            "phone       NOT verified\n",
            "roles       none\n",
            "state       active\n",
            "sessions    3 open\n",
        ] {
            assert!(text.contains(line), "{line:?} is not in\n{text}");
        }
        let text = described(&account(json!({
            "roles": ["admin", "support"], "suspended_at": "2026-11-22T12:00:00Z", "registered_at": null,
        })));
        assert!(text.contains("roles       admin, support\n"), "{text}");
        assert!(text.contains("SUSPENDED since 2026-11-22T12:00:00Z"), "{text}");
        assert!(text.contains("registered  at an unknown time\n"), "{text}");
    }

    #[test]
    fn an_unverified_account_gets_a_role_only_with_the_option_and_may_be_suspended_without() {
        let unverified = account(json!({"email_verified": false}));
        let grant = |unverified| Action::GrantRole { role: Role::Admin, unverified };
        let refused = check(grant(false), &unverified).unwrap_err().to_string();
        assert!(refused.contains("--unverified") && refused.contains("usr_0123"), "{refused}");
        assert!(check(grant(true), &unverified).is_ok());
        assert!(check(grant(false), &account(json!({}))).is_ok());
        for action in [Action::RevokeRole { role: Role::Admin }, Action::SuspendAccount, Action::EndSessions]
        {
            assert!(check(action, &unverified).is_ok());
        }
    }

    #[test]
    fn a_request_is_what_the_function_reads() {
        let grant = Action::GrantRole { role: Role::Fulfillment, unverified: true };
        let expected = json!({"action": "GrantRole", "role": "fulfillment", "unverified": true});
        assert_eq!(json!(grant), expected);
        assert_eq!(json!(Action::EndSessions), json!({"action": "EndSessions"}));
    }

    #[test]
    fn the_result_says_what_has_changed_and_what_has_not() {
        let said = |action, changed, ended| {
            let answer = answer(changed, ended, json!({}));
            result(action, answer.account.as_ref().unwrap(), &answer)
        };
        let grant = Action::GrantRole { role: Role::Admin, unverified: false };
        assert!(said(grant, true, 0).contains("is an administrator from the next login"));
        assert!(said(grant, false, 0).contains("nothing was changed"));
        assert_eq!(
            said(Action::SuspendAccount, true, 1),
            "anna@example.com is suspended; 1 session has ended"
        );
        assert!(said(Action::SuspendAccount, false, 0).contains("was suspended before"));
        assert_eq!(said(Action::EndSessions, false, 2), "2 sessions have ended of anna@example.com");
    }

    #[test]
    fn a_refusal_is_said_in_its_own_words_and_a_failure_with_its_function() {
        let refused = json!({"errorType": "Refused", "errorMessage": "the e-mail address is not verified"});
        assert_eq!(
            read("f", &refused.to_string()).unwrap_err().to_string(),
            "the e-mail address is not verified"
        );
        let failed = json!({"errorType": "Transient", "errorMessage": "reading an account failed"});
        assert!(read("f", &failed.to_string()).unwrap_err().to_string().contains("f failed (Transient)"));
    }
}
