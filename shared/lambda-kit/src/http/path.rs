//! The path as the client sent it. API Gateway's HTTP API passes it with every escape decoded except `%25`,
//! and lambda_http parses it as a URL again: a decoded `?` or `#` would end it, `\` would become `/`, and
//! white space would vanish. So characters that a path cannot contain are escaped again (RFC 3986 section
//! 2.2: an escaped reserved character is data).

use std::fmt::Write;

use lambda_http::request::LambdaRequest;

pub(super) fn escape(request: &mut LambdaRequest) {
    if let LambdaRequest::ApiGatewayV2(request) = request
        && let Some(path) = &mut request.raw_path
    {
        *path = escaped(path);
    }
}

fn escaped(path: &str) -> String {
    let mut escaped = String::with_capacity(path.len());
    for byte in path.bytes() {
        // RFC 3986 section 3.3: pchar, and the slash between segments. Escapes stay as they are.
        if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/%".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn path_of(raw_path: &str) -> String {
        let event = json!({
            "version": "2.0", "routeKey": "$default", "rawPath": raw_path, "rawQueryString": "",
            "headers": {"host": "shop.example"}, "isBase64Encoded": false,
            "requestContext": {
                "accountId": "1", "apiId": "a", "stage": "$default", "requestId": "r", "timeEpoch": 1,
                "http": {"method": "GET", "path": raw_path, "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1"}
            }
        });
        let mut request: LambdaRequest = serde_json::from_str(&event.to_string()).unwrap();
        escape(&mut request);
        lambda_http::Request::from(request).uri().path().to_owned()
    }

    #[rstest]
    #[case("/v1/products/MUG", "/v1/products/MUG")]
    #[case("/v1/products/MUG?x=1", "/v1/products/MUG%3Fx=1")]
    #[case("/v1/products/MUG#x", "/v1/products/MUG%23x")]
    #[case("/v1/products/MUG\t", "/v1/products/MUG%09")]
    #[case("/v1/products/MUG ", "/v1/products/MUG%20")]
    #[case("/v1/products/MUG\0", "/v1/products/MUG%00")]
    #[case("/v1/products/MUG\\related", "/v1/products/MUG%5Crelated")]
    #[case("/v1/products/MUG\n", "/v1/products/MUG%0A")]
    #[case("/v1/products/Ä", "/v1/products/%C3%84")]
    #[case("/v1/products/A%252E", "/v1/products/A%252E")]
    fn an_escape_stays_a_part_of_the_path(#[case] handed_over: &str, #[case] path: &str) {
        assert_eq!(path_of(handed_over), path);
    }
}
