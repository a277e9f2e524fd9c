//! A customer who has an account and stays logged in.

use std::time::Duration;

use local_stack::Outputs;
use reqwest::StatusCode;
use shop_client::{NewAccount, Shop};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

/// Tries to register a customer. The limit of one address allows five a second.
const TRIES: u32 = 10;
/// The pause before the next try.
const PAUSE: Duration = Duration::from_secs(2);
/// An access token is renewed at this age. It lasts for 15 minutes.
const RENEWED_AFTER: Duration = Duration::from_secs(10 * 60);

/// A customer, who may make several visits at a time.
#[derive(Debug)]
pub struct Member {
    email: String,
    password: String,
    session: Mutex<Session>,
}

#[derive(Debug)]
struct Session {
    shop: Shop,
    since: Instant,
}

impl Member {
    /// # Errors
    /// The shop does not take new customers.
    pub async fn register(outputs: &Outputs) -> shop_client::Result<Self> {
        let anonymous = Shop::new(&outputs.api_url);
        let password = format!("Load-{}", Uuid::new_v4().simple());
        let mut tries = 1..TRIES;
        loop {
            let email = format!("load-{}@ordersaga.example", Uuid::new_v4().simple());
            let account =
                NewAccount { email: &email, password: &password, name: "Load Customer", phone: None };
            match anonymous.join(&account).await {
                Err(_) if tries.next().is_some() => sleep(PAUSE).await,
                Err(error) => return Err(error),
                Ok(shop) => {
                    let session = Mutex::new(Session { shop, since: Instant::now() });
                    return Ok(Self { email, password, session });
                }
            }
        }
    }

    /// The shop for this customer.
    pub async fn shop(&self) -> Shop {
        let mut session = self.session.lock().await;
        if session.since.elapsed() > RENEWED_AFTER {
            let renewed = match session.shop.renewed().await {
                // The answer to an earlier try was lost, so its token counts as used twice, and the session has ended.
                Err(error) if error.status() == Some(StatusCode::UNAUTHORIZED) => {
                    session.shop.login(&self.email, &self.password).await
                }
                renewed => renewed,
            };
            // Otherwise the token is good for some minutes more, and the next call tries again.
            if let Ok(shop) = renewed {
                *session = Session { shop, since: Instant::now() };
            }
        }
        session.shop.clone()
    }
}
