//! The commands against a real table.

use contracts::{Envelope, SessionId};
use lambda_kit::{
    audit::{Actor, Entry},
    dynamodb::{OUTBOX, Table, key},
    http::Page,
    testing::{self, Faults},
};
use serde_json::{Value, json};

use super::*;
use crate::domain::{ChangedProfile, NewUser, PART_BYTES, PasswordHash, RefreshToken, Registered, Session};

const OPERATOR: &str = "arn:aws:iam::1:user/grace";
const NOW: i64 = 1_800_000_000;

struct Fixture {
    store: Store,
    table: Table,
    faults: Faults,
    user: UserId,
}

/// Anna's account, whose address is verified, with three sessions.
async fn fixture() -> Fixture {
    let (table, faults) = testing::table(&[]).await;
    let store = Store::new(table.clone());
    let (user, correlation) = (UserId::generate(), CorrelationId::generate());
    let new =
        NewUser { email: "anna@example.com".parse().unwrap(), name: "Anna".parse().unwrap(), phone: None };
    let registered = new.register(user.clone(), PasswordHash::dummy(), now(), &correlation).unwrap();
    store.register(&registered).await.unwrap();
    let Registered { profile, event, .. } = registered;
    let verified = Profile { email_verified: true, version: profile.version + 1, ..profile };
    store.change(&ChangedProfile { profile: verified, event }).await.unwrap().unwrap();
    for n in 0..3 {
        let token = RefreshToken::new(user.clone(), SessionId::generate(), [[n; PART_BYTES]; 2]);
        let session = Session::open(&token, PasswordHash::dummy().fingerprint(), NOW);
        store.open_session(&session, now(), &correlation).await.unwrap();
    }
    faults.reset();
    Fixture { store, table, faults, user }
}

fn now() -> Timestamp {
    Timestamp::from_second(NOW).unwrap()
}

impl Fixture {
    async fn ask(&self, mut request: Value) -> Result<Value, UsersError> {
        request["by"] = json!(OPERATOR);
        let request = serde_json::from_value(request).unwrap();
        let answer = answer(&self.store, &request, now()).await?;
        Ok(serde_json::to_value(answer).unwrap())
    }

    async fn roles(&self) -> Value {
        let shown = self.ask(json!({"action": "ShowAccount", "account": "anna@example.com"})).await;
        shown.unwrap()["account"]["roles"].clone()
    }

    async fn audit(&self) -> Vec<Entry> {
        let page = Page { limit: 20, cursor: None };
        self.store.audit(self.user.as_str(), page).await.unwrap().items
    }

    /// The events that are in the outbox of this item of Anna.
    async fn events(&self, sk: &str) -> Vec<Envelope> {
        let item = self.table.get_item("test", key(format!("USER#{}", self.user), sk)).await.unwrap();
        let outbox = item.map(|item| item[OUTBOX].as_l().unwrap().clone()).unwrap_or_default();
        outbox.iter().map(|event| serde_json::from_str(event.as_s().unwrap()).unwrap()).collect()
    }
}

#[tokio::test]
async fn an_account_is_shown_by_its_id_and_by_its_address_however_it_is_written() {
    let fixture = fixture().await;
    for named in [fixture.user.as_str(), "anna@example.com", " Anna@EXAMPLE.com ", "anna@\u{ff45}xample.com"]
    {
        let shown = fixture.ask(json!({"action": "ShowAccount", "account": named})).await.unwrap();
        let account = &shown["account"];
        assert_eq!(
            (&account["user_id"], &account["email"]),
            (&json!(fixture.user), &json!("anna@example.com"))
        );
        assert_eq!((&account["email_verified"], &account["open_sessions"]), (&json!(true), &json!(3)));
        assert_eq!((&account["roles"], &account["suspended_at"]), (&json!([]), &Value::Null));
        assert!(account["registered_at"].is_string());
    }
    for unknown in ["ben@example.com", "nonsense", "usr_0123456789abcdef0123456789abcdef"] {
        let shown = fixture.ask(json!({"action": "ShowAccount", "account": unknown})).await.unwrap();
        assert_eq!(shown["account"], Value::Null);
        let refused = fixture.ask(json!({"action": "SuspendAccount", "account": unknown})).await;
        assert!(matches!(refused, Err(UsersError::UnknownUser)), "{unknown}");
    }
}

