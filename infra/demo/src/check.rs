//! Checks, after an order has ended, that all parts of the system agree on it.

use std::time::Duration;

use shop_client::{Gateway, Placed, Shop, eventually, mail_to};

use crate::customer::Shelved;
use crate::screen::Clock;
use crate::story::{Ending, Money, Story};

/// Event consumers follow within a second or two; this allows for a busy machine.
pub const WITHIN: Duration = Duration::from_secs(20);

pub struct Checks<'a> {
    pub shop: &'a Shop,
    pub gateway: &'a Gateway,
    pub aws_endpoint_url: &'a str,
    pub email: &'a str,
    pub clock: Clock,
    pub placed: &'a Placed,
    /// The product, and its stock before the order.
    pub shelved: &'a Shelved,
    pub quantity: u32,
}

impl Checks<'_> {
    /// Returns the failed checks.
    pub async fn all(&self, story: Story, ending: Option<&Ending>, version: u64) -> Vec<String> {
        let results = [
            ended_as(story, ending),
            self.order_agrees(ending, version).await,
            self.stock(story).await,
            self.money(story).await,
            self.mail().await,
        ];
        results.into_iter().filter_map(|result| result.err().map(|error| error.to_string())).collect()
    }

    /// REST agrees with the frames.
    async fn order_agrees(&self, ending: Option<&Ending>, version: u64) -> shop_client::Result<()> {
        let order = self.shop.order(&self.placed.order_id).await?;
        if Some(order.status) == ending.map(|ending| ending.status) && order.version == version {
            return Ok(());
        }
        Err(unfit(format!(
            "GET /v1/orders says {} at version {}, the last frame was of version {version}",
            order.status, order.version
        )))
    }

    /// A completed order has taken its stock; any other has given it back.
    async fn stock(&self, story: Story) -> shop_client::Result<()> {
        let taken = if story.money() == Money::Taken { u64::from(self.quantity) } else { 0 };
        let (sku, before) = (&self.shelved.product.sku, self.shelved.available);
        let wanted = before.saturating_sub(taken);
        eventually(&format!("the stock of {sku} is {wanted}"), WITHIN, async || {
            let available = self.shop.stock(sku).await?.available;
            if available == wanted { Ok(()) } else { Err(available)? }
        })
        .await?;
        self.clock.line("stock", format!("{sku}: {before} before, {wanted} after"));
        Ok(())
    }

    async fn money(&self, story: Story) -> shop_client::Result<()> {
        let due = self.placed.total;
        eventually("the gateway agrees", WITHIN, async || {
            let (mut taken, mut refunded) = (0, 0);
            for intent in self.gateway.intents_of(&self.placed.order_id).await? {
                if intent.status == "succeeded" {
                    taken += intent.amount;
                    refunded += self.gateway.refunded(&intent).await?;
                }
            }
            let wanted = match story.money() {
                Money::Taken => (due.amount, 0),
                Money::NeverTaken => (0, 0),
                Money::GivenBack => (due.amount, due.amount),
            };
            if (taken, refunded) == wanted {
                Ok(())
            } else {
                Err(format!("{taken} taken, {refunded} refunded"))?
            }
        })
        .await?;
        self.clock.line(
            "gateway",
            match story.money() {
                Money::Taken => format!("{due} taken"),
                Money::NeverTaken => "no money moved".to_owned(),
                Money::GivenBack => format!("{due} taken and refunded"),
            },
        );
        Ok(())
    }

    async fn mail(&self) -> shop_client::Result<()> {
        let order = self.placed.order_id.as_str();
        let mail =
            eventually(&format!("the customer has an e-mail about the end of {order}"), WITHIN, async || {
                let mails = mail_to(self.aws_endpoint_url, self.email).await?;
                let count = mails.len();
                // There are also e-mails about the order's placing and its payment.
                let tells_the_end = |mail: &shop_client::Mail| {
                    ["is complete", "was cancelled"].iter().any(|end| mail.subject.contains(end))
                };
                let about = |mail: &shop_client::Mail| mail.subject.contains(order) && tells_the_end(mail);
                Ok(mails.into_iter().find(about).ok_or(format!("{count} e-mails, none about it"))?)
            })
            .await?;
        self.clock.line("e-mail", format!("“{}”", mail.subject));
        Ok(())
    }
}

fn ended_as(story: Story, ending: Option<&Ending>) -> shop_client::Result<()> {
    let wanted = story.ending();
    match ending {
        Some(ending) if *ending == wanted => Ok(()),
        Some(other) => Err(unfit(format!("it should have ended as {wanted}, and ended as {other}"))),
        None => Err(unfit(format!("it should have ended as {wanted}"))),
    }
}

fn unfit(reason: String) -> shop_client::Error {
    shop_client::Error::Unfit { reason }
}
