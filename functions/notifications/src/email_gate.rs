//! The providers of e-mail, each behind a guard of its own: SES, and if it is set, an SMTP server that takes over while
//! the circuit breaker of SES is open.

use contracts::UserId;

use crate::{
    domain::{DeliveryOutcome, EmailMessage, Provider},
    email::EmailSender,
    provider_guard::{Clock, NotSent, ProviderGuard},
    smtp::SmtpSender,
};

/// A provider and its guard.
#[derive(Debug, Clone)]
pub struct Guarded<S> {
    pub sender: S,
    pub guard: ProviderGuard,
}

#[derive(Debug, Clone)]
pub struct EmailGate {
    pub ses: Guarded<EmailSender>,
    pub smtp: Option<Guarded<SmtpSender>>,
}

/// The provider that takes the next message.
// A message keeps it during its attempt. If this provider refuses it, or does not answer, the other one is not called: a
// message without an answer may have been sent.
#[derive(Debug, Clone, Copy)]
pub enum Admitted<'a> {
    Ses(&'a Guarded<EmailSender>),
    Smtp(&'a Guarded<SmtpSender>),
}

impl EmailGate {
    /// Waits until an e-mail may be sent, and says by which provider. Send soon after it.
    pub async fn acquire(&self, clock: &Clock) -> Result<Admitted<'_>, NotSent> {
        let ses_open = match self.ses.guard.acquire(clock).await {
            Ok(()) => return Ok(Admitted::Ses(&self.ses)),
            Err(NotSent::CircuitOpen(open)) => open,
            Err(not_sent) => return Err(not_sent),
        };
        let Some(smtp) = &self.smtp else { return Err(NotSent::CircuitOpen(ses_open)) };
        match smtp.guard.acquire(clock).await {
            Ok(()) => Ok(Admitted::Smtp(smtp)),
            // The message returns when the first of them may be back.
            Err(NotSent::CircuitOpen(open)) => {
                Err(NotSent::CircuitOpen(if open.retry_after < ses_open.retry_after {
                    open
                } else {
                    ses_open
                }))
            }
            Err(not_sent) => Err(not_sent),
        }
    }
}

impl Admitted<'_> {
    /// Sends the e-mail.
    pub async fn send(
        self,
        clock: &Clock,
        user: &UserId,
        to: &str,
        email: &EmailMessage,
    ) -> Result<DeliveryOutcome, NotSent> {
        let (by, sent) = match self {
            Self::Ses(Guarded { sender, guard }) => {
                (Provider::Ses, guard.send(clock, || sender.send(user, to, email)).await)
            }
            Self::Smtp(Guarded { sender, guard }) => {
                (Provider::Smtp, guard.send(clock, || sender.send(to, email)).await)
            }
        };
        Ok(DeliveryOutcome::Sent { by, provider_id: sent? })
    }
}
