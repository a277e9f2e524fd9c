//! Evaluates AWS's answers for a stage. Makes no calls.

use serde::Serialize;
use serde_json::Value;

use crate::footprint::{Demand, Named};
use crate::remote::Refusal;

/// AWS's answer, or its refusal.
pub type Fact = Result<Value, Refusal>;

/// The concurrent executions that REST and WebSocket calls need in addition to queues and streams: an order
/// from the page takes some ten calls of a fraction of a second.
const ROOM_FOR_REQUESTS: u64 = 50;
/// The concurrency that Lambda does not allow to reserve
/// (<https://docs.aws.amazon.com/lambda/latest/dg/configuration-concurrency.html>).
const UNRESERVABLE: u64 = 100;
/// Domains that exist for examples and receive no mail (RFC 2606).
const EXAMPLES: [&str; 4] = [".example", "@example.com", "@example.net", "@example.org"];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Fine,
    /// The stage works, but not all of it, or it could not be checked.
    Warning,
    /// The stage would not work, or would do harm.
    Stop,
}

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    pub subject: &'static str,
    pub verdict: Verdict,
    pub finding: String,
    /// The suggested action.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl Check {
    pub fn fine(subject: &'static str, finding: impl Into<String>) -> Self {
        Self { subject, verdict: Verdict::Fine, finding: finding.into(), next: None }
    }

    pub fn warning(subject: &'static str, finding: impl Into<String>, next: impl Into<String>) -> Self {
        Self { subject, verdict: Verdict::Warning, finding: finding.into(), next: Some(next.into()) }
    }

    pub fn stop(subject: &'static str, finding: impl Into<String>, next: impl Into<String>) -> Self {
        Self { subject, verdict: Verdict::Stop, finding: finding.into(), next: Some(next.into()) }
    }

    /// A failure in production, a warning in other stages.
    fn needed_in(
        production: bool,
        subject: &'static str,
        finding: impl Into<String>,
        next: impl Into<String>,
    ) -> Self {
        let verdict = if production { Verdict::Stop } else { Verdict::Warning };
        Self { subject, verdict, finding: finding.into(), next: Some(next.into()) }
    }

    /// A call that is refused does not stop a deployment: the caller may only lack that permission.
    fn unknown(subject: &'static str, refusal: &Refusal) -> Self {
        let Refusal { operation, code, message } = refusal;
        if refusal.is_access_denied() {
            let next = format!("Allow {operation} to these credentials, or check it in the console.");
            return Self::warning(
                subject,
                format!("not checked: these credentials may not call {operation}"),
                next,
            );
        }
        Self::warning(
            subject,
            format!("not checked: {operation} failed ({code})"),
            format!("AWS said: {message}"),
        )
    }
}

/// The first check: without an account no other call is possible.
pub fn account(identity: &Fact) -> Check {
    const SIGN_IN: &str =
        "Sign in (`aws sso login`, or set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY).";
    let subject = "credentials";
    match identity {
        Ok(identity) => {
            let text = |key: &str| identity[key].as_str().unwrap_or("?").to_owned();
            Check::fine(subject, format!("account {}, as {}", text("Account"), text("Arn")))
        }
        Err(refusal) if refusal.is_about_credentials() => {
            let expired = ["Expired", "SSOTokenLoad", "UnauthorizedSSOToken", "TokenRetrieval"]
                .iter()
                .any(|name| refusal.code.contains(name));
            let finding = if expired { "they have expired" } else { "AWS does not accept them" };
            Check::stop(subject, format!("{finding} ({})", refusal.code), SIGN_IN)
        }
        Err(refusal) => Check::stop(
            subject,
            format!("AWS cannot be reached ({})", refusal.code),
            format!(
                "Check the network and the region's name in infra/samconfig.toml. It said: {}",
                refusal.message
            ),
        ),
    }
}

