//! How a resource stands at a proxy, and an object at all of them. Pure: what is known and the time are arguments.
use std::{collections::BTreeSet, time::Duration};

use tokio::time::Instant;
use weft_ir::{Feature, ResourceKey};
use weft_model::WorkloadRef;
use weft_xds::Version;

use super::Kept;
use crate::wire::{EffectState, ObjectEffect, SlowProxy, WaitingProxy};

/// How many proxies that do not have an object in effect are named.
const NAMED: usize = 100;

/// A proxy's word on one resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    /// The version that every worker of it decides from, and since when this is known.
    pub(crate) in_effect: Option<(Version, Instant)>,
    /// The version that it rejected last, and its words; until it takes another.
    pub(crate) rejected: Option<(Option<Version>, String)>,
}

/// What is known of one resource and one proxy that holds it or asked for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At<'a> {
    /// The version that the mesh has now; `None` where the resource is gone.
    pub(crate) current: Option<&'a Version>,
    /// Since when; `None` where it has not changed since this control plane started.
    pub(crate) changed: Option<Instant>,
    /// What a reader must know to take it.
    pub(crate) needs: &'a BTreeSet<Feature>,
    /// What the proxy says of it.
    pub(crate) held: Option<&'a Held>,
    /// Since when it is subscribed to on the present stream.
    pub(crate) subscribed: Option<Instant>,
    /// What the proxy knows; `None` where it does not say.
    pub(crate) features: Option<&'a BTreeSet<Feature>>,
    /// What it keeps of another history until a person confirms the removals.
    pub(crate) kept: Option<&'a Kept>,
}

/// How one resource stands at one proxy; the greater, the worse.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Standing {
    /// It is in effect; how long that took, where it changed since this control plane started.
    InEffect(Option<Duration>),
    /// It is not in effect yet.
    Awaited,
    /// The proxy has another, or more than the mesh has now, and keeps it until a person confirms the removal.
    RemovalHeld,
    /// It is not sent, because the proxy does not know these features.
    HeldBack(Vec<Feature>),
    /// The proxy rejected it, in its own words.
    Rejected(String),
}

impl Standing {
    /// What is counted of it.
    pub(crate) const fn state(&self) -> EffectState {
        match self {
            Self::InEffect(_) => EffectState::InEffect,
            Self::Awaited => EffectState::Awaited,
            Self::RemovalHeld => EffectState::RemovalHeld,
            Self::HeldBack(_) => EffectState::HeldBack,
            Self::Rejected(_) => EffectState::Rejected,
        }
    }
}

/// How a resource stands at a proxy.
pub(crate) fn standing(key: &ResourceKey, at: At<'_>) -> Standing {
    let own = at.held.and_then(|held| held.in_effect.as_ref());
    let since = [at.changed, at.subscribed].into_iter().flatten().max();
    let kept = at.kept.filter(|_| own.is_some());
    let is_kept = kept.is_some_and(|kept| kept.holds(key));
    let Some(current) = at.current else {
        return match own {
            None => Standing::InEffect(None),
            Some(_) if is_kept => Standing::RemovalHeld,
            Some(_) => Standing::Awaited,
        };
    };
    if let Some((_, told)) = own.filter(|(version, _)| version == current) {
        if is_kept {
            return Standing::RemovalHeld;
        }
        return Standing::InEffect(at.changed.and(since).map(|since| told.saturating_duration_since(since)));
    }
    let lacks: Vec<_> = at.features.map(|known| at.needs.difference(known).copied().collect()).unwrap_or_default();
    if !lacks.is_empty() {
        return Standing::HeldBack(lacks);
    }
    match at.held.and_then(|held| held.rejected.as_ref()) {
        Some((version, reason)) if version.as_ref().is_none_or(|version| version == current) => {
            Standing::Rejected(reason.clone())
        }
        _ if is_kept || kept.is_some_and(|kept| kept.only_adds(key)) => Standing::RemovalHeld,
        _ => Standing::Awaited,
    }
}

/// Counts how one object stands at the proxies that it concerns.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    concerned: u64,
    effective: u64,
    slowest_done: Option<(Duration, String)>,
    waiting: Vec<WaitingProxy>,
}

