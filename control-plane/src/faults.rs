//! What is wrong with the objects in force, as `verify` finds it: told at start-up and by `GET /v1/status`.
use std::sync::{Arc, Mutex, PoisonError};

use tracing::warn;
use weft_compile::Compiler;
use weft_model::{Diagnostic, Revision};
use weft_verify::{Subject, verify};

use crate::state::MeshState;

/// The findings at the latest revision that was asked for.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    known: Mutex<Option<(Revision, Arc<[Diagnostic]>)>>,
}

impl Faults {
    /// The findings at the present revision. Judged once a revision: it takes time in proportion to the objects, so it
    /// is not for a thread that serves streams.
    pub(crate) fn now(&self, state: &MeshState) -> Arc<[Diagnostic]> {
        let revision = state.revision();
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((_, found)) = known.filter(|(judged, _)| *judged == revision) {
            return found;
        }
        let current = state.look(Compiler::clone);
        let found: Arc<[Diagnostic]> = verify(&current, Subject::InForce).into();
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some((revision, found.clone()));
        found
    }

    /// What was accepted once stays in force as far as it goes; what is wrong with it now is logged.
    pub(crate) fn warn(&self, state: &MeshState) {
        for diagnostic in self.now(state).iter() {
            warn!(%diagnostic, "in the store");
        }
    }
}
