//! The WebSocket: admission, visible frames, and answers.

use std::collections::BTreeMap;

use contracts::{
    IdempotencyKey, OrderId, OrderStatus, UserId,
    events::{UserRestored, UserSuspended},
};
use futures::{StreamExt, TryStreamExt, stream};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use shop_client::{Error, Frame, Live, OrderFrame, Shop};

use crate::accounts::is_closed;
use crate::fixture::{Customer, Fixture, Result, WITHIN, buy, event, eventually, unique};
use crate::harness::Outcome;

crate::tests![
    a_ticket_that_is_not_good_is_refused_at_connect,
    a_ticket_admits_one_connection,
    a_user_has_at_most_20_connections,
    only_the_shops_own_page_may_connect,
    whoever_logs_out_is_disconnected_there_and_nowhere_else,
    a_suspended_user_is_disconnected_and_can_neither_connect_nor_order,
    an_order_of_somebody_else_is_not_found,
    an_order_that_turns_out_to_be_somebody_elses_stays_silent,
    a_replay_gives_every_version_after_the_one_that_is_known,
    whoever_loses_connections_at_random_sees_every_version_in_order,
    whoever_subscribes_to_all_gets_an_order_that_is_placed_later,
    a_ping_is_answered,
    what_is_no_frame_is_answered_and_the_connection_stays,
];

/// The versions of an order that completes.
const LAST_VERSION: u64 = 6;
/// Connections that a user may have.
const CONNECTIONS_MAX: usize = 20;
/// Connections that are opened at the same time: each starts two functions.
const OPENING: usize = 4;

async fn a_ticket_that_is_not_good_is_refused_at_connect(fixture: Fixture) -> Outcome {
    let customer = fixture.customer().await?;
    let url = customer.shop.ticket().await?.url;
    let bad = [
        ("none", String::new()),
        ("nonsense", "?ticket=nonsense".to_owned()),
        ("that was never issued", format!("?ticket={}", "A".repeat(43))),
        ("that is an access token", format!("?ticket={}", customer.shop.token().unwrap_or_default())),
    ];
    for (which, query) in bad {
        match Live::open(&format!("{url}{query}")).await {
            Err(Error::NotLetIn { status: StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN }) => {}
            other => return Err(format!("a ticket {which}: {other:?}").into()),
        }
    }
    Ok(())
}

async fn a_ticket_admits_one_connection(fixture: Fixture) -> Outcome {
    let customer = fixture.customer().await?;
    let ticket = customer.shop.ticket().await?;
    let mut live = Live::connect(&ticket.url, &ticket.ticket).await?;
    is_refused(StatusCode::FORBIDDEN, Live::connect(&ticket.url, &ticket.ticket).await)?;
    assert!(is_alive(&mut live).await?);
    Ok(())
}

async fn a_user_has_at_most_20_connections(fixture: Fixture) -> Outcome {
    let (customer, other) = (fixture.customer().await?, fixture.customer().await?);
    let opened = stream::iter(0..CONNECTIONS_MAX).map(|_| customer.shop.live()).buffer_unordered(OPENING);
    let mut open: Vec<Live> = opened.try_collect().await?;
    is_refused(StatusCode::TOO_MANY_REQUESTS, customer.shop.live().await)?;
    assert!(is_alive(&mut other.shop.live().await?).await?);

    open.pop();
    let mut next = eventually("a place is free again", async || {
        customer.shop.live().await.map_err(|error| error.to_string().into())
    })
    .await?;
    assert!(is_alive(&mut next).await?);
    is_refused(StatusCode::TOO_MANY_REQUESTS, customer.shop.live().await)?;
    for live in &mut open {
        assert!(is_alive(live).await?);
    }
    Ok(())
}

