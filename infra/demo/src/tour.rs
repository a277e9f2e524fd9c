//! One customer's five orders, one after the other.

use std::collections::HashSet;
use std::time::Duration;

use contracts::{OrderId, OrderStatus};
use local_stack::Outputs;
use shop_client::{Frame, Live, eventually};
use uuid::Uuid;

use crate::check::Checks;
use crate::customer::{Basket, Customer, Shelved};
use crate::screen::{Clock, Outcome, Screen};
use crate::story::{Ending, Story};

/// The time for one order, including the checks afterwards.
const DEADLINE: Duration = Duration::from_secs(60);

/// The number that fits on a screen.
const SHOWN: usize = 10;

/// The screen, the shop and the customer of a tour.
#[derive(Debug)]
pub struct Tour<'a> {
    screen: &'a Screen,
    aws_endpoint_url: &'a str,
    customer: Customer,
}

impl<'a> Tour<'a> {
    /// Registers a customer and lists the products.
    ///
    /// # Errors
    /// The shop does not answer, or has too little to sell.
    pub async fn begin(outputs: &'a Outputs, screen: &'a Screen) -> shop_client::Result<Self> {
        let customer = Customer::register(outputs).await?;
        screen.say(&format!(
            "\n{} has registered, logged in, and confirmed the e-mail address. The shop sells:",
            customer.email
        ));
        for Shelved { product, available } in customer.shelf.iter().take(SHOWN) {
            let price = product.price.to_string();
            screen.say(&format!(
                "   {:<16} {:<26} {price:>12} {available:>6} in stock",
                product.sku.as_str(),
                product.name
            ));
        }
        Ok(Self { screen, aws_endpoint_url: &outputs.aws_endpoint_url, customer })
    }

    pub async fn all(&self) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for (index, story) in Story::ALL.into_iter().enumerate() {
            let outcome = self.tell(story, index + 1).await;
            self.screen.verdict(&outcome);
            outcomes.push(outcome);
        }
        outcomes
    }

    async fn tell(&self, story: Story, number: usize) -> Outcome {
        let mut telling =
            Telling { tour: self, story, clock: Clock::start(), ending: None, took: Duration::ZERO };
        let complaints = match tokio::time::timeout(DEADLINE, telling.run(number)).await {
            Ok(Ok(complaints)) => complaints,
            Ok(Err(error)) => vec![error.to_string()],
            Err(_) => vec![format!("it was not over within {} s", DEADLINE.as_secs())],
        };
        let Telling { ending, took, clock, .. } = telling;
        let took = if took.is_zero() { clock.elapsed() } else { took };
        Outcome { story, ending, took, complaints }
    }
}

/// One order on its way.
struct Telling<'a> {
    tour: &'a Tour<'a>,
    story: Story,
    clock: Clock,
    ending: Option<Ending>,
    took: Duration,
}

impl Telling<'_> {
    /// Returns the failed checks.
    async fn run(&mut self, number: usize) -> shop_client::Result<Vec<String>> {
        let Self { tour, story, .. } = *self;
        let Basket { shelved, quantity, order } = tour.customer.basket(story).await?;
        let basket = format!(
            "{quantity} × {} ({} in stock), paid with {}, to {}",
            shelved.product.name,
            shelved.available,
            story.card(),
            story.country()
        );
        tour.screen.chapter(story, number, &basket);
        let mut live = tour.customer.shop.live().await?;

        self.clock = Clock::start();
        let placed = tour.customer.shop.place(&order, &Uuid::new_v4().to_string()).await?;
        self.clock.line("POST /orders", format!("{} {}", placed.order_id, placed.total));
        live.subscribe(&placed.order_id, Some(0)).await?;

        let mut frames = Frames::of(&placed.order_id, self.clock);
        let (status, ()) = tokio::try_join!(frames.until_it_ends(&mut live), self.aside(&placed.order_id))?;
        self.took = self.clock.elapsed();
        let reason = self.reason(&placed.order_id).await?;
        self.ending = Some(Ending { status, reason });

        let checks = Checks {
            shop: &tour.customer.shop,
            gateway: &tour.customer.gateway,
            aws_endpoint_url: tour.aws_endpoint_url,
            email: &tour.customer.email,
            clock: self.clock,
            placed: &placed,
            shelved: &shelved,
            quantity,
        };
        // Frames of payment and shipment may still arrive during the checks.
        let complaints = tokio::select! {
            complaints = checks.all(story, self.ending.as_ref(), frames.version()) => complaints,
            never = frames.go_on(&mut live) => vec![never.to_string()],
        };
        Ok(complaints)
    }

    /// An action during the order: here, of the customer who pays late.
    async fn aside(&self, order: &OrderId) -> shop_client::Result<()> {
        if self.story != Story::PaysLate {
            return Ok(());
        }
        let Customer { shop, gateway, .. } = &self.tour.customer;
        let asked = eventually("the bank asks the customer", DEADLINE, async || {
            let payment = shop.payment(order).await?;
            Ok(payment.next_action.ok_or(payment.status)?)
        })
        .await?;
        eventually("the order waits for its payment", DEADLINE, async || {
            match shop.order(order).await?.status {
                OrderStatus::PaymentPending => Ok(()),
                other => Err(other)?,
            }
        })
        .await?;
        self.clock.line("bank", "asks the customer to confirm; the order waits");
        gateway.authenticate(&asked).await?;
        self.clock.line("customer", "confirms at the bank");
        Ok(())
    }

    /// Why it was cancelled, from its events.
    async fn reason(&self, order: &OrderId) -> shop_client::Result<Option<String>> {
        let events = self.tour.customer.shop.events(order).await?;
        let last = events.iter().rev().find(|event| event.event_type == "order.cancelled");
        Ok(last.and_then(|event| event.data["reason"].as_str().map(str::to_owned)))
    }
}

