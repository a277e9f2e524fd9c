//! The shop's page in a real browser, as its visitors use it.

mod account;
mod looks;
pub mod visit;

use std::sync::Arc;

use axum::http::HeaderValue;
use axum::{Json, Router};
use contracts::OrderStatus;
use reqwest::Method;
use serde_json::{Value, json};
use shop_client::{Shop, card};
use storefront::{Page, PublishableKey};
use tokio::net::TcpListener;
use tokio::sync::Notify;

use crate::browser::{Browser, DESKTOP, Fate, PHONE};
use crate::fixture::{Customer, Fixture, buy, eventually, unique};
use crate::harness::Outcome;

use account::{
    a_change_of_address_asks_for_the_password_when_the_login_is_old,
    a_forgotten_password_is_replaced_with_the_link_of_an_e_mail,
    a_new_password_ends_the_other_sessions_and_is_asked_for_once, an_account_is_deleted,
    an_address_and_a_number_are_confirmed_with_the_codes_that_were_sent,
    an_address_is_confirmed_with_the_keyboard_alone, an_order_that_needs_a_confirmed_address_says_so,
    nothing_of_a_user_is_left_for_the_next_one, other_sessions_are_ended_one_by_one_and_all_at_once,
    the_account_fits_a_phone_and_everything_in_it_has_a_name,
    the_link_of_an_e_mail_confirms_the_address_after_the_login, the_session_ends_with_the_page,
};
use looks::inspect;
use visit::{
    enter_credentials, fill_in_address, is_content, log_in, order_on_page, put_in_basket, see_steps,
    unfold_order, visit,
};

crate::tests![
    a_visitor_registers_buys_and_sees_the_order_complete,
    a_declined_card_is_explained,
    an_order_that_cannot_be_shipped_shows_what_was_undone,
    a_page_that_loses_its_connection_polls_and_goes_live_again,
    an_order_is_placed_with_the_keyboard_alone,
    a_busy_shop_is_waited_for_and_gets_the_same_order_again,
    a_session_goes_on_as_long_as_it_can_and_its_end_keeps_the_basket,
    a_price_that_changed_is_shown_before_anything_is_ordered,
    a_product_that_is_new_since_the_page_was_opened_is_found,
    an_open_order_is_cancelled,
    a_card_goes_to_stripe_and_the_bank_is_asked_on_the_page,
    while_the_shop_gives_no_list_the_one_of_the_last_visit_is_shown,
    the_page_fits_a_phone,
    everything_has_a_name_and_can_be_read,
    an_address_and_a_number_are_confirmed_with_the_codes_that_were_sent,
    the_link_of_an_e_mail_confirms_the_address_after_the_login,
    a_forgotten_password_is_replaced_with_the_link_of_an_e_mail,
    a_change_of_address_asks_for_the_password_when_the_login_is_old,
    a_new_password_ends_the_other_sessions_and_is_asked_for_once,
    other_sessions_are_ended_one_by_one_and_all_at_once,
    the_session_ends_with_the_page,
    nothing_of_a_user_is_left_for_the_next_one,
    an_order_that_needs_a_confirmed_address_says_so,
    an_account_is_deleted,
    an_address_is_confirmed_with_the_keyboard_alone,
    the_account_fits_a_phone_and_everything_in_it_has_a_name,
];

/// The customer's list of orders, once there is one: it follows the orders within seconds.
async fn listed(shop: &Shop) -> shop_client::Result<Value> {
    eventually("the order is listed", async || {
        let mut orders: Value = shop.get("/v1/orders").await?;
        if orders["items"] == json!([]) { Err("no order")? } else { Ok(orders["items"].take()) }
    })
    .await
}

