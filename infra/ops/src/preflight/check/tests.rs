use serde_json::json;

use super::*;
use crate::footprint::Kind;

const DEMAND: Demand = Demand { queues: 64, streams: 36 };

fn refused(operation: &str, code: &str, message: &str) -> Fact {
    Err(Refusal { operation: operation.into(), code: code.into(), message: message.into() })
}

fn quota(all: u64, unreserved: u64) -> Fact {
    Ok(json!({"AccountLimit": {"ConcurrentExecutions": all, "UnreservedConcurrentExecutions": unreserved}}))
}

fn stored(key: &str, webhooks: &[&str]) -> Fact {
    let secret = json!({"api_key": key, "webhook_secrets": webhooks}).to_string();
    Ok(json!({"SecretString": secret}))
}

fn verdicts(checks: &[Check]) -> Vec<Verdict> {
    checks.iter().map(|check| check.verdict).collect()
}

#[test]
fn credentials_that_have_expired_stop_with_how_to_sign_in() {
    let check = account(&refused("GetCallerIdentity", "ExpiredToken", "…"));
    assert_eq!(check.verdict, Verdict::Stop);
    assert!(check.finding.contains("expired") && check.next.unwrap().contains("aws sso login"));
    let check = account(&refused("GetCallerIdentity", "InvalidClientTokenId", "…"));
    assert!(check.finding.contains("does not accept"), "{}", check.finding);
    let check = account(&refused("GetCallerIdentity", "EndpointConnectionError", "no route"));
    assert!(check.finding.contains("cannot be reached"), "{}", check.finding);
    let fine = account(&Ok(json!({"Account": "123456789012", "Arn": "arn:aws:iam::123456789012:user/ada"})));
    assert!(fine.verdict == Verdict::Fine && fine.finding.contains("123456789012"));
}

#[test]
fn a_new_accounts_concurrency_is_not_enough_for_queues_and_streams() {
    let check = concurrency(&quota(10, 10), DEMAND, 0);
    assert_eq!(check.verdict, Verdict::Stop);
    assert!(check.next.unwrap().contains("L-B99A9384"));
    assert_eq!(concurrency(&quota(120, 120), DEMAND, 0).verdict, Verdict::Warning);
    assert_eq!(concurrency(&quota(1000, 1000), DEMAND, 0).verdict, Verdict::Fine);
    assert_eq!(concurrency(&quota(1000, 130), DEMAND, 80).verdict, Verdict::Warning, "80 leaves 50");
}

#[test]
fn what_may_not_be_asked_is_a_warning_that_names_the_call() {
    let check = concurrency(&refused("GetAccountSettings", "AccessDeniedException", "no"), DEMAND, 0);
    assert_eq!(check.verdict, Verdict::Warning);
    assert!(check.finding.contains("may not call GetAccountSettings"), "{}", check.finding);
    let check = &sms(&refused("GetSMSSandboxAccountStatus", "InvalidAction", "?"), &Ok(json!({})))[0];
    assert!(check.verdict == Verdict::Warning && check.finding.contains("InvalidAction"));
}

#[test]
fn the_ses_sandbox_is_a_warning_for_a_trial_and_stops_production() {
    let sandbox = Ok(json!({"SendingEnabled": true, "ProductionAccessEnabled": false,
                            "SendQuota": {"MaxSendRate": 1.0}}));
    assert_eq!(verdicts(&email(&sandbox, "1", false)), [Verdict::Warning, Verdict::Fine]);
    assert_eq!(verdicts(&email(&sandbox, "1", true)), [Verdict::Stop, Verdict::Fine]);
    let rate = &email(&sandbox, "14", false)[1];
    assert_eq!(rate.verdict, Verdict::Warning);
    assert!(rate.next.as_ref().unwrap().contains("EmailsPerSecond=1 "), "{rate:?}");
    let paused = Ok(json!({"SendingEnabled": false, "ProductionAccessEnabled": true}));
    assert_eq!(email(&paused, "", true)[0].verdict, Verdict::Stop);
}

