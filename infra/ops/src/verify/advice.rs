//! What to do about a broken rule. infra/RUNBOOK.md says more.

use std::collections::BTreeSet;

use verify::{Report, Rule};

/// The section of the runbook.
const SECTION: &str = "A rule is broken";

/// One line for each rule that is broken.
pub fn of(report: &Report, option: &str) -> String {
    let rules: BTreeSet<Rule> = report.violations.iter().map(|violation| violation.rule).collect();
    let mut lines = vec![format!("What to do (infra/RUNBOOK.md, \"{SECTION}\"):")];
    lines.extend(rules.into_iter().map(|rule| format!("  {rule}: {}", next(rule, option))));
    lines.join("\n")
}

fn next(rule: Rule, option: &str) -> String {
    match rule {
        Rule::Item => {
            "deploy the version that wrote these items, or correct them; they are left out of the other rules"
                .to_owned()
        }
        Rule::History => {
            "stop writers of the orders' table other than orders; restore the order's items from a backup"
                .to_owned()
        }
        Rule::Ending => format!("run `cargo ops saga check --older-than 0{option}`"),
        Rule::Payment | Rule::Charge => {
            format!(
                "run `cargo ops payments check{option}`, then refund by hand what is kept without an order"
            )
        }
        Rule::Shipment => "cancel the shipment at the carrier, or book one; then look at the log of \
                           fulfillment-commands for the order"
            .to_owned(),
        Rule::Reservation => format!(
            "the sweeper of inventory ends reservations within half an hour; if not, look at `cargo ops dlq list{option}`"
        ),
        Rule::Stock | Rule::Moves => {
            "look at `GET /v1/inventory/{sku}/moves`, count the shelf, and adjust the stock \
                                      with the reason"
                .to_owned()
        }
        Rule::Discount => {
            "compare the uses with the orders that have the code; the runbook has the calls".to_owned()
        }
        Rule::View => format!("run `cargo ops replay orders{option}`"),
        Rule::Letter => {
            format!("look at `cargo ops dlq list{option}`, then redrive the e-mail queue's dead letters")
        }
        Rule::Relay => format!("correct the items, then run `cargo ops outbox retry{option}`"),
        Rule::Owner => {
            "find who called the context for an order that was not placed; undo it by hand".to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use verify::Violation;

    use super::*;

    #[test]
    fn each_broken_rule_has_one_line() {
        let violation = |rule, subject: &str| Violation {
            rule,
            subject: subject.to_owned(),
            expected: String::new(),
            found: String::new(),
        };
        let violations =
            vec![violation(Rule::View, "1"), violation(Rule::View, "2"), violation(Rule::Ending, "1")];
        let advice = of(&Report { violations, ..Report::default() }, " --stage dev");
        let lines: Vec<&str> = advice.lines().collect();
        assert_eq!(lines.len(), 3, "{advice}");
        assert_eq!(lines[1], "  ending: run `cargo ops saga check --older-than 0 --stage dev`");
        assert_eq!(lines[2], "  view: run `cargo ops replay orders --stage dev`");
    }

    #[test]
    fn the_runbook_has_the_section_and_a_row_for_each_rule() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../RUNBOOK.md");
        let runbook = fs::read_to_string(path).unwrap();
        let (_, section) = runbook.split_once(&format!("\n## {SECTION}")).expect("the section");
        let section = section.split("\n## ").next().unwrap_or_default();
        for rule in Rule::ALL {
            assert!(section.contains(&format!("\n| {rule} |")), "{rule}");
        }
    }
}
