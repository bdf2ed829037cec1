//! What a proxy serves from its state directory while its control plane is gone.
use weft_certs::kept;

use super::*;

/// A machine whose proxy has been ready and is gone, the control plane too; says where that was.
fn set_up_and_lose(sealing_key: Option<&str>) -> (Arc<Mesh>, SocketAddr, Machine) {
    let (mesh, control_plane, mut machine) = set_up(DAY);
    machine.sealing_key = sealing_key.map(str::to_owned);
    let proxy = machine.start();
    proxy.wait_ready(DEADLINE).unwrap();
    // The file is replaced once the last of the three resources has come.
    until("the last good configuration is kept", || kept_resources(&machine) == 3);
    drop(proxy);
    (mesh, control_plane.address, machine)
}

fn file(machine: &Machine) -> PathBuf {
    machine.state().join("last-good.kept")
}

/// How many resources the file holds.
fn kept_resources(machine: &Machine) -> usize {
    let Ok(bytes) = fs::read(file(machine)) else { return 0 };
    let bootstrap = fs::read_to_string(machine.state().join("bootstrap.yaml")).unwrap();
    let ca = Bootstrap::parse(&bootstrap).unwrap().ca_sha256;
    let owner = format!("spiffe://weft.local/ns/shop/sa/web as shop/web-1 in the cluster local under the CA {ca}");
    let label = kept::Label { kind: "last-good.kept", owner: &owner };
    let kept = kept::read(label, &bytes, machine.key().as_ref()).unwrap();
    weft_proxy::agent::LastGood::decode(&kept.content).unwrap().resources.len()
}

#[test]
fn a_proxy_that_starts_without_its_control_plane_serves_within_two_seconds_and_says_from_what() {
    for sealing_key in [None, Some("a1".repeat(32))] {
        let (mesh, address, machine) = set_up_and_lose(sealing_key.as_deref());
        let start = Instant::now();
        let proxy = machine.start();
        proxy.wait_ready(Duration::from_secs(2)).unwrap();
        let (code, text) = status(&proxy, "/ready");
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
        assert!(code == 200 && text.starts_with("ready: serving the last good configuration, kept at 20"), "{text}");
        let (_, metrics) = status(&proxy, "/metrics");
        assert!(metrics.contains("weft_config_source{source=\"last-good\"} 1"), "{metrics}");
        assert!(metrics.contains("weft_config_source{source=\"control-plane\"} 0"), "{metrics}");
        assert!(metrics.contains("weft_config_age_seconds "), "{metrics}");
        assert_eq!(admin(&proxy, "/config/listeners")["listeners"].as_array().unwrap().len(), 2);

        // Back again: it is the control plane's word, and what is registered tells of the start.
        let _control_plane = ControlPlane::start(&mesh, address);
        until("it is the control plane's word", || status(&proxy, "/ready") == (200, "ready\n".to_owned()));
        assert!(status(&proxy, "/metrics").1.contains("weft_config_source{source=\"control-plane\"} 1"));
        mesh.until("a registration that tells of it", |seen| {
            seen.messages.iter().find_map(|message| match message {
                Message::Registration(registration) => registration.last_good_ms,
                _ => None,
            })
        });
    }
}

#[test]
fn a_damaged_last_good_configuration_is_refused_with_its_reason_and_put_aside() {
    let (mesh, address, machine) = set_up_and_lose(None);
    let good = fs::read(file(&machine)).unwrap();
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    for (bytes, reason) in [
        (flipped.as_slice(), "it is damaged: its checksum does not fit"),
        (&good[..good.len() - 1], "it is damaged: its checksum does not fit"),
        (&good[..20], "it is cut short"),
        (b"", "it is not a file that weft keeps"),
    ] {
        weft_certs::files::replace(&file(&machine), bytes).unwrap();
        let proxy = machine.start();
        let mut text = String::new();
        until("the refusal is told", || {
            text = status(&proxy, "/ready").1;
            text.contains("is not used")
        });
        assert!(text.starts_with("not ready: waiting for ") && text.contains(reason), "{text}");
        assert!(status(&proxy, "/metrics").1.contains("weft_state_refused_total{file=\"last-good.kept\"} 1"));
        assert_eq!(fs::read(machine.state().join("last-good.kept.refused")).unwrap(), bytes);
        assert!(!file(&machine).exists());
    }
    // The control plane's word is as good as ever.
    let proxy = machine.start();
    let _control_plane = ControlPlane::start(&mesh, address);
    proxy.wait_ready(DEADLINE).unwrap();
    until("it is kept again", || kept_resources(&machine) == 3);
}