/// Lambda's quota of concurrent executions, which an account's functions share in a region.
pub fn concurrency(settings: &Fact, demand: Demand, reserved: u64) -> Check {
    let subject = "concurrency";
    let limits = match settings {
        Ok(settings) => &settings["AccountLimit"],
        Err(refusal) => return Check::unknown(subject, refusal),
    };
    let number = |key: &str| limits[key].as_u64().unwrap_or_default();
    let (all, unreserved) = (number("ConcurrentExecutions"), number("UnreservedConcurrentExecutions"));
    let Demand { queues, streams } = demand;
    let wanted = demand.total() + ROOM_FOR_REQUESTS;
    let request = format!(
        "Request more: `aws service-quotas request-service-quota-increase --service-code lambda --quota-code L-B99A9384 \
         --desired-value {}` (1,000 is what an account has once AWS knows it).",
        wanted.max(1000)
    );
    if all < demand.total() {
        return Check::stop(
            subject,
            format!(
                "Lambda runs {all} functions at once here, and queues ({queues}) and streams ({streams}) may take {}: \
                 calls of the API would be refused",
                demand.total()
            ),
            request,
        );
    }
    if reserved > 0 && unreserved < reserved + UNRESERVABLE {
        return Check::warning(
            subject,
            format!(
                "the stage reserves {reserved} of {unreserved} unreserved executions, and Lambda keeps \
                 {UNRESERVABLE} unreserved: a first deployment fails"
            ),
            format!("Empty the …Concurrency parameters in infra/samconfig.toml. Or: {request}"),
        );
    }
    if all < wanted {
        return Check::warning(
            subject,
            format!(
                "Lambda runs {all} functions at once here, of which queues ({queues}) and streams ({streams}) may take \
                 {}: that leaves little for calls of the API",
                demand.total()
            ),
            request,
        );
    }
    Check::fine(
        subject,
        format!(
            "{all} functions at once; queues ({queues}) and streams ({streams}) may take {}",
            demand.total()
        ),
    )
}

/// Whether SES sends to customers, and at which rate.
pub fn email(account: &Fact, emails_per_second: &str, production: bool) -> Vec<Check> {
    let subject = "e-mail";
    let account = match account {
        Ok(account) => account,
        Err(refusal) => return vec![Check::unknown(subject, refusal)],
    };
    let mut checks = Vec::new();
    if account["SendingEnabled"] == false {
        checks.push(Check::needed_in(
            production,
            subject,
            "SES has stopped this account's e-mails",
            "See the account's dashboard in the SES console, and answer AWS's case there.",
        ));
    } else if account["ProductionAccessEnabled"] == true {
        checks.push(Check::fine(subject, "SES sends to every address"));
    } else {
        checks.push(Check::needed_in(
            production,
            subject,
            "the account is in the SES sandbox: e-mails reach verified addresses only",
            "Request production access (`aws sesv2 put-account-details`, or the SES console); for a trial, verify the \
             recipients' addresses.",
        ));
    }
    let rate = account["SendQuota"]["MaxSendRate"].as_f64().unwrap_or_default();
    match emails_per_second.parse::<f64>() {
        Ok(wanted) if wanted > rate => checks.push(Check::warning(
            "e-mail rate",
            format!(
                "EmailsPerSecond is {emails_per_second}, and SES takes {rate} a second: it refuses the rest"
            ),
            format!("Set EmailsPerSecond={} in infra/samconfig.toml.", rate.floor().max(1.0)),
        )),
        Ok(_) => checks.push(Check::fine(
            "e-mail rate",
            format!("EmailsPerSecond is {emails_per_second}, SES takes {rate}"),
        )),
        // The template's own rule refuses it.
        Err(_) => {}
    }
    checks
}