async fn a_visitor_registers_buys_and_sees_the_order_complete(fixture: Fixture) -> Outcome {
    let (sku, email) = (fixture.product(5).await?, format!("{}@ordersaga.example", unique("page")));
    let mut browser = visit(&fixture, "buys").await?;
    browser.see_text(".card .stock", "In stock").await?;
    browser.screenshot("shop").await?;
    put_in_basket(&mut browser, &sku).await?;
    browser.see_text("#total", "$12.50").await?;

    fill_in_address(&mut browser).await?;
    browser.fill("#checkout [name=name]", "Ada Lovelace").await?;
    browser.click("#place").await?;
    browser.see_text("#account", "Log in to order").await?;
    browser.click("#account-switch").await?;
    browser.fill("#account-form [name=name]", "Ada Lovelace").await?;
    browser.fill("#account-form [name=email]", &email).await?;
    browser.fill("#account-form [name=password]", "correct horse").await?;
    browser.screenshot("register").await?;
    browser.click("#account-submit").await?;
    browser.see_text("#who", "Ada Lovelace").await?;
    browser.see_text("#link", "Live").await?;
    browser.look(DESKTOP, true).await?;
    browser.screenshot("basket-dark").await?;
    browser.look(DESKTOP, false).await?;
    browser.screenshot("basket").await?;

    browser.click("#place").await?;
    browser.see_text(".order .badge", "Completed").await?;
    see_steps(&mut browser, "done", 5).await?;
    browser.see_text(".order .outcome", "your order is on its way").await?;
    browser.see_text(".order .steps", "$12.50 was paid").await?;
    browser.see_text("#basket-empty, #orders-title", "Your orders").await?;
    for (name, screen, dark) in [
        ("completed", DESKTOP, false),
        ("completed-dark", DESKTOP, true),
        ("completed-phone", PHONE, false),
        ("completed-phone-dark", PHONE, true),
    ] {
        browser.look(screen, dark).await?;
        browser.screenshot(name).await?;
    }

    // It matches the shop's data, also after a new visit.
    let order = order_on_page(&mut browser).await?;
    let shop = fixture.shop.login(&email, "correct horse").await?;
    assert_eq!(shop.order(&order).await?.status, OrderStatus::OrderCompleted);
    // A new visit knows of the order from the list only.
    listed(&shop).await?;
    browser.look(DESKTOP, false).await?;
    browser.open(&fixture.outputs.storefront_url).await?;
    browser.click("#log-in").await?;
    browser.fill("#account-form [name=email]", &email).await?;
    browser.fill("#account-form [name=password]", "correct horse").await?;
    browser.click("#account-submit").await?;
    browser.see_text("#who", "Ada Lovelace").await?;
    browser.see_text("#unconfirmed", "not confirmed yet").await?;
    browser.click("nav a[href='#orders']").await?;
    unfold_order(&mut browser).await?;
    see_steps(&mut browser, "done", 5).await?;
    browser.see_text(".order .steps", "arrives about").await?;
    assert_eq!(order_on_page(&mut browser).await?, order);
    is_content(&browser);
    Ok(())
}

async fn a_declined_card_is_explained(fixture: Fixture) -> Outcome {
    let (customer, sku) = (fixture.customer().await?, fixture.product(1).await?);
    let mut browser = visit(&fixture, "declined").await?;
    log_in(&mut browser, &customer).await?;
    put_in_basket(&mut browser, &sku).await?;
    fill_in_address(&mut browser).await?;
    browser.click("[value=pm_card_chargeCustomerFail]").await?;
    browser.click("#place").await?;
    browser.see_text(".order .badge", "Cancelled").await?;
    let why = "Cancelled: the card was declined. Nothing was charged. The stock was put back.";
    browser.see_text(".order .outcome", why).await?;
    browser.see_text(".order .steps .undone", "The stock was put back.").await?;
    browser.see_text(".order .steps .failed", "The card was declined.").await?;
    browser.screenshot("declined").await?;

    // The last piece can be sold again, and the shop shows it.
    browser.click("nav a[href='#shop']").await?;
    browser.see_text(&format!(".card[data-sku='{sku}'] .stock"), "Only 1 left").await?;
    is_content(&browser);
    Ok(())
}

