//! REST: a customer's orders, quotes, discount codes, and the sales report.

mod discounts;
mod letters;
mod list;
mod quote;
mod request;
mod sales;
mod view;

use std::collections::HashMap;

use axum::{
    Extension, Json, Router,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use contracts::{Money, OrderId, PricedLine, Sku, Switch};
use jiff::Timestamp;
use lambda_kit::{
    account::{AccountMark, AccountState},
    audit::Entry,
    aws::SdkConfig,
    config::{self, ConfigError},
    http::{
        Admin, Body, Correlation, FieldError, Idempotency, Identity, List, Page, Problem, ProblemType, Query,
        conditional, deprecation, etag,
        limit::{self, Limited},
        replayed,
    },
    jwt::Role,
    limits::{CANCELS, LISTS, ORDERS, READS},
    switch::FeatureSwitch,
};
use serde::Deserialize;
use tracing::Span;

pub use self::letters::{EmailQueue, routes as letter_routes};
pub(crate) use self::view::OrderView;
use self::{
    list::list,
    request::PlaceOrder,
    view::{AddressedView, CACHE, EventView, PlacedView},
};
use crate::{
    domain::{self, Command, DiscountCode, History, LineError, Offer, Rejected, price_lines},
    forecast::Forecast,
    handler::{self, ExecuteError, PlaceOutcome},
    store::{DiscountLookup, FirstCommit, NewOrder, Store, StoreError},
};

/// `Retry-After` for a client that polls an open order.
const POLL_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("5");

/// Those who may see every order and cancel it.
const STAFF_ROLES: &[Role] = &[Role::Support];

/// The problem of an order that is refused because an operator has turned new orders off.
static ORDERS_REFUSED: ProblemType =
    ProblemType { uri: "urn:ordersaga:problem:orders-refused", title: "No new orders are accepted" };
/// `Retry-After` of such an order.
// Operators turn orders off for minutes or hours. A client that repeats its request meanwhile gains nothing.
const ORDERS_REFUSED_SECONDS: HeaderValue = HeaderValue::from_static("60");

/// What operators decide about new orders.
#[derive(Debug, Clone)]
pub struct OrderRules {
    /// Whether only customers may order who have shown that their e-mail address is theirs.
    pub requires_verified_email: bool,
    /// While it is off, new orders are refused.
    pub orders: FeatureSwitch,
    /// While it is off, discount codes are refused.
    pub discounts: FeatureSwitch,
}

impl OrderRules {
    /// As the stage's switches and `REQUIRE_VERIFIED_EMAIL` say, `true` or `false`. Without it, every customer may
    /// order.
    ///
    /// # Errors
    /// When a variable is missing or has another value.
    pub fn from_env(sdk: &SdkConfig) -> Result<Self, ConfigError> {
        Ok(Self {
            requires_verified_email: config::parsed_or("REQUIRE_VERIFIED_EMAIL", false)?,
            orders: FeatureSwitch::from_env(sdk, Switch::Orders)?,
            discounts: FeatureSwitch::from_env(sdk, Switch::Discounts)?,
        })
    }

    /// Whether discount codes are accepted. Reads the switch only for a request with a code.
    async fn accepts(&self, code: Option<&DiscountCode>, now: Timestamp) -> bool {
        code.is_none() || self.discounts.is_on(now).await
    }
}

/// `forecast` is for quotes.
pub fn routes(store: Store, forecast: Forecast, rules: OrderRules) -> Router {
    Router::new()
        .route("/v1/orders", limit::before(&LISTS, get(list)).merge(limit::by_handler(&ORDERS, post(place))))
        .route("/v1/orders/{id}", limit::during(&READS, get(show)))
        .route("/v1/orders/{id}/events", limit::during(&READS, get(events)))
        .route("/v1/orders/{id}/cancel", limit::before(&CANCELS, post(request_cancel)))
        .route("/v1/orders/{id}/audit", limit::before(&LISTS, get(audit)))
        .route(
            "/v1/reports/sales",
            deprecation::of(&sales::VERSION_1, limit::before(&LISTS, get(sales::sales_v1))),
        )
        .route("/v2/reports/sales", limit::before(&LISTS, get(sales::sales)))
        .merge(discounts::routes())
        .merge(quote::routes(forecast))
        .layer(Extension(rules))
        .with_state(store)
}

/// The routes as openapi.json describes them.
#[cfg(feature = "openapi")]
pub fn operations() -> Vec<lambda_kit::openapi::Operation> {
    use lambda_kit::{
        audit,
        openapi::{Operation, Who},
    };
    use sales::{DayV1, DayView};
    use serde_json::json;

    let placed_at = "2026-11-21T12:00:00Z";
    let placed = json!({
        "order_id": "ord_0123456789abcdef0123456789abcdef", "status": "OrderCreated", "version": 1,
        "items": [{"sku": "MUG-BLUE", "quantity": 2, "unit_price": {"amount": 2100, "currency": "USD"}}],
        "total": {"amount": 4200, "currency": "USD"}, "created_at": placed_at
    });
    let moment = json!({
        "version": 1, "event_type": "order.created", "status": "OrderCreated", "occurred_at": placed_at
    });
    let mut event = moment.clone();
    event["data"] = json!({"items": placed["items"], "total": placed["total"]});
    let mut order = placed.clone();
    order["user_id"] = json!("usr_0123456789abcdef0123456789abcdef");
    order["cancel_requested"] = json!(false);
    order["updated_at"] = json!(placed_at);
    order["timeline"] = json!([moment]);
    let date = json!({"type": "string", "format": "date"});
    let mut operations = vec![
        Operation::post(
            "/v1/orders",
            "placeOrder",
            Who::User,
            "Place an order",
            "Answers as soon as the order is stored; reserving the stock, the payment and the shipment follow. Watch \
             it over the WebSocket, or with `getOrder` and `listOrderEvents`. `quoteOrder` takes the same body and \
             places nothing.",
        )
        .limited(&ORDERS)
        .takes::<PlaceOrder>(PlaceOrder::example())
        .idempotent()
        .answers::<PlacedView>(
            202,
            "The order is placed, and is worked on.",
            &["Location", "Idempotent-Replayed"],
            placed,
        )
        .problem(
            403,
            "The account is suspended, or the shop takes orders only with a verified e-mail address. Then verify it, \
             and refresh the access token.",
        )
        .problem(409, "The total is another one than `expected_total`: `total` says which. Nothing is placed.")
        .problem_with_headers(
            503,
            "No new orders are accepted at the moment (`type` is `urn:ordersaga:problem:orders-refused`), or the \
             service is unavailable. Nothing is placed.",
            &["Retry-After"],
        ),
        Operation::get(
            "/v1/orders",
            "listOrders",
            Who::User,
            "One's own orders, or for the support and administrators all, the newest first",
            "The list is updated a moment after an order changes; `getOrder` is always current.",
        )
        .limited(&LISTS)
        .query("status", "Only those in this status.", json!({"type": "string"}))
        .paged()
        .answers::<List<OrderView>>(
            200,
            "The orders.",
            &["Cache-Control"],
            json!({"items": [order], "next_cursor": null}),
        ),
        Operation::get(
            "/v1/orders/{id}",
            "getOrder",
            Who::OwnerOrSupport,
            "An order with what happened to it",
            "Its status, lines and total, and its timeline.",
        )
        .limited(&READS)
        .query("at", "As it was at this time.", json!({"type": "string", "format": "date-time"}))
        .query(
            "include",
            "`address`: also where it goes and how it is paid, while that is held.",
            json!({"enum": ["address"]}),
        )
        .conditional()
        .answers::<OrderView>(200, "The order.", &["ETag", "Cache-Control"], order.clone()),
        Operation::get(
            "/v1/orders/{id}/events",
            "listOrderEvents",
            Who::OwnerOrSupport,
            "The order's events",
            "For a client that polls, or that missed frames. `Retry-After` says when to ask again; an order that has \
             ended has none.",
        )
        .limited(&READS)
        .query("after", "Only those after this version.", json!({"type": "integer", "minimum": 0}))
        .answers::<List<EventView>>(
            200,
            "The events.",
            &["Retry-After"],
            json!({"items": [event], "next_cursor": null}),
        ),
        Operation::post(
            "/v1/orders/{id}/cancel",
            "cancelOrder",
            Who::OwnerOrSupport,
            "Cancel an order",
            "Takes effect at the saga's next step, and at once while the payment is pending. What was done is undone: \
             money goes back, and stock and shipment are released.",
        )
        .limited(&CANCELS)
        .answers::<OrderView>(202, "It will be cancelled, unless it completes first.", &[], order)
        .problem(409, "The order has ended."),
        audit::operation(
            "/v1/orders/{id}/audit",
            "listOrderChanges",
            "Which of the staff changed an order",
            json!({
                "id": "019ad0c0f00070008000000000000000", "at": placed_at,
                "actor": "usr_0123456789abcdef0123456789abcdef", "action": "order.cancel_requested",
                "subject": "ord_0123456789abcdef0123456789abcdef", "before": {"cancel_requested": false},
                "after": {"cancel_requested": true}, "correlation_id": "cor_1"
            }),
        ),
        Operation::get(
            "/v1/reports/sales",
            "getSalesReportV1",
            Who::Admin,
            "What was sold on each day (UTC), in version 1",
            "Orders, completed orders with their revenue, and cancellations by reason, as an object.",
        )
        .deprecated(&sales::VERSION_1)
        .limited(&LISTS)
        .query("from", "The first day.", date.clone())
        .query("to", "The last day, at most a year later.", date.clone())
        .answers::<List<DayV1>>(
            200,
            "The days.",
            &["Cache-Control"],
            json!({
                "items": [{
                    "date": "2026-11-21", "orders": 12, "completed": 10,
                    "revenue": [{"amount": 42000, "currency": "USD"}], "cancellations": {"PaymentDeclined": 2}
                }],
                "next_cursor": null
            }),
        ),
    ];
    operations.push(
        Operation::get(
            "/v2/reports/sales",
            "getSalesReport",
            Who::Admin,
            "What was sold on each day (UTC)",
            "Orders, completed orders with their revenue, and cancellations by reason.",
        )
        .limited(&LISTS)
        .query("from", "The first day.", date.clone())
        .query("to", "The last day, at most a year later.", date)
        .answers::<List<DayView>>(
            200,
            "The days.",
            &["Cache-Control"],
            json!({
                "items": [{
                    "date": "2026-11-21", "orders": 12, "completed": 10,
                    "revenue": [{"amount": 42000, "currency": "USD"}],
                    "cancellations": [{"reason": "PaymentDeclined", "orders": 2}]
                }],
                "next_cursor": null
            }),
        ),
    );
    operations.extend(discounts::operations());
    operations.push(letters::operation());
    operations.push(quote::operation());
    operations
}

/// Places an order: one read and one write, or for a repeat the read alone.
// It waits for no other service, so a catalogue or an inventory that is down refuses no order. The customer's
// limit is checked during the read, so it costs no time.
async fn place(
    State(store): State<Store>,
    limit: Limited,
    Extension(rules): Extension<OrderRules>,
    identity: Identity,
    Correlation(correlation_id): Correlation,
    Idempotency(key): Idempotency,
    Body(body): Body<PlaceOrder>,
) -> Result<Response, Problem> {
    // The id is a hash of the customer and the key. So a repeat finds the order under its own id, and no
    // table of idempotency keys is needed.
    let order_id = OrderId::derive(&identity.user_id, &key);
    Span::current().record("order_id", order_id.as_str());
    let request_hash = body.hash().map_err(|e| Problem::internal(&e))?;

    let (code, skus, now) = (body.discount_code(), body.skus(), Timestamp::now());
    let lookup = store.lookup(Some(&order_id), &identity.user_id, &skus, code);
    let lookup = limit.take_during(&identity.user_id, lookup);
    let (found, accepts_orders, accepts_discounts) =
        tokio::join!(lookup, rules.orders.is_on(now), rules.accepts(code, now));
    let found = found?;
    // Before every other check. Prices, the code and the account may have changed since, and a repeat still
    // gets the first answer.
    if let Some(first) = found.placed {
        return repeated(&order_id, first, &request_hash);
    }
    if !accepts_orders {
        return Err(orders_refused());
    }
    check_customer(&identity, found.account, rules.requires_verified_email, now)?;
    let (items, offer) = priced(&body, &found.prices, accepts_discounts.then_some(&found.discount), now)?;
    check_expected_total(&body, &items, offer.as_ref())?;
    let order = NewOrder {
        order_id: &order_id,
        user_id: &identity.user_id,
        correlation_id: &correlation_id,
        request_hash: &request_hash,
        checkout_details: &body.checkout_details().map_err(|e| Problem::internal(&e))?,
    };
    match handler::place(&store, &order, Command::Place { items, offer }, now).await? {
        PlaceOutcome::Created(first) => accepted(&order_id, first),
        // Two equal requests at the same moment both found no order. One of them writes it, and the other one
        // gets the same answer.
        PlaceOutcome::AlreadyPlaced(first) => repeated(&order_id, first, &request_hash),
    }
}

fn orders_refused() -> Problem {
    let detail = "The shop accepts no new orders at the moment: nothing was ordered. Try again later.";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
        .with_type(&ORDERS_REFUSED)
        .with_header(header::RETRY_AFTER, ORDERS_REFUSED_SECONDS)
}

/// Checks that the customer may order.
fn check_customer(
    identity: &Identity,
    account: Option<AccountMark>,
    requires_verified_email: bool,
    now: Timestamp,
) -> Result<(), Problem> {
    // A token is checked without a read, so it stays valid for some minutes after its account is deleted or
    // suspended. The mark is what refuses it.
    match account.map_or(AccountState::Active, |mark| mark.state(now.as_second())) {
        AccountState::Active => {}
        AccountState::Suspended => {
            return Err(Problem::forbidden("This account is suspended: it can order nothing."));
        }
        AccountState::Deleted => {
            return Err(Problem::unauthorized("This account was deleted: it can order nothing."));
        }
    }
    // The access token says whether the address is verified, so this costs no read. A token from before the
    // verification does not say so yet.
    if requires_verified_email && !identity.email_verified {
        return Err(Problem::forbidden(
            "Confirm your e-mail address first: POST /v1/users/me/verifications sends a code, and POST \
             /v1/users/me/verifications/confirm takes it. Then refresh the access token, and order again.",
        ));
    }
    Ok(())
}

/// The lines with their prices, and the discount code at this moment, if the request has one. `discount` is `None`
/// while no codes are accepted.
fn priced(
    body: &PlaceOrder,
    prices: &HashMap<Sku, Money>,
    discount: Option<&DiscountLookup>,
    now: Timestamp,
) -> Result<(Vec<PricedLine>, Option<Offer>), Problem> {
    let offer = |_: &DiscountCode| match discount {
        Some(discount) => discount.offer(now).map_err(Rejected::into_problem),
        None => Err(Problem::field("discount_code", "no discount codes are accepted at the moment")),
    };
    let offer = body.discount_code().map(offer).transpose()?;
    let items = price_lines(body.lines(), prices).map_err(|e| Rejected::Lines(e).into_problem())?;
    Ok((items, offer))
}

/// Checks that the total is the one that the customer was shown, if the request says which.
// The price may have changed since the page showed it. A client that sends the total that it showed never charges a
// customer another one.
fn check_expected_total(
    body: &PlaceOrder,
    items: &[PricedLine],
    offer: Option<&Offer>,
) -> Result<(), Problem> {
    let Some(expected) = body.expected_total() else { return Ok(()) };
    let total = domain::quote(items.to_vec(), offer).map_err(Rejected::into_problem)?.total;
    if expected == total {
        return Ok(());
    }
    let total_now = serde_json::to_value(total).map_err(|e| Problem::internal(&e))?;
    let detail = format!("The total is {total} now, and not {expected}: nothing was ordered.");
    Err(Problem::conflict(detail).with_member("total", total_now))
}

/// The answer to a repeat is the first one, whatever changed since.
fn repeated(order_id: &OrderId, first: FirstCommit, request_hash: &str) -> Result<Response, Problem> {
    if first.request_hash != request_hash {
        return Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "This Idempotency-Key was used for another order. Repeat a request with the same body, and send a new key for a new order.",
        ));
    }
    Ok(replayed(accepted(order_id, first)?))
}