#[tokio::test]
async fn a_role_is_granted_and_revoked_once_and_each_change_is_in_the_audit_trail() {
    let fixture = fixture().await;
    let grant = |role: &str| json!({"action": "GrantRole", "account": "anna@example.com", "role": role, "reason": "is new here"});
    for (changed, role) in [(true, "support"), (false, "support"), (true, "admin")] {
        assert_eq!(fixture.ask(grant(role)).await.unwrap()["changed"], json!(changed), "{role}");
    }
    assert_eq!(fixture.roles().await, json!(["support", "admin"]));
    let revoke = json!({"action": "RevokeRole", "account": fixture.user, "role": "support"});
    for changed in [true, false] {
        assert_eq!(fixture.ask(revoke.clone()).await.unwrap()["changed"], json!(changed));
    }
    assert_eq!(fixture.roles().await, json!(["admin"]));

    let entries = fixture.audit().await;
    let actions: Vec<&str> = entries.iter().map(|entry| &*entry.action).collect();
    assert_eq!(actions, ["role.revoked", "role.granted", "role.granted"]);
    let Entry { actor, before, after, reason, .. } = &entries[1];
    assert_eq!(*actor, Actor::Operator(OPERATOR.to_owned()));
    assert_eq!((before, after), (&json!({"roles": ["support"]}), &json!({"roles": ["support", "admin"]})));
    assert_eq!(reason.as_deref(), Some("is new here"));
    assert_eq!(entries[0].reason, None);
}

#[tokio::test]
async fn an_unverified_account_gets_a_role_only_when_the_operator_says_so() {
    let fixture = fixture().await;
    let profile = fixture.store.profile(&fixture.user).await.unwrap().unwrap();
    let event = fixture.events("PROFILE").await.remove(0);
    let unverified = Profile { email_verified: false, version: profile.version + 1, ..profile };
    fixture.store.change(&ChangedProfile { profile: unverified, event }).await.unwrap().unwrap();

    let mut grant = json!({"action": "GrantRole", "account": "anna@example.com", "role": "admin"});
    assert!(matches!(fixture.ask(grant.clone()).await, Err(UsersError::NotVerified)));
    assert_eq!((fixture.roles().await, fixture.audit().await), (json!([]), vec![]));
    grant["unverified"] = json!(true);
    assert_eq!(fixture.ask(grant).await.unwrap()["changed"], json!(true));
    assert_eq!(fixture.roles().await, json!(["admin"]));
    let revoke = json!({"action": "RevokeRole", "account": "anna@example.com", "role": "admin"});
    assert_eq!(fixture.ask(revoke).await.unwrap()["changed"], json!(true));
}

#[tokio::test]
async fn a_grant_that_cannot_be_written_leaves_no_entry_and_one_whose_answer_was_lost_leaves_one() {
    let fixture = fixture().await;
    let grant = json!({"action": "GrantRole", "account": "anna@example.com", "role": "admin"});
    fixture.faults.refuse("TransactWriteItems", 99);
    assert!(fixture.ask(grant.clone()).await.is_err());
    fixture.faults.reset();
    assert_eq!((fixture.roles().await, fixture.audit().await), (json!([]), vec![]));
    fixture.faults.conflict(1);
    fixture.faults.lose_answers_after(1, "TransactWriteItems", 1);
    assert_eq!(fixture.ask(grant).await.unwrap()["changed"], json!(true));
    assert_eq!((fixture.roles().await, fixture.audit().await.len()), (json!(["admin"]), 1));
}