#[test]
fn the_example_sender_is_refused_on_every_stage() {
    for address in ["shop@ordersaga.example", "shop@example.com"] {
        let check = sender(address, &Ok(json!({"VerifiedForSendingStatus": true})), None, false);
        assert_eq!(check.verdict, Verdict::Stop, "{address}");
    }
}

#[test]
fn a_sender_must_be_verified_itself_or_by_its_domain() {
    let verified = Ok(json!({"VerifiedForSendingStatus": true}));
    let pending = Ok(json!({"VerifiedForSendingStatus": false}));
    let unknown = refused("GetEmailIdentity", "NotFoundException", "…");
    assert_eq!(sender("a@shop.com", &verified, None, true).verdict, Verdict::Fine);
    assert_eq!(sender("a@shop.com", &pending, None, true).verdict, Verdict::Stop);
    let link = sender("a@shop.com", &pending, None, false);
    assert!(link.verdict == Verdict::Warning && link.next.unwrap().contains("link"));
    let records = sender("a@shop.com", &unknown, Some(&pending), false);
    assert!(records.next.unwrap().contains("DNS records"));
    let domain = sender("a@shop.com", &unknown, Some(&verified), false);
    assert_eq!((domain.verdict, domain.finding.as_str()), (Verdict::Fine, "shop.com is verified"));
    let none = sender("a@shop.com", &unknown, Some(&unknown), false);
    assert!(none.next.unwrap().contains("create-email-identity --email-identity a@shop.com"));
}

#[test]
fn the_sms_sandbox_and_its_dollar_a_month_are_warnings() {
    let default = sms(&Ok(json!({"IsInSandbox": true})), &Ok(json!({"attributes": {}})));
    assert_eq!(verdicts(&default), [Verdict::Warning, Verdict::Warning]);
    let out =
        sms(&Ok(json!({"IsInSandbox": false})), &Ok(json!({"attributes": {"MonthlySpendLimit": "50"}})));
    assert_eq!(verdicts(&out), [Verdict::Fine, Verdict::Fine]);
}

#[test]
fn production_without_a_receiver_of_alarms_is_a_warning() {
    assert_eq!(alarms("", "", true).verdict, Verdict::Warning);
    assert_eq!(alarms("", "", false).verdict, Verdict::Fine);
    assert_eq!(alarms("oncall@shop.com", "", true).verdict, Verdict::Fine);
    assert!(alarms("", "arn:aws:sns:eu-central-1:1:pager", true).finding.contains("pager"));
}

#[test]
fn an_access_log_needs_a_role_of_the_account() {
    let role = json!({"cloudwatchRoleArn": "arn:aws:iam::123456789012:role/api-gateway-logs"});
    assert_eq!(access_log(&Ok(role), "eu-central-1").verdict, Verdict::Fine);
    for none in [json!({}), json!({"cloudwatchRoleArn": ""})] {
        let check = access_log(&Ok(none), "eu-central-1");
        assert_eq!(check.verdict, Verdict::Stop);
        assert!(check.next.unwrap().contains("update-account --region eu-central-1"));
    }
    let denied = refused("GetAccount", "AccessDeniedException", "no");
    assert_eq!(access_log(&denied, "eu-central-1").verdict, Verdict::Warning);
}

