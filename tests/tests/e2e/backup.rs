//! A backup, and what is restored from it into another stack.

use std::path::Path;

use local_stack::StateDir;
use reqwest::StatusCode;
use serde_json::Value;
use shop_client::{NewOrder, Shop, card};

use crate::fixture::{Fixture, buy, eventually, unique};
use crate::harness::Outcome;

crate::tests![alone: a_backup_is_restored_into_an_empty_stack_without_the_accounts_that_were_deleted_since];

/// Ends the second stack, however the test ends.
struct Second<'a> {
    folder: &'a Path,
}

impl Drop for Second<'_> {
    fn drop(&mut self) {
        // A stack that does not run is what is wanted.
        let _ = local_stack::down(&StateDir::new(self.folder));
    }
}

async fn a_backup_is_restored_into_an_empty_stack_without_the_accounts_that_were_deleted_since(
    fixture: Fixture,
) -> Outcome {
    let (stays, leaves) = (fixture.customer().await?, fixture.customer().await?);
    let sku = fixture.product(5).await?;
    for customer in [&stays, &leaves] {
        for card in [card::GOOD, card::DECLINED] {
            let order = NewOrder { payment_method: card.to_owned(), ..buy(&sku) };
            let order = customer.shop.place(&order, &unique("key")).await?.order_id;
            customer.ended(&order).await?;
        }
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(unique("backup"));
    let path = |name: &str| folder.join(name).display().to_string();
    let (first, second) = (path("first"), path("second"));
    // An order of an earlier test that is under way would end in one stack only.
    fixture.counts_at_the_end().await?;
    fixture.ops(&["backup", "--to", &first]).await?;
    leaves.shop.leave().await?;
    eventually("the account is deleted", async || {
        match fixture.shop.login(&leaves.email, &leaves.password).await {
            Err(shop_client::Error::Refused { status: StatusCode::UNAUTHORIZED, .. }) => Ok(()),
            other => Err(format!("{other:?}"))?,
        }
    })
    .await?;
    fixture.ops(&["backup", "--to", &second]).await?;
    let before = fixture.counts_at_the_end().await?;

    let other = folder.join("stack");
    let other = Second { folder: &other };
    fixture.ops_of(other.folder, &["up", "--detach"]).await?;
    fixture.ops_of(other.folder, &["restore", "--from", &first, "--deletions", &second]).await?;
    let again =
        fixture.ops_of(other.folder, &["restore", "--from", &first]).await.expect_err("it is not empty");
    assert!(again.message().is_some_and(|error| error.contains("the stack has orders")), "{again:?}");

    let restored = StateDir::new(other.folder).outputs()?;
    let shop = Shop::new(&restored.api_url);
    let kept = shop.login(&stays.email, &stays.password).await?;
    assert_eq!(listed(&kept).await?, listed(&stays.shop).await?);
    let refused = shop.login(&leaves.email, &leaves.password).await.expect_err("the account was deleted");
    assert!(
        matches!(refused, shop_client::Error::Refused { status: StatusCode::UNAUTHORIZED, .. }),
        "{refused}"
    );
    eventually("the restored stack holds what the first one held", async || {
        let after = fixture.counts_of(other.folder).await?;
        let is_same = ["orders", "events", "money", "stock"].iter().all(|name| after[name] == before[name]);
        if is_same { Ok(()) } else { Err(format!("{after} instead of {before}"))? }
    })
    .await?;
    drop(other);
    Ok(std::fs::remove_dir_all(&folder)?)
}

/// The customer's orders.
async fn listed(shop: &Shop) -> Outcome<Value> {
    Ok(shop.get::<Value>("/v1/orders?limit=100").await?["items"].take())
}
