//! The descriptions of the operations for openapi.json.

use lambda_kit::openapi::{Operation, Who};
use serde_json::{Value, json};

use super::{AdjustStock, SetStock, StockView};

pub fn operations() -> Vec<Operation> {
    vec![
        Operation::get("/v1/inventory/{sku}", Who::Public, "What can be sold of a SKU at this moment")
            .answers::<StockView>(
            200,
            "The stock. While it cannot be read, as it was `as_of`: `low_stock` at best.",
            &["Cache-Control"],
            stock(40),
        ),
        Operation::put("/v1/inventory/{sku}", Who::Admin, "Set what can be sold of a SKU")
            .takes::<SetStock>(json!({"available": 40, "shards": 4, "low_stock": 5}))
            .answers::<StockView>(200, "The stock as it is now.", &[], stock(40)),
        Operation::post(
            "/v1/inventory/{sku}/adjustments",
            Who::Admin,
            "Add to the stock of a SKU, or take from it",
        )
        .takes::<AdjustStock>(json!({"delta": -2, "reason": "broken"}))
        .idempotent()
        .answers::<StockView>(200, "The stock as it is now.", &["Idempotent-Replayed"], stock(38)),
    ]
}

fn stock(available: u32) -> Value {
    json!({"sku": "MUG-BLUE", "available": available, "availability": "in_stock"})
}
