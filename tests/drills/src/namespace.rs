//! The network namespace in which the drills run, and one for each pod in it: packets can be lost and looked at there
//! without the machine's own noticing, and what a pod has on its loopback interface nobody else reaches.
//!
//! The pods' namespaces hang on one bridge, each by a pair of interfaces, as a node's network plugin lays them. The control
//! plane stands at the bridge itself.
use std::{
    env,
    fs::File,
    io::{BufRead, BufReader},
    net::{IpAddr, Ipv4Addr},
    os::{fd::AsFd, unix::process::CommandExt},
    process::{Command, Stdio},
    sync::{
        LazyLock,
        atomic::{AtomicU16, Ordering},
    },
};

use anyhow::{Context as _, Result, anyhow, bail};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use weft_harness::process::Place;

/// Whether this program was started again inside, or why it could not be.
const STATE: &str = "WEFT_DRILLS_NAMESPACE";
const INSIDE: &str = "inside";

/// Starts this program again in a user and network namespace of its own, with its loopback interface up. Where that cannot
/// be, the rows that need one say why.
///
/// # Errors
/// That the program itself cannot be started again.
pub fn enter() -> Result<()> {
    if env::var_os(STATE).is_some() {
        return Ok(());
    }
    let own = env::current_exe()?;
    let namespace = ["--net", "--map-root-user", "--", "ip", "link", "set", "lo", "up"];
    let (mut command, state) = match Command::new("unshare").args(namespace).output() {
        Ok(tried) if tried.status.success() => {
            let mut command = Command::new("unshare");
            command.args(["--net", "--map-root-user", "--", "sh", "-c", "ip link set lo up && exec \"$0\" \"$@\""]);
            command.arg(own);
            (command, INSIDE.to_owned())
        }
        Ok(tried) => (Command::new(own), String::from_utf8_lossy(&tried.stderr).trim().to_owned()),
        Err(error) => (Command::new(own), error.to_string()),
    };
    // It comes back only where it fails.
    let failed = command.args(env::args_os().skip(1)).env(STATE, state).exec();
    Err(failed).context("the drills cannot be started again")
}

/// The address of the node at the bridge; those of the pods lie below it.
const NODE: Ipv4Addr = Ipv4Addr::new(10, 98, 255, 254);

/// The bridge, or why there is none.
static BRIDGE: LazyLock<Result<(), String>> = LazyLock::new(|| {
    let lay = || {
        inside()?;
        // Without an address of its own a bridge takes the lowest of its ports', and another one when a pod comes.
        ip("link add mesh0 address 02:00:0a:62:ff:fe type bridge")?;
        ip(&format!("address add {NODE}/16 dev mesh0"))?;
        ip("link set mesh0 up")
    };
    lay().map_err(|error| format!("{error:#}"))
});

/// Where the control plane is reached: at the bridge that joins the pods.
///
/// # Errors
/// That the drills run in no namespace of their own, and why, or what `ip` says.
pub fn node() -> Result<IpAddr> {
    BRIDGE.as_ref().map_err(|why| anyhow!("{why}"))?;
    Ok(NODE.into())
}

/// A network namespace for a pod, with an address of its own.
///
/// # Errors
/// The same.
pub fn pod() -> Result<Place> {
    static PODS: AtomicU16 = AtomicU16::new(1);
    node()?;
    let number = PODS.fetch_add(1, Ordering::Relaxed);
    let [high, low] = number.to_be_bytes();
    let address = Ipv4Addr::new(10, 98, high, low).into();
    Place::entered(address, move || enter_pod(number, address))
}

/// Makes a pod's namespace, joins it to the bridge, and moves this thread there.
fn enter_pod(number: u16, address: IpAddr) -> Result<()> {
    // A program holds it until this thread is in it.
    let mut holder = Command::new("unshare");
    holder.args(["--net", "--", "sh", "-c", "ip link set lo up && echo up && exec cat"]);
    let mut holder = holder.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("unshare")?;
    let outcome = (|| {
        let mut said = String::new();
        BufReader::new(holder.stdout.take().context("its output")?).read_line(&mut said)?;
        if said.trim() != "up" {
            bail!("unshare --net made no namespace with a loopback interface");
        }
        let (pid, outside) = (holder.id(), format!("pod{number}"));
        ip(&format!("link add {outside} type veth peer name eth0 netns {pid}"))?;
        ip(&format!("link set {outside} master mesh0 up"))?;
        let namespace = File::open(format!("/proc/{pid}/ns/net"))?;
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
        ip(&format!("address add {address}/16 dev eth0"))?;
        ip("link set eth0 up")
    })();
    // It ends with its input.
    drop(holder.stdin.take());
    holder.wait()?;
    outcome
}

/// Loses the packets that one place sends to others.
///
/// There the routes to them lead to an interface that takes packets and forgets them (one end of a pair whose other end
/// belongs to nobody): whatever is sent is lost without a word, which is what `iptables -j DROP` does, without asking for
/// `iptables`.
#[derive(Debug)]
pub struct Losses {
    place: Place,
}

impl Losses {
    /// Lays the interface.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn lay(place: &Place) -> Result<Self> {
        let place = place.clone();
        ip_at(&place, "link add lost0 type veth peer name lost1")?;
        ip_at(&place, "link set lost0 arp off")?;
        ip_at(&place, "link set lost0 up")?;
        ip_at(&place, "link set lost1 up")?;
        Ok(Self { place })
    }

    /// From now on every packet to that address is lost.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn lose(&self, address: IpAddr) -> Result<()> {
        ip_at(&self.place, &format!("route add {address}/32 dev lost0"))
    }

    /// From now on they arrive again.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn deliver(&self, address: IpAddr) -> Result<()> {
        ip_at(&self.place, &format!("route delete {address}/32 dev lost0"))
    }
}

/// That the drills run in a network namespace of their own.
///
/// # Errors
/// Why they do not.
pub fn inside() -> Result<()> {
    match env::var(STATE) {
        Ok(state) if state == INSIDE => Ok(()),
        Ok(why) => bail!("this row needs a network namespace of its own, made by `unshare` and `ip`: {why}"),
        Err(_) => bail!("this row needs a network namespace of its own"),
    }
}

fn ip(arguments: &str) -> Result<()> {
    ip_at(&Place::default(), arguments)
}

fn ip_at(place: &Place, arguments: &str) -> Result<()> {
    let mut command = Command::new("ip");
    command.args(arguments.split(' '));
    let output = place.output(command).context("ip")?;
    if !output.status.success() {
        bail!("ip {arguments}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
