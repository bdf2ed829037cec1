//! Our codec against hyper's over generated messages: `WEFT_FUZZ_ROUNDS` inputs a direction (the full form: 10,000,000),
//! from `WEFT_FUZZ_SEED`. Each input is made from the seed and its number alone, so that a finding names its input.
mod generate;
mod judge;
mod ours;
mod theirs;

use std::{env, fmt, time::Instant};

use judge::Tally;

/// One message as a reader understood it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Message {
    /// Method and target, or the status code.
    pub(crate) start: (String, String),
    /// Names in lower case with their values, ordered by name; lines of one name in their order.
    pub(crate) fields: Vec<(String, Vec<u8>)>,
    /// The content, without its coding.
    pub(crate) body: Vec<u8>,
    /// The trailers that may be passed on, like the fields.
    pub(crate) trailers: Vec<(String, Vec<u8>)>,
}

impl Message {
    fn new(start: (String, String), fields: impl Iterator<Item = (String, Vec<u8>)>, body: Vec<u8>) -> Self {
        Self { start, fields: by_name(fields), body, trailers: Vec::new() }
    }

    fn with_trailers(self, trailers: impl Iterator<Item = (String, Vec<u8>)>) -> Self {
        Self { trailers: by_name(trailers), ..self }
    }
}

fn by_name(fields: impl Iterator<Item = (String, Vec<u8>)>) -> Vec<(String, Vec<u8>)> {
    let mut fields: Vec<_> = fields.collect();
    fields.sort_by(|one, other| one.0.cmp(&other.0));
    fields
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { start: (one, other), fields, body, trailers } = self;
        write!(f, "{one} {other}")?;
        for (name, value) in fields.iter().chain(trailers) {
            write!(f, " | {name}: {}", value.escape_ascii())?;
        }
        write!(f, " | {}", body.escape_ascii())
    }
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().and_then(|text| text.parse().ok())
}

/// Judges that many inputs of a generator, tells the throughput, and fails on the first finding.
fn judge_all(what: &str, judge: impl Fn(u64, &mut Tally) -> Result<(), String>) -> Tally {
    let rounds = number("WEFT_FUZZ_ROUNDS").unwrap_or(40_000);
    let seed = number("WEFT_FUZZ_SEED").unwrap_or(0x7765_6674);
    let (start, mut tally) = (Instant::now(), Tally::default());
    for round in 0..rounds {
        if let Err(finding) = judge(seed.wrapping_add(round), &mut tally) {
            panic!("{what}, WEFT_FUZZ_ROUNDS=1 WEFT_FUZZ_SEED={}: {finding}", seed.wrapping_add(round));
        }
    }
    let each = start.elapsed().as_secs_f64() / rounds.max(1) as f64;
    eprintln!("{what}: {rounds} inputs, {:.0} a second; {tally}", 1.0 / each);
    tally
}

#[test]
fn requests_that_both_take_are_read_alike_and_only_named_strictness_differs() {
    let tally = judge_all("requests", |seed, tally| judge::request(&generate::requests(seed), tally));
    assert!(tally.agreed > 0 && tally.refused_by_both > 0 || tally.inputs() < 1_000, "nothing was compared: {tally}");
}

#[test]
fn answers_that_both_take_are_read_alike_and_only_named_strictness_differs() {
    let tally = judge_all("answers", |seed, tally| {
        let (bytes, to_head) = generate::answer(seed);
        judge::answer(&bytes, to_head, tally)
    });
    assert!(tally.agreed > 0 && tally.refused_by_both > 0 || tally.inputs() < 1_000, "nothing was compared: {tally}");
}
