//! The filters that weft's listeners consist of.
use prost::Name;
use weft_ir::Listener;
use weft_model::Port;
use weft_proto::envoy::{
    config::{
        listener::v3::{Filter, ListenerFilter, filter, listener_filter},
        route::v3::{
            Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost, route::Action,
            route_action::ClusterSpecifier, route_match::PathSpecifier,
        },
    },
    extensions::filters::{
        http::{cors::v3::Cors, on_demand::v3::OnDemand, router::v3::Router},
        listener::tls_inspector::v3::TlsInspector,
        network::{
            http_connection_manager::v3::{
                HttpConnectionManager, HttpFilter, Rds, http_connection_manager::RouteSpecifier, http_filter,
            },
            tcp_proxy::v3::{TcpProxy, tcp_proxy},
        },
    },
};

use super::{
    common::{ads, duration, pack, required, text, unpack},
    fault::{Fault, Within, expect, fault, nothing_left},
};
use std::time::Duration;

pub(super) const HTTP: &str = "envoy.filters.network.http_connection_manager";
pub(super) const TCP: &str = "envoy.filters.network.tcp_proxy";

pub(super) fn network_filter<M: Name>(name: &str, message: &M) -> Filter {
    Filter { name: name.to_owned(), config_type: Some(filter::ConfigType::TypedConfig(pack(message))) }
}

pub(super) fn open_filter<M: Name + Default>(filter: Filter, name: &str) -> Result<M, Fault> {
    let Filter { name: own, config_type } = filter;
    expect("name", &own.as_str(), &name)?;
    match config_type {
        Some(filter::ConfigType::TypedConfig(any)) => unpack(any).within("typed_config"),
        Some(filter::ConfigType::ConfigDiscovery(_)) | None => Err(fault("typed_config", "it is missing")),
    }
}

/// Tells connections apart by the server name of their hello.
pub(super) fn tls_inspector() -> ListenerFilter {
    ListenerFilter {
        name: "envoy.filters.listener.tls_inspector".to_owned(),
        config_type: Some(listener_filter::ConfigType::TypedConfig(pack(&TlsInspector::default()))),
        ..ListenerFilter::default()
    }
}

/// HTTP whose routes come by name, and whose hosts come on demand.
pub(super) fn outbound_http(route_configuration: &str) -> HttpConnectionManager {
    HttpConnectionManager {
        stat_prefix: Listener::OUTBOUND.to_owned(),
        route_specifier: Some(RouteSpecifier::Rds(Rds {
            config_source: Some(ads()),
            route_config_name: route_configuration.to_owned(),
        })),
        // The router is last: with nothing behind it requests would hang.
        http_filters: vec![
            http_filter("envoy.filters.http.on_demand", &OnDemand::default()),
            http_filter(super::cors::FILTER, &Cors::default()),
            http_filter("envoy.filters.http.router", &Router::default()),
        ],
        ..HttpConnectionManager::default()
    }
}

/// Reads the name of the route configuration back.
pub(super) fn read_outbound_http(manager: &HttpConnectionManager) -> Result<String, Fault> {
    let Some(RouteSpecifier::Rds(rds)) = &manager.route_specifier else {
        return Err(fault("rds", "it is missing, and only it is read"));
    };
    let name = text("rds.route_config_name", rds.route_config_name.clone())?;
    if name.is_empty() {
        return Err(fault("rds.route_config_name", "it is empty"));
    }
    let mut found = manager.clone();
    let expected = outbound_http(&name);
    // Servers and caches of the time before it lack the CORS filter: nothing of theirs asks for it.
    if found.http_filters.len() + 1 == expected.http_filters.len() {
        found.http_filters.insert(1, http_filter(super::cors::FILTER, &Cors::default()));
    }
    expect_same(&found, &expected)?;
    Ok(name)
}

pub(super) fn open_http_filter<M: Name + Default>(filter: HttpFilter, name: &str) -> Result<M, Fault> {
    let mut filter = filter;
    expect("name", &std::mem::take(&mut filter.name).as_str(), &name)?;
    let config = filter.config_type.take();
    nothing_left(&filter)?;
    match config {
        Some(http_filter::ConfigType::TypedConfig(any)) => unpack(any).within("typed_config"),
        Some(http_filter::ConfigType::ConfigDiscovery(_)) | None => Err(fault("typed_config", "it is missing")),
    }
}

/// HTTP for the application beside this proxy, behind filters that permit.
pub(super) fn inbound_http(
    (stat_prefix, host, port): (&str, &str, Port),
    access: Vec<HttpFilter>,
) -> HttpConnectionManager {
    let to_application = RouteAction {
        cluster_specifier: Some(ClusterSpecifier::Cluster(application(port))),
        timeout: Some(duration(Duration::ZERO)),
        ..RouteAction::default()
    };
    let route = Route {
        r#match: Some(RouteMatch {
            path_specifier: Some(PathSpecifier::Prefix("/".to_owned())),
            ..RouteMatch::default()
        }),
        action: Some(Action::Route(to_application)),
        ..Route::default()
    };
    let virtual_host = VirtualHost {
        name: host.to_owned(),
        domains: vec!["*".to_owned()],
        routes: vec![route],
        ..VirtualHost::default()
    };
    HttpConnectionManager {
        stat_prefix: stat_prefix.to_owned(),
        route_specifier: Some(RouteSpecifier::RouteConfig(RouteConfiguration {
            name: stat_prefix.to_owned(),
            virtual_hosts: vec![virtual_host],
            ..RouteConfiguration::default()
        })),
        http_filters: access
            .into_iter()
            .chain([http_filter("envoy.filters.http.router", &Router::default())])
            .collect(),
        ..HttpConnectionManager::default()
    }
}

/// Opaque bytes to a cluster.
pub(super) fn tcp_proxy(stat_prefix: &str, cluster: &str) -> TcpProxy {
    TcpProxy {
        stat_prefix: stat_prefix.to_owned(),
        cluster_specifier: Some(tcp_proxy::ClusterSpecifier::Cluster(cluster.to_owned())),
        ..TcpProxy::default()
    }
}

/// Reads the cluster of a TCP proxy back.
pub(super) fn read_tcp_proxy(mut proxy: TcpProxy) -> Result<String, Fault> {
    proxy.stat_prefix.clear();
    let Some(tcp_proxy::ClusterSpecifier::Cluster(cluster)) = proxy.cluster_specifier.take() else {
        return Err(fault("cluster", "it is missing, and only it is read"));
    };
    nothing_left(&proxy)?;
    text("cluster", cluster)
}

/// The name of the cluster that is the application's port on this workload.
pub(super) fn application(port: Port) -> String {
    format!("application/{port}")
}

/// Checks that a filter's message reads as weft writes it, and names the first field that does not.
pub(super) fn expect_same<M: PartialEq + std::fmt::Debug>(found: &M, expected: &M) -> Result<(), Fault> {
    if found == expected {
        return Ok(());
    }
    Err(fault(&super::fault::first_difference(found, expected), "it is not the one form of it that this version reads"))
}

/// The only filter chain of a listener that needs no choice.
pub(super) fn only<T>(field: &str, items: Vec<T>) -> Result<T, Fault> {
    let mut items = items.into_iter();
    let first = required(field, items.next())?;
    if items.next().is_some() { Err(fault(field, "there is more than one")) } else { Ok(first) }
}

pub(super) fn http_filter<M: Name>(name: &str, message: &M) -> HttpFilter {
    HttpFilter {
        name: name.to_owned(),
        config_type: Some(http_filter::ConfigType::TypedConfig(pack(message))),
        ..HttpFilter::default()
    }
}
