//! `weft get --watch`: a line for what there is, then one for each change.
use weft_control_plane::wire::{WatchEvent, WatchKind};
use weft_model::Kind;

use crate::{
    api::{block_on, client},
    context::ContextArguments,
    effect,
    failure::Failure,
    get::workload_row,
    output::{self, Format},
};

/// Watches until the reader or the control plane goes.
pub(crate) fn run(
    format: Format,
    kind: Option<Kind>,
    namespace: Option<&str>,
    name: Option<&str>,
    context: &ContextArguments,
) -> Result<(), Failure> {
    let api = client(context)?;
    let workloads = kind == Some(Kind::Workload);
    block_on(async {
        let mut watch = api.watch(kind.map(Kind::as_str), namespace, name).await?;
        if format == Format::Table {
            output::line(if workloads { workload_head() } else { object_line(HEAD.map(str::to_owned)) })?;
        }
        while let Some(event) = watch.next().await? {
            match format {
                Format::Json => output::json_line(&event)?,
                Format::Yaml => {
                    output::line("---")?;
                    output::value(format, &event)?;
                }
                Format::Table if workloads => output::line(workload_line(&event))?,
                Format::Table => {
                    output::line(object_line(row(&event)))?;
                    for line in event.status.iter().flat_map(|status| effect::waiting(&status.effect)) {
                        output::line(format!("{:9}{line}", ""))?;
                    }
                }
            }
        }
        Err(Failure::new("the control plane ended the watch").hint("`weft status` tells whether it runs again"))
    })
}

const HEAD: [&str; 5] = ["EVENT", "OBJECT", "OWNER", "REVISION", "IN EFFECT"];

fn row(event: &WatchEvent) -> [String; 5] {
    let (owner, revision, shown) = match &event.status {
        Some(status) => (status.owner.clone(), status.revision.clone(), effect::cell(&status.effect)),
        None => Default::default(),
    };
    let shown = [owner, revision, shown].map(|text| if text.is_empty() { "-".to_owned() } else { text });
    let [owner, revision, shown] = shown;
    [kind(event.event).to_owned(), event.name.clone(), owner, revision, shown]
}

fn kind(kind: WatchKind) -> &'static str {
    match kind {
        WatchKind::Added => "added",
        WatchKind::Changed => "changed",
        WatchKind::Status => "status",
        WatchKind::Deleted => "deleted",
    }
}

/// The columns do not know what comes later: their widths are those of usual names.
fn object_line([event, object, owner, revision, shown]: [String; 5]) -> String {
    format!("{event:8} {object:36} {owner:7} {revision:24} {shown}")
}

fn workload_head() -> String {
    format!("{:8} {:24} {:22} {:13} {}", "EVENT", "WORKLOAD", "STATE", "IN EFFECT", "ADDRESS")
}

fn workload_line(event: &WatchEvent) -> String {
    let Some(item) = &event.workload else { return format!("{:8} {}", kind(event.event), event.name) };
    let [namespace, name, state, in_effect, _, address, ..] = workload_row(item);
    format!("{:8} {:24} {state:22} {in_effect:13} {address}", kind(event.event), format!("{namespace}/{name}"))
}
