//! The output: one line for each event, with the time since the order was placed.

use std::time::{Duration, Instant};

use console::{StyledObject, style};
use contracts::OrderStatus;
use shop_client::OrderFrame;

use crate::story::{Ending, Story};

/// Standard output; colours only on a terminal.
#[derive(Debug)]
pub struct Screen;

/// The time since one order was placed.
#[derive(Debug, Clone, Copy)]
pub struct Clock(Instant);

/// The result of one story.
#[derive(Debug)]
pub struct Outcome {
    pub story: Story,
    /// None when it was not seen to end.
    pub ending: Option<Ending>,
    pub took: Duration,
    /// The failed checks.
    pub complaints: Vec<String>,
}

impl Outcome {
    pub fn is_fine(&self) -> bool {
        self.complaints.is_empty()
    }
}

impl Clock {
    pub fn start() -> Self {
        Self(Instant::now())
    }

    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }

    /// `+0.412s  order v3       PaymentPending`
    pub fn line(self, what: &str, said: impl std::fmt::Display) {
        println!("  {}  {what:<14} {said}", style(format!("+{}", seconds(self.elapsed()))).dim());
    }

    /// The status, and the fact that led to it: two facts can lead to the same one.
    pub fn order(self, frame: &OrderFrame) {
        let fact = style(frame.event_type.trim_start_matches("order.")).dim();
        let status = frame.status.map_or_else(|| style("-".to_owned()), coloured);
        self.line(&format!("order v{}", frame.version), format!("{:<22} {fact}", status.bold()));
    }
}

impl Screen {
    pub fn new() -> Self {
        Self
    }

    pub fn say(&self, line: &str) {
        println!("{line}");
    }

    pub fn chapter(&self, story: Story, number: usize, order: &str) {
        println!("\n{} {}", style(format!("{number}.")).bold(), style(capitalised(story.title())).bold());
        println!("   {}", style(story.about()).dim());
        println!("   {order}");
    }

    pub fn verdict(&self, outcome: &Outcome) {
        for complaint in &outcome.complaints {
            println!("  {} {complaint}", style("✗").red());
        }
        if let (true, Some(ending)) = (outcome.is_fine(), &outcome.ending) {
            println!("  {} {ending}, as it should", style("✓").green());
        }
    }

    pub fn summary(&self, outcomes: &[Outcome]) {
        println!("\n  {:<30} {:<42} {:>8}", "order", "ended as", "after");
        for outcome in outcomes {
            let mark = if outcome.is_fine() { style("✓").green() } else { style("✗").red() };
            let ending =
                outcome.ending.as_ref().map_or_else(|| "nothing final".to_owned(), Ending::to_string);
            println!("{mark} {:<30} {ending:<42} {:>8}", outcome.story.title(), seconds(outcome.took));
        }
        println!();
    }
}

fn coloured(status: OrderStatus) -> StyledObject<String> {
    let text = style(status.to_string());
    match status {
        OrderStatus::OrderCompleted | OrderStatus::PaymentSucceeded => text.green(),
        OrderStatus::NeedsAttention => text.red(),
        OrderStatus::InventoryNotAvailable
        | OrderStatus::PaymentFailed
        | OrderStatus::PaymentRefunded
        | OrderStatus::InventoryReleased
        | OrderStatus::OrderCancelled => text.yellow(),
        OrderStatus::OrderCreated | OrderStatus::InventoryReserved | OrderStatus::PaymentPending => {
            text.cyan()
        }
    }
}

/// `0.412s`
fn seconds(time: Duration) -> String {
    format!("{}.{:03}s", time.as_secs(), time.subsec_millis())
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_milliseconds() {
        assert_eq!(seconds(Duration::from_millis(12_045)), "12.045s");
    }
}
