//! What a snapshot makes of single resources, so that deciding costs no more than it must.
use std::sync::Arc;

use regex::{Regex, bytes};
use regex_syntax::ParserBuilder;
use weft_ir::{
    HeaderMatch, InboundChain, Listener, ListenerBody, OutboundTcp, RequestMatch, Resource, Route, RouteAction,
    ServiceKey, VirtualHost,
};
use weft_model::{PathMatch, PathRewrite, TextMatch};

use super::lanes::Lanes;
use crate::{cors::Texts, normalize};

/// The longest source of a regular expression, in bytes.
const MAX_REGEX: usize = 1024;

/// The most memory that a compiled regular expression may take, in bytes.
const MAX_COMPILED: usize = 1 << 20;

/// A resource that cannot be taken, whatever else is known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// A regular expression that does not compile within its bounds.
    #[error("the regular expression {source_text:?} cannot be used: {reason}")]
    Regex {
        /// Its source, at most its first 128 characters.
        source_text: String,
        /// Why.
        reason: String,
    },
    /// A path to put in another's place that is none in normal form.
    #[error("the path {0:?} cannot replace another: it is not in normal form")]
    Path(String),
    /// An outbound TCP listener whose name is not `outbound/<service port>`.
    #[error("the TCP listener {0:?} is not named outbound/<cluster>/<namespace>/<service>:<port>")]
    ListenerName(String),
}

/// Whether a resource can be taken: what an xDS client asks before it acknowledges one.
///
/// # Errors
/// What is wrong with it, for the rejection's text.
pub fn check(resource: &Resource) -> Result<(), Unusable> {
    match resource {
        Resource::VirtualHost(host) => HostEntry::new(Arc::clone(host)).map(drop),
        Resource::Listener(listener) => {
            TcpEntry::new(Arc::clone(listener))?;
            ListenerEntry::new(Arc::clone(listener)).map(drop)
        }
        Resource::Cluster(_) | Resource::Endpoints(_) | Resource::RouteConfiguration(_) => Ok(()),
    }
}

/// A header's or parameter's compiled regular expression, where its match is one.
pub(crate) type HeaderPattern = Option<Lanes<bytes::Regex>>;

/// The compiled regular expressions of one route, beside the IR that holds their sources.
#[derive(Clone, Debug)]
pub(crate) struct Patterns {
    pub(crate) path: Option<Lanes<Regex>>,
    /// One for each header match.
    pub(crate) headers: Vec<HeaderPattern>,
    /// One for each match on a query parameter.
    pub(crate) query: Vec<HeaderPattern>,
    /// What CORS says, if it says anything.
    pub(crate) cors: Option<Texts>,
}

/// A virtual host, ready to route by.
#[derive(Clone, Debug)]
pub struct HostEntry {
    host: Arc<VirtualHost>,
    patterns: Vec<Patterns>,
}

impl HostEntry {
    /// Compiles the host's regular expressions.
    pub(super) fn new(host: Arc<VirtualHost>) -> Result<Self, Unusable> {
        let patterns = host.routes.iter().map(patterns).collect::<Result<_, _>>()?;
        host.routes.iter().try_for_each(check_rewrites)?;
        Ok(Self { host, patterns })
    }

    /// The virtual host.
    pub fn virtual_host(&self) -> &Arc<VirtualHost> {
        &self.host
    }

    /// The clusters that its routes forward to or mirror at, with repetitions; not those whose share is refused.
    pub(super) fn clusters(&self) -> impl Iterator<Item = &ServiceKey> {
        self.host.routes.iter().flat_map(|route| {
            let shares = match &route.action {
                RouteAction::Forward(clusters) => clusters.as_slice(),
                RouteAction::Redirect(_) | RouteAction::Respond { .. } | RouteAction::Refuse { .. } => &[],
            };
            let taken = shares.iter().filter(|weighted| weighted.refusal.is_none()).map(|weighted| &weighted.cluster);
            taken.chain(route.mirrors.iter().map(|mirror| &mirror.cluster))
        })
    }

