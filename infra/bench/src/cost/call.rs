//! Which call a request is: who makes it, at which service, and what for.

use http::HeaderMap;
use http::request::Parts;

/// A kind of call. Ordered as it is printed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    /// The access key that signed it: each function has its own.
    pub signer: String,
    /// As in the signature: `dynamodb`, `states`, `ses`.
    pub service: String,
    pub operation: String,
}

impl Call {
    /// `None` for an unsigned request, which is not a call to AWS.
    pub fn of(parts: &Parts, body: &[u8]) -> Option<Self> {
        let (signer, service) = scope(&parts.headers)?;
        let operation = target(&parts.headers)
            .or_else(|| action(body))
            .unwrap_or_else(|| rest(parts.method.as_str(), parts.uri.path()));
        Some(Self { signer, service, operation })
    }
}

/// Access key and service of `AWS4-HMAC-SHA256 Credential=<key>/<date>/<region>/<service>/aws4_request, …`.
fn scope(headers: &HeaderMap) -> Option<(String, String)> {
    let authorization = headers.get(http::header::AUTHORIZATION)?.to_str().ok()?;
    let credential = authorization.split_once("Credential=")?.1.split(',').next()?;
    let mut fields = credential.split('/');
    let key = fields.next()?.to_owned();
    Some((key, fields.nth(2)?.to_owned()))
}

/// The JSON services': `DynamoDB_20120810.PutItem`.
fn target(headers: &HeaderMap) -> Option<String> {
    let target = headers.get("x-amz-target")?.to_str().ok()?;
    target.rsplit('.').next().map(str::to_owned)
}

/// The query services': `Action=PublishBatch&…`.
fn action(body: &[u8]) -> Option<String> {
    form(body).find(|(name, _)| name == "Action").map(|(_, value)| value)
}

/// The REST services', of which functions use these.
fn rest(method: &str, path: &str) -> String {
    match (method, path) {
        ("POST", "/v2/email/outbound-emails") => "SendEmail".to_owned(),
        ("POST", _) if path.ends_with("/invocations") => "Invoke".to_owned(),
        ("POST", _) if path.contains("/@connections/") => "PostToConnection".to_owned(),
        _ => format!("{method} {path}"),
    }
}

/// The names and values of a form. Yields nothing useful for a body that is not a form.
pub fn form(body: &[u8]) -> impl Iterator<Item = (String, String)> {
    body.split(|byte| *byte == b'&').filter_map(|pair| {
        let at = pair.iter().position(|byte| *byte == b'=')?;
        Some((unescaped(&pair[..at]), unescaped(&pair[at + 1..])))
    })
}

fn unescaped(text: &[u8]) -> String {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match (first, after) {
            (b'%', [high, low, after @ ..]) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => {
                    bytes.push(high << 4 | low);
                    rest = after;
                }
                _ => bytes.push(b'%'),
            },
            (b'+', _) => bytes.push(b' '),
            (other, _) => bytes.push(*other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn call(service: &str, path: &str, target: Option<&str>, body: &str) -> Call {
        let signed = format!(
            "AWS4-HMAC-SHA256 Credential=ASIA01/20260101/us-east-1/{service}/aws4_request, SignedHeaders=host, Signature=0"
        );
        let mut request = Request::post(path).header("authorization", signed);
        if let Some(target) = target {
            request = request.header("x-amz-target", target);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        Call::of(&parts, body.as_bytes()).unwrap()
    }

    #[test]
    fn a_call_is_known_by_its_target_its_action_or_its_path() {
        let put = call("dynamodb", "/", Some("DynamoDB_20120810.PutItem"), "{}");
        assert_eq!((put.signer.as_str(), put.service.as_str()), ("ASIA01", "dynamodb"));
        assert_eq!(put.operation, "PutItem");
        assert_eq!(call("sns", "/", None, "Action=PublishBatch&Version=1").operation, "PublishBatch");
        assert_eq!(call("ses", "/v2/email/outbound-emails", None, "{}").operation, "SendEmail");
        assert_eq!(call("lambda", "/2015-03-31/functions/x/invocations", None, "{}").operation, "Invoke");
        let post = call("execute-api", "/_aws/execute-api/a/live/@connections/c", None, "hello");
        assert_eq!(post.operation, "PostToConnection");
    }

    #[test]
    fn an_unsigned_request_is_no_call() {
        let (parts, ()) = Request::get("/_ministack/health").body(()).unwrap().into_parts();
        assert_eq!(Call::of(&parts, b""), None);
    }

    #[test]
    fn a_form_is_read_as_it_was_written() {
        let read: Vec<_> = form(b"a=x+y%2Fz&b=%C3%BC&c=100%").collect();
        let wanted = [("a", "x y/z"), ("b", "ü"), ("c", "100%")];
        assert_eq!(read, wanted.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}
