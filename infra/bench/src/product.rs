//! Products of a measurement's own.

use std::time::Duration;

use contracts::{OrderLine, Sku};
use demo::{Customer, Story};
use local_stack::Outputs;
use reqwest::Method;
use serde_json::{Value, json};
use shop_client::{NewOrder, Shop};
use uuid::Uuid;

/// Until a new product can be ordered, or an order ends when nothing is in its way.
const KNOWN: Duration = Duration::from_secs(120);

/// An order of one piece of a new product that has this stock, once orders knows its price.
///
/// # Errors
/// The shop refuses, or does not answer.
pub async fn product(outputs: &Outputs, customer: &Customer, stock: usize) -> shop_client::Result<NewOrder> {
    let admin = Shop::new(&outputs.api_url).login(&outputs.admin.email, &outputs.admin.password).await?;
    let sku = format!("BENCH-{}", &Uuid::new_v4().simple().to_string()[..8]);
    let sku = Sku::try_from(sku).map_err(|error| shop_client::Error::Unfit { reason: error.to_string() })?;
    let product = json!({
        "sku": sku, "name": "Bench", "description": "", "category": "bench",
        "price": {"amount": 1000, "currency": "USD"},
    });
    admin.call(Method::POST, "/v1/products").json(&product).send().await?.read::<Value>()?;
    // One more, for the order by which is found that it can be ordered.
    let stock = json!({"available": stock + 1});
    let path = format!("/v1/inventory/{sku}");
    admin.call(Method::PUT, &path).json(&stock).send().await?.read::<Value>()?;
    let basket = customer.basket(Story::Completes).await?;
    let order = NewOrder { items: vec![OrderLine { sku, quantity: 1 }], ..basket.order };
    let key = Uuid::new_v4().to_string();
    let id = shop_client::eventually("the product can be ordered", KNOWN, async || {
        Ok(customer.shop.place(&order, &key).await.map_err(|error| error.to_string())?.order_id)
    })
    .await?;
    shop_client::eventually("the first order ends", KNOWN, async || {
        let status = customer.shop.order(&id).await?.status;
        if status.is_final() { Ok(()) } else { Err(status)? }
    })
    .await?;
    Ok(order)
}