async fn an_order_that_cannot_be_shipped_shows_what_was_undone(fixture: Fixture) -> Outcome {
    let (customer, sku) = (fixture.customer().await?, fixture.product(5).await?);
    let mut browser = visit(&fixture, "undone").await?;
    log_in(&mut browser, &customer).await?;
    put_in_basket(&mut browser, &sku).await?;
    fill_in_address(&mut browser).await?;
    browser.value("document.querySelector('[name=country]').value = 'AQ'").await?;
    browser.click("#place").await?;
    browser
        .see_text(".order .outcome", "no carrier delivers to this address. What you paid was paid back.")
        .await?;
    see_steps(&mut browser, "undone", 2).await?;
    browser.see_text(".order .steps .undone", "$12.50 was paid back.").await?;
    browser.see_text(".order .steps .undone", "The stock was put back.").await?;
    browser.screenshot("undone").await?;
    browser.look(PHONE, true).await?;
    browser.screenshot("undone-phone-dark").await?;
    is_content(&browser);
    Ok(())
}

/// Ends the customer's connections from the server's side.
async fn cut(fixture: &Fixture, customer: &Customer) -> Outcome {
    let query = json!({
        "TableName": format!("ordersaga-{}-realtime", fixture.outputs.stage),
        "KeyConditionExpression": "pk = :user AND begins_with(sk, :connection)",
        "ExpressionAttributeValues": {
            ":user": {"S": format!("USER#{}", customer.user_id)}, ":connection": {"S": "CONN#"},
        },
    });
    let found = fixture.emulator.json("dynamodb", "DynamoDB_20120810.Query", &query).await?;
    let names = found["Items"].as_array().into_iter().flatten().filter_map(|item| item["sk"]["S"].as_str());
    let connections: Vec<&str> = names.filter_map(|name| name.strip_prefix("CONN#")).collect();
    assert!(!connections.is_empty(), "the page is connected");
    let (_, after_scheme) = fixture.outputs.websocket_url.split_once("://").ok_or("a URL has a scheme")?;
    let (_, path) = after_scheme.split_once('/').ok_or("the emulator's URLs have a path")?;
    for connection in connections {
        let path = format!("/{path}/@connections/{connection}");
        fixture
            .emulator
            .send("execute-api", "DeleteConnection", Method::DELETE, &path, &[], Vec::new())
            .await?;
    }
    Ok(())
}

async fn a_page_that_loses_its_connection_polls_and_goes_live_again(fixture: Fixture) -> Outcome {
    let (customer, sku) = (fixture.customer().await?, fixture.product(5).await?);
    let mut browser = visit(&fixture, "reconnects").await?;
    log_in(&mut browser, &customer).await?;
    browser.see_text("#link", "Live").await?;
    // Placed through the API, like all orders here that wait for the bank.
    let (_, asked) = customer.order_that_waits(&fixture, &sku).await?;
    browser.click("nav a[href='#orders']").await?;
    browser.see_text(".order .steps .current", "Your bank asks you to confirm").await?;

    // There is no way back to the WebSocket for now: whatever is seen comes by polling.
    browser.meddle("POST", "v1/realtime/tickets", Fate::Fails, usize::MAX).await?;
    cut(&fixture, &customer).await?;
    browser.see_text("#link", "Polling every 5 s").await?;
    fixture.gateway.authenticate(&asked).await?;
    browser.see_text(".order .badge", "Completed").await?;
    see_steps(&mut browser, "done", 5).await?;
    browser.see_text("#link", "Polling every 5 s").await?;
    assert!(!browser.requests("GET", "/events?after=").is_empty(), "it was polled");

    browser.meddle_no_more().await?;
    browser.see_text("#link", "Live").await?;
    // Disconnected in the middle of an order: what happens meanwhile is replayed.
    let (second, asked) = customer.order_that_waits(&fixture, &sku).await?;
    browser.see_text(".order .id", second.as_str()).await?;
    cut(&fixture, &customer).await?;
    fixture.gateway.authenticate(&asked).await?;
    browser.see_text("#link", "Live").await?;
    see_steps(&mut browser, "done", 5).await?;
    let both = "document.querySelectorAll('.order .badge.good').length === 2";
    browser.see("both orders are completed", both).await?;
    is_content(&browser);
    Ok(())
}

