//! Sidecars as real processes beside a control plane and applications of the test's own.
use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use weft_harness::{Mesh, Plan, eventually};

/// One `weft proxy run`; dropped, it is killed.
pub(crate) struct Sidecar {
    child: Child,
    state: PathBuf,
    listeners: Value,
}

impl Sidecar {
    /// Joins the mesh by a token made for it and waits until the first configuration is in effect.
    pub(crate) async fn start(mesh: &Mesh, plan: &Plan) -> Self {
        let join = mesh.join_file(plan).await.unwrap();
        let state = mesh.folder().join(&plan.workload);
        let mut command = Command::new(env!("CARGO_BIN_EXE_weft"));
        command.args(["proxy", "run", "--workload", &plan.workload, "--join"]).arg(&join);
        let log = mesh.folder().join(&plan.workload).with_extension("log");
        command.arg("--state-dir").arg(&state).arg("--access-log").arg(log);
        command.args(["--outbound", "127.0.0.1:0", "--status", "127.0.0.1:0"]);
        for (key, value) in &plan.labels {
            command.arg("--label").arg(format!("{key}={value}"));
        }
        for (port, address) in &plan.applications {
            command.args(["--inbound", "127.0.0.1:0", "--application"]).arg(format!("{port}={address}"));
        }
        for service in &plan.tcp {
            command.arg("--tcp").arg(format!("{service}=127.0.0.1:0"));
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap();
        let file = state.join("listeners.json");
        let listeners = eventually("its listeners", async || serde_json::from_slice(&fs::read(&file).ok()?).ok()).await;
        let sidecar = Self { child, state, listeners };
        let status = sidecar.address(&sidecar.listeners["status"]);
        eventually("its first configuration", async || {
            let reply = weft_harness::Connection::open(status).await.ok()?.get("sidecar", "/ready", &[]).await.ok()?;
            (reply.status == 200).then_some(())
        })
        .await;
        sidecar
    }

    fn address(&self, text: &Value) -> SocketAddr {
        text.as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{text} in {:?}", self.state))
    }

    /// Where its application sends HTTP.
    pub(crate) fn outbound(&self) -> SocketAddr {
        self.address(&self.listeners["outbound"])
    }

    /// Where its application connects for its first TCP service.
    pub(crate) fn tcp(&self) -> SocketAddr {
        self.address(&self.listeners["tcp"][0]["address"])
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends SIGTERM and waits until it has left by itself.
    pub(crate) async fn leave(mut self) {
        kill_process(Pid::from_raw(self.child.id().cast_signed()).unwrap(), Signal::TERM).unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                assert!(status.success(), "{status}");
                return;
            }
            assert!(Instant::now() < deadline, "it does not leave");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}
