//! The control plane as its clients see it: real sockets, TLS, files.
mod agents;
mod api;
mod certificates;
mod effect;
mod hostile;
mod process;
mod recovery;
mod restart;
mod support;
mod xds;
