//! A product and its transitions.

pub mod co_purchases;
pub mod words;

use contracts::{
    CorrelationId, Envelope, Money, NewEvent, Sku, UserId,
    events::{ProductCreated, ProductDiscontinued, ProductUpdated},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub const SOURCE: &str = "catalog";

/// A product as stored. `version` counts its changes from 1; its events use it as their sequence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Product {
    pub sku: Sku,
    pub name: String,
    pub description: String,
    pub category: String,
    pub price: Money,
    pub version: u64,
    pub discontinued: bool,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// What an administrator decides about a product, as the audit trail shows it.
#[derive(Debug, Serialize)]
pub struct Audited<'a> {
    name: &'a str,
    description: &'a str,
    category: &'a str,
    price: Money,
    discontinued: bool,
}

impl Product {
    pub fn audited(&self) -> Audited<'_> {
        let Self { name, description, category, price, discontinued, .. } = self;
        Audited { name, description, category, price: *price, discontinued: *discontinued }
    }
}

/// Who changes a product, in which request, and when.
#[derive(Debug, Clone, Copy)]
pub struct ChangeContext<'a> {
    pub by: &'a UserId,
    pub correlation_id: &'a CorrelationId,
    pub at: Timestamp,
}

/// The fields of a product that an administrator sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Details {
    pub name: String,
    pub description: String,
    pub category: String,
    pub price: Money,
}

/// A change of a product, and its event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Nothing when the product is new.
    pub before: Option<Product>,
    pub product: Product,
    pub event: Envelope,
}

/// The versions of the product that the caller has seen (`If-Match`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KnownVersions {
    /// In one of these versions.
    Listed(Vec<u64>),
    /// Only that it is there.
    Any,
}

impl KnownVersions {
    fn is(&self, version: u64) -> bool {
        match self {
            Self::Listed(versions) => versions.contains(&version),
            Self::Any => true,
        }
    }
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    #[error("the product is discontinued")]
    Discontinued,
    #[error("the product is on sale")]
    OnSale,
    #[error("the product has another version now")]
    VersionMismatch,
}

