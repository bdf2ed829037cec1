//! sslyze: what an inbound port speaks to a stranger.
use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, Result};
use serde_json::Value;
use weft_drills::Verdict;

use crate::{
    mesh::Mesh,
    program::{command, ends, named},
};

/// What must not be spoken.
const OLD: [&str; 5] = ["ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1", "tls_1_2"];

/// The groups for key exchange that are declared and that OpenSSL's scan knows; the hybrid one comes first, and is shown by a
/// test of the handshake itself.
const GROUPS: [&str; 2] = ["X25519", "secp256r1"];

pub(crate) async fn run(mesh: &Mesh, folder: &Path) -> Result<Verdict> {
    let (report, log) = (folder.join("sslyze.json"), folder.join("sslyze.log"));
    let mut scan = command(named("WEFT_FOREIGN_SSLYZE_PYTHON")?, &log)?;
    scan.args(["-m", "sslyze", "--sslv2", "--sslv3", "--tlsv1", "--tlsv1_1", "--tlsv1_2", "--tlsv1_3"]);
    scan.args(["--elliptic_curves", "--reneg", "--resum", "--compression", "--heartbleed"]);
    scan.args(["--openssl_ccs", "--fallback", "--robot", "--mozilla_config", "disable"]);
    scan.arg(format!("--json_out={}", report.display())).arg(mesh.server.inbound()?.to_string());
    let _fine = ends(&mut scan, Duration::from_secs(120)).await?;
    let told = fs::read(&report).with_context(|| fs::read_to_string(&log).unwrap_or_default())?;
    let told: Value = serde_json::from_slice(&told)?;
    let results = told.pointer("/server_scan_results/0/scan_result").context("sslyze has scanned nothing")?;
    let found = |name: &str| results.pointer(&format!("/{name}/result")).cloned().unwrap_or_default();
    let mut verdict = Verdict::default();
    for version in OLD {
        let result = found(&format!("{version}_cipher_suites"));
        verdict.figure(
            version,
            names(&result, "accepted_cipher_suites", "/cipher_suite/name"),
            "refused",
            refuses(&result),
        );
    }
    let suites = names(&found("tls_1_3_cipher_suites"), "accepted_cipher_suites", "/cipher_suite/name");
    verdict.figure("tls_1_3", &suites, "accepted", suites.contains("TLS_AES_"));
    let groups = names(&found("elliptic_curves"), "supported_curves", "/name");
    let as_declared = GROUPS.iter().all(|group| groups.contains(group)) && groups.split(", ").count() == GROUPS.len();
    verdict.figure("groups, of those that the scan knows", &groups, &GROUPS.join(", "), as_declared);
    for (name, scan, field) in [
        ("renegotiation by the client", "session_renegotiation", "is_vulnerable_to_client_renegotiation_dos"),
        ("compression", "tls_compression", "supports_compression"),
        ("Heartbleed", "heartbleed", "is_vulnerable_to_heartbleed"),
        ("CCS injection", "openssl_ccs_injection", "is_vulnerable_to_ccs_injection"),
    ] {
        let says = found(scan).get(field).cloned().unwrap_or_default();
        verdict.figure(name, &says, "false", says == Value::Bool(false));
    }
    mesh.lives(&mut verdict).await;
    Ok(verdict)
}

fn refuses(result: &Value) -> bool {
    result.get("accepted_cipher_suites").and_then(Value::as_array).is_some_and(Vec::is_empty)
}

fn names(result: &Value, list: &str, name: &str) -> String {
    let items = result.get(list).and_then(Value::as_array).into_iter().flatten();
    items.filter_map(|item| item.pointer(name)?.as_str()).collect::<Vec<_>>().join(", ")
}
