//! From the store's watch to the mesh's state.
use std::{collections::BTreeSet, sync::Arc};

use tracing::{info, warn};
use weft_model::{ObjectRef, Revision};
use weft_store::{BatchChange, Objects, WatchError};

use crate::{registry, state::MeshState};

/// Feeds what is committed after `from` into the state, until the store is closed.
pub(crate) async fn follow(store: Arc<dyn Objects>, state: Arc<MeshState>, from: Revision) {
    let mut from = from;
    loop {
        let ended = match store.watch(&from) {
            Ok(mut watch) => loop {
                match watch.next().await {
                    Ok(batch) => {
                        let changes = batch.changes.iter().map(|change| match change {
                            BatchChange::Put(stored) => (stored.object.reference(), Some(Arc::new(stored.clone()))),
                            BatchChange::Deleted(object) => (object.clone(), None),
                        });
                        state.apply(changes, Some(batch.revision.clone()));
                    }
                    Err(ended) => break ended,
                }
            },
            Err(ended) => ended,
        };
        if ended == WatchError::Closed {
            return;
        }
        info!(reason = %ended, "listing the store again");
        match relist(&*store, &state).await {
            Some(revision) => from = revision,
            None => return,
        }
    }
}

/// Brings the state to what the store holds; `None` where the store is closed.
async fn relist(store: &dyn Objects, state: &MeshState) -> Option<Revision> {
    let listing = match store.list().await {
        Ok(listing) => listing,
        Err(error) => {
            warn!(%error, "the store cannot be listed");
            return None;
        }
    };
    let known: BTreeSet<ObjectRef> = state.look(|compiler| {
        let stored = compiler.objects().filter(|(_, stored)| stored.owner != registry::owner());
        stored.map(|(object, _)| object.clone()).collect()
    });
    let gone = known.into_iter().filter(|object| !listing.objects.contains_key(object)).map(|object| (object, None));
    let there = listing.objects.iter().map(|(object, stored)| (object.clone(), Some(Arc::new(stored.clone()))));
    state.apply(gone.chain(there), Some(listing.revision.clone()));
    Some(listing.revision)
}
