//! The user's account on the page: addresses, passwords, sessions, deletion.

use contracts::UserId;
use lambda_kit::jwt::Audience;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use shop_client::{Mail, Shop, Text, mail_to, texts_to};

use crate::browser::{Browser, Fate, PHONE};
use crate::fixture::{Customer, Fixture, Result, eventually, signer, subject, unique};
use crate::harness::Outcome;

use super::looks::inspect;
use super::visit::{enter_credentials, fill_in_address, is_content, log_in, put_in_basket, visit};

const NEW_PASSWORD: &str = "another correct horse";

/// The newest code of this many digits that was sent to an e-mail address, apart from `used`.
async fn mailed_code(fixture: &Fixture, address: &str, used: &str) -> Result<String> {
    eventually(&format!("a code for {address}"), async || {
        let mails = mail_to(&fixture.outputs.aws_endpoint_url, address).await?;
        let mut codes = mails.iter().rev().filter_map(Mail::code);
        Ok(codes.find(|code| *code != used).ok_or("no e-mail with a code")?.to_owned())
    })
    .await
}

async fn texted_code(fixture: &Fixture, phone: &str) -> Result<String> {
    eventually(&format!("a code for {phone}"), async || {
        let texts = texts_to(&fixture.outputs.aws_endpoint_url, phone).await?;
        Ok(texts.iter().rev().find_map(Text::code).ok_or("no text with a code")?.to_owned())
    })
    .await
}

async fn profile(shop: &Shop) -> Result<Value> {
    shop.get("/v1/users/me").await
}

/// Opens the account. Its sessions are read last, and move what is below them.
async fn open_account(browser: &mut Browser) -> Outcome {
    browser.click("#who").await?;
    Ok(browser.see_text("#sessions", "This page").await?)
}

/// Waits until the list has this many sessions.
async fn see_sessions(browser: &mut Browser, count: usize) -> Outcome {
    let list = "document.querySelectorAll('#sessions li').length";
    Ok(browser.see(&format!("{count} sessions"), &format!("{list} === {count}")).await?)
}

/// Gives the page an access token of the same session as if its login were an hour ago.
async fn age_login(fixture: &Fixture, browser: &mut Browser, user: &UserId) -> Outcome {
    let payload = "tokens.access_token.split('.')[1].replaceAll('-', '+').replaceAll('_', '/')";
    let session = browser.value(&format!("JSON.parse(atob({payload})).sid")).await?;
    let now = jiff::Timestamp::now().as_second();
    let mut subject = subject(user, vec![]);
    subject.session_id = serde_json::from_value(session)?;
    subject.auth_time = now - 3600;
    let token = signer(fixture).await?.sign(&subject, Audience::Api, now).await?;
    browser.value(&format!("void (tokens.access_token = {token:?})")).await?;
    Ok(())
}

async fn enter_password(browser: &mut Browser, password: &str) -> Outcome {
    browser.see_text("#account-title", "Enter your password").await?;
    browser.fill("#account-form [name=password]", password).await?;
    Ok(browser.click("#account-submit").await?)
}

async fn enter_code(browser: &mut Browser, form: &str, code: &str) -> Outcome {
    browser.fill(&format!("{form} [name=code]"), code).await?;
    Ok(browser.click(&format!("{form} .primary")).await?)
}

/// Whether this session can still be refreshed.
async fn is_open(shop: &Shop, refresh_token: &str) -> Result<bool> {
    let body = json!({"refresh_token": refresh_token});
    let answer = shop.call(Method::POST, "/v1/auth/refresh").json(&body).send_once().await?;
    Ok(answer.status == StatusCode::OK)
}

/// A session elsewhere: its refresh token.
async fn session_elsewhere(fixture: &Fixture, customer: &Customer) -> Result<String> {
    let credentials = json!({"email": customer.email, "password": customer.password});
    let login = fixture.shop.call(Method::POST, "/v1/auth/login").json(&credentials).send_once().await?;
    let tokens: Value = login.read()?;
    Ok(tokens["refresh_token"].as_str().unwrap_or_default().to_owned())
}

