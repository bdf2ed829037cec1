//! How a route's requests are repeated.
use std::time::Duration;

use weft_ir::{Retry, RetryBackoff, RetryBudget};
use weft_model::{GrpcCode, RepeatSafety, RetryCondition, RetryOn};
use weft_proto::{
    envoy::config::route::v3::{RetryPolicy, retry_policy::RetryBackOff},
    weft,
};

use super::{
    breaking::{number, ordered},
    common::{duration, read_duration, required, shorten},
    fault::{Fault, Within, fault, nothing_left},
};

/// The conditions that have a name in `retry_on` (Envoy's documentation, "Router").
const NAMES: [(&str, RetryCondition); 10] = [
    ("connect-failure", RetryCondition::ConnectFailure),
    ("refused-stream", RetryCondition::RefusedStream),
    ("reset", RetryCondition::Reset),
    ("gateway-error", RetryCondition::GatewayError),
    ("5xx", RetryCondition::ServerError),
    ("cancelled", RetryCondition::Grpc(GrpcCode::Cancelled)),
    ("deadline-exceeded", RetryCondition::Grpc(GrpcCode::DeadlineExceeded)),
    ("resource-exhausted", RetryCondition::Grpc(GrpcCode::ResourceExhausted)),
    ("internal", RetryCondition::Grpc(GrpcCode::Internal)),
    ("unavailable", RetryCondition::Grpc(GrpcCode::Unavailable)),
];

/// Has the listed statuses count.
const STATUSES: &str = "retriable-status-codes";

const SAFETY: [(&str, RepeatSafety); 3] =
    [("idempotent", RepeatSafety::Idempotent), ("always", RepeatSafety::Always), ("never", RepeatSafety::Never)];

/// The standard's part and weft's. A route without retries that bounds its one try has the first of them only.
pub(super) fn encode(
    retry: Option<&Retry>,
    try_timeout: Option<Duration>,
) -> (Option<RetryPolicy>, Option<weft::Retry>) {
    let Some(retry) = retry else { return (try_timeout.map(once), None) };
    let (mut standard, ours) = encode_retry(retry);
    standard.per_try_timeout = retry.per_try_timeout.or(try_timeout).map(duration);
    (Some(standard), Some(ours))
}

/// What bounds the only try.
fn once(bound: Duration) -> RetryPolicy {
    RetryPolicy { num_retries: number(0), per_try_timeout: Some(duration(bound)), ..RetryPolicy::default() }
}

fn encode_retry(retry: &Retry) -> (RetryPolicy, weft::Retry) {
    let Retry { attempts, on, repeats_are_safe, per_try_timeout: _, backoff, budget } = retry;
    let RetryBackoff { base, max } = *backoff;
    let RetryBudget { percent, min_per_second } = *budget;
    let mut names: Vec<_> = NAMES.iter().filter(|(_, it)| on.contains(*it)).map(|(name, _)| *name).collect();
    let statuses: Vec<_> = on.0.iter().filter_map(status).collect();
    if !statuses.is_empty() {
        names.push(STATUSES);
    }
    let standard = RetryPolicy {
        retry_on: names.join(","),
        num_retries: number(*attempts),
        retriable_status_codes: statuses,
        retry_back_off: Some(RetryBackOff { base_interval: Some(duration(base)), max_interval: Some(duration(max)) }),
        ..RetryPolicy::default()
    };
    let safety = SAFETY.iter().find(|(_, it)| it == repeats_are_safe).map(|(name, _)| *name).unwrap_or_default();
    let ours = weft::Retry {
        repeats_are_safe: safety.to_owned(),
        budget_percent: percent.into(),
        budget_min_per_second: min_per_second,
    };
    (standard, ours)
}

fn status(condition: &RetryCondition) -> Option<u32> {
    match condition {
        RetryCondition::Status(status) => Some((*status).into()),
        _ => None,
    }
}