    pub(crate) fn routes(&self) -> impl Iterator<Item = (&Route, &Patterns)> {
        self.host.routes.iter().zip(&self.patterns)
    }
}

fn patterns(route: &Route) -> Result<Patterns, Unusable> {
    let path = path_pattern(&route.matches.path)?;
    let headers = header_patterns(&route.matches.headers)?;
    let query = route.matches.query.iter().map(|parameter| text_pattern(&parameter.value)).collect::<Result<_, _>>()?;
    let cors = route.cors.as_deref().map(Texts::of);
    Ok(Patterns { path, headers, query, cors })
}

fn path_pattern(path: &PathMatch) -> Result<Option<Lanes<Regex>>, Unusable> {
    match path {
        PathMatch::Regex(source) => {
            compile(source, |text| regex::RegexBuilder::new(text).size_limit(MAX_COMPILED).build()).map(Some)
        }
        PathMatch::Exact(_) | PathMatch::Prefix(_) => Ok(None),
    }
}

fn header_patterns(headers: &[HeaderMatch]) -> Result<Vec<HeaderPattern>, Unusable> {
    headers.iter().map(|header| text_pattern(&header.value)).collect()
}

fn text_pattern(value: &TextMatch) -> Result<HeaderPattern, Unusable> {
    match value {
        TextMatch::Regex(source) => {
            compile(source, |text| bytes::RegexBuilder::new(text).size_limit(MAX_COMPILED).build()).map(Some)
        }
        TextMatch::Exact(_) => Ok(None),
    }
}

/// The compiled regular expressions of one access rule: a set for each of its requests.
pub(crate) type RulePatterns = Vec<RequestPatterns>;

/// The compiled regular expressions of one match of requests.
#[derive(Clone, Debug)]
pub(crate) struct RequestPatterns {
    pub(crate) path: Option<Lanes<Regex>>,
    /// One for each header match.
    pub(crate) headers: Vec<HeaderPattern>,
}

fn request_patterns(request: &RequestMatch) -> Result<RequestPatterns, Unusable> {
    let path = request.path.as_ref().map(path_pattern).transpose()?.flatten();
    Ok(RequestPatterns { path, headers: header_patterns(&request.headers)? })
}

/// A listener, ready to permit by.
#[derive(Clone, Debug)]
pub(super) struct ListenerEntry {
    listener: Arc<Listener>,
    /// For each chain the key by which its service is recorded, and the expressions of its rules.
    chains: Vec<(ServiceKey, Vec<RulePatterns>)>,
}

impl ListenerEntry {
    /// Compiles the regular expressions of the rules of its chains.
    pub(super) fn new(listener: Arc<Listener>) -> Result<Self, Unusable> {
        let rule = |requests: &Vec<RequestMatch>| requests.iter().map(request_patterns).collect::<Result<_, _>>();
        let chain = |chain: &InboundChain| {
            let rules = chain.access.rules.iter().map(|it| rule(&it.requests)).collect::<Result<_, _>>()?;
            Ok((ServiceKey::from(chain.service.clone()), rules))
        };
        let chains = chains_of(&listener).iter().map(chain).collect::<Result<_, _>>()?;
        Ok(Self { listener, chains })
    }

    /// A listener without chains.
    pub(super) fn outbound(listener: Arc<Listener>) -> Self {
        Self { listener, chains: Vec::new() }
    }

    /// The listener.
    pub(super) fn listener(&self) -> &Arc<Listener> {
        &self.listener
    }

    /// The server names of its chains.
    pub(super) fn server_names(&self) -> impl Iterator<Item = &str> {
        chains_of(&self.listener).iter().map(|chain| chain.sni.as_str())
    }

    /// The chain of that place, for one worker.
    pub(super) fn chain(&self, place: usize, lane: usize) -> Option<Chain<'_>> {
        let (chain, (key, rules)) = (chains_of(&self.listener).get(place)?, self.chains.get(place)?);
        Some(Chain { chain, key, rules, lane })
    }
}

