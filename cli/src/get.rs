//! `weft get`: objects, and the workloads of the mesh.
use std::{collections::BTreeMap, time::Duration};

use clap::Args;
use serde_json::{Value, json};
use weft_control_plane::wire::{ObjectEffect, ObjectItem, WorkloadItem, WorkloadList, WorkloadState};
use weft_model::{Kind, duration};

use crate::{
    api::{call, client},
    context::ContextArguments,
    effect, explain,
    failure::{Failure, While},
    output::{self, Format},
    watching,
};

const EXAMPLES: &str = "\
Examples:
  weft get all                       every object
  weft get httproutes -n shop        one kind in one namespace
  weft get service reviews -n shop -o yaml
  weft get httproutes -w             what there is, then each change of an object or of its status
  weft get workloads                 the running instances, registered or written
  weft get refusals shop/web-0       what a workload's proxy refused last, with the ids for `weft explain`";

/// What to show.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// A kind (services, httproutes, trafficpolicies, accesspolicies), `workloads`, `refusals` (of one workload),
    /// or `all`.
    kind: String,
    /// One object by its name; for refusals the workload, `namespace/name`.
    name: Option<String>,
    /// One namespace; all of them where none is named.
    #[arg(short, long)]
    namespace: Option<String>,
    /// Go on showing what changes, objects and their status, as it comes.
    #[arg(short, long)]
    watch: bool,
    /// The form of the result; of a watch with json, one line an event.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    context: ContextArguments,
}

/// Shows them.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Arguments { kind, name, namespace, watch, output, context } = arguments;
    if kind.eq_ignore_ascii_case("refusals") {
        if *watch {
            let failure = Failure::new("refusals cannot be watched");
            return Err(failure.hint("the access log of the workload's proxy has each as it comes"));
        }
        let workload = match (name, namespace) {
            (Some(name), Some(namespace)) if !name.contains('/') => format!("{namespace}/{name}"),
            (name, _) => name.clone().unwrap_or_default(),
        };
        return explain::refusals(&workload, *output, context);
    }
    let kind = parse_kind(kind)?;
    if *watch {
        return watching::run(*output, kind, namespace.as_deref(), name.as_deref(), context);
    }
    let api = client(context)?;
    if kind == Some(Kind::Workload) {
        return workloads(*output, call(api.workloads())?, namespace.as_deref(), name.as_deref());
    }
    let items = call(api.objects(kind.map(Kind::as_str), namespace.as_deref(), name.as_deref()))?.items;
    if let (true, Some(name)) = (items.is_empty(), name) {
        let place = namespace.as_ref().map(|namespace| format!(" in namespace {namespace}")).unwrap_or_default();
        let kind = kind.map_or("object", Kind::as_str);
        return Err(Failure::new(format!("there is no {kind} {name}{place}")).hint("`weft get all` lists every object"));
    }
    if *output != Format::Table || items.is_empty() {
        return show(*output, &items, name.is_some());
    }
    let statuses = call(api.statuses(kind.map(Kind::as_str), namespace.as_deref(), name.as_deref()))?.items;
    let statuses: BTreeMap<_, _> = statuses.iter().map(|status| (status.object.as_str(), &status.effect)).collect();
    let header = ["KIND", "NAMESPACE", "NAME", "OWNER", "MODIFIED", "IN EFFECT", "SOURCE"];
    output::line(output::table(header, items.iter().map(|item| object_row(item, &statuses))))
}

/// The kind that the user means; `None` for all of them.
pub(crate) fn parse_kind(text: &str) -> Result<Option<Kind>, Failure> {
    if text.eq_ignore_ascii_case("all") {
        return Ok(None);
    }
    Kind::parse_loosely(text).map(Some).ok_or_else(|| {
        let kinds: Vec<_> = Kind::ALL.iter().map(|kind| kind.as_str().to_ascii_lowercase()).collect();
        Failure::new(format!("there is no kind {text:?}")).hint(format!("kinds are {}, and all", kinds.join(", ")))
    })
}

