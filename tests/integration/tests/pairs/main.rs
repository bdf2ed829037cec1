//! The evaluator against real proxies: random configurations and requests, decided by both from the same revision and
//! the same draws, and seen alike by client, records and application.
//!
//! `WEFT_PAIRS` is how many pairs are compared, `WEFT_SEED` where they begin; the same seed gives the same pairs.
mod application;
mod cast;
mod client;
mod compare;
mod configuration;
mod copies;
mod coverage;
mod dice;
mod filters;
mod objects;
mod plane;
mod record;
mod requests;
mod run;

use std::{env, str::FromStr};

/// How many pairs are compared where nothing else is said.
const PAIRS: u64 = 2_000;

/// Where the pairs begin where nothing else is said.
const SEED: u64 = 0x5eed;

#[test]
fn evaluator_and_proxy_give_the_same_answers_to_random_pairs() {
    let (pairs, seed) = (setting("WEFT_PAIRS", PAIRS), setting("WEFT_SEED", SEED));
    eprintln!("comparing {pairs} pairs; WEFT_SEED={seed} repeats them");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let coverage = tokio::task::LocalSet::new().block_on(&runtime, run::run(seed, pairs));
    eprint!("{}", coverage.table());
    let missing = coverage.missing(pairs);
    assert!(missing.is_empty(), "with WEFT_SEED={seed}, {pairs} pairs cover too little:\n{}", missing.join("\n"));
}

fn setting<T: FromStr>(name: &str, default: T) -> T {
    match env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text:?} is not a number")),
        Err(_) => default,
    }
}
