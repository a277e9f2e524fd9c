//! A lane: one customer, product and discount code, and one order at a time.

use std::time::{Duration, Instant};

use contracts::{IdempotencyKey, OrderId, Sku, UserId};
use shop_client::Shop;
use uuid::Uuid;

use crate::fault::Fault;
use crate::judge;
use crate::ledger::Record;
use crate::platform::Platform;
use crate::scenario::Scenario;
use crate::subscriber::Subscriber;
use crate::wait::until;

/// Pieces of the lane's product before its first order. Each run takes one at most, and a full pass of all runs has some
/// hundred for each lane. One more than this is below what one line of an order may have (1000).
pub const STOCK: u64 = 900;
pub const SET_UP_WITHIN: Duration = Duration::from_secs(120);
/// Access tokens are valid for 15 minutes, and a run may take some.
const TOKEN: Duration = Duration::from_secs(5 * 60);
/// A run that is not right by then is a violation: a lost execution is started again after some 10 minutes.
const LIMIT: Duration = Duration::from_secs(20 * 60);
/// As long as nothing is right, the tables are read this often.
const LOOK: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub struct Lane {
    pub number: usize,
    pub shop: Shop,
    pub user_id: UserId,
    pub sku: Sku,
    pub code: String,
    /// The pieces on hand that are right before the next order.
    pub stock: u64,
    /// The orders that have used the code.
    pub used: u64,
    credentials: (String, String),
    signed_in: Instant,
}

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    pub order: OrderId,
    pub violations: Vec<String>,
    pub record: Record,
    pub took: Duration,
}

impl Lane {
    pub fn new(
        number: usize,
        shop: Shop,
        user_id: UserId,
        credentials: (String, String),
        sku: Sku,
        code: String,
    ) -> Self {
        let signed_in = Instant::now();
        Self { number, shop, user_id, sku, code, stock: STOCK, used: 0, credentials, signed_in }
    }

    /// Runs one order of this scenario, with this fault, until everything is right and it had no call for the time `rest`,
    /// or until the limit. After a violation the lane's stock is not known, and it has to be replaced.
    pub async fn run(
        &mut self,
        platform: &Platform,
        scenario: Scenario,
        fault: Option<Fault>,
        rest: Duration,
    ) -> Outcome {
        let started = Instant::now();
        let key = Uuid::new_v4().simple().to_string();
        #[expect(clippy::expect_used, reason = "32 digits are a valid key")]
        let order = OrderId::derive(&self.user_id, &IdempotencyKey::try_from(key.as_str()).expect("a key"));
        let mut violations: Vec<String> = self.sign_in(platform).await.err().into_iter().collect();
        platform.ledger.begin(self.number, order.as_str(), fault);
        if violations.is_empty() {
            violations.extend(scenario.place(platform, self, &order, &key).await.err());
        }
        if violations.is_empty() {
            let subscriber = Subscriber::follow(&self.shop, &order);
            violations.extend(scenario.go_on(platform, self, &order).await.err());
            if violations.is_empty() {
                let ended = (&order, &subscriber);
                violations.extend(self.settle(platform, scenario, ended, (started, rest)).await);
            }
        }
        self.stock -= scenario.pieces();
        self.used += scenario.uses();
        Outcome { order, violations, record: platform.ledger.end(self.number), took: started.elapsed() }
    }

    async fn sign_in(&mut self, platform: &Platform) -> Result<(), String> {
        if self.signed_in.elapsed() < TOKEN {
            return Ok(());
        }
        let (email, password) = &self.credentials;
        let login = async || Ok(platform.shop.login(email, password).await?);
        let signed_in = until("the customer signs in", SET_UP_WITHIN, login).await;
        self.shop = signed_in.map_err(|error| error.to_string())?;
        self.signed_in = Instant::now();
        Ok(())
    }

    /// Waits until everything is right and stays so. Returns what is wrong at the limit.
    async fn settle(
        &self,
        platform: &Platform,
        scenario: Scenario,
        (order, subscriber): (&OrderId, &Subscriber),
        (started, rest): (Instant, Duration),
    ) -> Vec<String> {
        loop {
            let violations = judge::order(platform, self, scenario, (order, subscriber)).await;
            if violations.is_empty() {
                let quiet = platform.ledger.quiet_for(self.number).unwrap_or(rest);
                if quiet >= rest {
                    return violations;
                }
                tokio::time::sleep(rest - quiet).await;
            } else if started.elapsed() > LIMIT {
                return violations;
            } else {
                tokio::time::sleep(LOOK).await;
            }
        }
    }
}
