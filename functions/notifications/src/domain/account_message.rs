//! The messages about an account, which hold nothing that the account's user has typed.

use contracts::AccountContent;

use super::email_message::{AccountView, EmailMessage};

/// Why a person gets a message at an address that may not be the account's user's.
const UNKNOWN_OWNER: &str = "or someone else gave this address to our shop";
const OWNER: &str = "have an account with us";

/// The e-mail about an account. `shop` is the shop's address, for links.
///
/// # Errors
/// When the template cannot be rendered, which does not happen.
pub fn account_email(content: &AccountContent, shop: Option<&str>) -> Result<EmailMessage, askama::Error> {
    // Behind `#`, because a browser keeps that part to itself: no server's log has the code.
    let link = |name: &str, value: &str| {
        shop.map(|shop| format!("{}/#{name}={value}", shop.trim_end_matches('/'))).unwrap_or_default()
    };
    let (title, intro, end, why) = words(content);
    let (code, link) = match content {
        AccountContent::Welcome { code }
        | AccountContent::VerifyEmail { code }
        | AccountContent::ChangeEmail { code }
        | AccountContent::VerifyPhone { code } => (code.as_str(), link("confirm", code)),
        AccountContent::ResetPassword { token } => (token.as_str(), link("reset", token)),
        AccountContent::EmailChangeRequested
        | AccountContent::EmailChanged
        | AccountContent::PasswordChanged => ("", String::new()),
    };
    // The name is left out: the address may be another person's, to whom a stranger could send a text by it.
    AccountView { name: "", title, intro, code, link: &link, end, why }.render_email(title.to_owned())
}

/// The title, what the e-mail says before and after the code, and why the person gets it.
const fn words(content: &AccountContent) -> (&'static str, &'static str, &'static str, &'static str) {
    match content {
        AccountContent::Welcome { .. } => (
            "Welcome",
            "thank you for registering with us. Please confirm that this is your e-mail address: give this code in \
             the shop. It is good for 30 minutes.",
            "If you have not registered with us, you need not do anything.",
            UNKNOWN_OWNER,
        ),
        AccountContent::VerifyEmail { .. } | AccountContent::VerifyPhone { .. } => (
            "Confirm your e-mail address",
            "please confirm that this is your e-mail address: give this code in the shop. It is good for 30 minutes.",
            "If you have no account with us, you need not do anything.",
            UNKNOWN_OWNER,
        ),
        AccountContent::ChangeEmail { .. } => (
            "Confirm your new e-mail address",
            "this address was given as the new one of an account. To make it yours, give this code in the shop. It is \
             good for 30 minutes.",
            "If this was not you, you need not do anything.",
            UNKNOWN_OWNER,
        ),
        AccountContent::ResetPassword { .. } => (
            "Set a new password",
            "with this code you can set a new password in the shop. It works once, and for 30 minutes.",
            "If you did not ask for it, you need not do anything: your password stays as it is.",
            OWNER,
        ),
        AccountContent::EmailChangeRequested => (
            "Your e-mail address is about to change",
            "another e-mail address was given for your account. It replaces this one as soon as it is confirmed.",
            "If this was not you, set a new password in the shop now. That ends all sessions.",
            OWNER,
        ),
        AccountContent::EmailChanged => (
            "Your e-mail address was changed",
            "your account has another e-mail address now. You log in with that one, and we write to it.",
            "If this was not you, please contact us.",
            OWNER,
        ),
        AccountContent::PasswordChanged => (
            "Your password was changed",
            "your account has a new password.",
            "If this was not you, set another one in the shop now. That ends all sessions.",
            OWNER,
        ),
    }
}

/// The SMS about an account; `None` when its content goes by e-mail only.
pub fn account_text(content: &AccountContent) -> Option<String> {
    match content {
        AccountContent::VerifyPhone { code } => Some(format!(
            "{code} is your code for the shop. It is good for 10 minutes. Do not give it to anyone."
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> [AccountContent; 8] {
        let code = || "12345678".to_owned();
        [
            AccountContent::Welcome { code: code() },
            AccountContent::VerifyEmail { code: code() },
            AccountContent::ChangeEmail { code: code() },
            AccountContent::VerifyPhone { code: code() },
            AccountContent::ResetPassword { token: code() },
            AccountContent::EmailChangeRequested,
            AccountContent::EmailChanged,
            AccountContent::PasswordChanged,
        ]
    }

    #[test]
    fn an_email_has_its_code_in_both_forms_and_none_in_the_subject() {
        for content in all() {
            let email = account_email(&content, None).unwrap();
            let has_code = format!("{:?}", serde_json::to_value(&content).unwrap()).contains("12345678");
            for body in [&email.text, &email.html] {
                assert_eq!(body.contains("12345678"), has_code, "{body}");
                assert!(
                    body.contains("Hello,") && !body.contains('#') | body.contains("<!doctype"),
                    "{body}"
                );
                assert!(body.contains("because you "), "{body}");
            }
            assert!(!email.subject.contains("1234") && !email.text.contains('<'), "{email:?}");
        }
    }

    #[test]
    fn a_link_has_the_code_where_no_server_sees_it() {
        let link = |content: AccountContent| {
            let email = account_email(&content, Some("https://shop.example/")).unwrap();
            assert!(email.html.contains("<a href=\"https://shop.example/#"), "{}", email.html);
            email.text
        };
        let [welcome, .., reset, _, _, _] = all();
        assert!(link(welcome).contains("https://shop.example/#confirm=12345678\n"));
        assert!(link(reset).contains("https://shop.example/#reset=12345678\n"));
        let told = account_email(&AccountContent::EmailChanged, Some("https://shop.example")).unwrap();
        assert!(!told.text.contains("http"), "{}", told.text);
    }

    #[test]
    fn only_a_code_for_a_phone_goes_by_sms_and_into_one_message() {
        let texts: Vec<String> = all().iter().filter_map(account_text).collect();
        let [text] = &texts[..] else { panic!("one SMS: {texts:?}") };
        assert!(text.starts_with("12345678 ") && text.len() <= 160 && text.is_ascii(), "{text}");
    }
}
