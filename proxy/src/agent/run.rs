//! `weft proxy run` and `weft-proxy`: arguments, signals, exit code.
use std::{
    fmt,
    fs::File,
    io::{self, IsTerminal, Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    process::ExitCode,
    str::FromStr,
};

use rustix::process::{Resource, Rlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;
use weft_certs::{
    files::FileError,
    sealing::{SealingKey, SealingKeyError},
};
use weft_decide::HealthCheck;
use weft_model::{Host, Locality, LocalityName, Name, PortName};

use super::{
    AccessLog, NotAdmitted, Options, Proxy, StartError,
    bootstrap::{Bootstrap, InvalidBootstrap, MAX_FILE_BYTES},
    join::{self, JoinError, Joined, LocalChoices, TcpChoice},
    overload,
    state_dir::holds_sealed,
};
use crate::dataplane::{Http10, ServeHttp10};

/// Arguments of `weft proxy run` and of `weft-proxy`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Start from this bootstrap: Envoy's v3 format with the extension weft.v1.Agent, YAML or JSON.
    #[arg(long, value_name = "BOOTSTRAP", required_unless_present = "join", conflicts_with = "join")]
    pub config: Option<PathBuf>,
    /// Make the bootstrap from this join file (`weft token create`) and the options below; the file's token is erased
    /// once it is used.
    #[arg(long, value_name = "FILE")]
    pub join: Option<PathBuf>,
    /// Where key, certificates and bootstrap are kept; by default $XDG_STATE_HOME/weft/NAMESPACE-WORKLOAD, else
    /// ~/.local/state/weft/NAMESPACE-WORKLOAD.
    #[arg(long, value_name = "DIR", env = "WEFT_STATE_DIR")]
    pub state_dir: Option<PathBuf>,
    /// The instance's name, unique in its namespace; the account's name if absent.
    #[arg(long, value_name = "NAME", conflicts_with = "config")]
    pub workload: Option<Name>,
    /// The region that this machine is in; by default what the label topology.kubernetes.io/region says. Near endpoints
    /// come first where a TrafficPolicy says so.
    #[arg(long, value_name = "NAME", conflicts_with = "config")]
    pub region: Option<LocalityName>,
    /// Its zone; by default what the label topology.kubernetes.io/zone says.
    #[arg(long, value_name = "NAME", conflicts_with = "config")]
    pub zone: Option<LocalityName>,
    /// A label of the workload, by which Services select it; may be repeated.
    #[arg(long = "label", value_name = "KEY=VALUE", conflicts_with = "config")]
    pub labels: Vec<KeyValue>,
    /// A port of the application by name, and where it listens; may be repeated.
    #[arg(long = "application", value_name = "NAME=IP:PORT", conflicts_with = "config")]
    pub applications: Vec<Application>,
    /// Where peers connect to (mesh TLS and nothing else), or `none` for a workload that only calls. By default
    /// 0.0.0.0:15006 where an application is named, and none where there is none; peers are told the address that the
    /// machine uses towards the control plane.
    #[arg(long, value_name = "IP:PORT", conflicts_with = "config")]
    pub inbound: Option<Listen>,
    /// Where the application sends HTTP for every service, or `none`.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:15001", conflicts_with = "config")]
    pub outbound: Listen,
    /// A TCP service port that the application calls, and where to listen for it; may be repeated.
    #[arg(long = "tcp", value_name = "NS/SVC:PORT=IP:PORT", conflicts_with = "config")]
    pub tcp: Vec<TcpChoice>,
    /// Where /ready, /live and /metrics are served.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:15020", conflicts_with = "config")]
    pub status: SocketAddr,
    /// The file with the key that key, certificates and configuration are sealed under in the state directory (64
    /// hexadecimal digits, mode 0600, outside of that directory); made with the first start. Without it the key is taken
    /// from WEFT_SEALING_KEY; without both nothing is sealed, and the files are their owner's alone (0600).
    #[arg(long, env = "WEFT_SEALING_KEY_FILE", value_name = "FILE")]
    pub sealing_key_file: Option<PathBuf>,
    /// Seal what the state directory holds from before there was a sealing key.
    #[arg(long)]
    pub seal_state: bool,
    /// Append the access log to this file instead of writing it to standard output.
    #[arg(long, value_name = "FILE")]
    pub access_log: Option<PathBuf>,
    /// How much memory the proxy may use, as in 64Mi, 1G or 67108864. From 80 % of it on, connections that rest are closed
    /// sooner, from 90 % on new requests are answered 503, from 95 % on new connections are turned away. The limit of the
    /// process' cgroup counts too, without being named.
    #[arg(long, value_name = "BYTES", env = "WEFT_MEMORY")]
    pub memory: Option<Bytes>,
    /// What becomes of HTTP/1.0 clients: refuse (505), close (one request a connection), or keep-alive (a connection that its
    /// client asks to be kept is).
    #[arg(long, value_name = "WHAT", default_value = "close", conflicts_with = "config")]
    pub http10: ServeHttp10,
    /// The Host of an HTTP/1.0 request that has none; without it such a request is answered 400.
    #[arg(long, value_name = "HOST", conflicts_with = "config")]
    pub http10_host: Option<Host>,
    /// Worker threads of the data plane.
    #[arg(long, value_name = "N", default_value = "1", conflicts_with = "config")]
    pub workers: NonZeroUsize,
    /// Read the configuration, say what is wrong with it, and exit: 0 if nothing is.
    #[arg(long)]
    pub check: bool,
}

/// The environment variable that holds the sealing key where no file is named.
const SEALING_KEY_VARIABLE: &str = "WEFT_SEALING_KEY";

/// Where peers connect to a workload that names an application and no address: they come from other machines, and
/// none gets further than its certificate.
const DEFAULT_INBOUND: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 15006);

