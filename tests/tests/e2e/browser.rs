//! A real Chromium without a window, driven by its own protocol (https://chromedevtools.github.io/devtools-protocol/).
//!
//! No driver crate: fantoccini and thirtyfour speak through a second program (chromedriver), and chromiumoxide and
//! headless_chrome bring code for the whole protocol; the tests need a dozen of its commands. These go through a pipe:
//! no port to find, no WebSocket, and when this process ends, however it does, the pipe closes and the browser ends.

mod pipe;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::{fixture::WITHIN, programs};
use pipe::Pipe;

/// Errors of the browser are messages for a test's failure.
pub type Result<T> = std::result::Result<T, String>;

/// Tries to click an element that something moves.
const CLICKS: u32 = 5;
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A window's size, and how fine its pixels are.
#[derive(Debug, Clone, Copy)]
pub struct Screen {
    pub width: u32,
    pub height: u32,
    pub scale: u32,
}

pub const DESKTOP: Screen = Screen { width: 1280, height: 900, scale: 1 };
/// The narrowest phones in use.
pub const PHONE: Screen = Screen { width: 360, height: 740, scale: 2 };

/// What happens to a request of the page.
#[derive(Debug, Clone)]
pub enum Fate {
    /// As if there were no network.
    Fails,
    /// The shop gets it, and its answer does not come back.
    AnswerIsLost,
    /// It goes to this server instead, which the page does not see, with these headers as well.
    SentTo {
        server: String,
        headers: Vec<(String, String)>,
    },
    Answered {
        status: u16,
        headers: Vec<(String, String)>,
        body: Vec<u8>,
    },
}

/// Applies to requests of this method whose URL contains this text.
#[derive(Debug)]
struct Rule {
    method: &'static str,
    address: String,
    fate: Fate,
    times: usize,
}

/// A request of the page, recorded while requests are intercepted.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    pub url: String,
    pub headers: Value,
}

/// One browser with one page. Dropped, it ends with everything that it started.
#[derive(Debug)]
pub struct Browser {
    pipe: Pipe,
    rules: Vec<Rule>,
    requests: Vec<Request>,
    complaints: Vec<String>,
}

impl Browser {
    /// Starts one with an empty profile, named after the test.
    pub async fn start(name: &str) -> Result<Self> {
        let program = programs::chromium().await?;
        let profile = Path::new(env!("CARGO_TARGET_TMPDIR")).join("browser").join(name);
        let pipe = Pipe::open(&program, profile).await?;
        let mut browser = Self { pipe, rules: Vec::new(), requests: Vec::new(), complaints: Vec::new() };
        for domain in ["Page", "Runtime", "Log"] {
            browser.call(&format!("{domain}.enable"), json!({})).await?;
        }
        browser.look(DESKTOP, false).await?;
        Ok(browser)
    }

    /// Sends a command and returns its result; handles the browser's events in between.
    pub async fn call(&mut self, method: &str, parameters: Value) -> Result<Value> {
        let id = self.pipe.send(method, parameters).await?;
        loop {
            let message = self.pipe.receive().await?;
            if message["id"] == id {
                return match message.get("error") {
                    Some(error) => Err(format!("{method}: {error}")),
                    None => Ok(message["result"].clone()),
                };
            }
            self.hear(&message).await?;
        }
    }

    async fn hear(&mut self, message: &Value) -> Result<()> {
        let said = &message["params"];
        match message["method"].as_str() {
            Some("Fetch.requestPaused") => self.decide(said).await?,
            Some("Runtime.exceptionThrown") => {
                self.complaints.push(said["exceptionDetails"].to_string());
            }
            Some("Log.entryAdded") if said["entry"]["source"] == "security" => {
                self.complaints.push(said["entry"]["text"].to_string());
            }
            _ => {}
        }
        Ok(())
    }

