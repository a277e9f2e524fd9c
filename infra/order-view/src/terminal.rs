//! The view for a terminal, or for a file: readable without colour, and as wide as it is allowed to be.

use console::{Style, measure_text_width, truncate_str};
use contracts::OrderStatus;
use jiff::Timestamp;

use crate::findings::{Finding, Urgency};
use crate::time::spoken;
use crate::timeline::{Entry, Mark};
use crate::view::OrderView;

/// Offsets fit up to 99 days; lanes are words of at most nine letters.
const OFFSET: usize = 13;
const LANE: usize = 9;
/// `59 min 59 s …`
const DURATION: usize = 14;
/// Narrower lines could show no title.
const NARROWEST: usize = 60;
/// Longer lines are hard to read.
const WIDEST: usize = 160;

/// How the text is shown.
#[derive(Debug, Clone, Copy)]
pub struct Terminal {
    /// In columns.
    pub width: usize,
    /// Whether it shows colours.
    pub colour: bool,
}

impl Terminal {
    fn width(self) -> usize {
        self.width.clamp(NARROWEST, WIDEST)
    }

    fn paint(self, style: Style, text: &str) -> String {
        if self.colour { style.force_styling(true).apply_to(text).to_string() } else { text.to_owned() }
    }
}

/// The whole view.
pub fn text(view: &OrderView, terminal: Terminal) -> String {
    let mut text = head(view, terminal);
    for finding in &view.findings {
        text.push_str(&self::finding(finding, terminal));
    }
    if view.is_now && view.findings.is_empty() {
        text.push_str(&terminal.paint(Style::new().green(), "Nothing is stuck and nothing is owed."));
        text.push_str("\n\n");
    }
    for entry in &view.timeline {
        text.push_str(&line(view, entry, terminal));
    }
    if view.timeline.is_empty() {
        text.push_str("nothing had happened yet\n");
    }
    text
}

/// The view of one entry in the middle of its timeline, for going back and forth. `view` is of the entry's time.
pub fn at_entry(view: &OrderView, whole: &OrderView, index: usize, terminal: Terminal) -> String {
    /// As many entries before and after it are shown.
    const AROUND: usize = 6;
    let mut text = head(view, terminal);
    let last = whole.timeline.len();
    let (from, to) = (index.saturating_sub(AROUND), (index + AROUND + 1).min(last));
    for (position, entry) in whole.timeline.iter().enumerate().take(to).skip(from) {
        let line = line(whole, entry, terminal);
        match position == index {
            true => text.push_str(&terminal.paint(Style::new().reverse(), line.trim_end())),
            false => text.push_str(line.trim_end()),
        }
        text.push('\n');
    }
    text.push_str(&format!("\n{} of {last}, {:.3}\n", (index + 1).min(last), view.state.at));
    text
}

fn head(view: &OrderView, terminal: Terminal) -> String {
    let state = &view.state;
    let status = state.order.map_or_else(|| "unknown".to_owned(), |status| format!("{status:?}"));
    let style = match state.order {
        Some(OrderStatus::OrderCompleted) => Style::new().green().bold(),
        Some(OrderStatus::NeedsAttention) => Style::new().red().bold(),
        _ => Style::new().yellow().bold(),
    };
    let mut text = format!("{}  {}\n", view.order_id, terminal.paint(style, &status));
    if let Some(placed) = view.placed_at {
        let after = view.ended_at.map_or_else(
            || format!("open for {}", spoken(state.at.duration_since(placed))),
            |ended| format!("ended after {}", spoken(ended.duration_since(placed))),
        );
        let total = view.total.as_ref().map_or_else(String::new, |total| format!(", {total}"));
        let placed = format!("placed {placed:.3}, {after}{total}");
        text.push_str(&format!("{}\n", wrapped(&placed, terminal.width(), "    ")));
    }
    if !view.is_now {
        text.push_str(&format!("as it was at {:.3}\n", state.at));
    }
    let or_none = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
    let states = format!(
        "saga {}, stock {}, payment {}, shipment {}, messages sent {}",
        or_none(&state.saga),
        or_none(&state.reservation),
        or_none(&state.payment),
        or_none(&state.shipment),
        state.messages
    );
    text.push_str(&format!("{}\n", wrapped(&states, terminal.width(), "    ")));
    let ids = [
        view.user_id.as_ref().map(|id| format!("customer {id}")),
        view.correlation_id.as_ref().map(|id| format!("correlation {id}")),
    ];
    text.push_str(&format!("{}\n", ids.into_iter().flatten().collect::<Vec<_>>().join("\n")));
    match view.traces.as_slice() {
        [] => {}
        [trace] => text.push_str(&format!("trace {trace}\n")),
        // Those of batches and of the customer's other requests are among them.
        [first, ..] => text.push_str(&format!("traces {}, the first {first}\n", view.traces.len())),
    }
    for warning in &view.warnings {
        let said = format!("not shown: {}: {}", warning.source, warning.reason);
        text.push_str(&terminal.paint(Style::new().yellow(), &wrapped(&said, terminal.width(), "    ")));
        text.push('\n');
    }
    text.push('\n');
    text
}