async fn an_order_is_placed_with_the_keyboard_alone(fixture: Fixture) -> Outcome {
    let (customer, sku) = (fixture.customer().await?, fixture.product(50).await?);
    let mut browser = visit(&fixture, "keyboard").await?;
    browser.tab_to("#log-in").await?;
    browser.press("Enter").await?;
    browser.see("the first field has the focus", "document.activeElement.name === 'email'").await?;
    browser.write(&customer.email).await?;
    browser.tab_to("#account-form [name=password]").await?;
    browser.write(&customer.password).await?;
    browser.press("Enter").await?;
    browser.see_text("#who", "Test Customer").await?;

    browser.tab_to("#search").await?;
    browser.write(sku.as_str()).await?;
    browser.see_text(".card .stock", "In stock").await?;
    browser.tab_to(&format!(".card[data-sku='{sku}'] button")).await?;
    browser.press("Space").await?;
    browser.see_text("#basket-lines", "Test product").await?;
    for (field, value) in [("line1", "1 Main Street"), ("postal_code", "12345"), ("city", "Springfield")] {
        browser.tab_to(&format!("#checkout [name={field}]")).await?;
        browser.write(value).await?;
    }
    browser.tab_to("#place").await?;
    browser.press("Enter").await?;
    let focused = "document.activeElement.closest('.order') !== null";
    browser.see("the new order has the focus", focused).await?;
    see_steps(&mut browser, "done", 5).await?;
    // Still visible, whatever has been rendered again meanwhile.
    browser.see("the new order has the focus", focused).await?;
    is_content(&browser);
    Ok(())
}

async fn a_busy_shop_is_waited_for_and_gets_the_same_order_again(fixture: Fixture) -> Outcome {
    let (customer, sku) = (fixture.customer().await?, fixture.product(5).await?);
    let mut browser = visit(&fixture, "busy").await?;
    log_in(&mut browser, &customer).await?;
    put_in_basket(&mut browser, &sku).await?;
    fill_in_address(&mut browser).await?;
    let problem = |status: u16, body: &str| Fate::Answered {
        status,
        headers: vec![
            ("Retry-After".to_owned(), "4".to_owned()),
            ("Content-Type".to_owned(), "application/problem+json".to_owned()),
        ],
        body: body.as_bytes().to_vec(),
    };
    let off = r#"{"type":"urn:ordersaga:problem:orders-refused","status":503,"detail":"No new orders at the moment."}"#;
    browser.meddle("POST", "v1/orders", problem(503, off), 1).await?;
    browser.click("#place").await?;
    browser.see_text("#checkout-error", "No new orders at the moment. Your basket is kept.").await?;
    browser.see_text("#place", "Place order").await?;

    let busy = r#"{"status":429,"title":"Too Many Requests","detail":"Too many orders."}"#;
    browser.meddle("POST", "v1/orders", problem(429, busy), 1).await?;
    // The second time the order is placed, and the answer is lost.
    browser.meddle("POST", "v1/orders", Fate::AnswerIsLost, 1).await?;
    browser.click("#place").await?;
    browser.see_text("#place", "Try again in").await?;
    browser.see_text("#checkout-error", "Your basket is kept").await?;
    browser.see_text("#basket-lines", "Test product").await?;
    browser.screenshot("busy").await?;

    browser.see_text("#place", "Place order").await?;
    browser.click("#place").await?;
    browser.see_text("#checkout-error", "There was no answer whether the order was taken").await?;
    browser.click("#place").await?;
    browser.see_text(".order .badge", "Completed").await?;
    let keys: Vec<String> = browser
        .requests("POST", "v1/orders")
        .iter()
        .map(|request| request.headers["Idempotency-Key"].to_string())
        .collect();
    assert_eq!(keys.len(), 4, "{keys:?}");
    assert!(keys[0].len() > 20 && keys.iter().all(|key| *key == keys[0]), "{keys:?}");
    browser.see("there is one order", "document.querySelectorAll('.order').length === 1").await?;
    browser.see("the basket is empty", "document.querySelectorAll('#basket-lines li').length === 0").await?;
    is_content(&browser);
    Ok(())
}

