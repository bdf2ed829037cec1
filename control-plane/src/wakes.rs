//! Brings changes to the ADS streams that they concern, and wakes no other.
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::Notify;
use weft_ir::ResourceKey;
use weft_xds::{Interests, Lookup, Server};

/// The streams that are to be told of changes.
#[derive(Debug, Default)]
pub(crate) struct Wakes {
    listening: Mutex<Listening>,
    woken: AtomicU64,
}

#[derive(Debug, Default)]
struct Listening {
    next: u64,
    interests: Interests<u64>,
    mailboxes: BTreeMap<u64, Arc<Mailbox>>,
}

/// What a stream has not looked at yet. It holds no key twice, and none that the stream is not interested in.
#[derive(Debug, Default)]
struct Mailbox {
    changed: Mutex<BTreeSet<ResourceKey>>,
    bell: Notify,
}

impl Mailbox {
    fn changed(&self) -> MutexGuard<'_, BTreeSet<ResourceKey>> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wakes {
    /// A stream's part, which hears of nothing yet.
    pub(crate) fn open(self: &Arc<Self>) -> Wake {
        let mut listening = self.listening();
        let stream = listening.next;
        listening.next += 1;
        let mailbox = Arc::<Mailbox>::default();
        listening.mailboxes.insert(stream, mailbox.clone());
        Wake { wakes: self.clone(), stream, mailbox }
    }

    /// Tells the streams that these changes concern.
    pub(crate) fn tell(&self, keys: &[ResourceKey]) {
        let listening = self.listening();
        for (stream, concerned) in listening.interests.concerned(keys) {
            let Some(mailbox) = listening.mailboxes.get(&stream) else { continue };
            let mut changed = mailbox.changed();
            let idle = changed.is_empty();
            changed.extend(concerned.into_iter().cloned());
            drop(changed);
            if idle {
                // Who has not looked yet is awake already.
                self.woken.fetch_add(1, Ordering::Relaxed);
                mailbox.bell.notify_one();
            }
        }
    }

    /// How often a stream was woken.
    pub(crate) fn woken(&self) -> u64 {
        self.woken.load(Ordering::Relaxed)
    }

    /// What is kept is whole between statements, so a panic elsewhere does not spoil it.
    fn listening(&self) -> MutexGuard<'_, Listening> {
        self.listening.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One stream's part; dropped when the stream ends.
#[derive(Debug)]
pub(crate) struct Wake {
    wakes: Arc<Wakes>,
    stream: u64,
    mailbox: Arc<Mailbox>,
}

impl Wake {
    /// Has the stream told of these from now on.
    pub(crate) fn listen(&self, keys: &BTreeSet<ResourceKey>) {
        let mut listening = self.wakes.listening();
        keys.iter().for_each(|key| listening.interests.set(self.stream, key, true));
    }

    /// Takes in what a request has changed: see [`Interests::heard`].
    pub(crate) fn heard(
        &self,
        named: &BTreeSet<ResourceKey>,
        session: (&Server, &impl Lookup),
        keeps: impl Fn(&ResourceKey) -> bool,
    ) {
        self.wakes.listening().interests.heard(self.stream, named, session, keeps);
    }

    /// Waits until there may be something to look at.
    pub(crate) async fn changed(&self) {
        self.mailbox.bell.notified().await;
    }

    /// What has changed since the last call.
    pub(crate) fn take(&self) -> BTreeSet<ResourceKey> {
        std::mem::take(&mut *self.mailbox.changed())
    }

