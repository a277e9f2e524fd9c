//! Connecting a stage with Stripe: its webhook, and the secret that payments read.

#[cfg(test)]
mod tests;

use std::io::{BufRead, IsTerminal};

use local_stack::{Progress, Settings, WEBHOOK_EVENTS};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::remote::{Answer, Remote};
use crate::stage::Stage;

/// The environment variable with the key. It is never an argument, because all users of the machine can see
/// those.
const KEY_VARIABLE: &str = "STRIPE_API_KEY";
/// One page holds all: an account may have 16 endpoints (<https://docs.stripe.com/webhooks>).
const PAGE: &str = "limit=100";

#[derive(Debug, clap::Subcommand)]
pub enum Stripe {
    /// Register the webhook at Stripe and store the keys; again, to rotate the webhook's secret
    #[command(
        after_help = "Reads the API key from STRIPE_API_KEY, or from standard input. After a rotation the secret \
                      before is still taken, for webhooks that are under way; five minutes later `--drop-old` ends that."
    )]
    Setup(Setup),
}

#[derive(Debug, clap::Args)]
pub struct Setup {
    #[arg(long)]
    stage: Stage,
    /// Only forget the webhook secrets before the newest one
    #[arg(long)]
    drop_old: bool,
    #[arg(long, default_value = "https://api.stripe.com", hide = true)]
    url: String,
}

/// The secret `ordersaga-<stage>-stripe`, as payments read it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Stored {
    api_key: String,
    /// The newest first.
    webhook_secrets: Vec<String>,
}

/// A webhook endpoint. Stripe returns the secret once, when it is created.
#[derive(Debug, Deserialize)]
struct Endpoint {
    id: String,
    url: String,
    #[serde(default)]
    secret: Option<String>,
}

/// The store of the secret.
trait Vault {
    async fn read(&self) -> Result<Stored>;
    async fn write(&self, stored: &Stored) -> Result<()>;
}

struct SecretsManager<'a> {
    remote: &'a Remote,
    id: String,
}

impl Vault for SecretsManager<'_> {
    async fn read(&self) -> Result<Stored> {
        let input = json!({"SecretId": self.id});
        let answer = self.remote.call("secretsmanager", "GetSecretValue", input).await?;
        serde_json::from_str(answer["SecretString"].as_str().unwrap_or_default()).map_err(|_| {
            Error::Deploy(format!(
                "the secret {} has not the form {{\"api_key\":…,\"webhook_secrets\":[…]}}. Correct it in Secrets \
                 Manager and run the command again.",
                self.id
            ))
        })
    }

    async fn write(&self, stored: &Stored) -> Result<()> {
        let text = serde_json::to_string(stored).map_err(|error| Error::Deploy(error.to_string()))?;
        let input = json!({"SecretId": self.id, "SecretString": text});
        self.remote.call("secretsmanager", "PutSecretValue", input).await.map(drop)
    }
}

impl Stripe {
    /// # Errors
    /// There is no key, or AWS or Stripe refuse.
    pub async fn run(self, settings: &Settings, progress: &Progress) -> Result<()> {
        let Self::Setup(Setup { stage, drop_old, url }) = self;
        let key = if drop_old { String::new() } else { key()? };
        let remote = Remote::aws(settings, &stage, progress).await?;
        let stage = stage.name();
        let vault = SecretsManager { remote: &remote, id: format!("ordersaga-{stage}-stripe") };
        if drop_old {
            let dropped = forget_old(&vault).await?;
            progress.say(&format!("{dropped} old webhook secrets are no longer taken"));
            return Ok(());
        }
        let webhook = webhook(&remote, stage).await?;
        let account = Account { remote: &remote, url: url.trim_end_matches('/'), key: &key };
        let rotated = set_up(&account, &vault, &webhook).await?;
        progress.say(&format!("Stripe tells {webhook}, and payments read both keys within a minute"));
        if rotated {
            progress.say("The secret before is still taken. In five minutes, run it with --drop-old.");
        }
        Ok(())
    }
}

/// Removes the stage's webhook at Stripe, with the key that the stage has. Answers how many endpoints there were.
///
/// # Errors
/// The stage's secret or address cannot be read, or Stripe refuses.
pub async fn remove_webhook(remote: &Remote, stage: &Stage, url: &str) -> Result<usize> {
    let vault = SecretsManager { remote, id: format!("ordersaga-{stage}-stripe") };
    let key = vault.read().await?.api_key;
    if key.is_empty() {
        return Ok(0);
    }
    let webhook = webhook(remote, stage.name()).await?;
    Account { remote, url: url.trim_end_matches('/'), key: &key }.forget(&webhook).await
}

/// The URL that Stripe sends webhooks to.
async fn webhook(remote: &Remote, stage: &str) -> Result<String> {
    let name = format!("/ordersaga/{stage}/api-url");
    let parameter = remote.call("ssm", "GetParameter", json!({"Name": name})).await?;
    let api = parameter["Parameter"]["Value"].as_str().unwrap_or_default().trim_end_matches('/');
    Ok(format!("{api}/v1/payments/webhook"))
}