#[tokio::test]
async fn grants_at_the_same_time_are_all_made() {
    let fixture = fixture().await;
    let grants = ["admin", "fulfillment", "support"]
        .map(|role| fixture.ask(json!({"action": "GrantRole", "account": "anna@example.com", "role": role})));
    futures::future::try_join_all(grants).await.unwrap();
    assert_eq!(fixture.roles().await.as_array().unwrap().len(), 3);
    assert_eq!(fixture.audit().await.len(), 3);
}

#[tokio::test]
async fn a_suspension_ends_the_sessions_and_is_published_and_the_account_can_be_restored() {
    let fixture = fixture().await;
    let change = async |action: &str| {
        let request = json!({"action": action, "account": "anna@example.com", "reason": "stolen"});
        fixture.ask(request).await.unwrap()
    };
    let suspended = change("SuspendAccount").await;
    assert_eq!((&suspended["changed"], &suspended["sessions_ended"]), (&json!(true), &json!(3)));
    assert!(suspended["account"]["suspended_at"].is_string());
    assert_eq!(suspended["account"]["open_sessions"], json!(0));
    let types = |events: Vec<Envelope>| events.into_iter().map(|event| event.event_type).collect::<Vec<_>>();
    assert_eq!(types(fixture.events("PROFILE").await), ["user.updated", "user.suspended"]);
    assert_eq!(types(fixture.events("ENDED_SESSIONS").await), ["session.ended"; 3]);
    let again = change("SuspendAccount").await;
    assert_eq!((&again["changed"], &again["sessions_ended"]), (&json!(false), &json!(0)));

    let restored = change("RestoreAccount").await;
    assert_eq!((&restored["changed"], &restored["account"]["suspended_at"]), (&json!(true), &Value::Null));
    assert_eq!(types(fixture.events("PROFILE").await), ["user.updated", "user.restored"]);
    assert_eq!(change("RestoreAccount").await["changed"], json!(false));
    let actions: Vec<String> = fixture.audit().await.into_iter().map(|entry| entry.action).collect();
    assert_eq!(actions, ["account.restored", "account.suspended"]);
}

#[tokio::test]
async fn a_suspension_that_was_interrupted_is_finished_by_the_next_one() {
    let fixture = fixture().await;
    let suspend = json!({"action": "SuspendAccount", "account": "anna@example.com"});
    fixture.faults.lose_answers_after(1, "TransactWriteItems", 99);
    assert!(fixture.ask(suspend.clone()).await.is_err());
    fixture.faults.reset();
    let finished = fixture.ask(suspend).await.unwrap();
    assert_eq!(finished["changed"], json!(false));
    assert_eq!(finished["account"]["open_sessions"], json!(0));
    assert_eq!(fixture.audit().await.len(), 1);
}

#[tokio::test]
async fn the_sessions_of_an_account_are_ended() {
    let fixture = fixture().await;
    let end = json!({"action": "EndSessions", "account": fixture.user});
    for (ended, changed) in [(3, false), (0, false)] {
        let answer = fixture.ask(end.clone()).await.unwrap();
        assert_eq!((&answer["sessions_ended"], &answer["changed"]), (&json!(ended), &json!(changed)));
    }
    assert_eq!(fixture.events("ENDED_SESSIONS").await.len(), 3);
}

#[test]
fn a_request_without_its_operator_is_malformed() {
    let read = |request: Value| serde_json::from_value::<Request>(request);
    assert!(read(json!({"action": "SuspendAccount", "account": "anna@example.com"})).is_err());
    assert!(read(json!({"action": "GrantRole", "account": "a", "by": "me", "role": "owner"})).is_err());
    assert!(read(json!({"action": "GrantRole", "account": "a", "by": "me", "role": "fulfillment"})).is_ok());
}

#[test]
fn a_refusal_is_told_from_a_failure() {
    let named = |error| refused_or_failed("GrantRole", &error).1.unwrap_err().error_type;
    assert_eq!(named(UsersError::NotVerified), "Refused");
    assert_eq!(named(UsersError::UnknownUser), "Refused");
    assert_eq!(named(lambda_kit::dynamodb::Conflict.into()), contracts::saga::TRANSIENT);
}
