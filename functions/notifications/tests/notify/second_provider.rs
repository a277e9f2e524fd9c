//! An SMTP server takes e-mails while the circuit breaker of SES is open.

use base64::{Engine, engine::general_purpose::STANDARD};
use contracts::{
    Envelope, UserId,
    events::{Channel, NotificationFailed, NotificationSent, Undelivered},
};
use lambda_kit::smtp_server::SmtpServer;
use lettre::transport::smtp::client::Certificate;
use rstest::rstest;
use serde_json::json;

use crate::{
    fixture::*,
    smtp_tls::{self, Begin, HOST},
};

/// Anna with e-mails, an SMTP server without encryption, and an operator who has stopped the calls of SES.
async fn without_ses(anna: &UserId) -> (Fixture, SmtpServer) {
    let server = SmtpServer::default();
    let port = server.listen().await.unwrap();
    let fixture = Fixture::with_smtp(anna, EMAIL, plain(port)).await;
    fixture.switch_breaker("email", "forced_open").await;
    (fixture, server)
}

fn plain(port: u16) -> SmtpAt {
    SmtpAt { url: format!("smtp://127.0.0.1:{port}"), roots: vec![] }
}

/// The providers in the records of messages, in order of their names.
async fn providers(fixture: &Fixture) -> Vec<String> {
    let items = fixture.items().await;
    let providers = items.iter().filter_map(|item| item.get("provider"));
    let mut providers: Vec<String> = providers.map(|value| value.as_s().unwrap().clone()).collect();
    providers.sort();
    providers
}

#[tokio::test]
async fn emails_go_by_smtp_while_the_breaker_of_ses_is_open_and_by_ses_afterwards() {
    let anna = UserId::generate();
    let (fixture, server) = without_ses(&anna).await;
    fixture.receive(&completed(&anna)).await.unwrap();
    let [letter] = &server.letters()[..] else { panic!("one letter") };
    assert_eq!((letter.from.as_str(), letter.to.as_str()), (SENDER, ADDRESS));
    let content = &letter.content;
    for part in
        [&format!("Your order {} is complete", order_of(&anna)), "text/plain", "text/html", "Message-ID"]
    {
        assert!(content.contains(part), "{part} in {content}");
    }
    let user = STANDARD.encode(format!("\0{SMTP_USER}\0{SMTP_PASSWORD}"));
    assert!(server.commands().contains(&format!("AUTH PLAIN {user}")), "{:?}", server.commands());
    let sent: NotificationSent = fixture.published().await[0].decode().unwrap();
    assert_eq!((sent.channel, sent.sent_by), (Channel::Email, Channel::Email));

    fixture.switch_breaker("email", "normal").await;
    fixture.receive(&completed(&anna)).await.unwrap();
    assert!(fixture.sent_emails().await.is_empty(), "none is sent again");
    fixture.receive(&completed_as(&anna, "after")).await.unwrap();
    assert_eq!((fixture.sent_emails().await.len(), server.letters().len()), (1, 1));
    assert_eq!(providers(&fixture).await, ["ses", "smtp"]);
}

#[tokio::test]
async fn codes_go_by_smtp_too() {
    let anna = UserId::generate();
    let (fixture, server) = without_ses(&anna).await;
    let code = code_to(&anna, contracts::Recipient::Email("new@example.com".to_owned()));
    fixture.receive_account(&code).await.unwrap();
    let [letter] = &server.letters()[..] else { panic!("one letter") };
    assert!(letter.content.contains(CODE) && letter.to == "new@example.com", "{letter:?}");
}

#[tokio::test]
async fn with_both_breakers_open_messages_wait() {
    let anna = UserId::generate();
    let (fixture, server) = without_ses(&anna).await;
    fixture.switch_breaker("smtp", "forced_open").await;
    fixture.receive(&completed(&anna)).await.unwrap();
    let [(event, delay)] = &fixture.requeued().await[..] else { panic!("one event") };
    assert!((30..=60).contains(delay), "{delay}");
    assert_eq!((fixture.sent_emails().await.len(), server.letters().len()), (0, 0));

    fixture.switch_breaker("smtp", "normal").await;
    fixture.receive_at(event, NOW + delay).await.unwrap();
    assert_eq!(server.letters().len(), 1);
}