fn chains_of(listener: &Listener) -> &[InboundChain] {
    match &listener.body {
        ListenerBody::Inbound(inbound) => &inbound.chains,
        ListenerBody::OutboundHttp { .. } | ListenerBody::OutboundTcp(_) => &[],
    }
}

/// An inbound chain of a snapshot, ready to permit by.
#[derive(Clone, Copy, Debug)]
pub struct Chain<'s> {
    chain: &'s InboundChain,
    key: &'s ServiceKey,
    rules: &'s [RulePatterns],
    lane: usize,
}

impl<'s> Chain<'s> {
    /// What it was made from.
    pub fn ir(&self) -> &'s InboundChain {
        self.chain
    }

    /// By what its service is recorded.
    pub fn key(&self) -> &'s ServiceKey {
        self.key
    }

    /// Its access rules, each with its compiled expressions.
    pub(crate) fn rules(&self) -> impl Iterator<Item = (&'s weft_ir::AccessRule, &'s RulePatterns)> {
        self.chain.access.rules.iter().zip(self.rules)
    }

    /// Whose clones of regular expressions are used.
    pub(crate) fn lane(&self) -> usize {
        self.lane
    }
}

/// Checks that what a route puts in a path's place is one in normal form, so that what is forwarded is, too.
fn check_rewrites(route: &Route) -> Result<(), Unusable> {
    let redirect = match &route.action {
        RouteAction::Redirect(redirect) => redirect.path.as_ref(),
        RouteAction::Forward(_) | RouteAction::Respond { .. } | RouteAction::Refuse { .. } => None,
    };
    let rewrite = route.rewrite.as_deref().and_then(|rewrite| rewrite.path.as_ref());
    let paths = redirect.into_iter().chain(rewrite).map(|path| match path {
        PathRewrite::Prefix(prefix) if prefix.is_empty() => "/",
        PathRewrite::Full(path) | PathRewrite::Prefix(path) => path,
    });
    let wrong = |path: &&str| !normalize::is_normal_path(path);
    match paths.into_iter().find(wrong) {
        Some(path) => Err(Unusable::Path(path.chars().take(128).collect())),
        None => Ok(()),
    }
}

/// Compiles `source` so that it matches whole texts only.
fn compile<R: Clone>(source: &str, build: impl Fn(&str) -> Result<R, regex::Error>) -> Result<Lanes<R>, Unusable> {
    let unusable = |reason: String| Unusable::Regex { source_text: source.chars().take(128).collect(), reason };
    if source.len() > MAX_REGEX {
        return Err(unusable(format!("it is longer than {MAX_REGEX} bytes")));
    }
    // On its own first: `a)|(b` is no expression, but becomes one between parentheses. To read it is enough for that.
    let read = ParserBuilder::new().utf8(false).build().parse(source);
    read.map_err(|error| unusable(error.to_string()))?;
    build(&format!(r"\A(?:{source})\z")).map(Lanes::new).map_err(|error| unusable(error.to_string()))
}

/// The outbound listener of a TCP service port.
#[derive(Clone, Debug)]
pub struct TcpEntry {
    listener: Arc<Listener>,
    service: ServiceKey,
    body: OutboundTcp,
}

impl TcpEntry {
    /// The entry of a listener, if it is one of a TCP service port.
    pub(super) fn new(listener: Arc<Listener>) -> Result<Option<Self>, Unusable> {
        let ListenerBody::OutboundTcp(body) = &listener.body else { return Ok(None) };
        let body = body.clone();
        let prefix = listener.name.strip_prefix("outbound/");
        let service = prefix.and_then(|name| name.parse().ok());
        let service = service.ok_or_else(|| Unusable::ListenerName(listener.name.clone()))?;
        Ok(Some(Self { listener, service, body }))
    }

    /// The listener.
    pub fn listener(&self) -> &Arc<Listener> {
        &self.listener
    }

    /// The service port that clients address.
    pub fn service(&self) -> &ServiceKey {
        &self.service
    }

    /// Where its connections go.
    pub fn body(&self) -> &OutboundTcp {
        &self.body
    }
}
