//! HTTP/2 through both sidecars, with the h2 crate as client and application on their outer sides.
mod bodiless;
mod bounds;
mod calls;
mod ends;
mod fails;
mod frames;
mod heads;
mod idle;
mod keepalive;
mod limits;
mod mirrors;
mod misdirected;
mod most;
mod peers;
mod permits;
mod raw;
mod translated;
mod web;
mod websockets;

pub(super) use peers::{App as HttpApp, Caller, mesh as http2_mesh, request, serve};