fn accepted(order_id: &OrderId, first: FirstCommit) -> Result<Response, Problem> {
    let history = History::replay(order_id, [first.commit]).map_err(|e| Problem::internal(&e))?;
    let history = history.ok_or_else(no_such_order)?;
    let location = [(header::LOCATION, format!("/v1/orders/{order_id}"))];
    Ok((StatusCode::ACCEPTED, location, Json(PlacedView::from(&history))).into_response())
}

#[derive(Deserialize)]
struct Shown {
    at: Option<String>,
    include: Option<String>,
}

async fn show(
    State(store): State<Store>,
    identity: Identity,
    Path(id): Path<String>,
    Query(Shown { at, include }): Query<Shown>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if include.as_ref().is_some_and(|part| part != "address") {
        return Err(Problem::field(
            "include",
            "must be `address`, which adds where the order goes and how it is paid",
        ));
    }
    let at: Option<Timestamp> = parse(at, "at", "must be a time such as 2026-11-20T12:00:00Z")?;
    let now = load(&store, &identity, &id).await?;
    let history = match at {
        Some(at) => now.until(at).ok_or_else(no_such_order)?,
        None => now,
    };
    let order = OrderView::from(&history);
    if include.is_some() {
        // This response has no ETag. An ETag is the order's version, and erasing the address does not change the
        // version. For the same reason no cache may keep it.
        let details = store.checkout_details(&history.order_id).await?;
        return Ok(Json(AddressedView::new(order, details)).into_response());
    }
    let mut response = conditional(&headers, &etag(history.order.version), Json(order));
    response.headers_mut().insert(header::CACHE_CONTROL, CACHE);
    Ok(response)
}

