//! One pair: what the evaluator answers to a record's revision and draws, against what proxy, client and application
//! have seen.
use std::fmt::Debug;

use weft_decide::{
    Accepted, Answered, BadRequest, Decision, Denied, Edited, Forwarded, InboundDecision, Refusal, RequestHead,
    Snapshot, Why, evaluate_inbound, evaluate_outbound, evaluate_outbound_in,
};

use crate::{
    application::{Reached, filterable},
    cast::{CAST, Member},
    client::Reply,
    copies::Copies,
    filters::ANSWER_FIELDS,
    record::Record,
    requests::{BODY, Form, Request},
};

/// What a request came to, as seen from all sides.
pub(crate) struct Observed<'a> {
    /// Who asked.
    pub(crate) caller: &'a Member,
    /// What was asked.
    pub(crate) request: &'a Request,
    /// What the client was answered.
    pub(crate) reply: &'a Reply,
    /// The record of the caller's data plane.
    pub(crate) outbound: &'a Record,
    /// How the application was reached.
    pub(crate) visits: &'a [Reached],
    /// What became of its copies.
    pub(crate) copies: &'a Copies,
}

/// The evaluator's answers to a pair that all sides agree with.
pub(crate) struct Verdict {
    /// What the caller's side decided; nothing for what the codec refuses.
    pub(crate) outbound: Option<Decision>,
    /// What the called side decided, where it came that far.
    pub(crate) inbound: Option<InboundDecision>,
}

/// The snapshot of a revision for the data plane of one of the cast.
pub(crate) trait Snapshots {
    /// What a caller decides from.
    fn outbound(&self, revision: &str, caller: &Member) -> Option<&Snapshot>;
    /// What a called workload decides from.
    fn inbound(&self, revision: &str, called: &Member) -> Option<&Snapshot>;
}

