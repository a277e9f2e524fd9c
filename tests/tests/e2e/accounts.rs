//! Accounts: logins that fail, administrators, and a person who leaves.

use std::time::Duration;

use contracts::{OrderId, OrderStatus, ShippingAddress, Sku};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use shop_client::{Error, NewOrder};

use crate::fixture::{Customer, Fixture, Result, address, buy, eventually, one, unique};
use crate::harness::Outcome;

crate::tests![
    five_wrong_passwords_close_an_account_to_the_right_one_and_to_no_other,
    an_operator_makes_somebody_an_administrator,
    a_new_password_and_a_suspension_end_sessions_and_the_operators_part_is_in_the_audit_trail,
    whoever_leaves_is_gone_from_every_table_log_and_queue_once_the_open_orders_have_ended,
];

const WITHIN: Duration = Duration::from_secs(60);

async fn login(fixture: &Fixture, email: &str, password: &str) -> Result<StatusCode> {
    let credentials = json!({"email": email, "password": password});
    let answer = fixture.shop.call(Method::POST, "/v1/auth/login").json(&credentials).send_once().await?;
    if answer.status == StatusCode::TOO_MANY_REQUESTS {
        let seconds: u32 =
            answer.header("retry-after").and_then(|value| value.parse().ok()).unwrap_or_default();
        assert!((800..=900).contains(&seconds), "{seconds}");
    }
    Ok(answer.status)
}

