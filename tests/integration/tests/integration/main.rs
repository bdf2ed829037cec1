//! A whole mesh in one process: a file for each behaviour.
mod access;
mod change;
mod drain;
mod effect;
mod endpoints;
mod explain;
mod grpc;
mod health;
mod join;
mod on_demand;
mod outage;
mod removals;
mod resilience;
mod rotation;
mod routing;
mod shop;
mod tcp;