/// The message may have been sent.
#[tokio::test]
async fn a_message_whose_answer_ses_has_lost_is_not_handed_to_the_other_provider() {
    let anna = UserId::generate();
    let server = SmtpServer::default();
    let fixture = Fixture::with_smtp(&anna, EMAIL, plain(server.listen().await.unwrap())).await;
    // Calls of SES have no operation header.
    fixture.provider_faults.lose_answers("", 1);
    fixture.receive(&completed(&anna)).await.unwrap_err();
    fixture.receive_at(&completed(&anna), NOW + 60).await.unwrap();
    assert_eq!((fixture.sent_emails().await.len(), server.letters().len()), (2, 0));
}

#[tokio::test]
async fn a_recipient_whom_the_server_refuses_for_good_is_not_tried_again() {
    let anna = UserId::generate();
    let (fixture, server) = without_ses(&anna).await;
    server.replies("RCPT", "550 5.1.1 no such user");
    fixture.receive(&completed(&anna)).await.unwrap();
    let failed: NotificationFailed = fixture.published().await[0].decode().unwrap();
    assert_eq!(failed.reason, Undelivered::InvalidAddress);
    server.accepts_everything();
    fixture.receive(&completed(&anna)).await.unwrap();
    assert!(server.letters().is_empty());
}

#[rstest]
#[case("MAIL", "451 4.3.0 try later")]
#[case("RCPT", "450 4.2.1 mailbox busy")]
#[case("RCPT", "554 5.7.1 relay access denied")]
#[case("DATA", "421 4.3.2 closing")]
#[case("CONTENT", "452 4.3.1 disk full")]
#[case("CONTENT", "554 5.7.1 looks like spam")]
#[tokio::test]
async fn another_refusal_is_retried_after_a_pause_with_one_conversation_each_time(
    #[case] command: &'static str,
    #[case] reply: &'static str,
) {
    let anna = UserId::generate();
    let (fixture, server) = without_ses(&anna).await;
    server.replies(command, reply);
    fixture.receive(&completed(&anna)).await.unwrap_err();
    assert_eq!(fixture.hidden().await, [2]);
    let greetings = server.commands().iter().filter(|command| command.starts_with("EHLO")).count();
    assert_eq!(greetings, 1);
    server.accepts_everything();
    fixture.receive_at(&completed(&anna), NOW + 2).await.unwrap();
    assert_eq!(server.letters().len(), 1);
}

#[tokio::test]
async fn a_letter_without_an_answer_is_repeated_once_after_the_lease() {
    let anna = UserId::generate();
    let (fixture, server) = without_ses(&anna).await;
    server.replies("CONTENT", "");
    let event = completed(&anna);
    fixture.receive(&event).await.unwrap_err();
    assert_eq!(fixture.hidden().await, [60]);
    for later in [60, 120, 180] {
        fixture.receive_at(&event, NOW + later).await.unwrap_err();
    }
    assert_eq!(server.letters().len(), 2);
}

/// Five events fail while the server does so, and then its breaker is open.
async fn assert_that_messages_wait(fixture: &Fixture, anna: &UserId) {
    let events: Vec<Envelope> = (0..5).map(|n| completed_as(anna, &format!("down-{n}"))).collect();
    let results = futures::future::join_all(events.iter().map(|event| fixture.receive(event))).await;
    assert!(results.iter().all(Result::is_err), "{results:?}");
    assert!(fixture.requeued().await.is_empty());
    fixture.receive(&completed(anna)).await.unwrap();
    assert_eq!(fixture.requeued().await.len(), 1);
    assert!(fixture.sent_emails().await.is_empty());
}

#[tokio::test]
async fn while_both_providers_are_down_messages_wait() {
    let anna = UserId::generate();
    // No server listens at this port, and no other test gets it.
    let fixture = Fixture::with_smtp(&anna, EMAIL, plain(9)).await;
    fixture.switch_breaker("email", "forced_open").await;
    assert_that_messages_wait(&fixture, &anna).await;
}

