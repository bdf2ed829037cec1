//! What it takes to verify one change to a mesh of 10,000 Services with a workload each, and to copy its compiler.
//!
//! Run it: `cargo bench -p weft-verify --bench change [-- <services>]`.
#[path = "../tests/verify/support.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod support;

use std::{
    hint::black_box,
    io::{self, Write},
    time::{Duration, Instant},
};

use weft_compile::Compiler;
use weft_model::Owner;
use weft_verify::{Subject, verify};

use support::{compiler, holding, puts, service, workload};

/// How often each is done.
const ROUNDS: u32 = 200;

fn main() {
    let services = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(10_000);
    let began = Instant::now();
    let mesh = mesh(services);
    say(&format!("{services} services compiled in {:?}", began.elapsed()));
    say(&format!("a clone of the compiler: {:?}", each(|| mesh.clone())));
    let change = puts(&service("s7").replace("targetPort: http", "targetPort: 8081"));
    let owner = Owner::api();
    let verified = each(|| verify(&mesh, Subject::Change(&owner, &change)));
    say(&format!("a changed Service verified: {verified:?}"));
}

fn mesh(services: usize) -> Compiler {
    let mut mesh = compiler();
    for at in 0..services {
        let part = holding(&(service(&format!("s{at}")) + &workload(&format!("s{at}"))));
        mesh.apply(part.objects().map(|(object, stored)| (object.clone(), Some(stored.clone()))));
    }
    mesh
}

fn each<T>(mut done: impl FnMut() -> T) -> Duration {
    let began = Instant::now();
    for _ in 0..ROUNDS {
        black_box(done());
    }
    began.elapsed() / ROUNDS
}

fn say(line: &str) {
    let mut out = io::stdout();
    writeln!(out, "{line}").unwrap();
}
