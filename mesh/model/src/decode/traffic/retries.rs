//! `retries`.
use std::{collections::BTreeSet, time::Duration};

use super::{at_least, percent, span};
use crate::{
    Code, RepeatSafety, RetryCondition, RetryFields, RetryOn,
    decode::{
        fields::{Context, Field, Fields, shorten},
        suggest::suggestion,
        tree::Value,
    },
    duration,
};

/// The most tries beyond the first. Envoy and Istio take any number; ten times the load is an outage of its own.
const MAX_ATTEMPTS: u32 = 10;

/// The most conditions that are listed.
const MAX_CONDITIONS: usize = 32;

/// The longest wait before a repetition: after that long, nobody waits for the answer.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// The most repetitions each second that a budget allows whatever the number of requests.
const MAX_PER_SECOND: u32 = 100_000;

pub(super) fn decode(cx: &mut Context, field: &Field<'_>, request_timeout: Option<Duration>) -> Option<RetryFields> {
    let mut fields = Fields::open(cx, field)?;
    let enabled = fields.take("enabled").and_then(|field| field.boolean(cx));
    let attempts = fields.take("attempts").and_then(|field| field.integer(cx, 1..=MAX_ATTEMPTS));
    let on_field = fields.take("on");
    let on = on_field.as_ref().and_then(|field| conditions(cx, field));
    let safety =
        [("methods", RepeatSafety::Idempotent), ("always", RepeatSafety::Always), ("never", RepeatSafety::Never)];
    let safe = fields.take("safe").and_then(|field| field.choice(cx, &safety));
    let try_field = fields.take("perTryTimeout");
    let per_try_timeout = try_field.as_ref().and_then(|field| field.duration(cx));
    let (backoff_base, backoff_max) = fields.take("backoff").map(|field| backoff(cx, &field)).unwrap_or_default();
    let (budget_percent, budget_min_per_second) =
        fields.take("budget").map(|field| budget(cx, &field)).unwrap_or_default();
    fields.finish(cx);
    if let (Some(field), Some(one), Some(all)) = (&try_field, per_try_timeout, request_timeout)
        && one > all
        && !all.is_zero()
    {
        let (one, all) = (duration::format(one), duration::format(all));
        field.invalid(cx, format!("{one} is longer than timeouts.request, {all}"), &format!("write {all} or less"));
    }
    if let (Some(field), Some(on), Some(RepeatSafety::Never)) = (&on_field, &on, safe)
        && !on.contains(RetryCondition::ConnectFailure)
        && !on.contains(RetryCondition::RefusedStream)
    {
        let hint = "add connect-failure or refused-stream, which prove that nothing was processed, or change `safe`";
        field.invalid(cx, "with `safe: never` nothing of this is ever repeated", hint);
    }
    Some(RetryFields {
        enabled,
        attempts,
        on,
        safe,
        per_try_timeout,
        backoff_base,
        backoff_max,
        budget_percent,
        budget_min_per_second,
    })
}

fn conditions(cx: &mut Context, field: &Field<'_>) -> Option<RetryOn> {
    let mut found = BTreeSet::new();
    for item in field.items(cx, 1..=MAX_CONDITIONS) {
        let Some(condition) = condition(cx, &item) else { continue };
        if !found.insert(condition) {
            item.report(cx, Code::Duplicate, format!("{condition} stands twice"), Some("remove it".to_owned()));
        }
    }
    (!found.is_empty()).then_some(RetryOn(found))
}

/// A condition's name, or a status as a number.
fn condition(cx: &mut Context, item: &Field<'_>) -> Option<RetryCondition> {
    if let Value::Integer(_) = item.node.value {
        let status = item.integer(cx, 400..=599)?;
        return u16::try_from(status).ok().map(RetryCondition::Status);
    }
    let text = item.text(cx)?;
    let known = RetryCondition::NAMED.into_iter().find(|it| it.name() == Some(text));
    if known.is_none() {
        let names: Vec<_> = RetryCondition::NAMED.into_iter().filter_map(RetryCondition::name).collect();
        let hint = match (text, suggestion(text, &names)) {
            ("5xx", _) => "write `server-error`".to_owned(),
            (_, Some(name)) => format!("did you mean `{name}`?"),
            (_, None) => format!("write a status such as 503, or one of {}", names.join(", ")),
        };
        item.invalid(cx, format!("{:?} is not a condition", shorten(text)), &hint);
    }
    known
}

fn backoff(cx: &mut Context, field: &Field<'_>) -> (Option<Duration>, Option<Duration>) {
    let Some(mut fields) = Fields::open(cx, field) else { return (None, None) };
    let base = fields.take("base").and_then(|field| span(cx, &field, LONGEST_WAIT));
    let max_field = fields.take("max");
    let max = max_field.as_ref().and_then(|field| span(cx, field, LONGEST_WAIT));
    fields.finish(cx);
    at_least(cx, max_field.as_ref(), max, "base", base);
    (base, max)
}

fn budget(cx: &mut Context, field: &Field<'_>) -> (Option<u8>, Option<u32>) {
    let Some(mut fields) = Fields::open(cx, field) else { return (None, None) };
    let share = fields.take("percent").and_then(|field| percent(cx, &field, 0));
    let least = fields.take("minPerSecond").and_then(|field| field.integer(cx, 0..=MAX_PER_SECOND));
    fields.finish(cx);
    if (share, least) == (Some(0), Some(0)) {
        field.invalid(cx, "the budget allows no repetition at all", "write `enabled: false` to turn retries off");
    }
    (share, least)
}
