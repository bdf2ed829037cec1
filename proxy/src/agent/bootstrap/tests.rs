use super::*;
use crate::dataplane::ServeHttp10;

const WHOLE: &str = r#"node:
  id: shop/web-1
  cluster: east
  locality: {region: eu, zone: eu-1}
admin:
  address:
    pipe: {path: /run/weft/admin.sock, mode: 384}
dynamic_resources:
  ads_config:
    api_type: DELTA_GRPC
    transport_api_version: V3
    grpc_services:
      - envoy_grpc: {cluster_name: control-plane}
  lds_config: {resource_api_version: V3, ads: {}}
  cds_config: {resource_api_version: V3, ads: {}}
static_resources:
  clusters:
    - name: control-plane
      type: STATIC
      load_assignment:
        cluster_name: control-plane
        endpoints:
          - lb_endpoints:
              - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 15012}}}
bootstrap_extensions:
  - name: weft.agent
    typed_config:
      "@type": type.googleapis.com/weft.v1.Agent
      namespace: shop
      account: web
      workload: web-1
      labels: {app: web, version: "1.10"}
      applications: {http: "127.0.0.1:8080"}
      health: {interval: 10s, unhealthy_interval: 0.2s, timeout: 0.5s, healthy_threshold: 1, unhealthy_threshold: 3}
      inbound: 127.0.0.1:0
      outbound: "[::1]:0"
      tcp:
        - {service: "shop/stock:9000", bind: "127.0.0.1:0"}
      status: 127.0.0.1:0
      state_directory: /var/lib/weft
      control_plane: cp.example:15012
      ca_sha256: 00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF
      on_demand_timeout: 0.25s
      http10: {serve: keep-alive, defaultHost: reviews.shop}
      workers: 2
"#;

/// The errors of a text as `line field: text`.
fn errors(text: &str) -> Vec<String> {
    Bootstrap::parse(text).unwrap_err().0.iter().map(ToString::to_string).collect()
}

#[test]
fn a_bootstrap_is_read_whole() {
    let it = Bootstrap::parse(WHOLE).unwrap();
    assert_eq!(it.identity().as_str(), "spiffe://weft.local/ns/shop/sa/web");
    assert_eq!(it.workload_ref().to_string(), "shop/web-1");
    assert_eq!(it.mesh.cluster.as_str(), "east");
    assert_eq!(it.locality.zone.as_ref().unwrap().as_str(), "eu-1");
    assert_eq!(it.labels["version"], "1.10");
    assert_eq!(it.tcp[0].service.to_string(), "east/shop/stock:9000");
    assert_eq!(it.ads.to_string(), "127.0.0.1:15012");
    assert_eq!(it.control_plane.to_string(), "cp.example:15012");
    assert_eq!(it.on_demand_timeout, Duration::from_millis(250));
    let Http10 { serve, default_host } = &it.http10;
    assert_eq!((*serve, default_host.as_ref().unwrap().as_str()), (ServeHttp10::KeepAlive, "reviews.shop"));
    assert_eq!(it.workers.get(), 2);
    let HealthCheck { interval, unhealthy_interval, timeout, healthy_threshold, unhealthy_threshold } = it.health;
    let milliseconds = [interval, unhealthy_interval, timeout].map(|time| time.as_millis());
    assert_eq!((milliseconds, healthy_threshold.get(), unhealthy_threshold.get()), ([10_000, 200, 500], 1, 3));
    assert_eq!(it.admin, PathBuf::from("/run/weft/admin.sock"));
}

#[test]
fn what_is_written_is_read_back() {
    let mut it = Bootstrap::parse(WHOLE).unwrap();
    assert_eq!(Bootstrap::parse(&it.to_yaml()).unwrap(), it);
    // Texts that YAML takes for something else unless they are quoted.
    for value in ["true", "null", "1.10", "~", "", "a: b", "# c", "1e3", "0x10", "yes", "-"] {
        it.labels.insert("tricky".to_owned(), value.to_owned());
        assert_eq!(Bootstrap::parse(&it.to_yaml()).unwrap(), it, "{value:?}");
    }
    it.health = HealthCheck { interval: Duration::from_secs(3), ..HealthCheck::default() };
    assert_eq!(Bootstrap::parse(&it.to_yaml()).unwrap(), it);
    it.health = HealthCheck::default();
    it.inbound = None;
    it.tcp.clear();
    it.labels.clear();
    it.applications.clear();
    it.locality = Locality::default();
    assert_eq!(Bootstrap::parse(&it.to_yaml()).unwrap(), it);
}

