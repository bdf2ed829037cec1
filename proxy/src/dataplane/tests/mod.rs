//! The data plane over real sockets: two proxies of one mesh in one process, with raw clients and applications.
mod balance;
mod breaking;
mod by_hand;
mod faults;
mod fleet;
mod http;
mod http2;
mod idle;
mod limits;
mod locks;
mod mesh;
mod overload;
mod progress;
mod refusals;
mod retries;
mod tcp;
mod tunnels;