/// Where to listen: `IP:PORT`, or `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    /// There; port 0 for the system's choice.
    At(SocketAddr),
    /// Nowhere.
    Nowhere,
}

impl Listen {
    /// The address, where there is one.
    pub fn address(self) -> Option<SocketAddr> {
        match self {
            Self::At(address) => Some(address),
            Self::Nowhere => None,
        }
    }
}

/// `KEY=VALUE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    /// What stands before the first `=`.
    pub key: String,
    /// What stands after it.
    pub value: String,
}

/// `NAME=IP:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Application {
    /// The port's name.
    pub port: PortName,
    /// Where the application listens.
    pub address: SocketAddr,
}

/// An argument that does not have its form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidArgument(String);

fn invalid(error: impl fmt::Display) -> InvalidArgument {
    InvalidArgument(error.to_string())
}

fn assignment(text: &str) -> Result<(&str, &str), InvalidArgument> {
    let (key, value) = text.split_once('=').ok_or_else(|| invalid("it has no '='"))?;
    if key.is_empty() { Err(invalid("nothing stands before its '='")) } else { Ok((key, value)) }
}

impl FromStr for Listen {
    type Err = InvalidArgument;

    fn from_str(text: &str) -> Result<Self, InvalidArgument> {
        if text == "none" {
            return Ok(Self::Nowhere);
        }
        text.parse().map(Self::At).map_err(|_| invalid("it is neither <ip>:<port> nor none"))
    }
}

/// A number of bytes, as Kubernetes writes quantities: `64Mi`, `1G`, `67108864`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl FromStr for Bytes {
    type Err = InvalidArgument;

    fn from_str(text: &str) -> Result<Self, InvalidArgument> {
        const UNITS: [(&str, u64); 9] = [
            ("Ki", 1 << 10),
            ("Mi", 1 << 20),
            ("Gi", 1 << 30),
            ("Ti", 1 << 40),
            ("k", 1_000),
            ("M", 1_000_000),
            ("G", 1_000_000_000),
            ("T", 1_000_000_000_000),
            ("", 1),
        ];
        let (number, unit) =
            UNITS.iter().find_map(|(suffix, unit)| Some((text.strip_suffix(suffix)?, *unit))).unwrap_or((text, 1));
        let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit)).filter(|bytes| *bytes > 0);
        bytes.map(Self).ok_or_else(|| invalid("it is no number of bytes above zero, as in 64Mi, 1G or 67108864"))
    }
}

impl FromStr for KeyValue {
    type Err = InvalidArgument;