/// Waits until the customer has this many open sessions, the one of the test among them.
async fn has_sessions(customer: &Customer, count: usize) -> Result<()> {
    eventually(&format!("{count} sessions are open"), async || {
        let sessions: Value = customer.shop.get("/v1/users/me/sessions").await?;
        if sessions["items"].as_array().map(Vec::len) == Some(count) {
            Ok(())
        } else {
            Err(sessions.to_string())?
        }
    })
    .await
}

pub async fn an_address_and_a_number_are_confirmed_with_the_codes_that_were_sent(
    fixture: Fixture,
) -> Outcome {
    let email = format!("{}@ordersaga.example", unique("page"));
    let mut browser = visit(&fixture, "confirms").await?;
    browser.click("#log-in").await?;
    browser.click("#account-switch").await?;
    browser.fill("#account-form [name=name]", "Ada Lovelace").await?;
    browser.fill("#account-form [name=email]", &email).await?;
    browser.fill("#account-form [name=password]", "correct horse").await?;
    browser.click("#account-submit").await?;
    browser.see_text("#unconfirmed", "Your e-mail address is not confirmed yet.").await?;
    browser.click("#unconfirmed a").await?;
    browser.see_text("#sessions", "This page").await?;
    browser.see_text("#email-mark", "Not confirmed").await?;
    browser.see_text("#email-note", &format!("We sent an e-mail with a code to {email}")).await?;

    let code = mailed_code(&fixture, &email, "").await?;
    let wrong = if code.starts_with('1') { "20000000" } else { "10000000" };
    enter_code(&mut browser, "#email-code", wrong).await?;
    browser.see_text("#email-code .error", "Please check: code").await?;
    browser.screenshot("account-unconfirmed").await?;
    // As a person copies it.
    let (half, rest) = code.split_at(4);
    enter_code(&mut browser, "#email-code", &format!("{half} {rest} ")).await?;
    browser.see_text("#email-mark", "Confirmed").await?;
    browser.see("the notice is gone", "document.getElementById('unconfirmed').hidden").await?;

    let phone = format!("+1{:010}", uuid::Uuid::new_v4().as_u128() % 10_000_000_000);
    browser.click("#phone-title ~ details summary").await?;
    browser.fill("#phone-form [name=phone]", &phone).await?;
    browser.click("#phone-form .primary").await?;
    browser.see_text("#phone-value", &phone).await?;
    browser.click("#phone-send").await?;
    browser.see_text("#phone-note", &format!("We sent a text message with a code to {phone}")).await?;
    enter_code(&mut browser, "#phone-code", &texted_code(&fixture, &phone).await?).await?;
    browser.see_text("#phone-mark", "Confirmed").await?;
    browser.screenshot("account-confirmed").await?;

    let profile = profile(&fixture.shop.login(&email, "correct horse").await?).await?;
    assert_eq!((&profile["email_verified"], &profile["phone_verified"]), (&json!(true), &json!(true)));
    is_content(&browser);
    Ok(())
}

pub async fn the_link_of_an_e_mail_confirms_the_address_after_the_login(fixture: Fixture) -> Outcome {
    let customer = fixture.customer().await?;
    let code = mailed_code(&fixture, &customer.email, "").await?;
    let mut browser = Browser::start("confirm-link").await?;
    browser.open(&format!("{}#confirm={code}", fixture.outputs.storefront_url)).await?;
    browser.see_text("#account", "Log in to confirm your e-mail address.").await?;
    let address = browser.value("location.href").await?;
    assert!(!address.to_string().contains(&code), "{address}");
    enter_credentials(&mut browser, &customer).await?;
    browser.see_text("#email-mark", "Confirmed").await?;
    assert_eq!(profile(&customer.shop).await?["email_verified"], true);
    is_content(&browser);
    Ok(())
}

