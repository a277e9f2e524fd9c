//! The second provider of e-mail: an SMTP server on this machine.

use contracts::{EventId, OrderId, OrderStatus};
use lambda_kit::smtp_server::{Letter, SmtpServer};
use serde_json::{Value, json};

use crate::fixture::{Customer, Fixture, Result, buy, eventually, unique};
use crate::harness::Outcome;

// It changes the provider of all letters.
crate::tests![alone: letters_go_by_smtp_while_the_breaker_of_ses_is_open_and_by_ses_afterwards];

const USER: &str = "ordersaga";
const PASSWORD: &str = "a secret";

/// Places an order and waits until it completes. Returns it with the record of its letter, once that is sent.
async fn complete(fixture: &Fixture, customer: &Customer) -> Outcome<(OrderId, Value)> {
    let sku = fixture.product(5).await?;
    let placed = customer.shop.place(&buy(&sku), &unique("key")).await?;
    let order = customer.ended(&placed.order_id).await?;
    assert_eq!(order.status, OrderStatus::OrderCompleted);
    let completed = EventId::derive("orders", placed.order_id.as_str(), order.version);
    let record = eventually("the letter is sent", async || {
        let record = fixture.item("notifications", &format!("MESSAGE#{completed}"), "EMAIL").await;
        let record = record.map_err(said)?;
        if record["state"]["S"] == "sent" { Ok(record) } else { Err(record.to_string())? }
    })
    .await?;
    Ok((placed.order_id, record))
}

/// The message of an error.
fn said(error: libtest_mimic::Failed) -> String {
    error.message().unwrap_or_default().to_owned()
}

/// The letters to a customer that an SMTP server has taken.
fn letters(server: &SmtpServer, customer: &Customer) -> Vec<Letter> {
    server.letters().into_iter().filter(|letter| letter.to == customer.email).collect()
}

/// The number of e-mails about an order that SES has taken.
async fn by_ses(fixture: &Fixture, customer: &Customer, order: &OrderId) -> Result<usize> {
    let mails = fixture.mails(customer).await?;
    Ok(mails.iter().filter(|mail| mail.subject.contains(order.as_str())).count())
}

async fn letters_go_by_smtp_while_the_breaker_of_ses_is_open_and_by_ses_afterwards(
    fixture: Fixture,
) -> Outcome {
    let server = SmtpServer::default();
    let url = format!("smtp://127.0.0.1:{}", server.listen().await?);
    let secret = json!({
        "SecretId": format!("ordersaga-{}-smtp", fixture.outputs.stage),
        "SecretString": json!({"user": USER, "password": PASSWORD}).to_string(),
    });
    fixture.emulator.json("secretsmanager", "secretsmanager.PutSecretValue", &secret).await?;
    fixture.set_variable("notifications-consumer", "SMTP_SERVER", &url).await?;
    fixture.force_open("notifications/email").await?;

    let customer = fixture.customer().await?;
    let (order, record) = complete(&fixture, &customer).await?;
    assert_eq!(record["provider"], json!({"S": "smtp"}));
    let about = |letters: Vec<Letter>, order: &OrderId| {
        letters.iter().filter(|letter| letter.content.contains(order.as_str())).count()
    };
    assert_eq!(about(letters(&server, &customer), &order), 1);
    assert_eq!(by_ses(&fixture, &customer, &order).await?, 0);
    let welcomed = letters(&server, &customer).iter().any(|letter| letter.content.contains("Welcome"));
    assert!(welcomed, "the letter with the code for the address");

    fixture.ops(&["breaker", "set", "notifications/email", "normal"]).await?;
    eventually("letters go by SES again", async || {
        let (order, record) = complete(&fixture, &customer).await.map_err(said)?;
        if record["provider"]["S"] != "ses" {
            return Err(record.to_string())?;
        }
        let sent = by_ses(&fixture, &customer, &order).await?;
        assert_eq!((sent, about(letters(&server, &customer), &order)), (1, 0));
        Ok(())
    })
    .await?;
    assert_eq!(by_ses(&fixture, &customer, &order).await?, 0, "none is sent again");
    Ok(())
}
