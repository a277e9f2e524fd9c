//! Going back and forth through an order.

use console::{Key, Term};
use order_view::{OrderView, Sources};

use crate::error::{Error, Result};
use crate::order::shown_on;

const KEYS: &str = "→ next  ← back  Home first  End last  q ends";

/// # Errors
/// The terminal cannot be read or written.
pub fn through(sources: &Sources, terminal: &Term) -> Result<()> {
    let failed = |error: std::io::Error| Error::Order(format!("the terminal cannot be used: {error}"));
    let whole = OrderView::new(sources, None);
    let last = whole.timeline.len().saturating_sub(1);
    let mut index = 0;
    while let Some(entry) = whole.timeline.get(index) {
        let view = OrderView::new(sources, Some(entry.at));
        let screen = order_view::at_entry(&view, &whole, index, shown_on(terminal));
        terminal.clear_screen().map_err(failed)?;
        terminal.write_str(&format!("{screen}{KEYS}\n")).map_err(failed)?;
        match after(&terminal.read_key().map_err(failed)?, index, last) {
            Some(next) => index = next,
            None => return Ok(()),
        }
    }
    Ok(())
}

/// The entry to show after a key; `None` ends.
fn after(key: &Key, index: usize, last: usize) -> Option<usize> {
    match key {
        Key::ArrowRight | Key::ArrowDown | Key::Char('n' | 'l' | 'j' | ' ') | Key::Enter => {
            Some((index + 1).min(last))
        }
        Key::ArrowLeft | Key::ArrowUp | Key::Char('p' | 'h' | 'k') | Key::Backspace => {
            Some(index.saturating_sub(1))
        }
        Key::Home => Some(0),
        Key::End => Some(last),
        Key::Char('q') | Key::Escape | Key::CtrlC => None,
        _ => Some(index),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_go_back_and_forth_and_stay_within_the_timeline() {
        assert_eq!(after(&Key::ArrowRight, 0, 2), Some(1));
        assert_eq!(after(&Key::ArrowRight, 2, 2), Some(2));
        assert_eq!(after(&Key::ArrowLeft, 0, 2), Some(0));
        assert_eq!((after(&Key::End, 0, 2), after(&Key::Home, 2, 2)), (Some(2), Some(0)));
        assert_eq!(after(&Key::Char('x'), 1, 2), Some(1));
        assert_eq!(after(&Key::Char('q'), 1, 2), None);
    }
}
