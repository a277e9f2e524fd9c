//! The REST API.

use std::time::Duration;

use contracts::{OrderId, Sku};
use reqwest::header::{HOST, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Method, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::error::{Error, Result, is_uncertain};
use crate::live::Live;
use crate::model::{
    NewAccount, NewOrder, Order, OrderEvent, Page, Payment, Placed, Product, Stock, Ticket, Tokens, User,
};
use crate::route::{Route, TIMEOUT};

/// With the pauses between them about 6 s: as long as a function that is not there yet takes to start.
const TRIES: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(400);
/// A limit for `Retry-After`: a person at a terminal does not wait for minutes.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A client of the REST API, anonymous or for one user.
#[derive(Debug, Clone)]
pub struct Shop {
    api: String,
    token: Option<String>,
    /// What a login gives to renew the access token with, once.
    refresh_token: Option<String>,
    http: reqwest::Client,
}

impl Shop {
    /// An anonymous client of the shop at `api_url`.
    pub fn new(api_url: &str) -> Self {
        Self::by(&Route::direct(api_url))
    }

    /// The shop at the end of this route, without a token.
    pub fn by(route: &Route) -> Self {
        let headers: HeaderMap = route.host.iter().map(|host| (HOST, host.clone())).collect();
        let http = reqwest::Client::builder().no_proxy().default_headers(headers).build().unwrap_or_default();
        Self { api: route.base.clone(), token: None, refresh_token: None, http }
    }

    /// The same client with this access token.
    #[must_use]
    pub fn with_token(&self, token: impl Into<String>) -> Self {
        Self { token: Some(token.into()), refresh_token: None, ..self.clone() }
    }

    /// The access token, if there is one.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// A call to be filled in and sent.
    pub fn call(&self, method: Method, path: &str) -> Call {
        let request = self.http.request(method.clone(), format!("{}{path}", self.api)).timeout(TIMEOUT);
        let request = match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        Call { name: format!("{method} {path}"), request, repeatable: method.is_safe() }
    }

    /// Reads a path as `T`.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.call(Method::GET, path).send().await?.read()
    }

    /// Registers a customer and logs in. When no answer says whether the account was made, it registers again: then a
    /// refusal says so.
    pub async fn join(&self, account: &NewAccount<'_>) -> Result<Self> {
        let mut is_again = false;
        for pause in pauses() {
            match self.register(account).await {
                Err(error) if error.is_uncertain() => is_again = true,
                Err(error) if is_again && error.status() == Some(StatusCode::CONFLICT) => break,
                registered => {
                    registered?;
                    break;
                }
            }
            tokio::time::sleep(pause).await;
        }
        self.login(account.email, account.password).await
    }

    pub async fn register(&self, account: &NewAccount<'_>) -> Result<User> {
        self.call(Method::POST, "/v1/auth/register").json(account).send().await?.read()
    }

    /// The shop for this user.
    pub async fn login(&self, email: &str, password: &str) -> Result<Self> {
        let credentials = json!({"email": email, "password": password});
        let call = self.call(Method::POST, "/v1/auth/login").repeatable().json(&credentials);
        Ok(self.with_tokens(call.send().await?.read()?))
    }

    /// The shop for the same user, after its login, with an access token that lasts as long as a new one. The one before it
    /// cannot be renewed again.
    ///
    /// # Errors
    /// The user has not logged in by this client, or the session has ended.
    pub async fn renewed(&self) -> Result<Self> {
        let Some(refresh_token) = &self.refresh_token else {
            return Err(Error::Unfit { reason: "only a login can be renewed".to_owned() });
        };
        let call = self.call(Method::POST, "/v1/auth/refresh").json(&json!({"refresh_token": refresh_token}));
        Ok(self.with_tokens(call.send().await?.read()?))
    }

    fn with_tokens(&self, tokens: Tokens) -> Self {
        Self { token: Some(tokens.access_token), refresh_token: Some(tokens.refresh_token), ..self.clone() }
    }

    /// This user.
    pub async fn me(&self) -> Result<User> {
        self.get("/v1/users/me").await
    }

    /// Confirms this user's e-mail address with the code that was sent to it.
    pub async fn confirm_email(&self, code: &str) -> Result<()> {
        let body = json!({"channel": "email", "code": code});
        self.call(Method::POST, "/v1/users/me/verifications/confirm").json(&body).send().await?.succeeded()
    }

    /// All products, from all pages.
    pub async fn products(&self) -> Result<Vec<Product>> {
        let mut products = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let after = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
            let page: Page<Product> = self.get(&format!("/v1/products?limit=100{after}")).await?;
            products.extend(page.items);
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(products);
            }
        }
    }

    pub async fn stock(&self, sku: &Sku) -> Result<Stock> {
        self.get(&format!("/v1/inventory/{sku}")).await
    }

    /// Places an order; the same key means the same order.
    pub async fn place(&self, order: &NewOrder, key: &str) -> Result<Placed> {
        let call = self.call(Method::POST, "/v1/orders").header("idempotency-key", key).json(order);
        call.send().await?.read()
    }

    pub async fn order(&self, id: &OrderId) -> Result<Order> {
        self.get(&format!("/v1/orders/{id}")).await
    }

    /// The order's events, from the first on.
    pub async fn events(&self, id: &OrderId) -> Result<Vec<OrderEvent>> {
        let page: Page<OrderEvent> = self.get(&format!("/v1/orders/{id}/events?after=0")).await?;
        Ok(page.items)
    }

    pub async fn payment(&self, order: &OrderId) -> Result<Payment> {
        self.get(&format!("/v1/payments/{order}")).await
    }

    /// Deletes this user's account. It is erased in the background.
    pub async fn leave(&self) -> Result<()> {
        self.call(Method::DELETE, "/v1/users/me").send().await?.succeeded()
    }

    pub async fn ticket(&self) -> Result<Ticket> {
        self.call(Method::POST, "/v1/realtime/tickets").repeatable().send().await?.read()
    }

    /// A WebSocket for this user, with a ticket of its own. Tried again when there is no answer, as any client does.
    pub async fn live(&self) -> Result<Live> {
        connected(async || {
            let ticket = self.ticket().await?;
            Live::connect(&ticket.url, &ticket.ticket).await
        })
        .await
    }

    /// As [`Shop::live`], by this route and not to the address that the ticket comes with.
    pub async fn live_by(&self, route: &Route) -> Result<Live> {
        connected(async || Live::by(route, &self.ticket().await?.ticket).await).await
    }
}

