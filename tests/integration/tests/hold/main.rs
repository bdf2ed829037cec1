//! A mesh of real processes holds: under a load of HTTP/1.1, gRPC and TCP its control plane is killed and restarted,
//! weights change, leaves are renewed and the intermediate that signs them is replaced.
//!
//! The short form has 20 s of load and each kind of event at least once. The full form (`WEFT_HOLD=full`) has 60 s with
//! three kills, ten changes of weights and three new intermediates, and is recorded in `tests/RESULTS.md`.
#![expect(clippy::print_stdout, reason = "measured figures are results, shown by --nocapture")]

mod judge;
mod load;
mod mesh;
mod script;

use std::{env, sync::Arc};

use weft_harness::record;

use crate::{judge::Judgement, load::Load, mesh::Hold, script::Script};

#[tokio::test(flavor = "multi_thread")]
async fn nothing_fails_while_the_control_plane_is_killed_weights_change_and_certificates_rotate() {
    let full = env::var("WEFT_HOLD").is_ok_and(|scale| scale == "full");
    let script = if full { Script::full() } else { Script::short() };
    let mut hold = Hold::start().await.unwrap();
    let load = Arc::new(Load::new(&hold.web).await.unwrap());
    let sessions = hold.sessions().await.unwrap();
    let running = load.start();
    let played = script.play(&mut hold, running.started).await.unwrap();
    let sent = running.end().await;
    let sessions = hold.sessions().await.unwrap() - sessions;

    let judged = Judgement::of(&sent, &played, sessions);
    let summary = judged.to_string();
    println!("{summary}");
    if full {
        let passed = if judged.faults().is_empty() { "passed" } else { "**failed**" };
        let command = "cargo xtask test --suite hold --full";
        record("hold: outages, weights and rotation under load", &format!("{passed}: {summary}"), command).unwrap();
    }
    assert!(judged.faults().is_empty(), "{}\n{summary}", judged.faults().join("\n"));
}