async fn a_product_that_is_new_since_the_page_was_opened_is_found(fixture: Fixture) -> Outcome {
    let known = fixture.product(5).await?;
    let mut browser = visit(&fixture, "new").await?;
    browser.see_text(".card .stock", "In stock").await?;
    put_in_basket(&mut browser, &known).await?;
    let new = fixture.product(5).await?;
    put_in_basket(&mut browser, &new).await?;
    is_content(&browser);
    Ok(())
}

async fn a_price_that_changed_is_shown_before_anything_is_ordered(fixture: Fixture) -> Outcome {
    let (customer, sku) = (fixture.customer().await?, fixture.product(5).await?);
    let mut browser = visit(&fixture, "price").await?;
    log_in(&mut browser, &customer).await?;
    put_in_basket(&mut browser, &sku).await?;
    browser.see_text("#total", "$12.50").await?;
    fill_in_address(&mut browser).await?;
    let price = json!({"amount": 990, "currency": "USD"});
    let cheaper = json!({"name": "Test product", "description": "", "category": "test", "price": price});
    let change = fixture.admin.call(Method::PUT, &format!("/v1/products/{sku}")).header("if-match", "*");
    change.json(&cheaper).send().await?.read::<Value>()?;
    eventually("orders have the new price", async || {
        let quote = customer.shop.call(Method::POST, "/v1/quotes").json(&buy(&sku)).send().await?;
        let quote: Value = quote.read()?;
        if quote["total"] == price { Ok(()) } else { Err(quote.to_string())? }
    })
    .await?;

    browser.click("#place").await?;
    browser.see_text("#checkout-error", "The total is $9.90 now. Nothing was ordered").await?;
    browser.see_text("#total", "$9.90").await?;
    assert_eq!(customer.shop.get::<Value>("/v1/orders").await?["items"], json!([]));
    browser.click("#place").await?;
    see_steps(&mut browser, "done", 5).await?;
    let listed = listed(&customer.shop).await?;
    assert_eq!((listed.as_array().map(Vec::len), &listed[0]["total"]), (Some(1), &price));
    is_content(&browser);
    Ok(())
}

/// A list of orders that has none of the last seconds, and is answered when the test says so.
struct LateList {
    url: String,
    answer: Arc<Notify>,
}

impl LateList {
    async fn start() -> Outcome<Self> {
        let answer = Arc::new(Notify::new());
        let awaited = answer.clone();
        let list = move || async move {
            awaited.notified().await;
            Json(json!({"items": []}))
        };
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(list)).await });
        Ok(Self { url, answer })
    }
}