#[derive(Deserialize)]
struct AfterVersion {
    after: Option<String>,
}

async fn events(
    State(store): State<Store>,
    identity: Identity,
    Path(id): Path<String>,
    Query(AfterVersion { after }): Query<AfterVersion>,
) -> Result<Response, Problem> {
    let after: u64 = parse(after, "after", "must be a version: 0 or more")?.unwrap_or(0);
    let history = load(&store, &identity, &id).await?;
    let mut response = Json(EventView::list(&history, after, identity.is_admin())).into_response();
    if !history.order.status.is_final() {
        response.headers_mut().insert(header::RETRY_AFTER, POLL_AFTER_SECONDS);
    }
    Ok(response)
}

/// Accepted until the order has ended; it takes effect at the saga's next step, or at once while the payment is pending
/// (payments listens). An order that needs attention is being cancelled already: accepted, with nothing to add.
async fn request_cancel(
    State(store): State<Store>,
    identity: Identity,
    Correlation(correlation_id): Correlation,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let known = load(&store, &identity, &id).await?;
    let now = Timestamp::now();
    let history = handler::request_cancel(&store, &known, &identity.user_id, &correlation_id, now).await?;
    // A repeat finds its first request in the history and succeeds, also when the order has ended since. The
    // customer must not take that for a cancel that is under way.
    if history.order.status.is_final() {
        return Err(Rejected::Ended(history.order.status).into_problem());
    }
    Ok((StatusCode::ACCEPTED, Json(OrderView::from(&history))).into_response())
}