/// Whether SES has verified the sender's address or its domain. `domain` is SES's answer for the domain of an
/// address that it does not know.
pub fn sender(email_from: &str, address: &Fact, domain: Option<&Fact>, production: bool) -> Check {
    let subject = "sender";
    if is_example(email_from) {
        return Check::stop(
            subject,
            format!("EmailFrom is {email_from}, an example that cannot send"),
            "Set EmailFrom in the stage's section of infra/samconfig.toml, or in [default], and verify it: `aws sesv2 \
             create-email-identity --email-identity <address or domain>`.",
        );
    }
    let (name, identity) = match (address, domain, email_from.split_once('@')) {
        (Err(_), Some(domain @ Ok(_)), Some((_, name))) => (name, domain),
        _ => (email_from, address),
    };
    match identity {
        Ok(known) if known["VerifiedForSendingStatus"] == true => {
            Check::fine(subject, format!("{name} is verified"))
        }
        Ok(_) => Check::needed_in(
            production,
            subject,
            format!("SES has not verified {name} yet"),
            if name.contains('@') {
                "Follow the link in the e-mail that AWS sent to it.".to_owned()
            } else {
                format!(
                    "Set the DNS records that `aws sesv2 get-email-identity --email-identity {name}` shows."
                )
            },
        ),
        Err(refusal) if refusal.is_not_found() => Check::needed_in(
            production,
            subject,
            format!("SES knows neither {name} nor its domain: it refuses every e-mail"),
            format!("Verify it: `aws sesv2 create-email-identity --email-identity {name}`."),
        ),
        Err(refusal) => Check::unknown(subject, refusal),
    }
}

fn is_example(address: &str) -> bool {
    EXAMPLES.iter().any(|example| address.ends_with(example))
}

/// Whether SNS sends SMS, and its spending limit.
pub fn sms(sandbox: &Fact, attributes: &Fact) -> Vec<Check> {
    let sandbox = match sandbox {
        Ok(status) if status["IsInSandbox"] == true => Check::warning(
            "SMS",
            "the account is in the SMS sandbox: SMS reach verified numbers only",
            "Leave it in the SNS console (Text messaging, Exit SMS sandbox). Until then such messages go by e-mail.",
        ),
        Ok(_) => Check::fine("SMS", "SNS sends to every number"),
        Err(refusal) => Check::unknown("SMS", refusal),
    };
    let limit = match attributes {
        Ok(answer) => match answer["attributes"]["MonthlySpendLimit"].as_str() {
            None | Some("" | "1") => Check::warning(
                "SMS spend limit",
                "SMS end after $1 in a month, SNS's default",
                "Request more (Service Quotas or an AWS support case), then `aws sns set-sms-attributes --attributes \
                 MonthlySpendLimit=<dollars>`.",
            ),
            Some(limit) => Check::fine("SMS spend limit", format!("${limit} a month")),
        },
        Err(refusal) => Check::unknown("SMS spend limit", refusal),
    };
    vec![sandbox, limit]
}

/// Whether alarms are sent out of CloudWatch.
pub fn alarms(email: &str, topic: &str, production: bool) -> Check {
    let subject = "alarms";
    let finding = "neither AlarmEmail nor AlarmTopicArn is set: alarms are seen in CloudWatch only";
    match (email, topic) {
        ("", "") if production => Check::warning(
            subject,
            finding,
            "Set one of them in the stage's section of infra/samconfig.toml.",
        ),
        ("", "") => Check::fine(subject, finding),
        ("", topic) => Check::fine(subject, format!("go to {topic}")),
        (email, _) => {
            Check::fine(subject, format!("go to {email}, once the link in AWS's first mail was followed"))
        }
    }
}

/// The role with which API Gateway writes the access log of the WebSocket.
pub fn access_log(account: &Fact, region: &str) -> Check {
    let subject = "access log";
    match account {
        Ok(account) if account["cloudwatchRoleArn"].as_str().is_some_and(|arn| !arn.is_empty()) => {
            Check::fine(subject, "API Gateway may write it")
        }
        Ok(_) => Check::stop(
            subject,
            "WebSocketAccessLog is true, and the account has no role for API Gateway's logs: AWS refuses the stage",
            format!(
                "Make the role (infra/README.md, \"The WebSocket's access log\"), or set WebSocketAccessLog=false. With \
                 the role: `aws apigateway update-account --region {region} --patch-operations \
                 op=replace,path=/cloudwatchRoleArn,value=<the role's ARN>`"
            ),
        ),
        Err(refusal) => Check::unknown(subject, refusal),
    }
}

/// Stripe's modes, which its keys name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Test,
    Live,
}

