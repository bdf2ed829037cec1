//! Row 12: a sidecar may use 64 MiB, and 2,000 clients ask for a mebibyte each and read it slowly. Nothing is killed for want
//! of memory, what there is no memory for is refused with its reason, and once they have gone the next client is served.
//!
//! A lean sidecar holds 2,000 of them well below its limit: more clients come then, which read nothing, until the first is
//! refused.
use std::{
    io,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};
use weft_drills::{Drill, MemoryGroup, Mesh, Mode, Verdict, alone_in};
use weft_harness::{Plan, process::Sidecar};

/// What the sidecar may use.
const LIMIT: u64 = 64 << 20;
/// What each client asks for.
const BODY: usize = 1 << 20;
/// How much a slow client takes at once.
const SIP: usize = 4 << 10;
/// The most clients: two descriptors of the sidecar's each.
const MOST: usize = 8_000;
/// How many are on their way at once.
const STEP: usize = 100;

pub(crate) async fn run(drill: Drill) -> Result<Verdict> {
    let group = MemoryGroup::make(LIMIT)?;
    let outcome = crowded(&drill, &group).await;
    let kills = group.kills()?;
    let mut verdict = outcome.with_context(|| format!("{kills} processes were killed for want of memory"))?;
    verdict.figure("killed for want of memory", kills, "0", kills == 0);
    Ok(verdict)
}

async fn crowded(drill: &Drill, group: &MemoryGroup) -> Result<Verdict> {
    let mesh = Mesh::start(&drill.folder, 2, "1h").await?;
    let mut web = alone_in(group, &mesh.plane, &Plan::new("web-1", "web")).await?;
    web.start().await?;
    let mut known = web.client().await?;
    let first = known.get("stock", "/first", &[]).await?;
    anyhow::ensure!(first.status == 200, "{}", first.text());
    let (id, calm) = (web.id()?, web.metric_where("weft_resource_used", "memory").await?);
    mesh.backends().for_each(|backend| backend.set(Mode::Large(BODY)));

    let mut crowd = Crowd::default();
    let slow = drill.count(400, 2_000);
    while crowd.came < slow {
        crowd.grow(&web, STEP, true).await?;
    }
    let sipping = crowd.reading.len();
    let after_slow = web.metric_where("weft_resource_used", "memory").await?;
    tokio::time::sleep(drill.lasts(Duration::from_secs(2), Duration::from_secs(120))).await;
    while crowd.refused.is_empty() && crowd.came < MOST {
        crowd.grow(&web, STEP, false).await?;
    }
    let pressed = web.metric_where("weft_resource_used", "memory").await?;
    // Those that are in go on being served while the others are refused.
    tokio::time::sleep(drill.lasts(Duration::from_secs(2), Duration::from_secs(40))).await;
    let (came, refused) = (crowd.came, crowd.refused.len());
    let reasons = crowd.refused.iter().filter(|text| text.contains("memory")).count();
    let taken = crowd.end().await;

    let gone = Instant::now();
    mesh.backends().for_each(|backend| backend.set(Mode::Serve));
    let served = loop {
        let reply = async { anyhow::Ok(web.client().await?.get("stock", "/next", &[]).await?.status) };
        if matches!(timeout(Duration::from_secs(1), reply).await, Ok(Ok(200))) {
            break gone.elapsed();
        }
        anyhow::ensure!(gone.elapsed() < Duration::from_secs(60), "nobody is served though all have gone");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };

    let mut verdict = Verdict::default();
    verdict.told("memory before", mebibytes(calm));
    verdict.told(&format!("memory with {slow} slow readers of 1 MiB"), mebibytes(after_slow));
    verdict.told("clients until the first was refused", came);
    verdict.told("memory then", mebibytes(pressed));
    verdict.told("bytes that slow readers took", taken);
    verdict.figure("somebody was refused", refused, "> 0", refused > 0);
    verdict.figure("refusals that say that memory is short", reasons, &refused.to_string(), reasons == refused);
    let share = group.peak()? as f64 / LIMIT as f64;
    verdict.told("most of the limit that was used, copies of files included", format!("{:.0} %", 100.0 * share));
    verdict.figure("slow readers that were let in", sipping, &slow.to_string(), sipping == slow);
    let same = web.id()? == id && web.says("/live").await.is_ok();
    verdict.figure("it is the same process", same, "true", same);
    verdict.time("a new client is served once the others have gone", served, Duration::from_secs(10));
    Ok(verdict)
}

fn mebibytes(bytes: f64) -> String {
    format!("{:.1} MiB", bytes / f64::from(1 << 20))
}

/// Clients that are being answered, and the texts of those that were refused.
#[derive(Default)]
struct Crowd {
    came: usize,
    refused: Vec<String>,
    reading: JoinSet<usize>,
    waiting: Vec<TcpStream>,
}

impl Crowd {
    /// So many more come; slow ones read on, the others hold their connection and read no further than the head.
    async fn grow(&mut self, web: &Sidecar, count: usize, slow: bool) -> Result<()> {
        let mut asking = JoinSet::new();
        let outbound = web.outbound()?;
        for number in self.came..self.came + count {
            let place = web.place().clone();
            asking.spawn(async move {
                let mut stream = place.connect(outbound).await?;
                let request = format!("GET /slow-{number} HTTP/1.1\r\nhost: stock\r\n\r\n");
                stream.write_all(request.as_bytes()).await?;
                let mut head = vec![0; 512];
                let length = stream.read(&mut head).await?;
                io::Result::Ok((stream, String::from_utf8_lossy(head.get(..length).unwrap_or_default()).into_owned()))
            });
        }
        self.came += count;
        while let Some(asked) = asking.join_next().await {
            // Beyond 95 % nobody is let in: there is no text then.
            let Ok((stream, text)) = asked? else { continue };
            match text.split(' ').nth(1) {
                Some("200") if slow => _ = self.reading.spawn(sip(stream)),
                Some("200") => self.waiting.push(stream),
                Some("503") => self.refused.push(text),
                _ => {}
            }
        }
        Ok(())
    }

    /// All leave; how many bytes they took.
    async fn end(mut self) -> usize {
        let mut taken = 0;
        while let Some(done) = self.reading.try_join_next() {
            taken += done.unwrap_or(0);
        }
        self.reading.shutdown().await;
        taken
    }
}

/// Reads a little at a time to the end.
async fn sip(mut stream: TcpStream) -> usize {
    let (mut sip, mut taken) = (vec![0; SIP], 0);
    while let Ok(length) = stream.read(&mut sip).await {
        taken += length;
        if length == 0 || taken >= BODY {
            break;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    taken
}