/// The token of the newest letter for a new password.
async fn mailed_token(fixture: &Fixture, address: &str) -> Result<String> {
    eventually(&format!("a token for {address}"), async || {
        let mails = mail_to(&fixture.outputs.aws_endpoint_url, address).await?;
        // 256 bits in base64url, on a line of their own.
        let lines = mails.iter().rev().flat_map(|mail| mail.body_text.lines());
        let token = lines.into_iter().find(|line| line.len() == 43 && !line.contains(' '));
        Ok(token.ok_or("no e-mail with a token")?.to_owned())
    })
    .await
}

pub async fn a_forgotten_password_is_replaced_with_the_link_of_an_e_mail(fixture: Fixture) -> Outcome {
    let customer = fixture.customer().await?;
    let elsewhere = session_elsewhere(&fixture, &customer).await?;
    let mut browser = visit(&fixture, "forgot").await?;
    browser.click("#log-in").await?;
    browser.click("#account-forgot").await?;
    browser.fill("#account-form [name=email]", &customer.email).await?;
    browser.click("#account-submit").await?;
    browser.see_text("#account-note", &format!("If {} has an account here", customer.email)).await?;
    browser.screenshot("account-forgot").await?;

    let token = mailed_token(&fixture, &customer.email).await?;
    browser.open("about:blank").await?;
    browser.open(&format!("{}#reset={token}", fixture.outputs.storefront_url)).await?;
    browser.see_text("#account-title", "Choose a new password").await?;
    let address = browser.value("location.href").await?;
    assert!(!address.to_string().contains(&token), "{address}");
    browser.see("the field has the focus", "document.activeElement.name === 'password'").await?;
    // Among the most common ones.
    browser.write("password123").await?;
    browser.click("#account-submit").await?;
    browser.see_text("#account-form .error", "guessed first").await?;
    browser.fill("#account-form [name=password]", NEW_PASSWORD).await?;
    browser.click("#account-submit").await?;
    browser.see_text("#account-note", "Your password is changed").await?;
    assert!(!is_open(&fixture.shop, &elsewhere).await?, "every session has ended");
    enter_credentials(&mut browser, &Customer { password: NEW_PASSWORD.to_owned(), ..customer }).await?;
    is_content(&browser);

    // It works once.
    browser.open("about:blank").await?;
    browser.open(&format!("{}#reset={token}", fixture.outputs.storefront_url)).await?;
    browser.fill("#account-form [name=password]", "yet another horse").await?;
    browser.click("#account-submit").await?;
    browser.see_text("#account-form .error", "token").await?;
    Ok(())
}

pub async fn a_change_of_address_asks_for_the_password_when_the_login_is_old(fixture: Fixture) -> Outcome {
    let customer = fixture.customer().await?;
    let new = format!("{}@ordersaga.example", unique("new"));
    let first = mailed_code(&fixture, &customer.email, "").await?;
    let mut browser = visit(&fixture, "change-address").await?;
    log_in(&mut browser, &customer).await?;
    browser.see_text("#link", "Live").await?;
    open_account(&mut browser).await?;
    age_login(&fixture, &mut browser, &customer.user_id).await?;
    let session = browser.value("tokens.refresh_token").await?;
    browser.click("#email-title ~ details summary").await?;
    browser.fill("#email-form [name=email]", &new).await?;
    browser.click("#email-form .primary").await?;
    enter_password(&mut browser, "not my password").await?;
    browser.see_text("#account-form .error", "password").await?;
    browser.screenshot("account-again").await?;
    enter_password(&mut browser, &customer.password).await?;
    browser.see_text("#email-note", &format!("to {new}")).await?;
    // The new session replaces the one before, and has a connection of its own.
    has_sessions(&customer, 2).await?;
    assert!(!is_open(&fixture.shop, session.as_str().unwrap_or_default()).await?);
    browser.see_text("#link", "Live").await?;
    assert_eq!(profile(&customer.shop).await?["email"], json!(customer.email), "not before it is confirmed");

    enter_code(&mut browser, "#email-code", &mailed_code(&fixture, &new, &first).await?).await?;
    browser.see_text("#email-value", &new).await?;
    browser.see_text("#email-mark", "Confirmed").await?;
    let shop = fixture.shop.login(&new, &customer.password).await?;
    assert_eq!(profile(&shop).await?["email"], json!(new));
    eventually("the old address is told", async || {
        let mails = mail_to(&fixture.outputs.aws_endpoint_url, &customer.email).await?;
        let told = mails.iter().any(|mail| mail.subject.contains("was changed"));
        if told { Ok(()) } else { Err(format!("{mails:?}"))? }
    })
    .await?;
    is_content(&browser);
    Ok(())
}

