//! Objects to IR, incrementally: a change recomputes what depends on it and nothing else, and the same objects give the
//! same resources in whatever order they came.
//!
//! The whole is cut into *units*, each a pure function of a few objects that the [`Compiler`]'s indexes find without
//! searching: a Service's clusters, its endpoints, its virtual hosts; a workload's inbound listener; an object's
//! diagnostics. A change marks the units that read the changed object, before and after; each is computed once, and only
//! resources that came out different are told. [`Work`] counts the units.
mod access;
mod attach;
mod blind;
mod compiler;
mod diagnose;
mod dirty;
mod endpoints;
mod hosts;
mod inbound;
mod index;
mod objects;
mod policy;
mod reference;
mod resilience;
mod rules;
mod scope;
mod service;
mod unit;
mod written;

pub use compiler::{Changed, Compiler};
pub use reference::{Reference, ReferenceKind};
pub use scope::Scope;
pub use unit::Work;