/// Which of the staff changed the order. What its customer and the saga did is among its events.
async fn audit(
    State(store): State<Store>,
    Admin(_): Admin,
    Path(id): Path<String>,
    page: Page,
) -> Result<Json<List<Entry>>, Problem> {
    let order_id = OrderId::try_from(id).map_err(|_| no_such_order())?;
    Ok(Json(store.audit_entries(order_id.as_str(), page).await?))
}

/// The order, if it is there and the caller may see it.
async fn load(store: &Store, identity: &Identity, id: &str) -> Result<History, Problem> {
    let order_id = OrderId::try_from(id).map_err(|_| no_such_order())?;
    Span::current().record("order_id", order_id.as_str());
    let history = store.load(&order_id).await?;
    // 404 for an order of another customer, too. A 403 would confirm that it exists.
    history.filter(|history| identity.may_see(&history.user_id, STAFF_ROLES)).ok_or_else(no_such_order)
}

fn no_such_order() -> Problem {
    Problem::not_found("There is no such order.")
}

fn parse<T: std::str::FromStr>(value: Option<String>, name: &str, rule: &str) -> Result<Option<T>, Problem> {
    value.map(|value| value.parse()).transpose().map_err(|_| Problem::field(name, rule))
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        if error.is_retryable() { Self::unavailable(&error) } else { Self::internal(&error) }
    }
}

impl From<ExecuteError> for Problem {
    fn from(error: ExecuteError) -> Self {
        match error {
            ExecuteError::Rejected(rejected) => rejected.into_problem(),
            ExecuteError::Store(error) => error.into(),
        }
    }
}

impl Rejected {
    fn into_problem(self) -> Problem {
        match self {
            Self::NotPlaced => no_such_order(),
            Self::Lines(errors) => Problem::unprocessable(errors.iter().map(field_error).collect()),
            Self::Ended(status) => Problem::conflict(format!("The order has ended: its status is {status}.")),
            Self::Discount(error) => Problem::field("discount_code", error.to_string()),
            // Only commands of the saga are rejected like this, and the API sends none of them. So this is a
            // fault of ours.
            Self::AlreadyPlaced | Self::CancelRequested | Self::NotReserved => Problem::internal(&self),
        }
    }
}

fn field_error(error: &LineError) -> FieldError {
    let field = match error.line() {
        Some((index, part)) => format!("items[{index}].{part}"),
        None => "items".to_owned(),
    };
    FieldError { field, message: error.to_string() }
}

#[cfg(test)]
mod tests;
