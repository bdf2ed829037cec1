//! How types are called on the wire.
use weft_ir::ResourceType;

const CLUSTER: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
const ENDPOINTS: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
const LISTENER: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";
const ROUTE_CONFIGURATION: &str = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";
const VIRTUAL_HOST: &str = "type.googleapis.com/envoy.config.route.v3.VirtualHost";

/// The type URL of a resource type.
pub const fn type_url(resource_type: ResourceType) -> &'static str {
    match resource_type {
        ResourceType::Cluster => CLUSTER,
        ResourceType::Endpoints => ENDPOINTS,
        ResourceType::Listener => LISTENER,
        ResourceType::RouteConfiguration => ROUTE_CONFIGURATION,
        ResourceType::VirtualHost => VIRTUAL_HOST,
    }
}

/// The resource type of a type URL, if it is one of ours.
pub fn resource_type(url: &str) -> Option<ResourceType> {
    ResourceType::ALL.into_iter().find(|resource_type| type_url(*resource_type) == url)
}
