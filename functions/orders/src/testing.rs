//! Builders for tests: one order, and the commands of its life.

use contracts::{
    CorrelationId, Currency, IdempotencyKey, Money, OrderId, Position, PricedLine, Sku, Switch, UserId,
    saga::{
        Booking, Compensations, Failure, UndoOutcome,
        steps::{CANCEL_SHIPMENT, REFUND_PAYMENT, RELEASE_INVENTORY},
    },
};
use jiff::Timestamp;
use lambda_kit::{
    dynamodb::Table,
    http::limit::Limits,
    switch::FeatureSwitch,
    testing::{App, Faults, Tokens, sdk_config, table},
};

use crate::{
    api::{OrderRules, routes},
    domain::{Command, Commit, EventContext, Order, Placed, apply, command_id, decide},
    forecast::Forecast,
    store::{NewOrder, Partitioning, Store},
};

pub fn order_id() -> OrderId {
    OrderId::try_from("ord_0123456789abcdef0123456789abcdef").unwrap()
}

pub fn user_id() -> UserId {
    UserId::try_from("usr_0123456789abcdef0123456789abcdef").unwrap()
}

pub fn correlation_id() -> CorrelationId {
    CorrelationId::try_from("cor_test").unwrap()
}

pub fn sku(name: &str) -> Sku {
    Sku::try_from(name).unwrap()
}

pub fn store(table: Table) -> Store {
    Store::new(table, Partitioning::default())
}

/// Puts the order into a store, at second 0.
pub async fn place_order(store: &Store) {
    place_order_of(store, &order_id(), &user_id(), "{}", 0).await;
}

/// Puts a customer's order into a store.
pub async fn place_order_of(
    store: &Store,
    order_id: &OrderId,
    customer: &UserId,
    checkout_details: &str,
    second: i64,
) {
    let order = NewOrder {
        order_id,
        user_id: customer,
        correlation_id: &correlation_id(),
        request_hash: "",
        checkout_details,
    };
    crate::handler::place(store, &order, place(), at(second)).await.unwrap();
}

/// The time `second` seconds after the order was placed.
pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_795_000_000 + seconds).unwrap()
}

pub fn usd(amount: i64) -> Money {
    Money::new(amount, Currency::USD)
}

/// Two mugs: 84 dollars.
pub fn place() -> Command {
    Command::Place { items: two_mugs(), offer: None }
}

pub fn two_mugs() -> Vec<PricedLine> {
    vec![PricedLine { sku: sku("MUG"), quantity: 2, unit_price: usd(4200) }]
}

pub fn shipment() -> Booking {
    Booking {
        shipment_id: "shp_1".to_owned(),
        carrier: "local".to_owned(),
        tracking_number: "T1".to_owned(),
        estimated_delivery: jiff::civil::date(2026, 11, 25),
    }
}

pub fn complete() -> Command {
    Command::Complete { shipment: shipment() }
}

pub fn failure(step: &str, error: &str) -> Failure {
    Failure { step: step.to_owned(), error: error.to_owned(), cause: "a cause for engineers".to_owned() }
}

/// The saga's cancel after a failed step, when nothing had to be undone.
pub fn cancel(step: &str, error: &str) -> Command {
    use UndoOutcome::NotNeeded;
    cancel_after(step, error, [NotNeeded, NotNeeded, NotNeeded])
}

/// The same, with how the undos of shipment, payment and inventory ended.
pub fn cancel_after(step: &str, error: &str, [shipment, payment, inventory]: [UndoOutcome; 3]) -> Command {
    let compensations = Compensations::default()
        .with(&CANCEL_SHIPMENT, shipment)
        .with(&REFUND_PAYMENT, payment)
        .with(&RELEASE_INVENTORY, inventory);
    Command::Cancel { failure: failure(step, error), compensations }
}

pub fn refund_failed(refund_id: &str) -> Command {
    Command::RefundFailed { refund_id: refund_id.to_owned(), reason: "expired_or_canceled_card".to_owned() }
}

/// The commit of `command` on `order`, `second` seconds after it was placed.
pub fn commit(order: &Order, command: Command, second: i64) -> Commit {
    let id = command_id(&order_id(), &command);
    let events = decide(order, command).unwrap();
    let context = EventContext {
        order_id: &order_id(),
        user_id: &user_id(),
        correlation_id: &correlation_id(),
        occurred_at: at(second),
    };
    Commit::new(order.version(), id, &events, context).unwrap()
}

/// The commits of these commands, one after the other, a second between them.
pub fn commits(commands: Vec<Command>) -> Vec<Commit> {
    let mut order = Order::NotPlaced;
    let mut commits = Vec::new();
    for (second, command) in (0..).zip(commands) {
        commits.push(commit(&order, command.clone(), second));
        order = given(order, vec![command]);
    }
    commits
}

/// The order after these commands, all of which it takes.
pub fn given(order: Order, commands: Vec<Command>) -> Order {
    commands.into_iter().fold(order, |order, command| {
        let events = decide(&order, command).unwrap();
        events.iter().fold(order, apply)
    })
}

pub fn placed(order: &Order) -> &Placed {
    match order {
        Order::Placed(placed) => placed,
        Order::NotPlaced => panic!("the order is not placed"),
    }
}

/// A table with the index of all orders, and a store over it.
pub async fn listed_store() -> (Store, Table, Faults) {
    let (table, faults) = table(&[("listed", "listed", "sk")]).await;
    (store(table.clone()), table, faults)
}

/// The REST API over a table of `listed_store`.
pub fn listed_api(table: &Table, tokens: &Tokens) -> App {
    let routes = routes(store(table.clone()), unanswered(), rules());
    App::new(Limits::new(table.clone()).enforce(routes), tokens.verifier())
}

/// Functions of other contexts that do not answer.
pub fn unanswered() -> Forecast {
    let (sdk, _) = sdk_config("http://127.0.0.1:9");
    forecast(&(&sdk).into())
}

/// Quotes from functions behind this client's endpoint.
pub fn forecast(sdk: &aws_sdk_lambda::config::Config) -> Forecast {
    Forecast::new(sdk, "test".to_owned(), FeatureSwitch::fixed(Switch::LimitedStock, Position::On))
}

/// Every customer may order, and all switches are on.
pub fn rules() -> OrderRules {
    OrderRules {
        requires_verified_email: false,
        orders: FeatureSwitch::fixed(Switch::Orders, Position::On),
        discounts: FeatureSwitch::fixed(Switch::Discounts, Position::On),
    }
}

/// Places a customer's order of two mugs `second` seconds after the first one, and returns its id.
pub async fn order_of(store: &Store, customer: &UserId, name: &str, second: i64) -> OrderId {
    let order_id = OrderId::derive(customer, &IdempotencyKey::try_from(name).unwrap());
    place_order_of(store, &order_id, customer, "{}", second).await;
    order_id
}
