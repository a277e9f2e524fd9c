use contracts::CorrelationId;
use lambda_kit::{http::Identity, testing};
use rstest::rstest;

use serde_json::json;

use super::*;

/// A composer whose catalogue is down and which read tea `age` ago.
async fn composer(age: Duration) -> Composer {
    // No server listens there.
    let (sdk, _) = testing::sdk_config("http://127.0.0.1:9");
    let (table, _) = testing::table(&[]).await;
    let composer = Composer::new(Upstream::new(&(&sdk).into(), "test".to_owned(), &table));
    let seen = Instant::now().checked_sub(age).expect("a machine that has run for some minutes");
    *composer.products.lock().unwrap() = Some((seen, vec![json!({"sku": "TEA"})]));
    composer
}

#[rstest]
#[case::not_asked_for_again(Duration::from_secs(1), 1, false)]
#[case::shown_as_it_was(Duration::from_secs(30), 1, true)]
#[case::too_old_to_be_shown(Duration::from_secs(90), 0, true)]
#[tokio::test]
async fn products_are_kept_for_a_while(#[case] age: Duration, #[case] shown: usize, #[case] stale: bool) {
    let identity = Identity {
        user_id: contracts::UserId::generate(),
        session_id: contracts::SessionId::generate(),
        roles: vec![],
        auth_time: 0,
        email_verified: false,
    };
    let caller = Caller::new(identity, CorrelationId::generate(), &Default::default());
    let (products, are_stale) = composer(age).await.products(&caller).await;
    assert_eq!((products.len(), are_stale), (shown, stale));
}
