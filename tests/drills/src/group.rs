//! A control group with a limit on memory.
use std::{
    env, fs,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

/// Where control groups are mounted (cgroups(7)).
const MOUNT: &str = "/sys/fs/cgroup";

/// Names of the same things in the two versions of control groups: the folder, the limit, the peak, the count of kills.
const VERSIONS: [[&str; 4]; 2] = [
    ["memory", "memory.limit_in_bytes", "memory.max_usage_in_bytes", "memory.oom_control"],
    ["", "memory.max", "memory.peak", "memory.events"],
];

/// A control group of its own; dropped, it goes, once what ran in it has ended.
#[derive(Debug)]
pub struct MemoryGroup {
    folder: PathBuf,
    peak: &'static str,
    kills: &'static str,
}

impl MemoryGroup {
    /// Makes one whose members may use so many bytes together.
    ///
    /// # Errors
    /// That this user may make none.
    pub fn make(limit: u64) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("weft-drill-{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let mut why = Vec::new();
        for [controller, limited, peak, kills] in VERSIONS {
            let folder = Path::new(MOUNT).join(controller).join(&name);
            let made = fs::create_dir(&folder).and_then(|()| fs::write(folder.join(limited), limit.to_string()));
            match made {
                Ok(()) => return Ok(Self { folder, peak, kills }),
                Err(error) => why.push(format!("{}: {error}", folder.join(limited).display())),
            }
            // It may never have been.
            let _gone = fs::remove_dir(&folder);
        }
        let user = env::var("USER").unwrap_or_default();
        bail!("this row needs a control group for memory that {user} may make: {}", why.join("; "))
    }

    /// The file to which a process writes its id to become a member.
    pub fn members(&self) -> PathBuf {
        self.folder.join("cgroup.procs")
    }

    /// The most bytes that its members ever had; the kernel's copies of files are among them.
    ///
    /// # Errors
    /// What cannot be read.
    pub fn peak(&self) -> Result<u64> {
        Ok(self.read(self.peak)?.trim().parse()?)
    }

    /// How many processes the kernel has killed in it for want of memory.
    ///
    /// # Errors
    /// What cannot be read.
    pub fn kills(&self) -> Result<u64> {
        let text = self.read(self.kills)?;
        let kills = text.lines().find_map(|line| line.strip_prefix("oom_kill ")).context("it counts no kills")?;
        Ok(kills.trim().parse()?)
    }

    fn read(&self, name: &str) -> Result<String> {
        let path = self.folder.join(name);
        fs::read_to_string(&path).with_context(|| path.display().to_string())
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        // Whoever still runs in it keeps it: a process that was killed is gone in a moment.
        for _ in 0..100 {
            if fs::remove_dir(&self.folder).is_ok() {
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}
