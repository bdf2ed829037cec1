//! One configuration: its objects as a user writes them, and what the evaluator decides from.
use std::{collections::BTreeMap, sync::Arc};

use weft_compile::Compiler;
use weft_decide::Snapshot;
use weft_ir::{Listener, Resource};
use weft_model::{Namespace, Object, ObjectRef, Owner, Revision, Stored, WorkloadRef, decode, encode::to_yaml};

use crate::{
    cast::{CALLED, CAST, Member, Place, names},
    dice::{Dice, valid},
    objects::objects,
};

/// Objects by what names them.
pub(crate) type Objects = BTreeMap<ObjectRef, Arc<Stored>>;

/// A configuration with the evaluator's snapshots of it. They are made from these objects alone, by a compiler that has
/// seen no other, so that whatever the data planes' incremental way leaves behind shows.
pub(crate) struct Configuration {
    /// Its place in the run.
    pub(crate) number: u64,
    /// Its revision, unique in the run.
    pub(crate) revision: String,
    /// The Service that only this configuration has.
    pub(crate) probe: String,
    /// The objects by what names them.
    pub(crate) objects: Objects,
    /// As a user writes it.
    pub(crate) yaml: String,
    outbound: BTreeMap<Namespace, Snapshot>,
    inbound: BTreeMap<WorkloadRef, Snapshot>,
}

impl Configuration {
    /// The configuration of that number. What is generated goes through its text, and must come out of it as it was.
    pub(crate) fn generate(dice: &mut Dice, number: u64, places: &[Place]) -> Self {
        let probe = format!("revision-{number}");
        let generated = objects(dice, places, &probe);
        let yaml = generated.iter().map(to_yaml).collect::<Vec<_>>().join("---\n");
        let decoded = decode("configuration.yaml", &yaml);
        assert!(!decoded.has_errors(), "the generator made what is refused: {:?}\n{yaml}", decoded.diagnostics);
        let read: Vec<Object> = decoded.objects.into_iter().map(|(object, _)| object).collect();
        assert_eq!(read, generated, "reading differs from writing:\n{yaml}");
        let stored = |object: Object| {
            // Few ages, so that some objects are equally old.
            let created = dice.below(8) as u64;
            let stored = Stored { object, owner: Owner::api(), created, modified: created, source: None };
            (stored.object.reference(), Arc::new(stored))
        };
        let objects = read.into_iter().map(stored).collect();
        let revision = Revision::of_store("pairs", number).expect("a valid epoch").to_string();
        let (outbound, inbound) = snapshots(&objects, &revision);
        Self { number, revision, probe, objects, yaml, outbound, inbound }
    }

    /// What a caller of that namespace decides from.
    pub(crate) fn outbound(&self, namespace: &str) -> &Snapshot {
        self.outbound.get(namespace).expect("a namespace of the cast")
    }

    /// What a called workload decides from.
    pub(crate) fn inbound(&self, workload: &WorkloadRef) -> &Snapshot {
        self.inbound.get(workload).expect("a workload of the cast")
    }
}

fn snapshots(objects: &Objects, revision: &str) -> (BTreeMap<Namespace, Snapshot>, BTreeMap<WorkloadRef, Snapshot>) {
    let mut compiler = Compiler::new(names());
    let _all = compiler.apply(objects.iter().map(|(reference, stored)| (reference.clone(), Some(stored.clone()))));
    let resources = compiler.keys().filter_map(|key| compiler.resource(key)).cloned();
    let (listeners, others): (Vec<_>, Vec<_>) =
        resources.partition(|resource| matches!(resource, Resource::Listener(_)));
    let (mut outbound, mut inbound) = (BTreeMap::new(), BTreeMap::new());
    for member in &CAST {
        let all = || snapshot(member, revision, others.iter().cloned());
        outbound.entry(valid(member.namespace)).or_insert_with(all);
    }
    for member in &CAST[..CALLED] {
        let name = Listener::inbound_name(&member.workload());
        let own = listeners.iter().filter(|listener| *listener.key().name == *name);
        inbound.insert(member.workload(), snapshot(member, revision, own.cloned()));
    }
    (outbound, inbound)
}

fn snapshot(member: &Member, revision: &str, resources: impl IntoIterator<Item = Resource>) -> Snapshot {
    Snapshot::complete(member.scope(), revision, resources).expect("what compiles can be used")
}
