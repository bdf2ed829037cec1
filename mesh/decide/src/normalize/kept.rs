//! A request that is kept beyond its head: what it has opened is judged by it again when policies change.
use std::{borrow::Cow, net::IpAddr};

use weft_model::Port;

use super::{Authority, Normal, Target};

/// A request head in canonical form, on its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptRequest {
    method: String,
    full_host: String,
    port: Port,
    host: String,
    path: String,
    query: Option<String>,
    headers: Vec<(Vec<u8>, Vec<u8>)>,
    source: Option<IpAddr>,
}

impl KeptRequest {
    /// Keeps a request.
    pub fn of(request: &Normal<'_>) -> Self {
        let Normal { method, authority, host, target: Target { path, query }, headers, source } = request;
        Self {
            method: (*method).to_owned(),
            full_host: authority.host().to_owned(),
            port: authority.port(),
            host: host.clone().into_owned(),
            path: path.clone().into_owned(),
            query: query.map(str::to_owned),
            headers: headers.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect(),
            source: *source,
        }
    }

    /// Reads it as it was.
    pub fn read<T>(&self, read: impl FnOnce(&Normal<'_>) -> T) -> T {
        let Self { method, full_host, port, host, path, query, headers, source } = self;
        let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_slice(), value.as_slice())).collect();
        read(&Normal {
            method,
            authority: Authority { host: Cow::Borrowed(full_host), port: *port },
            host: Cow::Borrowed(host),
            target: Target { path: Cow::Borrowed(path), query: query.as_deref() },
            headers: &headers,
            source: *source,
        })
    }
}
