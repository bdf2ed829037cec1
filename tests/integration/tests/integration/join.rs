//! How a workload gets in.
use std::{fs, os::unix::fs::PermissionsExt};

use weft_harness::{Mesh, Plan, Sidecar};

use crate::shop::OBJECTS;

#[tokio::test(flavor = "multi_thread")]
async fn a_token_works_once_and_is_erased_once_it_is_used() {
    let mesh = Mesh::start().await.unwrap();
    mesh.apply(OBJECTS).await.unwrap();
    let file = mesh.join_file(&Plan::new("web-0", "web")).await.unwrap();
    let copy = mesh.folder().join("copy.join");
    fs::copy(&file, &copy).unwrap();
    let first = Sidecar::from_join_file(&file, mesh.folder().join("first"), Plan::new("web-0", "web")).await.unwrap();
    let after = fs::read_to_string(&file).unwrap();
    assert!(!after.contains("\"token\""), "{after}");
    // A thief's copy of the file is worth nothing any more.
    let thief = Sidecar::from_join_file(&copy, mesh.folder().join("second"), Plan::new("web-1", "web")).await;
    let told = thief.unwrap_err().to_string();
    assert!(told.contains("token") && told.contains("used"), "{told}");
    assert_eq!(mesh.client().workloads().await.unwrap().items.len(), 1);
    drop(first);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_starts_again_from_its_state_without_a_token() {
    let mesh = Mesh::start().await.unwrap();
    mesh.apply(OBJECTS).await.unwrap();
    let file = mesh.join_file(&Plan::new("web-0", "web")).await.unwrap();
    let state = mesh.folder().join("state");
    let first = Sidecar::from_join_file(&file, state.clone(), Plan::new("web-0", "web")).await.unwrap();
    drop(first);
    let again = Sidecar::from_join_file(&file, state.clone(), Plan::new("web-0", "web")).await.unwrap();
    drop(again);
    for entry in fs::read_dir(&state).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o077;
        assert_eq!(mode, 0, "{} can be read by others", entry.path().display());
    }
}