pub async fn a_new_password_ends_the_other_sessions_and_is_asked_for_once(fixture: Fixture) -> Outcome {
    let customer = fixture.customer().await?;
    let elsewhere = session_elsewhere(&fixture, &customer).await?;
    let mut browser = visit(&fixture, "new-password").await?;
    log_in(&mut browser, &customer).await?;
    open_account(&mut browser).await?;
    let wrong = [("current_password", "not my password"), ("new_password", NEW_PASSWORD)];
    for (field, value) in wrong {
        browser.fill(&format!("#password-form [name={field}]"), value).await?;
    }
    browser.click("#password-form .primary").await?;
    browser.see_text("#password-form .error", "password").await?;

    age_login(&fixture, &mut browser, &customer.user_id).await?;
    browser.fill("#password-form [name=current_password]", &customer.password).await?;
    browser.click("#password-form .primary").await?;
    browser.see_text("#message", "Your password is changed.").await?;
    see_sessions(&mut browser, 1).await?;
    assert!(!is_open(&fixture.shop, &elsewhere).await?, "the other session has ended");
    fixture.shop.login(&customer.email, NEW_PASSWORD).await?;
    is_content(&browser);
    Ok(())
}

pub async fn other_sessions_are_ended_one_by_one_and_all_at_once(fixture: Fixture) -> Outcome {
    let customer = fixture.customer().await?;
    let mut browser = visit(&fixture, "sessions").await?;
    log_in(&mut browser, &customer).await?;
    let mut elsewhere = Vec::new();
    for _ in 0..3 {
        elsewhere.push(session_elsewhere(&fixture, &customer).await?);
    }
    open_account(&mut browser).await?;
    // The three, this page's, and the one that the customer was made with.
    see_sessions(&mut browser, 5).await?;
    browser.screenshot("account-sessions").await?;
    browser.click("#sessions button").await?;
    see_sessions(&mut browser, 4).await?;
    browser.see_text("#message", "The session has ended.").await?;

    browser.click("nav a[href='#shop']").await?;
    browser.see_text("#shop-title", "Shop").await?;
    age_login(&fixture, &mut browser, &customer.user_id).await?;
    browser.click("#who").await?;
    browser.see("no list", "document.querySelectorAll('#sessions li').length === 0").await?;
    browser.click("#sessions-show").await?;
    enter_password(&mut browser, &customer.password).await?;
    see_sessions(&mut browser, 4).await?;
    browser.click("#sessions-end").await?;
    see_sessions(&mut browser, 1).await?;
    for session in &elsewhere {
        assert!(!is_open(&fixture.shop, session).await?);
    }
    // This page goes on.
    browser.click("nav a[href='#shop']").await?;
    browser.see_text("#shop-title", "Shop").await?;
    open_account(&mut browser).await?;
    is_content(&browser);
    Ok(())
}

