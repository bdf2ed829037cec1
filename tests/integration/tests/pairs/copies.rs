//! What becomes of copies of requests, against what is decided of them.
use weft_decide::{Forwarded, InboundDecision, RequestHead, evaluate_inbound};
use weft_ir::ServiceKey;

use crate::{
    application::Reached,
    cast::{CAST, Member},
    compare::{Observed, Snapshots, equal, fields, judged},
    record::Record,
};

/// The copies of one request, as seen from all sides.
#[derive(Debug)]
pub(crate) struct Copies {
    /// The records of who sent them, in order.
    pub(crate) sent: Vec<Record>,
    /// The records of whom they came to.
    pub(crate) came: Vec<(&'static Member, Record)>,
    /// How applications were reached by them.
    pub(crate) reached: Vec<Reached>,
}

impl Copies {
    /// Compares them with the clusters that are to get one each; `forwarded` is what was decided of the original, which
    /// they are copies of.
    ///
    /// # Errors
    /// What differs.
    pub(crate) fn compare(
        &self,
        original: &Observed<'_>,
        snapshots: &impl Snapshots,
        mirrors: &[ServiceKey],
        forwarded: Option<&Forwarded>,
    ) -> Result<(), String> {
        let destinations: Vec<_> = self.sent.iter().filter_map(|record| record.text("destination")).collect();
        let decided: Vec<_> = mirrors.iter().map(ToString::to_string).collect();
        equal("where copies went", destinations, decided.iter().map(String::as_str).collect())?;
        equal("how many copies were made", original.outbound.mirrors(), mirrors.len())?;
        let Some(forwarded) = forwarded else {
            equal("how many copies came", self.came.len(), 0)?;
            return equal("what applications saw of copies", &*self.reached, &[]);
        };
        let (mut came, mut expected) = (0, Vec::new());
        for (sent, mirror) in self.sent.iter().zip(mirrors) {
            let revision = sent.text("revision").ok_or("a copy's record has no revision")?;
            let snapshot = snapshots.outbound(revision, original.caller).ok_or("a copy's revision is unknown")?;
            let entry = snapshot.cluster(mirror).ok_or_else(|| format!("nobody knows {mirror}"))?;
            if entry.healthy() == 0 {
                equal("a copy's outcome", sent.text("outcome"), Some("no-healthy-endpoint"))?;
                continue;
            }
            equal("a copy's outcome", sent.text("outcome"), Some("complete"))?;
            let endpoint = sent.text("endpoint");
            let mut members = CAST.iter().filter(|member| Some(&*member.workload().to_string()) == endpoint);
            let called = members.next().ok_or_else(|| format!("{endpoint:?} is not of the cast"))?;
            let port = mirror.port().ok_or("a copy went to none of the mesh's")?;
            let sni = port.sni(&called.scope().names.trust_domain);
            let (target, host) = (forwarded.target.as_deref(), forwarded.host.as_deref());
            let (target, host) = (target.unwrap_or_default(), host.unwrap_or_default());
            let lines = original.request.fields();
            let fields = fields(&lines);
            let headers = judged(&fields, &forwarded.request_fields);
            let head = RequestHead { authority: host.as_bytes(), target: target.as_bytes(), ..original.head(&headers) };
            // Two copies may come to one workload: any of its records may be this one's.
            let answered = |(its, record): &&(&Member, Record)| {
                its.workload() == called.workload() && record.status() == sent.status()
            };
            let (_, record) = self.came.iter().find(answered).ok_or("a copy has no record where it came to")?;
            came += 1;
            let revision = record.text("revision").ok_or("the called side of a copy has no revision")?;
            let snapshot = snapshots.inbound(revision, called).ok_or("a copy's called side is unknown")?;
            match evaluate_inbound(snapshot, &sni, &original.caller.identity(), Some(&head)) {
                InboundDecision::Accepted(accepted) => {
                    equal("a copy's status", sent.status(), Some(200))?;
                    let copy_of = original.outbound.text("id").map(str::to_owned);
                    let reached = original.reaches(&accepted, (target, host), forwarded);
                    expected.push(Reached { copy_of, ..reached });
                }
                InboundDecision::Refused(refusal) => {
                    equal("a copy's status", sent.status(), Some(refusal.status().into()))?;
                }
            }
        }
        equal("how many copies came", self.came.len(), came)?;
        let mut reached = self.reached.clone();
        reached.sort_by_key(|reached| reached.port);
        expected.sort_by_key(|reached| reached.port);
        equal("what applications saw of copies", reached, expected)
    }
}
