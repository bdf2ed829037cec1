//! h2spec: each rule of RFC 9113's framing and of HPACK's, broken by a client.
use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, Result};
use weft_drills::Verdict;

use crate::{
    mesh::Mesh,
    program::{command, ends, named},
};

/// How many must pass, of 146 (Envoy 1.40: 129).
const LEAST: usize = 140;

/// The outbound listener, HTTP/2 by prior knowledge.
pub(crate) async fn plain(mesh: &Mesh, folder: &Path) -> Result<Verdict> {
    let port = mesh.port.to_string();
    run(mesh, folder, &["--host", "localhost", "--port", &port], &PLAIN).await
}

/// The inbound listener, by mutual TLS: with the certificate of the caller's sidecar, and the server name that its proxy
/// would use.
pub(crate) async fn tls(mesh: &Mesh, folder: &Path) -> Result<Verdict> {
    let host = format!("{}.localhost.shop.mesh.weft.local", mesh.port);
    let (port, identity) = (mesh.server.inbound()?.port().to_string(), mesh.identity(folder)?);
    let identity = identity.to_str().context("the folder's path is no text")?;
    run(mesh, folder, &["--tls", "--identity", identity, "--host", &host, "--port", &port], &[]).await
}

async fn run(mesh: &Mesh, folder: &Path, target: &[&str], may_fail: &[(&str, &str)]) -> Result<Verdict> {
    let (report, log) = (folder.join("report.xml"), folder.join("h2spec.log"));
    let mut suite = command(named("WEFT_FOREIGN_H2SPEC")?, &log)?;
    suite.args(target).arg("--strict").arg("--report").arg(&report);
    // Each case may wait 2 s for what does not come.
    let _passed = ends(&mut suite, Duration::from_secs(400)).await?;
    let told = fs::read_to_string(&report).with_context(|| fs::read_to_string(&log).unwrap_or_default())?;
    let cases = read(&told);
    let mut verdict = Verdict::default();
    let passed = cases.iter().filter(|case| case.passed).count();
    verdict.told("cases", cases.len());
    verdict.figure("passed", passed, &format!("≥ {LEAST}"), passed >= LEAST && cases.len() >= 145);
    for case in cases.iter().filter(|case| !case.passed) {
        let known = may_fail.iter().find(|(name, _)| *name == case.name);
        let why = known.map_or("not one that is known to fail", |(_, why)| why);
        verdict.figure(&case.name, "fails", why, known.is_some());
    }
    mesh.lives(&mut verdict).await;
    Ok(verdict)
}

/// What fails at a port without TLS, and why it may.
const PLAIN: [(&str, &str); 1] = [(
    "http2/3.5: Sends invalid connection preface",
    "known: the port speaks HTTP/1.1 too, by which such a start is answered (400, and the connection is closed)",
)];

struct Case {
    /// Its section, and what it does.
    name: String,
    passed: bool,
}

/// The cases of a JUnit report.
fn read(report: &str) -> Vec<Case> {
    let cases = report.split("<testcase ").skip(1);
    cases
        .map(|case| {
            let name = format!("{}: {}", attribute(case, "package"), attribute(case, "classname"));
            let rest = case.split("</testcase>").next().unwrap_or_default();
            Case { name, passed: !["<failure", "<error", "<skipped"].iter().any(|mark| rest.contains(mark)) }
        })
        .collect()
}

fn attribute<'a>(element: &'a str, name: &str) -> &'a str {
    let start = format!("{name}=\"");
    let value = element.split_once(&start).and_then(|(_, rest)| rest.split_once('"'));
    value.map_or("", |(value, _)| value)
}
