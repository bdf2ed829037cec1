//! Autobahn's WebSocket cases: its fuzzing client and its echo server, with two sidecars between them.
use std::{collections::BTreeMap, fs, net::SocketAddr, path::Path, time::Duration};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tokio::process::Command;
use weft_drills::Verdict;

use crate::{
    Scale,
    mesh::Mesh,
    program::{Server, command, ends, free_port, named},
};

/// The cases: framing, pings, reserved bits, opcodes, fragments, UTF-8, closing. Those about size and speed (9) run in the full
/// form too; compression (12, 13) is between the two ends, and the echo server offers none.
const CASES: [&str; 8] = ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*"];

/// How many these are.
const COUNT: usize = 247;

/// Autobahn's fuzzing client, with what was installed for it.
const CLIENT: &str = "import os, site, sys; site.addsitedir(os.environ['PYTHONPATH']); \
                      sys.argv[0] = 'wstest'; from autobahntestsuite.wstest import run; run()";

/// Its echo server, which compares no Host with its own port: its clients know another one.
const SERVER: &str = "import os, site, sys; site.addsitedir(os.environ['PYTHONPATH']); \
                      from twisted.internet import reactor; from autobahntestsuite.echo import EchoServerFactory; \
                      factory = EchoServerFactory('ws://localhost'); factory.externalPort = None; \
                      reactor.listenTCP(int(sys.argv[1]), factory, interface='127.0.0.1'); reactor.run()";

fn autobahn(script: &str, log: &Path) -> Result<Command> {
    let mut command = command(named("WEFT_FOREIGN_PYTHON2")?, log)?;
    command.env("PYTHONPATH", named("WEFT_FOREIGN_AUTOBAHN")?).args(["-c", script]);
    Ok(command)
}

/// What the way to the echo server speaks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// HTTP/1.1 all along.
    Http1,
    /// Behind the first two sidecars HTTP/2 (RFC 8441), translated from HTTP/1.1 and back.
    Http2,
}

pub(crate) async fn run(folder: &Path, scale: Scale, way: Way) -> Result<Verdict> {
    let (port, log) = (free_port()?, folder.join("echo.log"));
    let mut echo = autobahn(SERVER, &log)?;
    let _echo = Server::start(echo.arg(port.to_string()), port, &log).await?;
    let application = SocketAddr::from(([127, 0, 0, 1], port));
    let mesh = match way {
        Way::Http1 => Mesh::start(folder, application, "http").await?,
        Way::Http2 => Mesh::through_http2(folder, application).await?,
    };
    let (spec, reports, log) = (folder.join("spec.json"), folder.join("reports"), folder.join("client.log"));
    let more = if scale == Scale::Full { &["9.*"][..] } else { &[] };
    let asked = json!({
        "outdir": reports,
        "servers": [{ "agent": "weft", "url": format!("ws://{}", mesh.host()) }],
        "cases": CASES.iter().chain(more).collect::<Vec<_>>(),
        "exclude-cases": [],
        "exclude-agent-cases": {},
    });
    fs::write(&spec, serde_json::to_vec(&asked)?)?;
    let mut client = autobahn(CLIENT, &log)?;
    client.args(["-m", "fuzzingclient", "-s"]).arg(&spec);
    let _fine = ends(&mut client, Duration::from_secs(if scale == Scale::Full { 1_800 } else { 300 })).await?;
    let index = fs::read(reports.join("index.json")).with_context(|| fs::read_to_string(&log).unwrap_or_default())?;
    Ok(judge(&serde_json::from_slice(&index)?))
}

/// Every case must be one of those that Autobahn does not call failed.
fn judge(index: &Value) -> Verdict {
    let mut verdict = Verdict::default();
    let cases = index.get("weft").and_then(Value::as_object).into_iter().flatten();
    let mut behaviors: BTreeMap<&str, usize> = BTreeMap::new();
    let mut count = 0;
    for (case, result) in cases {
        count += 1;
        for what in ["behavior", "behaviorClose"] {
            let behavior = result.get(what).and_then(Value::as_str).unwrap_or("MISSING");
            if what == "behavior" {
                *behaviors.entry(behavior).or_default() += 1;
            }
            if !["OK", "NON-STRICT", "INFORMATIONAL", "UNIMPLEMENTED"].contains(&behavior) {
                verdict.figure(&format!("case {case}, {what}"), behavior, "OK", false);
            }
        }
    }
    verdict.figure("cases", count, &format!("≥ {COUNT}"), count >= COUNT);
    for (behavior, count) in behaviors {
        verdict.told(behavior, count);
    }
    verdict
}