impl Mode {
    /// None of what is no key of Stripe's.
    pub fn of(key: &str) -> Option<Self> {
        let (kind, rest) = key.split_once('_')?;
        let mode = rest.split('_').next()?;
        match (kind, mode) {
            ("sk" | "rk" | "pk", "test") => Some(Self::Test),
            ("sk" | "rk" | "pk", "live") => Some(Self::Live),
            _ => None,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Test => "test",
            Self::Live => "live",
        }
    }
}

/// The keys that payments and the page use. No finding holds a key.
pub fn stripe(secret: &Fact, publishable: &str, stage: &str, production: bool) -> Vec<Check> {
    let subject = "Stripe keys";
    let set_up = format!("Run `cargo ops stripe setup --stage {stage}` once the stage is deployed.");
    let stored = match secret {
        Ok(answer) => answer["SecretString"].as_str().unwrap_or_default(),
        Err(refusal) if refusal.is_not_found() => {
            let finding = "no secret yet: the deployment makes it, and payments fail until it holds keys";
            return vec![Check::warning(subject, finding, set_up), page(publishable, None, production)];
        }
        Err(refusal) if awaits_deletion(refusal) => {
            let name = format!("ordersaga-{stage}-stripe");
            return vec![name_is_taken(subject, &name), page(publishable, None, production)];
        }
        Err(refusal) => {
            return vec![Check::unknown(subject, refusal), page(publishable, None, production)];
        }
    };
    let stored: Value = serde_json::from_str(stored).unwrap_or_default();
    let key = stored["api_key"].as_str().unwrap_or_default();
    let has_webhook = stored["webhook_secrets"].as_array().is_some_and(|secrets| !secrets.is_empty());
    let mode = Mode::of(key);
    let keys = match mode {
        None if key.is_empty() => {
            Check::warning(subject, "the stage has no Stripe key: payments fail", set_up)
        }
        None => Check::stop(subject, "what is stored as Stripe's key is none (sk_… or rk_…)", set_up),
        Some(Mode::Live) if !production => Check::stop(
            subject,
            "a live key outside prod: trials would charge real cards",
            format!("Run `cargo ops stripe setup --stage {stage}` with a test key (sk_test_…)."),
        ),
        Some(Mode::Test) if production => Check::warning(
            subject,
            "a test key on prod: no order is really paid",
            "Run `cargo ops stripe setup --stage prod` with a live key before customers come.",
        ),
        Some(_) if !has_webhook => Check::warning(
            subject,
            "the webhook is not registered: payments that take longer time out",
            set_up,
        ),
        Some(mode) => Check::fine(subject, format!("a {} key and a webhook", mode.name())),
    };
    vec![keys, page(publishable, mode, production)]
}

/// Secrets Manager's answer about a secret that was deleted and can still be restored.
fn awaits_deletion(refusal: &Refusal) -> bool {
    refusal.code == "InvalidRequestException" && refusal.message.contains("delet")
}

fn name_is_taken(subject: &'static str, secret: &str) -> Check {
    Check::stop(
        subject,
        format!("the secret {secret} waits for its deletion, and its name is taken"),
        format!(
            "Delete it now, so that the deployment can make it again: `aws secretsmanager delete-secret --secret-id {secret} \
             --force-delete-without-recovery`."
        ),
    )
}

