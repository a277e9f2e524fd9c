//! The descriptions of the operations for openapi.json.

use lambda_kit::{
    http::List,
    openapi::{Operation, Who},
};
use serde_json::{Value, json};

use super::{CATEGORY_MAX, DetailsBody, NAME_MAX, NewProduct, ProductView};

pub fn operations() -> Vec<Operation> {
    let details =
        || json!({"name": "Blue mug", "description": "0.3 l", "category": "kitchen", "price": price()});
    let new = {
        let mut new = details();
        new["sku"] = json!("MUG-BLUE");
        new
    };
    vec![
        Operation::get("/v1/products", Who::Public, "What is sold")
            .query("category", "Only products of this category. Trimmed, and composed (NFC).", text(CATEGORY_MAX))
            .query(
                "q",
                "Only products whose name has this text at the beginning of a word. Compatibility forms (NFKC), case \
                 and diacritics make no difference.",
                text(NAME_MAX),
            )
            .paged()
            .answers::<List<ProductView>>(
                200,
                "A page of products. What cannot be read is shown as it was `as_of`: `low_stock` at best.",
                &["Cache-Control"],
                json!({
                    "items": [product()], "next_cursor": null
                }),
            ),
        Operation::post("/v1/products", Who::Admin, "Sell a product")
            .takes::<NewProduct>(new)
            .answers::<ProductView>(201, "The product is sold.", &["Location", "ETag"], product())
            .problem(409, "There is a product with this SKU."),
        Operation::get("/v1/products/{sku}", Who::Public, "One product")
            .conditional()
            .answers::<ProductView>(
                200,
                "The product. What cannot be read is shown as it was `as_of`: `low_stock` at best.",
                &["ETag", "Cache-Control"],
                product(),
            ),
        Operation::get("/v1/products/{sku}/related", Who::Public, "What is bought together with a product")
            .conditional()
            .answers::<List<ProductView>>(
                200,
                "The products, the most frequent first.",
                &["ETag", "Cache-Control"],
                json!({"items": [product()], "next_cursor": null}),
            ),
        Operation::put("/v1/products/{sku}", Who::Admin, "Change a product")
            .header("If-Match", true, "The product's ETag as the caller knows it.")
            .takes::<DetailsBody>(details())
            .answers::<ProductView>(200, "The changed product.", &["ETag"], product())
            .problem(412, "The product has changed since.")
            .problem(428, "`If-Match` is missing."),
        Operation::delete("/v1/products/{sku}", Who::Admin, "Sell a product no longer")
            .answers_nothing(204, "It is sold no longer.")
            .problem(409, "The product changed at this moment."),
    ]
}

fn text(max: usize) -> Value {
    json!({"type": "string", "maxLength": max})
}

fn price() -> Value {
    json!({"amount": 2100, "currency": "USD"})
}

fn product() -> Value {
    json!({
        "sku": "MUG-BLUE", "name": "Blue mug", "description": "0.3 l", "category": "kitchen", "price": price(),
        "availability": "in_stock", "version": 1
    })
}