#[test]
fn half_of_the_settings_for_smtp_is_a_warning() {
    const SERVER: &str = "smtps://mail.test";
    let secret = |user: &str, password: &str| -> Fact {
        Ok(json!({"SecretString": json!({"user": user, "password": password}).to_string()}))
    };
    let missing = refused("GetSecretValue", "ResourceNotFoundException", "");
    let check = |server: &str, from: &str, secret: &Fact| smtp(server, from, secret, "dev").verdict;
    assert_eq!(check("", "", &missing), Verdict::Fine);
    assert_eq!(check("", "", &secret("", "")), Verdict::Fine);
    assert_eq!(check(SERVER, "", &secret("shop", "SECRET")), Verdict::Fine);
    assert_eq!(check("", "shop@mail.test", &missing), Verdict::Warning);
    assert_eq!(check("", "", &secret("shop", "SECRET")), Verdict::Warning);
    for unfilled in [&missing, &secret("", ""), &secret("shop", ""), &Ok(json!({"SecretString": "none"}))] {
        assert_eq!(check(SERVER, "", unfilled), Verdict::Warning);
    }
    let deleted = refused("GetSecretValue", "InvalidRequestException", "it is marked for deletion");
    assert_eq!(check("", "", &deleted), Verdict::Stop);
    let shown = format!("{:?}", smtp("", "", &secret("shop", "SECRET"), "dev"));
    assert!(!shown.contains("SECRET"), "{shown}");
}

#[test]
fn stripes_keys_fit_the_stage_and_each_other() {
    let check = |secret: &Fact, page: &str, production| verdicts(&stripe(secret, page, "dev", production));
    use Verdict::{Fine, Stop, Warning};
    assert_eq!(check(&stored("sk_test_1", &["whsec_1"]), "", false), [Fine, Fine]);
    assert_eq!(check(&stored("sk_test_1", &["whsec_1"]), "pk_test_1", false), [Fine, Fine]);
    assert_eq!(check(&stored("sk_live_1", &["whsec_1"]), "", false), [Stop, Fine]);
    assert_eq!(check(&stored("rk_live_1", &["whsec_1"]), "pk_live_1", true), [Fine, Fine]);
    assert_eq!(check(&stored("sk_test_1", &["whsec_1"]), "pk_test_1", true), [Warning, Fine]);
    assert_eq!(check(&stored("sk_test_1", &[]), "", false), [Warning, Fine]);
    assert_eq!(check(&stored("", &[]), "", false), [Warning, Fine]);
    assert_eq!(check(&stored("a key", &[]), "", false), [Stop, Fine]);
    assert_eq!(check(&stored("sk_live_1", &["whsec_1"]), "pk_test_1", true), [Fine, Stop]);
    assert_eq!(check(&stored("sk_test_1", &["whsec_1"]), "pk_live_1", false), [Fine, Stop]);
    assert_eq!(check(&stored("sk_test_1", &["whsec_1"]), "sk_test_1", false), [Fine, Stop]);
    let missing = refused("GetSecretValue", "ResourceNotFoundException", "…");
    assert_eq!(check(&missing, "", false), [Warning, Fine]);
    let deleted = refused("GetSecretValue", "InvalidRequestException", "… marked for deletion");
    assert_eq!(check(&deleted, "", false), [Stop, Fine]);
}

#[test]
fn no_finding_shows_a_key() {
    for (key, page) in [("sk_live_SECRET", "pk_live_SECRET"), ("SECRET", "SECRET"), ("sk_test_SECRET", "")] {
        let checks = stripe(&stored(key, &["whsec_SECRET"]), page, "dev", false);
        assert!(!format!("{checks:?}").contains("SECRET"), "{checks:?}");
    }
}

#[test]
fn what_an_earlier_deployment_left_stops_the_next_one() {
    let table = Named {
        kind: Kind::Table,
        name: "ordersaga-dev-orders".to_owned(),
        stack: "ordersaga-dev-orders".to_owned(),
    };
    let check = leftovers(&Ok(vec![table]), "dev");
    assert!(check.verdict == Verdict::Stop && check.finding.contains("ordersaga-dev-orders"));
    assert!(check.next.unwrap().contains("cargo ops destroy --stage dev"));
    assert_eq!(leftovers(&Ok(Vec::new()), "dev").verdict, Verdict::Fine);
}

#[test]
fn a_missing_target_stops_only_where_it_cannot_be_downloaded() {
    let arm = "aarch64-unknown-linux-gnu";
    assert_eq!(target(arm, true, false).verdict, Verdict::Fine);
    assert_eq!(target(arm, false, true).verdict, Verdict::Warning);
    assert_eq!(target(arm, false, false).verdict, Verdict::Stop);
}
