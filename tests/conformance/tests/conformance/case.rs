//! The cases, as `cases/*.yaml` says them.
use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::Value;

/// Cases that share one bootstrap file and so one process of the subject.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scene {
    pub(crate) scene: String,
    /// Of the bullets of HTTP traffic, the one that it is about.
    pub(crate) bullet: String,
    /// The rule of `docs/strictness.md` that its cases show.
    pub(crate) strictness: Option<String>,
    /// The fragment of the bootstrap that gives the behaviour (see `bootstrap.rs`).
    pub(crate) given: Value,
    /// A merge patch (RFC 7396) by which `given` no longer gives the behaviour: with it each case must fail.
    #[serde(default)]
    pub(crate) without: Value,
    /// How the client speaks where a case or step does not say so.
    pub(crate) by: Option<String>,
    pub(crate) cases: Vec<Case>,
}

/// One behaviour.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    /// A sentence.
    pub(crate) case: String,
    pub(crate) strictness: Option<String>,
    /// A merge patch of the scene's `given` for this case alone.
    #[serde(default)]
    pub(crate) given: Value,
    /// A merge patch instead of the scene's `without`.
    #[serde(default)]
    pub(crate) without: Value,
    pub(crate) by: Option<String>,
    /// The subject must refuse the file instead of serving it, and say this.
    pub(crate) refused: Option<String>,
    #[serde(default)]
    pub(crate) steps: Vec<Step>,
    /// Subjects that do not behave like this: who is right, and why (an RFC's section or Envoy's documentation).
    #[serde(default)]
    pub(crate) differs: BTreeMap<String, String>,
    /// Subjects that behave like this whatever the file says, and why: there it cannot be switched off.
    #[serde(default)]
    pub(crate) innate: BTreeMap<String, String>,
}

/// What a client does and what must come of it. The parts happen in the order in which they stand here.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Step {
    /// What upstreams do with their next requests, one after the other.
    pub(crate) script: BTreeMap<String, Vec<String>>,
    /// What upstreams do with all requests.
    pub(crate) always: BTreeMap<String, String>,
    /// What upstreams answer to health checks.
    pub(crate) health: BTreeMap<String, String>,
    /// Upstreams that end their connections.
    pub(crate) hang_up: Vec<String>,
    /// The connection's name; it is made when it is first named.
    pub(crate) on: Option<String>,
    /// How the client speaks: `h1`, `h2`, `frames`, or one of them behind `tls`.
    pub(crate) by: Option<String>,
    pub(crate) tls: Option<ClientTls>,
    /// So many times, each time over again.
    pub(crate) times: Option<usize>,
    /// Each time on a connection of its own.
    pub(crate) fresh: bool,
    /// Again and again until it is as expected.
    pub(crate) until: bool,
    /// A request.
    pub(crate) send: Option<String>,
    /// Bytes.
    pub(crate) raw: Option<String>,
    /// So many bytes more than the subject may hold; how many it takes before it stops is compared.
    pub(crate) pour: Option<String>,
    /// Frames of HTTP/2, see `client/frames.rs`.
    pub(crate) frames: Vec<String>,
    /// What is answered.
    pub(crate) answer: Option<String>,
    /// Bytes that come, and no others before them.
    pub(crate) back: Option<String>,
    /// What is among the bytes that come.
    pub(crate) has: Option<String>,
    /// The client closes its connection.
    pub(crate) close: bool,
    /// What upstreams get, all of it and in this order.
    pub(crate) seen: Option<OneOrMany>,
    /// How many requests each upstream gets.
    pub(crate) shares: BTreeMap<String, String>,
    /// How many upstreams get a request at all.
    pub(crate) reached: Option<String>,
    /// How many bytes of bodies each upstream has moved when nothing moves any more.
    pub(crate) stalls: BTreeMap<String, String>,
    /// How many connections each upstream has.
    pub(crate) open: BTreeMap<String, String>,
    /// What the step takes, in milliseconds.
    pub(crate) takes: Option<String>,
    /// What the file says in the end.
    pub(crate) file: Option<FileHas>,
    pub(crate) wait: Option<String>,
}

/// A file that the subject writes and what must be in it.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileHas {
    pub(crate) name: String,
    pub(crate) has: String,
}

/// How a client presents itself in TLS.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ClientTls {
    pub(crate) sni: Option<String>,
    pub(crate) alpn: Vec<String>,
    pub(crate) certificate: Option<String>,
}

/// One text or several.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// A server behind the subject.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct UpstreamPlan {
    /// `h1`, `h2` or `tcp`.
    pub(crate) speaks: String,
    pub(crate) tls: Option<ServerTls>,
    /// Nobody listens at its port.
    pub(crate) absent: bool,
}

impl Default for UpstreamPlan {
    fn default() -> Self {
        Self { speaks: "h1".to_owned(), tls: None, absent: false }
    }
}

/// How a server presents itself in TLS.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ServerTls {
    pub(crate) certificate: String,
    pub(crate) alpn: Vec<String>,
    /// Whether clients need a certificate.
    pub(crate) client: bool,
}

/// Reads every case below `folder`.
pub(crate) fn read(folder: &Path) -> Result<Vec<Scene>> {
    let mut files: Vec<_> =
        fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    files.sort();
    let mut scenes = Vec::new();
    for file in files.iter().filter(|file| file.extension().is_some_and(|it| it == "yaml")) {
        let text = fs::read_to_string(file)?;
        // Read as JSON first: what a scene gives is the subject's to judge and may be anything.
        let values: Vec<Value> =
            serde_saphyr::from_str(&text).with_context(|| format!("cannot read {}", file.display()))?;
        for value in values {
            let name = value["scene"].as_str().unwrap_or("a scene without a name").to_owned();
            let scene = serde_json::from_value(value).with_context(|| format!("{}: {name}", file.display()))?;
            scenes.push(scene);
        }
    }
    if scenes.is_empty() {
        bail!("there are no cases in {}", folder.display());
    }
    Ok(scenes)
}

/// RFC 7396.
pub(crate) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let Value::Object(target) = target else { return };
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else {
            merge(target.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}
