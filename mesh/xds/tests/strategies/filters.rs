//! Every value of what routes change.
use proptest::{option, prelude::*};
use weft_ir::{Mirror, ServicePort};
use weft_model::{Cors, HeaderFilters, PathRewrite, Redirect, UrlRewrite, strategies};

pub(super) fn headers() -> impl Strategy<Value = Option<Box<HeaderFilters>>> {
    let headers = option::weighted(0.3, strategies::header_filters());
    headers.prop_map(|headers| headers.filter(|headers| !headers.is_empty()).map(Box::new))
}

pub(super) fn cors() -> impl Strategy<Value = Option<Box<Cors>>> {
    option::weighted(0.2, strategies::cors().prop_map(Box::new))
}

/// Clusters with copies, each share of any denominator.
pub(super) fn mirrors(clusters: impl Strategy<Value = ServicePort>) -> impl Strategy<Value = Vec<Mirror>> {
    let share = prop_oneof![1..=1_000_000_u32, (1..=100_u32).prop_map(|percent| percent * 10_000), Just(1), Just(100)];
    let mirror = (clusters, share).prop_map(|(cluster, per_million)| Mirror { cluster: cluster.into(), per_million });
    proptest::collection::vec(mirror, 0..3)
}

pub(super) fn rewrite() -> impl Strategy<Value = Option<UrlRewrite>> {
    option::weighted(0.3, strategies::url_rewrite(true))
}

pub(super) fn redirect() -> impl Strategy<Value = Option<Redirect>> {
    option::of(strategies::redirect(true))
}

/// What of a rewrite a route can do: without a prefix that it matches there is none to replace.
pub(super) fn fitting(rewrite: UrlRewrite, by_prefix: bool) -> Option<UrlRewrite> {
    let UrlRewrite { host, path } = rewrite;
    let path = fitting_path(path, by_prefix);
    (host.is_some() || path.is_some()).then_some(UrlRewrite { host, path })
}

pub(super) fn fitting_redirect(redirect: Redirect, by_prefix: bool) -> Redirect {
    Redirect { path: fitting_path(redirect.path.clone(), by_prefix), ..redirect }
}

fn fitting_path(path: Option<PathRewrite>, by_prefix: bool) -> Option<PathRewrite> {
    path.filter(|path| by_prefix || matches!(path, PathRewrite::Full(_)))
}