async fn connected(mut connect: impl AsyncFnMut() -> Result<Live>) -> Result<Live> {
    for pause in pauses() {
        match connect().await {
            Err(Error::Broken { .. }) => tokio::time::sleep(pause).await,
            result => return result,
        }
    }
    connect().await
}

/// The pauses between the tries, each twice as long as the one before.
fn pauses() -> impl Iterator<Item = Duration> {
    (1..TRIES).scan(FIRST_PAUSE, |next, _| {
        let pause = *next;
        *next *= 2;
        Some(pause)
    })
}

/// One call that is not sent yet.
#[derive(Debug)]
#[must_use]
pub struct Call {
    name: String,
    request: reqwest::RequestBuilder,
    /// Whether it does no harm to send the request twice.
    repeatable: bool,
}

impl Call {
    /// For a request that does no harm when it is sent twice.
    pub fn repeatable(self) -> Self {
        Self { repeatable: true, ..self }
    }

    pub fn header(self, name: &str, value: &str) -> Self {
        let repeatable = self.repeatable || name.eq_ignore_ascii_case("idempotency-key");
        Self { request: self.request.header(name, value), repeatable, ..self }
    }

    pub fn json(self, body: &impl Serialize) -> Self {
        Self { request: self.request.json(body), ..self }
    }

    /// A body that may be anything, for a server that has to refuse it.
    pub fn body(self, content_type: &str, body: impl Into<reqwest::Body>) -> Self {
        Self { request: self.request.header("content-type", content_type).body(body), ..self }
    }

    /// Sends the request, and retries while the server is unreachable or answers 503 or 429: in these cases
    /// nothing was done. When that is uncertain, retries only what does no harm when it is sent twice.
    ///
    /// # Errors
    /// There is no answer. A refusal is an answer.
    pub async fn send(self) -> Result<Answer> {
        for pause in pauses() {
            // A body that can be sent only once is a stream, and there are none here.
            let Some(request) = self.request.try_clone() else { break };
            match once(&self.name, request).await {
                Ok(answer) if answer.did_nothing() || self.repeatable && is_uncertain(answer.status) => {
                    tokio::time::sleep(answer.retry_after().unwrap_or(pause).min(LONGEST_PAUSE)).await;
                }
                Err(Error::NoAnswer { source, .. }) if source.is_connect() || self.repeatable => {
                    tokio::time::sleep(pause).await;
                }
                result => return result,
            }
        }
        self.send_once().await
    }

    /// Sends it, and takes what comes.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn send_once(self) -> Result<Answer> {
        once(&self.name, self.request).await
    }
}

async fn once(name: &str, request: reqwest::RequestBuilder) -> Result<Answer> {
    let no_answer = |source| Error::NoAnswer { call: name.to_owned(), source };
    let response = request.send().await.map_err(no_answer)?;
    let (status, headers) = (response.status(), response.headers().clone());
    let body = response.text().await.map_err(no_answer)?;
    Ok(Answer { call: name.to_owned(), status, headers, body })
}

