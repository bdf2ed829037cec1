//! What proxies keep of another history: this control plane came back with another epoch or an older revision, and what
//! it does not know is taken from nobody before a person confirms it.
use std::collections::{BTreeMap, BTreeSet};

use weft_ir::{ResourceKey, ResourceType};
use weft_model::WorkloadRef;
use weft_xds::resource_type;

use super::Effects;
use crate::wire::Elsewhere;

/// How many kept resources are named of one proxy; all are in the list of removals.
const NAMED: usize = 20;

/// A resource that is kept, or a part of one: its type as people read it, its name, and the part (empty for the whole).
pub(crate) type Place = (String, String, String);

/// What one proxy keeps.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept {
    /// The highest revision that it has seen.
    revision: String,
    /// Whether that is of another epoch; otherwise it is a later state of this one.
    other_epoch: bool,
    keys: BTreeSet<ResourceKey>,
    places: BTreeSet<Place>,
}

impl Kept {
    /// Whether the removal of a resource, or of a part of it, is held back.
    pub(crate) fn holds(&self, key: &ResourceKey) -> bool {
        self.keys.contains(key)
    }

    /// Whether what changes of a resource may only add to it: the endpoints of another history stay.
    pub(crate) fn only_adds(&self, key: &ResourceKey) -> bool {
        key.resource_type == ResourceType::Endpoints
    }

    /// Everything that is kept, ordered.
    pub(crate) fn places(&self) -> impl Iterator<Item = &Place> {
        self.places.iter()
    }

    /// What is to be told of what is named so.
    pub(crate) fn told(&self, workload: &WorkloadRef, mut named: Vec<String>) -> Elsewhere {
        let held = named.len() as u64;
        named.truncate(NAMED);
        Elsewhere {
            workload: workload.to_string(),
            revision: self.revision.clone(),
            other_epoch: self.other_epoch,
            held,
            resources: named,
        }
    }

    /// What is to be told of all of it.
    pub(crate) fn whole(&self, workload: &WorkloadRef) -> Elsewhere {
        self.told(workload, self.places.iter().map(named).collect())
    }
}

impl Effects {
    /// The proxies that hold to another history, by the word of their ADS streams' guards and by their own.
    pub(crate) fn kept(&self) -> BTreeMap<WorkloadRef, Kept> {
        let own = self.state.revision();
        let mut kept: BTreeMap<WorkloadRef, Kept> = BTreeMap::new();
        for (workload, held) in self.streams.held() {
            if !held.stands(&self.registry.revision(&workload)) {
                continue;
            }
            let place =
                |key: &ResourceKey| (key.resource_type.as_str().to_owned(), key.name.to_string(), String::new());
            let it = Kept {
                revision: held.seen.to_string(),
                other_epoch: held.seen.epoch() != own.epoch(),
                keys: held.keys.iter().cloned().collect(),
                places: held.keys.iter().map(place).collect(),
            };
            kept.insert(workload, it);
        }
        for (workload, held) in self.registry.held() {
            let it = kept.entry(workload).or_insert_with(|| Kept {
                other_epoch: !held.revision.starts_with(&format!("{}/", own.epoch())),
                revision: held.revision,
                ..Kept::default()
            });
            for resource in held.resources {
                let known = resource_type(&resource.type_url);
                it.keys.extend(known.map(|known| ResourceKey::new(known, resource.name.as_str())));
                let of_type = known.map_or(resource.type_url, |known| known.as_str().to_owned());
                it.places.insert((of_type, resource.name, resource.part));
            }
        }
        kept
    }
}

fn named((of_type, name, part): &Place) -> String {
    if part.is_empty() { format!("{of_type} {name}") } else { format!("{part} of {of_type} {name}") }
}