impl Observed<'_> {
    /// Replays the decision and compares it with all that was seen. `next` takes the next record of a called data
    /// plane of this caller.
    ///
    /// # Errors
    /// What differs.
    pub(crate) fn compare(
        &self,
        snapshots: &impl Snapshots,
        next: impl FnOnce(&Member) -> Option<Record>,
    ) -> Result<Verdict, String> {
        equal("the client's address", self.outbound.text("peer"), Some(&*self.reply.peer.to_string()))?;
        equal("the status of client and record", Some(u64::from(self.reply.status)), self.outbound.status())?;
        if let Form::Smuggled(_, cause) = self.request.form {
            self.refused_by_codec(cause)?;
            return Ok(Verdict { outbound: None, inbound: None });
        }
        let lines = self.request.fields();
        let fields = fields(&lines);
        let decision = self.decide(snapshots, &self.head(&fields))?;
        let (mirrors, forwarded) = match &decision {
            Decision::Forwarded(forwarded) => (&*forwarded.mirrors, Some(&**forwarded)),
            Decision::Answered(_) | Decision::Refused(_) | Decision::Needs(_) => (&[][..], None),
        };
        self.copies.compare(self, snapshots, mirrors, forwarded)?;
        let inbound = match &decision {
            Decision::Forwarded(forwarded) => Some(self.forwarded(snapshots, forwarded, self.head(&fields), next)?),
            Decision::Answered(answered) => {
                self.answered(answered)?;
                None
            }
            Decision::Refused(refusal) => {
                self.refused(refusal)?;
                None
            }
            Decision::Needs(destination) => return Err(format!("the evaluator knows nothing of {destination}")),
        };
        Ok(Verdict { outbound: Some(decision), inbound })
    }

    /// What the evaluator says, for people.
    pub(crate) fn evaluate(&self, snapshots: &impl Snapshots) -> Result<Decision, String> {
        let lines = self.request.fields();
        self.decide(snapshots, &self.head(&fields(&lines)))
    }

    pub(crate) fn head<'a>(&'a self, fields: &'a [(&'a [u8], &'a [u8])]) -> RequestHead<'a> {
        RequestHead {
            method: self.request.method.as_bytes(),
            authority: self.request.authority.as_bytes(),
            target: &self.request.target,
            headers: fields,
            source: Some(self.reply.peer.ip()),
        }
    }

    fn decide(&self, snapshots: &impl Snapshots, head: &RequestHead<'_>) -> Result<Decision, String> {
        if self.outbound.text("outcome") == Some("malformed") {
            // The codec came first, and keeps no revision: only what is no request in any snapshot ends there.
            let any = self.outbound.text("revision").unwrap_or_default();
            let snapshot = snapshots.outbound(any, self.caller).ok_or("no snapshot")?;
            return match evaluate_outbound(snapshot, head, weft_decide::Draws::default()) {
                decision @ Decision::Refused(Refusal::BadRequest(_)) => Ok(decision),
                decision => Err(format!("the codec refuses what is decided to be {decision:?}")),
            };
        }
        let revision = self.outbound.text("revision").ok_or("the record has no revision")?;
        let draws = self.outbound.draws().ok_or("the record has no draws")?;
        let snapshot = snapshots.outbound(revision, self.caller).ok_or("the record's revision is unknown")?;
        Ok(evaluate_outbound_in(snapshot, head, draws, &self.outbound.circumstances()?))
    }

    fn refused_by_codec(&self, cause: &str) -> Result<(), String> {
        equal("the outcome", self.outbound.text("outcome"), Some("malformed"))?;
        equal("the detail", self.outbound.text("detail"), Some(cause))?;
        equal("the status", self.reply.status, 400)?;
        equal("the decision's id", self.reply.decision.as_deref(), self.outbound.text("id"))?;
        self.not_reached()
    }

    fn refused(&self, refusal: &Refusal) -> Result<(), String> {
        equal("the status", self.reply.status, refusal.status())?;
        equal("the decision's id", self.reply.decision.as_deref(), self.outbound.text("id"))?;
        equal("the endpoint", self.outbound.text("endpoint"), None)?;
        if self.outbound.text("outcome") != Some("malformed") {
            self.says(self.outbound, refusal)?;
        }
        self.not_reached()
    }

    fn answered(&self, Answered { service, route, answer }: &Answered) -> Result<(), String> {
        let record = self.outbound;
        equal("the outcome", record.text("outcome"), Some("answered"))?;
        equal("the route", record.text("route"), Some(&*route.to_string()))?;
        equal("the service", record.text("service"), Some(&*service.to_string()))?;
        equal("the endpoint", record.text("endpoint"), None)?;
        equal("the status", self.reply.status, answer.status)?;
        let lines = || answer.fields.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let location = lines().find(|(name, _)| *name == "location").map(|(_, value)| value);
        equal("the location", self.reply.location.as_deref(), location)?;
        equal("the answer's fields", &self.reply.fields, &filterable(lines()))?;
        equal("the answer's decision id", self.reply.decision.as_deref(), None)?;
        self.body(&answer.body)?;
        self.not_reached()
    }

    fn forwarded(
        &self,
        snapshots: &impl Snapshots,
        forwarded: &Forwarded,
        head: RequestHead<'_>,
        next: impl FnOnce(&Member) -> Option<Record>,
    ) -> Result<InboundDecision, String> {
        let record = self.outbound;
        equal("the outcome", record.text("outcome"), Some("complete"))?;
        equal("the route", record.text("route"), forwarded.route.as_ref().map(ToString::to_string).as_deref())?;
        equal("the service", record.text("service"), Some(&*forwarded.service.to_string()))?;
        equal("the cluster", record.text("destination"), Some(&*forwarded.cluster.to_string()))?;
        let (Some(workload), Some(identity)) = (&forwarded.workload, &forwarded.identity) else {
            return Err(format!("it went to {forwarded:?}, which is nobody's"));
        };
        equal("the endpoint", record.text("endpoint"), Some(&*workload.to_string()))?;
        let by_turn = Why::DEFAULT.to_string();
        let picked_by = Some(&*forwarded.picked_by).filter(|by| *by != by_turn);
        equal("why it is this endpoint", record.text("pickedBy"), picked_by)?;
        equal("the cookie that is set", self.reply.cookie.as_deref(), forwarded.set_cookie.as_deref())?;
        let (path, host) = (record.text("path"), forwarded.host.as_deref());
        let target = forwarded.target.as_deref().and_then(|target| target.split('?').next());
        if path != target {
            let told = host.zip(target).map(|(host, path)| format!("{host}{path}"));
            equal("what it was rewritten to", record.text("rewritten"), told.as_deref())?;
        }
        equal("the server", record.text("server"), Some(identity.as_str()))?;
        let called = CAST.iter().find(|member| member.workload() == *workload);
        let called = called.ok_or_else(|| format!("{workload} is not of the cast"))?;
        let inbound = next(called).ok_or_else(|| format!("{workload} has no record of it"))?;
        let revision = inbound.text("revision").ok_or("the called side's record has no revision")?;
        let snapshot = snapshots.inbound(revision, called).ok_or("the called side's revision is unknown")?;
        let service = forwarded.cluster.port().ok_or("the cluster is none of the mesh's")?;
        let sni = service.sni(&called.scope().names.trust_domain);
        let target = forwarded.target.as_deref().unwrap_or_default();
        let host = forwarded.host.as_deref().unwrap_or_default();
        let headers = judged(head.headers, &forwarded.request_fields);
        let head = RequestHead { authority: host.as_bytes(), target: target.as_bytes(), headers: &headers, ..head };
        let decision = evaluate_inbound(snapshot, &sni, &self.caller.identity(), Some(&head));
        self.called(&inbound, &decision, target)
            .map_err(|differs| format!("{differs}; the called side: {inbound:?}"))?;
        match &decision {
            InboundDecision::Accepted(accepted) => self.accepted(&inbound, accepted, (target, host), forwarded)?,
            InboundDecision::Refused(refusal) => {
                equal("the status", self.reply.status, refusal.status())?;
                equal("the decision's id", self.reply.decision.as_deref(), inbound.text("id"))?;
                self.says(&inbound, refusal)?;
                self.not_reached()?;
            }
        }
        Ok(decision)
    }

    /// What both sides' records must agree on.
    fn called(&self, inbound: &Record, decision: &InboundDecision, target: &str) -> Result<(), String> {
        equal("the caller", inbound.text("caller"), Some(self.caller.identity().as_str()))?;
        equal("the called side's status", inbound.status(), self.outbound.status())?;
        equal("the called side's method", inbound.text("method"), self.outbound.text("method"))?;
        // The called side judges what arrives.
        equal("the called side's path", inbound.text("path"), target.split('?').next())?;
        let rule = match decision {
            InboundDecision::Accepted(accepted) => accepted.rule.as_ref().map(ToString::to_string),
            InboundDecision::Refused(Refusal::Denied(Denied::Rule { rule, .. })) => Some(rule.to_string()),
            InboundDecision::Refused(_) => None,
        };
        equal("the rule", inbound.text("rule"), rule.as_deref())
    }

    fn accepted(
        &self,
        inbound: &Record,
        accepted: &Accepted,
        (forwarded, host): (&str, &str),
        decided: &Forwarded,
    ) -> Result<(), String> {
        equal("the called side's outcome", inbound.text("outcome"), Some("complete"))?;
        equal("the called service", inbound.text("service"), Some(&*accepted.service.to_string()))?;
        equal("the target on both sides", accepted.target.as_deref(), Some(forwarded))?;
        equal("the Host on both sides", accepted.host.as_deref(), Some(host))?;
        let reached = self.reaches(accepted, (forwarded, host), decided);
        equal("what the application saw", self.visits, std::slice::from_ref(&reached))?;
        equal("the status", self.reply.status, 200)?;
        let told: Vec<_> = ANSWER_FIELDS.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        equal("the answer's fields", &self.reply.fields, &edited(&told, &decided.answer_fields))?;
        equal("the answer's decision id", self.reply.decision.as_deref(), None)?;
        self.body(&reached.answer())
    }

    /// How an application is reached by what is accepted.
    pub(crate) fn reaches(
        &self,
        accepted: &Accepted,
        (target, host): (&str, &str),
        Forwarded { request_fields, .. }: &Forwarded,
    ) -> Reached {
        let body = match self.request.form {
            Form::Length | Form::Chunked => BODY,
            Form::Plain | Form::NoHost | Form::Smuggled(..) => "",
        };
        Reached {
            port: accepted.port,
            method: self.request.method.clone(),
            target: target.to_owned(),
            host: host.to_owned(),
            fields: edited(&self.request.headers, request_fields),
            body: body.to_owned(),
            copy_of: None,
        }
    }

    /// A refusal's record and answer tell its code and text.
    fn says(&self, record: &Record, refusal: &Refusal) -> Result<(), String> {
        let text = refusal.to_string();
        equal("the outcome", record.text("outcome"), Some(refusal.code()))?;
        equal("the detail", record.text("detail"), Some(&*text))?;
        self.body(&format!("{text}\n"))
    }

    fn not_reached(&self) -> Result<(), String> {
        equal("what the application saw", self.visits, &[])
    }

    fn body(&self, body: &str) -> Result<(), String> {
        let shown = if self.request.method == "HEAD" { "" } else { body };
        equal("the body", &*self.reply.body, shown)
    }
}

