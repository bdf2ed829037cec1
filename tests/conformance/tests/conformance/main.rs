//! The same file, two proxies: cases that see sockets and files only, played against weft and against Envoy.
//!
//! `SUBJECT` says which; `WEFT_CONFORMANCE_PROGRAM` where its program is. `WEFT_CONFORMANCE_ONLY` chooses cases by a part of
//! their names, `WEFT_CONFORMANCE_WITHOUT` how many are shown to fail where their behaviour is switched off (or `all`),
//! `WEFT_CONFORMANCE_SEED` which. `WEFT_CONFORMANCE_RECORD` writes down how each case went.
mod bootstrap;
mod case;
mod client;
mod run;
mod subject;
mod table;
mod text;
mod tls;
mod upstream;
mod wire;

use std::{
    collections::BTreeMap,
    env,
    path::Path,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use serde_json::Value;
use tokio::{sync::Semaphore, task::JoinSet};

use case::{Case, Scene};
use run::{Outcome, Stage, groups, play};
use subject::{Kind, Program};
use table::{Recorded, State};

/// How long anything may take that is expected to happen.
pub(crate) const DEADLINE: Duration = Duration::from_secs(5);

/// How many subjects run at a time.
const AT_A_TIME: usize = 6;

/// How many cases are shown to fail with their behaviour switched off.
const SHOWN: usize = 30;

fn main() -> ExitCode {
    match suite() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            say("0 passed, 1 failed");
            ExitCode::FAILURE
        }
    }
}

/// Prints a line for people and for the runner.
fn say(line: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Passed and failed.
#[derive(Default)]
struct Counts {
    passed: usize,
    failed: usize,
}

impl Counts {
    fn add(&mut self, name: &str, problem: Option<&str>) {
        match problem {
            None => self.passed += 1,
            Some(problem) => {
                self.failed += 1;
                say(&format!("FAILED {name}\n    {problem}"));
            }
        }
    }
}

fn suite() -> Result<bool> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = program()?;
    let kind = program.kind;
    let scenes: Vec<Arc<Scene>> = case::read(&folder.join("cases"))?.into_iter().map(Arc::new).collect();
    let stage = Arc::new(Stage { program, authority: tls::Authority::new()? });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let start = Instant::now();
    let chosen = chosen(&scenes);
    let results = runtime.block_on(play_all(&stage, &scenes, &chosen))?;
    let mut counts = Counts::default();
    let mut recorded = Recorded::read(folder)?;
    let (mut differ, mut not_yet, mut news) = (0, 0, 0);
    for ((scene, number), outcome) in &results {
        let (scene, case) = (&scenes[*scene], &scenes[*scene].cases[*number]);
        let name = table::name(scene, case);
        let state = State::of(outcome, case.differs.contains_key(kind.name()));
        news += usize::from(recorded.state(kind, &name).is_some_and(|before| before != state));
        match (&state, outcome) {
            (State::Passes, _) if case.differs.contains_key(kind.name()) => {
                counts.add(&name, Some("it says that this subject differs, but it does not"));
            }
            (State::Passes, _) => counts.add(&name, None),
            (State::Differs, _) => differ += 1,
            (State::NotYet(_), _) if recorded.allows_not_yet(kind, &name) => not_yet += 1,
            (_, Outcome::Failed(why) | Outcome::Broken(why) | Outcome::NotYet(why)) => counts.add(&name, Some(why)),
            (State::Fails | State::NotYet(_), Outcome::Passed) => {}
        }
        recorded.note(kind, name, state);
    }
    let whole = chosen.len() == all(&scenes).len();
    if whole && env::var_os("WEFT_CONFORMANCE_RECORD").is_some() {
        recorded.write(folder, &scenes)?;
    }
    let ran = start.elapsed().as_secs();
    let shown = runtime.block_on(show(&stage, &scenes, &results))?;
    for (name, problem) in &shown {
        counts.add(&format!("switched off: {name}"), problem.as_deref());
    }
    if whole {
        for (name, problem) in table::checks(folder, &scenes)? {
            counts.add(name, problem.as_deref());
        }
    }
    say(&format!(
        "{}: {} cases in {ran} s; {differ} differ as the table says, {not_yet} not yet",
        kind.name(),
        results.len()
    ));
    if news > 0 {
        say(&format!(
            "{news} went otherwise than tests/conformance/recorded.json says; `cargo xtask test --suite conformance --full` writes it anew"
        ));
    }
    say(&format!("{} passed, {} failed", counts.passed, counts.failed));
    Ok(counts.failed == 0)
}

