//! What is served: xDS, Agent streams and certificates on one port, the admin API on the other.
mod ads;
mod agent;
mod api;
mod certificates;
mod grpc;
mod lookup;
mod peer;
mod rate;
mod strangers;
mod streams;
mod tls;

pub(crate) use api::{Api, serve_api};
pub(crate) use certificates::{Certificates, Limits};
pub(crate) use grpc::{Core, Grpc, serve_grpc};
pub(crate) use streams::AdsStreams;
pub(crate) use tls::{Places, accept};
