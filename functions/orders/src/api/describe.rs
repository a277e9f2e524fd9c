//! The descriptions of the operations for openapi.json.

use lambda_kit::{
    http::List,
    openapi::{Operation, Who},
};
use serde_json::{Value, json};

use super::{
    discounts::NewDiscount,
    quote::QuoteView,
    request::PlaceOrder,
    sales::DayView,
    view::{EventView, OrderView, PlacedView},
};
use crate::domain::Discount;

const ORDER_ID: &str = "ord_0123456789abcdef0123456789abcdef";
const PLACED_AT: &str = "2026-11-21T12:00:00Z";

pub fn operations() -> Vec<Operation> {
    vec![
        Operation::post("/v1/orders", Who::User, "Place an order")
            .takes::<PlaceOrder>(order_body())
            .idempotent()
            .answers::<PlacedView>(202, "The order is placed, and is worked on.", &PLACED, placed())
            .problem(409, "The total is another one than `expected_total`: `total` says which. Nothing is placed.")
            .limited(),
        Operation::post("/v1/quotes", Who::User, "What an order would cost, and whether it can be had")
            .takes::<PlaceOrder>(order_body())
            .answers::<QuoteView>(200, "The order as it would be now. Nothing is placed or held.", &LIMITED, json!({
                "items": [{
                    "sku": "MUG-BLUE", "quantity": 2, "unit_price": {"amount": 2100, "currency": "USD"},
                    "availability": "in_stock"
                }],
                "total": {"amount": 4200, "currency": "USD"}, "availability": "in_stock", "serviceable": true
            }))
            .limited(),
        Operation::get("/v1/orders", Who::User, "One's own orders, or for an administrator all, the newest first")
            .query("status", "Only those in this status.", json!({"type": "string"}))
            .paged()
            .answers::<List<OrderView>>(200, "The orders.", &["Cache-Control"], json!({
                "items": [order()], "next_cursor": null
            })),
        Operation::get("/v1/orders/{id}", Who::OwnerOrAdmin, "An order with what happened to it")
            .query("at", "As it was at this time.", json!({"type": "string", "format": "date-time"}))
            .query("include", "`address`: also where it goes and how it is paid, while that is held.", json!({"enum": ["address"]}))
            .conditional()
            .answers::<OrderView>(200, "The order.", &["ETag", "Cache-Control"], order()),
        Operation::get("/v1/orders/{id}/events", Who::OwnerOrAdmin, "The order's events")
            .query("after", "Only those after this version.", json!({"type": "integer", "minimum": 0}))
            .answers::<List<EventView>>(200, "The events.", &["Retry-After"], json!({
                "items": [event(json!({"items": placed()["items"], "total": placed()["total"]}))],
                "next_cursor": null
            })),
        Operation::post("/v1/orders/{id}/cancel", Who::Owner, "Cancel an order")
            .answers::<OrderView>(202, "It will be cancelled, unless it completes first.", &[], order())
            .problem(403, "Only the customer may cancel an order.")
            .problem(409, "The order has ended."),
        Operation::post("/v1/discounts", Who::Admin, "Make a discount code")
            .takes::<NewDiscount>(json!({"code": "AUTUMN10", "percentage": 10, "total_limit": 500}))
            .answers::<Discount>(201, "The code.", &[], discount())
            .problem(409, "There is or was a code of this name."),
        Operation::get("/v1/discounts", Who::Admin, "Discount codes, and how often each is used")
            .paged()
            .answers::<List<Discount>>(200, "The codes.", &[], json!({
                "items": [discount()], "next_cursor": null
            })),
        Operation::delete("/v1/discounts/{code}", Who::Admin, "End a discount code")
            .answers_nothing(204, "No further order gets it."),
        Operation::get("/v1/reports/sales", Who::Admin, "What was sold on each day (UTC)")
            .query("from", "The first day.", date())
            .query("to", "The last day, at most a year later.", date())
            .answers::<List<DayView>>(200, "The days.", &["Cache-Control"], json!({
                "items": [{
                    "date": "2026-11-21", "orders": 12, "completed": 10,
                    "revenue": [{"amount": 42000, "currency": "USD"}], "cancellations": {"PaymentDeclined": 2}
                }],
                "next_cursor": null
            })),
    ]
}

fn order_body() -> Value {
    json!({
        "items": [{"sku": "MUG-BLUE", "quantity": 2}],
        "payment_method": "pm_card_visa",
        "shipping_address": {
            "name": "Ada Lovelace", "line1": "1 Main St", "city": "Springfield", "postal_code": "12345",
            "country": "US"
        }
    })
}

fn date() -> Value {
    json!({"type": "string", "format": "date"})
}

fn discount() -> Value {
    json!({
        "code": "AUTUMN10", "percentage": 10, "total_limit": 500, "created_at": PLACED_AT, "used": 42
    })
}

const LIMITED: [&str; 3] = ["RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"];
const PLACED: [&str; 5] =
    ["Location", "Idempotent-Replayed", "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"];

fn placed() -> Value {
    json!({
        "order_id": ORDER_ID, "status": "OrderCreated", "version": 1,
        "items": [{"sku": "MUG-BLUE", "quantity": 2, "unit_price": {"amount": 2100, "currency": "USD"}}],
        "total": {"amount": 4200, "currency": "USD"}, "created_at": PLACED_AT
    })
}

fn moment() -> Value {
    json!({"version": 1, "event_type": "order.created", "status": "OrderCreated", "occurred_at": PLACED_AT})
}

fn event(data: Value) -> Value {
    let mut event = moment();
    event["data"] = data;
    event
}

fn order() -> Value {
    let mut order = placed();
    order["user_id"] = json!("usr_0123456789abcdef0123456789abcdef");
    order["cancel_requested"] = json!(false);
    order["updated_at"] = json!(PLACED_AT);
    order["timeline"] = json!([moment()]);
    order
}
