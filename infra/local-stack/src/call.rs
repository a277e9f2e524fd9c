//! Which call a request is: who makes it, at which service, and what for.

use contracts::FUNCTION_ALIAS;
use http::HeaderMap;
use http::request::Parts;
use sha2::{Digest, Sha256};

use crate::settings::LOCAL_STAGE;

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

/// The short name of the function that a request invokes directly: `/2015-03-31/functions/<name or ARN>/invocations`.
pub fn invoked(path: &str) -> Option<String> {
    let named = path.split_once("/functions/")?.1.strip_suffix("/invocations")?;
    let named = form(format!("name={named}").as_bytes()).next()?.1;
    let name = named.rsplit_once(":function:").map_or(&*named, |(_, name)| name);
    name.split(':').next().map(|name| short(name).to_owned())
}

/// The name within the stage.
pub fn short(function: &str) -> &str {
    function.trim_start_matches("ordersaga-").trim_start_matches(LOCAL_STAGE).trim_start_matches('-')
}

/// The access keys that the emulator gives a function (`execution_credentials` in its lambda_runtime.py), by whether the
/// first caller of a process named the alias. Were they to change, the function's calls would be known by the key itself.
pub fn access_keys(function_arn: &str, role_arn: &str) -> [String; 2] {
    [function_arn, &format!("{function_arn}:{FUNCTION_ALIAS}")].map(|arn| access_key(arn, role_arn))
}

fn access_key(function_arn: &str, role_arn: &str) -> String {
    let digest = Sha256::digest(format!("{function_arn}:{role_arn}"));
    let text: String = digest.iter().take(8).map(|byte| format!("{byte:02X}")).collect();
    format!("ASIA{text}")
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
    fn a_function_is_invoked_by_its_name_or_its_arn() {
        for named in [
            "ordersaga-local-users-api",
            "ordersaga-local-users-api%3Alive",
            "arn:aws:lambda:us-east-1:000000000000:function:ordersaga-local-users-api:live",
        ] {
            let path = format!("/2015-03-31/functions/{named}/invocations");
            assert_eq!(invoked(&path).as_deref(), Some("users-api"), "{named}");
        }
        assert_eq!(invoked("/2015-03-31/functions/x"), None);
    }

    #[test]
    fn a_function_is_known_by_its_access_key_and_its_short_name() {
        let arn = "arn:aws:lambda:us-east-1:000000000000:function:ordersaga-local-orders-api";
        let [key, aliased] = access_keys(arn, "arn:aws:iam::000000000000:role/r");
        assert!(key.len() == 20 && key.starts_with("ASIA"), "{key}");
        assert_ne!(key, aliased);
        assert_eq!(short("ordersaga-local-orders-api"), "orders-api");
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
