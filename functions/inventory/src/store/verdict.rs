//! What a cancelled transaction means.

/// Whose condition failed, or what else it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The first item's condition.
    First,
    /// Another item's condition.
    Other,
    /// Nothing that was asked about the items: others were writing them, or the table took no more.
    Busy,
    /// A request that can never go through.
    Fault,
}

/// Judges the reasons' codes, in the order of the transaction's items (TransactWriteItems, API reference). A failed
/// condition outweighs a conflict: it was evaluated, and says what is.
pub fn judge<'a>(codes: impl IntoIterator<Item = Option<&'a str>>) -> Verdict {
    let mut verdict = Verdict::Fault;
    for (position, code) in codes.into_iter().enumerate() {
        match (position, code) {
            (0, Some("ConditionalCheckFailed")) => return Verdict::First,
            (_, Some("ConditionalCheckFailed")) => verdict = Verdict::Other,
            (_, Some("TransactionConflict" | "ThrottlingError" | "ProvisionedThroughputExceeded"))
                if verdict == Verdict::Fault =>
            {
                verdict = Verdict::Busy;
            }
            _ => {}
        }
    }
    verdict
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::the_first_condition(&["ConditionalCheckFailed", "None"], Verdict::First)]
    #[case::both_conditions(&["ConditionalCheckFailed", "ConditionalCheckFailed"], Verdict::First)]
    #[case::another_condition(&["None", "None", "ConditionalCheckFailed"], Verdict::Other)]
    #[case::a_condition_beside_a_conflict(&["TransactionConflict", "ConditionalCheckFailed"], Verdict::Other)]
    #[case::a_conflict_behind_a_condition(&["None", "ConditionalCheckFailed", "TransactionConflict"], Verdict::Other)]
    #[case::a_conflict(&["None", "TransactionConflict"], Verdict::Busy)]
    #[case::throttling(&["ThrottlingError"], Verdict::Busy)]
    #[case::throughput(&["None", "ProvisionedThroughputExceeded"], Verdict::Busy)]
    #[case::a_faulty_request(&["None", "ValidationError"], Verdict::Fault)]
    #[case::no_reason(&[], Verdict::Fault)]
    fn a_failed_condition_outweighs_a_conflict_and_the_first_items_outweighs_all(
        #[case] codes: &[&str],
        #[case] verdict: Verdict,
    ) {
        assert_eq!(judge(codes.iter().map(|code| Some(*code))), verdict);
    }
}