/// The server's response.
#[derive(Debug, Clone)]
pub struct Answer {
    call: String,
    pub status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let name = HeaderName::try_from(name).ok()?;
        self.headers.get(name).map(HeaderValue::to_str)?.ok()
    }

    /// The body; null when it is no JSON.
    pub fn value(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    /// The body of a success as `T`.
    ///
    /// # Errors
    /// It is a refusal, or no `T`.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T> {
        self.succeeded()?;
        serde_json::from_str(&self.body).map_err(|source| Error::Unreadable {
            call: self.call.clone(),
            body: self.body.clone(),
            source,
        })
    }

    /// For a request whose success has no body.
    ///
    /// # Errors
    /// It is a refusal.
    pub fn succeeded(&self) -> Result<()> {
        if self.status.is_success() {
            return Ok(());
        }
        Err(Error::Refused { call: self.call.clone(), status: self.status, said: self.said() })
    }

    /// Why it was refused: the problem's detail and fields, or the text itself.
    fn said(&self) -> String {
        let problem = self.value();
        let Some(detail) = problem["detail"].as_str() else { return self.body.trim().to_owned() };
        let fields = problem["errors"].as_array().into_iter().flatten().map(|error| {
            let text = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
            format!(" {}: {}.", text("field"), text("message"))
        });
        std::iter::once(detail.to_owned()).chain(fields).collect()
    }

    fn did_nothing(&self) -> bool {
        matches!(self.status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS)
    }

    fn retry_after(&self) -> Option<Duration> {
        self.header(RETRY_AFTER.as_str())?.parse().ok().map(Duration::from_secs)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use axum::Router;
    use axum::routing::any;
    use tokio::net::TcpListener;

    use super::*;

    /// A server that answers its calls in this order, and the last again and again; with the number of calls.
    async fn server(answers: &'static [(StatusCode, &'static str)]) -> (Shop, Arc<AtomicU32>) {
        let calls = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&calls);
        let answer = any(move || async move {
            let number = count.fetch_add(1, Ordering::Relaxed) as usize;
            answers[number.min(answers.len() - 1)]
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
        (Shop::new(&url), calls)
    }

    const ACCOUNT: NewAccount<'_> =
        NewAccount { email: "a@ordersaga.example", password: "Password-1", name: "A", phone: None };
    const LOST: (StatusCode, &str) = (StatusCode::BAD_GATEWAY, "");
    const TAKEN: (StatusCode, &str) = (StatusCode::CONFLICT, r#"{"detail":"The address is taken."}"#);
    const TOKENS: (StatusCode, &str) = (StatusCode::OK, r#"{"access_token":"t","refresh_token":"r"}"#);
    const RENEWED: (StatusCode, &str) = (StatusCode::OK, r#"{"access_token":"u","refresh_token":"s"}"#);

    #[tokio::test]
    async fn an_account_whose_registration_got_no_answer_is_used() {
        let (shop, calls) = server(&[LOST, TAKEN, TOKENS]).await;
        let customer = shop.join(&ACCOUNT).await.unwrap();
        assert_eq!((customer.token(), calls.load(Ordering::Relaxed)), (Some("t"), 3));
        // The address is another customer's.
        let (shop, calls) = server(&[TAKEN, TOKENS]).await;
        let error = shop.join(&ACCOUNT).await.unwrap_err();
        assert_eq!((error.status(), calls.load(Ordering::Relaxed)), (Some(StatusCode::CONFLICT), 1));
    }

    #[tokio::test]
    async fn a_login_is_renewed_and_a_token_alone_is_not() {
        let (shop, calls) = server(&[TOKENS, RENEWED]).await;
        let customer = shop.login("a@ordersaga.example", "Password-1").await.unwrap();
        let renewed = customer.renewed().await.unwrap();
        assert_eq!((customer.token(), renewed.token()), (Some("t"), Some("u")));
        assert!(renewed.with_token("v").renewed().await.is_err());
        assert_eq!(calls.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn without_an_answer_only_what_does_no_harm_is_sent_again() {
        let (shop, calls) = server(&[LOST, (StatusCode::OK, "{}")]).await;
        shop.get::<Value>("/v1/orders").await.unwrap();
        assert_eq!(calls.load(Ordering::Relaxed), 2);
        let (shop, calls) = server(&[LOST]).await;
        let answer = shop.call(Method::POST, "/v1/products").send().await.unwrap();
        assert_eq!((answer.status, calls.load(Ordering::Relaxed)), (StatusCode::BAD_GATEWAY, 1));
    }

    fn answer(status: StatusCode, body: &str) -> Answer {
        Answer { call: "POST /v1/orders".into(), status, headers: HeaderMap::new(), body: body.into() }
    }

    #[test]
    fn a_refusal_says_which_call_and_what_the_server_said() {
        let body = r#"{"detail":"No.","errors":[{"field":"items[0].sku","message":"is unknown"}]}"#;
        let error = answer(StatusCode::UNPROCESSABLE_ENTITY, body).read::<Value>().unwrap_err();
        let text = error.to_string();
        assert!(text.contains("POST /v1/orders") && text.contains("422"), "{text}");
        assert!(text.contains("No. items[0].sku: is unknown."), "{text}");
        let text = answer(StatusCode::BAD_GATEWAY, "oops").read::<Value>().unwrap_err().to_string();
        assert!(text.contains("oops"), "{text}");
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_tried_again_and_then_named() {
        // Nothing listens on port 9 of this machine, so the connection is refused at once.
        let shop = Shop::new("http://127.0.0.1:9/");
        let error = shop.call(Method::GET, "/health/live").send_once().await.unwrap_err();
        assert!(error.to_string().starts_with("GET /health/live got no answer"), "{error}");
    }
}
