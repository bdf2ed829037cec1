//! HTTP/2 through both sidecars, with the h2 crate as client and application on their outer sides.
mod bounds;
mod calls;
mod ends;
mod heads;
mod peers;
mod translated;
