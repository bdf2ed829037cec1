//! Row 15: a sidecar may have 256 descriptors, and 400 clients connect. Who is served stays served, nobody spins, the
//! control side has descriptors of its own, and once the clients have gone the next is served.
use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use weft_drills::{Drill, Mesh, Verdict};
use weft_harness::{
    Connection,
    objects::{HTTP, open_service},
};

/// How many descriptors the caller's sidecar may have.
const DESCRIPTORS: u64 = 256;

/// How many clients connect.
const CLIENTS: usize = 400;

/// How many of them are there before the others.
const FIRST: usize = 5;

pub(crate) async fn run(drill: Drill) -> Result<Verdict> {
    let mut mesh = Mesh::start(&drill.folder, 2, "1h").await?;
    let id = mesh.web.id()?;
    let pid = Pid::from_raw(i32::try_from(id)?).context("it has a process id")?;
    prlimit(Some(pid), Resource::Nofile, Rlimit { current: Some(DESCRIPTORS), maximum: Some(DESCRIPTORS) })?;
    // It looks ten times a second.
    tokio::time::sleep(Duration::from_secs(1)).await;
    // Who was there first.
    let mut first = Vec::new();
    for at in 0..FIRST {
        first.push(ask_first(&mesh, at).await?);
    }
    let (mut clients, mut turned_away) = (Vec::new(), 0);
    for at in FIRST..CLIENTS {
        match ask_first(&mesh, at).await {
            Ok(connection) => clients.push(connection),
            Err(_) => turned_away += 1,
        }
    }
    let (cpu, since) = (cpu_time(id)?, Instant::now());
    let (mut lost, mut unserved, mut silent) = (0, 0, 0);
    let lasts = drill.lasts(Duration::from_secs(6), Duration::from_secs(150));
    while since.elapsed() < lasts {
        for client in &mut first {
            lost += usize::from(!answers(client).await);
        }
        // One of those who were let in, each time another.
        if let Some(mut client) = clients.pop() {
            unserved += usize::from(!answers(&mut client).await);
            clients.insert(0, client);
        }
        silent += usize::from(mesh.web.says("/metrics").await.is_err());
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    let busy = (cpu_time(id)? - cpu).as_secs_f64() / since.elapsed().as_secs_f64();

    // The control plane goes and comes back: its streams are opened anew, with descriptors from the reserve.
    mesh.plane.kill().await?;
    mesh.plane.start_again().await?;
    let back = Instant::now();
    mesh.plane.apply(&open_service("fresh", "stock", &[HTTP])).await?;
    let mut client = clients.pop().context("nobody was let in")?;
    let learnt = loop {
        match client.get("fresh", "/probe", &[]).await {
            Ok(reply) if reply.status == 200 => break back.elapsed(),
            _ if back.elapsed() > Duration::from_secs(20) => break back.elapsed(),
            Ok(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            Err(error) => anyhow::bail!("a client that was let in is gone: {error}"),
        }
    };
    let served = first.len() + clients.len() + 1;
    drop((client, first, clients));
    let closed = Instant::now();
    let again = mesh.answers("stock", Duration::from_secs(20)).await.map(|_| closed.elapsed())?;

    let mut verdict = Verdict::default();
    verdict.told("clients that were let in", served);
    verdict.told("clients that were turned away", turned_away);
    verdict.figure("there are more clients than descriptors", turned_away > 0, "true", turned_away > 0);
    verdict.none("requests of those let in that were not served", unserved);
    verdict.none("requests of those who were there first that were not served", lost);
    verdict.none("times that the status interface did not answer", silent);
    verdict.figure("CPU of the sidecar meanwhile", format!("{:.1} %", 100.0 * busy), "< 20 %", busy < 0.2);
    verdict.time("a change is in effect after the control plane's return", learnt, Duration::from_secs(5));
    verdict.time("a new client is served once the others have gone", again, Duration::from_secs(2));
    Ok(verdict)
}

/// Whether a client that is there is served.
async fn answers(client: &mut Connection) -> bool {
    client.get("stock", "/again", &[]).await.is_ok_and(|reply| reply.status == 200)
}

/// A client that connects and is answered.
async fn ask_first(mesh: &Mesh, at: usize) -> Result<Connection> {
    let mut connection = mesh.web.client().await?;
    let reply = connection.get("stock", &format!("/first-{at}"), &[]).await?;
    anyhow::ensure!(reply.status == 200, "{}", reply.status);
    Ok(connection)
}

/// How long a process' threads have run.
fn cpu_time(process: u32) -> Result<Duration> {
    let mut time = Duration::ZERO;
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        let ran = fs::read_to_string(thread?.path().join("schedstat")).unwrap_or_default();
        time += Duration::from_nanos(ran.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0));
    }
    Ok(time)
}
