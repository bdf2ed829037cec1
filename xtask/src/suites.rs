//! The suites: what each runs.
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use anyhow::{Context, Result};

use crate::{
    foreign, python,
    run::{Counts, Executable, Workspace, say},
};

/// How much of a suite to run.
#[derive(Clone, Copy)]
pub(crate) enum Scale {
    /// What fits into continuous integration.
    Short,
    /// What `tests/RESULTS.md` holds.
    Full,
}

/// How much of each suite to run, and which part.
pub(crate) struct Choice {
    pub(crate) scale: Scale,
    /// The drills' rows, separated by commas; all of them where nothing is named.
    pub(crate) rows: Option<String>,
    /// The drills' seeds, separated by commas; those of the scale where nothing is named.
    pub(crate) seeds: Option<String>,
    /// Which of the foreign suites, separated by commas; all of them where nothing is named.
    pub(crate) only: Option<String>,
}

impl Choice {
    /// `short` or `full`, whichever is chosen.
    fn of(&self, short: &'static str, full: &'static str) -> &'static str {
        match self.scale {
            Scale::Short => short,
            Scale::Full => full,
        }
    }
}

/// A named group of tests.
pub(crate) struct Suite {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// Whether `--quick` runs it.
    pub(crate) quick: bool,
    pub(crate) run: fn(&Workspace, &Choice) -> Result<Counts>,
}

/// Every suite, in the order in which they run.
pub(crate) const SUITES: [Suite; 12] = [
    Suite { name: "lint", about: "formatting, clippy, documentation", quick: true, run: lint },
    Suite { name: "tidy", about: "dependency edges, budgets, documents", quick: true, run: tidy },
    Suite { name: "unit", about: "every crate's own tests and doc tests", quick: true, run: unit },
    Suite { name: "fuzz", about: "every parser over its corpus, the codec against hyper", quick: true, run: fuzz },
    Suite { name: "integration", about: "a whole mesh inside one process", quick: true, run: integration },
    Suite { name: "hold", about: "outages, rotation and replacement under load", quick: false, run: hold },
    Suite { name: "pairs", about: "the evaluator against a real proxy", quick: false, run: pairs },
    Suite { name: "peers", about: "gRPC's Python client and server through two sidecars", quick: false, run: peers },
    Suite {
        name: "foreign",
        about: "h2spec, gRPC's interop, Autobahn, slowhttptest, sslyze",
        quick: false,
        run: foreign,
    },
    Suite { name: "conformance", about: "the same bootstrap files, weft beside Envoy", quick: false, run: conformance },
    Suite { name: "drills", about: "failure modes on a mesh of real processes", quick: false, run: drills },
    Suite { name: "demo", about: "weft demo --check: a mesh of real processes", quick: false, run: demo },
];

/// The packages whose tests are suites of their own.
const SUITE_PACKAGES: [&str; 7] =
    ["weft-tidy", "weft-integration", "weft-fuzz", "weft-peers", "weft-foreign", "weft-conformance", "weft-drills"];

