//! The objects that a user writes, valid by construction.
//!
//! Everything here is data: a value of these types has passed its own checks (names, ports, SPIFFE IDs, weights), so
//! nothing downstream checks again. What needs more than one object to judge (references, ownership, shadowing) is
//! `weft-verify`'s. [`decode()`] reads objects from YAML or JSON and tells every error at once, each with file, line and
//! field.
mod diagnostic;
pub mod duration;
mod filter;
mod grpc_route;
mod health_check;
mod mirror;
mod name;
mod object;
mod policy;
mod resilience;
mod revision;
mod route;
mod service;
mod spiffe;
mod traffic;
mod workload;

pub mod decode;
pub mod encode;
#[cfg(feature = "strategies")]
pub mod strategies;

pub use decode::{Decoded, decode};
pub use diagnostic::{Code, Diagnostic, FieldPath, Severity, Source};
pub use filter::{
    ANYTHING, Cors, DirectResponse, Filters, HeaderChanges, HeaderField, HeaderFilters, HttpRouteFilter, InvalidOrigin,
    OriginMatch, PathRewrite, Redirect, RedirectStatus, Scheme, UrlRewrite, is_ours_to_say,
};
pub use grpc_route::{AnyRoute, AnyRule, GrpcMatch, GrpcMethodMatch, GrpcRoute, GrpcRule};
pub use health_check::{HealthCheckFields, HealthProbe, StatusRange};
pub use mirror::{Mirror, Share};
pub use name::{
    AccountName, ClusterName, Host, InvalidName, LocalityName, Name, Namespace, NetworkName, Port, PortName,
};
pub use object::{Kind, Labels, Meta, Object, ObjectRef, Owner, Selector, Stored};
pub use policy::{AccessAction, AccessMatch, AccessPolicy, AccessRule, Callers, PolicyTarget, TargetKind};
pub use resilience::{AffinityKey, GrpcCode, RepeatSafety, RetryCondition, RetryOn};
pub use revision::{InvalidRevision, Revision};
pub use route::{
    BackendRef, HeaderMatch, HttpMatch, HttpMethod, HttpRoute, HttpRule, ParentRef, PathMatch, QueryMatch, TextMatch,
};
pub use service::{Protocol, Service, ServicePortSpec, TargetPort};
pub use spiffe::{InvalidSpiffeId, SpiffeId, TrustDomain};
pub use traffic::{
    Balancing, BreakerFields, EjectionFields, Errors, LimitFields, LocalityFields, RetryFields, SlowStartFields,
    SuccessRateFields, TrafficPolicy,
};
pub use workload::{Locality, Workload, WorkloadRef};
