//! Authorisation: every route of the API, called by every kind of caller.

use std::collections::{BTreeMap, BTreeSet};

use contracts::{OrderId, Sku};
use lambda_kit::jwt::{Audience, Role};
use reqwest::Method;
use serde_json::{Value, json};
use shop_client::{Answer, Shop};

use crate::fixture::{Fixture, buy, signer, subject, unique};
use crate::harness::Outcome;

crate::tests![every_route_answers_each_caller_as_it_should];

/// The statuses, in the order of [`CALLERS`].
type Answers = [u16; CALLERS.len()];

const CALLERS: [&str; 8] = [
    "without a token",
    "with an expired token",
    "with a forged token",
    "another user",
    "the user who owns the order",
    "the warehouse",
    "the support",
    "an administrator",
];

/// The same for all.
const fn public(status: u16) -> Answers {
    [status; CALLERS.len()]
}

/// `answered` for every caller with a valid token.
const fn users(answered: u16) -> Answers {
    [401, 401, 401, answered, answered, answered, answered, answered]
}

const fn admins(answered: u16) -> Answers {
    [401, 401, 401, 403, 403, 403, 403, answered]
}

/// For the warehouse and administrators.
const fn fulfillment(answered: u16) -> Answers {
    [401, 401, 401, 403, 403, answered, 403, answered]
}

/// For the support and administrators.
const fn support(answered: u16) -> Answers {
    [401, 401, 401, 403, 403, 403, answered, answered]
}

/// For the owner, the support and administrators.
const fn owned(answered: u16) -> Answers {
    [401, 401, 401, 404, answered, 404, answered, answered]
}

/// For the owner and all staff.
const fn owned_or_staff(answered: u16) -> Answers {
    [401, 401, 401, 404, answered, answered, answered, answered]
}

