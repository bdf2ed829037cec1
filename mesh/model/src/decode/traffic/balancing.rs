//! `loadBalancing`.
use std::time::Duration;

use super::{percent, span};
use crate::{
    Balancing, Code, LocalityFields, SlowStartFields,
    decode::fields::{Context, Field, Fields},
};

/// The longest time in which an endpoint comes to its whole weight.
const LONGEST_WINDOW: Duration = Duration::from_secs(3600);

/// What the block says.
#[derive(Default)]
pub(super) struct Spread {
    pub(super) balancing: Option<Balancing>,
    pub(super) locality: Option<LocalityFields>,
    pub(super) slow_start: Option<SlowStartFields>,
}

const TYPES: [(&str, Balancing); 6] = [
    ("RoundRobin", Balancing::RoundRobin),
    ("LeastRequest", Balancing::LeastRequest),
    ("Random", Balancing::Random),
    ("PeakEwma", Balancing::PeakEwma),
    ("RingHash", Balancing::RingHash),
    ("Maglev", Balancing::Maglev),
];

/// `loadBalancing: {type, locality, slowStart}`, of which at least one is there. Its first form, `balancing: {policy}`,
/// stands in stores of the first builds and is read too.
pub(super) fn decode(cx: &mut Context, fields: &mut Fields<'_>) -> Spread {
    let first_form = fields.take_unknown("balancing");
    match (fields.take("loadBalancing"), first_form) {
        (Some(field), None) => read(cx, &field).unwrap_or_default(),
        (None, Some(field)) => Spread { balancing: read_first_form(cx, &field), ..Spread::default() },
        (None, None) => Spread::default(),
        (Some(_), Some(first_form)) => {
            let text = "it says the same as loadBalancing, which stands here too";
            first_form.report(cx, Code::Duplicate, text, Some("remove it".to_owned()));
            Spread::default()
        }
    }
}

fn read(cx: &mut Context, field: &Field<'_>) -> Option<Spread> {
    let mut fields = Fields::open(cx, field)?;
    let (locality, slow_start) = (fields.take("locality"), fields.take("slowStart"));
    let chosen = match (&locality, &slow_start) {
        (None, None) => fields.required(cx, "type"),
        _ => fields.take("type"),
    };
    let spread = Spread {
        balancing: chosen.and_then(|chosen| chosen.choice(cx, &TYPES)),
        locality: locality.and_then(|field| self::locality(cx, &field)),
        slow_start: slow_start.and_then(|field| self::slow_start(cx, &field)),
    };
    fields.finish(cx);
    Some(spread)
}

fn read_first_form(cx: &mut Context, field: &Field<'_>) -> Option<Balancing> {
    let mut fields = Fields::open(cx, field)?;
    let chosen = fields.required(cx, "policy");
    fields.finish(cx);
    chosen?.choice(cx, &TYPES)
}

fn locality(cx: &mut Context, field: &Field<'_>) -> Option<LocalityFields> {
    let mut fields = Fields::open(cx, field)?;
    let enabled = fields.take("enabled").and_then(|field| field.boolean(cx));
    let overprovisioning = fields.take("overprovisioningPercent").and_then(|field| field.integer(cx, 100..=1000));
    let panic_percent = fields.take("panicPercent").and_then(|field| percent(cx, &field, 0));
    fields.finish(cx);
    Some(LocalityFields { enabled, overprovisioning_percent: overprovisioning, panic_percent })
}

fn slow_start(cx: &mut Context, field: &Field<'_>) -> Option<SlowStartFields> {
    let mut fields = Fields::open(cx, field)?;
    let enabled = fields.take("enabled").and_then(|field| field.boolean(cx));
    let window = fields.take("window").and_then(|field| span(cx, &field, LONGEST_WINDOW));
    let aggression_percent = fields.take("aggressionPercent").and_then(|field| field.integer(cx, 10..=1000));
    let min_weight_percent = fields.take("minWeightPercent").and_then(|field| percent(cx, &field, 1));
    fields.finish(cx);
    Some(SlowStartFields { enabled, window, aggression_percent, min_weight_percent })
}
