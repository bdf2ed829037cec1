//! The proxy's control side against a control plane over real sockets.
mod control_plane;
mod draining;
mod last_good;
mod on_demand;
mod process;
mod recovery;

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    num::NonZeroUsize,
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;
use weft_certs::sealing::SealingKey;
use weft_decide::HealthCheck;
use weft_ir::{Inbound, Listener, ListenerBody, Resource, RouteConfiguration};
use weft_model::Locality;
use weft_proto::weft::{Receipts, agent_message::Message};
use weft_proxy::agent::{
    AccessLog, Options, Proxy,
    bootstrap::Bootstrap,
    join::{self, LocalChoices},
};

use control_plane::{ControlPlane, DEADLINE, Mesh};

const LOCALHOST: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);
const DAY: Duration = Duration::from_secs(86_400);

/// What one machine keeps: a join file and a state directory.
struct Machine {
    folder: TempDir,
    /// What its state is sealed with: 64 hexadecimal digits.
    sealing_key: Option<String>,
}

impl Machine {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), sealing_key: None }
    }

    fn join_file(&self) -> PathBuf {
        self.folder.path().join("join.json")
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn key(&self) -> Option<SealingKey> {
        self.sealing_key.as_ref().map(|key| SealingKey::parse(key, "the test").unwrap())
    }

    /// Starts a proxy by its join file.
    fn start(&self) -> Proxy {
        let choices = LocalChoices {
            http10: Default::default(),
            state_directory: self.state(),
            workload: Some("web-1".parse().unwrap()),
            labels: [("app".to_owned(), "web".to_owned())].into(),
            locality: Locality::default(),
            applications: [("http".parse().unwrap(), "127.0.0.1:8080".parse().unwrap())].into(),
            health: HealthCheck::default(),
            inbound: Some(LOCALHOST),
            outbound: Some(LOCALHOST),
            tcp: Vec::new(),
            status: LOCALHOST,
            workers: NonZeroUsize::MIN,
        };
        let joined = join::join(&self.join_file(), choices).unwrap();
        Proxy::start(
            joined.bootstrap,
            Options { access_log: AccessLog::Off, token: joined.token, sealing_key: self.key(), ..Options::default() },
        )
        .unwrap()
    }
}

/// A mesh with what a proxy needs to get ready, its control plane, and a machine with a join file for it.
fn set_up(lifetime: Duration) -> (Arc<Mesh>, ControlPlane, Machine) {
    let mesh = Mesh::new(lifetime);
    mesh.put(&listener("outbound", ListenerBody::OutboundHttp { route_configuration: "outbound".to_owned() }));
    let inbound = Inbound { workload: workload(), chains: Vec::new() };
    mesh.put(&listener("inbound/shop/web-1", ListenerBody::Inbound(inbound)));
    mesh.put(&Resource::RouteConfiguration(Arc::new(RouteConfiguration { name: "outbound".to_owned() })));
    let control_plane = ControlPlane::start(&mesh, control_plane::address_of_its_own());
    let machine = Machine::new();
    mesh.join_file(control_plane.address).save(&machine.join_file()).unwrap();
    (mesh, control_plane, machine)
}

fn workload() -> weft_model::WorkloadRef {
    weft_model::WorkloadRef { namespace: "shop".parse().unwrap(), name: "web-1".parse().unwrap() }
}

fn listener(name: &str, body: ListenerBody) -> Resource {
    Resource::Listener(Arc::new(Listener { name: name.to_owned(), body, origins: Vec::new() }))
}

