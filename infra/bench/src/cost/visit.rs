//! A customer's visit to the shop, without the order: the requests of the page, and its WebSocket.

use std::time::Duration;

use demo::Basket;
use local_stack::Outputs;
use reqwest::Method;
use serde_json::json;
use shop_client::{Frame, NewAccount, Shop};
use uuid::Uuid;

use crate::error::{Error, Result};

/// How long the page stays open.
pub const MINUTES: u64 = 4;
/// Frames of a visit in both directions, without those of an order: the subscription and its answer.
pub const FRAMES: u64 = 2;

const WITHIN: Duration = Duration::from_secs(30);

/// A customer who has an account.
pub struct Visitor {
    email: String,
    password: String,
    anonymous: Shop,
}

impl Visitor {
    /// # Errors
    /// The shop does not answer.
    pub async fn register(outputs: &Outputs) -> Result<Self> {
        let anonymous = Shop::new(&outputs.api_url);
        let email = format!("visitor-{}@ordersaga.example", Uuid::new_v4().simple());
        let password = format!("Visit-{}", Uuid::new_v4().simple());
        anonymous
            .join(&NewAccount { email: &email, password: &password, name: "Visitor", phone: None })
            .await?;
        Ok(Self { email, password, anonymous })
    }

    /// Logs in, looks at products, gets a quote for the basket, opens the WebSocket, and looks at past orders: eight
    /// requests to the REST API.
    ///
    /// # Errors
    /// The shop does not answer as it should.
    pub async fn visit(&self, basket: &Basket) -> Result<()> {
        let shop = self.anonymous.login(&self.email, &self.password).await?;
        let sku = &basket.shelved.product.sku;
        let reads = [
            "/v1/products?limit=100".to_owned(),
            format!("/v1/products/{sku}"),
            format!("/v1/products/{sku}/related"),
        ];
        for path in reads {
            shop.call(Method::GET, &path).send().await?.succeeded()?;
        }
        shop.call(Method::POST, "/v1/quotes").json(&basket.order).send().await?.succeeded()?;
        let ticket = shop.ticket().await?;
        let mut live = shop_client::Live::connect(&ticket.url, &ticket.ticket).await?;
        live.send(&json!({"action": "subscribe"})).await?;
        let Frame::Subscribed { .. } = live.next(WITHIN).await? else {
            return Err(Error::Measurement("the visitor's WebSocket was not subscribed".to_owned()));
        };
        for path in ["/v1/orders?limit=20", "/v1/dashboard"] {
            shop.call(Method::GET, path).send().await?.succeeded()?;
        }
        drop(live);
        Ok(())
    }
}