async fn a_session_goes_on_as_long_as_it_can_and_its_end_keeps_the_basket(fixture: Fixture) -> Outcome {
    let (customer, sku) = (fixture.customer().await?, fixture.product(5).await?);
    let mut browser = visit(&fixture, "session").await?;
    log_in(&mut browser, &customer).await?;
    put_in_basket(&mut browser, &sku).await?;
    fill_in_address(&mut browser).await?;
    let expired = Fate::Answered { status: 401, headers: vec![], body: b"{}".to_vec() };
    browser.meddle("POST", "v1/orders", expired.clone(), 1).await?;
    browser.click("#place").await?;
    browser.see_text(".order .badge", "Completed").await?;
    assert_eq!(browser.requests("POST", "v1/auth/refresh").len(), 1, "it was renewed");

    browser.click("nav a[href='#shop']").await?;
    put_in_basket(&mut browser, &sku).await?;
    browser.meddle("POST", "v1/orders", expired.clone(), 1).await?;
    browser.meddle("POST", "v1/auth/refresh", expired, 1).await?;
    browser.click("#place").await?;
    browser.see_text("#account", "Your session has ended").await?;
    let list = LateList::start().await?;
    let late = Fate::SentTo { server: list.url.clone(), headers: vec![] };
    browser.meddle("GET", "v1/orders?", late, 1).await?;
    enter_credentials(&mut browser, &customer).await?;
    browser.see_text("#basket-lines", "Test product").await?;
    browser.click("#place").await?;
    browser.see_text(".order .badge", "Completed").await?;
    list.answer.notify_one();
    let both = "document.querySelectorAll('.order .badge.good').length === 2";
    browser.see("both orders are completed", both).await?;
    is_content(&browser);
    Ok(())
}

const CANCELLED: &str = "document.querySelector('.order .badge').innerText === 'Cancelled'";

async fn an_open_order_is_cancelled(fixture: Fixture) -> Outcome {
    let (customer, sku) = (fixture.customer().await?, fixture.product(5).await?);
    let mut browser = visit(&fixture, "cancels").await?;
    log_in(&mut browser, &customer).await?;
    browser.see_text("#link", "Live").await?;
    let (order, _) = customer.order_that_waits(&fixture, &sku).await?;
    browser.click("nav a[href='#orders']").await?;
    browser.see_text(".order .id", order.as_str()).await?;
    browser.see_text(".order .lines", "1 × Test product").await?;
    browser.click(".order .actions button").await?;
    browser.see("the order is cancelled", CANCELLED).await?;
    browser.see_text(".order .outcome", "Cancelled: you asked for it.").await?;
    browser.screenshot("cancelled").await?;
    assert_eq!(customer.ended(&order).await?.status, OrderStatus::OrderCancelled);
    is_content(&browser);
    Ok(())
}

/// The page of a shop that has a publishable key, with its real policy, in the place of this shop's own.
async fn page_with_key(fixture: &Fixture) -> Outcome<Fate> {
    let key = PublishableKey::parse("pk_test_thePageTest")?;
    let (parts, body) = Page::new(&fixture.outputs.websocket_url, Some(&key))?.response().into_parts();
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = parts.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    let body = axum::body::to_bytes(body, usize::MAX).await?.to_vec();
    Ok(Fate::Answered { status: 200, headers, body })
}

async fn a_card_goes_to_stripe_and_the_bank_is_asked_on_the_page(fixture: Fixture) -> Outcome {
    let (customer, sku) = (fixture.customer().await?, fixture.product(5).await?);
    let mut browser = Browser::start("stripe").await?;
    browser.meddle("GET", &fixture.outputs.storefront_url, page_with_key(&fixture).await?, 1).await?;
    let script = Fate::Answered {
        status: 200,
        headers: vec![("Content-Type".to_owned(), "text/javascript".to_owned())],
        body: include_bytes!("page/stripe.js").to_vec(),
    };
    browser.meddle("GET", "https://js.stripe.com/v3/", script, 1).await?;
    let gateway = Fate::SentTo {
        server: fixture.outputs.stripe_url.clone(),
        // Stripe takes the publishable key for this, the local gateway does not.
        headers: vec![("Authorization".to_owned(), "Bearer sk_test_browser".to_owned())],
    };
    browser.meddle("POST", "https://api.stripe.com/v1/", gateway, usize::MAX).await?;
    browser.open(&fixture.outputs.storefront_url).await?;
    log_in(&mut browser, &customer).await?;
    let loaded = browser.requests("GET", "stripe.com").len();
    assert_eq!(loaded, 0, "nothing is loaded before there is something to pay");

    put_in_basket(&mut browser, &sku).await?;
    fill_in_address(&mut browser).await?;
    browser.see("no test cards are offered", "document.getElementById('test-cards') === null").await?;
    browser.fill("#card-field input", card::ASKS_FIRST).await?;
    browser.click("#place").await?;
    browser.see_text(".order .steps .current", "Your bank asks you to confirm").await?;
    browser.screenshot("bank").await?;
    browser.click(".order .actions .primary").await?;
    browser.see_text(".order .badge", "Completed").await?;
    see_steps(&mut browser, "done", 5).await?;
    is_content(&browser);
    Ok(())
}

