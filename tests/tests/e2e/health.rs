//! The health endpoints.

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use reqwest::{Method, StatusCode};
use serde_json::Value;

use crate::fixture::{Fixture, eventually};
use crate::harness::Outcome;

crate::tests![
    it_is_alive,
    it_is_ready_and_names_every_context,
    the_shop_has_a_page,
    an_access_token_can_be_verified_with_the_published_keys,
];

async fn it_is_alive(fixture: Fixture) -> Outcome {
    let answer = fixture.shop.call(Method::GET, "/health/live").send_once().await?;
    assert_eq!((answer.status, answer.value()["status"].as_str()), (StatusCode::OK, Some("ok")));
    Ok(())
}

async fn it_is_ready_and_names_every_context(fixture: Fixture) -> Outcome {
    let report = eventually("every context is well", async || {
        // Cold functions can take longer than the report waits for them.
        let answer = fixture.shop.call(Method::GET, "/health/ready").send_once().await?;
        if answer.status == StatusCode::OK { Ok(answer.value()) } else { Err(answer.value().to_string())? }
    })
    .await?;
    let contexts = report["contexts"].as_object().ok_or("the report holds no contexts")?;
    let names: Vec<&str> = contexts.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        ["catalog", "fulfillment", "inventory", "notifications", "orders", "payments", "realtime", "users"]
    );
    for (name, health) in contexts {
        assert_eq!(health["status"], "ok", "{name}");
        let checks = health["checks"].as_object().ok_or("a context's health holds its checks")?;
        assert!(!checks.is_empty(), "{name} has looked at nothing");
        assert!(checks.values().all(|check| check == "ok"), "{name}: {health}");
    }
    Ok(())
}

async fn the_shop_has_a_page(fixture: Fixture) -> Outcome {
    let answer = fixture.shop.call(Method::GET, "/").send_once().await?;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(answer.header("content-type").is_some_and(|kind| kind.starts_with("text/html")));
    Ok(())
}

async fn an_access_token_can_be_verified_with_the_published_keys(fixture: Fixture) -> Outcome {
    // Already installed is as good.
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
    let customer = fixture.customer().await?;
    let token = customer.shop.token().ok_or("a customer has a token")?;
    let answer = fixture.shop.call(Method::GET, "/.well-known/jwks.json").send_once().await?;
    let keys: JwkSet = answer.read()?;

    let kid = decode_header(token)?.kid.ok_or("the token names its key")?;
    let key = keys.find(&kid).ok_or("the key is published")?;
    let mut validation = Validation::new(Algorithm::ES256);
    validation.set_audience(&["ordersaga-api"]);
    validation.set_issuer(&["ordersaga"]);
    let claims = decode::<Value>(token, &DecodingKey::from_jwk(key)?, &validation)?.claims;
    assert_eq!(claims["sub"], customer.user_id.as_str());
    Ok(())
}
