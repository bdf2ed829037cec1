//! Whether objects are in effect, for people.
use std::time::Duration;

use weft_control_plane::wire::{EffectState, ObjectEffect, ObjectStatus, WaitingProxy};

/// In a cell of a table.
pub(crate) fn cell(effect: &ObjectEffect) -> String {
    let ObjectEffect { state, effective, proxies, .. } = effect;
    let more = match state {
        EffectState::Unused => return "no proxy uses it".to_owned(),
        EffectState::InEffect | EffectState::Awaited => "",
        EffectState::HeldBack => ", held back",
        EffectState::RemovalHeld => ", removal held",
        EffectState::Rejected => ", rejected",
    };
    format!("{effective} of {proxies}{more}")
}

/// One object's status in full.
pub(crate) fn text(status: &ObjectStatus) -> String {
    let ObjectStatus { object, owner, revision, effect } = status;
    let revision = if revision.is_empty() { "- (it registered itself)" } else { revision };
    let mut lines =
        vec![format!("object      {object}"), format!("owner       {owner}"), format!("revision    {revision}")];
    let (effective, proxies) = (effect.effective, effect.proxies);
    lines.push(match effect.state {
        EffectState::Unused => {
            "in effect   no proxy uses it: none holds or asked for anything that was made of it".to_owned()
        }
        _ => format!("in effect   on {effective} of {proxies} proxies"),
    });
    if let Some(slowest) = &effect.slowest {
        let verb = if effect.effective < effect.proxies { "waits for" } else { "took" };
        lines.push(format!("slowest     {}, {verb} {}", slowest.workload, age(slowest.age_ms)));
    }
    lines.extend(waiting(effect));
    lines.join("\n")
}

/// A line for each proxy where an object is not in effect.
pub(crate) fn waiting(effect: &ObjectEffect) -> Vec<String> {
    let mut lines: Vec<_> = effect.waiting.iter().map(one).collect();
    if effect.unnamed > 0 {
        lines.push(format!("and {} more", effect.unnamed));
    }
    lines
}

fn one(waiting: &WaitingProxy) -> String {
    let WaitingProxy { workload, resource, age_ms, silent_ms, rejected, needs, removal } = waiting;
    let mut said = match (rejected, removal) {
        (Some(reason), _) => format!("rejected {resource}: {reason}"),
        (None, _) if !needs.is_empty() => {
            format!("does not know {}, which {resource} needs: it is not sent there", needs.join(", "))
        }
        (None, Some(removal)) => removal.text(),
        (None, None) => format!("waits for {resource}, {}", age(*age_ms)),
    };
    if let Some(silent) = silent_ms {
        said.push_str(&format!("; silent for {}", age(*silent)));
    }
    format!("{workload} {said}")
}

/// A time for people: to the millisecond below a second.
pub(crate) fn age(millis: u64) -> String {
    let seconds = Duration::from_millis(millis).as_secs();
    match millis {
        0..1_000 => format!("{millis} ms"),
        1_000..10_000 => format!("{seconds}.{} s", millis % 1_000 / 100),
        _ => format!("{seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use weft_control_plane::wire::Elsewhere;

    use super::*;

    fn effect(state: EffectState, effective: u64, proxies: u64) -> ObjectEffect {
        ObjectEffect { state, effective, proxies, slowest: None, waiting: Vec::new(), unnamed: 0 }
    }

    #[test]
    fn nothing_that_nobody_uses_looks_like_a_success() {
        let unused = effect(EffectState::Unused, 0, 0);
        assert_eq!(cell(&unused), "no proxy uses it");
        let status = ObjectStatus {
            object: "Service shop/web".to_owned(),
            owner: "api".to_owned(),
            revision: "e/all=1".to_owned(),
            effect: unused,
        };
        assert!(!text(&status).contains("0 of 0"), "{}", text(&status));
        assert_eq!(cell(&effect(EffectState::Rejected, 2, 3)), "2 of 3, rejected");
    }

    #[test]
    fn what_the_wipe_guard_holds_is_told_by_name_with_the_way_out_and_not_as_waiting() {
        let removal = Elsewhere {
            workload: "shop/web-1".to_owned(),
            revision: "e/all=9".to_owned(),
            other_epoch: true,
            held: 3,
            resources: vec!["endpoints local/shop/reviews:80".to_owned()],
        };
        let waiting = WaitingProxy {
            workload: "shop/web-1".to_owned(),
            resource: "endpoints local/shop/reviews:80".to_owned(),
            age_ms: 4_000,
            silent_ms: None,
            rejected: None,
            needs: Vec::new(),
            removal: Some(removal.clone()),
        };
        assert_eq!(
            one(&waiting),
            "shop/web-1 removal held: the control plane came back with another epoch (the proxy has seen e/all=9): \
             endpoints local/shop/reviews:80 and 2 more; confirm with `weft confirm-removals`"
        );
        let older = Elsewhere { other_epoch: false, held: 0, resources: Vec::new(), ..removal };
        let text = "removal held: the control plane came back with an older revision (the proxy has seen e/all=9); \
                    confirm with `weft confirm-removals`";
        assert_eq!(older.text(), text);
        assert_eq!(cell(&effect(EffectState::RemovalHeld, 2, 3)), "2 of 3, removal held");
    }

    #[test]
    fn times_are_told_as_finely_as_people_read_them() {
        assert_eq!([17, 1_950, 12_345].map(age), ["17 ms", "1.9 s", "12 s"]);
    }
}
