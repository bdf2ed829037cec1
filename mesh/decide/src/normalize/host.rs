//! Authorities: one text for each host, however it is written.
use std::{borrow::Cow, fmt};

use weft_ir::HostPort;
use weft_model::Port;

use super::BadRequest;
use crate::Scope;

/// A canonical authority: host in lower case, in full, without a trailing dot; port split off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority<'a> {
    pub(super) host: Cow<'a, str>,
    pub(super) port: Port,
}

impl Authority<'_> {
    /// The host: `<service>.<namespace>.svc.<mesh domain>` for every way to write a service.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port that the client named, 80 where it named none.
    pub fn port(&self) -> Port {
        self.port
    }

    /// The key of the virtual host. Allocates.
    ///
    /// # Errors
    /// None in fact: the host was checked by the same rules; the type leaves it to the caller all the same.
    pub fn host_port(&self) -> Result<HostPort, BadRequest> {
        Ok(HostPort { host: self.host.parse().map_err(|_| BadRequest::HostName)?, port: self.port })
    }
}

impl fmt::Display for Authority<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Port::HTTP => f.write_str(&self.host),
            port => write!(f, "{}:{port}", self.host),
        }
    }
}

/// The canonical authority of a Host header's value, and the value as it is forwarded: in lower case, without a trailing
/// dot or an empty port, and not expanded, so that an application sees the name that its client used.
///
/// `svc` is in the scope's own namespace; `svc.ns` and `svc.ns.svc` are in the mesh domain; other names stay.
pub(super) fn authority<'a>(scope: &Scope, value: &'a [u8]) -> Result<(Authority<'a>, Cow<'a, str>), BadRequest> {
    if value.is_empty() {
        return Err(BadRequest::HostMissing);
    }
    if value.contains(&b',') {
        return Err(BadRequest::HostList);
    }
    if value.contains(&b'@') {
        return Err(BadRequest::HostUserInfo);
    }
    // An IPv6 address names no service, and its colons are no port's.
    if value.starts_with(b"[") {
        return Err(BadRequest::HostName);
    }
    let value = str::from_utf8(value).map_err(|_| BadRequest::HostName)?;
    let (host, written) = match value.split_once(':') {
        // RFC 3986 §3.2.3: an empty port is the scheme's.
        Some((host, "")) => (host, None),
        Some((host, port)) => (host, Some(port)),
        None => (value, None),
    };
    let port = written.map_or(Ok(Port::HTTP), |port| port.parse().map_err(|_| BadRequest::HostPort))?;
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.is_empty() {
        return Err(BadRequest::HostMissing);
    }
    let lower = lower(host)?;
    let length = host.len() + written.map_or(0, |port| port.len() + 1);
    let forwarded = match (&lower, written) {
        (Cow::Borrowed(_), _) if length == value.len() => Cow::Borrowed(value),
        (host, Some(port)) => Cow::Owned(format!("{host}:{port}")),
        (host, None) => host.clone(),
    };
    Ok((Authority { host: canonical(scope, lower)?, port }, forwarded))
}

/// The name in lower case, checked by the rules of [`weft_model::Host`].
fn lower(host: &str) -> Result<Cow<'_, str>, BadRequest> {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if host.len() > 253 || !host.split('.').all(is_label) {
        return Err(BadRequest::HostName);
    }
    let shouts = host.bytes().any(|byte| byte.is_ascii_uppercase());
    Ok(if shouts { Cow::Owned(host.to_ascii_lowercase()) } else { Cow::Borrowed(host) })
}

fn canonical<'a>(scope: &Scope, host: Cow<'a, str>) -> Result<Cow<'a, str>, BadRequest> {
    let full = scope.names.full_host(&scope.namespace, host);
    if full.len() > 253 { Err(BadRequest::HostName) } else { Ok(full) }
}
