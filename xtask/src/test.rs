//! `cargo xtask test`: chooses suites, runs them, adds up what they say.
use std::time::Instant;

use anyhow::{Result, bail};
use clap::Args;

use crate::{
    run::{Counts, Workspace, say},
    suites::{Choice, SUITES, Scale, Suite},
};

/// Which suites to run, and how much of each.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Runs one suite (may be repeated); all of them where none is named.
    #[arg(long = "suite", value_name = "NAME")]
    suites: Vec<String>,
    /// Runs what needs nothing but Rust, in its shortest form.
    #[arg(long, conflicts_with_all = ["suites", "full"])]
    quick: bool,
    /// Runs the counts that stand in tests/RESULTS.md instead of the short ones.
    #[arg(long)]
    full: bool,
    /// The drills' rows, separated by commas (for instance 1,3).
    #[arg(long, value_name = "ROWS")]
    rows: Option<String>,
    /// The drills' seeds, separated by commas.
    #[arg(long, value_name = "SEEDS")]
    seeds: Option<String>,
    /// The foreign suites, separated by commas (for instance h2spec,grpc).
    #[arg(long, value_name = "NAMES")]
    only: Option<String>,
    /// Names the suites and leaves.
    #[arg(long)]
    list: bool,
}

/// Runs what `arguments` ask for; `false` if anything failed.
pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    if arguments.list {
        for Suite { name, about, .. } in &SUITES {
            say(&format!("{name:<12} {about}"))?;
        }
        return Ok(true);
    }
    let chosen = choose(arguments)?;
    let workspace = Workspace::find()?;
    let scale = if arguments.full { Scale::Full } else { Scale::Short };
    let choice =
        Choice { scale, rows: arguments.rows.clone(), seeds: arguments.seeds.clone(), only: arguments.only.clone() };
    let mut total = Counts::default();
    let mut failed = Vec::new();
    for suite in chosen {
        eprintln!("==== {}: {}", suite.name, suite.about);
        let start = Instant::now();
        let counts = (suite.run)(&workspace, &choice).unwrap_or_else(|error| {
            eprintln!("error: {error:#}");
            Counts { passed: 0, failed: 1 }
        });
        let counts = if counts.passed + counts.failed == 0 {
            eprintln!("error: the suite {} ran no test", suite.name);
            Counts { passed: 0, failed: 1 }
        } else {
            counts
        };
        if counts.failed > 0 {
            failed.push(suite.name);
        }
        eprintln!("==== {}: {} in {:.0} s", suite.name, counts, start.elapsed().as_secs_f64());
        total += counts;
    }
    if !failed.is_empty() {
        eprintln!("failed suites: {}", failed.join(", "));
    }
    say(&format!("\n{total}"))?;
    Ok(total.failed == 0)
}

fn choose(arguments: &Arguments) -> Result<Vec<&'static Suite>> {
    for name in &arguments.suites {
        if !SUITES.iter().any(|suite| suite.name == name) {
            let names: Vec<_> = SUITES.iter().map(|suite| suite.name).collect();
            bail!("there is no suite {name:?}; there are {}", names.join(", "));
        }
    }
    let all = arguments.suites.is_empty();
    let chosen = SUITES.iter().filter(|suite| {
        if arguments.quick { suite.quick } else { all || arguments.suites.iter().any(|name| name == suite.name) }
    });
    Ok(chosen.collect())
}
