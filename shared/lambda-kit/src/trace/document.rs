//! Spans as X-Ray's segment documents (AWS X-Ray Developer Guide, "X-Ray segment documents" and "Sending segment documents
//! to the X-Ray daemon").

use std::{
    net::{SocketAddr, UdpSocket},
    sync::OnceLock,
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};

use super::Span;
use crate::config;

/// Before each document.
const DAEMON_HEADER: &str = "{\"format\": \"json\", \"version\": 1}\n";
/// The longest name of a segment.
const NAME_CHARACTERS: usize = 200;

static SETTINGS: OnceLock<Settings> = OnceLock::new();

struct Settings {
    function: String,
    /// This percentage of the requests that bring no trace begin one.
    sampling_percent: u8,
    daemon: Option<UdpSocket>,
}

/// Begins to send spans, if the environment names the daemon.
pub fn start(function: &str) {
    let daemon = config::optional("AWS_XRAY_DAEMON_ADDRESS");
    let percent = config::optional("TRACE_SAMPLING_PERCENT").and_then(|percent| percent.parse().ok());
    start_with(function, daemon.as_deref(), percent.unwrap_or(0));
}

pub(super) fn start_with(function: &str, daemon: Option<&str>, sampling_percent: u8) {
    let daemon = daemon.and_then(connected);
    let _ = SETTINGS.set(Settings { function: function.to_owned(), sampling_percent, daemon });
}

/// A socket that never blocks: a datagram that the system has no room for is lost.
fn connected(address: &str) -> Option<UdpSocket> {
    let address: SocketAddr = address.parse().ok()?;
    let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).ok()?;
    socket.set_nonblocking(true).ok()?;
    socket.connect(address).ok()?;
    Some(socket)
}

/// Whether a request that brings no trace begins one.
pub fn samples() -> bool {
    let percent = SETTINGS.get().map_or(0, |settings| settings.sampling_percent);
    percent > 0 && fastrand::u8(..100) < percent
}

/// A span that is under way. It is sent when it is dropped, and counts as failed until its end is known: a call that is
/// given up at its timeout is dropped.
pub struct Running(Value);

impl Running {
    /// One operation of this function.
    pub fn operation(span: Span, operation: &str) -> Self {
        let function = SETTINGS.get().map_or("unknown", |settings| settings.function.as_str());
        let annotations = json!({ "operation": operation });
        if span.is_subsegment {
            return Self::begin(span, operation, json!({ "annotations": annotations }));
        }
        Self::begin(span, function, json!({ "annotations": annotations, "origin": "AWS::Lambda::Function" }))
    }

    /// `fields` are those that only some documents have.
    pub(super) fn begin(span: Span, name: &str, mut fields: Value) -> Self {
        fields["name"] = json!(segment_name(name));
        fields["id"] = json!(format!("{:016x}", span.id));
        fields["trace_id"] = json!(span.trace_id());
        fields["start_time"] = json!(seconds());
        fields["fault"] = json!(true);
        if let Some(parent) = span.parent {
            fields["parent_id"] = json!(format!("{parent:016x}"));
        }
        if span.is_subsegment {
            fields["type"] = json!("subsegment");
        }
        Self(fields)
    }

    pub fn end(mut self, is_fault: bool) {
        self.0["fault"] = json!(is_fault);
    }

    /// The HTTP status of a call.
    pub fn answered(mut self, status: u16) {
        self.0["http"]["response"] = json!({ "status": status });
        self.0["error"] = json!((400..500).contains(&status));
        self.0["throttle"] = json!(status == 429);
        self.end(status >= 500);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0["end_time"] = json!(seconds());
        if let Some(daemon) = SETTINGS.get().and_then(|settings| settings.daemon.as_ref()) {
            let _ = daemon.send(format!("{DAEMON_HEADER}{}", self.0).as_bytes());
        }
    }
}

/// Names have letters, digits, spaces and a few signs.
fn segment_name(name: &str) -> String {
    let is_allowed = |c: &char| c.is_alphanumeric() || " _.:/%&#=+\\-@".contains(*c);
    name.chars().filter(is_allowed).take(NAME_CHARACTERS).collect()
}

fn seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