/// The frames of one order, each printed once.
#[derive(Debug)]
pub struct Frames<'a> {
    clock: Clock,
    order: &'a OrderId,
    seen: HashSet<(&'static str, u64)>,
    /// The order's version so far.
    version: u64,
}

impl<'a> Frames<'a> {
    pub fn of(order: &'a OrderId, clock: Clock) -> Self {
        Self { clock, order, seen: HashSet::new(), version: 0 }
    }

    /// The order's version by its last frame.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Answers the status that the order ended with.
    ///
    /// # Errors
    /// A frame is missing, or none comes for a minute.
    pub async fn until_it_ends(&mut self, live: &mut Live) -> shop_client::Result<OrderStatus> {
        loop {
            if let Some(status) = self.take(live.next(DEADLINE).await?)? {
                return Ok(status);
            }
        }
    }

    /// Prints what comes, until it fails.
    async fn go_on(&mut self, live: &mut Live) -> shop_client::Error {
        loop {
            match live.next(DEADLINE).await.and_then(|frame| self.take(frame)) {
                Ok(_) => {}
                Err(error) => return error,
            }
        }
    }

    fn take(&mut self, frame: Frame) -> shop_client::Result<Option<OrderStatus>> {
        match frame {
            Frame::Order(frame) if frame.order_id == *self.order => {
                if !self.seen.insert(("order", frame.version)) {
                    return Ok(None);
                }
                if frame.version != self.version + 1 {
                    let reason = format!("version {} came after version {}", frame.version, self.version);
                    return Err(shop_client::Error::Unfit { reason });
                }
                self.version = frame.version;
                self.clock.order(&frame);
                let over = |status: &OrderStatus| status.is_final() || *status == OrderStatus::NeedsAttention;
                return Ok(frame.status.filter(over));
            }
            Frame::Payment(part) if self.seen.insert(("payment", part.sequence)) => {
                self.clock.line(&format!("payment #{}", part.sequence), part.status);
            }
            Frame::Shipment(part) if self.seen.insert(("shipment", part.sequence)) => {
                self.clock.line(&format!("shipment #{}", part.sequence), part.status);
            }
            Frame::Gap { dropped, .. } => {
                self.clock.line("gap", format!("{dropped} frames are no longer there"));
            }
            Frame::Error { code, message } => {
                return Err(shop_client::Error::Unfit {
                    reason: format!("the WebSocket answered {code}: {message}"),
                });
            }
            _ => {}
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shop_client::OrderFrame;

    const ORDER: &str = "ord_0123456789abcdef0123456789abcdef";

    fn frame(version: u64, status: OrderStatus) -> Frame {
        Frame::Order(OrderFrame {
            order_id: ORDER.parse().unwrap(),
            version,
            status: Some(status),
            event_type: "order.created".to_owned(),
            occurred_at: jiff::Timestamp::UNIX_EPOCH,
            correlation_id: "cor_1".to_owned(),
        })
    }

    #[test]
    fn a_frame_may_come_twice_but_none_may_be_missing() {
        let order = ORDER.parse().unwrap();
        let mut frames = Frames::of(&order, Clock::start());
        assert_eq!(frames.take(frame(1, OrderStatus::OrderCreated)).unwrap(), None);
        assert_eq!(frames.take(frame(1, OrderStatus::OrderCreated)).unwrap(), None);
        assert!(frames.take(frame(3, OrderStatus::OrderCompleted)).is_err());
        assert_eq!(
            frames.take(frame(2, OrderStatus::OrderCancelled)).unwrap(),
            Some(OrderStatus::OrderCancelled)
        );
    }
}
