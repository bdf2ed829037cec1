//! `weft status`: the control plane at a glance, or how far one object has come.
use clap::Args;
use weft_control_plane::{
    client::Client,
    wire::{EffectState, Status},
};

use crate::{
    api::{call, client},
    context::ContextArguments,
    effect,
    failure::Failure,
    get::parse_kind,
    output::{self, Format},
};

const EXAMPLES: &str = "\
Examples:
  weft status                                   the control plane at a glance
  weft status httproute reviews -n shop         how far one object has come, and who does not have it
  weft status HTTPRoute shop/reviews -o json
  weft status --context /var/lib/weft/context.json

An object is in effect at a proxy when each of the proxy's workers decides by it; concerned are the connected proxies
that hold or asked for something that was made of the object. A proxy has everything in effect when that is so of all
that it uses. That a proxy has read something and said so (acknowledged) is never called in effect.";

/// What to show.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The object's kind; without one the control plane is shown.
    #[arg(requires = "name")]
    kind: Option<String>,
    /// The object's name, or namespace/name.
    name: Option<String>,
    /// The object's namespace, where its name has none.
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// The form of the result.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    context: ContextArguments,
}

/// Shows it.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Arguments { kind, name, namespace, output, context } = arguments;
    let client = client(context)?;
    if let (Some(kind), Some(name)) = (kind, name) {
        return object(&client, kind, name.split_once('/').unwrap_or((namespace, name)), *output);
    }
    let status = call(client.status())?;
    if *output != Format::Table {
        return output::value(*output, &status);
    }
    for warning in &status.warnings {
        eprintln!("{warning}");
    }
    output::line(glance(&status))?;
    elsewhere(&status)
}

fn object(client: &Client, kind: &str, (namespace, name): (&str, &str), output: Format) -> Result<(), Failure> {
    let kind = parse_kind(kind)?
        .ok_or_else(|| Failure::new("`all` is not one object").hint("`weft get all` shows how far each has come"))?;
    let status = call(client.object_status(kind.as_str(), namespace, name))?;
    if output != Format::Table {
        return output::value(output, &status);
    }
    output::line(effect::text(&status))
}

fn glance(status: &Status) -> String {
    let mut lines = vec![
        format!("revision       {}", status.revision),
        format!("trust domain   {}", status.trust_domain),
        format!("mesh domain    {}", status.mesh_domain),
        format!("cluster        {}", status.cluster),
        format!(
            "proxies        {} connected, {} with everything in effect",
            status.proxies.connected, status.proxies.in_effect
        ),
    ];
    lines.extend(status.silent.iter().map(|workload| format!("silent         {workload} (its stream is open)")));
    let count = |state, text: &str| {
        let count = status.objects.get(&state).copied().unwrap_or_default();
        (count > 0).then(|| format!("{count} {text}"))
    };
    let objects = [
        count(EffectState::InEffect, "in effect"),
        count(EffectState::Awaited, "awaited"),
        count(EffectState::Rejected, "rejected by a proxy"),
        count(EffectState::HeldBack, "held back from a proxy"),
        count(EffectState::RemovalHeld, "with a removal held"),
        count(EffectState::Unused, "used by no proxy"),
    ];
    let objects: Vec<_> = objects.into_iter().flatten().collect();
    lines.push(format!("objects        {}", if objects.is_empty() { "none".to_owned() } else { objects.join(", ") }));
    lines.push(format!("started        {}", status.started));
    lines.push(format!("version        {}", status.version));
    lines.join("\n")
}

/// Who holds to another history, by name.
fn elsewhere(status: &Status) -> Result<(), Failure> {
    for proxy in &status.elsewhere {
        output::line(format!("{:14} {}", proxy.workload, proxy.text()))?;
    }
    Ok(())
}