/// Called with the body `{}` where the method has one: an authorised caller gets 400 or 422 for it, unless
/// the route needs no body.
const TABLE: [(&str, &str, Answers); 56] = [
    ("post", "/v1/auth/register", public(422)),
    ("post", "/v1/auth/login", public(422)),
    ("post", "/v1/auth/refresh", public(422)),
    ("post", "/v1/auth/logout", public(422)),
    ("post", "/v1/auth/password-reset", public(422)),
    ("post", "/v1/auth/password-reset/confirm", public(422)),
    ("get", "/v1/users/me", users(200)),
    ("patch", "/v1/users/me", users(200)),
    ("post", "/v1/users/me/verifications", users(422)),
    ("post", "/v1/users/me/verifications/confirm", users(422)),
    ("post", "/v1/users/me/email", users(422)),
    ("get", "/v1/users/me/export", users(200)),
    ("post", "/v1/users/me/password", users(422)),
    ("get", "/v1/users/me/sessions", users(200)),
    ("delete", "/v1/users/me/sessions", users(204)),
    ("delete", "/v1/users/me/sessions/{session_id}", users(404)),
    ("get", "/v1/users/{user_id}/audit", admins(200)),
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
    ("post", "/v1/orders/{id}/letters", support(202)),
    ("get", "/v1/orders/{id}", owned(200)),
    ("get", "/v1/orders/{id}/events", owned(200)),
    // It has completed.
    ("post", "/v1/orders/{id}/cancel", owned(409)),
    ("post", "/v1/discounts", admins(422)),
    ("get", "/v1/discounts", admins(200)),
    ("delete", "/v1/discounts/{code}", admins(404)),
    // A report is of some days.
    ("get", "/v1/reports/sales", admins(422)),
    ("get", "/v2/reports/sales", admins(422)),
    ("get", "/v1/payments/{order_id}", owned(200)),
    ("post", "/v1/payments/webhook", public(400)),
    ("get", "/v1/shipments/{order_id}", owned_or_staff(200)),
    ("post", "/v1/shipments/{order_id}/events", fulfillment(422)),
    ("post", "/v1/realtime/tickets", users(201)),
    ("get", "/v1/dashboard", users(200)),
    // It wants a subject.
    ("get", "/v1/audit", admins(422)),
    ("get", "/v1/products/{sku}/audit", admins(200)),
    ("get", "/v1/inventory/{sku}/audit", admins(200)),
    ("get", "/v1/inventory/{sku}/moves", admins(200)),
    ("get", "/v1/discounts/{code}/audit", admins(200)),
    ("get", "/v1/orders/{id}/audit", admins(200)),
    ("get", "/v1/payments/{order_id}/audit", admins(200)),
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
    let known: BTreeSet<_> = described.keys().cloned().collect();
    assert_eq!(tested, known, "a route is missing here, or in openapi.json");

    let (owner, other, sku) =
        (fixture.customer().await?, fixture.customer().await?, fixture.product(5).await?);
    let order = owner.shop.place(&buy(&sku), &unique("key")).await?.order_id;
    owner.ended(&order).await?;
    let signer = signer(&fixture).await?;
    let now = jiff::Timestamp::now().as_second();
    let mut staff = Vec::new();
    // Not the stack's own administrator, who is needed after this.
    for role in [Role::Fulfillment, Role::Support, Role::Admin] {
        let clerk = subject(&fixture.customer().await?.user_id, vec![role]);
        staff.push(signer.sign(&clerk, Audience::Api, now).await?);
    }
    let expired = subject(&owner.user_id, vec![Role::Admin]);
    let expired = signer.sign(&expired, Audience::Api, now - 3600).await?;
    // An administrator's claims with the signature of another token.
    let (claims, _) = staff[2].rsplit_once('.').ok_or("a token has a signature")?;
    let (_, signature) = expired.rsplit_once('.').ok_or("a token has a signature")?;
    let forged = format!("{claims}.{signature}");
    let with = |token: String| fixture.shop.with_token(token);
    let mut callers = vec![fixture.shop.clone(), with(expired), with(forged), other.shop, owner.shop];
    callers.extend(staff.into_iter().map(with));
    assert_eq!(callers.len(), CALLERS.len());

    let mut wrong = Vec::new();
    for (method, path, answers) in TABLE {
        let operation = &described[&format!("{method} {path}")];
        for ((who, shop), expected) in CALLERS.iter().zip(&callers).zip(answers) {
            let answer = ask(shop, method, path, &sku, &order).await?;
            let status = answer.status.as_u16();
            if status != expected {
                wrong.push(format!("{method} {path} {who}: {status} and not {expected}"));
            }
            if let Some(difference) = differs(operation, &answer) {
                wrong.push(format!("{method} {path} {who}: {difference}"));
            }
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(format!("\n  {}", wrong.join("\n  ")).into()) }
}

async fn ask(shop: &Shop, method: &str, path: &str, sku: &Sku, order: &OrderId) -> Outcome<Answer> {
    let path = path.replace("{sku}", sku.as_str()).replace("{id}", order.as_str());
    let path = path.replace("{order_id}", order.as_str()).replace("{code}", "NOBODYS");
    let path = path.replace("{session_id}", "ses_0123456789abcdef0123456789abcdef");
    let path = path.replace("{user_id}", "usr_0123456789abcdef0123456789abcdef");
    let method = Method::from_bytes(method.to_uppercase().as_bytes())?;
    let has_body = method != Method::GET && method != Method::DELETE;
    let call = shop.call(method, &path);
    let call = if has_body { call.json(&json!({})) } else { call };
    Ok(call.send_once().await?)
}

/// How a response differs from the operation's description: the limit that it reports, and whether it is deprecated.
/// Responses to requests that were refused before the limit was looked at report none.
fn differs(operation: &Value, answer: &Answer) -> Option<String> {
    let is_deprecated = answer.header("deprecation").is_some();
    if is_deprecated != (operation["deprecated"] == true) {
        return Some(format!(
            "deprecated: {is_deprecated}, and is described with {}",
            operation["deprecated"]
        ));
    }
    let described = &operation["x-rate-limit"];
    let reported = answer.header("ratelimit-limit");
    let expected = described["burst"].as_u64().map(|burst| burst.to_string());
    let may_be_missing = expected.is_none() || !answer.status.is_success();
    let agrees = if reported.is_none() { may_be_missing } else { reported == expected.as_deref() };
    (!agrees).then(|| format!("reports the limit {reported:?}, and is described with {described}"))
}

/// The operations that the API's description has, by method and path.
fn described() -> Outcome<BTreeMap<String, Value>> {
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/contracts/openapi.json");
    let document: Value = serde_json::from_str(&std::fs::read_to_string(document)?)?;
    let paths = document["paths"].as_object().ok_or("the description has paths")?;
    let routes = paths.iter().flat_map(|(path, item)| {
        let members = item.as_object().into_iter().flatten().filter(|(name, _)| *name != "parameters");
        members.map(move |(method, operation)| (format!("{method} {path}"), operation.clone()))
    });
    Ok(routes.collect())
}