async fn while_the_shop_gives_no_list_the_one_of_the_last_visit_is_shown(fixture: Fixture) -> Outcome {
    let mut browser = visit(&fixture, "last-list").await?;
    browser.see_text(".card .stock", "In stock").await?;
    // A refusal is shown unchanged.
    let refusal = Fate::Answered { status: 422, headers: vec![], body: b"{}".to_vec() };
    browser.meddle("GET", "v1/products?", refusal, 1).await?;
    browser.open(&fixture.outputs.storefront_url).await?;
    browser.see_text("#message", "The shop answered 422.").await?;
    assert_eq!(browser.value("document.querySelectorAll('.card').length").await?, 0);

    browser.meddle("GET", "v1/products?", Fate::Fails, usize::MAX).await?;
    browser.open(&fixture.outputs.storefront_url).await?;
    browser.see_text("#list-note", "The shop does not answer at the moment.").await?;
    browser.see_text("#list-note", "You can order, but the order may have to wait.").await?;
    browser.see_text(".card .stock", "Limited stock").await?;
    browser.screenshot("last-list").await?;
    inspect(&mut browser).await?;

    browser.meddle_no_more().await?;
    browser.open(&fixture.outputs.storefront_url).await?;
    browser.see_text(".card .stock", "In stock").await?;
    assert_eq!(browser.value("document.querySelector('#list-note').textContent").await?, "");
    is_content(&browser);
    Ok(())
}

async fn the_page_fits_a_phone(fixture: Fixture) -> Outcome {
    let (customer, sku) = (fixture.customer().await?, fixture.product(5).await?);
    let mut browser = visit(&fixture, "phone").await?;
    browser.look(PHONE, false).await?;
    let fits = "document.documentElement.scrollWidth <= innerWidth";
    browser.see("the shop fits", fits).await?;
    log_in(&mut browser, &customer).await?;
    browser.see_text("#link", "Live").await?;
    browser.screenshot("phone-shop").await?;
    put_in_basket(&mut browser, &sku).await?;
    browser.see("the basket fits", fits).await?;
    browser.click("nav a[href='#basket']").await?;
    browser.screenshot("phone-basket").await?;
    fill_in_address(&mut browser).await?;
    browser.click("#place").await?;
    see_steps(&mut browser, "done", 5).await?;
    browser.click(".order .log summary").await?;
    browser.see("the order fits", fits).await?;
    // A finger is wider than a mouse's arrow (WCAG 2.2, 2.5.8).
    let small = "[...document.querySelectorAll('button, nav a, summary, select, input:not([type=radio])')]
        .filter((one) => one.checkVisibility() && Math.min(one.offsetWidth, one.offsetHeight) < 24)
        .map((one) => one.outerHTML).join()";
    assert_eq!(browser.value(small).await?, "");
    is_content(&browser);
    Ok(())
}

/// Every control has a name for a screen reader, headings leave no level out, and all text stands out from its ground,
/// in light and dark.
async fn everything_has_a_name_and_can_be_read(fixture: Fixture) -> Outcome {
    let (customer, sku) = (fixture.customer().await?, fixture.product(5).await?);
    let mut browser = visit(&fixture, "names").await?;
    log_in(&mut browser, &customer).await?;
    put_in_basket(&mut browser, &sku).await?;
    inspect(&mut browser).await?;
    fill_in_address(&mut browser).await?;
    browser.click("#place").await?;
    see_steps(&mut browser, "done", 5).await?;
    inspect(&mut browser).await?;
    is_content(&browser);
    Ok(())
}