/// Asked for on standard input when the environment has none.
fn key() -> Result<String> {
    let from_environment = std::env::var(KEY_VARIABLE).ok().filter(|key| !key.trim().is_empty());
    let key = match from_environment {
        Some(key) => key,
        None => {
            if std::io::stdin().is_terminal() {
                eprint!("Stripe's API key (sk_… or rk_…): ");
            }
            let mut line = String::new();
            let read = std::io::stdin().lock().read_line(&mut line);
            read.map_err(|source| local_stack::Error::Command { command: "standard input".into(), source })?;
            line
        }
    };
    let key = key.trim().to_owned();
    if key.starts_with("sk_") || key.starts_with("rk_") {
        return Ok(key);
    }
    Err(Error::Deploy(format!(
        "this is no secret key of Stripe's: it begins with sk_ or rk_. Set {KEY_VARIABLE}, or type it in."
    )))
}

/// Registers an endpoint, stores its secret in addition to the previous one, and only then removes the older
/// endpoints. It can be repeated after any failure: an endpoint whose secret was not stored is then among the
/// older ones.
///
/// Returns whether there is a previous secret.
async fn set_up(account: &Account<'_>, vault: &impl Vault, webhook: &str) -> Result<bool> {
    let before = vault.read().await?;
    let older = account.endpoints(webhook).await?;
    let secret = account.register(webhook).await?;
    // Stripe may use it already: payments read the secret again when a signature does not fit, and Stripe sends again.
    let newest_before = before.webhook_secrets.into_iter().find(|before| !before.is_empty());
    let rotated = newest_before.is_some();
    let webhook_secrets = [Some(secret), newest_before].into_iter().flatten().collect();
    vault.write(&Stored { api_key: account.key.to_owned(), webhook_secrets }).await?;
    for endpoint in older {
        account.remove(&endpoint.id).await?;
    }
    Ok(rotated)
}

/// Answers how many secrets were dropped.
async fn forget_old(vault: &impl Vault) -> Result<usize> {
    let mut stored = vault.read().await?;
    let dropped = stored.webhook_secrets.len().saturating_sub(1);
    if dropped > 0 {
        stored.webhook_secrets.truncate(1);
        vault.write(&stored).await?;
    }
    Ok(dropped)
}

/// Stripe, as the key's owner.
struct Account<'a> {
    remote: &'a Remote,
    url: &'a str,
    key: &'a str,
}

impl Account<'_> {
    /// The endpoints with our webhook's URL.
    async fn endpoints(&self, webhook: &str) -> Result<Vec<Endpoint>> {
        let mut page = self.send("GET", &format!("/v1/webhook_endpoints?{PAGE}"), &[]).await?;
        let all: Vec<Endpoint> = read(page["data"].take())?;
        Ok(all.into_iter().filter(|endpoint| endpoint.url == webhook).collect())
    }

    async fn register(&self, webhook: &str) -> Result<String> {
        let mut form = vec![("url", webhook), ("api_version", "2024-06-20")];
        form.extend(WEBHOOK_EVENTS.map(|event| ("enabled_events[]", event)));
        let endpoint: Endpoint = read(self.send("POST", "/v1/webhook_endpoints", &form).await?)?;
        endpoint.secret.ok_or_else(|| unreadable("it holds no secret"))
    }

    async fn remove(&self, id: &str) -> Result<()> {
        self.send("DELETE", &format!("/v1/webhook_endpoints/{id}"), &[]).await.map(drop)
    }

    /// Removes the endpoints with our webhook's URL, and returns their number.
    async fn forget(&self, webhook: &str) -> Result<usize> {
        let endpoints = self.endpoints(webhook).await?;
        for endpoint in &endpoints {
            self.remove(&endpoint.id).await?;
        }
        Ok(endpoints.len())
    }

    async fn send(&self, method: &str, path: &str, form: &[(&str, &str)]) -> Result<Value> {
        let Answer { status, body } =
            self.remote.stripe(self.key, method, &format!("{}{path}", self.url), form).await?;
        if (200..300).contains(&status) {
            return Ok(body);
        }
        let parsed = body.as_str().and_then(|text| serde_json::from_str::<Value>(text).ok());
        let message = parsed.as_ref().and_then(|error| error["error"]["message"].as_str());
        Err(Error::Remote {
            operation: format!("{method} {path} at Stripe"),
            reason: format!("{status} {}", message.unwrap_or_default()),
        })
    }
}

fn read<T: serde::de::DeserializeOwned>(value: Value) -> Result<T> {
    serde_json::from_value(value).map_err(|error| unreadable(&error.to_string()))
}

fn unreadable(why: &str) -> Error {
    Error::Remote { operation: "an answer of Stripe".to_owned(), reason: why.to_owned() }
}
