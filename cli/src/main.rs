//! `weft`: one binary for people and for machines: the command line, the control plane, the proxy, and the demo.
use std::process::ExitCode;

use clap::{Parser, Subcommand, error::ErrorKind};

mod advice;
mod api;
mod apply;
mod ca;
mod confirm_removals;
mod context;
mod delete;
mod demo;
mod effect;
mod explain;
mod failure;
mod get;
mod output;
mod proxy_config;
mod question;
mod recovery;
mod status;
mod token;
mod watching;

use failure::{Failure, While};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const EXAMPLES: &str = "\
Examples:
  weft demo                                     a whole mesh on this machine, with live traffic
  weft control-plane run --dir /var/lib/weft    a control plane
  weft apply -f shop.yaml                       objects from a file, a folder or - (standard input)
  weft apply -f shop.yaml --wait                the same, until they are in effect
  weft status httproute reviews -n shop         where an object is in effect, who lacks it
  weft get httproutes -n shop -o yaml           what is applied
  weft token create -n shop --account web --label app=web --out web.join
                                                a join file for one workload
  weft proxy run --join web.join --workload web-0 --label app=web --application http=127.0.0.1:8080
  weft explain web-0.k3x9p.0.17                 why a request was refused, by its x-weft-decision

Exit codes: 0 done; 1 refused or failed, with the reason on standard error; 2 wrong usage.";

const PROXY_EXAMPLES: &str = "\
Examples:
  weft proxy run --join web.join                                            a workload that only calls
  weft proxy run --join web.join --workload web-0 --label app=web --application http=127.0.0.1:8080
  weft proxy run --join catalog.join --tcp shop/stock:9000=127.0.0.1:9000
  weft proxy run --join stock.join --application tcp=127.0.0.1:9000 --outbound none     one that only serves
  weft proxy run --join web.join --sealing-key-file /etc/weft/web.key        its state on disk is sealed
  weft proxy run --config bootstrap.yaml --check

Ports where none is given: 15001 outbound, 15006 inbound, 15020 status.";

const CONTROL_PLANE_EXAMPLES: &str = "\
Examples:
  weft control-plane run --dir /var/lib/weft
  weft control-plane run --dir state --grpc 127.0.0.1:0 --api 127.0.0.1:0 --context-file context.json
  weft control-plane run --dir /var/lib/weft --grpc 0.0.0.0:15012 --trust-domain shop.example
  weft control-plane run --dir /var/lib/weft --leaf-ttl 1h --recovery 72h";

/// A service mesh: a sidecar proxy for L4 and L7 traffic, and the control plane that configures it.
#[derive(Parser)]
#[command(name = "weft", version, after_help = EXAMPLES, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start a whole mesh on this machine and show it working.
    Demo(demo::Arguments),
    /// Create or change objects from files, folders or standard input.
    Apply(apply::Arguments),
    /// Show objects, or the workloads of the mesh.
    Get(get::Arguments),
    /// Delete objects.
    Delete(delete::Arguments),
    /// Make tokens by which workloads join the mesh.
    #[command(subcommand)]
    Token(token::Command),
    /// Rotate the certificate authority's keys.
    #[command(subcommand)]
    Ca(ca::Command),
    /// Show or revoke the recovery of workloads by their expired certificates.
    #[command(subcommand)]
    Recovery(recovery::Command),
    /// Show what a workload's proxy has in effect.
    ProxyConfig(proxy_config::Arguments),
    /// Explain a refusal by its id: which stage, which rule or route, which object and line, and what to do.
    Explain(explain::Arguments),
    /// Confirm that proxies may lose what the control plane's store does not have any more.
    ConfirmRemovals(confirm_removals::Arguments),
    /// Show the control plane at a glance, or how far one object has come: on which proxies it is in effect.
    Status(status::Arguments),
    /// Run the sidecar proxy.
    #[command(subcommand)]
    Proxy(ProxyCommand),
    /// Run the control plane.
    #[command(subcommand)]
    ControlPlane(ControlPlaneCommand),
    /// One service of the demo's shop.
    #[command(hide = true)]
    DemoService(demo::service::Arguments),
}

#[derive(Subcommand)]
enum ProxyCommand {
    /// Run a proxy from a join file or a bootstrap.
    #[command(after_help = PROXY_EXAMPLES)]
    Run(Box<weft_proxy::agent::Args>),
}

