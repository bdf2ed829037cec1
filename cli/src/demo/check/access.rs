//! Who gets in, who does not, and what each is told.
use std::{
    fs,
    io::ErrorKind,
    net::SocketAddr,
    time::{Duration, SystemTime},
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use weft_certs::Authority;
use weft_model::{SpiffeId, TrustDomain};

use super::{Found, figure};
use crate::{
    demo::{
        client::{Client, Reuse},
        mesh::Mesh,
        peer::Peer,
        until,
    },
    failure::{Failure, While},
};

/// How long a refusal may take: the inbound handshake's own bound, and a little.
const REFUSAL: Duration = Duration::from_secs(12);

/// The edges of the shop: caller, called, the called's inbound instances.
const HOPS: [(&str, &str, &str); 6] = [
    ("web-0", "catalog", "catalog-0"),
    ("catalog-0", "reviews", "reviews-v1-0"),
    ("catalog-0", "reviews", "reviews-v2-0"),
    ("catalog-0", "reviews", "reviews-v2-1"),
    ("catalog-0", "prices", "prices-0"),
    ("catalog-0", "stock", "stock-0"),
];

/// One request to the front must come back with every other service's answer in it.
pub(super) async fn shop(mesh: &Mesh) -> Found {
    let front = mesh.instance("web-0")?.application.ok_or_else(|| Failure::new("web has no address"))?;
    let reply = Client::new(front).fetch("web", "/", &[], Reuse::Fresh).await?;
    let text = String::from_utf8_lossy(&reply.body).into_owned();
    let body: Value = serde_json::from_str(&text).while_(format_args!("read the front's answer {text:?}"))?;
    let catalog = &body["catalog"];
    let whole = ["reviews", "prices"].iter().all(|service| catalog[service]["instance"].is_string());
    let whole = whole && catalog["stock"] == "teapot";
    figure(reply.status.is_success() && whole, format!("{} {text}", reply.status.as_u16()))
}

/// A request in plaintext to each inbound port must get no answer.
pub(super) async fn plaintext(mesh: &Mesh) -> Found {
    let inbound = inbound_ports(mesh);
    for address in &inbound {
        let mut stream = TcpStream::connect(address).await.while_("connect to an inbound port")?;
        let request = b"GET / HTTP/1.1\r\nhost: catalog.shop\r\n\r\n";
        stream.write_all(request).await.while_("write to an inbound port")?;
        let mut answer = Vec::new();
        let read = timeout(REFUSAL, stream.read_to_end(&mut answer)).await;
        match read {
            Ok(Ok(_)) if answer.is_empty() => {}
            Ok(Err(error)) if error.kind() == ErrorKind::ConnectionReset => {}
            Ok(_) => return Err(Failure::new(format!("{address} answered {:?}", String::from_utf8_lossy(&answer)))),
            Err(_) => return Err(Failure::new(format!("{address} neither answered nor closed"))),
        }
    }
    Ok(format!("{} of {} ports closed without an answer", inbound.len(), inbound.len()))
}

/// A client of another mesh, with the same namespace and account, must not get through the handshake; the same client
/// with a certificate of this mesh must.
pub(super) async fn foreign(mesh: &Mesh) -> Found {
    const NAME: &str = "80.catalog.shop.mesh.weft.local";
    let domain: TrustDomain = "elsewhere.test".parse().while_("name a trust domain")?;
    let web = (&"shop".parse().while_("name a namespace")?, &"web".parse().while_("name an account")?);
    let id = SpiffeId::of_account(&domain, web.0, web.1);
    let making = "make a certificate of another trust domain";
    let authority = Authority::create(domain, SystemTime::now()).while_(making)?;
    let svid = authority.issue(&id, Duration::from_secs(60), SystemTime::now()).while_(making)?;
    // Both take whoever they meet: what must fail is the server's check of them.
    let (stranger, own) = (Peer::Showing(svid), Peer::like(mesh, "web-0"));
    let inbound = inbound_ports(mesh);
    let mut reasons = Vec::new();
    for address in &inbound {
        match stranger.ask(*address, NAME, "catalog.shop").await.map_err(|failure| failure.to_string()) {
            Err(reason) if reason.contains("alert") => {
                reasons.push(reason.rsplit(": ").next().unwrap_or_default().to_owned());
            }
            Err(other) => return Err(Failure::new(format!("{address} ended without an alert: {other}"))),
            Ok(answer) => return Err(Failure::new(format!("{address} let {id} in: {answer:?}"))),
        }
        // Without this the alerts might be about anything.
        let answer = own.ask(*address, NAME, "catalog.shop").await?;
        if !answer.starts_with("HTTP/1.1 ") {
            return Err(Failure::new(format!("{address} answered web's own certificate {answer:?}")));
        }
    }
    reasons.dedup();
    let ports = inbound.len();
    Ok(format!("{id} refused by {ports} of {ports} ports ({}), the mesh's own web let in by each", reasons.join(", ")))
}

/// The records of both sides of each hop must name the other's identity.
pub(super) async fn identities(mesh: &Mesh) -> Found {
    let mut seen = Vec::new();
    // Enough for each version of reviews to be called, whatever the weights draw.
    for canary in ["always", "never"].repeat(10) {
        mesh.outbound("catalog-0")?.fetch("reviews", "/", &[("x-canary", canary)], Reuse::Fresh).await?;
    }
    for (caller, called, server) in HOPS {
        let caller = mesh.instance(caller)?;
        let server = mesh.instance(server)?;
        let of = |account: &str| format!("spiffe://weft.local/ns/shop/sa/{account}");
        let (from, to) = (of(caller.plan.account), of(called));
        let wanted =
            [(&caller.access_log, "outbound", "server", &to), (&server.access_log, "inbound", "caller", &from)];
        for (log, direction, field, identity) in wanted {
            let found = until(Duration::from_secs(5), async || {
                let text = fs::read_to_string(log).ok()?;
                let records = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
                let mut of_side = records.filter(|record| record["direction"] == direction);
                of_side.any(|record| record[field] == identity.as_str()).then_some(())
            });
            if found.await.is_none() {
                let log = log.display();
                return Err(Failure::new(format!("no {direction} record in {log} has {identity} as its {field}")));
            }
        }
        seen.push(format!("{} -> {}", caller.plan.instance, server.plan.instance));
    }
    Ok(format!("{} in the access logs of both", seen.join(", ")))
}

/// The intruder's request to catalog must be refused with the names of the policies that select catalog.
pub(super) async fn named(mesh: &Mesh) -> Found {
    denied(mesh, "catalog", "AccessPolicy shop/catalog").await
}

/// The intruder's request to web, which no policy selects, must be told just that.
pub(super) async fn unselected(mesh: &Mesh) -> Found {
    denied(mesh, "web", "no AccessPolicy selects shop/web").await
}

async fn denied(mesh: &Mesh, host: &str, told: &str) -> Found {
    let reply = mesh.outbound("intruder-0")?.fetch(host, "/", &[], Reuse::Fresh).await?;
    let text = String::from_utf8_lossy(&reply.body).trim().to_owned();
    let decision = reply.headers.get("x-weft-decision").and_then(|value| value.to_str().ok());
    let text = format!("{} {text:?}, x-weft-decision: {}", reply.status.as_u16(), decision.unwrap_or("absent"));
    figure(reply.status == 403 && text.contains(told) && decision.is_some(), text)
}

fn inbound_ports(mesh: &Mesh) -> Vec<SocketAddr> {
    mesh.instances.iter().filter_map(|instance| instance.bound.inbound).collect()
}
