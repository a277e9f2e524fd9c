//! Authorisation: every route of the API, called by every kind of caller.

use std::collections::BTreeSet;

use contracts::{OrderId, Sku};
use lambda_kit::jwt::{Audience, Role};
use reqwest::Method;
use serde_json::{Value, json};
use shop_client::Shop;

use crate::fixture::{Fixture, buy, signer, subject, unique};
use crate::harness::Outcome;

crate::tests![every_route_answers_each_caller_as_it_should];

/// The statuses: without a token; with an expired one; with one for the WebSocket only; as another user; as
/// the user who owns the order; as an administrator.
type Answers = [u16; 6];

/// The same for all.
const fn public(status: u16) -> Answers {
    [status; 6]
}

/// `answered` for every caller with a valid token.
const fn users(answered: u16) -> Answers {
    [401, 401, 401, answered, answered, answered]
}

const fn admins(answered: u16) -> Answers {
    [401, 401, 401, 403, 403, answered]
}

const fn owned(answered: u16) -> Answers {
    [401, 401, 401, 404, answered, answered]
}

/// Called with the body `{}` where the method has one: an authorised caller gets 400 or 422 for it, unless
/// the route needs no body.
const TABLE: [(&str, &str, Answers); 37] = [
    ("post", "/v1/auth/register", public(422)),
    ("post", "/v1/auth/login", public(422)),
    ("post", "/v1/auth/refresh", public(422)),
    ("post", "/v1/auth/logout", public(422)),
    ("get", "/v1/users/me", users(200)),
    ("patch", "/v1/users/me", users(200)),
    ("get", "/v1/users/me/export", users(200)),
    ("get", "/.well-known/jwks.json", public(200)),
    ("get", "/v1/products", public(200)),
    ("post", "/v1/products", admins(422)),
    ("get", "/v1/products/{sku}", public(200)),
    ("get", "/v1/products/{sku}/related", public(200)),
    ("put", "/v1/products/{sku}", admins(422)),
    ("get", "/v1/inventory/{sku}", public(200)),
    ("put", "/v1/inventory/{sku}", admins(422)),
    ("post", "/v1/inventory/{sku}/adjustments", admins(400)),
    ("post", "/v1/orders", users(400)),
    ("post", "/v1/quotes", users(422)),
    ("get", "/v1/orders", users(200)),
    ("get", "/v1/orders/{id}", owned(200)),
    ("get", "/v1/orders/{id}/events", owned(200)),
    // It has completed; and an administrator sees it, but does not cancel it.
    ("post", "/v1/orders/{id}/cancel", [401, 401, 401, 404, 409, 403]),
    ("post", "/v1/discounts", admins(422)),
    ("get", "/v1/discounts", admins(200)),
    ("delete", "/v1/discounts/{code}", admins(404)),
    // A report is of some days.
    ("get", "/v1/reports/sales", admins(422)),
    ("get", "/v1/payments/{order_id}", owned(200)),
    ("post", "/v1/payments/webhook", public(400)),
    ("get", "/v1/shipments/{order_id}", owned(200)),
    ("post", "/v1/shipments/{order_id}/events", admins(422)),
    ("post", "/v1/realtime/tickets", users(201)),
    ("get", "/v1/dashboard", users(200)),
    ("get", "/", public(200)),
    ("get", "/health/live", public(200)),
    ("get", "/health/ready", public(200)),
    // Last, because they succeed: they delete the product and the callers.
    ("delete", "/v1/products/{sku}", admins(204)),
    ("delete", "/v1/users/me", users(202)),
];

async fn every_route_answers_each_caller_as_it_should(fixture: Fixture) -> Outcome {
    let described = described()?;
    let tested: BTreeSet<_> = TABLE.iter().map(|(method, path, _)| format!("{method} {path}")).collect();
    assert_eq!(tested, described, "a route is missing here, or in openapi.json");

    let (owner, other, sku) =
        (fixture.customer().await?, fixture.customer().await?, fixture.product(5).await?);
    let order = owner.shop.place(&buy(&sku), &unique("key")).await?.order_id;
    owner.ended(&order).await?;
    let signer = signer(&fixture).await?;
    let now = jiff::Timestamp::now().as_second();
    let roles = || vec![Role::Admin];
    let expired = signer.sign(&subject(&owner.user_id, roles()), Audience::Api, now - 3600).await?;
    // Not the stack's own administrator, who is needed after this.
    let clerk = fixture.customer().await?.user_id;
    let admin = signer.sign(&subject(&clerk, roles()), Audience::Api, now).await?;
    let ticket = signer.sign(&subject(&owner.user_id, roles()), Audience::Realtime, now).await?;
    let callers = [
        ("without a token", fixture.shop.clone()),
        ("with an expired token", fixture.shop.with_token(expired)),
        ("with a ticket", fixture.shop.with_token(ticket)),
        ("another user", other.shop),
        ("the owner", owner.shop),
        ("an administrator", fixture.shop.with_token(admin)),
    ];

    let mut wrong = Vec::new();
    for (method, path, answers) in TABLE {
        for ((who, shop), expected) in callers.iter().zip(answers) {
            let status = ask(shop, method, path, &sku, &order).await?;
            if status != expected {
                wrong.push(format!("{method} {path} {who}: {status} and not {expected}"));
            }
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(format!("\n  {}", wrong.join("\n  ")).into()) }
}

async fn ask(shop: &Shop, method: &str, path: &str, sku: &Sku, order: &OrderId) -> Outcome<u16> {
    let path = path.replace("{sku}", sku.as_str()).replace("{id}", order.as_str());
    let path = path.replace("{order_id}", order.as_str()).replace("{code}", "NOBODYS");
    let method = Method::from_bytes(method.to_uppercase().as_bytes())?;
    let has_body = method != Method::GET && method != Method::DELETE;
    let call = shop.call(method, &path);
    let call = if has_body { call.json(&json!({})) } else { call };
    Ok(call.send_once().await?.status.as_u16())
}

/// The routes that the API's description has.
fn described() -> Outcome<BTreeSet<String>> {
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/contracts/openapi.json");
    let document: Value = serde_json::from_str(&std::fs::read_to_string(document)?)?;
    let paths = document["paths"].as_object().ok_or("the description has paths")?;
    let routes = paths.iter().flat_map(|(path, item)| {
        let members = item.as_object().into_iter().flatten().filter(|(name, _)| *name != "parameters");
        members.map(move |(method, _)| format!("{method} {path}"))
    });
    Ok(routes.collect())
}
