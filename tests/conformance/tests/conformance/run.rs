//! Plays cases: starts what a scene needs, does what the steps say, compares.
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tokio::time::{sleep, timeout};

use crate::{
    DEADLINE,
    bootstrap::{Given, Places, patch, write},
    case::{Case, OneOrMany, Scene, Step},
    client::{Client, http1, http2},
    subject::{Port, Program, Start, Subject},
    text::{Message, duration, range},
    tls::Authority,
    upstream::Upstreams,
};

/// How a case went.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    Passed,
    Failed(String),
    /// The subject says that it does not have what the file asks for.
    NotYet(String),
    /// The file is refused for another reason, or the subject does not start: nothing was shown either way.
    Broken(String),
}

/// What a scene runs with.
pub(crate) struct Stage {
    pub(crate) program: Program,
    pub(crate) authority: Authority,
}

/// Everything of a scene that is up.
struct Set {
    folder: tempfile::TempDir,
    upstreams: Upstreams,
    listener: SocketAddr,
    started: Start,
    _port: Port,
}

/// Plays cases of one scene, whose `given` is patched by each of `patches` in turn.
pub(crate) async fn play(stage: &Arc<Stage>, scene: &Scene, patches: &[&Value], cases: &[&Case]) -> Vec<Outcome> {
    let set = match timeout(DEADLINE * 4, set_up(stage, scene, patches)).await {
        Ok(Ok(set)) => set,
        Ok(Err(error)) => return vec![Outcome::Broken(format!("{error:#}")); cases.len()],
        Err(_) => return vec![Outcome::Broken("the subject does not start".to_owned()); cases.len()],
    };
    let mut subject = match set.started {
        Start::Ready(subject) => subject,
        Start::Refused(said) => return cases.iter().map(|case| refused(case, &said)).collect(),
    };
    let mut outcomes = Vec::new();
    for case in cases {
        if let Some(expected) = &case.refused {
            outcomes.push(Outcome::Failed(format!("the file is taken, but should be refused with {expected:?}")));
            continue;
        }
        let folder = set.folder.path();
        let mut playing = Playing {
            stage,
            scene,
            case,
            upstreams: &set.upstreams,
            folder,
            listener: set.listener,
            clients: BTreeMap::new(),
        };
        let played = timeout(DEADLINE * 6, playing.case()).await;
        drop(playing);
        outcomes.push(judged(played.unwrap_or_else(|_| bail!("it takes too long")), &mut subject));
    }
    subject.stop().await;
    outcomes
}

fn judged(played: Result<()>, subject: &mut Subject) -> Outcome {
    match (played, subject.death()) {
        (Ok(()), None) => Outcome::Passed,
        (Ok(()), Some(death)) => Outcome::Failed(death),
        (Err(error), None) => Outcome::Failed(format!("{error:#}")),
        (Err(error), Some(death)) => Outcome::Failed(format!("{error:#}; {death}")),
    }
}

/// A subject that refuses a file does what a case wants, or does not have what it asks for, or is wrong.
fn refused(case: &Case, said: &str) -> Outcome {
    match &case.refused {
        _ if lacks(said) => Outcome::NotYet(said.to_owned()),
        Some(expected) if said.to_lowercase().contains(&expected.to_lowercase()) => Outcome::Passed,
        _ => Outcome::Broken(format!("the file is refused: {said}")),
    }
}

/// Whether a file is refused for what weft does not have: a line of its own then says so with weft's name.
fn lacks(said: &str) -> bool {
    let mut errors = said.lines().filter(|line| line.trim_start().starts_with("line "));
    errors.any(|line| line.contains("weft"))
}

async fn set_up(stage: &Stage, scene: &Scene, patches: &[&Value]) -> Result<Set> {
    let mut given = scene.given.clone();
    for one in patches {
        patch(&mut given, one);
    }
    let given: Given = serde_json::from_value(given).context("what the scene gives")?;
    let folder = tempfile::Builder::new().prefix("weft-").tempdir()?;
    stage.authority.write(folder.path())?;
    let upstreams = Upstreams::start(&given.upstreams, &stage.authority).await?;
    let port = Port::reserve()?;
    let places = Places { folder: folder.path(), upstreams: &upstreams.addresses, listener: port.address };
    std::fs::write(folder.path().join("bootstrap.yaml"), write(&given, &places)?)?;
    let started = stage.program.start(folder.path()).await?;
    Ok(Set { folder, upstreams, listener: port.address, started, _port: port })
}

