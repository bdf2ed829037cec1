//! What is to be said of a change before it is made: one function for the API, `apply --dry-run` and start-up.
//!
//! The change is tried out on a copy of the [`Compiler`] that holds the objects in force; what it breaks is the
//! difference. Decisions (who may call, which match takes a request) are those of `weft-decide`, so that what is told
//! here is what a proxy does.
mod affected;
mod findings;
mod gate;
mod reach;
mod resilience;
mod shadow;
mod suggest;

use std::{cmp::Reverse, collections::BTreeSet, sync::Arc};

use weft_compile::Compiler;
use weft_model::{Code, Diagnostic, FieldPath, Object, ObjectRef, Owner, Severity, Source, Stored};

/// The endpoints of a service port, at most: more is a diagnostic. Beyond it a resource no longer fits the messages
/// that carry it.
pub const MAX_ENDPOINTS: usize = 20_000;

/// The most findings that are told of a change or a set; the last one then says how many more there are.
pub const MAX_DIAGNOSTICS: usize = 1000;

/// One write of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proposed {
    /// Creates or replaces an object.
    Put {
        /// The object as it shall be.
        object: Object,
        /// Where it was read from, where that is known.
        source: Option<Source>,
        /// The version ([`Stored::modified`]) that the writer has seen: 0 for "it does not exist", `None` for
        /// whichever.
        expected: Option<u64>,
    },
    /// Deletes an object.
    Delete {
        /// Which.
        object: ObjectRef,
        /// The version that the writer has seen; `None` for whichever.
        expected: Option<u64>,
    },
}

impl Proposed {
    /// A write of `object`, whatever its version, from a place that is not known.
    pub const fn put(object: Object) -> Self {
        Self::Put { object, source: None, expected: None }
    }

    /// A deletion, whatever the object's version.
    pub const fn delete(object: ObjectRef) -> Self {
        Self::Delete { object, expected: None }
    }

    /// The object that is written or deleted.
    pub fn reference(&self) -> ObjectRef {
        match self {
            Self::Put { object, .. } => object.reference(),
            Self::Delete { object, .. } => object.clone(),
        }
    }

    /// Where the object was read from, where that is known.
    pub const fn source(&self) -> Option<&Source> {
        match self {
            Self::Put { source, .. } => source.as_ref(),
            Self::Delete { .. } => None,
        }
    }

    const fn expected(&self) -> Option<u64> {
        match self {
            Self::Put { expected, .. } | Self::Delete { expected, .. } => *expected,
        }
    }
}

/// What [`verify`] judges.
#[derive(Clone, Copy, Debug)]
pub enum Subject<'a> {
    /// A change that its owner proposes: the API, `apply --dry-run`.
    Change(&'a Owner, &'a [Proposed]),
    /// The objects in force as they stand: start-up, `weft status`.
    InForce,
}

/// Judges against the objects that `current` holds: the one function for the API, `apply --dry-run`, start-up and
/// `weft status`.
///
/// A change is made as a whole or not at all, and not at all if one diagnostic is an error. Told of it is what concerns the proposed objects, and what the change does to others (always a warning, unless a
/// documented size is passed). A proposed object's fault that it already had in force is a warning: applying the same
/// twice never fails.
///
/// What is wrong with the writes themselves comes first, then what they say, ordered by object. At most
/// [`MAX_DIAGNOSTICS`], errors before warnings where some are left out.
///
/// Of what is in force, what is over a documented size is an error; everything else is a warning, because what was
/// accepted once stays in force as far as it goes. It is ordered by object.
pub fn verify(current: &Compiler, subject: Subject<'_>) -> Vec<Diagnostic> {
    bounded(match subject {
        Subject::Change(owner, change) => of_change(current, owner, change),
        Subject::InForce => current.objects().flat_map(|(object, _)| findings::of(current, object)).collect(),
    })
}

fn of_change(current: &Compiler, owner: &Owner, change: &[Proposed]) -> Vec<Diagnostic> {
    let mut told = gate::gate(current, owner, change);
    let mut trial = current.clone();
    let changed = trial.apply(change.iter().map(|write| (write.reference(), stored(current, owner, write))));
    let proposed: BTreeSet<_> = change.iter().map(Proposed::reference).collect();
    let affected = affected::affected(current, &trial, &changed);
    for object in proposed.union(&affected) {
        let before = findings::of(current, object);
        for finding in findings::of(&trial, object) {
            let known = before.iter().any(|other| same(other, &finding));
            let own = proposed.contains(object);
            if known && !own {
                continue;
            }
            let severity = match finding.code {
                _ if known => Severity::Warning,
                Code::OverBudget => Severity::Error,
                Code::DanglingReference | Code::InvalidValue | Code::UnsupportedField if own => Severity::Error,
                _ => Severity::Warning,
            };
            told.push(Diagnostic { severity, ..finding });
        }
    }
    told
}

/// The findings if they are not too many; else the most severe of them, and how many were left out.
fn bounded(mut told: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let Some(more) = told.len().checked_sub(MAX_DIAGNOSTICS).filter(|more| *more > 0) else { return told };
    told.sort_by_key(|diagnostic| Reverse(diagnostic.severity));
    told.truncate(MAX_DIAGNOSTICS - 1);
    told.push(Diagnostic {
        object: None,
        source: None,
        field: FieldPath::default(),
        severity: Severity::Warning,
        code: Code::TooLarge,
        text: format!("{} more findings are left out", more + 1),
        hint: Some("correct the first ones and try again".to_owned()),
    });
    told
}

/// The object as the store would hold it: a new one is younger than all others.
fn stored(current: &Compiler, owner: &Owner, write: &Proposed) -> Option<Arc<Stored>> {
    match write {
        Proposed::Put { object, source, .. } => Some(Arc::new(Stored {
            object: object.clone(),
            owner: owner.clone(),
            created: current.stored(&object.reference()).map_or(u64::MAX, |stored| stored.created),
            modified: u64::MAX,
            source: source.clone(),
        })),
        Proposed::Delete { .. } => None,
    }
}

/// Whether two findings are of the same fault.
fn same(a: &Diagnostic, b: &Diagnostic) -> bool {
    a.code == b.code && a.field == b.field && a.text == b.text
}
