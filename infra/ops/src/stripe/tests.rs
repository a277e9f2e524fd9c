//! Against a small Stripe in this process: localstripe has no webhook endpoints.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::extract::{Path, RawForm, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{delete, post};
use axum::{Json, Router};

use super::*;

const WEBHOOK: &str = "https://shop.example/v1/payments/webhook";
const KEY: &str = "sk_test_right";

#[derive(Default)]
struct Shelf {
    /// Endpoints by id, with their URL and the form that made them.
    endpoints: BTreeMap<String, (String, String)>,
    made: usize,
    refuse_deletes: bool,
}

#[derive(Clone, Default)]
struct FakeStripe(Arc<Mutex<Shelf>>);

/// The content of the vault after each write.
#[derive(Default)]
struct Memory(Mutex<Vec<Stored>>);

impl Vault for Memory {
    async fn read(&self) -> Result<Stored> {
        Ok(self.0.lock().unwrap().last().cloned().unwrap_or_default())
    }

    async fn write(&self, stored: &Stored) -> Result<()> {
        self.0.lock().unwrap().push(stored.clone());
        Ok(())
    }
}

impl FakeStripe {
    async fn start(&self) -> String {
        let app = Router::new()
            .route("/v1/webhook_endpoints", post(make).get(list))
            .route("/v1/webhook_endpoints/{id}", delete(remove))
            .with_state(self.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        url
    }

    fn endpoints(&self) -> Vec<String> {
        self.0.lock().unwrap().endpoints.keys().cloned().collect()
    }

    fn put(&self, id: &str, url: &str) {
        self.0.lock().unwrap().endpoints.insert(id.to_owned(), (url.to_owned(), String::new()));
    }
}

async fn make(
    State(stripe): State<FakeStripe>,
    headers: HeaderMap,
    RawForm(form): RawForm,
) -> (StatusCode, Json<Value>) {
    if headers["authorization"] != format!("Bearer {KEY}") {
        return (StatusCode::UNAUTHORIZED, Json(json!({"error": {"message": "Invalid API Key"}})));
    }
    let mut shelf = stripe.0.lock().unwrap();
    shelf.made += 1;
    let (id, secret) = (format!("we_{}", shelf.made), format!("whsec_{}", shelf.made));
    let form = String::from_utf8(form.to_vec()).unwrap();
    shelf.endpoints.insert(id.clone(), (WEBHOOK.to_owned(), form));
    (StatusCode::OK, Json(json!({"id": id, "url": WEBHOOK, "secret": secret})))
}

async fn list(State(stripe): State<FakeStripe>) -> Json<Value> {
    let shelf = stripe.0.lock().unwrap();
    let data: Vec<Value> =
        shelf.endpoints.iter().map(|(id, (url, _))| json!({"id": id, "url": url})).collect();
    Json(json!({"object": "list", "data": data}))
}

async fn remove(State(stripe): State<FakeStripe>, Path(id): Path<String>) -> (StatusCode, Json<Value>) {
    let mut shelf = stripe.0.lock().unwrap();
    if shelf.refuse_deletes {
        return (StatusCode::INTERNAL_SERVER_ERROR, Json(json!({"error": {"message": "later"}})));
    }
    shelf.endpoints.remove(&id);
    (StatusCode::OK, Json(json!({"id": id, "deleted": true})))
}

/// A set-up with this key.
async fn run(stripe_url: &str, key: &str, vault: &Memory) -> Result<bool> {
    let remote = Remote::by("python3", "");
    set_up(&Account { remote: &remote, url: stripe_url, key }, vault, WEBHOOK).await
}

fn stored(secrets: &[&str]) -> Stored {
    let webhook_secrets = secrets.iter().map(|secret| (*secret).to_owned()).collect();
    Stored { api_key: KEY.to_owned(), webhook_secrets }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_run_registers_the_webhook_with_all_its_events_and_stores_both_keys() {
    let (stripe, vault) = (FakeStripe::default(), Memory::default());
    let url = stripe.start().await;
    stripe.put("we_other", "https://elsewhere.example/hook");
    assert!(!run(&url, KEY, &vault).await.unwrap());
    assert_eq!(*vault.0.lock().unwrap(), [stored(&["whsec_1"])]);
    assert_eq!(stripe.endpoints(), ["we_1", "we_other"], "others' endpoints are left alone");
    let form = stripe.0.lock().unwrap().endpoints["we_1"].1.clone();
    for event in WEBHOOK_EVENTS {
        assert!(form.contains(&format!("enabled_events%5B%5D={event}")), "{event}: {form}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_run_rotates_the_secret_and_both_are_taken_until_the_old_one_is_dropped() {
    let (stripe, vault) = (FakeStripe::default(), Memory::default());
    let url = stripe.start().await;
    run(&url, KEY, &vault).await.unwrap();
    assert!(run(&url, KEY, &vault).await.unwrap());
    assert_eq!(vault.read().await.unwrap(), stored(&["whsec_2", "whsec_1"]));
    assert_eq!(stripe.endpoints(), ["we_2"]);

    assert_eq!(forget_old(&vault).await.unwrap(), 1);
    assert_eq!(vault.read().await.unwrap(), stored(&["whsec_2"]));
    assert_eq!(forget_old(&vault).await.unwrap(), 0, "and again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_stopped_half_way_is_made_good_by_the_next() {
    let (stripe, vault) = (FakeStripe::default(), Memory::default());
    let url = stripe.start().await;
    run(&url, KEY, &vault).await.unwrap();
    // It was registered, and the process died before the secret was stored: the secret is lost.
    stripe.put("we_lost", WEBHOOK);
    stripe.0.lock().unwrap().refuse_deletes = true;
    let error = run(&url, KEY, &vault).await.unwrap_err().to_string();
    assert!(error.contains("500 later"), "{error}");
    assert_eq!(vault.read().await.unwrap(), stored(&["whsec_2", "whsec_1"]), "stored before any is removed");

    stripe.0.lock().unwrap().refuse_deletes = false;
    run(&url, KEY, &vault).await.unwrap();
    assert_eq!(
        (stripe.endpoints(), vault.read().await.unwrap()),
        (vec!["we_3".to_owned()], stored(&["whsec_3", "whsec_2"]))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_stripe_does_not_take_changes_nothing_and_is_not_shown() {
    let (stripe, vault) = (FakeStripe::default(), Memory::default());
    let url = stripe.start().await;
    let error = run(&url, "sk_test_wrong", &vault).await.unwrap_err().to_string();
    assert!(error.contains("401 Invalid API Key") && !error.contains("sk_test_wrong"), "{error}");
    assert!(vault.0.lock().unwrap().is_empty() && stripe.endpoints().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stage_that_is_removed_takes_only_its_own_webhook_with_it() {
    let (stripe, remote) = (FakeStripe::default(), Remote::by("python3", ""));
    let url = stripe.start().await;
    stripe.put("we_other", "https://elsewhere.example/hook");
    stripe.put("we_ours", WEBHOOK);
    let account = Account { remote: &remote, url: &url, key: KEY };
    assert_eq!(account.forget(WEBHOOK).await.unwrap(), 1);
    assert_eq!(stripe.endpoints(), ["we_other"]);
    assert_eq!(account.forget(WEBHOOK).await.unwrap(), 0, "and again");
}