#[test]
fn another_workloads_state_is_refused_and_a_new_token_is_asked_for() {
    let (_mesh, _, machine) = set_up_and_lose(None);
    let bootstrap = fs::read_to_string(machine.state().join("bootstrap.yaml")).unwrap();
    let mut bootstrap = Bootstrap::parse(&bootstrap).unwrap();
    bootstrap.workload = "web-2".parse().unwrap();
    let options = Options { access_log: AccessLog::Off, ..Options::default() };
    let proxy = Proxy::start(bootstrap, options).unwrap();
    let text = proxy.wait_ready(DEADLINE).unwrap_err().to_string();
    assert!(text.contains("it is of spiffe://weft.local/ns/shop/sa/web as shop/web-1 in"), "{text}");
    assert!(text.contains("there is no join token"), "{text}");
    for name in ["identity.kept.refused", "bundles.kept.refused", "last-good.kept.refused"] {
        assert!(machine.state().join(name).exists(), "{name}");
    }
}

#[test]
fn with_a_sealing_key_nothing_in_the_state_directory_can_be_read_or_replaced() {
    let key = "a1".repeat(32);
    let (_mesh, _, mut machine) = set_up_and_lose(Some(&key));
    for name in ["identity.kept", "bundles.kept", "last-good.kept"] {
        let bytes = fs::read(machine.state().join(name)).unwrap();
        assert_eq!(kept::is_sealed(&bytes), Some(true), "{name}");
        for plain in ["PRIVATE KEY", "BEGIN CERTIFICATE", "trustDomain", "outbound"] {
            assert!(!bytes.windows(plain.len()).any(|it| it == plain.as_bytes()), "{name} holds {plain}");
        }
    }
    for (key, reason) in
        [(Some("a2".repeat(32)), "it was sealed with another key"), (None, "no sealing key is configured")]
    {
        machine.sealing_key = key;
        let bootstrap = fs::read_to_string(machine.state().join("bootstrap.yaml")).unwrap();
        let options = Options { access_log: AccessLog::Off, sealing_key: machine.key(), ..Options::default() };
        let refused = Proxy::start(Bootstrap::parse(&bootstrap).unwrap(), options).unwrap_err().to_string();
        assert!(refused.contains("identity.kept: ") && refused.contains(reason), "{refused}");
    }
    // Nothing was put aside for it.
    machine.sealing_key = Some(key);
    machine.start().wait_ready(DEADLINE).unwrap();
}

#[test]
fn a_new_workload_waits_for_its_control_plane_says_so_and_joins_within_a_second_of_its_return() {
    let (mesh, control_plane, machine) = set_up(DAY);
    let address = control_plane.address;
    drop(control_plane);
    let proxy = machine.start();
    until("the wait is told", || {
        let (code, text) = status(&proxy, "/ready");
        code == 503 && text.contains("waiting for a certificate for spiffe://weft.local/ns/shop/sa/web from 127.")
    });
    // Long enough for its attempts to have come to their longest waits.
    std::thread::sleep(Duration::from_secs(3));
    let _control_plane = ControlPlane::start(&mesh, address);
    let start = Instant::now();
    mesh.until("its certificate", |seen| (seen.signed > 0).then_some(()));
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    proxy.wait_ready(DEADLINE).unwrap();
}
