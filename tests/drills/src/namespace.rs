//! The network namespace in which the drills run: packets can be lost and looked at there without the machine's own
//! noticing.
use std::{
    env,
    ffi::OsStr,
    net::{IpAddr, Ipv4Addr},
    os::unix::process::CommandExt,
    process::Command,
};

use anyhow::{Context as _, Result, bail};

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

/// Addresses at which packets can be lost.
///
/// They lie in a network whose only interface takes packets and forgets them (one end of a pair whose other end belongs to
/// nobody). As long as an address stands on the loopback interface too, it is delivered here. Once it is taken from there,
/// whatever is sent to it is lost without a word: what `iptables -j DROP` does, without asking for `iptables`.
#[derive(Debug)]
pub struct Losses(());

impl Losses {
    /// Lays the network.
    ///
    /// # Errors
    /// That the drills run in no namespace of their own, and why, or what `ip` says.
    pub fn lay() -> Result<Self> {
        inside()?;
        ip(&["link", "add", "lost0", "type", "veth", "peer", "name", "lost1"])?;
        ip(&["link", "set", "lost0", "arp", "off"])?;
        for interface in ["lost0", "lost1"] {
            ip(&["link", "set", interface, "up"])?;
        }
        ip(&["address", "add", "10.99.255.254/16", "dev", "lost0"])?;
        Ok(Self(()))
    }

    /// An address for one instance, at which it can be reached.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn address(&self, instance: u8) -> Result<IpAddr> {
        let address = Ipv4Addr::new(10, 99, 0, instance).into();
        self.deliver(address)?;
        Ok(address)
    }

    /// From now on every packet to that address is lost.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn lose(&self, address: IpAddr) -> Result<()> {
        ip(&["address", "delete", &format!("{address}/32"), "dev", "lo"])
    }

    /// From now on they arrive again.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn deliver(&self, address: IpAddr) -> Result<()> {
        ip(&["address", "add", &format!("{address}/32"), "dev", "lo"])
    }
}

impl Drop for Losses {
    fn drop(&mut self) {
        // It goes with the namespace anyway.
        let _gone = ip(&["link", "delete", "lost0"]);
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

fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(arguments.iter().map(OsStr::new)).output().context("ip")?;
    if !output.status.success() {
        bail!("ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