    fn from_str(text: &str) -> Result<Self, InvalidArgument> {
        let (key, value) = assignment(text)?;
        Ok(Self { key: key.to_owned(), value: value.to_owned() })
    }
}

impl FromStr for Application {
    type Err = InvalidArgument;

    fn from_str(text: &str) -> Result<Self, InvalidArgument> {
        let (port, address) = assignment(text)?;
        Ok(Self { port: port.parse().map_err(invalid)?, address: address.parse().map_err(invalid)? })
    }
}

impl FromStr for TcpChoice {
    type Err = InvalidArgument;

    fn from_str(text: &str) -> Result<Self, InvalidArgument> {
        let (service, bind) = assignment(text)?;
        let form = || invalid("it is not <namespace>/<service>:<port>=<ip>:<port>");
        let (namespace, rest) = service.split_once('/').ok_or_else(form)?;
        let (service, port) = rest.rsplit_once(':').ok_or_else(form)?;
        Ok(Self {
            namespace: namespace.parse().map_err(invalid)?,
            service: service.parse().map_err(invalid)?,
            port: port.parse().map_err(invalid)?,
            bind: bind.parse().map_err(invalid)?,
        })
    }
}

/// Runs a proxy until it is told to stop: SIGTERM or SIGINT drains, a second one stops at once.
///
/// Exit codes: 0 after a drain or a clean `--check`; 1 where the configuration is wrong, the proxy cannot start, it has no
/// certificate and will get none (a control plane that does not answer is waited for), or a second signal came. The log goes to standard error (`WEFT_LOG`, as in `info` or `weft_proxy=debug`).
pub fn run(args: Args) -> ExitCode {
    let filter = EnvFilter::try_from_env("WEFT_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    // An embedding program may have set up its own.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr)
        .try_init();
    match args.run() {
        Ok(code) => code,
        Err(error) => {
            // There is nowhere else to tell that standard error is gone.
            let _ = writeln!(io::stderr(), "error: {error}\n  hint: {}", error.hint());
            ExitCode::FAILURE
        }
    }
}

/// Why a proxy does not run.
#[derive(Debug, thiserror::Error)]
pub(super) enum RunError {
    #[error("{}: {error}", .path.display())]
    Read { path: PathBuf, error: io::Error },
    #[error("{}:\n{invalid}", .path.display())]
    Invalid { path: PathBuf, invalid: InvalidBootstrap },
    #[error(transparent)]
    Join(#[from] JoinError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("neither --config nor --join is given")]
    Missing,
    #[error("there is no home folder (neither XDG_STATE_HOME nor HOME is set): give --state-dir")]
    Homeless,
    #[error("the sealing key: {0}")]
    SealingKey(#[from] SealingKeyError),
    #[error("the sealing key: {} is not there, and what {} holds is sealed with it", .path.display(), .state.display())]
    SealingKeyGone { path: PathBuf, state: PathBuf },
    #[error("signals cannot be received: {0}")]
    Signals(io::Error),
    #[error(transparent)]
    NotAdmitted(#[from] NotAdmitted),
}

impl Args {
    fn run(self) -> Result<ExitCode, RunError> {
        let (check, access_log) = (self.check, self.access_log.clone());
        let (key_file, seal_state) = (self.sealing_key_file.clone(), self.seal_state);
        let memory = self.memory.map(|memory| memory.0);
        let Joined { bootstrap, token } = self.bootstrap()?;
        let effective = bootstrap.to_yaml();
        if check {
            let _ = io::stdout().write_all(effective.as_bytes());
            return Ok(ExitCode::SUCCESS);
        }
        tracing::info!("starting with this configuration:\n{effective}");
        no_core_dumps();
        overload::raise_descriptors();
        let access_log = access_log.map_or(AccessLog::Stdout, AccessLog::File);
        let sealing_key = sealing_key(key_file, &bootstrap.state_directory)?;
        let proxy = Proxy::start(bootstrap, Options { access_log, token, sealing_key, seal_state, memory })?;
        tracing::info!("listening: {}", proxy.bound());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(RunError::Signals)?;
        let code = runtime.block_on(until_stopped(&proxy)).map_err(RunError::Signals)?;
        proxy.not_admitted().map_or(Ok(code), |why| Err(why.into()))
    }

    /// The bootstrap that the arguments name or make.
    fn bootstrap(self) -> Result<Joined, RunError> {
        if let Some(path) = self.config {
            let bootstrap = read_bootstrap(path)?;
            return Ok(Joined { bootstrap, token: None });
        }
        let join_file = self.join.ok_or(RunError::Missing)?;
        let state_directory = match self.state_dir {
            Some(directory) => directory,
            None => join::default_state_directory(&join_file, self.workload.as_ref(), &state_home()?)?,
        };
        let inbound = self.inbound.unwrap_or(match self.applications.is_empty() {
            true => Listen::Nowhere,
            false => Listen::At(DEFAULT_INBOUND),
        });
        let choices = LocalChoices {
            state_directory,
            workload: self.workload,
            labels: self.labels.into_iter().map(|KeyValue { key, value }| (key, value)).collect(),
            locality: Locality { region: self.region, zone: self.zone, sub_zone: None },
            applications: self.applications.into_iter().map(|Application { port, address }| (port, address)).collect(),
            health: HealthCheck::default(),
            inbound: inbound.address(),
            outbound: self.outbound.address(),
            tcp: self.tcp,
            status: self.status,
            http10: Http10 { serve: self.http10, default_host: self.http10_host },
            workers: self.workers,
        };
        Ok(if self.check { join::prepare(&join_file, choices)? } else { join::join(&join_file, choices)? })
    }
}

/// The key that the state directory's files are sealed with, where one is configured. A new one is made for a directory
/// that holds nothing sealed yet; in place of one that is gone it would open nothing.
fn sealing_key(file: Option<PathBuf>, state: &Path) -> Result<Option<SealingKey>, RunError> {
    let Some(path) = file else { return Ok(SealingKey::from_env(SEALING_KEY_VARIABLE)?) };
    if !holds_sealed(state) {
        return Ok(Some(SealingKey::load_or_create(&path, state)?));
    }
    match SealingKey::load(&path, state) {
        Err(SealingKeyError::File(FileError::Io { error, .. })) if error.kind() == io::ErrorKind::NotFound => {
            Err(RunError::SealingKeyGone { path, state: state.to_owned() })
        }
        loaded => Ok(Some(loaded?)),
    }
}

/// The user's folder for what programs keep: `$XDG_STATE_HOME`, else `$HOME/.local/state` (XDG base directories).
fn state_home() -> Result<PathBuf, RunError> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = set("XDG_STATE_HOME").or_else(|| set("HOME").map(|home| home.join(".local/state")));
    home.ok_or(RunError::Homeless)
}

fn read_bootstrap(path: PathBuf) -> Result<Bootstrap, RunError> {
    let read = || {
        let mut text = String::new();
        File::open(&path)?.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
        Ok(text)
    };
    match read() {
        Ok(text) => Bootstrap::parse(&text).map_err(|invalid| RunError::Invalid { path, invalid }),
        Err(error) => Err(RunError::Read { path, error }),
    }
}

/// A core dump would hold the private key.
fn no_core_dumps() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(error) = setrlimit(Resource::Core, none) {
        tracing::warn!(%error, "core dumps cannot be turned off");
    }
}

async fn until_stopped(proxy: &Proxy) -> io::Result<ExitCode> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut draining = false;
    loop {
        tokio::select! {
            () = proxy.stopped() => return Ok(if draining { ExitCode::SUCCESS } else { ExitCode::FAILURE }),
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        if draining {
            tracing::warn!("stopping at once: a second signal came");
            return Ok(ExitCode::FAILURE);
        }
        draining = true;
        tracing::info!("draining: what is open may finish; a second signal stops at once");
        proxy.drain();
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: Args,
    }

    fn parse(line: &str) -> Result<Args, clap::Error> {
        Command::try_parse_from(line.split(' ')).map(|command| command.args)
    }

    #[test]
    fn a_line_with_every_option_is_read() {
        let args = parse(
            "weft-proxy --join j.json --state-dir s --workload web-1 --label app=web --label a=b=c \
             --application http=127.0.0.1:8080 --inbound 127.0.0.1:0 --outbound [::1]:0 \
             --tcp shop/stock:9000=127.0.0.1:0 --status 127.0.0.1:0 --access-log log --workers 2 --check",
        )
        .unwrap();
        assert_eq!(args.labels[1], KeyValue { key: "a".to_owned(), value: "b=c".to_owned() });
        assert_eq!(args.applications[0].address.port(), 8080);
        assert_eq!((args.tcp[0].service.as_str(), args.tcp[0].port.get()), ("stock", 9000));
        assert!(args.check);
    }

    #[test]
    fn a_number_of_bytes_has_the_units_of_kubernetes() {
        let read = |text: &str| text.parse::<Bytes>().map(|bytes| bytes.0).ok();
        assert_eq!([read("64Mi"), read("1G"), read("5"), read("3k")], [64 << 20, 1_000_000_000, 5, 3_000].map(Some));
        for text in ["", "0", "-1", "64MiB", "Mi", "1.5G", "99999999999T", "1 G"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn a_bootstrap_leaves_nothing_else_to_say() {
        assert!(parse("weft-proxy --config b.yaml --access-log log").is_ok());
        for line in [
            "weft-proxy",
            "weft-proxy --config b.yaml --join j.json",
            "weft-proxy --config b.yaml --inbound 127.0.0.1:0",
            "weft-proxy --config b.yaml --workers 2",
            "weft-proxy --join j.json --outbound nowhere",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_join_file_alone_is_enough() {
        let folder = tempfile::tempdir().unwrap();
        let (join, state) = (folder.path().join("web.join"), folder.path().join("state"));
        let file = format!(
            r#"{{"controlPlane": "127.0.0.1:15012", "trustDomain": "weft.local", "meshDomain": "cluster.local",
                "cluster": "local", "caSha256": "{}", "token": "secret", "namespace": "shop", "account": "web"}}"#,
            "a5".repeat(32)
        );
        weft_certs::files::replace(&join, file.as_bytes()).unwrap();
        let made = |options: &str| {
            let line = format!("weft-proxy --check --state-dir {} --join {}{options}", state.display(), join.display());
            parse(&line).unwrap().bootstrap().unwrap().bootstrap
        };
        let caller = made("");
        assert_eq!((caller.inbound, caller.outbound), (None, Some("127.0.0.1:15001".parse().unwrap())));
        assert_eq!(caller.status, "127.0.0.1:15020".parse().unwrap());
        let server = made(" --application http=127.0.0.1:8080");
        assert_eq!(server.inbound, Some("0.0.0.0:15006".parse().unwrap()));
        let quiet = made(" --application http=127.0.0.1:8080 --inbound none --outbound none");
        assert_eq!((quiet.inbound, quiet.outbound), (None, None));
        for (workload, expected) in [(None, "weft/shop-web"), (Some("web-0".parse().unwrap()), "weft/shop-web-0")] {
            let directory = join::default_state_directory(&join, workload.as_ref(), folder.path()).unwrap();
            assert_eq!(directory, folder.path().join(expected));
        }
    }

    #[test]
    fn arguments_that_do_not_have_their_form_are_refused() {
        for tcp in ["shop/stock=1.1.1.1:1", "stock:9000=1.1.1.1:1", "shop/stock:9000", "shop/stock:0=1.1.1.1:1"] {
            assert!(tcp.parse::<TcpChoice>().is_err(), "{tcp}");
        }
        for application in ["http", "=1.1.1.1:1", "http=8080", "80=1.1.1.1:1"] {
            assert!(application.parse::<Application>().is_err(), "{application}");
        }
        assert!("=x".parse::<KeyValue>().is_err());
    }

    #[test]
    fn check_tells_every_error_of_a_bootstrap_and_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bad.yaml");
        std::fs::write(&path, "node: 1\nadmin: []\n").unwrap();
        let error = parse(&format!("weft-proxy --check --config {}", path.display())).unwrap().run().unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with(&path.display().to_string()), "{text}");
        assert!(text.contains("line 1: node: ") && text.contains("line 2: admin: "), "{text}");
        assert_eq!(run(parse(&format!("weft-proxy --check --config {}", path.display())).unwrap()), ExitCode::FAILURE);
    }
}
