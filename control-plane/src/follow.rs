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
                        state.apply(changes, batch.revision.clone());
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
    state.apply(gone.chain(there), listing.revision.clone());
    Some(listing.revision)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;
    use weft_model::{Object, Owner, decode::decode};
    use weft_store::{Change, Expected, Redb, Write};

    use super::*;

    fn service(name: &str) -> Object {
        let text = format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec:\n  ports: [{{name: http, port: 80}}]\n"
        );
        decode("test", &text).objects.remove(0).0
    }

    fn names(state: &MeshState) -> Vec<String> {
        state.look(|compiler| compiler.objects().map(|(object, _)| object.name.to_string()).collect())
    }

    #[tokio::test]
    async fn a_state_that_has_lost_the_thread_is_brought_to_what_the_store_holds() {
        let dir = tempfile::TempDir::new().unwrap();
        let store = Arc::new(Redb::open(dir.path()).unwrap());
        let put = |name: &str| Write {
            owner: Owner::api(),
            changes: vec![Change::Put { object: service(name), source: None, expected: Expected::Any }],
            along: Vec::new(),
        };
        store.write(put("kept")).await.unwrap();
        let gone =
            weft_model::Stored { object: service("gone"), owner: Owner::api(), created: 1, modified: 1, source: None };
        let soft = weft_model::Stored {
            object: service("soft"),
            owner: registry::owner(),
            created: 0,
            modified: 0,
            source: None,
        };
        let objects = [gone, soft].map(|stored| (stored.object.reference(), Some(Arc::new(stored))));
        let elsewhere: Revision = "elsewhere/all=9".parse().unwrap();
        let state = Arc::new(MeshState::new(crate::default_names(), elsewhere.clone(), objects));

        let following = tokio::spawn(follow(store.clone(), state.clone(), elsewhere));
        let mut revisions = state.revisions();
        let reached = |revision: Revision| move |now: &Revision| *now == revision;
        timeout(Duration::from_secs(20), revisions.wait_for(reached(store.revision()))).await.unwrap().unwrap();
        assert_eq!(names(&state), ["kept", "soft"]);

        let committed = store.write(put("next")).await.unwrap();
        timeout(Duration::from_secs(20), revisions.wait_for(reached(committed.revision))).await.unwrap().unwrap();
        assert_eq!(names(&state), ["kept", "next", "soft"]);
        store.close().await;
        timeout(Duration::from_secs(20), following).await.unwrap().unwrap();
    }
}