async fn only_the_shops_own_page_may_connect(fixture: Fixture) -> Outcome {
    let customer = fixture.customer().await?;
    let ticket = customer.shop.ticket().await?;
    let page = fixture.outputs.storefront_url.parse::<reqwest::Url>()?.origin().ascii_serialization();
    let connect = async |origin| Live::from_page(origin, &ticket.url, &ticket.ticket).await;
    for origin in ["https://evil.example", "null"] {
        is_refused(StatusCode::FORBIDDEN, connect(origin).await)?;
    }
    assert!(is_alive(&mut connect(&page).await?).await?, "the ticket is still good");
    Ok(())
}

async fn whoever_logs_out_is_disconnected_there_and_nowhere_else(fixture: Fixture) -> Outcome {
    let customer = fixture.customer().await?;
    let credentials = json!({"email": customer.email, "password": customer.password});
    let login = fixture.shop.call(Method::POST, "/v1/auth/login").json(&credentials).send().await?;
    let tokens: Value = login.read()?;
    let text = |name: &str| tokens[name].as_str().map(str::to_owned).ok_or("a login gives tokens");
    let phone: Shop = fixture.shop.with_token(text("access_token")?);
    let (phones, mut others) = (phone.live().await?, customer.shop.live().await?);
    let unused = phone.ticket().await?;

    let logout = json!({"refresh_token": text("refresh_token")?});
    let answer = fixture.shop.call(Method::POST, "/v1/auth/logout").json(&logout).send().await?;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    is_closed(phones).await?;
    is_refused(StatusCode::FORBIDDEN, Live::connect(&unused.url, &unused.ticket).await)?;
    let refused = phone.ticket().await.err().and_then(|error| error.status());
    assert_eq!(refused, Some(StatusCode::UNAUTHORIZED));
    assert!(is_alive(&mut others).await?);
    Ok(())
}

async fn a_suspended_user_is_disconnected_and_can_neither_connect_nor_order(fixture: Fixture) -> Outcome {
    let (customer, sku) = (fixture.customer().await?, fixture.product(5).await?);
    let user_id = customer.user_id.clone();
    let (live, unused) = (customer.shop.live().await?, customer.shop.ticket().await?);
    let suspended = UserSuspended { user_id: user_id.clone() };
    fixture.publish(&event("users", user_id.as_str(), None, 2, &suspended)?).await?;
    is_closed(live).await?;
    is_refused(StatusCode::FORBIDDEN, Live::connect(&unused.url, &unused.ticket).await)?;
    let refused = customer.shop.ticket().await.err().and_then(|error| error.status());
    assert_eq!(refused, Some(StatusCode::FORBIDDEN));
    let places = async || {
        let placed = customer.shop.place(&buy(&sku), &unique("key")).await;
        placed.map_or_else(|error| error.status(), |_| Some(StatusCode::ACCEPTED))
    };
    eventually("orders takes no order", async || match places().await {
        Some(StatusCode::FORBIDDEN) => Ok(()),
        other => Err(format!("{other:?}").into()),
    })
    .await?;

    let restored = UserRestored { user_id: user_id.clone() };
    fixture.publish(&event("users", user_id.as_str(), None, 3, &restored)?).await?;
    let mut live = eventually("the user connects", async || {
        customer.shop.live().await.map_err(|error| error.to_string().into())
    })
    .await?;
    assert!(is_alive(&mut live).await?);
    eventually("orders takes an order", async || match places().await {
        Some(StatusCode::ACCEPTED) => Ok(()),
        other => Err(format!("{other:?}").into()),
    })
    .await?;
    Ok(())
}

async fn an_order_of_somebody_else_is_not_found(fixture: Fixture) -> Outcome {
    let (anna, ben) = (fixture.customer().await?, fixture.customer().await?);
    let order = completed_order(&fixture, &anna).await?;
    // Realtime knows the order once its owner has seen it there.
    watch_to_the_end(&mut anna.shop.live().await?, &order, 0).await?;

    let mut live = ben.shop.live().await?;
    live.subscribe(&order, Some(0)).await?;
    match live.next(WITHIN).await? {
        Frame::Error { code, .. } => assert_eq!(code, "not_found"),
        other => return Err(format!("{other:?}").into()),
    }
    Ok(())
}