/// Both parts must be there: the standard's alone would repeat a POST. `try_timeout` is what the route says beside them:
/// it stands in the standard's field where the retries bound no try themselves, and is never shorter than their bound.
pub(super) fn decode(
    standard: Option<RetryPolicy>,
    ours: Option<weft::Retry>,
    try_timeout: Option<Duration>,
) -> Result<Option<Retry>, Fault> {
    let (mut standard, ours) = match (standard, ours) {
        (None, None) if try_timeout.is_none() => return Ok(None),
        (standard, None) if standard == try_timeout.map(once) => return Ok(None),
        (None, None) => return Err(fault("retry_policy", "it is missing beside metadata.try_timeout")),
        (Some(standard), Some(ours)) => (standard, ours),
        (Some(_), None) => return Err(fault("metadata.retry", "it is missing beside a retry policy")),
        (None, Some(_)) => return Err(fault("retry_policy", "it is missing beside metadata.retry")),
    };
    let on = read_conditions(&std::mem::take(&mut standard.retry_on), &standard.retriable_status_codes)
        .within("retry_policy")?;
    standard.retriable_status_codes.clear();
    let attempts = required("retry_policy.num_retries", standard.num_retries.take())?.value;
    if !(1..=Retry::MAX_ATTEMPTS).contains(&attempts) {
        return Err(fault("retry_policy.num_retries", format!("it must be from 1 to {}", Retry::MAX_ATTEMPTS)));
    }
    let per_try_timeout = match standard.per_try_timeout.take() {
        Some(limit) => Some(read_duration("retry_policy.per_try_timeout", limit)?),
        None => None,
    };
    if per_try_timeout.is_some_and(|limit| limit.is_zero()) {
        return Err(fault("retry_policy.per_try_timeout", "it must be above zero"));
    }
    let per_try_timeout = match (per_try_timeout, try_timeout) {
        (limit, None) => limit,
        (Some(limit), Some(bound)) if limit <= bound => Some(limit).filter(|limit| *limit != bound),
        (_, Some(_)) => return Err(fault("retry_policy.per_try_timeout", "it is not within metadata.try_timeout")),
    };
    let backoff = read_backoff(required("retry_policy.retry_back_off", standard.retry_back_off.take())?)
        .within("retry_policy.retry_back_off")?;
    nothing_left(&standard).within("retry_policy")?;
    let (repeats_are_safe, budget) = read_ours(ours).within("metadata.retry")?;
    Ok(Some(Retry { attempts, on, repeats_are_safe, per_try_timeout, backoff, budget }))
}

fn read_conditions(names: &str, statuses: &[u32]) -> Result<RetryOn, Fault> {
    let mut on = RetryOn::default();
    let mut has_statuses = false;
    for name in names.split(',') {
        match NAMES.iter().find(|(known, _)| *known == name) {
            Some((_, condition)) => {
                on.0.insert(*condition);
            }
            None if name == STATUSES => has_statuses = true,
            None => return Err(fault("retry_on", format!("{:?} is not a condition that is read", shorten(name)))),
        }
    }
    if has_statuses == statuses.is_empty() {
        return Err(fault("retriable_status_codes", format!("they stand without {STATUSES}, or it without them")));
    }
    for status in statuses {
        let status = u16::try_from(*status).ok().filter(|status| (400..=599).contains(status));
        let status = status.ok_or_else(|| fault("retriable_status_codes", "only 400 to 599 are read"))?;
        on.0.insert(RetryCondition::Status(status));
    }
    Ok(on)
}

fn read_backoff(RetryBackOff { base_interval, max_interval }: RetryBackOff) -> Result<RetryBackoff, Fault> {
    let base = read_duration("base_interval", required("base_interval", base_interval)?)?;
    let max = read_duration("max_interval", required("max_interval", max_interval)?)?;
    ordered("base_interval", base, "max_interval", max)?;
    Ok(RetryBackoff { base, max })
}

fn read_ours(ours: weft::Retry) -> Result<(RepeatSafety, RetryBudget), Fault> {
    let weft::Retry { repeats_are_safe, budget_percent, budget_min_per_second } = ours;
    let safety = SAFETY.iter().find(|(name, _)| *name == repeats_are_safe).map(|(_, safety)| *safety);
    let unknown = || fault("repeats_are_safe", format!("{:?} is not known", shorten(&repeats_are_safe)));
    let percent = u8::try_from(budget_percent).ok().filter(|percent| *percent <= 100);
    let percent = percent.ok_or_else(|| fault("budget_percent", "it must be from 0 to 100"))?;
    Ok((safety.ok_or_else(unknown)?, RetryBudget { percent, min_per_second: budget_min_per_second }))
}
