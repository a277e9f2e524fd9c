use rstest::rstest;

use super::*;

const WEBSOCKET: &str = "wss://x1.execute-api.eu-central-1.amazonaws.com/live";

fn key() -> PublishableKey {
    PublishableKey::parse("pk_test_51Abc").unwrap()
}

/// The policy's directives, each with its sources.
fn directives(page: &Page) -> Vec<(&str, &str)> {
    let policy = page.policy.to_str().unwrap();
    policy.split("; ").map(|directive| directive.split_once(' ').unwrap()).collect()
}

fn sources<'a>(page: &'a Page, name: &str) -> Option<&'a str> {
    directives(page).into_iter().find(|(directive, _)| *directive == name).map(|(_, sources)| sources)
}

#[test]
fn the_websockets_origin_goes_into_the_policy_and_nothing_else_does() {
    assert_eq!(origin(WEBSOCKET).unwrap(), "wss://x1.execute-api.eu-central-1.amazonaws.com");
    assert_eq!(origin("ws://127.0.0.1:4566/_aws/execute-api/x/live").unwrap(), "ws://127.0.0.1:4566");
    assert_eq!(origin("ws://host").unwrap(), "ws://host");
    for wrong in ["", "ws://", "ws:///x", "https://host/", "ws://host; script-src *", "ws://a b/"] {
        assert!(origin(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn the_page_knows_the_decimals_of_every_currency_that_has_not_two() {
    let page = Page::new(WEBSOCKET, None).unwrap();
    let html = std::str::from_utf8(&page.html).unwrap();
    assert!(html.contains(r#"<meta name="currency-decimals" content="BHD:3 BIF:0 CLP:0 DJF:0 "#));
    assert!(decimals().contains("ISK:0") && !decimals().contains("MGA") && !decimals().contains("USD"));
}

#[test]
fn without_a_key_no_other_site_is_named_but_the_websocket() {
    let page = Page::new(WEBSOCKET, None).unwrap();
    let connect = "'self' wss://x1.execute-api.eu-central-1.amazonaws.com";
    assert_eq!(sources(&page, "connect-src"), Some(connect));
    assert_eq!(sources(&page, "default-src"), Some("'none'"));
    assert_eq!(sources(&page, "frame-src"), None);
    let policy = page.policy.to_str().unwrap();
    assert!(!policy.contains("https:") && !policy.contains("unsafe") && !policy.contains('*'), "{policy}");
}

#[test]
fn with_a_key_stripe_may_do_what_it_documents_and_nothing_else() {
    let page = Page::new(WEBSOCKET, Some(&key())).unwrap();
    let without = Page::new(WEBSOCKET, None).unwrap();
    let connect = "'self' wss://x1.execute-api.eu-central-1.amazonaws.com https://api.stripe.com";
    assert_eq!(sources(&page, "connect-src"), Some(connect));
    let script = format!("'{}' https://js.stripe.com https://*.js.stripe.com", hash(SCRIPT));
    assert_eq!(sources(&page, "script-src"), Some(script.as_str()));
    let frames = "https://js.stripe.com https://*.js.stripe.com https://hooks.stripe.com";
    assert_eq!(sources(&page, "frame-src"), Some(frames));
    let changed = ["connect-src", "script-src", "frame-src"];
    for (directive, expected) in directives(&without).into_iter().filter(|(name, _)| !changed.contains(name))
    {
        assert_eq!(sources(&page, directive), Some(expected), "{directive}");
    }
    assert!(!page.policy.to_str().unwrap().contains("unsafe"));
}

#[test]
fn the_key_is_in_the_page_and_the_script_is_the_same_with_and_without_it() {
    let html = |key: Option<&PublishableKey>| {
        String::from_utf8(Page::new(WEBSOCKET, key).unwrap().html.to_vec()).unwrap()
    };
    let (with, without) = (html(Some(&key())), html(None));
    assert_eq!(without, with.replace("pk_test_51Abc", ""));
    assert!(with.contains(r#"<meta name="stripe-publishable-key" content="pk_test_51Abc">"#));
}

#[rstest]
#[case::for_tests("pk_test_51Abc", true)]
#[case::for_real("pk_live_51Abc", true)]
#[case::secret("sk_test_51Abc", false)]
#[case::nothing_behind_it("pk_test_", false)]
#[case::no_mode("pk_51Abc", false)]
#[case::markup("pk_test_\"><script>", false)]
#[case::space(" ", false)]
#[case::empty("", false)]
fn a_key_is_one_for_browsers(#[case] text: &str, #[case] expected: bool) {
    assert_eq!(PublishableKey::parse(text).is_ok(), expected);
}

#[test]
fn a_secret_key_is_not_repeated_in_the_log() {
    let error = PublishableKey::parse("sk_live_secret").unwrap_err();
    assert!(!error.to_string().contains("sk_live_secret"));
}

#[test]
fn the_page_has_one_script_and_one_style_and_loads_nothing() {
    for element in ["<script", "<style"] {
        assert_eq!(HTML.matches(element).count(), 1, "{element}");
    }
    for foreign in ["src=", "https://", "style=\"", "onclick", "<link rel=\"stylesheet\""] {
        assert!(!HTML.contains(foreign), "{foreign}");
    }
    for foreign in ["@import", "url(", "//", "</"] {
        assert!(!STYLE.contains(foreign), "{foreign}");
    }
    // Stripe's own script, for a shop with a key, must come from Stripe.
    assert_eq!(SCRIPT.matches("https://").count(), 1);
    assert!(SCRIPT.contains("'https://js.stripe.com/v3/'"));
}

#[test]
fn the_script_inserts_text_as_text_only_and_calls_relative_addresses() {
    let unsafe_uses = [
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "Function(",
        "setAttribute",
        "'/v1",
        "\"/v1",
        "`/v1",
        // Would end the script element that it stands in.
        "</",
    ];
    for unsafe_use in unsafe_uses {
        assert!(!SCRIPT.contains(unsafe_use), "{unsafe_use}");
    }
}