#[derive(Subcommand)]
enum ControlPlaneCommand {
    /// Run a control plane.
    #[command(after_help = CONTROL_PLANE_EXAMPLES)]
    Run(Box<weft_control_plane::Args>),
}

fn main() -> ExitCode {
    demo::die_with_parent();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error),
    };
    match dispatch(arguments.command) {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

/// Help and version go to standard output, wrong usage to standard error.
fn usage(error: &clap::Error) -> ExitCode {
    // Where nobody reads any more, nobody can be told.
    let _gone = error.print();
    if !error.use_stderr() {
        return ExitCode::SUCCESS;
    }
    if error.kind() != ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        eprintln!("  hint: --help after the command shows its options, with examples that can be typed");
    }
    ExitCode::from(2)
}

fn dispatch(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Demo(arguments) => demo::run(arguments).map_err(|failure| {
            failure.or_hint("`weft demo --dir DIR` keeps the log of each process in DIR; a new DIR starts afresh")
        }),
        Command::Apply(arguments) => done(apply::run(&arguments)),
        Command::Get(arguments) => done(get::run(&arguments)),
        Command::Delete(arguments) => done(delete::run(&arguments)),
        Command::Token(token::Command::Create(arguments)) => done(token::create(&arguments)),
        Command::Ca(ca::Command::Rotate(arguments)) => done(ca::rotate(&arguments)),
        Command::Recovery(recovery::Command::List(arguments)) => done(recovery::list(&arguments)),
        Command::Recovery(recovery::Command::Revoke(arguments)) => done(recovery::revoke(&arguments)),
        Command::ProxyConfig(arguments) => done(proxy_config::run(&arguments)),
        Command::Explain(arguments) => done(explain::run(&arguments)),
        Command::ConfirmRemovals(arguments) => done(confirm_removals::run(&arguments)),
        Command::Status(arguments) => done(status::run(&arguments)),
        Command::Proxy(ProxyCommand::Run(arguments)) => Ok(weft_proxy::agent::run(*arguments)),
        Command::ControlPlane(ControlPlaneCommand::Run(arguments)) => done(control_plane(*arguments)),
        Command::DemoService(arguments) => done(demo::service::run(arguments))
            .map_err(|failure| failure.or_hint("the demo starts this by itself: see `weft demo --help`")),
    }
}

fn control_plane(arguments: weft_control_plane::Args) -> Result<(), Failure> {
    use tracing_subscriber::{EnvFilter, fmt, prelude::*};
    let filter = EnvFilter::try_from_env("WEFT_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::registry().with(fmt::layer().json().with_writer(std::io::stderr)).with(filter).init();
    let failed = |error: weft_control_plane::RunError| {
        Failure::new(format!("cannot run the control plane: {error}")).hint(error.hint())
    };
    let running = async { weft_control_plane::run(arguments).await.map_err(failed) };
    runtime(tokio::runtime::Builder::new_multi_thread())?.block_on(running)
}

/// A runtime for the rest of the process's life.
fn runtime(mut builder: tokio::runtime::Builder) -> Result<tokio::runtime::Runtime, Failure> {
    let built = builder.enable_all().build().while_("start the runtime");
    built.map_err(|failure| failure.hint("the system gives no more threads or descriptors: see `ulimit -a`"))
}

fn done(outcome: Result<(), Failure>) -> Result<ExitCode, Failure> {
    outcome.map(|()| ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use clap::{Command, CommandFactory};

    use super::*;

    /// The command lines that a help text shows: what begins with `weft` in an indented line, up to its explanation.
    fn examples(command: &Command) -> Vec<String> {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let lines = help.lines().filter(|line| line.starts_with("  "));
        let lines = lines.filter_map(|line| Some(&line[line.find("weft ")?..]));
        lines.map(|line| line.split("  ").next().unwrap_or(line).to_owned()).collect()
    }

    fn check(command: &Command, path: &str) {
        let examples = examples(command);
        for line in &examples {
            if let Err(error) = Arguments::try_parse_from(line.split_whitespace()) {
                panic!("`{path} --help` shows `{line}`: {error}");
            }
        }
        let mut inner = command.get_subcommands().filter(|inner| !inner.is_hide_set()).peekable();
        assert!(inner.peek().is_some() || !examples.is_empty(), "`{path} --help` shows no example");
        inner.for_each(|inner| check(inner, &format!("{path} {}", inner.get_name())));
    }

    #[test]
    fn every_command_shows_examples_that_can_be_typed() {
        check(&Arguments::command(), "weft");
    }
}
