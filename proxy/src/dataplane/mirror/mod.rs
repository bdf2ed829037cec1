//! Copies of requests for mirrors (Gateway API, HTTPRequestMirrorFilter): made beside the request, sent by tasks of their
//! own, and answered to nobody.
//!
//! The request never waits for a copy: what it reads is copied while a budget lasts, and a copy that cannot follow is given
//! up. A copy has a record of its own, counts for no edge, and neither takes from the limits of its cluster nor tells its
//! breaker or ejection anything: others' requests to that cluster are not to feel it.
mod copy;
mod tee;

use std::rc::Rc;

use tokio::task::spawn_local;
use weft_decide::Routed;

pub(super) use tee::{Budget, Taps};

use self::tee::Reader;
use super::{
    record::Record,
    respond::{Blame, Ending},
    worker::{View, Worker},
};

/// The field that tells the called side, and the application there, that a request is a copy; of which, by the id of its
/// original's record. From outside of the mesh it is not passed on.
pub(super) const MIRROR: &str = "x-weft-mirror";

/// What a request's mirrors are known by, while it is not sure that it goes anywhere.
pub(super) struct Mirroring<'a> {
    worker: &'a Rc<Worker>,
    view: &'a Rc<View>,
    routed: &'a Routed<'a>,
    split: u64,
}

/// The copies of one request, which wait for its bytes.
pub(crate) struct Copies {
    /// Where its bytes are copied to.
    pub(super) taps: Taps,
    /// One more line of their heads.
    pub(super) line: String,
}

impl<'a> Mirroring<'a> {
    /// Of a request that was routed so, by that draw.
    pub(super) fn new(worker: &'a Rc<Worker>, view: &'a Rc<View>, routed: &'a Routed<'a>, split: u64) -> Self {
        Self { worker, view, routed, split }
    }

    /// Who carries the request.
    pub(super) fn worker(&self) -> &'a Worker {
        self.worker
    }

    /// Begins the copies that the route's mirrors are to have, if any.
    pub(super) fn begin(self, record: &mut Record) -> Option<Copies> {
        let Self { worker, view, routed, split } = self;
        let mut taps = Taps::default();
        for to in routed.mirrors(split) {
            let mut copy = record.mirrored((routed.service(), to.cluster()));
            match Reader::begin(worker.mirrors()) {
                Some(reader) => {
                    taps.add(&reader);
                    spawn_local(copy::run((worker.clone(), view.clone()), to, reader, copy));
                }
                None => {
                    let ending = Ending::NotMirrored("mirror-budget", Blame::Ourselves);
                    copy.fail(ending, "as many requests are being mirrored as may be at once");
                }
            }
        }
        let line = || format!("{MIRROR}: {}\r\n", record.id());
        (!taps.is_empty()).then(|| Copies { line: line(), taps })
    }
}
