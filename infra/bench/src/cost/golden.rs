//! The checked-in figures of each kind of order, beyond which a change may not go.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use local_stack::AboutFile;
use serde::{Deserialize, Serialize};

use super::bill::total;
use super::prices::Microdollars;
use super::report::Kind;
use super::topology::{Queue, Topology};
use crate::error::{Error, Result};

/// How to accept a change.
const WRITE: &str =
    "If the change is worth it, `cargo ops bench cost --write` writes the new figures; check in the file.";

/// By how much a figure that depends on the time of messages may grow from run to run.
const TOLERANCE_PERCENT: u64 = 10;

/// The figures of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// These are the same in each run.
    pub transitions: u64,
    pub events: u64,
    pub e_mails: u64,
    /// These depend on which messages arrive together.
    pub calls: u64,
    pub invocations: u64,
    pub write_units: u64,
    pub half_read_units: u64,
    pub queue_requests: u64,
    pub log_bytes: u64,
    /// For a million.
    pub microdollars: Microdollars,
}

/// All figures, by the title of the kind.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Golden {
    pub kinds: BTreeMap<String, Figures>,
    /// A stage without orders.
    pub idle_month_microdollars: Microdollars,
}

impl Figures {
    fn of(kind: &Kind, topology: &Topology) -> Self {
        let Kind { counted, .. } = kind;
        let units = counted.units();
        Self {
            transitions: counted.saga.transitions(),
            events: counted.published.len() as u64,
            e_mails: counted.calls_of("ses", "SendEmail"),
            calls: counted.calls.values().map(|count| count.calls).sum(),
            invocations: counted.invocations(),
            write_units: units.writes,
            half_read_units: units.half_reads,
            queue_requests: counted.queue_requests(topology, Queue::Standard)
                + counted.queue_requests(topology, Queue::Fifo),
            log_bytes: counted.log_bytes(),
            microdollars: total(&counted.bill(topology)),
        }
    }

    fn keep_least(&mut self, again: &Self) {
        for (figure, again) in [
            (&mut self.calls, again.calls),
            (&mut self.invocations, again.invocations),
            (&mut self.write_units, again.write_units),
            (&mut self.half_read_units, again.half_read_units),
            (&mut self.queue_requests, again.queue_requests),
            (&mut self.log_bytes, again.log_bytes),
        ] {
            *figure = again.min(*figure);
        }
        self.microdollars = self.microdollars.min(again.microdollars);
    }

    /// What has grown, in words.
    fn growth(&self, before: &Self) -> Vec<String> {
        let figures = [
            ("transitions", self.transitions, before.transitions, 0),
            ("events", self.events, before.events, 0),
            ("e-mails", self.e_mails, before.e_mails, 0),
            ("calls", self.calls, before.calls, TOLERANCE_PERCENT),
            ("invocations", self.invocations, before.invocations, TOLERANCE_PERCENT),
            ("write units", self.write_units, before.write_units, TOLERANCE_PERCENT),
            ("half read units", self.half_read_units, before.half_read_units, TOLERANCE_PERCENT),
            ("requests to SQS", self.queue_requests, before.queue_requests, TOLERANCE_PERCENT),
            ("bytes of logs", self.log_bytes, before.log_bytes, TOLERANCE_PERCENT),
        ];
        let grown = figures.into_iter().filter(|(_, now, before, percent)| {
            // Half of a small number rounds up.
            *now > before + (before * percent).div_ceil(100)
        });
        grown.map(|(name, now, before, _)| format!("{name} {before} → {now}")).collect()
    }
}

