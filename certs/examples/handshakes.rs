//! What a mesh handshake costs each side, made in full and resumed, on this machine: `cargo run --release --example
//! handshakes`.
//!
//! Both kinds are made in memory with the configurations that sidecars use (TLS 1.3, hybrid key exchange, a certificate and
//! its chain from either side), in turns (full, resumed, resumed, full), on one thread. A side's time is what its own calls
//! take, so that the other's work and the socket's are not in it; of all handshakes the median is told, because whatever
//! interrupts one makes it longer only.
#![expect(clippy::print_stdout, reason = "what it measures is its result")]

use std::{
    error::Error,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, ServerConfig, ServerConnection, SideData, client::Resumption,
    crypto::aws_lc_rs::Ticketer, pki_types::ServerName,
};
use weft_certs::{
    Authority, TrustBundles,
    tls::{self, ClientAuth},
    verify::Expected,
};

/// Turns of four handshakes.
const TURNS: usize = 1_500;
/// Turns before the first that counts.
const WARM: usize = 50;

/// What a handshake took each side.
#[derive(Clone, Copy, Default)]
struct Took {
    client: Duration,
    server: Duration,
}

/// A client and a server that handshake in one way.
#[derive(Clone)]
struct Pair {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    kind: HandshakeKind,
}

fn main() -> Result<(), Box<dyn Error>> {
    let (full, resumed) = pairs()?;
    // The first session is what the others resume.
    handshake(&Pair { kind: HandshakeKind::Full, ..resumed.clone() })?;
    let (mut of_full, mut of_resumed) = (Vec::new(), Vec::new());
    for turn in 0..WARM + TURNS {
        let took = [handshake(&full)?, handshake(&resumed)?, handshake(&resumed)?, handshake(&full)?];
        if turn >= WARM {
            of_full.extend([took[0], took[3]]);
            of_resumed.extend([took[1], took[2]]);
        }
    }
    for (name, took) in [("full", &of_full), ("resumed", &of_resumed)] {
        let (client, server) = (median(took, |it| it.client), median(took, |it| it.server));
        println!("{name:<8} client {client:>7.1} µs   server {server:>7.1} µs   ({} handshakes)", took.len());
    }
    Ok(())
}

/// Sidecars' configurations as they are, and the same with tickets on both sides.
fn pairs() -> Result<(Pair, Pair), Box<dyn Error>> {
    let (now, hour) = (SystemTime::now(), Duration::from_secs(3_600));
    let authority = Authority::create("weft.local".parse()?, now)?;
    let bundles: TrustBundles = authority.bundle()?.into();
    let called = "spiffe://weft.local/ns/shop/sa/catalog".parse()?;
    let (own, theirs) = (
        authority.issue(&"spiffe://weft.local/ns/shop/sa/web".parse()?, hour, now)?,
        authority.issue(&called, hour, now)?,
    );
    let server = tls::server_config(&theirs, &bundles, ClientAuth::Required, &[b"http/1.1"])?;
    let client = tls::client_config(Some(&own), &bundles, Expected::Exactly(called), &[b"http/1.1"])?;
    let (mut ticketing, mut resuming) = ((*server).clone(), (*client).clone());
    ticketing.send_tls13_tickets = 1;
    ticketing.ticketer = Ticketer::new()?;
    resuming.resumption = Resumption::in_memory_sessions(8);
    let full = Pair { client, server, kind: HandshakeKind::Full };
    let resumed = Pair { client: Arc::new(resuming), server: Arc::new(ticketing), kind: HandshakeKind::Resumed };
    Ok((full, resumed))
}

/// One handshake, tickets included.
fn handshake(pair: &Pair) -> Result<Took, Box<dyn Error>> {
    let mut took = Took::default();
    let began = Instant::now();
    let mut client =
        ClientConnection::new(Arc::clone(&pair.client), ServerName::try_from("80.catalog.shop.mesh.weft.local")?)?;
    took.client += began.elapsed();
    let began = Instant::now();
    let mut server = ServerConnection::new(Arc::clone(&pair.server))?;
    took.server += began.elapsed();
    let mut wire = Vec::new();
    while client.is_handshaking() || server.is_handshaking() || server.wants_write() {
        pass(&mut client, &mut server, &mut wire, &mut took.client, &mut took.server)?;
        pass(&mut server, &mut client, &mut wire, &mut took.server, &mut took.client)?;
    }
    if server.handshake_kind() != Some(pair.kind) {
        return Err(format!("{:?} instead of {:?}", server.handshake_kind(), pair.kind).into());
    }
    Ok(took)
}

/// Brings what one side has to say to the other, each on its own time.
fn pass<S: SideData, R: SideData>(
    from: &mut rustls::ConnectionCommon<S>,
    to: &mut rustls::ConnectionCommon<R>,
    wire: &mut Vec<u8>,
    sender: &mut Duration,
    receiver: &mut Duration,
) -> Result<(), Box<dyn Error>> {
    wire.clear();
    let began = Instant::now();
    while from.wants_write() {
        from.write_tls(wire)?;
    }
    *sender += began.elapsed();
    let (began, mut rest) = (Instant::now(), wire.as_slice());
    while !rest.is_empty() {
        to.read_tls(&mut rest)?;
        to.process_new_packets()?;
    }
    *receiver += began.elapsed();
    Ok(())
}

/// The median in microseconds.
fn median(took: &[Took], side: impl Fn(&Took) -> Duration) -> f64 {
    let mut times: Vec<_> = took.iter().map(side).collect();
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default().as_secs_f64() * 1e6
}
