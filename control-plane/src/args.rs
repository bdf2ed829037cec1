//! The command line of a control plane.
use std::{fs::DirBuilder, io, net::SocketAddr, os::unix::fs::DirBuilderExt, path::PathBuf, time::Duration};

use weft_certs::MAX_LIFETIME;
use weft_ir::MeshNames;
use weft_model::{ClusterName, Host, TrustDomain, duration};

use crate::{Config, SealingKeySource};

/// The environment variable that holds the sealing key where no file is named.
pub const SEALING_KEY_VARIABLE: &str = "WEFT_SEALING_KEY";

/// Run a control plane: store, certificate authority, xDS, and the admin API.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The store's directory.
    #[arg(long, env = "WEFT_DIR", value_name = "DIR")]
    pub dir: PathBuf,
    /// Where xDS, Agent streams and the certificate service are served; port 0 is the system's choice.
    #[arg(long, env = "WEFT_GRPC", value_name = "IP:PORT", default_value = "127.0.0.1:15012")]
    pub grpc: SocketAddr,
    /// Where the admin API is served; port 0 is the system's choice.
    #[arg(long, env = "WEFT_API", value_name = "IP:PORT", default_value = "127.0.0.1:15014")]
    pub api: SocketAddr,
    /// The trust domain: the first part of every SPIFFE ID.
    #[arg(long, env = "WEFT_TRUST_DOMAIN", default_value = "weft.local")]
    pub trust_domain: TrustDomain,
    /// The DNS suffix of services.
    #[arg(long, env = "WEFT_MESH_DOMAIN", default_value = "cluster.local")]
    pub mesh_domain: Host,
    /// The name of this cluster.
    #[arg(long, env = "WEFT_CLUSTER", default_value = "local")]
    pub cluster: ClusterName,
    /// The file with the key that the CA's key is sealed under (64 hexadecimal digits, mode 0600); made with the first
    /// start. Without it the key is taken from WEFT_SEALING_KEY, else from ~/.config/weft/sealing.key.
    #[arg(long, env = "WEFT_SEALING_KEY_FILE", value_name = "FILE")]
    pub sealing_key_file: Option<PathBuf>,
    /// Where the context file for the admin API is written (mode 0600); ~/.config/weft/context.json by default. A file
    /// of another mesh is left alone. (WEFT_CONTEXT names the file that `weft` reads: nothing is written there.)
    #[arg(long, env = "WEFT_CONTEXT_FILE", value_name = "FILE")]
    pub context_file: Option<PathBuf>,
    /// How long a certificate is valid, as in 20s, 15m or 24h: five seconds to a day. It is renewed before half of that
    /// is over.
    #[arg(long, env = "WEFT_LEAF_TTL", value_name = "DURATION", default_value = "24h", value_parser = leaf_ttl)]
    pub leaf_ttl: Duration,
    /// How long after its expiry a certificate may be used, once, to prove possession for the next one (never for
    /// anything else), as in 168h: at most 720h, 0s for never.
    #[arg(long, env = "WEFT_RECOVERY", value_name = "DURATION", default_value = "168h", value_parser = recovery)]
    pub recovery: Duration,
}

impl Args {
    /// The configuration that these arguments and the environment stand for.
    ///
    /// # Errors
    /// Where a default place is needed and neither `HOME` nor `XDG_CONFIG_HOME` is set, or it cannot be made: what to
    /// give instead.
    pub fn config(self) -> Result<Config, String> {
        let sealing_key = match self.sealing_key_file {
            Some(file) => SealingKeySource::File(file),
            None if std::env::var_os(SEALING_KEY_VARIABLE).is_some() => {
                SealingKeySource::Variable(SEALING_KEY_VARIABLE.to_owned())
            }
            None => SealingKeySource::File(configuration_folder("--sealing-key-file")?.join("sealing.key")),
        };
        let context_file = match self.context_file {
            Some(file) => file,
            None => configuration_folder("--context-file")?.join("context.json"),
        };
        Ok(Config {
            dir: self.dir,
            sealing_key,
            context_file: Some(context_file),
            names: MeshNames { trust_domain: self.trust_domain, mesh_domain: self.mesh_domain, cluster: self.cluster },
            grpc: self.grpc,
            api: self.api,
            leaf_lifetime: self.leaf_ttl,
            recovery: self.recovery,
            lease: Config::DEFAULT_LEASE,
        })
    }
}

