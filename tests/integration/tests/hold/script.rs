//! What happens to the mesh while the load runs.
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use weft_control_plane::wire::WaitRequest;
use weft_harness::{objects::shop_route, process::command};

use crate::mesh::{Hold, PATIENCE};

/// Weights of v1 and v2, one after the other; where one has none, nobody but the canary may see it.
const WEIGHTS: [(u32, u32); 5] = [(3, 1), (0, 1), (1, 3), (1, 0), (1, 1)];

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    /// Other weights.
    Weights,
    /// The control plane is killed, stays away for so long, and comes back.
    Kill(Duration),
    /// A new intermediate.
    Rotate,
}

/// What happens, evenly spread over the load.
pub(crate) struct Script {
    lasts: Duration,
    events: Vec<Event>,
}

/// A time in which weights stood.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    pub(crate) weights: (u32, u32),
    pub(crate) from: Instant,
    pub(crate) until: Instant,
}

/// What has happened.
#[derive(Debug, Default)]
pub(crate) struct Played {
    pub(crate) kills: usize,
    pub(crate) changes: usize,
    pub(crate) rotations: usize,
    pub(crate) standing: Vec<Standing>,
    /// The fewest certificates that any sidecar obtained meanwhile, and the most.
    pub(crate) certificates: (u64, u64),
    pub(crate) lasted: Duration,
}

impl Script {
    /// 20 s: three changes, one kill, one rotation.
    pub(crate) fn short() -> Self {
        Self { lasts: Duration::from_secs(20), events: events("wrkww") }
    }

    /// 60 s: ten changes, three kills, three rotations.
    pub(crate) fn full() -> Self {
        Self { lasts: Duration::from_secs(60), events: events("wrwkwwrwkwwwrkww") }
    }

    /// Plays it, and goes on until each sidecar has a certificate of the last intermediate.
    pub(crate) async fn play(&self, hold: &mut Hold, started: Instant) -> Result<Played> {
        let mut played = Played::default();
        let first = hold.certificates().await?;
        let mut rotated = first.clone();
        let (mut weights, mut from) = ((1, 1), started);
        let pause = self.lasts / (self.events.len() as u32 + 1);
        for (at, event) in self.events.iter().enumerate() {
            tokio::time::sleep_until((started + pause * (at as u32 + 1)).into()).await;
            match event {
                Event::Weights => {
                    played.standing.push(Standing { weights, from, until: Instant::now() });
                    weights = WEIGHTS[played.changes % WEIGHTS.len()];
                    change(hold, weights).await?;
                    from = Instant::now();
                    played.changes += 1;
                }
                Event::Kill(away) => {
                    hold.plane.kill().await?;
                    tokio::time::sleep(*away).await;
                    hold.plane.start_again().await?;
                    hold.together().await?;
                    played.kills += 1;
                }
                Event::Rotate => {
                    rotated = hold.certificates().await?;
                    let context = hold.plane.context().display().to_string();
                    command(&["ca", "rotate", "--context", &context]).await?;
                    played.rotations += 1;
                }
            }
        }
        tokio::time::sleep_until((started + self.lasts).into()).await;
        let deadline = Instant::now() + PATIENCE;
        let last = loop {
            let now = hold.certificates().await?;
            if now.iter().zip(&rotated).all(|(now, before)| now > before) {
                break now;
            }
            ensure!(Instant::now() < deadline, "not everybody has renewed since the rotation: {rotated:?}, {now:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        played.standing.push(Standing { weights, from, until: Instant::now() });
        let obtained = || last.iter().zip(&first).map(|(last, first)| last - first);
        played.certificates = (obtained().min().unwrap_or(0), obtained().max().unwrap_or(0));
        played.lasted = started.elapsed();
        Ok(played)
    }
}

/// Applies other weights and waits until they are in effect at the caller.
async fn change(hold: &Hold, (v1, v2): (u32, u32)) -> Result<()> {
    hold.plane.apply(&shop_route(v1, v2)).await?;
    let route = "HTTPRoute shop/reviews".to_owned();
    let request = WaitRequest { objects: vec![route], timeout_ms: PATIENCE.as_millis() as u64 };
    let waited = hold.plane.client()?.wait(&request).await?;
    let effective = waited.items.first().map_or(0, |item| item.effect.effective);
    ensure!(waited.in_effect && effective > 0, "the weights {v1} and {v2} are not in effect: {waited:?}");
    Ok(())
}

/// `w` for weights, `k` for a kill, `r` for a rotation; each kill lasts a second longer than the one before.
fn events(text: &str) -> Vec<Event> {
    let mut kills = 0;
    let event = |letter| match letter {
        'w' => Event::Weights,
        'r' => Event::Rotate,
        _ => {
            kills += 1;
            Event::Kill(Duration::from_secs(1 + kills))
        }
    };
    text.chars().map(event).collect()
}
