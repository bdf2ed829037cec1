//! The repository's own commands: `cargo xtask test` runs every test and installs what they need.
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod foreign;
mod python;
mod run;
mod suites;
mod test;

/// Commands for working on weft.
#[derive(Parser)]
#[command(name = "cargo xtask", max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs tests: all suites, or those that are named.
    Test(test::Arguments),
}

fn main() -> ExitCode {
    let Arguments { command } = Arguments::parse();
    let outcome = match command {
        Command::Test(arguments) => test::run(&arguments),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}
