//! Sessions over their whole life, by a clock of the test's.

use contracts::SessionId;
use lambda_kit::{
    jwt::Signer,
    testing::{self, kms},
};

use super::*;
use crate::domain::{NewUser, PART_BYTES, Password, RefreshToken, SALT_BYTES, Secret};

const NOW: i64 = 1_800_000_000;
const DAY: i64 = 86_400;
const PASSWORD: &str = "blue mug 42";

struct Fixture {
    store: Store,
    signer: Signer,
    user: UserId,
    _kms: wiremock::MockServer,
}

/// Anna is registered.
async fn fixture() -> Fixture {
    let (store, kms) = (Store::new(testing::table(&[]).await.0), kms::start().await);
    let signer =
        Signer::new(aws_sdk_kms::Client::new(&testing::sdk_config(&kms.uri()).0), kms::KEY_ARN.to_owned());
    let user = UserId::generate();
    let password = Password::try_from(&Secret::from(PASSWORD.to_owned())).unwrap();
    let hash = password.hash(&[7; SALT_BYTES]).unwrap();
    let new =
        NewUser { email: "anna@example.com".parse().unwrap(), name: "Anna".parse().unwrap(), phone: None };
    let registered = new.register(user.clone(), hash, at(NOW), &CorrelationId::generate()).unwrap();
    store.register(&registered).await.unwrap();
    Fixture { store, signer, user, _kms: kms }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

impl Fixture {
    async fn log_in(&self, now: i64) -> RefreshToken {
        let password = Secret::from(PASSWORD.to_owned());
        let credentials = Credentials { email: "anna@example.com", password: &password, network: None };
        let random = [[1; PART_BYTES], [2; PART_BYTES]];
        let correlation = CorrelationId::generate();
        log_in(&self.store, &self.signer, credentials, random, at(now), &correlation)
            .await
            .unwrap()
            .refresh_token
    }

    async fn refresh(&self, token: &RefreshToken, now: i64) -> Option<RefreshToken> {
        // Each token is another one.
        let mut random = [0; PART_BYTES];
        random[..8].copy_from_slice(&now.to_be_bytes());
        let correlation = CorrelationId::generate();
        match refresh(&self.store, &self.signer, token, random, at(now), &correlation).await {
            Ok(tokens) => Some(tokens.refresh_token),
            Err(UsersError::InvalidRefreshToken) => None,
            Err(error) => panic!("{error}"),
        }
    }

    async fn opened(&self, now: i64) -> Vec<SessionId> {
        let sessions = self.store.sessions(&self.user).await.unwrap();
        sessions
            .into_iter()
            .filter(|session| session.is_open(now))
            .map(|session| session.session_id)
            .collect()
    }
}

#[tokio::test]
async fn a_session_that_is_refreshed_every_day_ends_90_days_after_its_login() {
    let fixture = fixture().await;
    let mut token = fixture.log_in(NOW).await;
    for day in 1..90 {
        token = fixture.refresh(&token, NOW + day * DAY).await.unwrap();
    }
    assert_eq!(fixture.opened(NOW + 90 * DAY - 1).await, [token.session_id().clone()]);
    assert!(fixture.refresh(&token, NOW + 90 * DAY).await.is_none());
    assert!(fixture.opened(NOW + 90 * DAY).await.is_empty());
}

#[tokio::test]
async fn a_session_that_is_not_used_ends_after_30_days_and_an_expired_one_makes_room_for_a_login() {
    let fixture = fixture().await;
    let mut tokens = vec![];
    for n in 0..20 {
        tokens.push(fixture.log_in(NOW + n).await);
    }
    assert!(fixture.refresh(&tokens[0], NOW + 30 * DAY).await.is_none());
    assert!(fixture.refresh(&tokens[19], NOW + 19 + 30 * DAY - 1).await.is_some());
    assert_eq!(fixture.opened(NOW + 19 + 30 * DAY - 1).await.len(), 1);
    fixture.log_in(NOW + 30 * DAY + 19).await;
    assert_eq!(fixture.opened(NOW + 30 * DAY + 19).await.len(), 2);
}
