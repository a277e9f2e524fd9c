//! Customers with an account of their own: they register, confirm their address, and delete the account again.

use serde_json::{Value, json};

use crate::{
    scenario::{address, expect, rest, send, user},
    world::world,
};

const PASSWORD: &str = "correct horse battery";

/// Registers a customer, who confirms the address with the code of the e-mail and logs in.
///
/// # Errors
/// When the platform does not take it.
pub async fn join(number: u64) -> Result<(), String> {
    register(number).await?;
    rest().await?;
    let letters = world().mailbox.letters();
    let own = letters.iter().rev().find(|letter| letter.to == address(number));
    let code = own.and_then(|letter| letter.text.lines().find(|line| is_code(line)));
    let code = code.ok_or_else(|| "no e-mail has a code".to_owned())?;
    let body = json!({"channel": "email", "code": code}).to_string();
    let path = "/v1/users/me/verifications/confirm";
    let reply = send("customer", "users-api", "POST", path, &|| user(number), &body).await?;
    expect(&reply, &[204], "the code")?;
    let ready = send("customer", "storefront-api", "GET", "/health/ready", &|| json!({}), "").await?;
    expect(&ready, &[200], "the health of the platform")
}

/// Registers a customer, who logs in. The address is not confirmed.
///
/// # Errors
/// When the platform does not take it.
pub async fn register(number: u64) -> Result<(), String> {
    let email = address(number);
    let body = json!({"email": email, "password": PASSWORD, "name": "Ada Lovelace"}).to_string();
    let headers = || json!({"content-type": "application/json"});
    let reply = send("customer", "users-api", "POST", "/v1/auth/register", &headers, &body).await?;
    // 409: an earlier try has done it.
    expect(&reply, &[201, 409], "the registration")?;
    let body = json!({"email": email, "password": PASSWORD}).to_string();
    let reply = send("customer", "users-api", "POST", "/v1/auth/login", &headers, &body).await?;
    expect(&reply, &[200], "the login")?;
    let tokens: Value = serde_json::from_str(&reply.body).map_err(|error| error.to_string())?;
    let token = format!("Bearer {}", tokens["access_token"].as_str().unwrap_or_default());
    let headers = || json!({"authorization": token});
    let reply = send("customer", "users-api", "GET", "/v1/users/me", &headers, "").await?;
    expect(&reply, &[200], "the profile")?;
    let profile: Value = serde_json::from_str(&reply.body).map_err(|error| error.to_string())?;
    let user_id = profile["user_id"].as_str().unwrap_or_default().to_owned();
    world().accounts.borrow_mut().insert(number, user_id);
    Ok(())
}

/// Looks at the dashboard, and deletes the account.
///
/// # Errors
/// When the platform does not take it.
pub async fn leave(number: u64) -> Result<(), String> {
    world().left.borrow_mut().insert(number);
    let headers = || user(number);
    let reply = send("customer", "storefront-api", "GET", "/v1/dashboard", &headers, "").await?;
    expect(&reply, &[200], "the dashboard")?;
    let reply = send("customer", "users-api", "DELETE", "/v1/users/me", &headers, "").await?;
    expect(&reply, &[202], "the deletion of the account")
}

fn is_code(line: &str) -> bool {
    line.len() == 8 && line.bytes().all(|byte| byte.is_ascii_digit())
}