fn lint(workspace: &Workspace, _: &Choice) -> Result<Counts> {
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

fn tidy(workspace: &Workspace, _: &Choice) -> Result<Counts> {
    workspace.tests(|test| test.package == "weft-tidy", &[])
}

fn unit(workspace: &Workspace, choice: &Choice) -> Result<Counts> {
    let own = |test: &Executable| !SUITE_PACKAGES.contains(&test.package.as_str()) && !is_lifecycle(test);
    let mut counts = workspace.tests(own, &[("WEFT_CRASH_ROUNDS", choice.of("25", "500"))])?;
    counts += workspace.doc_tests()?;
    Ok(counts)
}

fn fuzz(workspace: &Workspace, choice: &Choice) -> Result<Counts> {
    let rounds = choice.of("20000", "2000000");
    let mut counts = workspace.tests(|test| test.package == "weft-fuzz", &[("WEFT_FUZZ_ROUNDS", rounds)])?;
    let compared = choice.of("200000", "10000000");
    let codec = |test: &Executable| test.package == "weft-proxy" && test.target == "codec";
    counts += workspace.tests(codec, &[("WEFT_FUZZ_ROUNDS", compared)])?;
    Ok(counts)
}

fn integration(workspace: &Workspace, _: &Choice) -> Result<Counts> {
    workspace.tests(|test| test.package == "weft-integration" && test.target == "integration", &[])
}

fn hold(workspace: &Workspace, choice: &Choice) -> Result<Counts> {
    let holds = |test: &Executable| test.package == "weft-integration" && test.target == "hold";
    let mut counts = workspace.tests(holds, &[("WEFT_HOLD", choice.of("short", "full"))])?;
    counts += workspace.tests(is_lifecycle, &[("WEFT_ROLLING_SECONDS", choice.of("20", "120"))])?;
    Ok(counts)
}

/// The tests that replace processes under load; they are measured alone.
fn is_lifecycle(test: &Executable) -> bool {
    test.package == "weft" && test.target == "lifecycle"
}

fn pairs(workspace: &Workspace, choice: &Choice) -> Result<Counts> {
    let pairs = choice.of("20000", "1000000");
    workspace.tests(|test| test.package == "weft-integration" && test.target == "pairs", &[("WEFT_PAIRS", pairs)])
}

fn peers(workspace: &Workspace, _: &Choice) -> Result<Counts> {
    let python = python::with(&workspace.file("tests/peers/requirements.txt"))?;
    let python = python.to_str().context("the cache folder's path is no text")?;
    workspace.tests(|test| test.package == "weft-peers", &[("WEFT_PEERS_PYTHON", python)])
}

fn foreign(workspace: &Workspace, choice: &Choice) -> Result<Counts> {
    let programs = foreign::programs(workspace)?;
    let mut environment: Vec<_> = programs.iter().map(|(variable, path)| (*variable, path.as_str())).collect();
    environment.push(("WEFT_FOREIGN", choice.of("short", "full")));
    environment.push(("WEFT_FOREIGN_ONLY", choice.only.as_deref().unwrap_or_default()));
    workspace.tests(|test| test.package == "weft-foreign", &environment)
}

fn conformance(workspace: &Workspace, choice: &Choice) -> Result<Counts> {
    let python = python::with(&workspace.file("tests/conformance/requirements.txt"))?;
    let (envoy, weft) = (python::file(&python, "envoy", "_bin/envoy")?, workspace.binary("weft")?);
    let mut counts = Counts::default();
    for (subject, program) in [("envoy", envoy), ("weft", weft)] {
        let program = program.to_str().context("the program's path is no text")?;
        let mut environment = vec![("SUBJECT", subject), ("WEFT_CONFORMANCE_PROGRAM", program)];
        if matches!(choice.scale, Scale::Full) {
            environment.extend([("WEFT_CONFORMANCE_RECORD", "1"), ("WEFT_CONFORMANCE_WITHOUT", "all")]);
        }
        counts += workspace.tests(|test| test.package == "weft-conformance", &environment)?;
    }
    Ok(counts)
}

fn drills(workspace: &Workspace, choice: &Choice) -> Result<Counts> {
    let environment = [
        ("WEFT_DRILLS", choice.of("short", "full")),
        ("WEFT_DRILLS_ROWS", choice.rows.as_deref().unwrap_or_default()),
        ("WEFT_DRILLS_SEEDS", choice.seeds.as_deref().unwrap_or_default()),
    ];
    workspace.tests(|test| test.package == "weft-drills", &environment)
}

fn demo(workspace: &Workspace, choice: &Choice) -> Result<Counts> {
    let weft = workspace.binary("weft")?;
    let tour = || workspace.program(&weft, &["demo", "--check"]);
    let mut counts = tour()?;
    if matches!(choice.scale, Scale::Full) {
        for _ in 1..20 {
            counts += tour()?;
        }
        say("---- twenty times more, beside a busy core")?;
        let _busy = BusyCore::start();
        for _ in 0..20 {
            counts += tour()?;
        }
    }
    Ok(counts)
}

/// A thread that computes without pause until it is dropped.
struct BusyCore {
    stop: Arc<AtomicBool>,
}

impl BusyCore {
    fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        });
        Self { stop }
    }
}

impl Drop for BusyCore {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
