//! Compares what alarms say with the sections of infra/RUNBOOK.md.

use std::fs;

use crate::document::{Template, repository};

#[test]
fn alarms_name_sections_of_the_runbook() {
    let runbook = fs::read_to_string(repository().join("infra/RUNBOOK.md")).expect("the runbook");
    let titles = runbook.lines().filter_map(|line| line.strip_prefix("## "));
    // Without the alarms' names in parentheses.
    let titles: Vec<&str> = titles.map(|title| title.split(" (").next().unwrap_or(title)).collect();

    let mut seen = 0;
    for template in Template::all() {
        for (id, alarm) in template.of_type("AWS::CloudWatch::Alarm") {
            let description = alarm["Properties"]["AlarmDescription"].as_str().unwrap_or_default();
            let place = format!("infra/{}.yaml, {id}", template.name);
            let (before, _) = description
                .split_once(" in infra/RUNBOOK.md")
                .unwrap_or_else(|| panic!("{place}: names no section of infra/RUNBOOK.md: {description}"));
            let section = before.rsplit('"').nth(1).unwrap_or_default();
            assert!(titles.contains(&section), "{place}: no section {section:?}");
            seen += 1;
        }
    }
    assert!(seen > 90, "only {seen} alarms name the runbook");
}
