use std::{num::NonZeroUsize, sync::atomic::AtomicU32 as Count, thread};

use proptest::prelude::*;

use super::*;

fn ends(shares: &Arc<Shares>, workers: usize) -> Vec<Rc<Lease>> {
    (0..workers).map(|worker| Lease::new(Arc::clone(shares), worker)).collect()
}

#[test]
fn a_limit_of_one_serves_eight_workers_in_turn() {
    let shares = Arc::new(Shares::new(1, 8));
    let ends = ends(&shares, 8);
    for round in 0..3 {
        for (worker, end) in ends.iter().enumerate() {
            let held = end.take().unwrap_or_else(|| panic!("worker {worker} in round {round}"));
            assert!(ends.iter().all(|other| other.take().is_none()));
            assert_eq!(shares.in_use(), 1);
            drop(held);
        }
    }
    assert_eq!(shares.in_use(), 0);
}

#[test]
fn a_busy_worker_gets_the_whole_limit_and_keeps_it_near() {
    let shares = Arc::new(Shares::new(10, 4));
    let ends = ends(&shares, 4);
    let held: Vec<_> = std::iter::from_fn(|| ends[2].take()).collect();
    assert_eq!(held.len(), 10);
    drop(held);
    let cells: Vec<_> = shares.cells.0.iter().map(|cell| free(cell.0.load(SeqCst))).collect();
    assert_eq!(cells, [0, 0, 10, 0]);
}

#[test]
fn a_limit_that_falls_gives_nothing_out_until_less_is_in_use() {
    let shares = Arc::new(Shares::new(5, 2));
    let ends = ends(&shares, 2);
    let mut held: Vec<_> = std::iter::from_fn(|| ends[0].take()).collect();
    shares.resize(2);
    for left in (2..5).rev() {
        assert!(ends[1].take().is_none());
        drop(held.pop());
        assert_eq!((held.len(), shares.in_use()), (left, left as u32));
    }
    drop(held.pop());
    held.push(ends[1].take().unwrap());
    assert!(ends[1].take().is_none());
    shares.resize(3);
    held.push(ends[1].take().unwrap());
    assert!(ends[0].take().is_none());
}

#[test]
fn the_greatest_limits_are_set_at_once() {
    let shares = Arc::new(Shares::new(u32::MAX, 3));
    let end = Lease::new(Arc::clone(&shares), 1);
    let held = end.take().unwrap();
    shares.resize(1);
    assert!(end.take().is_none());
    shares.resize(u32::MAX);
    assert_eq!((shares.in_use(), shares.cells.free()), (1, u64::from(u32::MAX) - 1));
    drop(held);
    assert_eq!(shares.cells.free(), u64::from(u32::MAX));
}

/// What one of several workers does next.
#[derive(Clone, Copy, Debug)]
enum Deed {
    /// Goes one step on with taking a unit, or begins to.
    Step(usize),
    /// Gives one back.
    Put(usize),
}

fn deed(workers: usize) -> impl Strategy<Value = Deed> {
    prop_oneof![3 => (0..workers).prop_map(Deed::Step), 1 => (0..workers).prop_map(Deed::Put)]
}

proptest! {
    /// Steps of single accesses in any order: what the hardware may do under sequential consistency.
    #[test]
    fn whatever_the_interleaving_a_limit_is_kept_nothing_is_lost_and_a_refusal_had_its_moment(
        limit in 0u32..6,
        (workers, deeds) in (1usize..9).prop_flat_map(|n| (Just(n), prop::collection::vec(deed(n), 0..400))),
    ) {
        let cells = Cells::new(limit, workers);
        let mut held = vec![0u32; workers];
        // Of each worker that is taking: its machine, and whether there was a moment without a free unit meanwhile.
        let mut taking: Vec<Option<(Taking, bool)>> = (0..workers).map(|_| None).collect();
        for deed in deeds {
            match deed {
                Deed::Step(worker) => {
                    let none_free = cells.free() == 0;
                    let (machine, moment) =
                        taking[worker].get_or_insert_with(|| (Taking::new(&cells, worker), none_free));
                    *moment |= none_free;
                    if let Some(taken) = machine.step(&cells) {
                        let (machine, moment) = taking[worker].take().unwrap();
                        prop_assert!(taken || moment || machine.round == ROUNDS, "refused while a unit was free");
                        held[worker] += u32::from(taken);
                    }
                }
                Deed::Put(worker) if held[worker] > 0 => {
                    held[worker] -= 1;
                    cells.put(worker, u32::MAX);
                }
                Deed::Put(_) => {}
            }
            if cells.free() == 0 {
                taking.iter_mut().flatten().for_each(|(_, moment)| *moment = true);
            }
            prop_assert_eq!(held.iter().sum::<u32>() as u64 + cells.free(), u64::from(limit));
        }
    }

    #[test]
    fn a_single_worker_after_another_gets_what_is_free_wherever_it_is(
        limit in 0u32..20,
        workers in 1usize..9,
        deeds in prop::collection::vec((0usize..9, any::<bool>(), prop::option::weighted(0.1, 0u32..20)), 0..200),
    ) {
        let shares = Arc::new(Shares::new(limit, workers));
        let ends = ends(&shares, workers);
        let (mut held, mut limit) = (Vec::new(), limit);
        for (worker, takes, resized) in deeds {
            if let Some(resized) = resized {
                shares.resize(resized);
                limit = resized;
            }
            if takes {
                let is_room = held.len() < limit as usize;
                let taken = ends[worker % workers].take();
                prop_assert_eq!(taken.is_some(), is_room);
                held.extend(taken);
            } else if !held.is_empty() {
                drop(held.swap_remove(worker % held.len()));
            }
            prop_assert_eq!(shares.in_use() as usize, held.len());
        }
        drop(held);
        let all: Vec<_> = std::iter::from_fn(|| ends[0].take()).collect();
        prop_assert_eq!(all.len(), limit as usize);
    }
}

#[test]
fn threads_never_hold_more_than_the_limit_and_lose_none() {
    let workers = thread::available_parallelism().map_or(2, NonZeroUsize::get).max(4);
    for limit in [1, 3, 64] {
        let shares = Arc::new(Shares::new(limit, workers));
        let (now, most) = (Count::new(0), Count::new(0));
        thread::scope(|scope| {
            for worker in 0..workers {
                let (shares, now, most) = (Arc::clone(&shares), &now, &most);
                scope.spawn(move || {
                    let end = Lease::new(shares, worker);
                    for turn in 0..2000 {
                        let held: Vec<_> = (0..1 + turn % 3).filter_map(|_| end.take()).collect();
                        let here = held.len() as u32;
                        most.fetch_max(now.fetch_add(here, SeqCst) + here, SeqCst);
                        now.fetch_sub(here, SeqCst);
                    }
                });
            }
            for _ in 0..500 {
                shares.resize(limit / 2);
                shares.resize(limit);
                thread::yield_now();
            }
        });
        assert!(most.load(SeqCst) <= limit, "{} of {limit}", most.load(SeqCst));
        let end = Lease::new(Arc::clone(&shares), 0);
        assert_eq!(std::iter::from_fn(|| end.take()).collect::<Vec<_>>().len(), limit as usize);
    }
}