/// Whether the second provider of e-mail has all of its settings, or none. No finding holds a part of the secret.
pub fn smtp(server: &str, from: &str, secret: &Fact, stage: &str) -> Check {
    let subject = "SMTP";
    let name = format!("ordersaga-{stage}-smtp");
    let stored = match secret {
        Ok(answer) => answer["SecretString"].as_str().unwrap_or_default(),
        Err(refusal) if refusal.is_not_found() => "",
        Err(refusal) if awaits_deletion(refusal) => return name_is_taken(subject, &name),
        Err(refusal) => return Check::unknown(subject, refusal),
    };
    let stored: Value = serde_json::from_str(stored).unwrap_or_default();
    let is_filled = |field: &str| stored[field].as_str().is_some_and(|text| !text.is_empty());
    let has_credentials = is_filled("user") && is_filled("password");
    let set_server = "Set SmtpServer in the stage's section of infra/samconfig.toml";
    match (server, has_credentials) {
        ("", false) if !from.is_empty() => Check::warning(
            subject,
            "SmtpFrom is set, and SmtpServer is not: e-mails wait while SES is down",
            format!("{set_server}, or set SmtpFrom=''."),
        ),
        ("", false) => Check::fine(subject, "no second provider of e-mail: e-mails wait while SES is down"),
        ("", true) => Check::warning(
            subject,
            format!(
                "the secret {name} has credentials, and SmtpServer is not set: e-mails wait while SES is down"
            ),
            format!("{set_server}."),
        ),
        (server, true) => Check::fine(subject, format!("{server} takes over while SES is down")),
        (server, false) => Check::warning(
            subject,
            format!(
                "SmtpServer is {server}, and the secret {name} has no user and password: e-mails wait while SES is down"
            ),
            format!(
                "Once the stage is deployed: `aws secretsmanager put-secret-value --secret-id {name} --secret-string \
                 file://smtp.json`, with {{\"user\":\"…\",\"password\":\"…\"}} in the file."
            ),
        ),
    }
}

/// The key that the shop's page has.
fn page(publishable: &str, secret: Option<Mode>, production: bool) -> Check {
    let subject = "publishable key";
    let set = "Set StripePublishableKey in the stage's section of infra/samconfig.toml";
    if publishable.is_empty() {
        let finding = "none: the shop's page offers test payment methods only";
        return if production {
            Check::warning(subject, finding, format!("{set}, to take real cards."))
        } else {
            Check::fine(subject, finding)
        };
    }
    match (Mode::of(publishable).filter(|_| publishable.starts_with("pk_")), secret) {
        (None, _) => {
            Check::stop(subject, "StripePublishableKey is no publishable key", format!("{set}: pk_…."))
        }
        (Some(Mode::Live), _) if !production => {
            Check::stop(subject, "a live key outside prod", format!("{set}: pk_test_…."))
        }
        (Some(mode), Some(secret)) if mode != secret => Check::stop(
            subject,
            format!("a {} key, and payments have a {} key: no card works", mode.name(), secret.name()),
            format!("{set}: pk_{}_….", secret.name()),
        ),
        (Some(mode), _) => Check::fine(subject, format!("a {} key", mode.name())),
    }
}

/// Tables, secrets and log groups of an earlier deployment whose stacks are gone: CloudFormation refuses to
/// create what exists.
pub fn leftovers(left: &Result<Vec<Named>, Refusal>, stage: &str) -> Check {
    let subject = "leftovers";
    let left = match left {
        Ok(left) => left,
        Err(refusal) => return Check::unknown(subject, refusal),
    };
    if left.is_empty() {
        return Check::fine(subject, "none of an earlier deployment is in the way");
    }
    let names: Vec<&str> = left.iter().map(|named| named.name.as_str()).collect();
    Check::stop(
        subject,
        format!("left of an earlier deployment, without its stack: {}", names.join(", ")),
        format!(
            "`cargo ops destroy --stage {stage}` removes it; to keep the data, import the tables (infra/README.md)."
        ),
    )
}

/// Whether the standard library for the functions' architecture is installed.
pub fn target(target: &str, installed: bool, rustup: bool) -> Check {
    let subject = "build";
    match (installed, rustup) {
        (true, _) => {
            Check::fine(subject, format!("Rust's target {target} is there; zig links, no Docker needed"))
        }
        (false, true) => Check::warning(
            subject,
            format!("Rust's target {target} is not installed; cargo-lambda downloads it"),
            format!("To have it before: `rustup target add {target}`."),
        ),
        (false, false) => Check::stop(
            subject,
            format!("Rust's target {target} is not installed, and there is no rustup to get it"),
            "Install the target with your package manager, or rustup (https://rustup.rs); or build for this machine's \
             processor with --arch.",
        ),
    }
}

#[cfg(test)]
mod tests;
