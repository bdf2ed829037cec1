//! What is said of changes, judged from outside.
mod gate;
mod random;
mod reach;
mod references;
mod shadow;
mod support;