#[test]
fn json_and_protobufs_other_spelling_are_read_too() {
    let yaml = WHOLE.replace("dynamic_resources", "dynamicResources").replace("ca_sha256", "caSha256");
    assert_eq!(Bootstrap::parse(&yaml).unwrap(), Bootstrap::parse(WHOLE).unwrap());
    let json = r#"{"node": {"id": "shop/web-1"}, "admin": {}}"#;
    let errors = errors(json);
    assert!(errors.contains(&"line 1: admin: the field address is missing".to_owned()), "{errors:#?}");
}

#[test]
fn every_error_is_told_at_once_with_line_and_field() {
    let text = WHOLE
        .replace("api_type: DELTA_GRPC", "api_type: GRPC")
        .replace("port_value: 15012", "port_value: 0")
        .replace("account: web", "acount: web")
        .replace("inbound: 127.0.0.1:0", "inbound: localhost")
        .replace("shop/stock:9000", "stock")
        .replace("version: \"1.10\"", "version: 1.10")
        .replace("0.25s", "2m")
        .replace("interval: 10s", "interval: 301s")
        .replace("unhealthy_threshold: 3", "unhealthy_threshold: 101")
        .replace("serve: keep-alive", "serve: sometimes")
        .replace("workers: 2", "workers: 20000");
    let errors = errors(&text);
    let expected = [
        (10, "dynamic_resources.ads_config.api_type", "DELTA_GRPC"),
        (
            24,
            "static_resources.clusters[0].load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address",
            "1 to 65535",
        ),
        (27, "bootstrap_extensions[0].typed_config", "the field account is missing"),
        (30, "bootstrap_extensions[0].typed_config.acount", "does not read this field"),
        (32, "bootstrap_extensions[0].typed_config.labels.version", "quote it"),
        (34, "bootstrap_extensions[0].typed_config.health.interval", "0.001s to 300s"),
        (34, "bootstrap_extensions[0].typed_config.health.unhealthy_threshold", "at most 100"),
        (35, "bootstrap_extensions[0].typed_config.inbound", "invalid socket address"),
        (38, "bootstrap_extensions[0].typed_config.tcp[0].service", "<namespace>/<service>:<port>"),
        (43, "bootstrap_extensions[0].typed_config.on_demand_timeout", "0.001s to 60s"),
        (44, "bootstrap_extensions[0].typed_config.http10.serve", "none of refuse, close and keep-alive"),
        (45, "bootstrap_extensions[0].typed_config.workers", "at most 1024"),
    ];
    for (line, field, part) in expected {
        let start = format!("line {line}: {field}: ");
        assert!(errors.iter().any(|it| it.starts_with(&start) && it.contains(part)), "{start}{part}\n{errors:#?}");
    }
}

#[test]
fn what_envoy_knows_and_weft_does_not_is_refused_not_ignored() {
    let text = format!("{WHOLE}layered_runtime: {{}}\n");
    let errors = errors(&text);
    assert_eq!(errors.len(), 1, "{errors:#?}");
    assert!(errors[0].starts_with("line 46: layered_runtime: weft does not read this field (it reads: admin, "));
    let tcp_admin = WHOLE.replace(
        "pipe: {path: /run/weft/admin.sock, mode: 384}",
        "socket_address: {address: 127.0.0.1, port_value: 9901}",
    );
    assert!(Bootstrap::parse(&tcp_admin).is_err());
}

#[test]
fn texts_that_are_no_bootstrap_are_refused_with_their_line() {
    assert!(errors("node: [")[0].starts_with("line 1: "));
    assert!(errors("node: {}\nnode: {}\n")[0].starts_with("line 2: "));
    assert!(errors("[]")[0].contains("it must be a map, not a list"));
    assert!(!errors("").is_empty());
    assert!(errors(&" ".repeat(1 << 21))[0].contains("larger than"));
    assert!(!errors(&"[".repeat(100_000)).is_empty());
}

#[test]
fn the_nodes_id_is_the_workload() {
    let errors = errors(&WHOLE.replace("id: shop/web-1", "id: sidecar~1"));
    assert_eq!(errors, ["line 2: node.id: it must be the workload's namespace and name, \"shop/web-1\""]);
}

#[test]
fn the_ads_cluster_must_be_there() {
    let errors = errors(&WHOLE.replace("{cluster_name: control-plane}", "{cluster_name: other}"));
    assert_eq!(errors.len(), 1);
    assert!(errors[0].contains("static_resources has no usable cluster \"other\""), "{errors:#?}");
}
