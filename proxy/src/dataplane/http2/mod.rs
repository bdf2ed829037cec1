//! HTTP/2, gRPC's included: framing and HPACK by the h2 crate, everything else as for HTTP/1.1.
//!
//! A connection is one task (`serve`); each of its streams is another task of the same worker, with one record, taken
//! through the same stages by the same functions. Between sidecars a request goes on as what it came as; the inbound side
//! translates where its application speaks the other version. What differs between the versions stands in two traits,
//! `side::Client` and `side::Upstream`, and one `exchange::Exchange` passes heads,
//! bodies and trailers between any two of them, both ways at once.
//!
//! Windows are explicit: a peer is given back what it sent when the other side has taken it, and not before.
mod carry;
mod client;
mod config;
mod copied;
mod exchange;
mod grpc;
mod head;
mod http1;
mod keepalive;
mod kept;
mod link;
mod links;
mod prefixed;
mod pump;
mod resets;
mod server;
mod side;
mod stream;
#[cfg(test)]
mod tests;
mod trailers;
pub mod translate;
mod tunnel;
mod upstream;
mod web;
mod websocket;

pub(super) use carry::http1_to_application;
pub(super) use links::Links;
pub(super) use prefixed::Prefixed;
pub(super) use server::{PREFACE_HEAD, serve};
pub(super) use tunnel::Stream;
#[cfg(test)]
pub(super) use websocket::accept;