impl Golden {
    pub fn of(kinds: &[Kind], topology: &Topology, idle: Microdollars) -> Self {
        let figures = kinds.iter().map(|kind| (kind.title.to_owned(), Figures::of(kind, topology)));
        Self { kinds: figures.collect(), idle_month_microdollars: idle }
    }

    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, file: &Path) -> Result<()> {
        let text =
            serde_json::to_string_pretty(self).map_err(|error| Error::Measurement(error.to_string()))?;
        Ok(std::fs::write(file, format!("{text}\n")).about("cannot write", file)?)
    }

    /// The checked-in figures.
    ///
    /// # Errors
    /// There are none, or they cannot be read.
    pub fn read(file: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(file).about("cannot read", file)?;
        serde_json::from_str(&text).map_err(|error| {
            Error::Measurement(format!("{} cannot be read: {error}. {WRITE}", file.display()))
        })
    }

    /// The titles of the kinds that need more than before.
    pub fn grown_kinds(&self, before: &Self) -> BTreeSet<String> {
        let grown = self.kinds.iter().filter(|(title, figures)| {
            before.kinds.get(*title).is_some_and(|known| !figures.growth(known).is_empty())
        });
        grown.map(|(title, _)| title.clone()).collect()
    }

    /// Keeps of each figure the smaller one, of those that depend on which messages arrive together.
    pub fn keep_least(&mut self, kind: &Kind, topology: &Topology) {
        let again = Figures::of(kind, topology);
        if let Some(figures) = self.kinds.get_mut(kind.title) {
            figures.keep_least(&again);
        }
    }

    /// Compares with the checked-in figures.
    ///
    /// # Errors
    /// A figure has grown; the message names each, with the difference in dollars.
    pub fn check(&self, before: &Self) -> Result<()> {
        let growth = self.growth(before);
        if growth.is_empty() {
            Ok(())
        } else {
            Err(Error::Measurement(format!("{}\n{WRITE}", growth.join("\n"))))
        }
    }

    fn growth(&self, before: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        for (title, figures) in &self.kinds {
            let Some(known) = before.kinds.get(title) else {
                lines.push(format!("{title}: it has no figures yet"));
                continue;
            };
            let growth = figures.growth(known);
            if !growth.is_empty() {
                let (now, then) = (figures.microdollars, known.microdollars);
                let more = Microdollars(now.0.saturating_sub(then.0));
                let growth = growth.join(", ");
                lines.push(format!("{title}: {growth}. A million cost {now} instead of {then}, {more} more"));
            }
        }
        let (now, then) = (self.idle_month_microdollars, before.idle_month_microdollars);
        if now > then {
            lines.push(format!("A stage without orders costs {now} a month instead of {then}"));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures() -> Figures {
        Figures {
            transitions: 5,
            events: 12,
            e_mails: 1,
            calls: 60,
            invocations: 28,
            write_units: 45,
            half_read_units: 50,
            queue_requests: 35,
            log_bytes: 20_000,
            microdollars: Microdollars(300_000_000),
        }
    }

    fn golden(figures: Figures) -> Golden {
        let kinds = BTreeMap::from([("an order".to_owned(), figures)]);
        Golden { kinds, idle_month_microdollars: Microdollars(30_000_000) }
    }

    #[test]
    fn the_same_figures_and_smaller_ones_pass() {
        let before = golden(figures());
        assert!(golden(figures()).growth(&before).is_empty());
        let less = Figures { write_units: 30, microdollars: Microdollars(1), ..figures() };
        assert!(golden(less).growth(&before).is_empty());
        // What depends on time may grow by a tenth, rounded up.
        let later = Figures { write_units: 50, invocations: 31, ..figures() };
        assert!(golden(later).growth(&before).is_empty());
    }

    #[test]
    fn a_kind_that_has_grown_is_measured_again_and_its_least_counts() {
        let before = golden(figures());
        let mut now = golden(Figures { calls: 95, write_units: 44, ..figures() });
        assert_eq!(now.grown_kinds(&before), BTreeSet::from(["an order".to_owned()]));
        let again = Figures { calls: 60, write_units: 46, transitions: 9, ..figures() };
        now.kinds.get_mut("an order").unwrap().keep_least(&again);
        assert!(now.growth(&before).is_empty());
        assert_eq!(now.kinds["an order"], Figures { calls: 60, write_units: 44, ..figures() });
    }

    #[test]
    fn a_figure_that_grows_is_named_with_its_price() {
        let before = golden(figures());
        let more =
            Figures { write_units: 51, e_mails: 2, microdollars: Microdollars(403_750_000), ..figures() };
        let said = golden(more).growth(&before);
        assert_eq!(
            said,
            [
                "an order: e-mails 1 → 2, write units 45 → 51. A million cost $403.75 instead of $300.00, $103.75 more"
            ]
        );
        let mut dearer = golden(figures());
        dearer.idle_month_microdollars = Microdollars(31_000_000);
        assert_eq!(dearer.growth(&before), ["A stage without orders costs $31.00 a month instead of $30.00"]);
    }

    #[test]
    fn a_file_that_was_written_passes() {
        let file = std::env::temp_dir().join(format!("cost-{}.json", uuid::Uuid::new_v4()));
        let golden = golden(figures());
        golden.write(&file).unwrap();
        golden.check(&Golden::read(&file).unwrap()).unwrap();
        std::fs::remove_file(&file).unwrap();
        assert!(Golden::read(&file).is_err());
    }
}
