//! How the undos of one order ended.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, Serializer};

use super::steps::{Undo, UndoOutcome, undos};

/// How each undo ended; an undo that is not named was not needed.
///
/// On the wire an object that names every undo of the ledger by its part. A part that the ledger does not have
/// is an error.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "BTreeMap<String, UndoOutcome>")]
pub struct Compensations(BTreeMap<&'static str, UndoOutcome>);

/// The name of an undo that the ledger does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the saga has no undo of `{0}`")]
pub struct UnknownUndo(String);

impl Compensations {
    /// These compensations with the outcome of one more undo.
    #[must_use]
    pub fn with(mut self, undo: &Undo, outcome: UndoOutcome) -> Self {
        self.record(undo, outcome);
        self
    }

    /// Records how an undo ended, over an earlier outcome of it.
    pub fn record(&mut self, undo: &Undo, outcome: UndoOutcome) {
        // Equal outcomes are equal maps: what was not needed is never in the map.
        match outcome {
            UndoOutcome::NotNeeded => self.0.remove(undo.part),
            outcome => self.0.insert(undo.part, outcome),
        };
    }

    /// How this undo ended; `NotNeeded` when it is not named.
    pub fn outcome(&self, undo: &Undo) -> UndoOutcome {
        self.0.get(undo.part).copied().unwrap_or_default()
    }

    /// Every undo of the ledger with its outcome, in the order in which they run.
    pub fn iter(&self) -> impl Iterator<Item = (&'static Undo, UndoOutcome)> {
        undos().map(|undo| (undo, self.outcome(undo)))
    }
}

impl TryFrom<BTreeMap<String, UndoOutcome>> for Compensations {
    type Error = UnknownUndo;

    fn try_from(outcomes: BTreeMap<String, UndoOutcome>) -> Result<Self, UnknownUndo> {
        let mut compensations = Self::default();
        for (part, outcome) in outcomes {
            match undos().find(|undo| undo.part == part) {
                Some(undo) => compensations.record(undo, outcome),
                // The part is not ignored: a newer state machine may have failed to undo it, and the order must
                // not be cancelled as if it had not.
                None => return Err(UnknownUndo(part)),
            }
        }
        Ok(compensations)
    }
}

impl Serialize for Compensations {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter().map(|(undo, outcome)| (undo.part, outcome)))
    }
}
