//! What is published is in effect when each worker has taken it.
use tokio::{sync::mpsc, time::timeout};
use weft_decide::Assembler;

use super::mesh::{PATIENCE, scope};
use crate::dataplane::{Dataplane, Settings};

#[tokio::test]
async fn a_published_snapshot_is_in_effect_once_each_of_four_workers_has_taken_it() {
    let mut settings = Settings::new("web-0", "abcde");
    settings.workers = 4;
    let (events, _heard) = mpsc::channel(8);
    let (dataplane, _) = Dataplane::start(settings, events).unwrap();
    let progress = dataplane.progress();
    assert_eq!((progress.published(), progress.in_effect()), (0, 0));
    let (_, first) = Assembler::new(scope(), []);
    let snapshot = first.snapshot.unwrap();
    for round in 1..=20 {
        assert_eq!(dataplane.publish(snapshot.clone()), round);
        let reached = async {
            while progress.in_effect() < round {
                progress.moved().await;
            }
        };
        timeout(PATIENCE, reached).await.unwrap();
        assert_eq!(progress.in_effect(), round);
    }
    // Workers that have ended hold nothing back.
    dataplane.drain();
    dataplane.stopped().await;
    assert_eq!(progress.in_effect(), u64::MAX);
}
