use crate::error::{Error, Result};

/// Before anything that takes minutes: whether there is any place that credentials could come from.
pub fn exist() -> Result<()> {
    const VARIABLES: [&str; 6] = [
        "AWS_ACCESS_KEY_ID",
        "AWS_PROFILE",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_SHARED_CREDENTIALS_FILE",
    ];
    let home = std::env::home_dir().unwrap_or_default().join(".aws");
    let variable = VARIABLES.iter().any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()));
    if variable || home.join("credentials").exists() || home.join("config").exists() {
        return Ok(());
    }
    Err(Error::Deploy(
        "no AWS credentials: there are none in the environment and none in ~/.aws.\nSign in (`aws sso login`, or set \
         AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY) and run the command again."
            .to_owned(),
    ))
}
