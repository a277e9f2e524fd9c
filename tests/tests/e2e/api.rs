//! Every context refuses bad requests with a problem document (RFC 9457) and the right status.

use contracts::Sku;
use lambda_kit::jwt::{Audience, Subject};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use shop_client::{Answer, Shop};

use crate::fixture::{Fixture, Result, buy, eventually, signer, subject, unique};
use crate::harness::Outcome;

crate::tests![
    any: what_users_refuse,
    what_the_catalogue_refuses,
    what_inventory_refuses,
    what_orders_refuse,
    what_payments_refuse,
    what_realtime_refuses,
    what_the_storefront_refuses,
    a_refused_product_is_not_there,
    a_correlation_id_is_returned_and_a_bad_one_replaced,
    an_order_is_its_customers_and_the_admins,
    an_order_that_has_completed_cannot_be_cancelled;
    alone: a_shop_that_asks_for_verified_addresses_refuses_the_orders_of_others,
];

const JSON: &str = "application/json";
/// More than the 64 KiB that a body may have.
const TOO_LONG: usize = 64 * 1024 + 1;

/// The caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Nobody,
    /// With something that is no token.
    Stranger,
    User,
    Admin,
}

/// A request, and the status that it is refused with.
struct Case {
    status: u16,
    who: Who,
    method: Method,
    path: String,
    content_type: &'static str,
    body: String,
    key: bool,
}

fn case(status: u16, who: Who, method: Method, path: &str, body: impl ToString) -> Case {
    Case { status, who, method, path: path.to_owned(), content_type: JSON, body: body.to_string(), key: true }
}

fn get(status: u16, who: Who, path: &str) -> Case {
    case(status, who, Method::GET, path, "")
}

fn post(status: u16, who: Who, path: &str, body: impl ToString) -> Case {
    case(status, who, Method::POST, path, body)
}

impl Case {
    fn sent_as_text(self) -> Self {
        Self { content_type: "text/plain", ..self }
    }

    fn without_key(self) -> Self {
        Self { key: false, ..self }
    }

    async fn send(&self, shop: &Shop) -> Result<Answer> {
        let call = shop.call(self.method.clone(), &self.path).header("x-correlation-id", "cor-e2e-7");
        let call = if self.key { call.header("idempotency-key", "key-e2e-7") } else { call };
        let call = if self.body.is_empty() { call } else { call.body(self.content_type, self.body.clone()) };
        call.send_once().await
    }
}

