//! Traces: X-Ray shows what one request caused, through all hops, as a tree of spans.
//!
//! | hop | what hands the trace on |
//! |---|---|
//! | a client, to the API | the header `traceparent` (W3C Trace Context) |
//! | Lambda, to a function; a function, to AWS | X-Ray's header `X-Amzn-Trace-Id` |
//! | a store, to the relay | `traceparent` of the envelope, in the outbox |
//! | the relay, to consumers | the message attribute `traceparent` |
//! | the saga, to functions and the payments queue | `traceparent` of the execution's input and of each command |
//!
//! Only sampled traces are handed on: where there is a [`Span`], its trace was sampled. Spans are sent to the X-Ray
//! daemon, whose address Lambda puts into `AWS_XRAY_DAEMON_ADDRESS`, one UDP datagram each. What cannot be sent is lost.
//! No call waits for it or fails because of it.

mod call;
mod document;

use std::time::{SystemTime, UNIX_EPOCH};

pub(crate) use self::{call::call, document::Running, document::start};

/// X-Ray's header in HTTP (AWS X-Ray Developer Guide, "Tracing header").
const XRAY_HEADER: &str = "x-amzn-trace-id";

/// The header, and the message attribute, of W3C Trace Context.
pub const TRACEPARENT: &str = "traceparent";

tokio::task_local! {
    static CURRENT: Option<Span>;
}

/// A span of a sampled trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    trace: u128,
    id: u64,
    parent: Option<u64>,
    is_subsegment: bool,
}

impl Span {
    /// A span of the trace that this `traceparent` names, if that was sampled; without one, a span of the invocation's
    /// trace.
    pub fn join(traceparent: Option<&str>) -> Option<Self> {
        let from = traceparent.and_then(parse_traceparent);
        let from = from.filter(|(_, is_sampled)| *is_sampled).map(|(span, _)| span);
        match (current(), from) {
            // The invocation is nearer than what came with the command.
            (Some(current), from) if from.is_none_or(|from| from.trace == current.trace) => {
                Some(current.subsegment())
            }
            (_, from) => from.map(Self::segment),
        }
    }

    /// A span of the invocation's trace, else of a new trace if this request is sampled. A new trace continues that of the
    /// client's `traceparent`.
    // The client's flag does not decide: the traces of strangers would be paid for.
    pub fn of_request(traceparent: Option<&str>) -> Option<Self> {
        let begins = || {
            let from = traceparent.and_then(parse_traceparent);
            document::samples().then(|| from.map_or_else(Self::root, |(span, _)| span.segment()))
        };
        current().map(Self::subsegment).or_else(begins)
    }

    /// The span that X-Ray's header names, if its trace was sampled.
    pub fn of_xray(header: &str) -> Option<Self> {
        let field = |name: &str| {
            header.split(';').find_map(|part| part.trim().split_once('=').filter(|(key, _)| *key == name))
        };
        let (_, root) = field("Root")?;
        let (time, random) = root.strip_prefix("1-")?.split_once('-')?;
        if field("Sampled")?.1 != "1" || time.len() != 8 {
            return None;
        }
        Self::parse(&format!("{time}{random}"), field("Parent")?.1)
    }

    fn parse(trace: &str, id: &str) -> Option<Self> {
        let id = u64::try_from(hex(id, 16)?).ok()?;
        Some(Self { trace: hex(trace, 32)?, id, parent: None, is_subsegment: false })
    }

    /// The first span of a trace.
    fn root() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        // X-Ray's ids begin with the time, in 32 bits.
        let trace = (u128::from(now) << 96) | (fastrand::u128(..) >> 32);
        Self { trace, id: new_id(), parent: None, is_subsegment: false }
    }

    /// A span of another function or service, which X-Ray shows as a node of its own.
    pub fn segment(self) -> Self {
        Self { id: new_id(), parent: Some(self.id), is_subsegment: false, ..self }
    }

    /// A span within this one.
    fn subsegment(self) -> Self {
        Self { is_subsegment: true, ..self.segment() }
    }

    /// The W3C header that makes this span the parent of what it arrives at.
    pub fn traceparent(&self) -> String {
        format!("00-{:032x}-{:016x}-01", self.trace, self.id)
    }

    /// X-Ray's header that makes this span the parent of what it arrives at.
    fn xray_header(&self) -> String {
        format!("Root={};Parent={:016x};Sampled=1", self.trace_id(), self.id)
    }

    /// X-Ray's id of the trace.
    pub fn trace_id(&self) -> String {
        let hex = format!("{:032x}", self.trace);
        let (time, random) = hex.split_at(8);
        format!("1-{time}-{random}")
    }
}

/// The span of the operation that this task runs.
pub fn current() -> Option<Span> {
    CURRENT.try_with(|span| *span).ok().flatten()
}

/// Runs an invocation with the trace of X-Ray's header that came with it.
pub(crate) async fn in_invocation<T>(header: Option<&str>, work: impl Future<Output = T>) -> T {
    CURRENT.scope(header.and_then(Span::of_xray), work).await
}

/// Runs an operation as this span, if there is one; otherwise the span around it stays the current one. `is_fault` says
/// whether it failed for a reason that is ours.
pub async fn in_span<T>(
    operation: &str,
    span: Option<Span>,
    work: impl Future<Output = T>,
    is_fault: impl FnOnce(&T) -> bool,
) -> T {
    let running = span.map(|span| Running::operation(span, operation));
    let result = CURRENT.scope(span.or_else(current), work).await;
    if let Some(running) = running {
        running.end(is_fault(&result));
    }
    result
}

/// The id of this span's trace is in the log lines of the invocation.
// `cargo ops order` lists the traces of an order by them.
pub(crate) fn log(span: Option<Span>) {
    if let Some(span) = span {
        tracing::Span::current().record("trace_id", span.trace_id());
    }
}

/// The span that a `traceparent` names, and whether its trace was sampled (W3C Trace Context, section 3.2).
fn parse_traceparent(text: &str) -> Option<(Span, bool)> {
    let mut fields = text.split('-');
    let version = fields.next()?;
    let span = Span::parse(fields.next()?, fields.next()?)?;
    let flags = fields.next()?;
    // Later versions may have more fields. There is none of the version ff.
    let is_known = version == "00" && fields.next().is_none();
    let is_later = version != "00" && version != "ff" && hex(version, 2).is_some();
    let flags = u8::from_str_radix(flags, 16).ok().filter(|_| flags.len() == 2)?;
    (is_known || is_later).then_some((span, flags & 1 == 1))
}

/// A number of this many hexadecimal digits, unless it is zero: such an id is invalid.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let is_hex = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex.then(|| u128::from_str_radix(text, 16).ok()).flatten().filter(|number| *number != 0)
}

fn new_id() -> u64 {
    fastrand::u64(1..)
}

#[cfg(test)]
pub(crate) mod tests;