async fn five_wrong_passwords_close_an_account_to_the_right_one_and_to_no_other(fixture: Fixture) -> Outcome {
    let (anna, ben) = (fixture.customer().await?, fixture.customer().await?);
    for _ in 0..5 {
        assert_eq!(login(&fixture, &anna.email, "wrong").await?, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(login(&fixture, &anna.email, &anna.password).await?, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(login(&fixture, &ben.email, &ben.password).await?, StatusCode::OK);
    Ok(())
}

async fn an_operator_makes_somebody_an_administrator(fixture: Fixture) -> Outcome {
    let (customer, sku) = (fixture.customer().await?, fixture.product(1).await?);
    let adjust = async |shop: &shop_client::Shop| {
        let call = shop.call(Method::POST, &format!("/v1/inventory/{sku}/adjustments"));
        let call = call.header("idempotency-key", &unique("key"));
        Ok::<_, Error>(call.json(&json!({"delta": 1, "reason": "found"})).send().await?.status)
    };
    assert_eq!(adjust(&customer.shop).await?, StatusCode::FORBIDDEN);
    let email = customer.email.to_uppercase();
    let refused = fixture.ops(&["users", "grant-admin", &email]).await;
    let said = refused.err().and_then(|error| error.message().map(str::to_owned)).unwrap_or_default();
    assert!(said.contains("NOT verified") && said.contains("--unverified"), "{said}");
    let said = fixture.ops(&["users", "grant-admin", &email, "--unverified"]).await?;
    assert!(said.contains(customer.user_id.as_str()) && said.contains("registered"), "{said}");
    assert_eq!(adjust(&customer.shop).await?, StatusCode::FORBIDDEN, "by a token from before");
    let shop = fixture.shop.login(&customer.email, &customer.password).await?;
    assert_eq!(adjust(&shop).await?, StatusCode::OK);

    let nobody = fixture.ops(&["users", "grant-admin", "nobody@ordersaga.example"]).await;
    let said = nobody.err().and_then(|error| error.message().map(str::to_owned)).unwrap_or_default();
    assert!(said.contains("nobody has registered as"), "{said}");
    Ok(())
}

async fn a_new_password_and_a_suspension_end_sessions_and_the_operators_part_is_in_the_audit_trail(
    fixture: Fixture,
) -> Outcome {
    let customer = fixture.customer().await?;
    let tokens = async |password: &str| {
        let credentials = json!({"email": customer.email, "password": password});
        fixture.shop.call(Method::POST, "/v1/auth/login").json(&credentials).send().await?.read::<Value>()
    };
    let refresh = async |tokens: &Value| {
        let body = json!({"refresh_token": tokens["refresh_token"]});
        let answer = fixture.shop.call(Method::POST, "/v1/auth/refresh").json(&body).send_once().await?;
        Ok::<_, Error>(answer.status)
    };
    let (first, second) = (tokens(&customer.password).await?, tokens(&customer.password).await?);
    let shop = fixture.shop.with_token(first["access_token"].as_str().unwrap_or_default().to_owned());
    let sessions: Value = shop.get("/v1/users/me/sessions").await?;
    let count = sessions["items"].as_array().map(Vec::len).unwrap_or_default();
    assert_eq!(count, 3, "with that of the customer's own login: {sessions}");

    let password = unique("Pass");
    let change = json!({"current_password": customer.password, "new_password": password});
    let changed = shop.call(Method::POST, "/v1/users/me/password").json(&change).send_once().await?;
    assert_eq!(changed.status, StatusCode::NO_CONTENT);
    assert_eq!(refresh(&second).await?, StatusCode::UNAUTHORIZED);
    assert_eq!(refresh(&first).await?, StatusCode::OK);

    let third = tokens(&password).await?;
    let reason = "asked for by telephone";
    let said = fixture.ops(&["users", "suspend", &customer.email, "--reason", reason]).await?;
    assert!(said.contains("is suspended; 2 sessions have ended"), "{said}");
    assert_eq!(refresh(&third).await?, StatusCode::UNAUTHORIZED);
    assert_eq!(login(&fixture, &customer.email, &password).await?, StatusCode::FORBIDDEN);
    fixture.ops(&["users", "restore", customer.user_id.as_str()]).await?;
    assert_eq!(refresh(&third).await?, StatusCode::UNAUTHORIZED);
    let fourth = tokens(&password).await?;
    let said = fixture.ops(&["users", "end-sessions", &customer.email]).await?;
    assert!(said.contains("1 session has ended"), "{said}");
    assert_eq!(refresh(&fourth).await?, StatusCode::UNAUTHORIZED);

    let audit: Value = fixture.admin.get(&format!("/v1/users/{}/audit", customer.user_id)).await?;
    let entry = |n: usize, field: &str| audit["items"][n][field].clone();
    assert_eq!(entry(0, "action"), "account.restored", "{audit}");
    assert_eq!((entry(1, "action"), entry(1, "reason")), (json!("account.suspended"), json!(reason)));
    assert_eq!(entry(1, "actor"), "operator:local");
    Ok(())
}

async fn whoever_leaves_is_gone_from_every_table_log_and_queue_once_the_open_orders_have_ended(
    fixture: Fixture,
) -> Outcome {
    let (sku, since) = (fixture.product(5).await?, jiff::Timestamp::now());
    let (customer, personal) = somebody(&fixture).await?;
    let completed = order(&customer, &personal, buy(&sku)).await?;
    assert_eq!(customer.ended(&completed).await?.status, OrderStatus::OrderCompleted);
    let payment_method = fixture.gateway.store_card(shop_client::card::ASKS_FIRST).await?;
    let open = order(&customer, &personal, NewOrder { payment_method, ..buy(&sku) }).await?;
    let asked = eventually("the bank asks the customer", async || {
        let payment = customer.shop.payment(&open).await?;
        Ok(payment.next_action.ok_or(payment.status)?)
    })
    .await?;
    // Otherwise the search would find nothing, whatever it did.
    for context in ["users", "fulfillment", "orders"] {
        let table = format!("ordersaga-{}-{context}:", fixture.outputs.stage);
        eventually(&format!("{context} knows the person"), async || {
            let found = in_tables(&fixture, &personal).await?;
            if found.iter().any(|item| item.starts_with(&table)) {
                Ok(())
            } else {
                Err(format!("{found:?}"))?
            }
        })
        .await?;
    }
    let mut live = customer.shop.live().await?;
    live.send(&json!({"action": "ping"})).await?;
    live.next(WITHIN).await?;

    let deleted = customer.shop.call(Method::DELETE, "/v1/users/me").send().await?;
    assert_eq!(deleted.status, StatusCode::ACCEPTED);
    assert_eq!(login(&fixture, &customer.email, &customer.password).await?, StatusCode::UNAUTHORIZED);
    let me = customer.shop.call(Method::GET, "/v1/users/me").send().await?;
    assert_eq!(me.status, StatusCode::NOT_FOUND);
    is_closed(live).await?;
    eventually("orders takes no order", async || {
        let status = tries_to_order(&customer).await?;
        if status == StatusCode::UNAUTHORIZED { Ok(()) } else { Err(status)? }
    })
    .await?;

    // The open order goes on, to its address.
    fixture.gateway.authenticate(&asked).await?;
    assert_eq!(customer.ended(&open).await?.status, OrderStatus::OrderCompleted);
    let shipped = customer.history(&open).await?;
    assert!(shipped.contains(&"order.shipment_scheduled".to_owned()), "{shipped:?}");

    eventually("nothing personal is in a table", async || {
        let found = in_tables(&fixture, &personal).await?;
        if found.is_empty() { Ok(()) } else { Err(format!("{found:#?}"))? }
    })
    .await?;
    assert_eq!(in_logs(&fixture, &personal, since).await?, Vec::<String>::new());
    eventually("nothing personal is in a queue", async || {
        let queues =
            fixture.emulator.send("sqs", "messages", Method::GET, "/_ministack/sqs/messages", &[], vec![]);
        let queues = queues.await.map_err(|error| error.to_string())?;
        if named(&queues, &personal) { Err("a message names the person")? } else { Ok(()) }
    })
    .await?;
    // The order is still there for the books.
    assert_eq!(fixture.admin.order(&completed).await?.status, OrderStatus::OrderCompleted);
    Ok(())
}

/// A customer with a unique name, street and phone number. Returns these and the e-mail address.
async fn somebody(fixture: &Fixture) -> Result<(Customer, Vec<String>)> {
    let customer = fixture.customer().await?;
    let (name, street) = (unique("Name"), unique("Street"));
    let digits: String = street.bytes().filter(u8::is_ascii_digit).take(9).map(char::from).collect();
    let phone = format!("+4915{digits:0<9}");
    let profile = json!({"name": name, "phone": phone});
    customer.shop.call(Method::PATCH, "/v1/users/me").json(&profile).send().await?.read::<Value>()?;
    let personal = vec![name, street, phone, customer.email.clone()];
    Ok((customer, personal))
}

async fn order(customer: &Customer, personal: &[String], order: NewOrder) -> Result<OrderId> {
    let shipping_address =
        ShippingAddress { name: personal[0].clone(), line1: personal[1].clone(), ..address("DE") };
    let order = NewOrder { shipping_address, ..order };
    Ok(customer.shop.place(&order, &unique("key")).await?.order_id)
}

/// Orders a product that does not exist, which is refused in any case.
async fn tries_to_order(customer: &Customer) -> Result<StatusCode> {
    let nothing = Sku::try_from("NO-SUCH-THING").expect("letters and hyphens");
    let order = NewOrder { items: vec![one(&nothing)], ..buy(&nothing) };
    let call = customer.shop.call(Method::POST, "/v1/orders").header("idempotency-key", &unique("key"));
    Ok(call.json(&order).send().await?.status)
}

/// Waits until the server closes the connection.
pub async fn is_closed(mut live: shop_client::Live) -> Result<()> {
    loop {
        match live.next(WITHIN).await {
            Ok(_) => {}
            Err(Error::Broken { .. }) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

fn named(text: &str, personal: &[String]) -> bool {
    personal.iter().any(|word| text.contains(word))
}

/// The items of all tables that name the person, each with its table.
async fn in_tables(fixture: &Fixture, personal: &[String]) -> std::result::Result<Vec<String>, String> {
    let call = async |operation: &str, input: Value| {
        let target = format!("DynamoDB_20120810.{operation}");
        fixture.emulator.read("dynamodb", &target, &input).await.map_err(|error| error.to_string())
    };
    let mut found = Vec::new();
    let tables = call("ListTables", json!({})).await?;
    let tables = tables["TableNames"].as_array().into_iter().flatten().filter_map(Value::as_str);
    for table in tables {
        let mut scan = json!({"TableName": table, "ConsistentRead": true});
        loop {
            let page = call("Scan", scan.clone()).await?;
            let items = page["Items"].as_array().into_iter().flatten().map(Value::to_string);
            found.extend(items.filter(|item| named(item, personal)).map(|item| format!("{table}: {item}")));
            if page["LastEvaluatedKey"].is_null() {
                break;
            }
            scan["ExclusiveStartKey"] = page["LastEvaluatedKey"].clone();
        }
    }
    Ok(found)
}

/// The lines of all logs that name the person. Only those since the test began: the emulator gives 10,000 at most.
async fn in_logs(
    fixture: &Fixture,
    personal: &[String],
    since: jiff::Timestamp,
) -> local_stack::Result<Vec<String>> {
    let call = async |operation: &str, input: Value| {
        fixture.emulator.read("logs", &format!("Logs_20140328.{operation}"), &input).await
    };
    let groups = call("DescribeLogGroups", json!({})).await?;
    let groups = groups["logGroups"].as_array().cloned().unwrap_or_default();
    assert!(groups.len() > 20, "{groups:?}");
    let mut found = Vec::new();
    for group in groups {
        let mut filter = json!({"logGroupName": group["logGroupName"], "startTime": since.as_millisecond()});
        loop {
            let page = call("FilterLogEvents", filter.clone()).await?;
            let lines =
                page["events"].as_array().into_iter().flatten().map(|event| event["message"].to_string());
            found.extend(lines.filter(|line| named(line, personal)));
            if page["nextToken"].is_null() {
                break;
            }
            filter["nextToken"] = page["nextToken"].clone();
        }
    }
    Ok(found)
}