async fn an_order_that_turns_out_to_be_somebody_elses_stays_silent(fixture: Fixture) -> Outcome {
    let (anna, ben, sku) = (fixture.customer().await?, fixture.customer().await?, fixture.product(5).await?);
    let key = unique("key");
    let order = future_order(&anna.user_id, &key);
    let mut bens = ben.shop.live().await?;
    bens.subscribe(&order, Some(0)).await?;
    let mut annas = anna.shop.live().await?;
    annas.subscribe(&order, Some(0)).await?;

    anna.shop.place(&buy(&sku), &key).await?;
    watch_to_the_end(&mut annas, &order, 0).await?;
    // All that Anna has got, Ben would have got by now, in the same line.
    bens.subscribe(&order, Some(0)).await?;
    loop {
        match bens.next(WITHIN).await? {
            Frame::Subscribed { .. } => {}
            Frame::Error { code, .. } if code == "not_found" => return Ok(()),
            other => return Err(format!("{other:?}").into()),
        }
    }
}

async fn a_replay_gives_every_version_after_the_one_that_is_known(fixture: Fixture) -> Outcome {
    let customer = fixture.customer().await?;
    let order = completed_order(&fixture, &customer).await?;
    for after in [0, 3, LAST_VERSION - 1] {
        let frames = watch_to_the_end(&mut customer.shop.live().await?, &order, after).await?;
        let versions: Vec<u64> = frames.iter().map(|frame| frame.version).collect();
        assert_eq!(versions, Vec::from_iter(after + 1..=LAST_VERSION), "after {after}");
    }
    Ok(())
}

/// Four orders run at once, and their customer's connection is lost after a few frames each time: before anything is
/// answered, in the middle of a replay, between two live frames.
async fn whoever_loses_connections_at_random_sees_every_version_in_order(fixture: Fixture) -> Outcome {
    const ORDERS: u32 = 4;
    const FRAMES_AT_MOST: u64 = 8;
    let (customer, sku) = (fixture.customer().await?, fixture.product(ORDERS).await?);
    let mut random = Random(20_261_121);
    let orders = Vec::from_iter((0..ORDERS).map(|_| customer.future_order()));
    let mut known: BTreeMap<OrderId, u64> = orders.iter().map(|order| (order.order_id.clone(), 0)).collect();

    let place = async {
        let basket = buy(&sku);
        let placed = orders.iter().map(|order| customer.shop.place(&basket, &order.key));
        futures::future::try_join_all(placed).await.map(drop)
    };
    let watch = async {
        let mut cuts = 0;
        while known.values().any(|version| *version < LAST_VERSION) {
            let mut live = customer.shop.live().await?;
            for (order, after) in known.iter().filter(|(_, version)| **version < LAST_VERSION) {
                live.subscribe(order, Some(*after)).await?;
            }
            for _ in 0..random.below(FRAMES_AT_MOST) {
                match live.next(WITHIN).await? {
                    Frame::Order(frame) => {
                        let version = known.entry(frame.order_id.clone()).or_default();
                        assert!(frame.version <= *version + 1, "a hole after {version}: {frame:?}");
                        *version = frame.version.max(*version);
                    }
                    Frame::Subscribed { .. } | Frame::Payment(_) | Frame::Shipment(_) => {}
                    other => return Err(Error::Unfit { reason: format!("{other:?}") }),
                }
                if known.values().all(|version| *version == LAST_VERSION) {
                    break;
                }
            }
            // Dropped without a word, as when a phone leaves the network.
            cuts += 1;
        }
        Ok(cuts)
    };
    let ((), cuts) = futures::try_join!(place, watch)?;
    // No connection lived longer than that many frames, and each order has six.
    assert!(cuts >= u64::from(ORDERS) * LAST_VERSION / FRAMES_AT_MOST, "{cuts} connections");
    Ok(())
}

