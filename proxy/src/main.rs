//! `weft-proxy`: the proxy alone, without the rest of `weft`.
use std::process::ExitCode;

use clap::Parser;
use mimalloc::MiMalloc;
use weft_proxy::agent::{Args, run};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// The weft proxy.
#[derive(Parser)]
#[command(name = "weft-proxy", version)]
struct Command {
    #[command(flatten)]
    args: Args,
}

fn main() -> ExitCode {
    run(Command::parse().args)
}
