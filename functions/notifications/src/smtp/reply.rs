//! What a negative reply of the SMTP server means for a message.

use std::error::Error as _;

use lettre::transport::smtp::Error;

use crate::provider::SendError;

/// The part of the conversation that a reply belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Before the recipient is named: what is refused here is refused for all messages.
    Session,
    Recipient,
    /// The command DATA, and the message itself.
    Content,
}

/// The error of a step that the server has refused. `None` when there was no reply that can be read.
pub fn refusal(step: Step, error: &Error) -> Option<SendError> {
    let code = error.status()?.to_string();
    // The text is not kept, because it contains the address.
    let text = error.source().map(ToString::to_string).unwrap_or_default();
    Some(classify(step, &code, enhanced(&text)))
}

/// Why there was no reply, without the server's words.
pub fn failure(error: &Error) -> &'static str {
    match () {
        () if error.is_timeout() => "no answer",
        () if error.is_client() => "it does not offer what is needed: STARTTLS, or AUTH with PLAIN or LOGIN",
        () if error.is_response() => "an answer that is no SMTP",
        () => "no connection",
    }
}

/// `code` is a reply code of RFC 5321, section 4.2, and `enhanced` one of RFC 3463.
fn classify(step: Step, code: &str, enhanced: Option<&str>) -> SendError {
    let reply = enhanced.map_or_else(|| code.to_owned(), |enhanced| format!("{code} {enhanced}"));
    // 5.7.x: the server refuses for its own rules, such as a sender that it does not know. A person can correct that.
    let is_policy = enhanced.is_some_and(|enhanced| enhanced.starts_with("5.7."));
    match (step, code) {
        (Step::Session, _) => SendError::Unavailable(reply),
        // The mailbox is busy, and other recipients are served.
        (Step::Recipient, "450") => SendError::Refused(reply),
        (_, code) if code.starts_with('4') => SendError::Unavailable(reply),
        // A bad sequence of commands, missing authentication, and a full mailbox, which RFC 5321 calls temporary
        // (section 4.5.3.1.10).
        (Step::Recipient, "503" | "530" | "552") => SendError::Refused(reply),
        (Step::Recipient, _) if !is_policy => SendError::Invalid(reply),
        (Step::Recipient | Step::Content, _) => SendError::Refused(reply),
    }
}

/// The enhanced code that the text of a reply begins with.
fn enhanced(text: &str) -> Option<&str> {
    let first = text.split_ascii_whitespace().next()?;
    let numbers: Vec<&str> = first.split('.').collect();
    let is_number = |part: &&str| (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    (numbers.len() == 3 && numbers.iter().all(is_number)).then_some(first)
}

#[cfg(test)]
mod tests {
    use lambda_kit::provider::{CallOutcome, ProviderError};
    use rstest::rstest;

    use super::*;

    fn invalid(reply: &str) -> SendError {
        SendError::Invalid(reply.to_owned())
    }

    fn refused(reply: &str) -> SendError {
        SendError::Refused(reply.to_owned())
    }

    fn unavailable(reply: &str) -> SendError {
        SendError::Unavailable(reply.to_owned())
    }

    #[rstest]
    #[case("550 5.1.1 <anna@example.com>: unknown", invalid("550 5.1.1"))]
    #[case("550 no such user", invalid("550"))]
    #[case("553 5.1.3 bad address", invalid("553 5.1.3"))]
    #[case("554 5.7.1 relay access denied", refused("554 5.7.1"))]
    #[case("552 5.2.2 mailbox full", refused("552 5.2.2"))]
    #[case("530 5.7.0 authentication required", refused("530 5.7.0"))]
    #[case("450 4.2.1 mailbox busy", refused("450 4.2.1"))]
    #[case("451 4.3.0 try later", unavailable("451 4.3.0"))]
    #[case("421 closing", unavailable("421"))]
    fn a_permanent_refusal_of_the_recipient_is_final_unless_it_is_about_us(
        #[case] reply: &str,
        #[case] expected: SendError,
    ) {
        assert_eq!(classified(Step::Recipient, reply), expected);
    }

    #[rstest]
    #[case("554 5.7.1 spam", refused("554 5.7.1"))]
    #[case("552 too large", refused("552"))]
    #[case("451 4.3.0 disk full", unavailable("451 4.3.0"))]
    fn a_refused_content_says_nothing_about_the_address(#[case] reply: &str, #[case] expected: SendError) {
        assert_eq!(classified(Step::Content, reply), expected);
    }

    /// Otherwise a wrong password would send every message to the dead-letter queue, instead of letting it wait.
    #[rstest]
    fn what_is_refused_for_all_messages_opens_the_breaker(
        #[values("535 5.7.8 wrong password", "550 5.7.1 sender not allowed", "421 busy", "454 4.7.0 later")]
        reply: &str,
    ) {
        let error = classified(Step::Session, reply);
        assert_eq!(error.outcome(), CallOutcome::Failed);
        assert!(!error.is_uncertain());
    }

    #[rstest]
    #[case("5.1.1 no", Some("5.1.1"))]
    #[case("4.7.28", Some("4.7.28"))]
    #[case("5.1 no", None)]
    #[case("10.0.0.1.7 no", None)]
    #[case("anna@example.com", None)]
    #[case("", None)]
    fn an_enhanced_code_is_read_from_the_text(#[case] text: &str, #[case] expected: Option<&str>) {
        assert_eq!(enhanced(text), expected);
    }

    fn classified(step: Step, reply: &str) -> SendError {
        let (code, text) = reply.split_once(' ').unwrap();
        classify(step, code, enhanced(text))
    }
}
