//! Objects in force, and changes to them, as YAML.
use std::sync::Arc;

use weft_compile::Compiler;
use weft_ir::MeshNames;
use weft_model::{ClusterName, Code, Diagnostic, Host, Kind, ObjectRef, Owner, Severity, Stored, TrustDomain, decode};
use weft_verify::{Proposed, Subject, verify};

pub(crate) fn compiler() -> Compiler {
    Compiler::new(MeshNames {
        trust_domain: TrustDomain::default_domain(),
        mesh_domain: Host::default_mesh_domain(),
        cluster: ClusterName::local(),
    })
}

pub(crate) fn reference(kind: Kind, namespace: &str, name: &str) -> ObjectRef {
    ObjectRef { kind, namespace: namespace.parse().unwrap(), name: name.parse().unwrap() }
}

/// A compiler that holds the objects of `yaml`, owned by the API, each one version younger than the one before.
pub(crate) fn holding(yaml: &str) -> Compiler {
    let mut compiler = compiler();
    let decoded = decode("held.yaml", yaml);
    assert!(!decoded.has_errors(), "{:?}", decoded.diagnostics);
    compiler.apply(decoded.objects.into_iter().zip(1..).map(|((object, source), at)| {
        let stored = Stored { object, owner: Owner::api(), created: at, modified: at, source: Some(source) };
        (stored.object.reference(), Some(Arc::new(stored)))
    }));
    compiler
}

/// The writes of the objects of `yaml`.
pub(crate) fn puts(yaml: &str) -> Vec<Proposed> {
    let decoded = decode("new.yaml", yaml);
    assert!(!decoded.has_errors(), "{:?}", decoded.diagnostics);
    let put = |(object, source)| Proposed::Put { object, source: Some(source), expected: None };
    decoded.objects.into_iter().map(put).collect()
}

/// What is said of a change by the API: object, field, severity, code.
pub(crate) fn said(current: &Compiler, change: &[Proposed]) -> Vec<(String, String, Severity, Code)> {
    let brief = |it: Diagnostic| (it.object.unwrap(), it.field.to_string(), it.severity, it.code);
    verify(current, Subject::Change(&Owner::api(), change)).into_iter().map(brief).collect()
}

/// The one diagnostic of a change by the API.
pub(crate) fn only(current: &Compiler, change: &[Proposed]) -> Diagnostic {
    let mut told = verify(current, Subject::Change(&Owner::api(), change));
    assert_eq!(told.len(), 1, "{told:#?}");
    told.remove(0)
}

/// A Service of one HTTP port, 80, that selects workloads labelled `app: <name>`.
pub(crate) fn service(name: &str) -> String {
    format!(
        "
---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: shop}}
spec: {{selector: {{app: {name}}}, ports: [{{port: 80, targetPort: http}}]}}
"
    )
}

/// A Workload `<app>-1` labelled `app: <app>`, with a port `http`.
pub(crate) fn workload(app: &str) -> String {
    format!(
        "
---
apiVersion: weft.dev/v1alpha1
kind: Workload
metadata: {{name: {app}-1, namespace: shop, labels: {{app: {app}}}}}
spec: {{serviceAccount: {app}, address: '10.0.0.1:15006', ports: {{http: 8080}}}}
"
    )
}

/// An HTTPRoute of Service `web` with one rule.
pub(crate) fn route(name: &str, backends: &str) -> String {
    format!(
        "
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {name}, namespace: shop}}
spec:
  parentRefs: [{{group: '', kind: Service, name: web}}]
  rules: [{{backendRefs: [{backends}]}}]
"
    )
}

/// An AccessPolicy of a Service.
pub(crate) fn access(name: &str, service: &str, rules: &str) -> String {
    format!(
        "
---
apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: {{name: {name}, namespace: shop}}
spec: {{targetRefs: [{{group: '', kind: Service, name: {service}}}], rules: [{rules}]}}
"
    )
}

/// A Service, a workload behind it, and leave for everyone to call it.
pub(crate) fn reachable(name: &str) -> String {
    service(name) + &workload(name) + &access(name, name, "{action: Allow, from: [{anyone: true}]}")
}
