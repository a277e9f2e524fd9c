//! One picture of a dashboard as text.
#![expect(clippy::float_arithmetic, reason = "figures to look at; exact money is in the sales report")]

use std::fmt::Write;

/// The figures of one widget.
#[derive(Debug)]
pub struct Panel {
    pub title: String,
    /// Whether the values of all minutes add up to a total.
    pub is_sum: bool,
    pub rows: Vec<Row>,
}

/// A value of each minute.
#[derive(Debug)]
pub struct Row {
    pub label: String,
    pub values: Vec<Option<f64>>,
}

const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Longer labels are cut.
const LABEL: usize = 34;
/// The most columns of a row's bars.
const COLUMNS: usize = 60;

/// The panels with a bar for each minute. Rows without a value are left out, and a panel without rows says so.
pub fn render(heading: &str, panels: &[Panel], minutes: usize) -> String {
    let columns = minutes.min(COLUMNS);
    // Writing to a text cannot fail.
    let mut text = format!("{heading}\n");
    for panel in panels {
        let total = if panel.is_sum { "total" } else { "" };
        let _ =
            writeln!(text, "\n{:<width$}{:>9}{total:>9}", panel.title, "latest", width = LABEL + columns + 2);
        let mut empty = 0;
        for row in &panel.rows {
            let Some(latest) = row.values.iter().rev().find_map(|value| *value) else {
                empty += 1;
                continue;
            };
            let label: String = row.label.chars().take(LABEL - 2).collect();
            let total = if panel.is_sum { figure(row.values.iter().flatten().sum()) } else { String::new() };
            let bars = bars(&row.values, columns);
            let _ =
                writeln!(text, "  {label:<width$}{bars}  {:>9}{total:>9}", figure(latest), width = LABEL - 2);
        }
        if empty == panel.rows.len() {
            let _ = writeln!(text, "  no values");
        }
    }
    text
}

/// A column for each value, or for several if they are more than the columns: then the highest of them.
fn bars(values: &[Option<f64>], columns: usize) -> String {
    let chunk = values.len().div_ceil(columns.max(1)).max(1);
    let highest = values.iter().flatten().copied().fold(0.0, f64::max);
    let bar = |values: &[Option<f64>]| match values.iter().flatten().copied().reduce(f64::max) {
        None => ' ',
        Some(value) if highest <= 0.0 || value <= 0.0 => BARS[0],
        Some(value) => {
            // The thresholds are eighths of the highest value.
            let eighths = (1..BARS.len())
                .filter(|n| value * 8.0 > highest * f64::from(u8::try_from(*n).unwrap_or(u8::MAX)));
            BARS[eighths.count()]
        }
    };
    let text: String = values.chunks(chunk).map(bar).collect();
    format!("{text:<columns$}")
}

/// A number of at most eight characters.
fn figure(value: f64) -> String {
    match value.abs() {
        v if v >= 10_000_000.0 => format!("{:.1}M", value / 1_000_000.0),
        v if v >= 100_000.0 => format!("{:.0}k", value / 1_000.0),
        v if v >= 100.0 || value.fract() == 0.0 => format!("{value:.0}"),
        _ => format!("{value:.1}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(label: &str, values: &[f64]) -> Row {
        // A negative number is a minute without a value.
        Row {
            label: label.to_owned(),
            values: values.iter().map(|v| Some(*v).filter(|v| *v >= 0.0)).collect(),
        }
    }

    #[test]
    fn a_row_has_a_bar_for_each_minute_the_latest_value_and_the_total() {
        let rows = vec![row("placed", &[1.0, 4.0, 8.0, -1.0]), row("cancelled", &[-1.0; 4])];
        let text =
            render("platform of local", &[Panel { title: "Orders".to_owned(), is_sum: true, rows }], 4);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "platform of local");
        assert_eq!(lines[2], "Orders                                     latest    total");
        assert_eq!(lines[3], "  placed                          ▁▄█           8       13");
        assert_eq!(lines.len(), 4, "a row without values is left out");
    }

    #[test]
    fn a_panel_without_values_says_so() {
        let panel = Panel { title: "Revenue".to_owned(), is_sum: true, rows: vec![row("USD", &[-1.0])] };
        assert!(render("x", &[panel], 1).ends_with("  no values\n"));
    }

    #[test]
    fn many_minutes_share_a_column() {
        assert_eq!(bars(&[Some(1.0), Some(8.0), None, None], 2), "█ ");
        assert_eq!(bars(&[Some(0.0), Some(0.0)], 2), "▁▁");
    }

    #[test]
    fn figures_are_short() {
        let figures = [0.0, 12.0, 12.34, 1234.5, 234_567.0, 34_567_890.0].map(figure);
        assert_eq!(figures, ["0", "12", "12.3", "1234", "235k", "34.6M"]);
    }
}