async fn whoever_subscribes_to_all_gets_an_order_that_is_placed_later(fixture: Fixture) -> Outcome {
    let (customer, sku) = (fixture.customer().await?, fixture.product(5).await?);
    let mut live = customer.shop.live().await?;
    live.send(&json!({"action": "subscribe"})).await?;
    assert_eq!(live.next(WITHIN).await?, Frame::Subscribed { order_id: None });

    let placed = customer.shop.place(&buy(&sku), &unique("key")).await?;
    let frames = collect(&mut live, &placed.order_id, 0).await?;
    assert_eq!(frames.last().and_then(|frame| frame.status), Some(OrderStatus::OrderCompleted));
    Ok(())
}

async fn a_ping_is_answered(fixture: Fixture) -> Outcome {
    assert!(is_alive(&mut fixture.customer().await?.shop.live().await?).await?);
    Ok(())
}

async fn what_is_no_frame_is_answered_and_the_connection_stays(fixture: Fixture) -> Outcome {
    let mut live = fixture.customer().await?.shop.live().await?;
    let bad = [
        ("hello", "bad_request"),
        ("[]", "bad_request"),
        (r#"{"action":7}"#, "bad_request"),
        (r#"{"action":"buy"}"#, "unknown_action"),
        (r#"{"action":"subscribe","order_id":"12"}"#, "bad_request"),
        (r#"{"action":"subscribe","after":1}"#, "bad_request"),
    ];
    for (frame, expected) in bad {
        live.send_text(frame).await?;
        match live.next(WITHIN).await? {
            Frame::Error { code, .. } => assert_eq!(code, expected, "{frame}"),
            other => return Err(format!("{frame}: {other:?}").into()),
        }
    }
    assert!(is_alive(&mut live).await?);
    Ok(())
}

/// The same numbers in every run (SplitMix64). Only the progress of the orders is random.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

fn is_refused(expected: StatusCode, connected: Result<Live>) -> Outcome {
    match connected {
        Err(Error::NotLetIn { status }) if status == expected => Ok(()),
        other => Err(format!("{other:?} and not {expected}").into()),
    }
}

async fn is_alive(live: &mut Live) -> Result<bool> {
    live.send(&json!({"action": "ping"})).await?;
    Ok(live.next(WITHIN).await? == Frame::Pong)
}

fn future_order(user: &UserId, key: &str) -> OrderId {
    OrderId::derive(user, &IdempotencyKey::try_from(key).expect("letters, digits and a hyphen"))
}

async fn completed_order(fixture: &Fixture, customer: &Customer) -> Result<OrderId> {
    let sku = fixture.product(5).await?;
    let placed = customer.shop.place(&buy(&sku), &unique("key")).await?;
    assert_eq!(customer.ended(&placed.order_id).await?.status, OrderStatus::OrderCompleted);
    Ok(placed.order_id)
}

/// Subscribes, and collects.
async fn watch_to_the_end(live: &mut Live, order: &OrderId, after: u64) -> Result<Vec<OrderFrame>> {
    live.subscribe(order, Some(after)).await?;
    collect(live, order, after).await
}

/// The order's frames up to its last, each version once; a hole between them is a failure.
async fn collect(live: &mut Live, order: &OrderId, after: u64) -> Result<Vec<OrderFrame>> {
    let mut frames: Vec<OrderFrame> = Vec::new();
    loop {
        let known = frames.last().map_or(after, |frame| frame.version);
        if known == LAST_VERSION {
            return Ok(frames);
        }
        match live.next(WITHIN).await? {
            Frame::Order(frame) => {
                assert_eq!(frame.order_id, *order);
                assert!(frame.version <= known + 1, "a hole after {known}: {frame:?}");
                if frame.version == known + 1 {
                    frames.push(frame);
                }
            }
            Frame::Subscribed { .. } | Frame::Payment(_) | Frame::Shipment(_) => {}
            other => return Err(Error::Unfit { reason: format!("{other:?}") }),
        }
    }
}
