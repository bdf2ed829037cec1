//! The suites: what each runs.
use anyhow::Result;

use crate::run::{Counts, Workspace};

/// How much of a suite to run.
#[derive(Clone, Copy)]
pub(crate) enum Scale {
    /// What fits into continuous integration.
    Short,
    /// What `tests/RESULTS.md` holds.
    Full,
}

impl Scale {
    /// `short` or `full`, whichever this is.
    fn of(self, short: &'static str, full: &'static str) -> &'static str {
        match self {
            Self::Short => short,
            Self::Full => full,
        }
    }
}

/// A named group of tests.
pub(crate) struct Suite {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// Whether `--quick` runs it.
    pub(crate) quick: bool,
    pub(crate) run: fn(&Workspace, Scale) -> Result<Counts>,
}

/// Every suite, in the order in which they run.
pub(crate) const SUITES: [Suite; 7] = [
    Suite { name: "lint", about: "formatting, clippy, documentation", quick: true, run: lint },
    Suite { name: "tidy", about: "dependency edges, budgets, documents", quick: true, run: tidy },
    Suite { name: "unit", about: "every crate's own tests and doc tests", quick: true, run: unit },
    Suite { name: "fuzz", about: "every parser over its corpus and mutations of it", quick: true, run: fuzz },
    Suite { name: "integration", about: "a whole mesh inside one process", quick: true, run: integration },
    Suite { name: "pairs", about: "the evaluator against a real proxy", quick: false, run: pairs },
    Suite { name: "demo", about: "weft demo --check: a mesh of real processes", quick: false, run: demo },
];

const NOT_UNIT: [&str; 4] = ["weft-tidy", "weft-integration", "weft-fuzz", "xtask"];

fn lint(workspace: &Workspace, _: Scale) -> Result<Counts> {
    let mut counts = Counts::default();
    counts += workspace.step("formatting", &["fmt", "--all", "--check"], &[])?;
    counts += workspace.step(
        "clippy",
        &["clippy", "--locked", "--workspace", "--all-targets", "--", "--deny", "warnings"],
        &[],
    )?;
    counts += workspace.step(
        "documentation",
        &["doc", "--locked", "--workspace", "--no-deps", "--document-private-items"],
        &[("RUSTDOCFLAGS", "--deny warnings")],
    )?;
    Ok(counts)
}

fn tidy(workspace: &Workspace, _: Scale) -> Result<Counts> {
    workspace.tests(&["--package", "weft-tidy"], &[])
}

fn unit(workspace: &Workspace, scale: Scale) -> Result<Counts> {
    let mut arguments = vec!["--workspace"];
    for package in NOT_UNIT {
        arguments.extend(["--exclude", package]);
    }
    workspace.tests(&arguments, &[("WEFT_CRASH_ROUNDS", scale.of("25", "500"))])
}

fn fuzz(workspace: &Workspace, scale: Scale) -> Result<Counts> {
    workspace.tests(&["--package", "weft-fuzz"], &[("WEFT_FUZZ_ROUNDS", scale.of("2000", "1000000"))])
}

fn integration(workspace: &Workspace, _: Scale) -> Result<Counts> {
    workspace.tests(&["--package", "weft-integration", "--test", "integration"], &[])
}

fn pairs(workspace: &Workspace, scale: Scale) -> Result<Counts> {
    workspace
        .tests(&["--package", "weft-integration", "--test", "pairs"], &[("WEFT_PAIRS", scale.of("20000", "1000000"))])
}

fn demo(workspace: &Workspace, scale: Scale) -> Result<Counts> {
    let mut counts = Counts::default();
    let rounds = match scale {
        Scale::Short => 1,
        Scale::Full => 20,
    };
    for _ in 0..rounds {
        counts += workspace.step(
            "demo --check",
            &["run", "--locked", "--profile", "ci", "--package", "weft", "--", "demo", "--check"],
            &[],
        )?;
    }
    Ok(counts)
}
