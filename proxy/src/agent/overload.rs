//! What this proxy uses of memory and descriptors against what it may, and what it sheds for that. The control thread looks;
//! the data path reads one word.
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustix::process::{Resource as Limited, Rlimit, getrlimit, setrlimit};
use tokio::time::{MissedTickBehavior, interval};
use weft_decide::{Pressure, Resource, Usage};

use super::shared::Shared;
use crate::dataplane::Dataplane;

/// How often it looks.
const EVERY: Duration = Duration::from_millis(100);

/// Descriptors that connections never get: the runtimes', the listeners', the log's, the state's; and in reserve for the
/// streams to the control plane and for whoever asks the status and admin interfaces what is wrong.
const RESERVED: u64 = 64;

/// A limit beyond this is how cgroup v1 writes that there is none.
const NO_LIMIT: u64 = 1 << 60;

/// Takes as many descriptors as the system lets a process have: the lower limit is there for programs that use `select`.
pub(super) fn raise_descriptors() {
    let limit = getrlimit(Limited::Nofile);
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Limited::Nofile, Rlimit { current: limit.maximum, ..limit })
    {
        tracing::warn!(%error, "the limit on descriptors cannot be raised");
    }
}

/// Looks until the proxy ends. `memory`: what it may use, in bytes, beside what its cgroup allows.
pub(super) async fn run(shared: Arc<Shared>, memory: Option<u64>) {
    let cgroup = Cgroup::own(Path::new("/proc/self/cgroup"), Path::new("/sys/fs/cgroup"));
    match (memory, cgroup.memory()) {
        (Some(limit), _) => tracing::info!(limit, "memory is bounded by --memory"),
        (None, Some(usage)) => tracing::info!(limit = usage.limit, "memory is bounded by the cgroup"),
        (None, None) => tracing::info!("memory is not bounded: give --memory to have work shed before it runs out"),
    }
    let mut levels = [Pressure::None; Resource::ALL.len()];
    let mut told = Pressure::None;
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let used = [memory_usage(memory, &cgroup), descriptor_usage()];
        let room = used[Resource::Memory as usize].map(|usage| Pressure::Requests.room(usage));
        let descriptors = used[Resource::Descriptors as usize].map(|usage| usage.limit);
        for ((level, resource), usage) in levels.iter_mut().zip(Resource::ALL).zip(used) {
            let Some(usage) = usage else { continue };
            metrics::gauge!("weft_resource_used", "resource" => resource.as_str()).set(usage.used as f64);
            metrics::gauge!("weft_resource_limit", "resource" => resource.as_str()).set(usage.limit as f64);
            *level = level.after(usage);
        }
        let [memory_level, _] = levels;
        let now = levels.into_iter().max().unwrap_or_default();
        let short = if memory_level == now { Resource::Memory } else { Resource::Descriptors };
        metrics::gauge!("weft_pressure").set(f64::from(now as u8));
        let told_workers = shared.with_dataplane(|dataplane: &Dataplane| {
            if let Some(descriptors) = descriptors {
                dataplane.descriptors(usize::try_from(descriptors).unwrap_or(usize::MAX));
            }
            if let Some(room) = room {
                dataplane.room(room);
            }
            if now != told {
                dataplane.shed(now, short);
            }
        });
        if told_workers.is_none() {
            return;
        }
        if now != told {
            let (sheds, short) = (now.as_str(), short.as_str());
            match now {
                Pressure::None => tracing::info!("enough memory and descriptors again: nothing is shed"),
                _ => tracing::warn!(sheds, short, "short of something: see weft_resource_used and weft_resource_limit"),
            }
            told = now;
        }
    }
}

/// What is nearest to its end: this process against `--memory`, or its cgroup against the cgroup's limit.
fn memory_usage(own: Option<u64>, cgroup: &Cgroup) -> Option<Usage> {
    let own = own.and_then(|limit| Some(Usage { used: resident()?, limit }));
    own.into_iter().chain(cgroup.memory()).max_by_key(|usage| usage.per_mille())
}

/// The memory of this process that is resident, in bytes.
fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let kibibytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.strip_suffix("kB"))?;
    kibibytes.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// What connections may use of the descriptors, and what is used of that.
fn descriptor_usage() -> Option<Usage> {
    let limit = getrlimit(Limited::Nofile).current?.saturating_sub(RESERVED);
    Some(Usage { used: open_descriptors()?.saturating_sub(RESERVED), limit })
}

/// How many descriptors are open. Linux tells it as the folder's size from 6.2 on; before, its entries are counted.
fn open_descriptors() -> Option<u64> {
    let folder = Path::new("/proc/self/fd");
    match fs::metadata(folder).ok()?.len() {
        0 => u64::try_from(fs::read_dir(folder).ok()?.count()).ok(),
        count => Some(count),
    }
}

/// Where the limits of this process' control groups stand, from its own group up to the root.
#[derive(Debug, Default)]
struct Cgroup {
    groups: Vec<Group>,
}

