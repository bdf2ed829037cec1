//! `weft explain`: what a refusal's id stands for, and `weft get refusals`: the ids that a workload's proxy still knows.
use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use serde::Serialize;
use serde_json::{Value, json};
use weft_control_plane::{
    client::{CallError, Client},
    wire::ApiError,
};
use weft_model::{Kind, Source};

use crate::{
    advice::advice,
    api::{block_on, call, client},
    context::ContextArguments,
    failure::Failure,
    get::cell,
    output::{self, Format},
};

const EXAMPLES: &str = "\
Examples:
  weft explain reviews-v1-0.k3x9p.0.17            the value of an answer's x-weft-decision
  weft explain reviews-v1-0.k3x9p.0.17 -o json
  weft get refusals shop/reviews-v1-0             the ids that this workload's proxy still knows";

/// Which decision.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The decision's id: the header x-weft-decision of a refusal, the field `id` of a record.
    id: String,
    /// The form of the result.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    context: ContextArguments,
}

/// What is known of a decision.
#[derive(Serialize)]
struct Explanation {
    /// `namespace/name` of the workload whose proxy decided.
    workload: String,
    /// The proxy's record.
    record: Value,
    /// The objects that the record names.
    objects: Vec<Named>,
    /// What to do.
    advice: String,
}

/// An object, and where it was written.
#[derive(Serialize)]
struct Named {
    object: String,
    /// Whether the control plane holds it now.
    exists: bool,
    source: Option<Source>,
    /// Its rules that the record names.
    rules: Vec<NamedRule>,
}

/// A rule of an object, and where it was written.
#[derive(Serialize)]
struct NamedRule {
    /// Its place, from zero.
    rule: usize,
    /// Its name, where it has one.
    name: Option<String>,
    /// Its line in the object's source.
    line: Option<u32>,
}

/// Explains.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Arguments { id, output, context } = arguments;
    let instance = instance(id)?;
    let client = client(context)?;
    let explanation = block_on(async {
        let (workload, record) = find(&client, instance, id).await?;
        let mut objects = Vec::new();
        for ((kind, namespace, name), rules) in named(&record) {
            let found = client.objects(Some(kind.as_str()), Some(&namespace), Some(&name)).await?.items;
            let item = found.first();
            let source = item.and_then(|item| item.source.clone());
            let rules = rules.into_iter().map(|rule| NamedRule {
                rule,
                name: item.and_then(|item| item.object["spec"]["rules"][rule]["name"].as_str().map(str::to_owned)),
                line: source.as_ref().map(|source| source.rule(rule)),
            });
            let (rules, exists) = (rules.collect(), !found.is_empty());
            objects.push(Named { object: format!("{} {namespace}/{name}", kind.as_str()), exists, source, rules });
        }
        let advice = advice(&record);
        Ok(Explanation { workload, record, objects, advice })
    })?;
    match output {
        Format::Table => output::line(explanation.text()),
        Format::Json | Format::Yaml => output::value(*output, &explanation),
    }
}

/// The first part of a decision id (instance.start.worker.sequence); it may hold dots itself.
fn instance(id: &str) -> Result<&str, Failure> {
    let wrong = || {
        Failure::new(format!("{id:?} is not a decision id: it must be instance.start.worker.sequence"))
            .hint("it stands in the header x-weft-decision of a refusal; `weft get refusals <ns/workload>` lists some")
    };
    let mut parts = id.rsplitn(4, '.');
    let numbers = [parts.next(), parts.next()];
    let (start, instance) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let whole = numbers.iter().all(|part| part.is_some_and(|part| part.parse::<u64>().is_ok()));
    if whole && !start.is_empty() && !instance.is_empty() { Ok(instance) } else { Err(wrong()) }
}

/// Asks every workload of that name: the start tells which of them decided.
async fn find(client: &Client, instance: &str, id: &str) -> Result<(String, Value), Failure> {
    let mut gone = None;
    for item in client.workloads().await?.items.into_iter().filter(|item| item.name == instance) {
        match client.proxy(&item.namespace, &item.name, &format!("/records/{id}")).await {
            Ok(mut answer) => return Ok((format!("{}/{}", item.namespace, item.name), answer["record"].take())),
            Err(CallError::Refused(ApiError { error, hint })) => gone = Some(Failure::new(error).hint(hint)),
            Err(other) => return Err(other.into()),
        }
    }
    Err(gone.unwrap_or_else(|| {
        Failure::new(format!("record gone: no workload {instance} is registered"))
            .hint("`weft get workloads` lists those that are; its access log may still have the record")
    }))
}

/// The objects that a record names, each once, with those of their rules that it names: rules and routes, what its words
/// name, and the service.
fn named(record: &Value) -> BTreeMap<(Kind, String, String), BTreeSet<usize>> {
    let mut objects: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for field in ["rule", "route", "detail"] {
        let mut words = record[field].as_str().unwrap_or_default().split_whitespace().map(bare).peekable();
        while let Some(word) = words.next() {
            let kind = Kind::ALL.into_iter().find(|known| known.as_str() == word);
            let name = words.peek().and_then(|name| name.split_once('/'));
            let (Some(kind), Some((namespace, name))) = (kind, name) else { continue };
            let rules = objects.entry((kind, namespace.to_owned(), name.to_owned())).or_default();
            words.next();
            if words.next_if_eq(&"rule").is_some() {
                rules.extend(words.next().and_then(|rule| rule.parse::<usize>().ok()));
            }
        }
    }
    // <cluster>/<namespace>/<service>:<port>
    let service = record["service"].as_str().unwrap_or_default().split(['/', ':']).collect::<Vec<_>>();
    if let [_, namespace, service, _] = service.as_slice() {
        objects.entry((Kind::Service, (*namespace).to_owned(), (*service).to_owned())).or_default();
    }
    objects
}