fn program() -> Result<Program> {
    let advice = "`cargo xtask test --suite conformance` installs and builds what is needed and runs this for both";
    let kind = match env::var("SUBJECT").as_deref() {
        Ok("weft") => Kind::Weft,
        Ok("envoy") => Kind::Envoy,
        _ => bail!("SUBJECT is neither weft nor envoy; {advice}"),
    };
    let path = env::var_os("WEFT_CONFORMANCE_PROGRAM");
    let path = path.with_context(|| format!("WEFT_CONFORMANCE_PROGRAM names no program; {advice}"))?;
    Ok(Program { kind, path: path.into() })
}

/// Every case: its scene's number and its own.
fn all(scenes: &[Arc<Scene>]) -> Vec<(usize, usize)> {
    let cases = scenes.iter().enumerate();
    cases.flat_map(|(scene, it)| (0..it.cases.len()).map(move |case| (scene, case))).collect()
}

fn chosen(scenes: &[Arc<Scene>]) -> Vec<(usize, usize)> {
    let only = env::var("WEFT_CONFORMANCE_ONLY").unwrap_or_default();
    let named =
        |(scene, case): &(usize, usize)| table::name(&scenes[*scene], &scenes[*scene].cases[*case]).contains(&only);
    all(scenes).into_iter().filter(named).collect()
}

/// Plays the chosen cases, scene by scene and some scenes at a time.
async fn play_all(
    stage: &Arc<Stage>,
    scenes: &[Arc<Scene>],
    chosen: &[(usize, usize)],
) -> Result<BTreeMap<(usize, usize), Outcome>> {
    let places = Arc::new(Semaphore::new(AT_A_TIME));
    let mut playing = JoinSet::new();
    for (index, scene) in scenes.iter().enumerate() {
        for group in groups(scene) {
            let group: Vec<_> = group.into_iter().filter(|case| chosen.contains(&(index, *case))).collect();
            if group.is_empty() {
                continue;
            }
            let (stage, scene, places) = (Arc::clone(stage), Arc::clone(scene), Arc::clone(&places));
            playing.spawn(async move {
                let _place = places.acquire().await;
                let cases: Vec<&Case> = group.iter().map(|case| &scene.cases[*case]).collect();
                let own = cases.first().map_or(&Value::Null, |case| &case.given);
                let outcomes = play(&stage, &scene, &[own], &cases).await;
                group.into_iter().map(|case| (index, case)).zip(outcomes).collect::<Vec<_>>()
            });
        }
    }
    let mut results = BTreeMap::new();
    while let Some(played) = playing.join_next().await {
        results.extend(played?);
    }
    Ok(results)
}

/// Plays some cases that passed with their behaviour switched off; each must fail.
async fn show(
    stage: &Arc<Stage>,
    scenes: &[Arc<Scene>],
    results: &BTreeMap<(usize, usize), Outcome>,
) -> Result<Vec<(String, Option<String>)>> {
    let number = match env::var("WEFT_CONFORMANCE_WITHOUT").as_deref() {
        Ok("all") => usize::MAX,
        Ok(number) => number.parse().context("WEFT_CONFORMANCE_WITHOUT is a number or `all`")?,
        Err(_) => SHOWN,
    };
    let seed = match env::var("WEFT_CONFORMANCE_SEED") {
        Ok(seed) => seed.parse().context("WEFT_CONFORMANCE_SEED is a number")?,
        Err(_) => rand::random::<u32>().into(),
    };
    let kind = stage.program.kind.name();
    let drawn = |((scene, case), outcome): (&(usize, usize), &Outcome)| {
        let innate = scenes[*scene].cases[*case].innate.contains_key(kind);
        (matches!(outcome, Outcome::Passed) && !innate).then_some((*scene, *case))
    };
    let mut passed: Vec<_> = results.iter().filter_map(drawn).collect();
    passed.shuffle(&mut StdRng::seed_from_u64(seed));
    passed.truncate(number);
    say(&format!("{} cases with their behaviour switched off, drawn by seed {seed}", passed.len()));
    let places = Arc::new(Semaphore::new(AT_A_TIME));
    let mut playing = JoinSet::new();
    for (scene, case) in passed {
        let (stage, scene, places) = (Arc::clone(stage), Arc::clone(&scenes[scene]), Arc::clone(&places));
        playing.spawn(async move {
            let _place = places.acquire().await;
            let case = &scene.cases[case];
            let without = if case.without.is_null() { &scene.without } else { &case.without };
            // What a file must be refused for is switched off by leaving it out.
            let own = if case.refused.is_some() { &Value::Null } else { &case.given };
            let outcome = play(&stage, &scene, &[own, without], &[case]).await.pop();
            let name = table::name(&scene, case);
            match outcome {
                Some(Outcome::Failed(_) | Outcome::NotYet(_)) => (name, None),
                Some(Outcome::Passed) | None => (name, Some("it passes all the same".to_owned())),
                Some(Outcome::Broken(why)) => (name, Some(why)),
            }
        });
    }
    let mut shown = Vec::new();
    while let Some(played) = playing.join_next().await {
        shown.push(played?);
    }
    shown.sort();
    Ok(shown)
}
