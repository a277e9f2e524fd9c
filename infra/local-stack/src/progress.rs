//! Progress of long steps: a bar or a spinner on a terminal, plain lines elsewhere.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// The interval of plain lines during a long step.
const HEARTBEAT: Duration = Duration::from_secs(10);
const SPIN: Duration = Duration::from_millis(120);

/// The output of progress: standard error, so that standard output stays clean.
#[derive(Clone)]
pub struct Progress(Arc<Kind>);

enum Kind {
    Terminal(MultiProgress),
    Lines,
    Quiet,
}

impl Progress {
    pub fn new() -> Self {
        if console::Term::stderr().is_term() {
            Self(Arc::new(Kind::Terminal(MultiProgress::new())))
        } else {
            Self(Arc::new(Kind::Lines))
        }
    }

    pub fn quiet() -> Self {
        Self(Arc::new(Kind::Quiet))
    }

    /// One line that stays.
    pub fn say(&self, line: &str) {
        match &*self.0 {
            Kind::Terminal(bars) => {
                // A closed terminal is no reason to stop.
                let _ = bars.println(line);
            }
            Kind::Lines => eprintln!("{line}"),
            Kind::Quiet => {}
        }
    }

    /// Starts a step. Dropped without [`Step::done`] it prints no line: the error says what happened.
    pub fn step(&self, what: &str) -> Step {
        let started = Instant::now();
        match &*self.0 {
            Kind::Terminal(bars) => {
                let bar = bars.add(ProgressBar::new_spinner());
                bar.set_style(style("{spinner:.cyan} {prefix} {wide_msg:.dim} {elapsed:.dim}"));
                bar.set_prefix(what.to_owned());
                bar.enable_steady_tick(SPIN);
                Step { progress: self.clone(), what: what.to_owned(), started, bar: Some(bar), beat: None }
            }
            Kind::Lines => {
                eprintln!("· {what}");
                let beat = Heartbeat::start(what.to_owned(), started);
                Step { progress: self.clone(), what: what.to_owned(), started, bar: None, beat: Some(beat) }
            }
            Kind::Quiet => {
                Step { progress: self.clone(), what: what.to_owned(), started, bar: None, beat: None }
            }
        }
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

/// Something that is being done.
pub struct Step {
    progress: Progress,
    what: String,
    started: Instant,
    bar: Option<ProgressBar>,
    beat: Option<Heartbeat>,
}

impl Step {
    /// Shows the current item.
    pub fn at(&self, detail: impl Into<String>) {
        let detail = detail.into();
        if let Some(bar) = &self.bar {
            bar.set_message(detail);
        } else if let Some(beat) = &self.beat {
            beat.set(detail);
        }
    }

    /// Shows the completed part.
    pub fn part(&self, done: usize, of: usize) {
        let Some(bar) = &self.bar else { return };
        if bar.length() != Some(of as u64) {
            bar.set_length(of as u64);
            bar.set_style(style(
                "{spinner:.cyan} {prefix} [{bar:24.cyan/dim}] {pos}/{len} {wide_msg:.dim} {elapsed:.dim}",
            ));
        }
        bar.set_position(done as u64);
    }

    /// Ends with a line that stays: what came of it, and how long it took.
    pub fn done(mut self, result: &str) {
        let line = format!("{} {result} ({})", console::style("✓").green(), seconds(self.started.elapsed()));
        self.clear();
        self.progress.say(&line);
    }

    fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        self.beat = None;
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.clear();
    }
}

impl std::fmt::Debug for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Step").field("what", &self.what).finish_non_exhaustive()
    }
}

fn style(template: &str) -> ProgressStyle {
    // The templates above are constants that indicatif accepts; its default would only look different.
    ProgressStyle::with_template(template)
        .map(|style| style.progress_chars("━━─"))
        .unwrap_or_else(|_| ProgressStyle::default_spinner())
}

/// `0.4 s`, `12 s`, `2 min 5 s`.
fn seconds(time: Duration) -> String {
    match time.as_secs() {
        0..10 => format!("{}.{} s", time.as_secs(), time.subsec_millis() / 100),
        10..60 => format!("{} s", time.as_secs()),
        more => format!("{} min {} s", more / 60, more % 60),
    }
}

/// Says every few seconds what a step is at.
struct Heartbeat {
    detail: Arc<Mutex<String>>,
    over: Arc<AtomicBool>,
}

impl Heartbeat {
    fn start(what: String, started: Instant) -> Self {
        let (detail, over) = (Arc::new(Mutex::new(String::new())), Arc::new(AtomicBool::new(false)));
        let (seen, ended) = (detail.clone(), over.clone());
        std::thread::spawn(move || {
            let mut last = Instant::now();
            while !ended.load(Ordering::Relaxed) {
                std::thread::sleep(SPIN);
                if last.elapsed() >= HEARTBEAT && !ended.load(Ordering::Relaxed) {
                    last = Instant::now();
                    let detail = seen.lock().map(|text| text.clone()).unwrap_or_default();
                    let separator = if detail.is_empty() { "" } else { ": " };
                    eprintln!("  {what}{separator}{detail} ({} so far)", seconds(started.elapsed()));
                }
            }
        });
        Self { detail, over }
    }

    fn set(&self, text: String) {
        if let Ok(mut detail) = self.detail.lock() {
            *detail = text;
        }
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        assert_eq!(seconds(Duration::from_millis(440)), "0.4 s");
        assert_eq!(seconds(Duration::from_secs(12)), "12 s");
        assert_eq!(seconds(Duration::from_secs(125)), "2 min 5 s");
    }
}