/// What is left of fields once they are edited, of those that filters may change.
fn edited(fields: &[(String, String)], edits: &Edited) -> Vec<(String, String)> {
    let kept = fields.iter().filter(|(name, _)| !edits.dropped.contains(&name.to_ascii_lowercase()));
    filterable(kept.chain(&edits.added).map(|(name, value)| (name.as_str(), value.as_str())))
}

/// The fields that the called side judges: those that the caller's side has changed.
pub(crate) fn judged<'a>(
    fields: &[(&'a [u8], &'a [u8])],
    Edited { dropped, added }: &'a Edited,
) -> Vec<(&'a [u8], &'a [u8])> {
    let is_dropped = |name: &[u8]| dropped.iter().any(|its| its.as_bytes().eq_ignore_ascii_case(name));
    let kept = fields.iter().filter(|(name, _)| !is_dropped(name));
    let added = added.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    kept.copied().chain(added).collect()
}

/// Whether the evaluator refuses a request before it looks at any configuration.
pub(crate) fn is_bad(refusal: &Refusal) -> Option<BadRequest> {
    match refusal {
        Refusal::BadRequest(cause) => Some(*cause),
        _ => None,
    }
}

/// Field lines as a codec hands them on: without the white space around values (RFC 9110 §5.5).
pub(crate) fn fields(lines: &[(String, String)]) -> Vec<(&[u8], &[u8])> {
    lines.iter().map(|(name, value)| (name.as_bytes(), value.trim().as_bytes())).collect()
}

pub(crate) fn equal<T: PartialEq + Debug>(what: &str, seen: T, decided: T) -> Result<(), String> {
    if seen == decided { Ok(()) } else { Err(format!("{what} is {seen:?}, and should be {decided:?}")) }
}