pub async fn the_session_ends_with_the_page(fixture: Fixture) -> Outcome {
    let customer = fixture.customer().await?;
    let mut browser = visit(&fixture, "leaves").await?;
    log_in(&mut browser, &customer).await?;
    let session = browser.value("tokens.refresh_token").await?;
    browser.open("about:blank").await?;
    let session = session.as_str().unwrap_or_default();
    has_sessions(&customer, 1).await?;
    assert!(!is_open(&fixture.shop, session).await?);
    Ok(())
}

/// All data of the page: its texts, also the hidden ones, its fields, and the browser's storage.
const TRACES: &str = "JSON.stringify([
    [...document.querySelectorAll('header, main, dialog')].map((one) => one.textContent),
    [...document.querySelectorAll('input')].map((one) => one.value), { ...localStorage }, { ...sessionStorage }])";

async fn has_no_trace(browser: &mut Browser, words: &[&str]) -> Outcome {
    let traces = browser.value(TRACES).await?.to_string();
    for word in words {
        assert!(!traces.contains(word), "{word}: {traces}");
    }
    Ok(())
}

pub async fn nothing_of_a_user_is_left_for_the_next_one(fixture: Fixture) -> Outcome {
    let (anna, ben) = (fixture.customer().await?, fixture.customer().await?);
    let sku = fixture.product(5).await?;
    let mut browser = visit(&fixture, "shared").await?;
    log_in(&mut browser, &anna).await?;
    put_in_basket(&mut browser, &sku).await?;
    fill_in_address(&mut browser).await?;
    // The order's outcome is unknown, so the page remembers it.
    browser.meddle("POST", "v1/orders", Fate::Fails, 1).await?;
    browser.click("#place").await?;
    browser.see_text("#checkout-error", "There was no answer").await?;
    let stored = browser.value("JSON.stringify({ ...sessionStorage })").await?.to_string();
    assert!(stored.contains("1 Main Street"), "{stored}");

    // Her session ends elsewhere, and he logs in.
    let ended = Fate::Answered { status: 401, headers: vec![], body: b"{}".to_vec() };
    browser.meddle("POST", "v1/orders", ended.clone(), 1).await?;
    browser.meddle("POST", "v1/auth/refresh", ended, 1).await?;
    browser.click("#place").await?;
    browser.see_text("#account", "Your session has ended").await?;
    let fields = "[...document.querySelectorAll('#checkout input')].map((one) => one.value).join()";
    let fields = browser.value(fields).await?.to_string();
    assert!(!fields.contains("1 Main Street"), "{fields}");
    enter_credentials(&mut browser, &ben).await?;
    has_no_trace(&mut browser, &["1 Main Street", &anna.email, anna.user_id.as_str()]).await?;
    browser.see_text("#basket-empty", "It is empty.").await?;

    put_in_basket(&mut browser, &sku).await?;
    fill_in_address(&mut browser).await?;
    browser.click("#place").await?;
    browser.see_text(".order .badge", "Completed").await?;
    open_account(&mut browser).await?;
    browser.click("#log-out").await?;
    browser.see_text("#message", "You are logged out.").await?;
    let name = "Test Customer";
    has_no_trace(&mut browser, &["1 Main Street", name, &ben.email, ben.user_id.as_str(), "ord_"]).await?;
    is_content(&browser);
    Ok(())
}

