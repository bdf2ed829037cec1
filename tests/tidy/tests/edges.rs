//! Which crate may see which. The map stands in ARCHITECTURE.md.
use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use serde_json::Value;

use crate::tree::root;

/// The crates of this workspace that each may depend on in its product code.
const MAY_SEE: [(&str, &[&str]); 18] = [
    ("weft-proto", &[]),
    ("weft-model", &[]),
    ("weft-ir", &["weft-model"]),
    ("weft-compile", &["weft-model", "weft-ir"]),
    ("weft-decide", &["weft-model", "weft-ir"]),
    ("weft-xds", &["weft-model", "weft-ir", "weft-proto"]),
    ("weft-verify", &["weft-model", "weft-ir", "weft-compile", "weft-decide", "weft-xds"]),
    ("weft-certs", &["weft-model"]),
    ("weft-net", &[]),
    ("weft-proxy", &["weft-model", "weft-ir", "weft-decide", "weft-xds", "weft-proto", "weft-certs", "weft-net"]),
    ("weft-store", &["weft-model"]),
    (
        "weft-control-plane",
        &[
            "weft-model",
            "weft-ir",
            "weft-compile",
            "weft-decide",
            "weft-verify",
            "weft-xds",
            "weft-proto",
            "weft-certs",
            "weft-store",
        ],
    ),
    (
        "weft",
        &[
            "weft-model",
            "weft-ir",
            "weft-decide",
            "weft-verify",
            "weft-certs",
            "weft-proto",
            "weft-proxy",
            "weft-control-plane",
        ],
    ),
    (
        "weft-harness",
        &["weft-model", "weft-ir", "weft-decide", "weft-certs", "weft-proxy", "weft-control-plane", "weft-store"],
    ),
    ("weft-integration", &[]),
    ("weft-tidy", &[]),
    ("weft-fuzz", &["weft-model", "weft-ir", "weft-decide", "weft-xds", "weft-certs", "weft-proxy"]),
    ("xtask", &[]),
];

/// The crates that must stay free of I/O, down to their last dependency.
const PURE: [&str; 4] = ["weft-model", "weft-ir", "weft-compile", "weft-decide"];
const NEVER_IN_PURE: [&str; 7] = ["tokio", "hyper", "rustls", "tonic", "kube", "mio", "rand"];

/// The workspace as cargo resolves it: names by id, product dependencies by id.
struct Graph {
    names: BTreeMap<String, String>,
    normal: BTreeMap<String, Vec<String>>,
    members: BTreeSet<String>,
}

fn graph() -> Graph {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo metadata runs");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let list = |value: &Value| value.as_array().expect("a list").clone();
    let names = list(&metadata["packages"]).into_iter().map(|package| (text(&package["id"]), text(&package["name"])));
    let normal = list(&metadata["resolve"]["nodes"]).into_iter().map(|node| {
        let dependencies = list(&node["deps"]).into_iter().filter(|dependency| {
            let kinds = list(&dependency["dep_kinds"]);
            kinds.iter().any(|kind| kind["kind"].is_null())
        });
        (text(&node["id"]), dependencies.map(|dependency| text(&dependency["pkg"])).collect())
    });
    Graph {
        names: names.collect(),
        normal: normal.collect(),
        members: list(&metadata["workspace_members"]).iter().map(text).collect(),
    }
}

#[test]
fn each_crate_sees_only_what_the_map_allows() {
    let graph = graph();
    let allowed: BTreeMap<&str, &[&str]> = MAY_SEE.into_iter().collect();
    let mut wrong = Vec::new();
    for id in &graph.members {
        let name = &graph.names[id];
        let Some(allowed) = allowed.get(name.as_str()) else {
            wrong.push(format!("{name} is not in the map"));
            continue;
        };
        for dependency in &graph.normal[id] {
            let seen = &graph.names[dependency];
            if graph.members.contains(dependency) && !allowed.contains(&seen.as_str()) {
                wrong.push(format!("{name} may not see {seen}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_meaning_of_the_mesh_does_no_input_or_output() {
    let graph = graph();
    for (id, name) in graph.names.iter().filter(|(_, name)| PURE.contains(&name.as_str())) {
        let mut seen = BTreeSet::from([id]);
        let mut waiting = vec![id];
        while let Some(id) = waiting.pop() {
            for dependency in &graph.normal[id] {
                let dependency_name = graph.names[dependency].as_str();
                assert!(!NEVER_IN_PURE.contains(&dependency_name), "{name} reaches {dependency_name}");
                if seen.insert(dependency) {
                    waiting.push(dependency);
                }
            }
        }
    }
}