    /// What tells from elsewhere whether the stream has something to look at.
    pub(crate) fn behind(&self) -> Behind {
        Behind(self.mailbox.clone())
    }
}

impl Drop for Wake {
    fn drop(&mut self) {
        let mut listening = self.wakes.listening();
        listening.interests.forget(self.stream);
        listening.mailboxes.remove(&self.stream);
    }
}

/// Whether a stream has not looked at everything yet.
#[derive(Debug, Default)]
pub(crate) struct Behind(Arc<Mailbox>);

impl Behind {
    /// Whether there is something that it has not looked at.
    pub(crate) fn is_behind(&self) -> bool {
        !self.0.changed().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::task::{Context, Waker};

    use weft_ir::{Dialect, ResourceType, View};
    use weft_proto::envoy::service::discovery::v3::DeltaDiscoveryRequest;
    use weft_xds::{Found, named, type_url};

    use super::*;

    const STREAMS: usize = 1_000;

    /// Has nothing; its wildcard stands for a listener of all, and for one of its own.
    struct Empty(usize);

    impl Lookup for Empty {
        fn find(&self, _: &ResourceKey) -> Found {
            Found::Absent
        }

        fn wildcard(&self, resource_type: ResourceType) -> Vec<Arc<str>> {
            match resource_type {
                ResourceType::Listener => vec!["outbound".into(), format!("inbound/shop/web-{}", self.0).into()],
                _ => Vec::new(),
            }
        }

        fn revision(&self) -> String {
            String::new()
        }
    }

    fn stream(wakes: &Arc<Wakes>, at: usize) -> Wake {
        let (wake, lookup) = (wakes.open(), Empty(at));
        let mut server = Server::new(&View { dialect: Dialect::Weft });
        let wanted = [
            (ResourceType::Listener, vec!["*".to_owned()]),
            (
                ResourceType::Cluster,
                vec![format!("local/shop/own-{at}:80"), format!("local/shop/shared-{}:80", at % 10)],
            ),
        ];
        for (resource_type, resource_names_subscribe) in wanted {
            let type_url = type_url(resource_type).to_owned();
            let request = DeltaDiscoveryRequest { type_url, resource_names_subscribe, ..Default::default() };
            let names = named(&request, &lookup);
            server.request(request).unwrap();
            wake.heard(&names, (&server, &lookup), |_| false);
        }
        wake
    }

    fn is_woken(wake: &Wake) -> bool {
        let mut bell = std::pin::pin!(wake.changed());
        bell.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    /// Every batch woke every stream: a change of one service cost a thousand look-ups and context switches.
    #[test]
    fn of_a_thousand_streams_a_change_wakes_those_that_asked_for_what_changed() {
        let wakes = Arc::new(Wakes::default());
        let streams: Vec<_> = (0..STREAMS).map(|at| stream(&wakes, at)).collect();
        let cluster = |name: &str| ResourceKey::new(ResourceType::Cluster, format!("local/shop/{name}:80").as_str());
        let listener = |name: &str| ResourceKey::new(ResourceType::Listener, name);
        for (keys, concerned) in [
            (vec![cluster("own-7")], 1),
            (vec![cluster("shared-3")], STREAMS / 10),
            (vec![cluster("shared-3"), cluster("own-3"), cluster("own-4")], STREAMS / 10 + 1),
            (vec![listener("inbound/shop/web-9")], 1),
            (vec![listener("outbound")], STREAMS),
            (vec![cluster("nobodys"), listener("inbound/shop/other")], 0),
        ] {
            let before = wakes.woken();
            wakes.tell(&keys);
            wakes.tell(&keys);
            assert_eq!(wakes.woken() - before, concerned as u64, "{keys:?}");
            let woken: Vec<_> = streams.iter().filter(|wake| is_woken(wake)).collect();
            assert_eq!(woken.len(), concerned, "{keys:?}");
            assert!(woken.iter().all(|wake| wake.behind().is_behind() && !wake.take().is_empty()));
            assert!(streams.iter().all(|wake| !wake.behind().is_behind()));
        }
        drop(streams);
        wakes.tell(&[listener("outbound")]);
        let listening = wakes.listening();
        assert!(listening.mailboxes.is_empty() && listening.interests.concerned([&listener("outbound")]).is_empty());
    }
}
