//! Sends e-mail through an SMTP server (RFC 5321).

mod reply;
mod secret;
mod server;

use std::fmt;

use lambda_kit::{
    aws::SdkConfig,
    config::{self, ConfigError},
    limits::{CONNECT, SMTP_CALL},
};
use lettre::{
    Address, Message,
    message::{Mailbox, MultiPart},
    transport::smtp::{
        authentication::DEFAULT_MECHANISMS,
        client::{AsyncSmtpConnection, Certificate, TlsParameters},
        commands::{Data, Mail, Rcpt},
        extension::ClientId,
    },
};
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use self::{
    reply::{Step, refusal},
    secret::SmtpSecret,
    server::{Encryption, SmtpServer},
};
use crate::{domain::EmailMessage, provider::SendError};

/// Sends from one address. Each e-mail has a connection of its own.
// Between two invocations the process is frozen, and a server closes a connection that is idle.
#[derive(Clone)]
pub struct SmtpSender {
    server: SmtpServer,
    tls: TlsParameters,
    from: Address,
    secret: SmtpSecret,
}

impl fmt::Debug for SmtpSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SmtpSender({:?})", self.server)
    }
}

impl SmtpSender {
    /// Sends through the server `SMTP_SERVER`, from the address `SMTP_FROM`, or else `EMAIL_FROM`, with the user and the
    /// password in the secret `SMTP_SECRET_ARN`. `None` when no server is set.
    ///
    /// # Errors
    /// When a variable is missing or cannot be read.
    pub fn from_env(sdk: &SdkConfig) -> Result<Option<Self>, ConfigError> {
        const SERVER: &str = "SMTP_SERVER";
        let Some(server) = config::optional(SERVER) else { return Ok(None) };
        let from = match config::optional("SMTP_FROM") {
            Some(from) => from,
            None => config::required("EMAIL_FROM")?,
        };
        let secret = config::required("SMTP_SECRET_ARN")?;
        Self::new(sdk, &server, &from, secret, &[]).map(Some).map_err(|reason| ConfigError::Invalid {
            name: SERVER,
            value: server,
            reason,
        })
    }

    /// Trusts `roots` in addition to Mozilla's.
    ///
    /// # Errors
    /// What is wrong with the server or the address.
    pub fn new(
        sdk: &SdkConfig,
        server: &str,
        from: &str,
        secret_arn: String,
        roots: &[Certificate],
    ) -> Result<Self, String> {
        let server: SmtpServer = server.parse()?;
        let mut tls = TlsParameters::builder(server.host.clone());
        for root in roots {
            tls = tls.add_root_certificate(root.clone());
        }
        Ok(Self {
            tls: tls.build().map_err(|error| error.to_string())?,
            from: from.parse().map_err(|error| format!("the sender {from}: {error}"))?,
            secret: SmtpSecret::new(sdk, secret_arn),
            server,
        })
    }

    /// Sends once, and returns the id that the message has (its `Message-ID`).
    pub async fn send(&self, to: &str, email: &EmailMessage) -> Result<String, SendError> {
        let to: Address = to.parse().map_err(|_| SendError::Invalid("not an address".to_owned()))?;
        let id = format!("<{}@{}>", Uuid::now_v7(), self.from.domain());
        let message = self.message(&id, &to, email)?;
        let deadline = Instant::now() + SMTP_CALL;
        let ready = timeout_at(deadline, self.prepare(&to)).await;
        let mut connection = ready.map_err(|_| SendError::Unavailable("no answer".to_owned()))??;
        // Up to here the server certainly has not sent the message.
        let accepted = timeout_at(deadline, connection.message(&message)).await;
        accepted
            .map_err(|_| SendError::Timeout)?
            .map_err(|error| refusal(Step::Content, &error).unwrap_or(SendError::Connection))?;
        // The server has accepted the message, whatever it answers to this.
        let _ = timeout_at(deadline, connection.quit()).await;
        Ok(id)
    }

    fn message(&self, id: &str, to: &Address, email: &EmailMessage) -> Result<Vec<u8>, SendError> {
        let message = Message::builder()
            .from(Mailbox::new(None, self.from.clone()))
            .to(Mailbox::new(None, to.clone()))
            .message_id(Some(id.to_owned()))
            .subject(&email.subject)
            .multipart(MultiPart::alternative_plain_html(email.text.clone(), email.html.clone()))
            .map_err(|_| SendError::Content)?;
        Ok(message.formatted())
    }

    /// A connection on which the content of a message to this address may follow.
    async fn prepare(&self, to: &Address) -> Result<AsyncSmtpConnection, SendError> {
        let credentials = self.secret.get().await?;
        let mut connection = self.connect().await?;
        if let Err(error) = connection.auth(DEFAULT_MECHANISMS, &credentials).await {
            // They may have been replaced since they were read.
            self.secret.forget().await;
            return Err(unavailable(&error));
        }
        let mail = Mail::new(Some(self.from.clone()), vec![]);
        connection.command(mail).await.map_err(|error| unavailable(&error))?;
        let recipient = connection.command(Rcpt::new(to.clone(), vec![])).await;
        recipient.map_err(|error| at(Step::Recipient, &error))?;
        connection.command(Data).await.map_err(|error| at(Step::Content, &error))?;
        Ok(connection)
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, SendError> {
        // A function has no name of its own in the DNS. Servers that take credentials do not look at it.
        let name = ClientId::default();
        let SmtpServer { host, port, encryption } = &self.server;
        let tls = (*encryption == Encryption::Tls).then(|| self.tls.clone());
        let connected =
            AsyncSmtpConnection::connect_tokio1((host.as_str(), *port), Some(CONNECT), &name, tls, None);
        let mut connection = connected.await.map_err(|error| unavailable(&error))?;
        if *encryption == Encryption::StartTls {
            // It fails when the server does not offer it.
            let secured = connection.starttls(self.tls.clone(), &name).await;
            secured.map_err(|error| unavailable(&error))?;
        }
        Ok(connection)
    }
}

/// The error of a step that concerns all messages.
fn unavailable(error: &lettre::transport::smtp::Error) -> SendError {
    at(Step::Session, error)
}

/// The error of a step before the content, after which the server certainly has no message.
fn at(step: Step, error: &lettre::transport::smtp::Error) -> SendError {
    refusal(step, error).unwrap_or_else(|| SendError::Unavailable(reply::failure(error).to_owned()))
}