/// Status and body of a GET.
fn get(mut stream: impl Read + Write, path: &str, host: &str) -> (u16, String) {
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

fn status(proxy: &Proxy, path: &str) -> (u16, String) {
    get(TcpStream::connect(proxy.bound().status).unwrap(), path, "status")
}

fn admin(proxy: &Proxy, path: &str) -> Value {
    let (status, body) = get(UnixStream::connect(&proxy.bound().admin).unwrap(), path, "admin");
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

/// Waits until something is so.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < DEADLINE, "not in time: {what}");
        std::thread::yield_now();
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_proxy_joins_gets_ready_and_tells_of_itself() {
    let (mesh, _control_plane, machine) = set_up(DAY);
    let proxy = machine.start();
    proxy.wait_ready(DEADLINE).unwrap();

    assert_eq!(status(&proxy, "/ready").0, 200);
    assert_eq!(status(&proxy, "/live").0, 200);
    let (code, metrics) = status(&proxy, "/metrics");
    assert!(code == 200 && metrics.contains("weft_ads_connected 1"), "{metrics}");
    assert_eq!(status(&proxy, "/config").0, 404);
    let mut stream = TcpStream::connect(proxy.bound().status).unwrap();
    stream
        .write_all(b"POST /ready HTTP/1.1\r\nhost: status\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");

    let registration = mesh.until("a registration", |seen| {
        seen.messages.iter().find_map(|message| match message {
            Message::Registration(registration) => Some(registration.clone()),
            _ => None,
        })
    });
    assert_eq!(registration.workload, "web-1");
    assert_eq!(registration.address, proxy.bound().inbound.unwrap().to_string());
    assert_eq!(registration.ports["http"], 8080);
    assert_eq!(registration.labels["app"], "web");
    for name in ["outbound", "inbound/shop/web-1"] {
        mesh.until("its receipt", |seen| {
            let mut receipts = seen.messages.iter().filter_map(|message| match message {
                Message::Receipts(Receipts { receipts, revision }) if revision == "test/all=1" => Some(receipts),
                _ => None,
            });
            receipts.any(|receipts| receipts.iter().any(|it| it.name == name && it.rejected.is_empty())).then_some(())
        });
    }
    mesh.until("bound listeners and heartbeats", |seen| {
        let bound = seen.messages.iter().any(|it| matches!(it, Message::Bound(bound) if bound.listeners.len() == 2));
        let beats = seen.messages.iter().filter(|it| matches!(it, Message::Heartbeat(_))).count();
        (bound && beats >= 3).then_some(())
    });
}

#[test]
fn the_token_is_erased_once_used_and_what_is_kept_is_the_owners_alone() {
    let (mesh, control_plane, machine) = set_up(DAY);
    let token = fs::read_to_string(machine.join_file()).unwrap();
    let token = serde_json::from_str::<Value>(&token).unwrap()["token"].as_str().unwrap().to_owned();
    let proxy = machine.start();
    proxy.wait_ready(DEADLINE).unwrap();

    until("the last good configuration is kept", || machine.state().join("last-good.kept").exists());
    assert_eq!(mode(&machine.state()), 0o700);
    let mut kept = Vec::new();
    for entry in fs::read_dir(machine.state()).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        kept.push(path.file_name().unwrap().to_str().unwrap().to_owned());
        if path.extension().is_none_or(|extension| extension != "sock") {
            let content = fs::read(&path).unwrap();
            assert!(!content.windows(token.len()).any(|it| it == token.as_bytes()), "{}", path.display());
        }
    }
    kept.sort();
    assert_eq!(
        kept,
        ["admin.sock", "bootstrap.yaml", "bundles.kept", "identity.kept", "last-good.kept", "listeners.json", "lock"]
    );
    assert_eq!(mode(&machine.join_file()), 0o600);
    assert!(!fs::read_to_string(machine.join_file()).unwrap().contains(&token));
    let listeners = fs::read(machine.state().join("listeners.json")).unwrap();
    let listeners: Value = serde_json::from_slice(&listeners).unwrap();
    assert_eq!(listeners["status"], proxy.bound().status.to_string());

    // The certificate outlives the process: neither the join file nor the bootstrap it made needs a token now.
    drop(proxy);
    let again = machine.start();
    again.wait_ready(DEADLINE).unwrap();
    drop(again);
    let bootstrap = fs::read_to_string(machine.state().join("bootstrap.yaml")).unwrap();
    let options = Options { access_log: AccessLog::Off, ..Options::default() };
    let third = Proxy::start(Bootstrap::parse(&bootstrap).unwrap(), options).unwrap();
    third.wait_ready(DEADLINE).unwrap();
    assert_eq!(mesh.until("counts", |seen| Some(seen.signed)), 1);
    drop(control_plane);
}

#[test]
fn nothing_is_resent_when_the_control_plane_returns() {
    let (mesh, control_plane, machine) = set_up(DAY);
    let proxy = machine.start();
    proxy.wait_ready(DEADLINE).unwrap();
    let first = mesh.until("three resources", |seen| seen.streams.first().filter(|it| it.resources == 3).copied());
    assert_eq!(first.resent, 0);

    let address = control_plane.address;
    drop(control_plane);
    let stats = || admin(&proxy, "/stats");
    until("the proxy notices that its control plane is gone", || stats()["ads"]["connected"] == false);
    assert!(proxy.is_ready(), "the last good configuration stays");
    assert_eq!(admin(&proxy, "/config/listeners")["listeners"].as_array().unwrap().len(), 2);

    let control_plane = ControlPlane::start(&mesh, address);
    let second = mesh.until("its return", |seen| seen.streams.get(1).filter(|it| it.claimed == 3).copied());
    assert_eq!((second.resources, second.resent), (0, 0));
    // A change reaches it on the new stream.
    mesh.put(&listener("outbound", ListenerBody::OutboundHttp { route_configuration: "other".to_owned() }));
    let second = mesh.until("the change", |seen| seen.streams.get(1).filter(|it| it.resources == 1).copied());
    assert_eq!(second.resent, 0);
    assert_eq!(stats()["ads"]["resourcesReceivedUnchanged"], 0);
    drop((proxy, control_plane));
}

#[test]
fn admin_queries_are_relayed_and_answered_as_on_the_socket() {
    let (mesh, _control_plane, machine) = set_up(DAY);
    let proxy = machine.start();
    proxy.wait_ready(DEADLINE).unwrap();
    mesh.until("receipts", |seen| seen.messages.iter().any(|it| matches!(it, Message::Receipts(_))).then_some(()));
    for (id, path, expected) in
        [(7, "/config/listeners", 200), (8, "/config", 200), (9, "/config/secrets", 200), (10, "/nothing", 404)]
    {
        mesh.ask(id, path);
        let answer = mesh.until("an answer", |seen| {
            seen.messages.iter().find_map(|message| match message {
                Message::Answer(answer) if answer.id == id => Some(answer.clone()),
                _ => None,
            })
        });
        assert_eq!(answer.status, expected, "{path}");
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        if expected == 200 {
            assert_eq!(body, admin(&proxy, path), "{path}");
        }
        assert!(!String::from_utf8(answer.body).unwrap().contains("PRIVATE"));
    }
    let config = admin(&proxy, "/config");
    assert_eq!(config["revision"], "test/all=1");
    let outbound = config["listeners"].as_array().unwrap().iter().find(|it| it["name"] == "outbound").unwrap();
    assert_eq!(outbound["version"].as_str().unwrap().len(), 16);
    assert_eq!(config["secrets"][0]["name"], "spiffe://weft.local/ns/shop/sa/web");
    assert_eq!(admin(&proxy, "/state")["state"], "ready");
}

#[test]
fn a_certificate_is_renewed_before_it_ends() {
    // Back-dated by 60 s, and yet not half over at once.
    let (mesh, _control_plane, machine) = set_up(Duration::from_secs(5));
    let proxy = machine.start();
    proxy.wait_ready(DEADLINE).unwrap();
    let leaf = || admin(&proxy, "/config/secrets")["secrets"][0]["leafSha256"].as_str().unwrap().to_owned();
    let first = leaf();
    let start = Instant::now();
    mesh.until("a second certificate", |seen| (seen.signed >= 2).then_some(()));
    assert!(start.elapsed() > Duration::from_secs(1), "a fresh certificate was renewed at once");
    until("the renewed certificate is published", || leaf() != first);
    let kept = fs::read(machine.state().join("identity.kept")).unwrap();
    assert_eq!(String::from_utf8_lossy(&kept).matches("BEGIN PRIVATE KEY").count(), 1);
}

#[test]
fn after_a_renewal_both_streams_move_to_the_new_certificate_without_a_gap_or_a_resource_sent_again() {
    let (mesh, _control_plane, machine) = set_up(Duration::from_secs(4));
    let proxy = machine.start();
    proxy.wait_ready(DEADLINE).unwrap();
    let second = mesh.until("a second stream", |seen| seen.streams.get(1).filter(|it| it.claimed == 3).copied());
    assert_eq!((second.resources, second.resent), (0, 0));
    let leaves = mesh.until("certificates", |seen| Some(seen.leaves.to_vec()));
    assert!(leaves[0].is_some() && leaves[0] != leaves[1], "{leaves:?}");
    mesh.until("a second registration", |seen| {
        let registrations = seen.messages.iter().filter(|it| matches!(it, Message::Registration(_)));
        (registrations.count() >= 2).then_some(())
    });
    // The former stream has been left by the time at which a third one registers.
    mesh.until("a third registration", |seen| {
        let registrations = seen.messages.iter().filter(|it| matches!(it, Message::Registration(_)));
        (registrations.count() >= 3).then_some(())
    });
    assert_eq!(mesh.until("counts", |seen| seen.fewest_agents), 1, "the registration had a gap");
    assert_eq!(admin(&proxy, "/stats")["ads"]["resourcesReceivedUnchanged"], 0);
    assert!(proxy.is_ready());
}

#[test]
fn a_join_whose_answer_was_lost_succeeds_at_the_next_attempt() {
    // With a new key for each attempt the token was used up, and only a person could help.
    let (mesh, _control_plane, machine) = set_up(DAY);
    mesh.lose_answers(2);
    let proxy = machine.start();
    proxy.wait_ready(DEADLINE).unwrap();
    assert_eq!(mesh.until("counts", |seen| Some(seen.signed)), 3);
}

#[test]
fn a_token_that_is_refused_ends_the_proxy_with_the_reason() {
    let (mesh, control_plane, machine) = set_up(DAY);
    let mut file = mesh.join_file(control_plane.address);
    file.token = Some(weft_certs::join::Token::generate().unwrap());
    file.save(&machine.join_file()).unwrap();
    let proxy = machine.start();
    let text = proxy.wait_ready(DEADLINE).unwrap_err().to_string();
    assert!(text.contains("a certificate for spiffe://weft.local/ns/shop/sa/web"), "{text}");
    let why = proxy.not_admitted().unwrap();
    let file = machine.join_file().display().to_string();
    assert!(why.reason.contains("the join token is not known") && why.reason.contains(&file), "{why:?}");
    assert!(why.hint.contains("weft token create"), "{why:?}");
    proxy.join();
    // It was not used, so it stays.
    assert!(fs::read_to_string(machine.join_file()).unwrap().contains("\"token\""));
}

#[test]
fn a_token_that_cannot_be_honoured_as_it_is_ends_the_proxy_too() {
    let (mesh, _control_plane, machine) = set_up(DAY);
    mesh.honour_no_token("too many labels are granted already");
    let proxy = machine.start();
    let text = proxy.wait_ready(DEADLINE).unwrap_err().to_string();
    assert!(text.contains("too many labels are granted already"), "{text}");
    let why = proxy.not_admitted().unwrap();
    assert!(why.reason.contains("too many labels") && why.hint.contains("weft token create"), "{why:?}");
    proxy.join();
}

#[test]
fn a_proxy_that_never_got_ready_drains_all_the_same() {
    let (_mesh, control_plane, machine) = set_up(DAY);
    drop(control_plane);
    let proxy = machine.start();
    until("it waits", || status(&proxy, "/ready").1.contains("waiting for a certificate"));
    proxy.drain();
    proxy.join();
}

#[test]
fn a_control_plane_with_another_root_is_not_spoken_to() {
    let (mesh, _control_plane, machine) = set_up(DAY);
    let impostor_mesh = Mesh::new(DAY);
    let impostor = ControlPlane::start(&impostor_mesh, control_plane::address_of_its_own());
    mesh.join_file(impostor.address).save(&machine.join_file()).unwrap();
    let mut file = mesh.join_file(impostor.address);
    let proxy = machine.start();
    let text = proxy.wait_ready(DEADLINE).unwrap_err().to_string();
    assert!(text.contains("pinned") && text.contains(&file.ca_sha256.to_string()), "{text}");
    assert!(proxy.not_admitted().unwrap().hint.contains("caSha256"));
    proxy.join();
    // Nor one of another trust domain.
    file.trust_domain = "elsewhere.test".parse().unwrap();
    file.save(&machine.join_file()).unwrap();
    let text = machine.start().wait_ready(DEADLINE).unwrap_err().to_string();
    assert!(text.contains("not spiffe://elsewhere.test/ns/weft-system/sa/control-plane"), "{text}");
    assert_eq!(impostor_mesh.until("counts", |seen| Some(seen.signed)), 0);
}

#[test]
fn draining_is_told_and_ends_the_proxy() {
    let (mesh, _control_plane, machine) = set_up(DAY);
    let proxy = machine.start();
    proxy.wait_ready(DEADLINE).unwrap();
    mesh.until("receipts", |seen| seen.messages.iter().any(|it| matches!(it, Message::Receipts(_))).then_some(()));
    let socket = proxy.bound().admin.clone();
    proxy.drain();
    assert!(!proxy.is_ready());
    mesh.until("draining", |seen| seen.messages.iter().any(|it| matches!(it, Message::Draining(_))).then_some(()));
    proxy.join();
    assert!(!socket.exists());
}
