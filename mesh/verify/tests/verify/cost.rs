//! What the verification of a change costs, by what it allocates: that is the same on every machine.
use weft_compile::Compiler;
use weft_model::{Diagnostic, Owner};
use weft_verify::{Subject, verify};

use crate::support::{compiler, holding, puts, service, workload};

/// So many Services with a workload each, of which one has a route.
fn mesh(services: usize) -> Compiler {
    let mut mesh = compiler();
    for from in (0..services).step_by(1_000) {
        let text: String = (from..services.min(from + 1_000))
            .map(|at| format!("s{at}"))
            .fold(String::new(), |text, name| text + &service(&name) + &workload(&name));
        let part = holding(&text);
        mesh.apply(part.objects().map(|(object, stored)| (object.clone(), Some(stored.clone()))));
    }
    mesh
}

const ROUTE: &str = "
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: split, namespace: shop}
spec:
  parentRefs: [{group: '', kind: Service, name: s0}]
  rules: [{backendRefs: [{name: s1, port: 80, weight: 90}, {name: s2, port: 80, weight: 10}]}]
";

/// The bytes that it takes to judge this change to a mesh.
fn cost(mesh: &Compiler, change: &str) -> u64 {
    let (change, owner) = (puts(change), Owner::api());
    let mut told = Vec::new();
    let cost = allocation_counter::measure(|| told = verify(mesh, Subject::Change(&owner, &change)));
    assert!(!told.iter().any(Diagnostic::is_error), "{told:?}");
    cost.bytes_total
}

/// Each verification copied all maps of the compiler: 45 ms at 10,000 Services, whatever the change.
#[test]
fn what_it_costs_to_verify_a_change_does_not_grow_with_the_mesh() {
    let (small, large) = (mesh(100), mesh(10_000));
    for change in [ROUTE.to_owned(), service("s7").replace("targetPort: http", "targetPort: 8081"), service("new")] {
        let (small, large) = (cost(&small, &change), cost(&large, &change));
        // The trees are twice as deep.
        assert!(large < 3 * small && large < 128 << 10, "{small} and {large} bytes for{change}");
    }
}
