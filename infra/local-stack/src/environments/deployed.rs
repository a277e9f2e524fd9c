//! The functions as they are deployed in the emulator.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::emulator::Emulator;
use crate::error::{Error, Result};
use crate::settings::LOCAL_STAGE;

/// Variables by name.
pub type Environment = BTreeMap<String, String>;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Page {
    functions: Vec<Deployed>,
    #[serde(default)]
    next_marker: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Deployed {
    pub function_name: String,
    pub timeout: u32,
    pub memory_size: u32,
    #[serde(default)]
    pub environment: Variables,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Variables {
    #[serde(default)]
    pub variables: Environment,
}

pub fn deployed_name(function: &str) -> String {
    format!("ordersaga-{LOCAL_STAGE}-{function}")
}

/// All of them by name.
///
/// # Errors
/// The emulator does not answer.
pub async fn deployed(emulator: &Emulator) -> Result<BTreeMap<String, Deployed>> {
    const OPERATION: &str = "ListFunctions";
    let (mut all, mut marker) = (BTreeMap::new(), String::new());
    loop {
        let path = format!("/2015-03-31/functions/{marker}");
        let answer = emulator.get("lambda", OPERATION, &path).await?;
        let page: Page = serde_json::from_str(&answer)
            .map_err(|error| Error::Refused { operation: OPERATION.to_owned(), reason: error.to_string() })?;
        all.extend(page.functions.into_iter().map(|found| (found.function_name.clone(), found)));
        match page.next_marker.filter(|next| !next.is_empty()) {
            Some(next) => marker = format!("?Marker={next}"),
            None => return Ok(all),
        }
    }
}
