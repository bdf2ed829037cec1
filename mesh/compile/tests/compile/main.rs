//! What objects compile to, judged from outside.
mod access;
mod incremental;
mod policies;
mod random;
mod resilience;
mod routes;
mod services;
mod support;
