use lambda_kit::testing::mutated;
use rstest::rstest;

use super::*;
use crate::testing::sign;

const NOW: i64 = 1_760_000_000;
const BODY: &[u8] = br#"{"id":"evt_1"}"#;

fn check(header: &str, body: &[u8], secrets: &[&str]) -> Result<(), SignatureError> {
    let secrets: Vec<Secret> = secrets.iter().map(|secret| Secret::new(*secret)).collect();
    verify(Some(header), body, &secrets, Timestamp::from_second(NOW).unwrap())
}

#[test]
fn a_body_signed_with_our_secret_is_good() {
    assert_eq!(check(&sign("whsec_one", NOW, BODY), BODY, &["whsec_one"]), Ok(()));
}

#[test]
fn while_a_secret_is_replaced_both_are_good() {
    for secret in ["whsec_old", "whsec_new"] {
        assert_eq!(check(&sign(secret, NOW, BODY), BODY, &["whsec_old", "whsec_new"]), Ok(()));
    }
    // Stripe signs with both in one header.
    let both =
        format!("{},{}", sign("whsec_old", NOW, BODY), sign("x", NOW, BODY).split_once(',').unwrap().1);
    assert_eq!(check(&both, BODY, &["x"]), Ok(()));
}

#[rstest]
#[case::another_secret(sign("whsec_theirs", NOW, BODY), BODY)]
#[case::another_body(sign("whsec_one", NOW, BODY), br#"{"id":"evt_2"}"#)]
#[case::another_time(sign("whsec_one", NOW - 10, BODY).replace(&(NOW - 10).to_string(), &NOW.to_string()), BODY)]
fn anything_else_is_forged(#[case] header: String, #[case] body: &[u8]) {
    assert_eq!(check(&header, body, &["whsec_one"]), Err(SignatureError::Forged));
}

#[test]
fn an_empty_secret_signs_nothing() {
    assert_eq!(check(&sign("", NOW, BODY), BODY, &[""]), Err(SignatureError::Forged));
    assert_eq!(check(&sign("", NOW, BODY), BODY, &[]), Err(SignatureError::Forged));
}

#[rstest]
#[case(-300, Ok(()))]
#[case(-301, Err(SignatureError::Stale))]
#[case(300, Ok(()))]
#[case(301, Err(SignatureError::Stale))]
fn five_minutes_are_allowed(#[case] offset: i64, #[case] expected: Result<(), SignatureError>) {
    assert_eq!(check(&sign("whsec_one", NOW + offset, BODY), BODY, &["whsec_one"]), expected);
}

#[rstest]
#[case("")]
#[case("nonsense")]
#[case("t=1760000000")]
#[case("v1=00")]
#[case("t=soon,v1=00")]
#[case("t=1760000000,v1=0")]
#[case("t=1760000000,v1=zz")]
#[case("t=1760000000,v0=00")]
fn what_is_no_signature_is_malformed(#[case] header: &str) {
    assert_eq!(check(header, BODY, &["whsec_one"]), Err(SignatureError::Malformed));
}

#[test]
fn no_header_is_malformed() {
    assert_eq!(verify(None, BODY, &[], Timestamp::from_second(NOW).unwrap()), Err(SignatureError::Malformed));
}

#[test]
fn the_example_of_another_implementation_verifies() {
    // Made with Python: hmac.new(b"whsec_test", b"1492774577." + body, sha256).hexdigest()
    let body = b"{\n  \"id\": \"evt_test_webhook\",\n  \"object\": \"event\"\n}";
    let header = "t=1492774577,v1=2e892a56b292c9b36df978451a98d9b5d05d13779a7b6a010f42820e0ca8fcab";
    let secrets = [Secret::new("whsec_test")];
    assert_eq!(verify(Some(header), body, &secrets, Timestamp::from_second(1_492_774_577).unwrap()), Ok(()));
}

#[test]
fn a_header_that_anybody_wrote_is_never_good_for_a_body_of_theirs() {
    let seed = sign("whsec_theirs", NOW, BODY);
    bolero::check!().with_type::<(Vec<u8>, Vec<u8>)>().for_each(|(entropy, body)| {
        let header = String::from_utf8_lossy(&mutated(&seed, entropy)).into_owned();
        assert!(check(&header, body, &["whsec_one"]).is_err());
        assert!(check(&header, BODY, &["whsec_one", ""]).is_err());
    });
}