    async fn decide(&mut self, paused: &Value) -> Result<()> {
        let id = &paused["requestId"];
        let fail = ("Fetch.failRequest", json!({"requestId": id, "errorReason": "ConnectionFailed"}));
        // Only where an answer is to be lost does the browser stop again with the answer.
        if paused.get("responseStatusCode").is_some() {
            return self.pipe.send(fail.0, fail.1).await.map(drop);
        }
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let request = Request {
            method: text(&paused["request"]["method"]),
            url: text(&paused["request"]["url"]),
            headers: paused["request"]["headers"].clone(),
        };
        let rule = self.rules.iter_mut().find(|rule| {
            rule.times > 0 && rule.method == request.method && request.url.contains(&rule.address)
        });
        let (command, parameters) = match rule {
            None => ("Fetch.continueRequest", json!({"requestId": id})),
            Some(rule) => {
                rule.times -= 1;
                match &rule.fate {
                    Fate::Fails => fail,
                    Fate::AnswerIsLost => {
                        ("Fetch.continueRequest", json!({"requestId": id, "interceptResponse": true}))
                    }
                    Fate::SentTo { server, headers } => {
                        let path = request.url.split('/').skip(3).collect::<Vec<_>>().join("/");
                        let own = request.headers.as_object().into_iter().flatten();
                        let own = own.map(|(name, value)| json!({"name": name, "value": value}));
                        let headers: Vec<Value> = own.chain(list(headers)).collect();
                        (
                            "Fetch.continueRequest",
                            json!({"requestId": id, "url": format!("{server}/{path}"), "headers": headers}),
                        )
                    }
                    Fate::Answered { status, headers, body } => {
                        let headers: Vec<Value> = list(headers).collect();
                        let body = STANDARD.encode(body);
                        (
                            "Fetch.fulfillRequest",
                            json!({"requestId": id, "responseCode": status, "responseHeaders": headers, "body": body}),
                        )
                    }
                }
            }
        };
        self.requests.push(request);
        self.pipe.send(command, parameters).await.map(drop)
    }

    /// Intercepts requests from now on: the next `times` of this method whose URL contains this text get
    /// `fate`. Others go on unchanged.
    pub async fn meddle(
        &mut self,
        method: &'static str,
        address: &str,
        fate: Fate,
        times: usize,
    ) -> Result<()> {
        self.rules.push(Rule { method, address: address.to_owned(), fate, times });
        self.call("Fetch.enable", json!({})).await.map(drop)
    }

    /// Requests are let alone again.
    pub async fn meddle_no_more(&mut self) -> Result<()> {
        self.rules.clear();
        self.call("Fetch.disable", json!({})).await.map(drop)
    }

    /// The page's requests since interception began.
    pub fn requests(&self, method: &str, address: &str) -> Vec<&Request> {
        self.requests.iter().filter(|one| one.method == method && one.url.contains(address)).collect()
    }

    /// Errors of the page's script, and what its content security policy refused.
    pub fn complaints(&self) -> &[String] {
        &self.complaints
    }