fn show(format: Format, items: &[ObjectItem], single: bool) -> Result<(), Failure> {
    let objects: Vec<_> = items.iter().map(|item| &item.object).collect();
    match (format, objects.as_slice()) {
        (Format::Json, [object]) if single => output::value(format, object),
        (Format::Json, _) => output::value(format, &json!({ "apiVersion": "v1", "kind": "List", "items": objects })),
        (Format::Yaml, _) => {
            let texts: Result<Vec<_>, _> = objects.iter().map(serde_saphyr::to_string).collect();
            let texts = texts.while_("write YAML").map_err(|failure| failure.hint("try another form with -o"));
            output::line(texts?.join("---\n").trim_end())
        }
        (Format::Table, _) => output::line("no objects"),
    }
}

fn object_row(item: &ObjectItem, statuses: &BTreeMap<&str, &ObjectEffect>) -> [String; 7] {
    let metadata = &item.object["metadata"];
    let (kind, namespace, name) = (cell(&item.object["kind"]), cell(&metadata["namespace"]), cell(&metadata["name"]));
    let status = statuses.get(format!("{kind} {namespace}/{name}").as_str());
    let source = item.source.as_ref().map_or_else(|| "-".to_owned(), |it| format!("{}:{}", it.file, it.line));
    [
        kind,
        namespace,
        name,
        item.owner.clone(),
        item.modified.to_string(),
        status.map_or_else(|| "-".to_owned(), |effect| effect::cell(effect)),
        source,
    ]
}

fn workloads(
    format: Format,
    mut list: WorkloadList,
    namespace: Option<&str>,
    name: Option<&str>,
) -> Result<(), Failure> {
    list.items.retain(|item| {
        namespace.is_none_or(|namespace| item.namespace == namespace) && name.is_none_or(|name| item.name == name)
    });
    if format != Format::Table {
        return output::value(format, &list);
    }
    if list.items.is_empty() {
        return output::line("no workloads");
    }
    let header = ["NAMESPACE", "NAME", "STATE", "IN EFFECT", "IDENTITY", "ADDRESS", "REVISION", "VERSION", "LAST GOOD"];
    output::line(output::table(header, list.items.iter().map(workload_row)))?;
    let mut held = list.items.iter().filter_map(|item| item.removal.as_ref());
    held.try_for_each(|removal| output::line(format!("{}: {}", removal.workload, removal.text())))
}

pub(crate) fn workload_row(item: &WorkloadItem) -> [String; 9] {
    let (effective, used) = (item.resources_in_effect, item.resources);
    let mut in_effect = match (item.connected, item.in_effect) {
        (false, _) => "disconnected".to_owned(),
        (true, true) => format!("all {used}"),
        (true, false) => format!("{effective} of {used}"),
    };
    // What it is of, the lines below the table tell.
    if item.holds_to.is_some() || item.removal.is_some() {
        in_effect.push_str(", removal held");
    }
    let shown = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
    [
        shown(&item.namespace),
        shown(&item.name),
        state(item),
        in_effect,
        shown(&item.identity),
        shown(&item.address),
        shown(&item.revision),
        shown(&item.version),
        item.last_good_ms
            .map_or_else(|| "-".to_owned(), |ms| format!("{} at start", duration::format(Duration::from_millis(ms)))),
    ]
}

/// Where a registration stands, with the reason where that is not of its own doing.
fn state(item: &WorkloadItem) -> String {
    if let Some(silent) = item.silent_ms {
        return format!("silent for {}", effect::age(silent));
    }
    match (item.state, &item.unhealthy) {
        (WorkloadState::Registered, _) => "registered".to_owned(),
        (WorkloadState::Draining, _) => "draining".to_owned(),
        (WorkloadState::Expired, _) => "expired".to_owned(),
        (WorkloadState::Unhealthy, Some(reason)) => format!("unhealthy: {reason}"),
        (WorkloadState::Unhealthy, None) => "unhealthy".to_owned(),
    }
}

/// A value as a cell of a table.
pub(crate) fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
