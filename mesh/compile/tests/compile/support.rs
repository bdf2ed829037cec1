//! A compiler that is fed YAML.
use std::sync::Arc;

use weft_compile::{Changed, Compiler};
use weft_ir::{
    Cluster, Endpoints, Inbound, Listener, ListenerBody, MeshNames, Resource, ResourceKey, ResourceType, VirtualHost,
};
use weft_model::{ClusterName, Code, Diagnostic, Host, Kind, ObjectRef, Owner, Stored, TrustDomain, decode};

pub(crate) fn names() -> MeshNames {
    MeshNames {
        trust_domain: TrustDomain::default_domain(),
        mesh_domain: Host::default_mesh_domain(),
        cluster: ClusterName::local(),
    }
}

pub(crate) fn reference(kind: Kind, namespace: &str, name: &str) -> ObjectRef {
    ObjectRef { kind, namespace: namespace.parse().unwrap(), name: name.parse().unwrap() }
}

/// A compiler with a clock of its own: each object that it has not seen is younger than those before.
pub(crate) struct Mesh {
    pub(crate) compiler: Compiler,
    clock: u64,
}

impl Mesh {
    pub(crate) fn new() -> Self {
        Self { compiler: Compiler::new(names()), clock: 0 }
    }

    pub(crate) fn of(yaml: &str) -> Self {
        let mut mesh = Self::new();
        mesh.put(yaml);
        mesh
    }

    /// Applies the objects of `yaml` as one batch.
    pub(crate) fn put(&mut self, yaml: &str) -> Changed {
        let decoded = decode("test.yaml", yaml);
        assert!(!decoded.has_errors(), "{:?}", decoded.diagnostics);
        let mut changes = Vec::new();
        for (object, source) in decoded.objects {
            self.clock += 1;
            let reference = object.reference();
            let created = self.compiler.stored(&reference).map_or(self.clock, |stored| stored.created);
            let (owner, modified) = (Owner::api(), self.clock);
            let stored = Stored { object, owner, created, modified, source: Some(source) };
            changes.push((reference, Some(Arc::new(stored))));
        }
        self.compiler.apply(changes)
    }

    pub(crate) fn delete(&mut self, kind: Kind, namespace: &str, name: &str) -> Changed {
        self.compiler.apply([(reference(kind, namespace, name), None)])
    }

    fn resource(&self, resource_type: ResourceType, name: &str) -> Option<Resource> {
        self.compiler.resource(&ResourceKey::new(resource_type, name)).cloned()
    }

    pub(crate) fn cluster(&self, name: &str) -> Option<Arc<Cluster>> {
        match self.resource(ResourceType::Cluster, name)? {
            Resource::Cluster(it) => Some(it),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn endpoints(&self, name: &str) -> Option<Arc<Endpoints>> {
        match self.resource(ResourceType::Endpoints, name)? {
            Resource::Endpoints(it) => Some(it),
            other => panic!("{other:?}"),
        }
    }

    /// The names of the workloads behind a service port.
    pub(crate) fn behind(&self, name: &str) -> Vec<String> {
        let endpoints = self.endpoints(name).unwrap();
        endpoints.endpoints.iter().map(|endpoint| endpoint.called().to_string()).collect()
    }

    pub(crate) fn host(&self, authority: &str) -> Option<Arc<VirtualHost>> {
        match self.resource(ResourceType::VirtualHost, &format!("outbound/{authority}"))? {
            Resource::VirtualHost(it) => Some(it),
            other => panic!("{other:?}"),
        }
    }

    /// The routes of an authority as people read them: `HTTPRoute shop/a rule 0 match 0`.
    pub(crate) fn routes(&self, authority: &str) -> Vec<String> {
        self.host(authority).unwrap().routes.iter().map(|route| route.origin.to_string()).collect()
    }

    pub(crate) fn listener(&self, name: &str) -> Option<Arc<Listener>> {
        match self.resource(ResourceType::Listener, name)? {
            Resource::Listener(it) => Some(it),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn inbound(&self, workload: &str) -> Inbound {
        match &self.listener(&format!("inbound/{workload}")).unwrap().body {
            ListenerBody::Inbound(inbound) => inbound.clone(),
            other => panic!("{other:?}"),
        }
    }

    /// The findings about an object: field and code.
    pub(crate) fn findings(&self, kind: Kind, namespace: &str, name: &str) -> Vec<(String, Code)> {
        let found = self.compiler.diagnostics(&reference(kind, namespace, name));
        assert!(found.iter().all(|diagnostic: &Diagnostic| !diagnostic.is_error() && diagnostic.source.is_some()));
        found.iter().map(|diagnostic| (diagnostic.field.to_string(), diagnostic.code)).collect()
    }
}

/// A Service of one HTTP port, 80, that selects workloads labelled `app: <name>`.
pub(crate) fn service(name: &str) -> String {
    format!(
        "
---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: shop}}
spec:
  selector: {{app: {name}}}
  ports: [{{port: 80, targetPort: http}}]
"
    )
}

/// A Workload `<app>-<number>` labelled `app: <app>`, with a port `http`.
pub(crate) fn workload(app: &str, number: u8) -> String {
    format!(
        "
---
apiVersion: weft.dev/v1alpha1
kind: Workload
metadata: {{name: {app}-{number}, namespace: shop, labels: {{app: {app}}}}}
spec: {{serviceAccount: {app}, address: '10.0.0.{number}:15006', ports: {{http: 8080}}}}
"
    )
}
