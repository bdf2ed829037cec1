//! Sidecars as real processes, from start to end: what they hold while idle, and how they are replaced.
#![expect(clippy::print_stdout, reason = "measured figures are results, shown by --nocapture")]

mod load;
mod memory;
mod peer;
mod rolling;
mod writes;
