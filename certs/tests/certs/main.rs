//! The crate from outside: what it issues, what it refuses, what it writes.
mod authority;
mod join;
mod kept;
mod malformed;
mod mtls;
mod recovery;
mod robust;
mod sealing;
mod support;