/// One group with a limit on memory.
#[derive(Debug)]
struct Group {
    limit: PathBuf,
    used: PathBuf,
    stat: PathBuf,
    /// What of the memory is the kernel's copies of files, which it gives back before anything is killed.
    reclaimable: [&'static str; 2],
}

impl Cgroup {
    /// The groups that `membership` (`/proc/self/cgroup`, cgroups(7)) names below `mount`. In a container the path may be
    /// the host's: then it is the mount's root that is the container's own group.
    fn own(membership: &Path, mount: &Path) -> Self {
        let text = fs::read_to_string(membership).unwrap_or_default();
        let mut groups = Vec::new();
        for line in text.lines() {
            let mut parts = line.splitn(3, ':');
            let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else { continue };
            let (top, [limit, used], reclaimable) = match controllers {
                "" => (mount.to_owned(), ["memory.max", "memory.current"], ["inactive_file ", "active_file "]),
                it if it.split(',').any(|controller| controller == "memory") => {
                    let names = ["memory.limit_in_bytes", "memory.usage_in_bytes"];
                    (mount.join("memory"), names, ["total_inactive_file ", "total_active_file "])
                }
                _ => continue,
            };
            let own = top.join(path.trim_start_matches('/'));
            let own = if own.is_dir() { own } else { top.clone() };
            let folders = own.ancestors().take_while(|folder| folder.starts_with(&top));
            groups.extend(folders.map(|folder| Group {
                limit: folder.join(limit),
                used: folder.join(used),
                stat: folder.join("memory.stat"),
                reclaimable,
            }));
        }
        // What has no limit now seldom gets one: what is looked at ten times a second is short.
        groups.retain(|group| group.usage().is_some());
        Self { groups }
    }

    /// The group that is nearest to its limit; `None` where none has one.
    fn memory(&self) -> Option<Usage> {
        self.groups.iter().filter_map(Group::usage).max_by_key(|usage| usage.per_mille())
    }
}

impl Group {
    /// What cannot be given back, against the limit. Kubernetes' working set counts the copies of files that are in use too:
    /// in a group that reads and writes many, they alone come near the limit, and nothing is short.
    fn usage(&self) -> Option<Usage> {
        let limit = number(&self.limit).filter(|limit| *limit < NO_LIMIT)?;
        let stat = fs::read_to_string(&self.stat).unwrap_or_default();
        let of = |name: &str| stat.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
        let reclaimable: u64 = self.reclaimable.into_iter().filter_map(of).sum();
        Some(Usage { used: number(&self.used)?.saturating_sub(reclaimable), limit })
    }
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A mount with files in it, and the membership that names a group there.
    fn cgroup(membership: &str, files: &[(&str, &str)]) -> (tempfile::TempDir, Cgroup) {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join("mount").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let own = folder.path().join("cgroup");
        fs::write(&own, membership).unwrap();
        let found = Cgroup::own(&own, &folder.path().join("mount"));
        (folder, found)
    }

    #[test]
    fn the_tightest_group_of_version_2_counts_without_the_kernels_copies_of_files() {
        let (_folder, found) = cgroup(
            "0::/pod/proxy\n",
            &[
                ("pod/proxy/memory.max", "max\n"),
                ("pod/proxy/memory.current", "500\n"),
                ("pod/memory.max", "1000\n"),
                ("pod/memory.current", "900\n"),
                ("pod/memory.stat", "anon 600\ninactive_file 250\nactive_file 50\n"),
                ("memory.max", "4000\n"),
                ("memory.current", "1000\n"),
            ],
        );
        assert_eq!(found.memory(), Some(Usage { used: 600, limit: 1000 }));
    }

    #[test]
    fn version_1_is_read_and_its_word_for_no_limit_is_none() {
        let membership = "4:memory:/pod\n2:cpu:/pod\n0::/\n";
        let files = [
            ("memory/pod/memory.limit_in_bytes", "1000\n"),
            ("memory/pod/memory.usage_in_bytes", "800\n"),
            ("memory/pod/memory.stat", "inactive_file 1\ntotal_inactive_file 300\ntotal_active_file 100\n"),
            ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory/memory.usage_in_bytes", "900\n"),
        ];
        let (_folder, found) = cgroup(membership, &files);
        assert_eq!(found.memory(), Some(Usage { used: 400, limit: 1000 }));
        let (_folder, found) = cgroup("4:memory:/elsewhere\n", &files[3..]);
        assert_eq!(found.memory(), None);
    }

    #[test]
    fn a_path_of_the_host_is_the_containers_root() {
        let files = [("memory.max", "1000\n"), ("memory.current", "10\n")];
        let (_folder, found) = cgroup("0::/kubepods/pod1/c1\n", &files);
        assert_eq!(found.memory(), Some(Usage { used: 10, limit: 1000 }));
        let (_folder, found) = cgroup("nonsense\n0:\n\n", &files);
        assert_eq!(found.memory(), None);
    }

    #[test]
    fn this_process_uses_memory_and_descriptors() {
        assert!(resident().unwrap() > 1 << 20);
        let before = open_descriptors().unwrap();
        let _open: Vec<_> = (0..5).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        assert!(open_descriptors().unwrap() >= before.min(3) + 2);
        assert!(descriptor_usage().unwrap().limit > 0);
    }
}
