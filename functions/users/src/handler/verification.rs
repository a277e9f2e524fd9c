//! Verifies that an e-mail address or a phone number is its user's.

use contracts::{
    AccountContent, AccountMessage, CorrelationId, MessageId, Recipient, SmsCountries, UserId,
    events::Channel,
};
use jiff::{SignedDuration, Timestamp};
use lambda_kit::{
    dynamodb::{Budget, Conflict, retry_on_conflict},
    error::error_chain,
    telemetry::{SecurityEvent, security},
};

use super::DECISIONS;
use crate::{
    domain::{
        BrokenRule, CODE_BYTES, Code, Email, PendingCode, Profile, SALT_BYTES, Secret, Verification, lifetime,
    },
    error::UsersError,
    messages::Messages,
    store::{EmailChange, Store},
};

/// Tries of one code that are counted at the same time.
// An attacker's, since a person has one keyboard. As many as a code allows, and one more.
const ATTEMPTS: Budget = Budget::Tries(6);

/// How long a message without a code is worth sending, in seconds: a day. The queue keeps it for half an hour.
const NOTICE_LIFETIME: i64 = 24 * 60 * 60;

/// When a request came, and under which id it is found in the logs.
#[derive(Debug, Clone, Copy)]
pub struct EventContext<'a> {
    pub now: Timestamp,
    pub correlation_id: &'a CorrelationId,
}

impl EventContext<'_> {
    /// The time after this many seconds.
    pub fn after(self, seconds: i64) -> Timestamp {
        self.now.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX)
    }
}

/// The random parts of a code and of its hash.
#[derive(Clone, Copy)]
pub struct CodeRandom {
    pub code: [u8; CODE_BYTES],
    pub salt: [u8; SALT_BYTES],
}

/// What a code is for, and where it goes.
struct NewCode {
    channel: Channel,
    recipient: Recipient,
    /// Whether the recipient is known to be the user's.
    verified: bool,
    /// Whether it counts as one of those that a user may ask for.
    counted: bool,
    content: fn(String) -> AccountContent,
}

/// Sends a code to the user's e-mail address or phone number.
///
/// # Errors
/// `UnknownUser`, `Suspended`, `AlreadyVerified`, `TooManyCodes`, and `Invalid` when there is no number that SMS are sent to.
pub async fn send_code(
    store: &Store,
    messages: &Messages,
    countries: &SmsCountries,
    user_id: &UserId,
    channel: Channel,
    random: CodeRandom,
    context: EventContext<'_>,
) -> Result<(), UsersError> {
    let profile = store.profile(user_id).await?.ok_or(UsersError::UnknownUser)?;
    profile.check_active()?;
    let new = match channel {
        Channel::Email if profile.email_verified => return Err(UsersError::AlreadyVerified),
        Channel::Email => NewCode {
            channel,
            recipient: Recipient::Email(profile.email.into()),
            verified: false,
            counted: true,
            content: |code| AccountContent::VerifyEmail { code },
        },
        Channel::Sms => phone_code(profile, countries)?,
    };
    let message = save_code(store, user_id, new, random, context).await?;
    Ok(messages.send(&message).await?)
}

fn phone_code(profile: Profile, countries: &SmsCountries) -> Result<NewCode, UsersError> {
    let invalid = |rule| UsersError::Invalid { field: "channel", rule: BrokenRule(rule) };
    if profile.phone_verified {
        return Err(UsersError::AlreadyVerified);
    }
    let phone =
        profile.phone.ok_or_else(|| invalid("cannot be `sms` without a phone number in the profile"))?;
    if !countries.include(phone.as_str()) {
        return Err(invalid("cannot be `sms`: this shop sends no SMS to the country of your number"));
    }
    Ok(NewCode {
        channel: Channel::Sms,
        recipient: Recipient::Sms(phone.into()),
        verified: false,
        counted: true,
        content: |code| AccountContent::VerifyPhone { code },
    })
}

/// Welcomes a user who has registered with a code for the e-mail address. A failure is logged: the account exists,
/// and the user may ask for another code.
pub async fn welcome(
    store: &Store,
    messages: &Messages,
    profile: &Profile,
    random: CodeRandom,
    context: EventContext<'_>,
) {
    let new = NewCode {
        channel: Channel::Email,
        recipient: Recipient::Email(profile.email.clone().into()),
        verified: false,
        counted: false,
        content: |code| AccountContent::Welcome { code },
    };
    let sent = async {
        let message = save_code(store, &profile.user_id, new, random, context).await?;
        messages.send(&message).await.map_err(UsersError::from)
    };
    if let Err(error) = sent.await {
        tracing::error!(error = error_chain(&error), "the code for a new account could not be sent");
    }
}