/// Sends all requests, and reports every response that is not the expected refusal.
async fn refuses(fixture: &Fixture, cases: Vec<Case>) -> Outcome {
    let customer = fixture.customer().await?;
    let mut wrong = Vec::new();
    for case in cases {
        let shop = match case.who {
            Who::Nobody => fixture.shop.clone(),
            Who::Stranger => fixture.shop.with_token("not.a.token"),
            Who::User => customer.shop.clone(),
            Who::Admin => fixture.admin.clone(),
        };
        let answer = case.send(&shop).await?;
        if let Err(complaint) = is_problem(&answer, &case) {
            let start: String = case.body.chars().take(60).collect();
            let Case { who, method, path, content_type, .. } = &case;
            wrong.push(format!("{who:?} {method} {path} {content_type} {start}\n    {complaint}"));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(format!("\n  {}", wrong.join("\n  ")).into()) }
}

/// RFC 9457, with all the members that the design names.
fn is_problem(answer: &Answer, case: &Case) -> std::result::Result<(), String> {
    let problem = answer.value();
    let expected = [
        ("status", json!(case.status) == problem["status"] && answer.status.as_u16() == case.status),
        ("content type", answer.header("content-type") == Some("application/problem+json")),
        ("type", problem["type"].is_string()),
        ("title", problem["title"].is_string()),
        ("detail", problem["detail"].as_str().is_some_and(|detail| !detail.is_empty())),
        ("instance", problem["instance"].as_str() == case.path.split('?').next()),
        ("correlation id", problem["correlation_id"] == "cor-e2e-7"),
        ("X-Correlation-Id", answer.header("x-correlation-id") == Some("cor-e2e-7")),
        ("X-Request-Id", answer.header("x-request-id").is_some_and(|id| !id.is_empty())),
        ("WWW-Authenticate", answer.header("www-authenticate").is_some() == (case.status == 401)),
        (
            "errors",
            case.status != 422 || problem["errors"].as_array().is_some_and(|errors| !errors.is_empty()),
        ),
    ];
    let wrong: Vec<&str> = expected.into_iter().filter(|(_, right)| !right).map(|(what, _)| what).collect();
    if wrong.is_empty() {
        return Ok(());
    }
    Err(format!("expected {}, got {}, wrong in {}: {problem}", case.status, answer.status, wrong.join(", ")))
}

async fn what_users_refuse(fixture: Fixture) -> Outcome {
    let account = |field: &str, value: Value| {
        let mut account = json!({"email": "e2e@example.com", "password": unique("Pass"), "name": "E2E"});
        account[field] = value;
        account
    };
    let known = fixture.customer().await?;
    let register = "/v1/auth/register";
    let login = "/v1/auth/login";
    refuses(
        &fixture,
        vec![
            post(400, Who::Nobody, register, "{"),
            post(400, Who::Nobody, register, format!("{} x", account("name", json!("E2E")))),
            post(409, Who::Nobody, register, account("email", json!(known.email))),
            case(405, Who::Nobody, Method::GET, register, ""),
            post(413, Who::Nobody, register, account("name", json!("x".repeat(TOO_LONG)))),
            post(415, Who::Nobody, register, account("name", json!("E2E"))).sent_as_text(),
            post(422, Who::Nobody, register, "{}"),
            post(422, Who::Nobody, register, account("email", json!("nobody"))),
            post(422, Who::Nobody, register, account("password", json!("short"))),
            post(401, Who::Nobody, login, json!({"email": known.email, "password": "not it at all"})),
            post(
                401,
                Who::Nobody,
                login,
                json!({"email": format!("{}@example.com", unique("nobody")), "password": "not it at all"}),
            ),
            post(422, Who::Nobody, login, json!({"email": known.email})),
            post(401, Who::Nobody, "/v1/auth/refresh", json!({"refresh_token": "x"})),
            post(404, Who::Nobody, "/v1/auth/forgot", "{}"),
            get(401, Who::Nobody, "/v1/users/me"),
            get(401, Who::Stranger, "/v1/users/me"),
            get(404, Who::User, "/v1/users/somebody"),
            post(405, Who::User, "/v1/users/me", "{}"),
        ],
    )
    .await
}

async fn what_the_catalogue_refuses(fixture: Fixture) -> Outcome {
    let known = fixture.product(1).await?;
    let product = |field: &str, value: Value| {
        let mut product = json!({
            "sku": "E2E-REFUSED", "name": "No", "description": "", "category": "test",
            "price": {"amount": 100, "currency": "USD"},
        });
        product[field] = value;
        product
    };
    let good = product("name", json!("No"));
    let products = "/v1/products";
    let one = format!("/v1/products/{known}");
    refuses(
        &fixture,
        vec![
            post(400, Who::Admin, products, "{\"sku\":"),
            post(401, Who::Nobody, products, &good),
            post(401, Who::Stranger, products, &good),
            post(403, Who::User, products, &good),
            post(409, Who::Admin, products, product("sku", json!(known))),
            post(413, Who::Admin, products, product("description", json!("x".repeat(TOO_LONG)))),
            post(415, Who::Admin, products, &good).sent_as_text(),
            post(422, Who::Admin, products, product("sku", json!("a b"))),
            post(422, Who::Admin, products, product("name", json!(""))),
            post(422, Who::Admin, products, product("price", json!({"amount": -1, "currency": "USD"}))),
            post(422, Who::Admin, products, product("price", json!({"amount": 1, "currency": "ABC"}))),
            post(422, Who::Admin, products, product("price", json!({"amount": 1.5, "currency": "USD"}))),
            case(405, Who::Admin, Method::PATCH, products, "{}"),
            get(404, Who::Nobody, "/v1/products/NO-SUCH-THING"),
            get(404, Who::Nobody, "/v1/products/no%20such%20thing"),
            get(422, Who::Nobody, "/v1/products?limit=0"),
            get(422, Who::Nobody, "/v1/products?limit=101"),
            get(422, Who::Nobody, "/v1/products?cursor=made-up"),
            case(401, Who::Nobody, Method::DELETE, &one, ""),
            case(403, Who::User, Method::DELETE, &one, ""),
            post(405, Who::Admin, &one, "{}"),
        ],
    )
    .await
}

async fn what_inventory_refuses(fixture: Fixture) -> Outcome {
    let sku = fixture.product(1).await?;
    let path = format!("/v1/inventory/{sku}");
    let put = |status, who, body: Value| case(status, who, Method::PUT, &path, body);
    refuses(
        &fixture,
        vec![
            get(404, Who::Nobody, "/v1/inventory/NO-SUCH-THING"),
            get(404, Who::Nobody, "/v1/inventory/no%20such%20thing"),
            put(401, Who::Nobody, json!({"available": 1})),
            put(403, Who::User, json!({"available": 1})),
            case(400, Who::Admin, Method::PUT, &path, "available=1"),
            put(413, Who::Admin, json!({"available": 1, "x": "x".repeat(TOO_LONG)})),
            put(415, Who::Admin, json!({"available": 1})).sent_as_text(),
            put(422, Who::Admin, json!({})),
            put(422, Who::Admin, json!({"available": -1})),
            put(422, Who::Admin, json!({"available": "1"})),
            case(405, Who::Admin, Method::PATCH, &path, "{}"),
        ],
    )
    .await?;
    assert_eq!(fixture.available(&sku).await?, 1);
    Ok(())
}

async fn what_orders_refuse(fixture: Fixture) -> Outcome {
    let sku = fixture.product(5).await?;
    let good = serde_json::to_value(buy(&sku))?;
    let order = |change: fn(&mut Value)| {
        let mut order = good.clone();
        change(&mut order);
        order
    };
    let unknown = Sku::try_from("NO-SUCH-THING")?;
    let orders = "/v1/orders";
    let nowhere = "/v1/orders/ord_00000000000000000000000000000000";
    refuses(
        &fixture,
        vec![
            post(400, Who::User, orders, &good).without_key(),
            post(400, Who::User, orders, "{\"items\":[}"),
            post(401, Who::Nobody, orders, &good),
            post(401, Who::Stranger, orders, &good),
            case(405, Who::User, Method::PUT, orders, &good),
            post(413, Who::User, orders, order(|order| order["note"] = json!("x".repeat(TOO_LONG)))),
            post(415, Who::User, orders, &good).sent_as_text(),
            post(422, Who::User, orders, serde_json::to_value(buy(&unknown))?),
            post(422, Who::User, orders, order(|order| order["items"] = json!([]))),
            post(422, Who::User, orders, order(|order| order["items"][0]["quantity"] = json!(0))),
            post(422, Who::User, orders, order(|order| order["items"][0]["quantity"] = json!(1001))),
            post(
                422,
                Who::User,
                orders,
                order(|order| order["items"] = json!([order["items"][0], order["items"][0]])),
            ),
            post(422, Who::User, orders, order(|order| order["payment_method"] = json!("card"))),
            post(
                422,
                Who::User,
                orders,
                order(|order| order["shipping_address"]["country"] = json!("Germany")),
            ),
            post(422, Who::User, orders, order(|order| order["shipping_address"]["city"] = json!(""))),
            get(401, Who::Nobody, nowhere),
            get(404, Who::User, nowhere),
            get(404, Who::User, "/v1/orders/12"),
            get(404, Who::User, &format!("{nowhere}/events")),
            get(404, Who::User, &format!("{nowhere}/lines")),
            case(405, Who::User, Method::DELETE, nowhere, ""),
            post(401, Who::Nobody, &format!("{nowhere}/cancel"), ""),
            post(404, Who::User, &format!("{nowhere}/cancel"), ""),
            get(405, Who::User, &format!("{nowhere}/cancel")),
        ],
    )
    .await?;
    assert_eq!(fixture.available(&sku).await?, 5);
    Ok(())
}

async fn what_payments_refuse(fixture: Fixture) -> Outcome {
    let nowhere = "/v1/payments/ord_00000000000000000000000000000000";
    let webhook = "/v1/payments/webhook";
    let event = json!({"id": "evt_1", "type": "payment_intent.succeeded", "data": {"object": {}}});
    refuses(
        &fixture,
        vec![
            post(400, Who::Nobody, webhook, &event),
            post(413, Who::Nobody, webhook, "x".repeat(TOO_LONG)),
            get(401, Who::Nobody, nowhere),
            get(401, Who::Stranger, nowhere),
            get(404, Who::User, nowhere),
            get(404, Who::User, "/v1/payments/12"),
            post(405, Who::User, nowhere, "{}"),
        ],
    )
    .await
}

async fn what_realtime_refuses(fixture: Fixture) -> Outcome {
    let tickets = "/v1/realtime/tickets";
    refuses(
        &fixture,
        vec![
            post(401, Who::Nobody, tickets, ""),
            post(401, Who::Stranger, tickets, ""),
            get(405, Who::User, tickets),
            get(404, Who::User, "/v1/realtime/nothing"),
        ],
    )
    .await
}

async fn what_the_storefront_refuses(fixture: Fixture) -> Outcome {
    refuses(
        &fixture,
        vec![
            get(404, Who::Nobody, "/v1/nothing"),
            get(404, Who::Nobody, "/nothing/at/all"),
            post(405, Who::Nobody, "/health/live", "{}"),
        ],
    )
    .await
}

async fn a_refused_product_is_not_there(fixture: Fixture) -> Outcome {
    let customer = fixture.customer().await?;
    let sku = unique("SKU");
    let product = json!({
        "sku": sku, "name": "No", "description": "", "category": "test", "price": {"amount": 1, "currency": "USD"},
    });
    let refused = customer.shop.call(Method::POST, "/v1/products").json(&product).send_once().await?;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let stock = customer.shop.call(Method::PUT, &format!("/v1/inventory/{sku}"));
    assert_eq!(stock.json(&json!({"available": 5})).send_once().await?.status, StatusCode::FORBIDDEN);
    for path in [format!("/v1/products/{sku}"), format!("/v1/inventory/{sku}")] {
        let answer = fixture.shop.call(Method::GET, &path).send_once().await?;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
    }
    Ok(())
}

async fn a_correlation_id_is_returned_and_a_bad_one_replaced(fixture: Fixture) -> Outcome {
    let ask = async |id: &str| {
        let call = fixture.shop.call(Method::GET, "/v1/products").header("x-correlation-id", id);
        let answer = call.send_once().await?;
        Ok::<_, shop_client::Error>(answer.header("x-correlation-id").unwrap_or_default().to_owned())
    };
    assert_eq!(ask("my-own_id").await?, "my-own_id");
    for bad in ["with space", &"x".repeat(129), "semi;colon"] {
        let replaced = ask(bad).await?;
        assert!(replaced != bad && !replaced.is_empty(), "{bad} gave {replaced:?}");
    }
    Ok(())
}

async fn an_order_is_its_customers_and_the_admins(fixture: Fixture) -> Outcome {
    let (anna, ben, sku) = (fixture.customer().await?, fixture.customer().await?, fixture.product(5).await?);
    let placed = anna.shop.place(&buy(&sku), &unique("key")).await?;
    anna.ended(&placed.order_id).await?;
    let id = &placed.order_id;
    for path in [format!("/v1/orders/{id}"), format!("/v1/orders/{id}/events"), format!("/v1/payments/{id}")]
    {
        let status =
            async |shop: &Shop| shop.call(Method::GET, &path).send().await.map(|answer| answer.status);
        assert_eq!(status(&anna.shop).await?, StatusCode::OK, "{path}");
        assert_eq!(status(&fixture.admin).await?, StatusCode::OK, "{path}");
        assert_eq!(status(&ben.shop).await?, StatusCode::NOT_FOUND, "{path}");
    }
    Ok(())
}

async fn an_order_that_has_completed_cannot_be_cancelled(fixture: Fixture) -> Outcome {
    let (customer, sku) = (fixture.customer().await?, fixture.product(5).await?);
    let placed = customer.shop.place(&buy(&sku), &unique("key")).await?;
    let order = customer.ended(&placed.order_id).await?;
    let cancel = customer.shop.call(Method::POST, &format!("/v1/orders/{}/cancel", placed.order_id));
    assert_eq!(cancel.send_once().await?.status, StatusCode::CONFLICT);
    assert_eq!(customer.shop.order(&placed.order_id).await?.version, order.version, "nothing was written");
    Ok(())
}

async fn a_shop_that_asks_for_verified_addresses_refuses_the_orders_of_others(fixture: Fixture) -> Outcome {
    let (customer, sku) = (fixture.customer().await?, fixture.product(1).await?);
    let (signer, now) = (signer(&fixture).await?, jiff::Timestamp::now().as_second());
    let shop = async |email_verified| {
        let subject = Subject { email_verified, ..subject(&customer.user_id, vec![]) };
        let token = signer.sign(&subject, Audience::Api, now).await;
        token.map(|token| fixture.shop.with_token(token))
    };
    let (verified, unverified) = (shop(true).await?, shop(false).await?);
    fixture.set_variable("orders-api", "REQUIRE_VERIFIED_EMAIL", "true").await?;
    // The body is refused in any case, so that nothing is placed before the function has its new environment.
    let nothing = buy(&Sku::try_from("NO-SUCH-THING")?);
    eventually("orders of unverified customers are refused", async || {
        let refused = unverified.place(&nothing, &unique("key")).await.err();
        match refused.and_then(|error| error.status()) {
            Some(StatusCode::FORBIDDEN) => Ok(()),
            other => Err(format!("{other:?}"))?,
        }
    })
    .await?;
    let refused = unverified.place(&buy(&sku), &unique("key")).await.err().ok_or("the order is placed")?;
    assert!(refused.to_string().contains("/v1/users/me/verifications"), "{refused}");
    verified.place(&buy(&sku), &unique("key")).await?;
    Ok(())
}
