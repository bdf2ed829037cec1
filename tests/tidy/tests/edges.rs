//! Which crate may see which. The map stands in ARCHITECTURE.md.
use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use serde_json::Value;

use crate::tree::root;

/// The crates of this workspace that each may depend on in its product code.
const MAY_SEE: [(&str, &[&str]); 22] = [
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
            "weft-store",
        ],
    ),
    (
        "weft-harness",
        &["weft-model", "weft-ir", "weft-decide", "weft-certs", "weft-proxy", "weft-control-plane", "weft-store"],
    ),
    ("weft-integration", &[]),
    ("weft-drills", &["weft-harness"]),
    ("weft-peers", &["weft-harness"]),
    ("weft-foreign", &[]),
    ("weft-conformance", &[]),
    ("weft-tidy", &[]),
    ("weft-fuzz", &["weft-model", "weft-ir", "weft-decide", "weft-xds", "weft-certs", "weft-proxy"]),
    ("xtask", &[]),
];

/// The crates that must stay free of I/O, down to their last dependency.
const PURE: [&str; 4] = ["weft-model", "weft-ir", "weft-compile", "weft-decide"];
const NEVER_IN_PURE: [&str; 7] = ["tokio", "hyper", "rustls", "tonic", "kube", "mio", "rand"];

/// What a cargo command prints.
fn cargo(arguments: &[&str]) -> String {
    let output =
        Command::new(env!("CARGO")).args(arguments).args(["--locked", "--offline"]).current_dir(root()).output();
    let output = output.expect("cargo runs");
    let shown = arguments.join(" ");
    assert!(output.status.success(), "cargo {shown}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("cargo prints UTF-8")
}

/// Each crate of the workspace with those of its own that its product code declares.
fn declared() -> BTreeMap<String, BTreeSet<String>> {
    let metadata: Value = serde_json::from_str(&cargo(&["metadata", "--format-version", "1", "--no-deps"]))
        .expect("cargo metadata prints JSON");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let list = |value: &Value| value.as_array().expect("a list").clone();
    let packages = list(&metadata["packages"]);
    let members: BTreeSet<_> = packages.iter().map(|package| text(&package["name"])).collect();
    let edges = packages.iter().map(|package| {
        let dependencies = list(&package["dependencies"]).into_iter().filter(|it| it["kind"].is_null());
        let own = dependencies.map(|it| text(&it["name"])).filter(|name| members.contains(name));
        (text(&package["name"]), own.collect())
    });
    edges.collect()
}

#[test]
fn each_crate_sees_only_what_the_map_allows() {
    let allowed: BTreeMap<&str, &[&str]> = MAY_SEE.into_iter().collect();
    let mut wrong = Vec::new();
    for (name, seen) in declared() {
        match allowed.get(name.as_str()) {
            None => wrong.push(format!("{name} is not in the map")),
            Some(allowed) => {
                let forbidden = seen.iter().filter(|seen| !allowed.contains(&seen.as_str()));
                wrong.extend(forbidden.map(|seen| format!("{name} may not see {seen}")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_meaning_of_the_mesh_does_no_input_or_output() {
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    for name in PURE {
        let tree = cargo(&["tree", "--package", name, "--edges", "normal", "--prefix", "none", "--target", &target]);
        let seen: BTreeSet<_> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
        assert!(seen.len() > 3, "cargo tree of {name} shows only {seen:?}");
        for forbidden in NEVER_IN_PURE {
            assert!(!seen.contains(forbidden), "{name} reaches {forbidden}");
        }
    }
}