/// A case that is being played.
struct Playing<'a> {
    stage: &'a Stage,
    scene: &'a Scene,
    case: &'a Case,
    upstreams: &'a Upstreams,
    folder: &'a Path,
    listener: SocketAddr,
    clients: BTreeMap<String, Client>,
}

impl Playing<'_> {
    async fn case(&mut self) -> Result<()> {
        self.upstreams.begin()?;
        for (number, step) in self.case.steps.iter().enumerate() {
            let deadline = Instant::now() + DEADLINE * 2;
            loop {
                let done = self.step(step).await;
                match done {
                    Err(_) if step.until && Instant::now() < deadline => {
                        self.clients.clear();
                        sleep(Duration::from_millis(50)).await;
                    }
                    done => break done.with_context(|| format!("step {}", number + 1))?,
                }
            }
        }
        Ok(())
    }

    async fn step(&mut self, step: &Step) -> Result<()> {
        for (name, actions) in &step.script {
            self.upstreams.script(name, actions)?;
        }
        for (name, action) in &step.always {
            self.upstreams.always(name, action)?;
        }
        for (name, action) in &step.health {
            self.upstreams.health(name, action)?;
        }
        for name in &step.hang_up {
            self.upstreams.hang_up(name)?;
        }
        if step.send.is_some() || step.raw.is_some() || !step.frames.is_empty() {
            self.upstreams.forget();
        }
        let start = Instant::now();
        for _ in 0..step.times.unwrap_or(1) {
            if step.fresh {
                self.clients.clear();
            }
            self.talk(step).await?;
        }
        if let Some(takes) = &step.takes {
            let took = usize::try_from(start.elapsed().as_millis()).unwrap_or(usize::MAX);
            ensure!(range(takes)?.contains(&took), "it took {took} ms, not {takes}");
        }
        if step.close {
            let name = step.on.as_deref().unwrap_or("main");
            self.clients.remove(name).with_context(|| format!("there is no connection {name:?}"))?;
        }
        self.look(step).await?;
        if let Some(wait) = &step.wait {
            sleep(duration(wait)?).await;
        }
        Ok(())
    }

    /// What the client does and gets.
    async fn talk(&mut self, step: &Step) -> Result<()> {
        let silent = step.send.is_none() && step.raw.is_none() && step.frames.is_empty() && step.pour.is_none();
        if silent && step.answer.is_none() && step.back.is_none() && step.has.is_none() && step.on.is_none() {
            return Ok(());
        }
        let name = step.on.clone().unwrap_or_else(|| "main".to_owned());
        if !self.clients.contains_key(&name) {
            let client = match self.connect(step).await {
                Ok(client) => client,
                Err(error) if step.answer.as_deref() == Some("refused") => return drop_error(&error),
                Err(error) => return Err(error),
            };
            self.clients.insert(name.clone(), client);
        }
        let client = self.clients.get_mut(&name).context("it was just made")?;
        let over = match client {
            Client::H1(client) => talk_http1(client, step).await?,
            Client::H2(client) => talk_http2(client, step).await?,
            Client::Frames(client) => talk_frames(client, step).await?,
        };
        if over {
            self.clients.remove(&name);
        }
        Ok(())
    }

    async fn connect(&self, step: &Step) -> Result<Client> {
        let by = step.by.as_ref().or(self.case.by.as_ref()).or(self.scene.by.as_ref());
        let by = by.map_or("h1", String::as_str);
        let tls = step.tls.clone().unwrap_or_default();
        Client::connect(self.listener, by, &tls, &self.stage.authority).await
    }

    /// What came of it behind the subject.
    async fn look(&self, step: &Step) -> Result<()> {
        if let Some(expected) = &step.seen {
            let expected: Vec<&String> = match expected {
                OneOrMany::One(one) if one == "nothing" => Vec::new(),
                OneOrMany::One(one) => vec![one],
                OneOrMany::Many(many) => many.iter().collect(),
            };
            let seen = self.upstreams.await_seen(expected.len()).await?;
            let shown: Vec<_> = seen.iter().map(crate::text::Seen::shown).collect();
            let shown = shown.join("\n    ");
            ensure!(seen.len() == expected.len(), "the upstreams got {} messages:\n    {shown}", seen.len());
            for (expected, seen) in expected.iter().zip(&seen) {
                Message::parse(expected)?.matches(seen).context("what an upstream got")?;
            }
        }
        self.count(step)?;
        for (name, bytes) in &step.stalls {
            let mut moved = self.upstreams.moved(name)?;
            loop {
                sleep(Duration::from_millis(700)).await;
                let now = self.upstreams.moved(name)?;
                if now == moved {
                    break;
                }
                moved = now;
            }
            ensure!(range(bytes)?.contains(&moved), "{name} moved {moved} bytes, not {bytes}");
        }
        for (name, count) in &step.open {
            let open = self.upstreams.open(name)?;
            ensure!(range(count)?.contains(&open), "{name} has {open} connections, not {count}");
        }
        if let Some(file) = &step.file {
            let path = self.folder.join(&file.name);
            let deadline = Instant::now() + DEADLINE;
            loop {
                let text = std::fs::read_to_string(&path).unwrap_or_default();
                if text.contains(&file.has) {
                    break;
                }
                ensure!(Instant::now() < deadline, "{} says {text:?}, not {:?}", file.name, file.has);
                sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(())
    }

    fn count(&self, step: &Step) -> Result<()> {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for seen in self.upstreams.seen() {
            *counts.entry(seen.first.split(' ').next().unwrap_or_default().to_owned()).or_default() += 1;
        }
        for (name, share) in &step.shares {
            let count = counts.get(name).copied().unwrap_or_default();
            ensure!(range(share)?.contains(&count), "{name} got {count}, not {share}: {counts:?}");
        }
        if let Some(reached) = &step.reached {
            ensure!(range(reached)?.contains(&counts.len()), "{} upstreams got requests, not {reached}", counts.len());
        }
        Ok(())
    }
}

/// An expected refusal of the connection.
fn drop_error(error: &anyhow::Error) -> Result<()> {
    let shown = format!("{error:#}");
    ensure!(!shown.contains("takes no connection"), "{shown}");
    Ok(())
}

/// Whether the connection is over.
async fn talk_http1(client: &mut http1::Client, step: &Step) -> Result<bool> {
    if let Some(send) = &step.send {
        client.send(&Message::parse(send)?).await?;
    }
    if let Some(raw) = &step.raw {
        client.raw(raw).await?;
    }
    if let Some(pour) = &step.pour {
        let sent = client.pour(1 << 28).await?;
        ensure!(range(pour)?.contains(&sent), "{sent} bytes were taken, not {pour}");
    }
    let mut over = false;
    if let Some(answer) = &step.answer {
        let mut expected = Message::parse(answer)?;
        let last = expected.take("@closed").is_some();
        let seen = client.answer().await?;
        expected.matches(&seen).context("the answer")?;
        if last {
            client.closes().await.with_context(|| format!("behind the answer {}", seen.shown()))?;
        }
        over = last || http1::Client::is_over(&seen);
    }
    if let Some(back) = &step.back {
        client.back(back).await?;
    }
    if let Some(part) = &step.has {
        client.has(part).await?;
    }
    Ok(over)
}

async fn talk_http2(client: &mut http2::Client, step: &Step) -> Result<bool> {
    if let Some(send) = &step.send {
        client.send(&Message::parse(send)?)?;
    }
    if let Some(answer) = &step.answer {
        let seen = client.answer().await?;
        Message::parse(answer)?.matches(&seen).context("the answer")?;
        return Ok(!http2::goes_on(&seen)?);
    }
    Ok(false)
}

async fn talk_frames(client: &mut crate::client::frames::Client, step: &Step) -> Result<bool> {
    for frame in &step.frames {
        client.send(frame).await?;
    }
    if let Some(answer) = &step.answer {
        client.answer(answer).await?;
    }
    if let Some(bytes) = &step.pour {
        let came = client.drain().await?;
        ensure!(range(bytes)?.contains(&came), "{came} bytes came, not {bytes}");
    }
    Ok(false)
}

/// What a scene's cases need: those that share its process, and each that has one of its own.
pub(crate) fn groups(scene: &Scene) -> Vec<Vec<usize>> {
    let (shared, own): (Vec<_>, Vec<_>) = (0..scene.cases.len())
        .partition(|number| scene.cases[*number].given.is_null() && scene.cases[*number].refused.is_none());
    let mut groups: Vec<_> = own.into_iter().map(|number| vec![number]).collect();
    if !shared.is_empty() {
        groups.push(shared);
    }
    groups
}
