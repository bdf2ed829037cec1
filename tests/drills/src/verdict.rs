//! What a drill found.
use std::{fmt, time::Duration};

/// One figure beside its bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figure {
    /// What was measured.
    pub name: String,
    /// What came of it.
    pub value: String,
    /// What it must be; empty for a figure that is only told.
    pub bound: String,
    /// Whether it is.
    pub holds: bool,
}

/// All figures of one run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// The figures, in the order in which they are told.
    pub figures: Vec<Figure>,
}

impl Verdict {
    /// Adds a figure with its bound.
    pub fn figure(&mut self, name: &str, value: impl fmt::Display, bound: &str, holds: bool) {
        let (name, value, bound) = (name.to_owned(), value.to_string(), bound.to_owned());
        self.figures.push(Figure { name, value, bound, holds });
    }

    /// Adds a count that must be zero.
    pub fn none(&mut self, name: &str, count: usize) {
        self.figure(name, count, "0", count == 0);
    }

    /// Adds a text that must say something; shown where it does not.
    pub fn said(&mut self, name: &str, text: &str, holds: bool) {
        self.figure(name, if holds { "yes" } else { text.trim() }, "yes", holds);
    }

    /// Adds a figure that is only told.
    pub fn told(&mut self, name: &str, value: impl fmt::Display) {
        self.figure(name, value, "", true);
    }

    /// Adds a time with its bound.
    pub fn time(&mut self, name: &str, took: Duration, bound: Duration) {
        self.figure(name, millis(took), &format!("≤ {}", millis(bound)), took <= bound);
    }

    /// Whether every figure holds.
    pub fn holds(&self) -> bool {
        !self.figures.is_empty() && self.figures.iter().all(|figure| figure.holds)
    }

    /// The figures in one line.
    pub fn summary(&self) -> String {
        let figures = self.figures.iter().map(|figure| format!("{}: {}", figure.name, figure.value));
        figures.collect::<Vec<_>>().join("; ")
    }
}

fn millis(time: Duration) -> String {
    match time.as_millis() {
        millis if millis < 10 => format!("{:.1} ms", time.as_secs_f64() * 1e3),
        millis if millis < 10_000 => format!("{millis} ms"),
        _ => format!("{:.1} s", time.as_secs_f64()),
    }
}

/// A share in percent, for people.
pub fn within(part: usize, whole: usize) -> f64 {
    if whole == 0 { 100.0 } else { 100.0 * part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_holds_if_it_has_figures_and_each_holds() {
        let mut verdict = Verdict::default();
        assert!(!verdict.holds(), "nothing was measured");
        verdict.none("lost", 0);
        verdict.time("recovered", Duration::from_millis(400), Duration::from_millis(500));
        verdict.told("sent", 4_000);
        assert!(verdict.holds());
        assert_eq!(verdict.summary(), "lost: 0; recovered: 400 ms; sent: 4000");
        verdict.none("doubled", 1);
        assert!(!verdict.holds());
    }
}
