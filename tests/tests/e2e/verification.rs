//! Codes and links that prove who reads the messages of an account.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use shop_client::mail_to;

use crate::fixture::{Customer, Fixture, Result, buy, eventually, unique};
use crate::harness::Outcome;

crate::tests![
    a_customer_who_confirms_address_and_number_is_verified_in_the_profile,
    a_forgotten_password_is_set_by_the_link_of_an_email_and_all_sessions_end,
    another_address_counts_from_its_confirmation_on_and_the_old_one_is_told,
    an_order_of_an_unverified_customer_is_told_without_the_name_and_by_no_sms,
];

async fn me(customer: &Customer) -> Result<Value> {
    customer.shop.call(Method::GET, "/v1/users/me").send().await?.read()
}

async fn a_customer_who_confirms_address_and_number_is_verified_in_the_profile(fixture: Fixture) -> Outcome {
    let unverified = fixture.customer().await?;
    let profile = me(&unverified).await?;
    assert_eq!((&profile["email_verified"], &profile["phone_verified"]), (&json!(false), &json!(false)));
    let customer = fixture.customer_with_phone().await?;
    let profile = me(&customer).await?;
    assert_eq!((&profile["email_verified"], &profile["phone_verified"]), (&json!(true), &json!(true)));
    Ok(())
}

async fn a_forgotten_password_is_set_by_the_link_of_an_email_and_all_sessions_end(
    fixture: Fixture,
) -> Outcome {
    let customer = fixture.customer().await?;
    let session = fixture.shop.call(Method::POST, "/v1/auth/login");
    let credentials = json!({"email": customer.email, "password": customer.password});
    let tokens: Value = session.json(&credentials).send().await?.read()?;
    for email in [customer.email.as_str(), "nobody@ordersaga.example"] {
        let call = fixture.shop.call(Method::POST, "/v1/auth/password-reset").json(&json!({"email": email}));
        assert_eq!(call.send_once().await?.status, StatusCode::ACCEPTED);
    }
    let token = eventually("an e-mail has a link", async || {
        let mails = fixture.mails(&customer).await?;
        let mail = mails.iter().find(|mail| mail.subject == "Set a new password").ok_or("no such e-mail")?;
        let (_, token) = mail.body_text.split_once("/#reset=").ok_or("no link")?;
        Ok(token.split_whitespace().next().ok_or("no token")?.to_owned())
    })
    .await?;
    let password = unique("New");
    let confirm = json!({"token": token, "new_password": password});
    for status in [StatusCode::NO_CONTENT, StatusCode::UNPROCESSABLE_ENTITY] {
        let call = fixture.shop.call(Method::POST, "/v1/auth/password-reset/confirm").json(&confirm);
        assert_eq!(call.send_once().await?.status, status, "it works once");
    }
    fixture.shop.login(&customer.email, &password).await?;
    let refresh = json!({"refresh_token": tokens["refresh_token"]});
    let refreshed = fixture.shop.call(Method::POST, "/v1/auth/refresh").json(&refresh).send_once().await?;
    assert_eq!(refreshed.status, StatusCode::UNAUTHORIZED);
    assert!(mail_to(&fixture.outputs.aws_endpoint_url, "nobody@ordersaga.example").await?.is_empty());
    Ok(())
}

async fn another_address_counts_from_its_confirmation_on_and_the_old_one_is_told(
    fixture: Fixture,
) -> Outcome {
    let customer = fixture.customer().await?;
    let new = format!("{}@ordersaga.example", unique("new"));
    customer.post("/v1/users/me/email", &json!({"email": new})).await?;
    let code = fixture.code_by_email(&new, "Confirm your new e-mail address").await?;
    assert_eq!(me(&customer).await?["email"], json!(customer.email));
    customer.confirm("email", &code).await?;
    let profile = me(&customer).await?;
    assert_eq!((&profile["email"], &profile["email_verified"]), (&json!(new), &json!(true)));
    fixture.shop.login(&new, &customer.password).await?;
    eventually("the old address is told", async || {
        let mails = fixture.mails(&customer).await?;
        let told = mails.iter().any(|mail| mail.subject == "Your e-mail address was changed");
        if told { Ok(()) } else { Err(format!("{mails:?}"))? }
    })
    .await?;
    Ok(())
}

async fn an_order_of_an_unverified_customer_is_told_without_the_name_and_by_no_sms(
    fixture: Fixture,
) -> Outcome {
    let (mut customer, sku) = (fixture.customer().await?, fixture.product(5).await?);
    let phone = format!("+1{:010}", uuid::Uuid::new_v4().as_u128() % 10_000_000_000);
    let patch = customer.shop.call(Method::PATCH, "/v1/users/me");
    let wanted = json!({"phone": phone, "notification_preferences": {"sms": true}});
    patch.json(&wanted).send().await?.read::<Value>()?;
    customer.phone = Some(phone);
    let placed = customer.shop.place(&buy(&sku), &unique("key")).await?;
    customer.ended(&placed.order_id).await?;
    let mail = eventually("the customer is told by e-mail", async || {
        let mails = fixture.mails(&customer).await?;
        let told = mails.into_iter().find(|mail| mail.subject.contains("is complete"));
        Ok(told.ok_or("no such e-mail")?)
    })
    .await?;
    assert!(mail.body_text.starts_with("Hello,"), "{}", mail.body_text);
    assert!(fixture.texts(&customer).await?.is_empty());
    Ok(())
}
