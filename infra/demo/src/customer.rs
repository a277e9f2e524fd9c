//! A customer who buys from what the shop has, one story after the other.

use contracts::{OrderLine, ShippingAddress};
use local_stack::Outputs;
use shop_client::{Gateway, Mail, NewAccount, NewOrder, Product, Shop, card, eventually, mail_to};
use uuid::Uuid;

use crate::{check::WITHIN, story::Story};

const NAME: &str = "Demo Customer";
/// The quantity that is bought.
const QUANTITY: u32 = 2;
/// The largest quantity that orders-api takes on one line (`MAX_QUANTITY` in functions/orders).
const LARGEST_QUANTITY: u64 = 1000;

/// A customer who has registered, logged in, and confirmed the e-mail address.
#[derive(Debug)]
pub struct Customer {
    pub email: String,
    pub shop: Shop,
    pub gateway: Gateway,
    /// Best stocked first.
    pub shelf: Vec<Shelved>,
}

/// A product and how much of it there is.
#[derive(Debug, Clone)]
pub struct Shelved {
    pub product: Product,
    pub available: u64,
}

/// An order that is not placed yet.
#[derive(Debug)]
pub struct Basket {
    /// The product, and its stock before the order.
    pub shelved: Shelved,
    pub quantity: u32,
    pub order: NewOrder,
}

impl Customer {
    /// Registers a new customer and reads the products on sale.
    ///
    /// # Errors
    /// The shop does not answer.
    pub async fn register(outputs: &Outputs) -> shop_client::Result<Self> {
        let anybody = Shop::new(&outputs.api_url);
        let email = format!("demo-{}@ordersaga.example", &Uuid::new_v4().simple().to_string()[..12]);
        let password = format!("Demo-{}", Uuid::new_v4().simple());
        let shop =
            anybody.join(&NewAccount { email: &email, password: &password, name: NAME, phone: None }).await?;
        // An address that is not confirmed gets ten e-mails and no more for a while, and the stories send more.
        let code = eventually("the customer has an e-mail with a code", WITHIN, async || {
            let mails = mail_to(&outputs.aws_endpoint_url, &email).await?;
            Ok(mails.iter().find_map(Mail::code).ok_or("no e-mail with a code")?.to_owned())
        });
        shop.confirm_email(&code.await?).await?;
        let shelf = shelf(&shop).await?;
        Ok(Self { email, shop, gateway: Gateway::new(&outputs.stripe_url), shelf })
    }

    /// The order of this story: the product with the most stock, or more of a product than there is.
    ///
    /// # Errors
    /// The shop or the gateway does not answer, or there is too little to sell.
    pub async fn basket(&self, story: Story) -> shop_client::Result<Basket> {
        let enough = self.shelf.iter().find(|shelved| shelved.available >= u64::from(QUANTITY) * 5);
        let scarce = self.shelf.iter().find(|shelved| shelved.available < LARGEST_QUANTITY);
        let chosen = if story == Story::OutOfStock { scarce } else { enough };
        let Some(chosen) = chosen else {
            let reason = "the shop has too little to sell; `cargo ops down` and `cargo ops up` fill it again";
            return Err(shop_client::Error::Unfit { reason: reason.to_owned() });
        };
        let available = self.shop.stock(&chosen.product.sku).await?.available;
        let quantity = match story {
            // Below the largest quantity, so it fits.
            Story::OutOfStock => u32::try_from(available + 1).unwrap_or(u32::MAX),
            _ => QUANTITY,
        };
        let order = NewOrder {
            items: vec![OrderLine { sku: chosen.product.sku.clone(), quantity }],
            payment_method: self.payment_method(story).await?,
            shipping_address: address(NAME, story.country()),
        };
        Ok(Basket { shelved: Shelved { available, ..chosen.clone() }, quantity, order })
    }

    async fn payment_method(&self, story: Story) -> shop_client::Result<String> {
        match story {
            Story::CardDeclined => Ok(card::DECLINED.to_owned()),
            Story::PaysLate => self.gateway.store_card(card::ASKS_FIRST).await,
            _ => Ok(card::GOOD.to_owned()),
        }
    }
}

async fn shelf(shop: &Shop) -> shop_client::Result<Vec<Shelved>> {
    let mut shelf = Vec::new();
    for product in shop.products().await? {
        let available = shop.stock(&product.sku).await?.available;
        shelf.push(Shelved { product, available });
    }
    shelf.sort_by_key(|shelved| std::cmp::Reverse(shelved.available));
    Ok(shelf)
}

/// An address in that country.
pub fn address(name: &str, country: &str) -> ShippingAddress {
    ShippingAddress {
        name: name.to_owned(),
        line1: "1 Harbour Street".to_owned(),
        line2: None,
        city: "Port".to_owned(),
        postal_code: "10115".to_owned(),
        country: country.to_owned(),
    }
}
