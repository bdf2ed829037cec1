//! The demo for people: what is where, a live table of each edge, and what to try.
use std::{
    io::{self, IsTerminal},
    time::{Duration, Instant},
};

use super::{
    edges::{Statuses, table},
    mesh::{Mesh, PLANS},
    traffic::Trickle,
};
use crate::{
    failure::{Failure, While},
    output,
};

/// Calls a second to the shop's front.
const RATE: u32 = 20;

/// Shows the mesh until the caller stops waiting.
pub(super) async fn run(mesh: &mut Mesh, started: Instant) -> Result<bool, Failure> {
    let front = mesh.instance("web-0")?.application.ok_or_else(|| Failure::new("web has no address"))?;
    output::line(banner(mesh, started)?)?;
    let _trickle = Trickle::start(front, RATE);
    let redraws = io::stdout().is_terminal();
    let every = Duration::from_secs(if redraws { 1 } else { 5 });
    let mut drawn = 0;
    let mut statuses = Statuses::of(mesh);
    loop {
        tokio::time::sleep(every).await;
        let edges = match mesh.api()?.edges().await {
            Ok(edges) => edges.items,
            // The control plane may be gone for a while (a visitor may have killed it): traffic goes on.
            Err(error) => {
                output::line(error.to_string())?;
                continue;
            }
        };
        statuses.read();
        let text = table(&edges, &statuses);
        if redraws && drawn > 0 {
            // Up to where the table began, and clear to the end of the screen.
            output::line(format!("\x1b[{drawn}A\x1b[J{text}"))?;
        } else if redraws {
            output::line(&text)?;
        } else {
            output::line(format!("{text}\n"))?;
        }
        drawn = text.lines().count();
    }
}

fn banner(mesh: &Mesh, started: Instant) -> Result<String, Failure> {
    let rows = PLANS.iter().map(|plan| {
        let instance = mesh.instance(plan.instance)?;
        let shown = |address: Option<std::net::SocketAddr>| address.map_or_else(|| "-".to_owned(), |it| it.to_string());
        Ok([
            format!("shop/{}", plan.instance),
            format!("spiffe://weft.local/ns/shop/sa/{}", plan.account),
            shown(instance.application),
            shown(instance.bound.inbound),
            shown(instance.bound.outbound),
            format!("http://{}/metrics", instance.bound.status),
        ])
    });
    let rows = rows.collect::<Result<Vec<_>, Failure>>()?;
    let front = mesh.instance("web-0")?.application.map_or_else(String::new, |front| front.to_string());
    let outbound = mesh.instance("catalog-0")?.bound.outbound.map_or_else(String::new, |it| it.to_string());
    let stock = mesh.instance("catalog-0")?.bound.tcp("shop/stock:9000");
    let stock = stock.map_or_else(String::new, |it| it.to_string());
    let (grpc, api) = mesh.control_plane()?;
    let folder = mesh.folder().display();
    let weft = std::env::current_exe().while_("find this program")?;
    let (weft, context) = (weft.display(), mesh.context());
    let context = context.display();
    Ok(format!(
        "A mesh of {} processes is up after {:.1} s: one control plane, and a service and its sidecar for each workload.\n\
         web -> catalog -> reviews (HTTP; v1, v2), catalog -> prices (gRPC), catalog -> stock (TCP).\n\n{}\n\n\
         catalog reaches stock by {stock}; each sidecar's admin socket is admin.sock in its folder under\n\
         {folder}/sidecars, its access log under {folder}/logs.\n\
         The control plane (spiffe://weft.local/ns/weft-system/sa/control-plane) serves xDS at {grpc}, its API at {api}.\n\n\
         Try, in another terminal (the lines can be pasted as they are):\n\n\
         # the shop's front; always reviews v2; a caller that no policy allows\n\
         curl -s http://{front}/; echo\n\
         curl -s -H 'x-canary: always' http://{front}/; echo\n\
         curl -si -H 'Host: web' http://{outbound}/\n\
         # the objects; half of the traffic to v2; what the caller's proxy has in effect\n\
         export WEFT_CONTEXT={context}; alias weft={weft}\n\
         weft get all\n\
         weft get httproute reviews -n shop -o yaml | sed 's/weight: [19]0/weight: 50/' | weft apply -f -\n\
         weft proxy-config routes shop/catalog-0\n\
         # gRPC: what the sidecar of prices has recorded of its last call\n\
         tail -n1 {folder}/logs/prices-0.access.log\n\
         # what web's proxy refused, and why: the id is the one that the refused curl was told\n\
         weft get refusals shop/web-0\n\
         curl -si -H 'Host: web' http://{outbound}/ | sed -n 's/\\r$//; s/^x-weft-decision: //p' | xargs {weft} explain\n\n\
         A trickle of {RATE} requests a second runs; every tenth asks for v2 by its header. Ctrl-C stops everything.\n",
        2 * PLANS.len() + 1,
        started.elapsed().as_secs_f64(),
        output::table(["WORKLOAD", "IDENTITY", "APPLICATION", "INBOUND", "OUTBOUND", "METRICS"], rows),
    ))
}
