//! Checks passwords, and limits how often.

use std::net::IpAddr;

use lambda_kit::{
    dynamodb::TableError,
    telemetry::{SecurityEvent, security},
};

use crate::{
    domain::{Account, Email, FailureSource, PasswordHash, Secret},
    error::UsersError,
    store::{Attempt, Store},
};

/// The attempt that was counted as failed before its password was checked.
#[derive(Debug)]
pub struct Attempts {
    in_network: FailureSource,
    everywhere: FailureSource,
}

impl Attempts {
    /// Takes the attempt back, because the password was right. The owner's typing errors in this network are
    /// forgotten, but not the guesses from other networks.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn give_back(&self, store: &Store) -> Result<(), TableError> {
        tokio::try_join!(store.forget_failures(&self.in_network), store.give_attempt_back(&self.everywhere))?;
        Ok(())
    }
}

/// Checks an e-mail address and its password. An unknown address takes as long as a wrong password, and costs the
/// same writes.
///
/// The attempt is counted as failed before the password is checked. While the limit is reached no password is
/// checked: a right one gets the answer of a wrong one.
///
/// # Errors
/// `WrongCredentials` for both, and `TooManyFailures` after too many failures.
pub async fn check_password(
    store: &Store,
    email: &str,
    password: &Secret,
    network: Option<IpAddr>,
    now: i64,
) -> Result<(Account, Attempts), UsersError> {
    let Ok(email) = email.parse::<Email>() else {
        // The time of the answer must not show that no account can have this address.
        PasswordHash::dummy().matches(password)?;
        return Err(UsersError::WrongCredentials);
    };
    let in_network = FailureSource::EmailInNetwork(email.clone(), network);
    let everywhere = FailureSource::Email(email.clone());
    // The attempt is counted before the password is checked, so that concurrent guesses cannot exceed the limit
    // together.
    let (account, ()) = tokio::try_join!(
        async { store.account(&email).await.map_err(UsersError::from) },
        // One after the other: what one network has too many of must not count for all of them.
        async {
            count_attempt(store, &in_network, now).await?;
            count_attempt(store, &everywhere, now).await
        }
    )?;
    let hash = account.as_ref().map_or_else(PasswordHash::dummy, |account| account.password_hash.clone());
    let matches = hash.matches(password)?;
    let Some(account) = account.filter(|_| matches) else {
        security(SecurityEvent::LoginFailed, Some(&in_network.digest()));
        return Err(UsersError::WrongCredentials);
    };
    Ok((account, Attempts { in_network, everywhere }))
}

async fn count_attempt(store: &Store, source: &FailureSource, now: i64) -> Result<(), UsersError> {
    match store.count_attempt(source, now).await? {
        Attempt::Counted => Ok(()),
        Attempt::LimitReached { wait } => {
            security(SecurityEvent::LoginLockedOut, Some(&source.digest()));
            Err(UsersError::TooManyFailures { seconds: wait })
        }
    }
}
