//! A request in hand, whichever version of HTTP it came by: what the two paths need of it.
use std::net::SocketAddr;

use weft_decide::RequestHead;
use weft_model::Protocol;

use super::{
    attempts::Carrier,
    http::{Forward, Outcome},
    mirror::Mirroring,
    record::Record,
    respond::Failure,
    worker::Worker,
};

/// What stands still of a request while it is carried.
pub(super) trait Head {
    /// The fields that are passed on as name and value, in order. Nothing else is decided by: who decides by what the next
    /// hop does not see, decides by what anybody may add.
    fn fields(&self) -> Vec<(&[u8], &[u8])>;

    /// What the evaluator looks at; where it comes from, the path knows.
    fn decided<'a>(&'a self, fields: &'a [(&'a [u8], &'a [u8])]) -> RequestHead<'a>;

    /// The host to forward in place of the one that was written; `None` where that is normal already, and goes out as it
    /// came.
    fn host<'a>(&self, normal: &'a str) -> Option<&'a str>;

    /// What it asks to be spoken in place of HTTP: the protocols of its Upgrade or its `:protocol`, `connect` for a tunnel
    /// without one.
    fn tunnel(&self) -> Option<String>;
}

/// What changes of a request while it is carried: who asked, its body, its record.
pub(super) trait Job {
    /// Its head.
    type Head: Head;

    /// What is known of it.
    fn record(&mut self) -> &mut Record;

    /// What carries it to a mesh peer, in the version of HTTP that it came by, and has copies of it made; and its record.
    fn to_peer<'a>(
        &'a mut self,
        mirroring: Mirroring<'a>,
        head: &'a Self::Head,
        forward: Forward<'a>,
    ) -> (impl Carrier<Done = Outcome> + 'a, &'a mut Record);

    /// The stages *connect* and *stream* towards the local application, in the version of HTTP that it speaks. A request
    /// is sent once: what an application does with a connection proves nothing, but for a write of which it took no byte,
    /// and for what HTTP/2 says outright.
    async fn to_application(
        &mut self,
        head: &Self::Head,
        application: Application<'_>,
        forward: &Forward<'_>,
    ) -> Result<Outcome, Failure>;
}

/// The local application.
#[derive(Clone, Copy)]
pub(super) struct Application<'a> {
    /// Who connects.
    pub(super) worker: &'a Worker,
    /// Where it listens.
    pub(super) address: SocketAddr,
    /// What it speaks.
    pub(super) protocol: Protocol,
}
