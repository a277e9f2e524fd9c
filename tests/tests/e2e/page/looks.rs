//! Checks of a page that do not depend on its content.

use serde_json::json;

use crate::browser::{Browser, DESKTOP};
use crate::harness::Outcome;

/// Elements that need an accessible name.
const CONTROLS: [&str; 9] = [
    "button",
    "link",
    "textbox",
    "searchbox",
    "spinbutton",
    "combobox",
    "radio",
    "dialog",
    "DisclosureTriangle",
];

/// Texts that stand out from their ground less than 4.5 : 1, large ones less than 3 : 1 (WCAG 2.2, 1.4.3).
const PALE: &str = include_str!("pale.js");

/// Fails where a control has no name, a heading leaves out a level, or a text is too pale, in light or dark.
pub async fn inspect(browser: &mut Browser) -> Outcome {
    for dark in [false, true] {
        browser.look(DESKTOP, dark).await?;
        assert_eq!(browser.value(PALE).await?, "", "dark: {dark}");
    }
    let tree = browser.call("Accessibility.getFullAXTree", json!({})).await?;
    let mut level = 0;
    let mut controls = 0;
    for node in tree["nodes"].as_array().into_iter().flatten().filter(|node| node["ignored"] != true) {
        let role = node["role"]["value"].as_str().unwrap_or_default();
        let name = node["name"]["value"].as_str().unwrap_or_default().trim();
        if CONTROLS.contains(&role) {
            controls += 1;
            assert!(!name.is_empty(), "no name: {node}");
        }
        // An open dialog hides the rest from screen readers, with its heading of level 1.
        if role == "dialog" {
            level = 1;
        }
        if role == "heading" {
            let properties = node["properties"].as_array().into_iter().flatten();
            let own = properties
                .filter(|one| one["name"] == "level")
                .find_map(|one| one["value"]["value"].as_u64());
            let own = own.ok_or("a heading has a level")?;
            assert!(own <= level + 1, "level {own} after {level}: {name}");
            level = own;
        }
    }
    assert!(controls > 2, "there is something to look at: {tree}");
    Ok(())
}