impl Tally {
    /// Adds one proxy with all its resources that the object made: the standing of each, and how long it is due.
    pub(crate) fn add(
        &mut self,
        proxy: &WorkloadRef,
        (silent, kept): (Option<Duration>, Option<&Kept>),
        resources: impl IntoIterator<Item = (ResourceKey, Standing, Duration)>,
    ) {
        let resources: Vec<_> = resources.into_iter().collect();
        let held = resources.iter().filter(|(_, standing, _)| *standing == Standing::RemovalHeld);
        let held: Vec<_> = held.map(|(key, ..)| key.to_string()).collect();
        let worst = resources.into_iter().max_by(|one, other| (&one.1, one.2).cmp(&(&other.1, other.2)));
        let Some((resource, standing, due)) = worst else { return };
        self.concerned += 1;
        let removal = kept.filter(|_| !held.is_empty()).map(|kept| kept.told(proxy, held));
        let (rejected, needs) = match standing {
            Standing::InEffect(took) => {
                self.effective += 1;
                let took = took.filter(|took| self.slowest_done.as_ref().is_none_or(|(most, _)| most < took));
                if let Some(took) = took {
                    self.slowest_done = Some((took, proxy.to_string()));
                }
                return;
            }
            Standing::Awaited | Standing::RemovalHeld => (None, Vec::new()),
            Standing::HeldBack(needs) => (None, needs.iter().map(|need| need.as_str().to_owned()).collect()),
            Standing::Rejected(reason) => (Some(reason), Vec::new()),
        };
        self.waiting.push(WaitingProxy {
            workload: proxy.to_string(),
            resource: resource.to_string(),
            age_ms: millis(due),
            silent_ms: silent.map(millis),
            rejected,
            needs,
            removal,
        });
    }

