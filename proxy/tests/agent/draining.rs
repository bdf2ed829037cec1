//! What is told to the control plane by time: that the proxy lives, and that it drains before anybody is let go.
use super::*;

/// How long a proxy that drains waits at most for its control plane's word.
const TELL: Duration = Duration::from_secs(1);
/// For how long peers, and then the application, are accepted while it drains.
const ACCEPT: Duration = Duration::from_millis(500);

/// Far more often than what takes it for silent, whatever the lease: a control plane notices within 2 s that it hears nothing.
#[test]
fn an_idle_proxy_with_a_long_lease_says_every_half_second_that_it_lives() {
    let (mesh, _control_plane, machine) = set_up(DAY);
    mesh.grant(Duration::from_secs(60));
    let proxy = machine.start();
    proxy.wait_ready(DEADLINE).unwrap();
    let mut gaps: Vec<Duration> = mesh.until("eight heartbeats", |seen| {
        let beats = seen.messages.iter().zip(seen.heard).filter(|(it, _)| matches!(it, Message::Heartbeat(_)));
        let beats: Vec<_> = beats.map(|(_, at)| *at).collect();
        (beats.len() >= 8).then(|| beats.windows(2).map(|pair| pair[1] - pair[0]).collect())
    });
    // The middle one: a machine that is busy may stop for longer once.
    gaps.sort();
    assert!(gaps[gaps.len() / 2] <= Duration::from_secs(1), "{gaps:?}");
}

/// Drains a proxy whose control plane has the word that `answer` gives it when it has heard of that; from the wish to the
/// end of a connection on which nothing is under way.
fn drained(answer: impl FnOnce(&Mesh)) -> (Instant, Instant) {
    let (mesh, _control_plane, machine) = set_up(DAY);
    let proxy = machine.start();
    proxy.wait_ready(DEADLINE).unwrap();
    until("the Agent stream", || admin(&proxy, "/stats")["agent"]["connected"] == true);
    let mut idle = TcpStream::connect(proxy.bound().outbound.unwrap()).unwrap();
    idle.write_all(b"GET / HTTP/1.1\r\nhost: nobody.example.com\r\n\r\n").unwrap();
    assert!(idle.read(&mut [0; 4096]).unwrap() > 0);
    mesh.keep_mute();
    let began = Instant::now();
    proxy.drain();
    mesh.until("draining", |seen| seen.messages.iter().any(|it| matches!(it, Message::Draining(_))).then_some(()));
    answer(&mesh);
    idle.read_to_end(&mut Vec::new()).unwrap();
    (began, Instant::now())
}

#[test]
fn nobody_is_let_go_before_the_control_plane_knows_of_the_draining() {
    let mut known = Instant::now();
    let (began, closed) = drained(|mesh| {
        std::thread::sleep(TELL / 2);
        known = Instant::now();
        mesh.confirm();
    });
    let earliest = known.min(began + TELL) + ACCEPT * 2;
    assert!(closed >= earliest, "{:?} too early", earliest - closed);
}

#[test]
fn a_control_plane_that_says_nothing_holds_the_draining_up_for_a_second_and_no_longer() {
    let (began, closed) = drained(|_| {});
    assert!(closed >= began + TELL + ACCEPT * 2, "after {:?}", closed - began);
    assert!(closed < began + DEADLINE);
}

#[test]
fn a_draining_begins_as_soon_as_the_control_plane_knows_of_it() {
    // A busy machine may take its time, but not each time.
    let mut took = (0..5).map(|_| drained(Mesh::confirm)).map(|(began, closed)| closed - began);
    let soon = took.find(|took| *took < TELL + ACCEPT * 2);
    assert!(soon.is_some(), "the control plane's word is not listened to");
}
