use contracts::UserId;
use lambda_kit::{dynamodb::Table, testing::Tokens};
use rstest::rstest;
use serde_json::{Value, json};

use crate::{
    domain::Command,
    testing::{at, cancel, complete, correlation_id, listed_api, listed_store, order_of},
    views::Projector,
};

/// The response to `query` with `token`, from an API over this table.
async fn report(table: &Table, tokens: &Tokens, token: &str, query: &str) -> (u16, Value) {
    let response = listed_api(table, tokens).get(&format!("/v2/reports/sales{query}"), token).await;
    (response.status.as_u16(), response.body)
}

#[tokio::test]
async fn version_1_has_cancellations_as_an_object_and_says_that_it_is_deprecated() {
    let ((store, table, _), tokens) = (listed_store().await, Tokens::new());
    let order_id = order_of(&store, &UserId::generate(), "k-1", 0).await;
    let cancelled = cancel("ReserveInventory", "InventoryNotAvailable");
    crate::handler::execute(&store, &order_id, &cancelled, &correlation_id(), at(0)).await.unwrap();
    Projector::new(store.clone()).catch_up(&order_id).await;
    let query = "?from=2026-11-18&to=2026-11-18";
    let of = async |version: &str| {
        let path = format!("/{version}/reports/sales{query}");
        listed_api(&table, &tokens).get(&path, &tokens.admin()).await
    };
    let (old, new) = (of("v1").await, of("v2").await);
    assert_eq!(old.body["items"][0]["cancellations"], json!({"InventoryNotAvailable": 1}));
    assert_eq!(
        new.body["items"][0]["cancellations"],
        json!([{"reason": "InventoryNotAvailable", "orders": 1}])
    );
    assert_eq!(old.header("deprecation"), Some("@1796083200"));
    assert_eq!(old.header("sunset"), Some("Tue, 01 Jun 2027 00:00:00 GMT"));
    assert_eq!(old.header("link"), Some("</v2/reports/sales>; rel=\"successor-version\""));
    assert_eq!(new.header("deprecation"), None);
}

#[tokio::test]
async fn each_day_says_what_happened_on_it() {
    let (store, table, _) = listed_store().await;
    let (tokens, projector) = (Tokens::new(), Projector::new(store.clone()));
    let lives: [&[Command]; 4] = [
        &[],
        &[Command::RecordReservation, complete()],
        &[Command::RecordReservation, complete()],
        &[cancel("ReserveInventory", "InventoryNotAvailable")],
    ];
    for (n, commands) in (0..).zip(lives) {
        let order_id = order_of(&store, &UserId::generate(), &format!("k-{n}"), n).await;
        for command in commands {
            crate::handler::execute(&store, &order_id, command, &correlation_id(), at(n)).await.unwrap();
            projector.catch_up(&order_id).await;
        }
        projector.catch_up(&order_id).await;
    }
    let (status, report) = report(&table, &tokens, &tokens.admin(), "?from=2026-11-17&to=2026-11-18").await;
    let quiet =
        json!({"date": "2026-11-17", "orders": 0, "completed": 0, "revenue": [], "cancellations": []});
    let busy = json!({
        "date": "2026-11-18", "orders": 4, "completed": 2,
        "revenue": [{"amount": 16800, "currency": "USD"}],
        "cancellations": [{"reason": "InventoryNotAvailable", "orders": 1}],
    });
    assert_eq!((status, report), (200, json!({"items": [quiet, busy], "next_cursor": null})));
}

#[rstest]
#[case("?to=2026-01-01", "from")]
#[case("?from=2026-01-01", "to")]
#[case("?from=yesterday&to=2026-01-01", "from")]
#[case("?from=2026-01-01T00:00:00Z&to=2026-01-02", "from")]
#[case("?from=2026-02-30&to=2026-03-01", "from")]
#[case("?from=2026-01-02&to=2026-01-01", "to")]
#[case("?from=2025-01-01&to=2026-01-02", "to")]
#[tokio::test]
async fn days_that_cannot_be_reported_are_refused(#[case] query: &str, #[case] field: &str) {
    let ((_, table, _), tokens) = (listed_store().await, Tokens::new());
    let (status, problem) = report(&table, &tokens, &tokens.admin(), query).await;
    assert_eq!((status, &problem["errors"][0]["field"]), (422, &json!(field)));
}

#[tokio::test]
async fn a_year_can_be_reported_by_administrators_only() {
    let ((_, table, _), tokens) = (listed_store().await, Tokens::new());
    let year = "?from=2024-01-01&to=2024-12-31";
    let (status, report_of_year) = report(&table, &tokens, &tokens.admin(), year).await;
    assert_eq!((status, report_of_year["items"].as_array().unwrap().len()), (200, 366));
    assert_eq!(report(&table, &tokens, &tokens.user(&UserId::generate()), year).await.0, 403);
    assert_eq!(report(&table, &tokens, "", year).await.0, 401);
}
