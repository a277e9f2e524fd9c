//! The view as one page: no script, no request, so that it can be attached to a ticket and opened anywhere.

use jiff::Timestamp;

use crate::diagram;
use crate::findings::{Finding, Urgency};
use crate::time::spoken;
use crate::timeline::Entry;
use crate::view::OrderView;

const STYLE: &str = include_str!("page.css");

/// The page as HTML.
pub fn page(view: &OrderView) -> String {
    let status = view.state.order.map_or_else(|| "unknown".to_owned(), |status| format!("{status:?}"));
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <meta http-equiv=\"content-security-policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\
         <title>{order}</title><style>{STYLE}</style></head>\n<body><h1>{order} <span>{status}</span></h1>\n",
        order = escaped(view.order_id.as_str()),
        status = escaped(&status),
    );
    html.push_str(&facts(view));
    for warning in &view.warnings {
        html.push_str(&format!(
            "<p class=\"warning\">Not shown: {}: {}</p>\n",
            escaped(&warning.source),
            escaped(&warning.reason)
        ));
    }
    if view.is_now && view.findings.is_empty() {
        html.push_str("<p class=\"fine\">Nothing is stuck and nothing is owed.</p>\n");
    }
    html.extend(view.findings.iter().map(finding));
    html.push_str(&format!("<h2>The saga</h2>\n{}\n<h2>Timeline</h2>\n", diagram::svg(view.saga.as_ref())));
    html.push_str("<table><thead><tr><th>after<th>where<th>what<th>when<th>lasted</tr></thead><tbody>\n");
    let last = view.timeline.iter().map(|entry| end(view, entry)).max().unwrap_or(view.state.at);
    html.extend(view.timeline.iter().map(|entry| row(view, entry, last)));
    html.push_str("</tbody></table>\n</body></html>\n");
    html
}

fn facts(view: &OrderView) -> String {
    let state = &view.state;
    let some = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
    let time = |time: Option<Timestamp>| time.map_or_else(|| "no".to_owned(), |time| format!("{time:.3}"));
    let facts = [
        ("as of", format!("{:.3}", state.at)),
        ("placed", time(view.placed_at)),
        ("ended", time(view.ended_at)),
        ("total", view.total.as_ref().map_or_else(String::new, ToString::to_string)),
        ("saga", some(&state.saga)),
        ("stock", some(&state.reservation)),
        ("payment", some(&state.payment)),
        ("shipment", some(&state.shipment)),
        ("messages sent", state.messages.to_string()),
        ("customer", view.user_id.as_ref().map_or_else(String::new, ToString::to_string)),
        ("correlation", view.correlation_id.as_ref().map_or_else(String::new, ToString::to_string)),
        ("traces", view.traces.join(", ")),
    ];
    let rows = facts.iter().filter(|(_, value)| !value.is_empty());
    let rows: String =
        rows.map(|(name, value)| format!("<div><dt>{name}</dt><dd>{}</dd></div>", escaped(value))).collect();
    format!("<dl>{rows}</dl>\n")
}

fn finding(finding: &Finding) -> String {
    let (class, word) = match finding.urgency {
        Urgency::Stuck => ("stuck", "Stuck"),
        Urgency::Owed => ("owed", "Owed"),
        Urgency::Waits => ("waits", "Waits"),
    };
    let since = finding.since.map_or_else(String::new, |since| format!(" since {since:.0}"));
    let evidence: String =
        finding.evidence.iter().map(|evidence| format!("<li>{}</li>", escaped(evidence))).collect();
    let commands: String =
        finding.commands.iter().map(|command| format!("<pre>{}</pre>", escaped(command))).collect();
    format!(
        "<section class=\"{class}\"><h3>{word}: {}{since}</h3><ul>{evidence}</ul><p>Runbook: {}</p>{commands}</section>\n",
        escaped(&finding.title),
        escaped(finding.runbook)
    )
}

fn end(view: &OrderView, entry: &Entry) -> Timestamp {
    if entry.lasts() { view.state.at.max(entry.at) } else { entry.until.unwrap_or(entry.at) }
}

fn row(view: &OrderView, entry: &Entry, last: Timestamp) -> String {
    let first = view.start();
    let whole = last.duration_since(first).as_micros().max(1);
    let percent = |at: Timestamp| (at.duration_since(first).as_micros() * 1_000 / whole).clamp(0, 1_000);
    let (from, to) = (percent(entry.at), percent(end(view, entry)));
    // Tenths of a percent, written without floats.
    let tenths = |value: i128| format!("{}.{}%", value / 10, value % 10);
    let lasted = match (entry.until, entry.lasts()) {
        (Some(until), _) => spoken(until.duration_since(entry.at)),
        (None, true) => format!("{}, and lasts", spoken(view.state.at.duration_since(entry.at))),
        (None, false) => String::new(),
    };
    let details: String =
        entry.details.iter().map(|detail| format!("<br><small>{}</small>", escaped(detail))).collect();
    let mark = format!("{:?}", entry.mark).to_lowercase();
    format!(
        "<tr class=\"{mark}\"><td title=\"{:.3}\">+{}<td>{}<td>{} {}{details}\
         <td><div class=\"bar\" style=\"margin-left:{};width:{}\"></div><td>{lasted}</tr>\n",
        entry.at,
        spoken(entry.at.duration_since(first)),
        entry.lane.name(),
        entry.mark.sign(),
        escaped(&entry.title),
        tenths(from),
        tenths(to - from),
    )
}

/// Text for HTML, in elements and in attributes.
pub fn escaped(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => result.push_str("&amp;"),
            '<' => result.push_str("&lt;"),
            '>' => result.push_str("&gt;"),
            '"' => result.push_str("&quot;"),
            '\'' => result.push_str("&#39;"),
            _ => result.push(c),
        }
    }
    result
}
