//! Delivers messages about accounts.

use aws_lambda_events::sqs::SqsMessage;
use contracts::{AccountMessage, Recipient};

use super::{AttemptOutcome, Notifier, NotifyError, try_email};
use crate::{
    domain::{DeliveryOutcome, Notification, Provider, StoredContact, account_email, account_text},
    provider_guard::Clock,
};

impl Notifier {
    /// Sends a message about an account, unless it is too old, its account is erased, the address is suppressed or
    /// has had too many, or the number is in a country to which no SMS are sent.
    pub async fn notify_account(
        &self,
        notification: Notification<'_>,
        message: &SqsMessage,
        about: &AccountMessage,
        recipient: &Recipient,
        clock: &Clock,
    ) -> Result<(), NotifyError> {
        if about.expires_at <= clock.now() {
            tracing::warn!("the message is too old to be sent");
            return Ok(());
        }
        // Unknown at first: a new user's code comes before the event with the contact.
        match self.store.contact(&about.user_id).await? {
            Some(StoredContact::Erased) => {
                tracing::info!("the user was deleted");
                return Ok(());
            }
            Some(StoredContact::Known(contact))
                if contact.suppressed.as_deref() == Some(recipient.address()) =>
            {
                tracing::warn!("the address is suppressed, the message is dropped");
                return Ok(());
            }
            Some(StoredContact::Known(_)) | None => {}
        }
        if let Recipient::Sms(number) = recipient
            && !self.sms_countries.include(number)
        {
            tracing::warn!("no SMS are sent to the country of the number, the message is dropped");
            return Ok(());
        }
        if !about.verified && !self.recipients.admits(message, recipient.address(), clock.now()).await {
            return Ok(());
        }
        match recipient {
            Recipient::Email(address) => {
                let email = account_email(&about.content, self.shop_url.as_deref())?;
                match self.email.acquire(clock).await {
                    Ok(provider) => {
                        let attempt = try_email(provider, &about.user_id, address, &email, clock);
                        self.with_lease(notification, message, clock, attempt).await
                    }
                    Err(not_sent) => self.postpone(notification, message, not_sent).await,
                }
            }
            Recipient::Sms(number) => {
                let text = account_text(&about.content).ok_or(NotifyError::Message)?;
                // While SMS are off, the code is dropped: it would be too old when they are on again.
                if let Err(not_sent) = self.acquire_sms(clock).await {
                    return self.postpone(notification, message, not_sent).await;
                }
                // No e-mail replaces it: the code must show who reads the messages to this number.
                let attempt = async {
                    match self.sms_guard.send(clock, || self.sms_sender.send(number, &text)).await {
                        Ok(provider_id) => {
                            AttemptOutcome::Finished(DeliveryOutcome::Sent { by: Provider::Sns, provider_id })
                        }
                        Err(not_sent) => not_sent.into(),
                    }
                };
                self.with_lease(notification, message, clock, attempt).await
            }
        }
    }
}
