//! `weft demo --check`: a scripted tour that proves what the demo claims, one line for each claim.
use std::{
    fmt,
    time::{Duration, Instant},
};

use super::mesh::Mesh;
use crate::{failure::Failure, output};

mod access;
mod canary;
mod change;
mod command;
mod grpc;
mod outage;
mod resilience;
mod restart;
mod rotation;
mod stream;
mod wipe;

/// How long certificates live at first, for the tour's rotation; later ones live as long as the demo's.
pub(super) const LEAVES: Duration = Duration::from_secs(20);

/// What a claim's script found: the measured figure, or what was seen instead.
type Found = Result<String, Failure>;

/// The claims' lines as they are printed.
struct Report {
    passed: u32,
    failed: u32,
}

impl Report {
    /// Prints a claim's line.
    fn claim(&mut self, claim: &str, found: Found) -> Result<(), Failure> {
        let (word, figure) = match found {
            Ok(figure) => {
                self.passed += 1;
                ("pass", figure)
            }
            Err(failure) => {
                self.failed += 1;
                ("FAIL", failure.to_string())
            }
        };
        output::line(format!("{word}  {claim}: {figure}"))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

/// Runs the tour; whether all claims held.
pub(super) async fn run(mesh: &mut Mesh, started: Instant) -> Result<bool, Failure> {
    let mut report = Report { passed: 0, failed: 0 };
    let up = started.elapsed().as_secs_f64();
    report.claim("the mesh is up within 5 s", figure(up <= 5.0, format!("{up:.2} s")))?;
    report.claim("a request goes through every service of the shop", access::shop(mesh).await)?;
    report.claim("certificates rotate twice and no request fails", rotation::twice(mesh).await)?;
    rotation::settle(mesh).await?;
    report.claim("a plaintext client is refused at every inbound port", access::plaintext(mesh).await)?;
    report.claim("a certificate of another trust domain is refused", access::foreign(mesh).await)?;
    report.claim("both sides of each hop saw the expected identities", access::identities(mesh).await)?;
    mesh.start_instance(&super::mesh::INTRUDER).await?;
    mesh.ready().await?;
    report.claim("an identity that no policy allows is told which policies select", access::named(mesh).await)?;
    report.claim("a workload that no policy selects says so", access::unselected(mesh).await)?;
    for weights in [[80, 20], [90, 10], [50, 50]] {
        let [v1, v2] = weights;
        let claim = format!("weights {v1}/{v2} are in effect within 2 s of `weft apply`");
        report.claim(&claim, change::effect(mesh, weights).await)?;
        if v1 != 80 {
            report.claim(&format!("weights {v1}/{v2} hold"), canary::share(mesh, weights).await)?;
        }
    }
    report.claim("x-canary: always goes to v2", canary::header(mesh).await)?;
    report.claim("a failing instance is left out and v2 keeps its share", resilience::ejection(mesh).await)?;
    report.claim("over a limit the answer is a refusal at once, with its reason", resilience::limit(mesh).await)?;
    report.claim("users with a cookie see one version while weights stand", resilience::affinity(mesh).await)?;
    report.claim("TCP passes byte for byte, each side closing first", stream::both_ways(mesh).await)?;
    report.claim("gRPC calls are answered, each with its status", grpc::unary(mesh).await)?;
    report.claim("gRPC messages pass one by one, both ways, while the stream is open", grpc::streaming(mesh).await)?;
    report.claim("a refused gRPC call has its status, and `weft explain` finds why", grpc::refusal(mesh).await)?;
    report.claim("a bad object is refused by field and reason, and nothing changes", change::refused(mesh).await)?;
    report.claim("every certificate lives an hour again", rotation::settled(mesh).await)?;
    let outage = outage::survive(mesh).await;
    let (load, back) = match outage {
        Ok(seen) => (seen.load, seen.back),
        Err(failure) => (Err(failure), Err(Failure::new("the control plane did not come back"))),
    };
    report.claim("no request fails while the control plane is killed and returns", load)?;
    report.claim("all sidecars have everything in effect again and nothing unchanged is resent", back)?;
    let restarted = restart::alone(mesh).await;
    report.claim("a killed sidecar serves within 2 s from disk while there is no control plane", restarted)?;
    let wiped = wipe::comes_back_empty(mesh).await;
    let (kept, confirmed, restored) = match wiped {
        Ok(seen) => (seen.kept, seen.confirmed, seen.restored),
        Err(failure) => {
            let skipped = || Err(Failure::new("the control plane did not come back without objects"));
            (Err(failure), skipped(), skipped())
        }
    };
    report.claim("a control plane that comes back with an empty store takes nothing from any proxy", kept)?;
    report.claim("`weft confirm-removals` lists what would go, and lets it go", confirmed)?;
    report.claim("the old store's return brings everything back, and nobody need confirm it", restored)?;
    let took = started.elapsed().as_secs_f64();
    report.claim("the tour takes less than 60 s", figure(took < 60.0, format!("{took:.1} s")))?;
    output::line(format!("\n{report}"))?;
    Ok(report.failed == 0)
}

/// A figure that passes or fails.
fn figure(holds: bool, text: String) -> Found {
    if holds { Ok(text) } else { Err(Failure::new(text)) }
}
