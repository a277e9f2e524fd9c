use contracts::{SessionId, UserId};
use lambda_kit::{
    dynamodb::Table,
    testing::{Faults, table},
};
use serde_json::{Value, json};

use super::*;
use crate::domain::{TICKET_BYTES, TICKET_SECONDS};

const ARN: &str = "arn:aws:execute-api:us-east-1:000000000000:api/live/$connect";
const NOW: i64 = 1_800_000_000;
const SHOP: &str = "https://shop.example.com";

struct Fixture {
    store: Store,
    table: Table,
    faults: Faults,
    authorizer: Authorizer,
    holder: TicketHolder,
}

impl Fixture {
    async fn new() -> Self {
        let (table, faults) = table(&[]).await;
        let store = Store::new(table.clone());
        let Ok(origins) = SHOP.parse();
        let authorizer = Authorizer::new(store.clone(), origins);
        let (user_id, session_id) = (UserId::generate(), SessionId::generate());
        Self { store, table, faults, authorizer, holder: TicketHolder { user_id, session_id, admin: false } }
    }

    /// A ticket of this number that is issued now.
    async fn ticket(&self, number: u8) -> String {
        let ticket = Ticket::new([number; TICKET_BYTES]);
        self.store.add_ticket(&ticket.hash(), &self.holder, NOW).await.unwrap();
        ticket.expose()
    }

    async fn answer(&self, ticket: &str, connection: &str, headers: Value, now: i64) -> Value {
        let policy = self.authorizer.decide(&request(ticket, connection, headers), now).await.unwrap();
        serde_json::to_value(policy).unwrap()
    }

    /// `Allow` or `Deny`, for a client that is no browser.
    async fn effect(&self, ticket: &str, connection: &str, now: i64) -> String {
        effect(&self.answer(ticket, connection, json!({}), now).await)
    }
}

fn request(ticket: &str, connection: &str, headers: Value) -> String {
    json!({
        "type": "REQUEST", "methodArn": ARN, "headers": headers, "queryStringParameters": {"ticket": ticket},
        "requestContext": {"connectionId": connection, "routeKey": "$connect"},
    })
    .to_string()
}

fn effect(answer: &Value) -> String {
    let effect = answer["policyDocument"]["Statement"][0]["Effect"].as_str().unwrap();
    assert_eq!(answer.get("context").is_some(), effect == "Allow");
    effect.to_owned()
}

#[tokio::test]
async fn a_ticket_admits_its_user_in_its_session() {
    let mut fixture = Fixture::new().await;
    let TicketHolder { user_id, session_id, .. } = fixture.holder.clone();
    let ticket = fixture.ticket(1).await;
    assert_eq!(
        fixture.answer(&ticket, "a", json!({}), NOW).await,
        json!({
            "principalId": user_id,
            "policyDocument": {
                "Version": "2012-10-17",
                "Statement": [{"Action": "execute-api:Invoke", "Effect": "Allow", "Resource": ARN}],
            },
            "context": {"user_id": user_id, "session_id": session_id, "admin": "false"},
        })
    );
    fixture.holder.admin = true;
    let ticket = fixture.ticket(2).await;
    assert_eq!(fixture.answer(&ticket, "b", json!({}), NOW).await["context"]["admin"], "true");
}

#[tokio::test]
async fn a_ticket_admits_one_connection() {
    let fixture = Fixture::new().await;
    let ticket = fixture.ticket(1).await;
    assert_eq!(fixture.effect(&ticket, "a", NOW).await, "Allow");
    assert_eq!(fixture.effect(&ticket, "b", NOW).await, "Deny");
}

#[tokio::test]
async fn of_two_connections_at_the_same_moment_one_gets_the_ticket() {
    let fixture = Fixture::new().await;
    let ticket = fixture.ticket(1).await;
    let connections = ["a", "b", "c", "d"].map(|connection| fixture.effect(&ticket, connection, NOW));
    let effects = futures::future::join_all(connections).await;
    assert_eq!(effects.iter().filter(|effect| *effect == "Allow").count(), 1, "{effects:?}");
}

#[tokio::test]
async fn an_answer_of_the_table_that_is_lost_costs_no_ticket() {
    let fixture = Fixture::new().await;
    let ticket = fixture.ticket(1).await;
    fixture.faults.lose_answers("UpdateItem", 1);
    assert_eq!(fixture.effect(&ticket, "a", NOW).await, "Allow");
}

#[tokio::test]
async fn a_ticket_ends_after_a_minute() {
    let fixture = Fixture::new().await;
    let ticket = fixture.ticket(1).await;
    assert_eq!(fixture.effect(&ticket, "a", NOW + TICKET_SECONDS).await, "Deny");
    assert_eq!(fixture.effect(&ticket, "a", NOW + TICKET_SECONDS - 1).await, "Allow");
}

#[tokio::test]
async fn an_unknown_ticket_admits_no_one() {
    let fixture = Fixture::new().await;
    fixture.ticket(1).await;
    assert_eq!(fixture.effect(&Ticket::new([2; TICKET_BYTES]).expose(), "a", NOW).await, "Deny");
    fixture.faults.reset();
    for ticket in ["", "nonsense", "eyJhbGciOiJFUzI1NiJ9.e30.c2ln"] {
        assert_eq!(fixture.effect(ticket, "a", NOW).await, "Deny", "{ticket}");
    }
    assert!(fixture.faults.calls().is_empty(), "a text of another form costs no call");
}

#[tokio::test]
async fn a_page_of_another_site_is_refused_and_uses_no_ticket() {
    let fixture = Fixture::new().await;
    let ticket = fixture.ticket(1).await;
    for name in ["Origin", "origin"] {
        let evil = json!({name: "https://evil.example"});
        assert_eq!(effect(&fixture.answer(&ticket, "a", evil, NOW).await), "Deny");
    }
    assert_eq!(effect(&fixture.answer(&ticket, "b", json!({"Origin": SHOP}), NOW).await), "Allow");
}

#[tokio::test]
async fn the_table_holds_no_ticket() {
    let fixture = Fixture::new().await;
    let ticket = fixture.ticket(1).await;
    let items =
        fixture.table.client.scan().table_name(&fixture.table.name).send().await.unwrap().items.unwrap();
    assert_eq!(items.len(), 1);
    assert!(!format!("{items:?}").contains(&ticket));
}

#[tokio::test]
async fn a_table_that_does_not_answer_is_a_failure_and_no_denial() {
    let fixture = Fixture::new().await;
    let ticket = fixture.ticket(1).await;
    fixture.faults.refuse("UpdateItem", lambda_kit::aws::MAX_ATTEMPTS);
    let failure = fixture.authorizer.decide(&request(&ticket, "a", json!({})), NOW).await.unwrap_err();
    assert_eq!(failure.error_type, "TableUnavailable");
    assert_eq!(fixture.effect(&ticket, "b", NOW).await, "Allow", "the ticket is still good");
}