    pub async fn look(&mut self, screen: Screen, dark: bool) -> Result<()> {
        let Screen { width, height, scale } = screen;
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": scale, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", metrics).await?;
        let scheme = if dark { "dark" } else { "light" };
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.call("Emulation.setEmulatedMedia", media).await.map(drop)
    }

    pub async fn open(&mut self, url: &str) -> Result<()> {
        let answer = self.call("Page.navigate", json!({"url": url})).await?;
        match answer.get("errorText") {
            Some(error) => Err(format!("{url}: {error}")),
            None => self.see("the page is loaded", "document.readyState === 'complete'").await,
        }
    }

    /// The value of an expression in the page.
    pub async fn value(&mut self, expression: &str) -> Result<Value> {
        let parameters = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let answer = self.call("Runtime.evaluate", parameters).await?;
        match answer.get("exceptionDetails") {
            Some(details) => Err(format!("{expression}: {}", details["exception"]["description"])),
            None => Ok(answer["result"]["value"].clone()),
        }
    }

    /// Waits until an expression is true.
    pub async fn see(&mut self, what: &str, expression: &str) -> Result<()> {
        self.found(what, expression).await.map(drop)
    }

    /// Waits until an expression is neither null nor false, and returns its value.
    async fn found(&mut self, what: &str, expression: &str) -> Result<Value> {
        let deadline = Instant::now() + WITHIN;
        loop {
            let value = self.value(expression).await?;
            if !matches!(value, Value::Null | Value::Bool(false)) {
                return Ok(value);
            }
            if Instant::now() > deadline {
                return Err(self.not_found(what).await?);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn not_found(&mut self, what: &str) -> Result<String> {
        self.screenshot("failed").await?;
        let text = self.value("document.body.innerText").await?;
        let complaints = self.complaints.join(", ");
        let within = WITHIN.as_secs();
        Ok(format!("not within {within} s: {what}. The page says: {text}; complaints: {complaints}"))
    }

    /// Waits until an element that can be seen has this text.
    pub async fn see_text(&mut self, selector: &str, text: &str) -> Result<()> {
        let all = format!("[...document.querySelectorAll({selector:?})]");
        let expression =
            format!("{all}.some((one) => one.checkVisibility() && one.innerText.includes({text:?}))");
        self.see(&format!("{selector} says {text:?}"), &expression).await
    }

    /// Presses the mouse in the middle of an element, once it is there, nothing covers it, and it has not moved between
    /// two frames: what is loaded above it would move it away from the mouse.
    pub async fn click(&mut self, selector: &str) -> Result<()> {
        let place = format!(
            "(async () => {{
                const place = () => {{
                    const node = document.querySelector({selector:?});
                    if (!node) return null;
                    node.scrollIntoView({{ block: 'center', behavior: 'instant' }});
                    const box = node.getBoundingClientRect();
                    const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
                    return node.contains(document.elementFromPoint(x, y)) ? {{ x, y }} : null;
                }};
                const before = place();
                await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
                const now = place();
                if (!before || !now || before.x !== now.x || before.y !== now.y) return null;
                window.clickMissed = !document.querySelector({selector:?}).disabled;
                document.addEventListener('click', ({{ target }}) => {{
                    if (target.closest({selector:?})) window.clickMissed = false;
                }}, {{ capture: true, once: true }});
                return now;
            }})()"
        );
        // What loads meanwhile may move the element away before the mouse is pressed.
        for _ in 0..CLICKS {
            let at = self.found(&format!("{selector} can be clicked"), &place).await?;
            for kind in ["mousePressed", "mouseReleased"] {
                let event =
                    json!({"type": kind, "x": at["x"], "y": at["y"], "button": "left", "clickCount": 1});
                self.call("Input.dispatchMouseEvent", event).await?;
            }
            // A click that leaves the page has not missed.
            if self.value("window.clickMissed").await.ok() != Some(Value::Bool(true)) {
                return Ok(());
            }
        }
        Err(format!("{selector} was not where it was clicked, {CLICKS} times"))
    }

    /// Clicks a field and writes over what is in it.
    pub async fn fill(&mut self, selector: &str, text: &str) -> Result<()> {
        self.click(selector).await?;
        self.value(&format!("document.querySelector({selector:?}).select()")).await?;
        self.write(text).await
    }

    /// Types into whatever has the focus.
    pub async fn write(&mut self, text: &str) -> Result<()> {
        self.call("Input.insertText", json!({"text": text})).await.map(drop)
    }

    /// A key: Tab, Enter, Space or Escape.
    pub async fn press(&mut self, key: &str) -> Result<()> {
        let (key, code, number, text) = match key {
            "Space" => (" ", "Space", 32, " "),
            "Enter" => ("Enter", "Enter", 13, "\r"),
            "Tab" => ("Tab", "Tab", 9, ""),
            "Escape" => ("Escape", "Escape", 27, ""),
            other => return Err(format!("no such key: {other}")),
        };
        for kind in [if text.is_empty() { "rawKeyDown" } else { "keyDown" }, "keyUp"] {
            let mut event = json!({"type": kind, "key": key, "code": code, "windowsVirtualKeyCode": number});
            if kind == "keyDown" {
                event["text"] = json!(text);
            }
            self.call("Input.dispatchKeyEvent", event).await?;
        }
        Ok(())
    }

    /// Goes on with Tab until this has the focus, which must be seen wherever it stops.
    pub async fn tab_to(&mut self, selector: &str) -> Result<()> {
        const STOPS: usize = 60;
        let mut passed = Vec::new();
        for _ in 0..STOPS {
            self.press("Tab").await?;
            let stop = format!(
                "(() => {{
                    const one = document.activeElement;
                    return {{
                        there: one.matches({selector:?}),
                        seen: one === document.body || getComputedStyle(one).outlineStyle !== 'none',
                        name: `${{one.tagName}} ${{one.id || one.name || one.innerText.slice(0, 30)}}`,
                    }};
                }})()"
            );
            let stop = self.value(&stop).await?;
            if stop["seen"] != true {
                return Err(format!("the focus cannot be seen at {}", stop["name"]));
            }
            if stop["there"] == true {
                return Ok(());
            }
            passed.push(stop["name"].to_string());
        }
        Err(format!("the keyboard does not reach {selector}: it came by {}", passed.join(", ")))
    }

    /// Into `target/screenshots`.
    pub async fn screenshot(&mut self, name: &str) -> Result<PathBuf> {
        let picture = self.call("Page.captureScreenshot", json!({"format": "png"})).await?;
        let picture = STANDARD.decode(picture["data"].as_str().unwrap_or_default()).map_err(said)?;
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("screenshots");
        std::fs::create_dir_all(&folder).map_err(said)?;
        let file = folder.join(format!("{name}.png"));
        std::fs::write(&file, picture).map_err(said)?;
        Ok(file)
    }
}

fn list(headers: &[(String, String)]) -> impl Iterator<Item = Value> {
    headers.iter().map(|(name, value)| json!({"name": name, "value": value}))
}

fn said(error: impl std::fmt::Display) -> String {
    error.to_string()
}
