//! What is expected of the load, and what came of it.
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use crate::{
    load::{Kind, Sent, USERS},
    script::{Played, Standing},
};

/// The figures of one run, and what is wrong with them.
pub(crate) struct Judgement {
    summary: String,
    faults: Vec<String>,
}

impl Judgement {
    pub(crate) fn of(sent: &[Sent], played: &Played, sessions: u64) -> Self {
        let mut faults = Vec::new();
        let failed = failures(sent);
        faults.extend(failed.iter().map(|(why, count)| format!("{count} × {why}")));
        let canaries = sent.iter().filter(|it| it.kind == Kind::Canary).filter_map(|it| it.answer.as_ref().ok());
        let strayed = canaries.filter(|by| !by.starts_with("v2")).count();
        if strayed > 0 {
            faults.push(format!("{strayed} requests with x-canary: always were not answered by v2"));
        }
        let (moved, judged) = users(sent, &played.standing, &mut faults);
        let fresh = sent.iter().filter(|it| it.fresh).count();
        for (what, count) in [("connections", fresh as u64), ("TLS sessions", sessions)] {
            if count * 10 < sent.len() as u64 {
                faults.push(format!("only {count} new {what} for {} requests", sent.len()));
            }
        }
        let seconds = played.lasted.as_secs();
        if (sent.len() as u64) < seconds * 100 {
            faults.push(format!("{} requests in {seconds} s are no load", sent.len()));
        }
        let Played { kills, changes, rotations, certificates: (fewest, most), .. } = played;
        let (count, failed) = (sent.len(), failed.values().sum::<usize>());
        let summary = format!(
            "{count} requests in {seconds} s ({}), {fresh} on new connections, {sessions} new mesh TLS sessions, while the \
             control plane was killed {kills} times, weights changed {changes} times, the intermediate {rotations} times, \
             and each sidecar's certificate {fewest} to {most} times: {failed} failed; canaries that saw v1: {strayed}; \
             users that changed version while weights stood: {moved} in {judged} pairs of user and weights",
            kinds(sent)
        );
        Self { summary, faults }
    }

    /// What is wrong; nothing if it has held.
    pub(crate) fn faults(&self) -> &[String] {
        &self.faults
    }
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.summary)
    }
}

/// Why requests failed, with the kind, and how many.
fn failures(sent: &[Sent]) -> BTreeMap<String, usize> {
    let mut failed = BTreeMap::new();
    for Sent { kind, answer, .. } in sent {
        if let Err(why) = answer {
            let kind = if let Kind::User(_) = kind { "User".to_owned() } else { format!("{kind:?}") };
            *failed.entry(format!("{kind}: {why}")).or_default() += 1;
        }
    }
    failed
}

/// How many users saw more than one version while weights stood, and of how many pairs of a user and a time in which weights
/// stood that was asked. A version without weight is seen by none of them.
fn users(sent: &[Sent], standing: &[Standing], faults: &mut Vec<String>) -> (usize, usize) {
    let (mut moved, mut judged, mut ever) = (0, 0, BTreeSet::new());
    for Standing { weights, from, until } in standing {
        let within = sent.iter().filter(|it| it.began >= *from && it.ended < *until);
        let mut seen: BTreeMap<usize, BTreeSet<&str>> = BTreeMap::new();
        for Sent { kind, answer, .. } in within {
            let Some(version) = answer.as_ref().ok().and_then(|by| by.get(..2)) else { continue };
            match kind {
                Kind::User(user) => {
                    seen.entry(*user).or_default().insert(version);
                }
                Kind::Plain => {}
                Kind::Canary | Kind::Call | Kind::Stream | Kind::Tcp => continue,
            }
            ever.insert(version);
            if matches!((weights, version), ((0, _), "v1") | ((_, 0), "v2")) {
                faults.push(format!("{kind:?} saw {version}, which has no weight in {weights:?}"));
            }
        }
        judged += seen.len();
        let changed = seen.iter().filter(|(_, versions)| versions.len() > 1);
        for (user, versions) in changed {
            moved += 1;
            faults.push(format!("user {user} saw {versions:?} while the weights {weights:?} stood"));
        }
    }
    // It would be easy to see no change where nobody came, or where there is one version only.
    if judged < USERS * standing.len() / 2 || ever.len() < 2 {
        faults.push(format!("{judged} pairs of user and weights with the versions {ever:?} show nothing"));
    }
    (moved, judged)
}

/// How many of each protocol.
fn kinds(sent: &[Sent]) -> String {
    let mut counts = BTreeMap::<&str, usize>::new();
    for Sent { kind, .. } in sent {
        let name = match kind {
            Kind::Canary | Kind::User(_) | Kind::Plain => "HTTP/1.1",
            Kind::Call => "gRPC calls",
            Kind::Stream => "gRPC streams",
            Kind::Tcp => "TCP",
        };
        *counts.entry(name).or_default() += 1;
    }
    counts.into_iter().map(|(name, count)| format!("{count} {name}")).collect::<Vec<_>>().join(", ")
}
