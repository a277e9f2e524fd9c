//! Real orders, each placed at its time.

use std::time::Duration;

use contracts::{OrderId, OrderStatus};
use demo::Customer;
use futures::future::try_join_all;
use local_stack::{Outputs, Step};
use shop_client::{NewOrder, Shop};
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use super::load::Load;
use crate::error::Result;
use crate::product::product;

/// A customer may place 40 orders at once, and then one a second.
const ORDERS_PER_CUSTOMER: usize = 40;
/// After the last order was placed: as long as a payment may take.
const PATIENCE: Duration = Duration::from_secs(20 * 60);

/// Customers, and what each of them orders.
pub struct Orders {
    customers: Vec<Customer>,
    order: NewOrder,
    times: Vec<Duration>,
}

/// The results of the orders.
pub struct Placed {
    /// When each was placed, since the first one's time.
    pub offered: Vec<Duration>,
    /// The number of orders that did not complete.
    pub lost: usize,
}

impl Orders {
    /// Registers customers for the load, and makes a product of which there is enough.
    pub async fn prepare(outputs: &Outputs, load: &Load, step: &Step) -> Result<Self> {
        let times = load.times();
        let customers = times.len().div_ceil(ORDERS_PER_CUSTOMER);
        let customers = try_join_all((0..customers).map(|_| Customer::register(outputs))).await?;
        step.at("a product of its own");
        let order = product(outputs, &customers[0], times.len()).await?;
        Ok(Self { customers, order, times })
    }

    /// Places all from now on, and waits until each has ended.
    pub async fn place(&self, step: &Step) -> Result<Placed> {
        let began = Instant::now();
        let places = self.customers.iter().cycle().zip(&self.times);
        let places = places.map(|(customer, at)| place(&customer.shop, &self.order, began, *at));
        let placed = try_join_all(places).await?;
        let (mut lost, ends) = (0, Instant::now() + PATIENCE);
        for (n, (shop, order_id, _)) in placed.iter().enumerate() {
            step.part(n, placed.len());
            step.at(format!("order {} of {}", n + 1, placed.len()));
            let left = ends.saturating_duration_since(Instant::now());
            let ended = shop_client::eventually("the order ends", left, async || {
                let order = shop.order(order_id).await?;
                if order.status.is_final() { Ok(order.status) } else { Err(order.status)? }
            })
            .await;
            lost += usize::from(!matches!(ended, Ok(OrderStatus::OrderCompleted)));
        }
        Ok(Placed { offered: placed.iter().map(|(_, _, at)| *at).collect(), lost })
    }
}

/// Places the order at its time, and returns when it was placed.
async fn place<'a>(
    shop: &'a Shop,
    order: &NewOrder,
    began: Instant,
    at: Duration,
) -> shop_client::Result<(&'a Shop, OrderId, Duration)> {
    sleep_until(began + at).await;
    let placed = shop.place(order, &Uuid::new_v4().to_string()).await?;
    Ok((shop, placed.order_id, began.elapsed()))
}
