//! gRPC's interoperability cases (the Go implementation's client and server), through two sidecars.
use std::{fs, net::SocketAddr, path::Path, time::Duration};

use anyhow::Result;
use weft_drills::Verdict;

use crate::{
    mesh::Mesh,
    program::{Server, command, ends, free_port, named},
};

/// Every case that needs no cloud provider's credentials.
const CASES: [&str; 16] = [
    "empty_unary",
    "large_unary",
    "client_streaming",
    "server_streaming",
    "ping_pong",
    "empty_stream",
    "timeout_on_sleeping_server",
    "cancel_after_begin",
    "cancel_after_first_response",
    "status_code_and_message",
    "special_status_message",
    "custom_metadata",
    "unimplemented_method",
    "unimplemented_service",
    "rpc_soak",
    "channel_soak",
];

/// Those that ask the server for its load (ORCA).
const LOAD_CASES: [&str; 2] = ["orca_per_rpc", "orca_oob"];

/// The balancer by which the client reads it.
const READS_LOAD: &str = r#"{"loadBalancingConfig":[{"test_backend_metrics_load_balancer":{}}]}"#;

pub(crate) async fn run(folder: &Path) -> Result<Verdict> {
    let (port, log) = (free_port()?, folder.join("server.log"));
    let mut server = command(named("WEFT_FOREIGN_GRPC_SERVER")?, &log)?;
    let _server = Server::start(server.arg(format!("--port={port}")), port, &log).await?;
    let mesh = Mesh::start(folder, SocketAddr::from(([127, 0, 0, 1], port)), "grpc").await?;
    let mut verdict = Verdict::default();
    for case in CASES.into_iter().chain(LOAD_CASES) {
        let log = folder.join(format!("{case}.log"));
        let mut client = command(named("WEFT_FOREIGN_GRPC_CLIENT")?, &log)?;
        client.args(["--server_host=localhost", &format!("--server_port={}", mesh.port)]);
        client.arg(format!("--test_case={case}"));
        if LOAD_CASES.contains(&case) {
            client.arg(format!("--service_config_json={READS_LOAD}"));
        }
        let passed = ends(&mut client, Duration::from_secs(60)).await?;
        let said = fs::read_to_string(&log).unwrap_or_default();
        verdict.figure(case, if passed { "passed" } else { said.trim() }, "passed", passed);
    }
    Ok(verdict)
}
