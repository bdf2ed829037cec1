//! What is so at this moment, for people: the admin interface and metrics.
use std::fmt::Write;

use serde::Serialize;
use weft_decide::CircuitState;

/// The live state of one cluster that has limits, a breaker, ejection or health checks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterState {
    /// The cluster's name.
    pub cluster: String,
    /// Its limits, and how much of each is in use.
    pub limits: Vec<LimitState>,
    /// The breaker: `closed`, `open` or `half-open`; `None` where it has none.
    pub breaker: Option<&'static str>,
    /// The endpoints that are left out, ordered by address.
    pub ejected: Vec<EjectedEndpoint>,
    /// How often an endpoint was ejected since the proxy started.
    pub ejections: u64,
    /// The endpoints that fail their health checks, ordered by address.
    pub unhealthy: Vec<UnhealthyEndpoint>,
    /// How its checks went since the proxy started; `None` where it has none.
    pub checks: Option<CheckCounts>,
}

/// How many health checks went which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CheckCounts {
    /// Those that passed.
    pub passed: u64,
    /// Those that failed.
    pub failed: u64,
}

/// An endpoint that fails its health checks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnhealthyEndpoint {
    /// `namespace/name` of its workload.
    pub workload: String,
    /// Its address.
    pub address: String,
    /// `unhealthy (active)`, and why.
    pub health: String,
}

/// One limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LimitState {
    /// `connections`, `pending` or `requests`.
    pub limit: &'static str,
    /// The limit.
    pub most: u32,
    /// How much of it is in use.
    pub used: u32,
}

/// An endpoint that is left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EjectedEndpoint {
    /// `namespace/name` of its workload.
    pub workload: String,
    /// Its address.
    pub address: String,
    /// For how long it stays out, in milliseconds.
    pub left_ms: u64,
}

pub(super) const fn breaker(state: CircuitState) -> &'static str {
    match state {
        CircuitState::Closed => "closed",
        CircuitState::Open => "open",
        CircuitState::HalfOpen => "half-open",
    }
}

/// The states in Prometheus' text format. Names of clusters hold no character that a label value must escape.
pub(super) fn expose(states: &[ClusterState], out: &mut String) {
    let mut family = |name: &str, kind: &str, help: &str, lines: &mut dyn Iterator<Item = String>| {
        // Writing to a String does not fail.
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for line in lines {
            let _ = writeln!(out, "{name}{line}");
        }
    };
    let limits = || states.iter().flat_map(|state| state.limits.iter().map(move |limit| (&state.cluster, limit)));
    let of = |cluster: &str, limit: &LimitState, value: u32| {
        format!("{{cluster=\"{cluster}\",limit=\"{}\"}} {value}", limit.limit)
    };
    let mut most = limits().map(|(cluster, limit)| of(cluster, limit, limit.most));
    family("weft_limit", "gauge", "What a TrafficPolicy limits, by cluster.", &mut most);
    let mut used = limits().map(|(cluster, limit)| of(cluster, limit, limit.used));
    family("weft_limit_used", "gauge", "How much of a limit is in use.", &mut used);
    let mut breakers = states.iter().filter_map(|state| {
        let phase = match state.breaker? {
            "closed" => 0,
            "half-open" => 1,
            _ => 2,
        };
        Some(format!("{{cluster=\"{}\"}} {phase}", state.cluster))
    });
    family("weft_breaker_state", "gauge", "0 closed, 1 half open, 2 open.", &mut breakers);
    let mut out_now = states.iter().map(|state| format!("{{cluster=\"{}\"}} {}", state.cluster, state.ejected.len()));
    family("weft_endpoints_ejected", "gauge", "Endpoints that are left out now.", &mut out_now);
    let mut ejections = states.iter().map(|state| format!("{{cluster=\"{}\"}} {}", state.cluster, state.ejections));
    family("weft_ejections_total", "counter", "How often an endpoint was left out.", &mut ejections);
    let checked = || states.iter().filter_map(|state| Some((state, state.checks?)));
    let mut unhealthy =
        checked().map(|(state, _)| format!("{{cluster=\"{}\"}} {}", state.cluster, state.unhealthy.len()));
    family("weft_endpoints_unhealthy", "gauge", "Endpoints that fail their health checks now.", &mut unhealthy);
    let mut checks = checked().flat_map(|(state, CheckCounts { passed, failed })| {
        let line = |(result, count)| format!("{{cluster=\"{}\",result=\"{result}\"}} {count}", state.cluster);
        [("passed", passed), ("failed", failed)].map(line)
    });
    family("weft_health_checks_total", "counter", "Health checks of endpoints, by what came of them.", &mut checks);
}
