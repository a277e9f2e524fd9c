//! Repeated actions of a visitor on the page.

use contracts::{OrderId, Sku};

use crate::browser::Browser;
use crate::fixture::{Customer, Fixture};
use crate::harness::Outcome;

/// A browser at the shop's page.
pub async fn visit(fixture: &Fixture, name: &str) -> Outcome<Browser> {
    let mut browser = Browser::start(name).await?;
    browser.open(&fixture.outputs.storefront_url).await?;
    Ok(browser)
}

/// Checks that the page's script had no error and violated no content security policy.
pub fn is_content(browser: &Browser) {
    assert_eq!(browser.complaints(), &[] as &[String]);
}

pub async fn put_in_basket(browser: &mut Browser, sku: &Sku) -> Outcome {
    browser.fill("#search", sku.as_str()).await?;
    browser.click(&format!(".card[data-sku='{sku}'] button")).await?;
    Ok(browser.see_text(".card button", "Add another (1)").await?)
}

pub async fn log_in(browser: &mut Browser, customer: &Customer) -> Outcome {
    browser.click("#log-in").await?;
    enter_credentials(browser, customer).await
}

pub async fn enter_credentials(browser: &mut Browser, customer: &Customer) -> Outcome {
    browser.fill("#account-form [name=email]", &customer.email).await?;
    browser.fill("#account-form [name=password]", &customer.password).await?;
    browser.click("#account-submit").await?;
    Ok(browser.see_text("#who", "Test Customer").await?)
}

pub async fn fill_in_address(browser: &mut Browser) -> Outcome {
    let address = [("line1", "1 Main Street"), ("postal_code", "12345"), ("city", "Springfield")];
    for (field, value) in address {
        browser.fill(&format!("#checkout [name={field}]"), value).await?;
    }
    Ok(())
}

/// Waits until this many steps of the newest order's timeline have this state.
pub async fn see_steps(browser: &mut Browser, state: &str, count: usize) -> Outcome {
    let steps = format!("document.querySelector('.order')?.querySelectorAll('.steps .{state}').length");
    Ok(browser.see(&format!("{count} steps are {state}"), &format!("{steps} === {count}")).await?)
}

pub async fn order_on_page(browser: &mut Browser) -> Outcome<OrderId> {
    let id = browser.value("document.querySelector('.order .id').textContent").await?;
    Ok(OrderId::try_from(id.as_str().unwrap_or_default())?)
}

/// Shows the newest order whole. The list is some seconds old: an order that was under way then is shown whole by itself.
pub async fn unfold_order(browser: &mut Browser) -> Outcome {
    browser.see("there is an order", "document.querySelector('.order') !== null").await?;
    let unfolded = "document.querySelector('.order').open";
    if browser.value(unfolded).await? != true {
        browser.click(".order summary").await?;
    }
    Ok(browser.see("the order is shown whole", unfolded).await?)
}
