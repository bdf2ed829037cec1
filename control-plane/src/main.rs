//! `weft-control-plane`: the control plane as a program of its own.
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;
use weft_control_plane::Args;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The control plane of a weft mesh.
#[derive(Parser)]
#[command(version)]
struct Program {
    #[command(flatten)]
    args: Args,
}

fn main() -> ExitCode {
    let program = Program::parse();
    let filter = EnvFilter::try_from_env("WEFT_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(std::io::stderr).init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error, "see this user's limits (ulimit -a)"),
    };
    match runtime.block_on(weft_control_plane::run(program.args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error, error.hint()),
    }
}

fn fail(error: &dyn std::error::Error, hint: &str) -> ExitCode {
    tracing::error!(hint, "{error}");
    ExitCode::FAILURE
}
