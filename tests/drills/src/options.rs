//! Which drills run, how long, and with which seeds.
use std::{collections::BTreeSet, env, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, bail};

/// How much of a drill runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// One seed, 20 s a row: what fits into continuous integration.
    Short,
    /// Five seeds of 3 minutes a row: what `tests/RESULTS.md` holds.
    Full,
}

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The scale.
    pub scale: Scale,
    /// The rows; empty for all.
    pub rows: BTreeSet<u32>,
    /// The seeds.
    pub seeds: Vec<u64>,
}

impl Options {
    /// From the environment: `WEFT_DRILLS` (`short` or `full`), `WEFT_DRILLS_ROWS` and `WEFT_DRILLS_SEEDS` (numbers,
    /// separated by commas).
    ///
    /// # Errors
    /// Which of them cannot be read, and why.
    pub fn from_environment() -> Result<Self> {
        let scale = match env::var("WEFT_DRILLS").as_deref() {
            Err(_) | Ok("" | "short") => Scale::Short,
            Ok("full") => Scale::Full,
            Ok(other) => bail!("WEFT_DRILLS is short or full, not {other:?}"),
        };
        let rows = numbers("WEFT_DRILLS_ROWS")?.unwrap_or_default().into_iter().map(u32::try_from);
        let seeds = numbers("WEFT_DRILLS_SEEDS")?.unwrap_or_else(|| match scale {
            Scale::Short => vec![1],
            Scale::Full => (1..=5).collect(),
        });
        Ok(Self { scale, rows: rows.collect::<Result<_, _>>().context("WEFT_DRILLS_ROWS")?, seeds })
    }

    /// Whether a row is to run.
    pub fn wants(&self, row: u32) -> bool {
        self.rows.is_empty() || self.rows.contains(&row)
    }
}

fn numbers(variable: &str) -> Result<Option<Vec<u64>>> {
    let Ok(text) = env::var(variable) else { return Ok(None) };
    let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
    let numbers = words.map(|word| word.parse().with_context(|| format!("{variable}: {word:?} is not a number")));
    Ok(Some(numbers.collect::<Result<_>>()?).filter(|numbers: &Vec<u64>| !numbers.is_empty()))
}

/// One run of one row.
#[derive(Clone, Debug)]
pub struct Drill {
    /// What the schedule of faults and the load are drawn from.
    pub seed: u64,
    /// The scale.
    pub scale: Scale,
    /// A folder of its own.
    pub folder: PathBuf,
}

impl Drill {
    /// How long the load runs: `short` in the short form, `full` in the full one.
    pub fn lasts(&self, short: Duration, full: Duration) -> Duration {
        match self.scale {
            Scale::Short => short,
            Scale::Full => full,
        }
    }

    /// How many of something there are.
    pub fn count(&self, short: usize, full: usize) -> usize {
        match self.scale {
            Scale::Short => short,
            Scale::Full => full,
        }
    }
}