/// The shortest life of a certificate: whole seconds, back-dating and a renewal that is tried again must fit in.
const SHORTEST_LEAF: Duration = Duration::from_secs(5);

fn leaf_ttl(text: &str) -> Result<Duration, String> {
    let ttl = duration::parse(text).ok_or("it is not a duration such as 20s, 15m or 24h")?;
    if (SHORTEST_LEAF..=MAX_LIFETIME).contains(&ttl) { Ok(ttl) } else { Err("it is not from 5s to 24h".to_owned()) }
}

/// The longest recovery time: 30 days.
const LONGEST_RECOVERY: Duration = Duration::from_secs(30 * 24 * 3600);

fn recovery(text: &str) -> Result<Duration, String> {
    let time = duration::parse(text).ok_or("it is not a duration such as 24h or 168h")?;
    if time <= LONGEST_RECOVERY { Ok(time) } else { Err("it is more than 720h".to_owned()) }
}

/// The user's folder for weft: `$XDG_CONFIG_HOME/weft`, else `$HOME/.config/weft`.
fn configuration_folder(flag: &str) -> Result<PathBuf, String> {
    let base = std::env::var_os("XDG_CONFIG_HOME").filter(|it| !it.is_empty()).map(PathBuf::from).or_else(|| {
        std::env::var_os("HOME").filter(|it| !it.is_empty()).map(|home| PathBuf::from(home).join(".config"))
    });
    let base =
        base.ok_or_else(|| format!("there is no home folder (neither XDG_CONFIG_HOME nor HOME is set): give {flag}"))?;
    made(base.join("weft")).map_err(|(folder, error)| format!("cannot make {}: {error}; give {flag}", folder.display()))
}

/// Makes a folder that only its owner may enter, as on a machine that weft is new to; one that exists is kept as it is.
fn made(folder: PathBuf) -> Result<PathBuf, (PathBuf, io::Error)> {
    match DirBuilder::new().recursive(true).mode(0o700).create(&folder) {
        Ok(()) => Ok(folder),
        Err(error) => Err((folder, error)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use clap::{Args as _, Command, FromArgMatches};

    use super::*;

    /// `WEFT_CONTEXT` names what people's commands read: another mesh's context was once overwritten through it.
    #[test]
    fn the_file_that_is_written_is_not_taken_from_what_names_the_file_to_read() {
        let command = Args::augment_args(Command::new("test"));
        let variables: Vec<_> = command.get_arguments().filter_map(|argument| argument.get_env()).collect();
        assert!(variables.iter().any(|name| *name == "WEFT_CONTEXT_FILE"), "{variables:?}");
        assert!(!variables.iter().any(|name| *name == "WEFT_CONTEXT"), "{variables:?}");
    }

    #[test]
    fn a_lifetime_that_no_certificate_gets_is_not_taken() {
        let lifetime = |ttl: &str| {
            let command = Args::augment_args(Command::new("test"));
            let arguments = ["test", "--dir", "store", "--leaf-ttl", ttl];
            let matches = command.try_get_matches_from(arguments).map_err(|error| error.to_string())?;
            Ok::<_, String>(Args::from_arg_matches(&matches).map_err(|error| error.to_string())?.leaf_ttl)
        };
        assert_eq!(lifetime("5s"), Ok(SHORTEST_LEAF));
        assert_eq!(lifetime("24h"), Ok(MAX_LIFETIME));
        for (ttl, reason) in [("4s", "from 5s to 24h"), ("24h1s", "from 5s to 24h"), ("3600", "not a duration")] {
            let error = lifetime(ttl).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
        assert!(Config::DEFAULT_LEAF_LIFETIME <= MAX_LIFETIME);
    }

    /// The first start on a machine failed: nobody had made the folder that the sealing key goes to.
    #[test]
    fn the_folder_for_key_and_context_is_made_for_its_owner_alone() {
        let home = tempfile::tempdir().unwrap();
        let folder = made(home.path().join("config/weft")).unwrap();
        assert_eq!(std::fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(made(folder.clone()).unwrap(), folder);
    }
}
