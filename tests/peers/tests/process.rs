//! The Python programs.
use std::{
    env,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
    time::timeout,
};
use weft_harness::{DEADLINE, Sidecar};

/// The Python that has what `requirements.txt` lists.
fn python() -> PathBuf {
    match env::var_os("WEFT_PEERS_PYTHON") {
        Some(python) => python.into(),
        None => panic!(
            "WEFT_PEERS_PYTHON does not name a Python that has what tests/peers/requirements.txt lists: \
             `cargo xtask test --suite peers` makes one and runs these tests with it"
        ),
    }
}

fn program(name: &str, arguments: &[&str]) -> Child {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python").join(name);
    let mut command = Command::new(python());
    command.arg(script).args(arguments).kill_on_drop(true);
    // It must go to the sidecar, whatever the surroundings say.
    command.env("no_proxy", "127.0.0.1").env("GRPC_VERBOSITY", "ERROR");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap_or_else(|error| panic!("cannot start {}: {error}", python().display()))
}

/// What a program prints, line by line.
struct Said(Lines<BufReader<ChildStdout>>);

impl Said {
    fn of(child: &mut Child) -> Self {
        Self(BufReader::new(child.stdout.take().unwrap()).lines())
    }

    async fn next(&mut self) -> Option<String> {
        timeout(DEADLINE, self.0.next_line()).await.expect("it says nothing").unwrap()
    }
}

/// `server.py`; dropped, it is killed.
pub(crate) struct Server {
    child: Child,
    said: Said,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

impl Server {
    pub(crate) async fn start() -> Self {
        let mut child = program("server.py", &[]);
        let mut said = Said::of(&mut child);
        let Some(line) = said.next().await else {
            panic!("the server does not start: {}", rest(child.stderr.take()).await)
        };
        let port = line.strip_prefix("listening ").and_then(|port| port.parse().ok());
        let port: u16 = port.unwrap_or_else(|| panic!("the server says {line:?}"));
        Self { child, said, address: SocketAddr::from(([127, 0, 0, 1], port)) }
    }

    /// Waits for a line.
    pub(crate) async fn says(&mut self, line: &str) {
        assert_eq!(self.said.next().await.as_deref(), Some(line));
    }

    /// Ends it at once.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }
}

/// `client.py` with one case; dropped, it is killed.
pub(crate) struct Client {
    child: Child,
    said: Said,
    input: ChildStdin,
}

impl Client {
    /// Begins a case through a sidecar.
    pub(crate) fn start(sidecar: &Sidecar, case: &str) -> Self {
        let mut child = program("client.py", &[&sidecar.outbound().to_string(), case]);
        let (said, input) = (Said::of(&mut child), child.stdin.take().unwrap());
        Self { child, said, input }
    }

    /// Waits for a line.
    pub(crate) async fn says(&mut self, line: &str) {
        let said = self.said.next().await;
        if said.as_deref() != Some(line) {
            panic!("{said:?}, not {line:?}: {}", rest(self.child.stderr.take()).await);
        }
    }

    /// Lets it go on.
    pub(crate) async fn tell(&mut self) {
        self.input.write_all(b"\n").await.unwrap();
    }

    /// Waits for its end, which must be a good one.
    pub(crate) async fn passes(mut self) {
        let told = rest(self.child.stderr.take());
        let (told, status) = timeout(2 * DEADLINE, async { (told.await, self.child.wait().await.unwrap()) })
            .await
            .expect("the client does not come to an end");
        assert!(status.success(), "{status}: {told}");
    }
}

/// Everything that a program says of its failure.
async fn rest(stderr: Option<ChildStderr>) -> String {
    let mut text = String::new();
    if let Some(mut stderr) = stderr {
        stderr.read_to_string(&mut text).await.unwrap();
    }
    text
}