    /// What is to be said of the object.
    pub(crate) fn effect(mut self) -> ObjectEffect {
        self.waiting
            .sort_by(|one, other| other.age_ms.cmp(&one.age_ms).then_with(|| one.workload.cmp(&other.workload)));
        let any = |said: fn(&WaitingProxy) -> bool| self.waiting.iter().any(said);
        let state = match self.concerned {
            0 => EffectState::Unused,
            _ if any(|it| it.rejected.is_some()) => EffectState::Rejected,
            _ if any(|it| !it.needs.is_empty()) => EffectState::HeldBack,
            _ if any(|it| it.removal.is_some()) => EffectState::RemovalHeld,
            _ if self.waiting.is_empty() => EffectState::InEffect,
            _ => EffectState::Awaited,
        };
        let done = self.slowest_done.map(|(took, workload)| SlowProxy { workload, age_ms: millis(took) });
        let slowest = self.waiting.first().map(|it| SlowProxy { workload: it.workload.clone(), age_ms: it.age_ms });
        let unnamed = self.waiting.len().saturating_sub(NAMED);
        self.waiting.truncate(NAMED);
        ObjectEffect {
            state,
            effective: self.effective,
            proxies: self.concerned,
            slowest: slowest.or(done),
            waiting: self.waiting,
            unnamed: u64::try_from(unnamed).unwrap_or(u64::MAX),
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use weft_ir::ResourceType;

    use super::*;

    fn version(at: u8) -> Version {
        Version::parse(&format!("v{at}")).unwrap()
    }

    fn workload(at: usize) -> WorkloadRef {
        WorkloadRef { namespace: "shop".parse().unwrap(), name: format!("web-{at}").parse().unwrap() }
    }

    /// One resource of which everything may be true.
    #[derive(Clone, Debug)]
    struct Case {
        current: Option<u8>,
        changed: Option<u64>,
        in_effect: Option<(u8, u64)>,
        rejected: Option<(Option<u8>, String)>,
        subscribed: Option<u64>,
        lacks: bool,
        /// It is endpoints, and the proxy stands in another history.
        adds: bool,
    }

    impl Case {
        fn standing(&self, epoch: Instant) -> Standing {
            let at = |ms: u64| epoch + Duration::from_millis(ms);
            let held = Held {
                in_effect: self.in_effect.map(|(it, since)| (version(it), at(since))),
                rejected: self.rejected.clone().map(|(it, reason)| (it.map(version), reason)),
            };
            let current = self.current.map(version);
            let kept = Kept::default();
            let key = ResourceKey::new(if self.adds { ResourceType::Endpoints } else { ResourceType::Cluster }, "a");
            standing(
                &key,
                At {
                    current: current.as_ref(),
                    changed: self.changed.map(at),
                    needs: &[Feature::PathRegex].into(),
                    held: Some(&held),
                    subscribed: self.subscribed.map(at),
                    features: Some(&if self.lacks { BTreeSet::new() } else { Feature::ALL.into() }),
                    kept: Some(&kept),
                },
            )
        }
    }

    fn cases() -> impl Strategy<Value = Case> {
        let rejected = prop::option::of((prop::option::of(0_u8..3), "[a-z]{1,8}"));
        let in_effect = prop::option::of((0_u8..3, 0_u64..5_000));
        let times = (prop::option::of(0_u64..5_000), prop::option::of(0_u64..5_000));
        (prop::option::of(0_u8..3), times, in_effect, rejected, any::<(bool, bool)>()).prop_map(
            |(current, (changed, subscribed), in_effect, rejected, (lacks, adds))| Case {
                current,
                changed,
                in_effect,
                rejected,
                subscribed,
                lacks,
                adds,
            },
        )
    }

    proptest! {
        #[test]
        fn in_effect_means_that_the_proxy_has_exactly_what_the_mesh_has(case in cases()) {
            let same = case.in_effect.map(|(version, _)| version) == case.current;
            let standing = case.standing(Instant::now());
            prop_assert_eq!(matches!(standing, Standing::InEffect(_)), same);
            prop_assert!(case.adds || standing != Standing::RemovalHeld, "it keeps nothing");
            if let Standing::Rejected(reason) = standing {
                let (of, words) = case.rejected.unwrap();
                prop_assert_eq!(reason, words);
                prop_assert!(of.is_none() || of == case.current, "an older version's rejection stands");
            }
        }

        #[test]
        fn every_proxy_counts_once_and_the_state_follows_from_the_counts(
            proxies in prop::collection::vec(prop::collection::vec((cases(), 0_u64..9_000), 0..4), 0..6)
        ) {
            let epoch = Instant::now();
            let mut tally = Tally::default();
            let (mut concerned, mut effective) = (0, 0);
            for (at, resources) in proxies.iter().enumerate() {
                let standings: Vec<_> = resources.iter().map(|(case, _)| case.standing(epoch)).collect();
                concerned += u64::from(!standings.is_empty());
                let done = standings.iter().all(|it| matches!(it, Standing::InEffect(_)));
                effective += u64::from(!standings.is_empty() && done);
                let key = ResourceKey::new(ResourceType::Cluster, "local/shop/web:80");
                let resources = standings.into_iter().zip(resources).map(|(standing, (_, due))| {
                    (key.clone(), standing, Duration::from_millis(*due))
                });
                tally.add(&workload(at), (None, Some(&Kept::default())), resources);
            }
            let effect = tally.effect();
            prop_assert_eq!((effect.proxies, effect.effective), (concerned, effective));
            prop_assert_eq!(effect.waiting.len() as u64, concerned - effective);
            prop_assert_eq!(effect.state == EffectState::Unused, concerned == 0);
            prop_assert_eq!(effect.state == EffectState::InEffect, concerned > 0 && concerned == effective);
            let rejected = effect.waiting.iter().any(|it| it.rejected.is_some());
            prop_assert_eq!(effect.state == EffectState::Rejected, rejected);
            let worst = proxies.iter().flatten().map(|(case, _)| case.standing(epoch).state()).max();
            prop_assert_eq!(effect.state, worst.unwrap_or(EffectState::Unused), "the board and the tally differ");
            if let Some(slowest) = effect.slowest.filter(|_| effective < concerned) {
                prop_assert!(effect.waiting.iter().all(|it| it.age_ms <= slowest.age_ms));
            }
        }
    }

    #[test]
    fn no_more_proxies_are_named_than_can_be_read_and_the_rest_is_counted() {
        let mut tally = Tally::default();
        for at in 0..NAMED + 5 {
            let key = ResourceKey::new(ResourceType::Cluster, "local/shop/web:80");
            tally.add(&workload(at), (Some(Duration::from_secs(3)), None), [(key, Standing::Awaited, Duration::ZERO)]);
        }
        let effect = tally.effect();
        assert_eq!((effect.waiting.len(), effect.unnamed, effect.proxies), (NAMED, 5, NAMED as u64 + 5));
        assert_eq!(effect.waiting[0].silent_ms, Some(3_000));
    }

    #[test]
    fn the_time_to_effect_counts_from_when_the_proxy_asked_if_that_is_later() {
        let epoch = Instant::now();
        let case = |changed, subscribed| Case {
            current: Some(1),
            changed,
            in_effect: Some((1, 700)),
            rejected: None,
            subscribed,
            lacks: false,
            adds: false,
        };
        let took = |changed, subscribed| case(changed, subscribed).standing(epoch);
        assert_eq!(took(Some(200), Some(100)), Standing::InEffect(Some(Duration::from_millis(500))));
        assert_eq!(took(Some(200), Some(600)), Standing::InEffect(Some(Duration::from_millis(100))));
        // Told again on a new stream: that is no time to effect.
        assert_eq!(took(Some(200), Some(900)), Standing::InEffect(Some(Duration::ZERO)));
        assert_eq!(took(None, Some(600)), Standing::InEffect(None));
    }
}
