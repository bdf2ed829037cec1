//! Every value of what routes change.
use proptest::{option, prelude::*};
use weft_model::{HeaderFilters, PathRewrite, Redirect, UrlRewrite, strategies};

pub(super) fn headers() -> impl Strategy<Value = Option<Box<HeaderFilters>>> {
    let headers = option::weighted(0.3, strategies::header_filters());
    headers.prop_map(|headers| headers.filter(|headers| !headers.is_empty()).map(Box::new))
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
