//! What is said of changes, judged from outside.
mod cost;
mod gate;
mod paths;
mod random;
mod reach;
mod references;
mod resilience;
mod shadow;
mod support;