fn finding(finding: &Finding, terminal: Terminal) -> String {
    let (word, style) = match finding.urgency {
        Urgency::Stuck => ("STUCK", Style::new().red().bold()),
        Urgency::Owed => ("OWED", Style::new().magenta().bold()),
        Urgency::Waits => ("WAITS", Style::new().yellow().bold()),
    };
    let since = finding.since.map_or_else(String::new, |since| format!(" since {since:.0}"));
    let title = wrapped(&format!("{}{since}", finding.title), terminal.width() - 6, "      ");
    let mut text = format!("{:<6}{title}\n", terminal.paint(style, &format!("{word:<5}")));
    for evidence in &finding.evidence {
        text.push_str(&format!("      - {}\n", wrapped(evidence, terminal.width() - 8, "        ")));
    }
    text.push_str(&format!("      runbook: {}\n", finding.runbook));
    for command in &finding.commands {
        // A command is never wrapped, so that it can be copied.
        text.push_str(&format!("      $ {}\n", terminal.paint(Style::new().bold(), command)));
    }
    text.push('\n');
    text
}

/// One line of the waterfall, and its details.
fn line(view: &OrderView, entry: &Entry, terminal: Terminal) -> String {
    let first = view.start();
    let last = end(view);
    let width = terminal.width();
    let fixed = OFFSET + LANE + 3 + DURATION;
    let bar_width = (width - fixed) / 3;
    let title_width = width - fixed - bar_width - 2;

    let offset = format!("+{}", spoken(entry.at.duration_since(first)));
    let title = truncate_str(&entry.title, title_width, "…").into_owned();
    let padding = " ".repeat(title_width.saturating_sub(measure_text_width(&title)));
    let bar = bar(entry, first, last, bar_width);
    let duration = match (entry.until, entry.lasts()) {
        (Some(until), _) => spoken(until.duration_since(entry.at)),
        (None, true) => format!("{} …", spoken(view.state.at.duration_since(entry.at))),
        (None, false) => String::new(),
    };
    let style = match entry.mark {
        Mark::Done => Style::new().green(),
        Mark::Failed => Style::new().red(),
        Mark::Warned => Style::new().yellow(),
        Mark::Running => Style::new().cyan(),
        Mark::Info => Style::new().dim(),
    };
    let text = format!(
        "{offset:>OFFSET$} {:<LANE$}{} {}{padding}  {} {duration}",
        entry.lane.name(),
        terminal.paint(style.clone(), entry.mark.sign()),
        terminal.paint(style.clone(), &title),
        terminal.paint(style, &bar),
    );
    let mut text = format!("{}\n", text.trim_end());
    let indent = " ".repeat(OFFSET + LANE + 3);
    // What did not fit is told in full.
    let cut = (measure_text_width(&entry.title) > title_width).then_some(&entry.title);
    for detail in cut.into_iter().chain(&entry.details) {
        text.push_str(&format!("{indent}{}\n", wrapped(detail, width - indent.len(), &indent)));
    }
    text
}

/// The end of the time that the bars show.
fn end(view: &OrderView) -> Timestamp {
    let ends = view.timeline.iter().map(|entry| match entry.lasts() {
        true => view.state.at,
        false => entry.until.unwrap_or(entry.at),
    });
    ends.max().unwrap_or(view.state.at)
}

/// A bar in `width` columns: blocks for what lasts, a point for a moment.
fn bar(entry: &Entry, first: Timestamp, last: Timestamp, width: usize) -> String {
    let column = |at: Timestamp| {
        let (part, whole) =
            (at.duration_since(first).as_micros(), last.duration_since(first).as_micros().max(1));
        let columns = i128::try_from(width).unwrap_or_default() - 1;
        usize::try_from((part * columns / whole).clamp(0, columns)).unwrap_or_default()
    };
    let start = column(entry.at);
    let stop = match (entry.until, entry.lasts()) {
        (Some(until), _) => column(until),
        (None, true) => width - 1,
        (None, false) => return format!("{}│{}", " ".repeat(start), " ".repeat(width - 1 - start)),
    };
    format!("{}{}{}", " ".repeat(start), "█".repeat(stop - start + 1), " ".repeat(width - 1 - stop))
}

/// Text in lines of at most `width` columns; those after the first are indented.
fn wrapped(text: &str, width: usize, indent: &str) -> String {
    let mut lines: Vec<String> = vec![String::new()];
    for word in text.split_whitespace() {
        let Some(line) = lines.last_mut() else { break };
        if !line.is_empty() && measure_text_width(line) + 1 + measure_text_width(word) > width {
            lines.push(word.to_owned());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines.join(&format!("\n{indent}"))
}