/// Sends a code to another address, which becomes the account's when it is confirmed. Tells the present one.
///
/// # Errors
/// `UnknownUser`, `Suspended`, `EmailTaken`, `TooManyCodes`, and `Invalid` when the account has this address.
pub async fn request_email_change(
    store: &Store,
    messages: &Messages,
    user_id: &UserId,
    email: Email,
    random: CodeRandom,
    context: EventContext<'_>,
) -> Result<(), UsersError> {
    let profile = store.profile(user_id).await?.ok_or(UsersError::UnknownUser)?;
    profile.check_active()?;
    if profile.email == email {
        return Err(UsersError::Invalid { field: "email", rule: BrokenRule("is your address already") });
    }
    let new = NewCode {
        channel: Channel::Email,
        recipient: Recipient::Email(email.clone().into()),
        verified: false,
        counted: true,
        content: |code| AccountContent::ChangeEmail { code },
    };
    let message = save_code(store, user_id, new, random, context).await?;
    // After the code was counted: three times an hour, a user may find out whether an address is registered, and
    // registering says the same. A code that is not sent confirms nothing.
    if store.account(&email).await?.is_some() {
        return Err(UsersError::EmailTaken);
    }
    // The owner of the account must hear of it before the address can change.
    messages.send(&notice(&profile, AccountContent::EmailChangeRequested, context)).await?;
    Ok(messages.send(&message).await?)
}

/// Stores a new code and returns the message that brings it.
async fn save_code(
    store: &Store,
    user_id: &UserId,
    new: NewCode,
    random: CodeRandom,
    context: EventContext<'_>,
) -> Result<AccountMessage, UsersError> {
    let NewCode { channel, recipient, verified, counted, content } = new;
    let code = Code::new(channel, random.code);
    let pending = PendingCode {
        hash: code.hash(&random.salt)?,
        to: recipient.address().to_owned(),
        valid_until: context.now.as_second() + lifetime(channel),
        tries: 0,
    };
    let pending = &pending;
    let saved = retry_on_conflict(DECISIONS, || async move {
        let stored = store.verification(user_id, channel).await?;
        let next = Verification::send(stored.as_ref(), pending.clone(), counted, context.now.as_second())
            .map_err(|seconds| UsersError::TooManyCodes { seconds })?;
        Ok::<_, UsersError>(store.save_verification(user_id, channel, &next).await?)
    });
    saved.await??;
    Ok(AccountMessage {
        message_id: MessageId::generate(),
        user_id: user_id.clone(),
        recipient: Some(recipient),
        verified,
        content: content(code.expose().to_owned()),
        expires_at: context.after(lifetime(channel)),
        correlation_id: context.correlation_id.clone(),
    })
}

/// A message to the account's present address.
pub fn notice(profile: &Profile, content: AccountContent, context: EventContext<'_>) -> AccountMessage {
    AccountMessage {
        message_id: MessageId::generate(),
        user_id: profile.user_id.clone(),
        recipient: Some(Recipient::Email(profile.email.clone().into())),
        verified: profile.email_verified,
        content,
        expires_at: context.after(NOTICE_LIFETIME),
        correlation_id: context.correlation_id.clone(),
    }
}

/// Confirms an address or number by the code that was sent to it. The address of a requested change becomes the
/// account's.
///
/// # Errors
/// `WrongCode` for a wrong, used or old one, `TooManyTries`, `Suspended`, and `EmailTaken` when another account has the address
/// meanwhile.
pub async fn confirm_code(
    store: &Store,
    messages: &Messages,
    user_id: &UserId,
    channel: Channel,
    code: &Secret,
    context: EventContext<'_>,
) -> Result<(), UsersError> {
    let code = Code::parse(channel, code).ok_or(UsersError::WrongCode)?;
    // The try is counted before the code is compared, so that concurrent guesses cannot exceed the limit together.
    let attempt = retry_on_conflict(ATTEMPTS, || async {
        let stored = store.verification(user_id, channel).await?.ok_or(UsersError::WrongCode)?;
        let (counted, pending) = stored.attempt(context.now.as_second())?;
        let written = store.save_verification(user_id, channel, &counted).await?;
        Ok::<_, UsersError>(written.map(|()| pending))
    });
    let pending = &attempt.await??;
    if !code.has(&pending.hash)? {
        return Err(UsersError::WrongCode);
    }
    let confirmed = retry_on_conflict(DECISIONS, || async move {
        let profile = store.profile(user_id).await?.ok_or(UsersError::UnknownUser)?;
        profile.check_active()?;
        let confirmed = profile.confirm(channel, &pending.to, context.now, context.correlation_id)?;
        let confirmed = confirmed.ok_or(UsersError::WrongCode)?;
        if confirmed.profile.email == profile.email {
            let written = store.confirm(&confirmed, channel, pending).await?;
            return Ok::<_, UsersError>(written.map(|()| None));
        }
        let account = store.account(&profile.email).await?;
        let account = account.filter(|account| account.user_id == *user_id).ok_or(UsersError::UnknownUser)?;
        match store.change_email(&account, &profile.email, &confirmed, pending).await? {
            EmailChange::Done => Ok(Ok(Some(profile))),
            EmailChange::Taken => Err(UsersError::EmailTaken),
            EmailChange::Conflict => Ok(Err(Conflict)),
        }
    });
    let before = confirmed.await??;
    tracing::info!(channel = channel.as_str(), "address or number confirmed");
    if let Some(before) = before {
        security(SecurityEvent::EmailChanged, None);
        tell(messages, &notice(&before, AccountContent::EmailChanged, context)).await;
    }
    Ok(())
}

/// Sends a message about a change that was made. A failure is logged: the change stands.
pub async fn tell(messages: &Messages, message: &AccountMessage) {
    if let Err(error) = messages.send(message).await {
        tracing::error!(
            error = error_chain(&error),
            kind = message.content.kind(),
            "the user could not be told of a change"
        );
    }
}