/// A word without the punctuation around it.
fn bare(word: &str) -> &str {
    word.trim_start_matches('(').trim_end_matches([',', ':', ';', ')'])
}

impl Explanation {
    fn text(&self) -> String {
        let Self { workload, record, objects, advice } = self;
        let field = |name: &str| record[name].as_str().map(str::to_owned);
        let status = record["status"].as_u64().map(|status| format!(" ({status})")).unwrap_or_default();
        let request = field("method").map(|method| format!("{method} {}", cell(&record["path"])));
        let decided = format!("the proxy of {workload}, {}", cell(&record["direction"]));
        let mut lines = vec![
            ("outcome", Some(format!("{}{status} at the stage {}", cell(&record["outcome"]), cell(&record["stage"])))),
            ("why", field("detail")),
            ("time", field("time")),
            ("decided by", Some(decided)),
            ("revision", field("revision")),
            ("caller", field("caller").or_else(|| field("peer"))),
            ("host", field("authority").or_else(|| field("service"))),
            ("request", request),
            ("rule", field("rule")),
            ("route", field("route")),
            ("endpoint", field("endpoint")),
            ("picked by", field("endpoint").map(|_| field("pickedBy").unwrap_or_else(|| "round robin".to_owned()))),
            ("blame", field("blame")),
        ];
        lines.extend(objects.iter().map(|named| ("object", Some(named.text()))));
        lines.push(("to do", Some(advice.clone())));
        let lines = lines.into_iter().filter_map(|(name, value)| Some(format!("{name:<12}{}", value?)));
        lines.collect::<Vec<_>>().join("\n")
    }
}

impl Named {
    fn text(&self) -> String {
        let Self { object, exists, source, rules } = self;
        let place = |line: Option<u32>| match (source, line) {
            (Some(Source { file, .. }), Some(line)) => format!(" ({file}:{line})"),
            _ => String::new(),
        };
        if !exists {
            return format!("{object} (it does not exist)");
        }
        let mut text = format!("{object}{}", place(source.as_ref().map(|source| source.line)));
        for NamedRule { rule, name, line } in rules {
            let name = name.as_ref().map(|name| format!(" {name:?}")).unwrap_or_default();
            text += &format!(", rule {rule}{name}{}", place(*line));
        }
        text
    }
}

/// `weft get refusals`: what a workload's proxy refused or failed to do last.
pub(crate) fn refusals(workload: &str, format: Format, context: &ContextArguments) -> Result<(), Failure> {
    let (namespace, name) = workload.split_once('/').ok_or_else(|| {
        Failure::new(format!("{workload:?} is not a workload: it must be namespace/name"))
            .hint("`weft get workloads` lists them")
    })?;
    let answer = call(client(context)?.proxy(namespace, name, "/refusals"))?;
    let records = answer["refusals"].as_array().map(Vec::as_slice).unwrap_or_default();
    match format {
        Format::Json | Format::Yaml => output::value(format, &json!({ "items": records })),
        Format::Table if records.is_empty() => output::line("no refusals"),
        Format::Table => {
            let header = ["TIME", "ID", "OUTCOME", "STAGE", "CALLER", "HOST", "WHY"];
            output::line(output::table(header, records.iter().map(row)))
        }
    }
}

fn row(record: &Value) -> [String; 7] {
    let either = |one: &str, other: &str| cell(if record[one].is_null() { &record[other] } else { &record[one] });
    [
        cell(&record["time"]),
        cell(&record["id"]),
        cell(&record["outcome"]),
        cell(&record["stage"]),
        either("caller", "peer"),
        either("authority", "service"),
        cell(&record["detail"]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_names_its_instance_also_where_that_has_dots() {
        assert_eq!(instance("web-0.k3x9p.0.17").unwrap(), "web-0");
        assert_eq!(instance("web.blue.k3x9p.1.2").unwrap(), "web.blue");
        for wrong in ["", "web", "web.0.17", ".k3x9p.0.17", "web..0.17", "web.k3x9p.x.17", "web.k3x9p.0."] {
            assert!(instance(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_objects_of_a_record_are_those_that_it_names() {
        let record = json!({
            "detail": "no rule allows spiffe://weft.local/ns/shop/sa/x to call shop/reviews, which \
                       AccessPolicy shop/a, AccessPolicy shop/b selects",
            "route": "HTTPRoute shop/reviews rule 1 match 0",
            "service": "local/shop/reviews:80",
        });
        let rules = named(&record);
        let route = (Kind::HttpRoute, "shop".to_owned(), "reviews".to_owned());
        assert_eq!(rules[&route], BTreeSet::from([1]));
        let named: Vec<_> = rules.into_keys().map(|(kind, _, name)| (kind, name)).collect();
        let expected = [
            (Kind::Service, "reviews"),
            (Kind::HttpRoute, "reviews"),
            (Kind::AccessPolicy, "a"),
            (Kind::AccessPolicy, "b"),
        ];
        assert_eq!(named.len(), expected.len(), "{named:?}");
        assert!(expected.iter().all(|(kind, name)| named.contains(&(*kind, (*name).to_owned()))), "{named:?}");
    }
}