#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    #[error(transparent)]
    Rejected(#[from] Rejected),
    #[error("the event has no JSON form")]
    Event(#[from] serde_json::Error),
}

/// A product that is new to the catalogue.
///
/// # Errors
/// When the event has no JSON form.
pub fn create(
    sku: Sku,
    details: Details,
    correlation_id: &CorrelationId,
    now: Timestamp,
) -> Result<Change, ChangeError> {
    let Details { name, description, category, price } = details;
    let product = Product {
        sku,
        name,
        description,
        category,
        price,
        version: 1,
        discontinued: false,
        created_at: now,
        updated_at: now,
    };
    let event = Envelope::new(
        new_event(&product, correlation_id),
        &ProductCreated {
            sku: product.sku.clone(),
            name: product.name.clone(),
            category: product.category.clone(),
            price: product.price,
        },
    )?;
    Ok(Change { before: None, product, event })
}

/// Changes the product's details, if it still has the version that the caller has seen.
///
/// # Errors
/// When it is discontinued or has another version.
pub fn update(
    before: Product,
    known: &KnownVersions,
    details: Details,
    correlation_id: &CorrelationId,
    now: Timestamp,
) -> Result<Change, ChangeError> {
    let Details { name, description, category, price } = details;
    // A discontinued product is reported as such by `next_version`, whichever version the caller has seen.
    if !before.discontinued && !known.is(before.version) {
        return Err(Rejected::VersionMismatch.into());
    }
    let product = Product { name, description, category, price, ..next_version(before.clone(), now)? };
    let event = Envelope::new(
        new_event(&product, correlation_id),
        &ProductUpdated {
            sku: product.sku.clone(),
            name: product.name.clone(),
            category: product.category.clone(),
            price: product.price,
        },
    )?;
    Ok(Change { before: Some(before), product, event })
}

/// Puts a discontinued product on sale again, with new details. Its versions continue.
///
/// # Errors
/// When it is on sale.
pub fn resume(
    before: Product,
    details: Details,
    correlation_id: &CorrelationId,
    now: Timestamp,
) -> Result<Change, ChangeError> {
    if !before.discontinued {
        return Err(Rejected::OnSale.into());
    }
    let Details { name, description, category, price } = details;
    let product = Product {
        name,
        description,
        category,
        price,
        // The versions do not begin at 1 again: the copies of the price keep the highest version that they have
        // seen, and would ignore the event.
        version: before.version + 1,
        discontinued: false,
        updated_at: now,
        ..before.clone()
    };
    let event = Envelope::new(
        new_event(&product, correlation_id),
        // The event is `product.created`, because the copies of the other contexts say that the product is no
        // longer sold.
        &ProductCreated {
            sku: product.sku.clone(),
            name: product.name.clone(),
            category: product.category.clone(),
            price: product.price,
        },
    )?;
    Ok(Change { before: Some(before), product, event })
}

/// Discontinues the product, until its SKU is sold again.
///
/// # Errors
/// When it is discontinued already.
pub fn discontinue(
    before: Product,
    correlation_id: &CorrelationId,
    now: Timestamp,
) -> Result<Change, ChangeError> {
    let product = Product { discontinued: true, ..next_version(before.clone(), now)? };
    let event = Envelope::new(
        new_event(&product, correlation_id),
        &ProductDiscontinued { sku: product.sku.clone() },
    )?;
    Ok(Change { before: Some(before), product, event })
}

fn next_version(product: Product, now: Timestamp) -> Result<Product, Rejected> {
    if product.discontinued {
        return Err(Rejected::Discontinued);
    }
    Ok(Product { version: product.version + 1, updated_at: now, ..product })
}

fn new_event<'a>(product: &'a Product, correlation_id: &'a CorrelationId) -> NewEvent<'a> {
    NewEvent {
        source: SOURCE,
        subject: product.sku.as_str(),
        sequence: product.version,
        occurred_at: product.updated_at,
        correlation_id,
        causation_id: correlation_id.as_str(),
        user_id: None,
    }
}

#[cfg(test)]
mod tests {
    use contracts::Currency;

    use super::*;

    fn details(amount: i64) -> Details {
        Details {
            name: "Mug".into(),
            description: format!("{amount} cents"),
            category: "kitchen".into(),
            price: Money::new(amount, Currency::USD),
        }
    }

    fn mug() -> Product {
        let sku = Sku::try_from("MUG").unwrap();
        create(sku, details(900), &CorrelationId::generate(), Timestamp::UNIX_EPOCH).unwrap().product
    }

    #[test]
    fn a_change_of_price_is_published_with_the_next_version() {
        let now = Timestamp::from_second(5).unwrap();
        let change =
            update(mug(), &KnownVersions::Listed(vec![1]), details(950), &CorrelationId::generate(), now)
                .unwrap();
        assert_eq!((change.product.version, change.event.sequence), (2, 2));
        assert_eq!(change.event.decode::<ProductUpdated>().unwrap().price.amount, 950);
        assert_eq!((change.product.created_at, change.product.updated_at), (Timestamp::UNIX_EPOCH, now));
        assert_eq!(change.product.description, "950 cents");
    }

    #[test]
    fn a_change_based_on_an_old_version_is_refused() {
        let change =
            |known| update(mug(), &known, details(1), &CorrelationId::generate(), Timestamp::UNIX_EPOCH);
        for known in [vec![], vec![7], vec![2, 3]] {
            let result = change(KnownVersions::Listed(known));
            assert!(matches!(result, Err(ChangeError::Rejected(Rejected::VersionMismatch))));
        }
        assert!(change(KnownVersions::Listed(vec![7, 1])).is_ok());
        assert!(change(KnownVersions::Any).is_ok());
    }

    #[test]
    fn a_product_that_is_sold_again_goes_on_with_its_versions() {
        let id = CorrelationId::generate();
        let gone = discontinue(mug(), &id, Timestamp::UNIX_EPOCH).unwrap().product;
        let now = Timestamp::from_second(9).unwrap();
        let moved = Details { category: "gifts".into(), ..details(700) };
        let change = resume(gone, moved, &id, now).unwrap();
        assert_eq!((change.product.version, change.event.sequence), (3, 3));
        assert_eq!(change.event.decode::<ProductCreated>().unwrap().price.amount, 700);
        let product = &change.product;
        assert_eq!((&*product.category, &*product.description), ("gifts", "700 cents"));
        assert_eq!((product.created_at, product.updated_at), (Timestamp::UNIX_EPOCH, now));
        assert!(!change.product.discontinued && change.before.unwrap().discontinued);
        let twice = resume(change.product, details(1), &id, now);
        assert!(matches!(twice, Err(ChangeError::Rejected(Rejected::OnSale))));
    }

    #[test]
    fn a_discontinued_product_is_not_changed() {
        let id = CorrelationId::generate();
        let gone = discontinue(mug(), &id, Timestamp::UNIX_EPOCH).unwrap().product;
        let again = discontinue(gone.clone(), &id, Timestamp::UNIX_EPOCH);
        assert!(matches!(again, Err(ChangeError::Rejected(Rejected::Discontinued))));
        let changed = update(gone, &KnownVersions::Any, details(1), &id, Timestamp::UNIX_EPOCH);
        assert!(matches!(changed, Err(ChangeError::Rejected(Rejected::Discontinued))));
    }
}
