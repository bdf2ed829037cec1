//! slowhttptest: heads, bodies and readers that never come to an end, and ranges that cost more than they say, beside a client
//! that behaves.
use std::{fs, path::Path, time::Duration};

use anyhow::Result;
use tokio::time::{Instant, interval};
use weft_drills::{Verdict, within};
use weft_harness::Connection;

use crate::{
    Scale,
    mesh::Mesh,
    program::{command, ends, named},
};

/// The attacks: what slowhttptest calls them, and what they do.
const ATTACKS: [(&str, &str); 4] =
    [("-H", "slow heads"), ("-B", "slow bodies"), ("-X", "slow readers"), ("-R", "many ranges")];

/// How many connections each opens.
const CONNECTIONS: usize = 4_000;

/// How often the client that behaves asks, half of the times on a new connection.
const EVERY: Duration = Duration::from_millis(20);

pub(crate) async fn run(mesh: &Mesh, folder: &Path, scale: Scale) -> Result<Verdict> {
    let seconds = if scale == Scale::Short { 12 } else { 60 };
    let mut verdict = Verdict::default();
    for (flag, name) in ATTACKS {
        let log = folder.join(format!("{}.log", name.replace(' ', "-")));
        let mut attack = command(named("WEFT_FOREIGN_SLOWHTTPTEST")?, &log)?;
        let (connections, lasts) = (CONNECTIONS.to_string(), seconds.to_string());
        let url = format!("http://{}/", mesh.host());
        attack.args([flag, "-c", &connections, "-r", "1000", "-l", &lasts, "-i", "2", "-p", "3", "-u", &url]);
        let (ended, served) = {
            let attacked = ends(&mut attack, Duration::from_secs(seconds + 60));
            tokio::pin!(attacked);
            serve(mesh, &mut attacked).await?
        };
        ended?;
        let said = fs::read_to_string(&log).unwrap_or_default();
        let (most, bound) = (served.most, format!("≥ {}", CONNECTIONS / 2));
        // Ranges are asked for and answered; the others stay.
        let enough = flag == "-R" || most >= CONNECTIONS / 2;
        verdict.figure(
            &format!("{name}: most connections at a time"),
            most,
            if flag == "-R" { "" } else { &bound },
            enough,
        );
        verdict.figure(
            &format!("{name}: answered to who behaves"),
            format!("{:.2} % of {}", within(served.good, served.asked), served.asked),
            "100 %",
            served.good == served.asked && served.asked > 100,
        );
        verdict.figure(&format!("{name}: slowest answer"), format!("{} ms", served.slowest.as_millis()), "", true);
        let available = !said.contains("service available:   NO");
        verdict.said(&format!("{name}: available to slowhttptest's own probe"), "no", available);
    }
    mesh.lives(&mut verdict).await;
    Ok(verdict)
}

#[derive(Default)]
struct Served {
    asked: usize,
    good: usize,
    slowest: Duration,
    /// The most connections that the sidecar had open.
    most: usize,
}

/// Asks until `attacked` is over.
async fn serve<T>(mesh: &Mesh, attacked: &mut (impl Future<Output = T> + Unpin)) -> Result<(T, Served)> {
    let (mut served, mut ticks) = (Served::default(), interval(EVERY));
    let (outbound, host) = (mesh.web.outbound()?, mesh.host());
    let mut kept = Connection::open(outbound).await?;
    loop {
        let ask = async {
            ticks.tick().await;
            let began = Instant::now();
            let reply = if served.asked % 2 == 0 {
                kept.get(&host, "/", &[]).await
            } else {
                async { Connection::open(outbound).await?.get(&host, "/", &[]).await }.await
            };
            (began.elapsed(), reply)
        };
        tokio::select! {
            biased;
            (took, reply) = ask => {
                served.asked += 1;
                served.slowest = served.slowest.max(took);
                match reply {
                    Ok(reply) if reply.status == 200 => served.good += 1,
                    Ok(_) | Err(_) => kept = Connection::open(outbound).await?,
                }
                if served.asked % 50 == 0 {
                    let open = mesh.web.metric("weft_connections_active").await?;
                    served.most = served.most.max(open as usize);
                }
            }
            ended = &mut *attacked => return Ok((ended, served)),
        }
    }
}
