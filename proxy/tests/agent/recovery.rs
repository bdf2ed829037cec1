//! A certificate that expired while the control plane was gone.
use super::*;

const SHORT: Duration = Duration::from_secs(3);

/// A machine with a proxy that has a certificate, whose control plane is gone; says where that was.
fn set_up_and_lose() -> (Arc<Mesh>, SocketAddr, Machine, Proxy) {
    let (mesh, control_plane, machine) = set_up(SHORT);
    let proxy = machine.start();
    proxy.wait_ready(DEADLINE).unwrap();
    until("the last good configuration is kept", || machine.state().join("last-good.kept").exists());
    let address = control_plane.address;
    drop(control_plane);
    (mesh, address, machine, proxy)
}

fn is_expired(proxy: &Proxy) -> bool {
    let not_after = admin(proxy, "/config/secrets")["secrets"][0]["notAfter"].as_str().unwrap().to_owned();
    let now = weft_certs::rfc3339_of(std::time::SystemTime::now());
    // Both in UTC and of one form.
    now > not_after
}

#[test]
fn a_running_proxy_whose_certificate_has_expired_has_another_within_five_seconds_of_the_control_planes_return() {
    let (mesh, address, _machine, proxy) = set_up_and_lose();
    until("the certificate has expired", || is_expired(&proxy));
    let _control_plane = ControlPlane::start(&mesh, address);
    let start = Instant::now();
    mesh.until("a recovery", |seen| (seen.recovered > 0).then_some(()));
    until("the certificate is in use", || !is_expired(&proxy));
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    // It is renewed by itself from now on, and the streams are open again.
    until("the streams", || admin(&proxy, "/stats")["ads"]["connected"] == true);
}

#[test]
fn a_proxy_that_starts_with_an_expired_certificate_says_so_and_proves_possession_where_it_has_no_token() {
    let (mesh, address, machine, proxy) = set_up_and_lose();
    until("the certificate has expired", || is_expired(&proxy));
    drop(proxy);
    let proxy = machine.start();
    let mut text = String::new();
    until("the wait is told", || {
        text = status(&proxy, "/ready").1;
        text.contains("expired at")
    });
    assert!(text.starts_with("not ready: waiting for a certificate for spiffe://weft.local/ns/shop/sa/web"), "{text}");
    let _control_plane = ControlPlane::start(&mesh, address);
    proxy.wait_ready(DEADLINE).unwrap();
    assert_eq!(mesh.until("counts", |seen| Some(seen.recovered)), 1);
}

#[test]
fn a_recovery_whose_answer_was_lost_succeeds_at_the_next_attempt() {
    let (mesh, address, machine, proxy) = set_up_and_lose();
    until("the certificate has expired", || is_expired(&proxy));
    drop(proxy);
    mesh.lose_answers(2);
    let proxy = machine.start();
    let _control_plane = ControlPlane::start(&mesh, address);
    proxy.wait_ready(DEADLINE).unwrap();
    assert_eq!(mesh.until("counts", |seen| Some(seen.recovered)), 3);
}

#[test]
fn a_token_that_is_refused_beside_an_expired_certificate_leaves_the_proof_with_that() {
    let (mesh, address, machine, mut proxy) = set_up_and_lose();
    for unmet in [None, Some("too many labels are granted already")] {
        until("the certificate has expired", || is_expired(&proxy));
        drop(proxy);
        // Unknown to the control plane, then such as it cannot honour: neither ends the proxy.
        let mut file = mesh.join_file(address);
        file.token = Some(weft_certs::join::Token::generate().unwrap());
        file.save(&machine.join_file()).unwrap();
        unmet.iter().for_each(|why| mesh.honour_no_token(why));
        let before = mesh.until("counts", |seen| Some((seen.recovered, seen.refused_tokens)));
        proxy = machine.start();
        let control_plane = ControlPlane::start(&mesh, address);
        proxy.wait_ready(DEADLINE).unwrap();
        assert!(proxy.not_admitted().is_none());
        let after = mesh.until("counts", |seen| Some((seen.recovered, seen.refused_tokens)));
        assert_eq!(after, (before.0 + 1, before.1 + 1), "{unmet:?}");
        drop(control_plane);
    }
}