pub async fn an_order_that_needs_a_confirmed_address_says_so(fixture: Fixture) -> Outcome {
    let (customer, sku) = (fixture.customer().await?, fixture.product(5).await?);
    let mut browser = visit(&fixture, "unconfirmed").await?;
    log_in(&mut browser, &customer).await?;
    put_in_basket(&mut browser, &sku).await?;
    fill_in_address(&mut browser).await?;
    let refusal = Fate::Answered { status: 403, headers: vec![], body: b"{}".to_vec() };
    browser.meddle("POST", "v1/orders", refusal, 1).await?;
    browser.click("#place").await?;
    browser.see_text("#checkout-error", "Please confirm your e-mail address first").await?;
    browser.click("#unconfirmed a").await?;
    browser.see_text("#sessions", "This page").await?;
    browser.meddle("POST", "v1/auth/refresh", Fate::Fails, 0).await?;
    enter_code(&mut browser, "#email-code", &mailed_code(&fixture, &customer.email, "").await?).await?;
    browser.see_text("#email-mark", "Confirmed").await?;
    // The access token says so as well, which orders look at.
    assert_eq!(browser.requests("POST", "v1/auth/refresh").len(), 1);
    browser.click("nav a[href='#basket']").await?;
    browser.click("#place").await?;
    browser.see_text(".order .badge", "Completed").await?;
    is_content(&browser);
    Ok(())
}

pub async fn an_account_is_deleted(fixture: Fixture) -> Outcome {
    let customer = fixture.customer().await?;
    let mut browser = visit(&fixture, "deletes").await?;
    log_in(&mut browser, &customer).await?;
    open_account(&mut browser).await?;
    age_login(&fixture, &mut browser, &customer.user_id).await?;
    browser.click("#delete-ask").await?;
    browser.screenshot("account-delete").await?;
    browser.click("#delete-form .danger").await?;
    browser.see_text("#account-title", "Enter your password").await?;
    // Without the password nothing happens.
    browser.press("Escape").await?;
    browser.see_text("#delete-form .error", "This needs your password.").await?;
    assert_eq!(profile(&customer.shop).await?["email"], json!(customer.email));

    browser.click("#delete-form .danger").await?;
    enter_password(&mut browser, &customer.password).await?;
    browser.see_text("#message", "Your account is deleted.").await?;
    browser.see("the page is logged out", "!document.getElementById('log-in').hidden").await?;
    let login = fixture.shop.login(&customer.email, &customer.password).await;
    assert_eq!(login.err().and_then(|error| error.status()), Some(StatusCode::UNAUTHORIZED));
    is_content(&browser);
    Ok(())
}

pub async fn an_address_is_confirmed_with_the_keyboard_alone(fixture: Fixture) -> Outcome {
    let customer = fixture.customer().await?;
    let mut browser = visit(&fixture, "account-keyboard").await?;
    log_in(&mut browser, &customer).await?;
    browser.tab_to("#who").await?;
    browser.press("Enter").await?;
    browser.see("the title has the focus", "document.activeElement.id === 'profile-title'").await?;
    browser.tab_to("#email-code [name=code]").await?;
    browser.write(&mailed_code(&fixture, &customer.email, "").await?).await?;
    browser.press("Enter").await?;
    browser.see_text("#email-mark", "Confirmed").await?;
    browser.see("its heading has the focus", "document.activeElement.id === 'email-title'").await?;
    is_content(&browser);
    Ok(())
}

pub async fn the_account_fits_a_phone_and_everything_in_it_has_a_name(fixture: Fixture) -> Outcome {
    let customer = fixture.customer().await?;
    let mut browser = visit(&fixture, "account-looks").await?;
    browser.click("#log-in").await?;
    inspect(&mut browser).await?;
    browser.click("#account-forgot").await?;
    inspect(&mut browser).await?;
    browser.click("#account-switch").await?;
    enter_credentials(&mut browser, &customer).await?;
    open_account(&mut browser).await?;
    let all = "for (const one of document.querySelectorAll('#profile details')) one.open = true;
        for (const one of document.querySelectorAll('#profile form')) one.hidden = false;";
    browser.value(all).await?;
    inspect(&mut browser).await?;
    browser.look(PHONE, false).await?;
    browser.see("the account fits", "document.documentElement.scrollWidth <= innerWidth").await?;
    browser.screenshot("account-phone").await?;
    browser.click("#delete-ask").await?;
    inspect(&mut browser).await?;
    is_content(&browser);
    Ok(())
}