#[tokio::test]
async fn with_a_wrong_password_messages_wait_until_the_secret_is_corrected() {
    let anna = UserId::generate();
    let (fixture, server) = without_ses(&anna).await;
    server.replies("AUTH", "535 5.7.8 wrong password");
    assert_that_messages_wait(&fixture, &anna).await;

    server.accepts_everything();
    fixture.store_smtp_secret(&json!({"user": SMTP_USER, "password": "the new one"}));
    fixture.wait(30);
    fixture.receive_at(&completed(&anna), NOW + 32).await.unwrap();
    let user = STANDARD.encode(format!("\0{SMTP_USER}\0the new one"));
    assert!(server.commands().contains(&format!("AUTH PLAIN {user}")));
    assert_eq!(server.letters().len(), 1);
}

#[rstest]
#[case(json!({"user": "", "password": ""}))]
#[case(json!({"user": SMTP_USER}))]
#[tokio::test]
async fn without_credentials_the_server_is_not_called_and_messages_wait(#[case] secret: serde_json::Value) {
    let anna = UserId::generate();
    let (fixture, server) = without_ses(&anna).await;
    fixture.store_smtp_secret(&secret);
    assert_that_messages_wait(&fixture, &anna).await;
    assert!(server.commands().is_empty());
}

#[rstest]
#[case("smtps", Begin::AtOnce)]
#[case("smtp", Begin::ByCommand)]
#[tokio::test]
async fn letters_are_encrypted(#[case] scheme: &str, #[case] begin: Begin) {
    let anna = UserId::generate();
    let server = SmtpServer::default();
    let (port, certificate) = smtp_tls::listen(&server, begin).await;
    let url = format!("{scheme}://{HOST}:{port}");
    let trusted =
        SmtpAt { url: url.clone(), roots: vec![Certificate::from_der(certificate.to_vec()).unwrap()] };
    let fixture = Fixture::with_smtp(&anna, EMAIL, trusted).await;
    fixture.switch_breaker("email", "forced_open").await;
    fixture.receive(&completed(&anna)).await.unwrap();
    assert_eq!(server.letters().len(), 1);

    // A certificate that no known authority has signed.
    let fixture = Fixture::with_smtp(&anna, EMAIL, SmtpAt { url, roots: vec![] }).await;
    fixture.switch_breaker("email", "forced_open").await;
    fixture.receive(&completed(&anna)).await.unwrap_err();
    assert_eq!(server.letters().len(), 1);
}

#[rstest]
#[case::not_offered(false)]
#[case::refused(true)]
#[tokio::test]
async fn a_server_that_does_not_begin_tls_gets_no_password_and_no_letter(#[case] is_offered: bool) {
    let anna = UserId::generate();
    let server = SmtpServer::default();
    let port = server.listen().await.unwrap();
    if is_offered {
        server.offers_starttls();
        server.replies("STARTTLS", "454 4.7.0 not now");
    }
    let fixture =
        Fixture::with_smtp(&anna, EMAIL, SmtpAt { url: format!("smtp://{HOST}:{port}"), roots: vec![] });
    let fixture = fixture.await;
    fixture.switch_breaker("email", "forced_open").await;
    fixture.receive(&completed(&anna)).await.unwrap_err();
    let commands = server.commands();
    assert!(
        !commands.is_empty() && commands.iter().all(|it| !it.starts_with("AUTH") && !it.starts_with("MAIL"))
    );
    assert!(server.letters().is_empty());
}

#[tokio::test]
async fn the_server_has_a_rate_of_its_own() {
    let anna = UserId::generate();
    let (fixture, _) = without_ses(&anna).await;
    fixture.receive(&completed(&anna)).await.unwrap();
    let items = fixture.items().await;
    let keys: Vec<&String> = items.iter().map(|item| item["pk"].as_s().unwrap()).collect();
    assert!(keys.iter().any(|key| key.ends_with("#smtp") && !key.starts_with("BREAKER")), "{keys:?}");
    assert!(!keys.iter().any(|key| key.ends_with("#email") && !key.starts_with("BREAKER")), "{keys:?}");
}
