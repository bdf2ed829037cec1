//! The drills: failure modes played through on a mesh of real processes, each row with its seeded schedule of faults, its
//! load, and a verdict with figures. `WEFT_DRILLS`, `WEFT_DRILLS_ROWS` and `WEFT_DRILLS_SEEDS` choose; see
//! `cargo xtask test --suite drills`.
mod ca_down;
mod came_back_less;
mod control_plane_down;
mod descriptors;
mod flood;
mod memory_cap;
mod proxy_crash;
mod restart_while_down;
mod retry_storm;
mod rolling_update;
mod slow_upstream;
mod streams;

use std::{io::Write, process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Result, ensure};
use futures::future::LocalBoxFuture;
use tokio::{
    sync::Semaphore,
    task::{JoinSet, LocalSet},
    time::Instant,
};
use weft_drills::{Drill, Options, Scale, Verdict, namespace};
use weft_harness::record;

/// One failure mode.
struct Row {
    number: u32,
    about: &'static str,
    run: fn(Drill) -> LocalBoxFuture<'static, Result<Verdict>>,
}

/// Every row, in order.
const ROWS: [Row; 12] = [
    Row { number: 1, about: "control plane down", run: |drill| Box::pin(control_plane_down::run(drill)) },
    Row { number: 2, about: "new proxy while it is down", run: |drill| Box::pin(restart_while_down::run(drill)) },
    Row { number: 3, about: "control plane back with less", run: |drill| Box::pin(came_back_less::run(drill)) },
    Row { number: 4, about: "CA down in rotation", run: |drill| Box::pin(ca_down::run(drill)) },
    Row { number: 6, about: "proxy crash", run: |drill| Box::pin(proxy_crash::run(drill)) },
    Row { number: 8, about: "rolling update of an application", run: |drill| Box::pin(rolling_update::run(drill)) },
    Row { number: 9, about: "slow and black-holed upstreams", run: |drill| Box::pin(slow_upstream::run(drill)) },
    Row { number: 10, about: "retry storm", run: |drill| Box::pin(retry_storm::run(drill)) },
    Row { number: 11, about: "floods and slow heads", run: |drill| Box::pin(flood::run(drill)) },
    Row { number: 12, about: "memory cap", run: |drill| Box::pin(memory_cap::run(drill)) },
    Row { number: 15, about: "descriptors run out", run: |drill| Box::pin(descriptors::run(drill)) },
    Row { number: 22, about: "half-close, reset, long streams", run: |drill| Box::pin(streams::run(drill)) },
];

/// How many rows run beside each other in the short form.
const BESIDE: usize = 3;

fn main() -> ExitCode {
    if let Err(error) = namespace::enter() {
        eprintln!("error: {error:#}");
        return ExitCode::FAILURE;
    }
    descriptors();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let outcome =
        runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(LocalSet::new().run_until(drills())));
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Takes as many descriptors as it may have: load, applications and their own calls are all in this process.
fn descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // What it has already is enough where this fails: on a machine that keeps up, few are open at once.
    let _raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// Runs what is chosen and prints each verdict; whether all hold.
async fn drills() -> Result<bool> {
    let options = Options::from_environment()?;
    for row in &options.rows {
        ensure!(ROWS.iter().any(|it| it.number == *row), "there is no drill for row {row}");
    }
    // The full form's figures are those of one row alone on the machine.
    let places = Arc::new(Semaphore::new(if options.scale == Scale::Short { BESIDE } else { 1 }));
    let mut running = JoinSet::new();
    let (mut passed, mut failed) = (0, 0);
    for row in ROWS.iter().filter(|row| options.wants(row.number)) {
        // One long run is enough where the row asks for ten minutes.
        let seeds = if row.number == 1 { options.seeds.get(..1).unwrap_or_default() } else { &options.seeds };
        for seed in seeds {
            let (places, seed, scale) = (Arc::clone(&places), *seed, options.scale);
            running.spawn_local(async move {
                let _place = places.acquire_owned().await?;
                let folder = tempfile::Builder::new().prefix("weft-drill-").tempdir()?;
                let began = Instant::now();
                let verdict = (row.run)(Drill { seed, scale, folder: folder.path().to_owned() }).await;
                anyhow::Ok((row, seed, began.elapsed(), verdict))
            });
        }
    }
    while let Some(done) = running.join_next().await {
        let (row, seed, took, verdict) = done??;
        let holds = match verdict {
            Ok(verdict) => {
                show(row, seed, took, &verdict)?;
                if options.scale == Scale::Full {
                    keep(row, seed, &verdict)?;
                }
                verdict.holds()
            }
            Err(error) => {
                say(&format!("drill {} ({}), seed {seed}: failed: {error:#}", row.number, row.about))?;
                false
            }
        };
        if holds { passed += 1 } else { failed += 1 }
    }
    say(&format!("\n{passed} passed, {failed} failed"))?;
    Ok(failed == 0 && passed > 0)
}

/// Records a finished run.
fn keep(Row { number, about, .. }: &Row, seed: u64, verdict: &Verdict) -> Result<()> {
    let judged = if verdict.holds() { "passed" } else { "**failed**" };
    record(
        &format!("drill {number}, {about}, seed {seed}"),
        &format!("{judged}: {}", verdict.summary()),
        &format!("cargo xtask test --suite drills --full --rows {number} --seeds {seed}"),
    )
}

/// Prints a verdict as a table.
fn show(row: &Row, seed: u64, took: Duration, verdict: &Verdict) -> Result<()> {
    let judged = if verdict.holds() { "passed" } else { "FAILED" };
    say(&format!("drill {} ({}), seed {seed}: {judged} in {:.0} s", row.number, row.about, took.as_secs_f64()))?;
    for figure in &verdict.figures {
        let mark = if figure.holds { " " } else { "!" };
        say(&format!("  {mark} {:<46} {:>24}   {}", figure.name, figure.value, figure.bound))?;
    }
    Ok(())
}

fn say(line: &str) -> Result<()> {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}
