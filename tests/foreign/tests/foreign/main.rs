//! Other people's test suites against weft, on a mesh of real processes: h2spec, gRPC's interoperability cases, Autobahn's
//! WebSocket cases, slowhttptest and sslyze. `WEFT_FOREIGN` and the paths of the programs come from
//! `cargo xtask test --suite foreign`, which installs them.
mod grpc;
mod h2spec;
mod mesh;
mod program;
mod slow;
mod tls;
mod websocket;

use std::{env, io::Write, path::Path, process::ExitCode};

use anyhow::{Result, bail};
use tokio::{runtime::Builder, task::LocalSet, time::Instant};
use weft_drills::Verdict;
use weft_harness::record;

use mesh::Mesh;

/// How much of each suite runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    /// What fits into continuous integration.
    Short,
    /// What `tests/RESULTS.md` holds.
    Full,
}

/// The suites, in the order in which they run.
const SUITES: [&str; 7] = ["h2spec", "h2spec-tls", "grpc", "websocket", "websocket-h2", "slow", "tls"];

fn main() -> ExitCode {
    raise_descriptors();
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let outcome = runtime.map_err(anyhow::Error::from).and_then(|it| it.block_on(LocalSet::new().run_until(all())));
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Thousands of connections are opened by programs that inherit this process' limit, and taken by such ones.
fn raise_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // Where it fails, the suite that needs them says so.
    let _raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// Runs what is chosen, each suite on a mesh of its own; whether all pass.
async fn all() -> Result<bool> {
    let scale = match env::var("WEFT_FOREIGN").as_deref() {
        Err(_) | Ok("" | "short") => Scale::Short,
        Ok("full") => Scale::Full,
        Ok(other) => bail!("WEFT_FOREIGN is short or full, not {other:?}"),
    };
    let chosen = env::var("WEFT_FOREIGN_ONLY").unwrap_or_default();
    let chosen: Vec<&str> = chosen.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    if let Some(unknown) = chosen.iter().find(|name| !SUITES.contains(name)) {
        bail!("there is no foreign suite {unknown:?}; there are {}", SUITES.join(", "));
    }
    let (mut passed, mut failed) = (0, 0);
    for name in SUITES.into_iter().filter(|name| chosen.is_empty() || chosen.contains(name)) {
        let began = Instant::now();
        let folder = tempfile::Builder::new().prefix("weft-foreign-").tempdir()?;
        let verdict = one(name, scale, folder.path()).await;
        let took = began.elapsed().as_secs_f64();
        match verdict {
            Ok(verdict) => {
                show(name, took, &verdict)?;
                if scale == Scale::Full {
                    keep(name, &verdict)?;
                }
                if verdict.holds() { passed += 1 } else { failed += 1 }
            }
            Err(error) => {
                say(&format!("{name}: failed after {took:.0} s: {error:#}"))?;
                failed += 1;
            }
        }
    }
    say(&format!("\n{passed} passed, {failed} failed"))?;
    Ok(failed == 0 && passed > 0)
}

async fn one(name: &str, scale: Scale, folder: &Path) -> Result<Verdict> {
    match name {
        "h2spec" => h2spec::plain(&Mesh::http(folder).await?, folder).await,
        "h2spec-tls" => h2spec::tls(&Mesh::http(folder).await?, folder).await,
        "grpc" => grpc::run(folder).await,
        "websocket" => websocket::run(folder, scale, websocket::Way::Http1).await,
        "websocket-h2" => websocket::run(folder, scale, websocket::Way::Http2).await,
        "slow" => slow::run(&Mesh::http(folder).await?, folder, scale).await,
        "tls" => tls::run(&Mesh::http(folder).await?, folder).await,
        other => bail!("there is no foreign suite {other:?}"),
    }
}

fn keep(name: &str, verdict: &Verdict) -> Result<()> {
    let judged = if verdict.holds() { "passed" } else { "**failed**" };
    let command = format!("cargo xtask test --suite foreign --full --only {name}");
    record(&format!("foreign: {name}"), &format!("{judged}: {}", verdict.summary()), &command)
}

fn show(name: &str, took: f64, verdict: &Verdict) -> Result<()> {
    say(&format!("{name}: {} in {took:.0} s", if verdict.holds() { "passed" } else { "FAILED" }))?;
    for figure in &verdict.figures {
        let mark = if figure.holds { " " } else { "!" };
        say(&format!("  {mark} {:<46} {:>16}   {}", figure.name, figure.value, figure.bound))?;
    }
    Ok(())
}

fn say(line: &str) -> Result<()> {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}
