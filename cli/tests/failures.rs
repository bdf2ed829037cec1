//! How commands fail: what went wrong, what to do about it, and the exit code, each by a failure that really happens.
use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Output, Stdio},
    time::{Duration, SystemTime},
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
    time::timeout,
};
use weft_harness::{DEADLINE, Mesh, Plan, Sidecar};

async fn weft(line: &str, context: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weft"));
    command.args(line.split_whitespace()).env("WEFT_CONTEXT", context).stdin(Stdio::null()).kill_on_drop(true);
    match timeout(DEADLINE, command.output()).await {
        Ok(output) => output.unwrap(),
        Err(_) => panic!("`weft {line}` did not end"),
    }
}

/// Runs what must fail; says what it said. `about` must be part of it.
async fn fails(line: &str, context: &Path, code: i32, about: &str) {
    let output = weft(line, context).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "`weft {line}`:\n{said}");
    assert!(said.contains("error: ") && said.contains(about), "`weft {line}` does not say {about:?}:\n{said}");
    let hint = said.lines().find_map(|line| line.trim_start().strip_prefix("hint: "));
    assert!(hint.is_some_and(|hint| hint.len() > 10), "`weft {line}` gives no hint:\n{said}");
}

/// Writes a file as `change` makes it of another.
fn changed(from: &Path, to: &Path, mode: u32, change: impl FnOnce(String) -> String) -> String {
    fs::write(to, change(fs::read_to_string(from).unwrap())).unwrap();
    fs::set_permissions(to, fs::Permissions::from_mode(mode)).unwrap();
    to.display().to_string()
}

fn other_hash(json: String) -> String {
    let at = json.find("caSha256").unwrap() + "caSha256".len();
    let from = json[at..].find(|it: char| it.is_ascii_hexdigit()).unwrap() + at;
    format!("{}{}{}", &json[..from], "5".repeat(64), &json[from + 64..])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_that_cannot_start_says_why_and_what_to_do() {
    let mut mesh = Mesh::start().await.unwrap();
    let folder = TempDir::new().unwrap();
    let (own, theirs) = (folder.path().display(), mesh.folder().display().to_string());
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap();
    let context = mesh.folder().join("context.json");
    let run = |rest: &str| {
        format!("control-plane run --grpc 127.0.0.1:0 --api 127.0.0.1:0 {rest}")
            .replace("OWN", &format!("{own}"))
            .replace("THEIRS", &theirs)
    };
    let rest = "--sealing-key-file OWN/key --context-file OWN/context";
    let open = fs::File::create(folder.path().join("open.key")).unwrap();
    open.set_permissions(fs::Permissions::from_mode(0o644)).unwrap();
    let alone = format!("control-plane run --dir {own}/a {}", rest.replace("OWN", &own.to_string()));
    for (line, about) in [
        (format!("{alone} --grpc {taken} --api 127.0.0.1:0"), "cannot listen on"),
        (format!("{alone} --api {taken} --grpc 127.0.0.1:0"), "the admin API"),
        (run(&format!("--dir THEIRS/store {rest}")), "in use by another process"),
        (run(&format!("--dir /proc/weft/store {rest}")), "/proc/weft/store"),
        (run("--dir OWN/b --sealing-key-file OWN/b/key --context-file OWN/context"), "inside the store"),
        (run("--dir OWN/c --sealing-key-file OWN/open.key --context-file OWN/context"), "0644"),
        (run("--dir OWN/d --sealing-key-file OWN/key --context-file THEIRS/context.json"), "of another mesh"),
        (run("--dir OWN/e --sealing-key-file OWN/key --context-file /proc/weft/context"), "/proc/weft"),
    ] {
        fails(&line, &context, 1, about).await;
    }
    mesh.stop_control_plane().await;
    // What another test starts at this moment holds the store's lock until it is another program.
    let other_key = run(&format!("--dir THEIRS/store {rest}"));
    let free = timeout(DEADLINE, async {
        while String::from_utf8_lossy(&weft(&other_key, &context).await.stderr).contains("in use by another process") {}
    });
    free.await.expect("the store stays in use");
    for (line, about) in [
        (other_key.clone(), "cannot be opened"),
        (run("--dir THEIRS/store --sealing-key-file OWN/gone --context-file OWN/context"), "put the file back"),
        (
            run(
                "--dir THEIRS/store --sealing-key-file THEIRS/sealing.key --context-file OWN/context --trust-domain a.b",
            ),
            "weft.local",
        ),
    ] {
        fails(&line, &context, 1, about).await;
    }
    // The store was left as it is.
    mesh.start_control_plane().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_cannot_start_says_why_and_what_to_do() {
    let mesh = Mesh::start().await.unwrap();
    let sidecar = Sidecar::start(&mesh, Plan::new("web-0", "web")).await.unwrap();
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let join = mesh.join_file(&Plan::new("web-1", "web")).await.unwrap();
    let (good, dir) = (join.display(), folder.path().display());
    let readable = changed(&join, &path("readable.join"), 0o644, |it| it);
    let damaged = changed(&join, &path("damaged.join"), 0o600, |it| it.replace("token", "tokem"));
    let address = changed(&join, &path("address.join"), 0o600, |it| it.replace("127.0.0.1:", "127.0.0.1/"));
    fs::write(path("bad.yaml"), "node: 1\n").unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap();
    let rest = "--outbound 127.0.0.1:0 --status 127.0.0.1:0";
    let used = sidecar.state.display();
    for (line, about) in [
        (format!("--join {dir}/none.join --state-dir {dir}/s"), "none.join"),
        (format!("--join {readable} --state-dir {dir}/s"), "0644"),
        (format!("--join {damaged} --state-dir {dir}/s"), "tokem"),
        (format!("--join {address} --state-dir {dir}/s"), "controlPlane"),
        (format!("--join {good} --state-dir /proc/weft {rest}"), "/proc/weft"),
        (format!("--join {good} --state-dir {used} {rest}"), "another proxy uses"),
        (format!("--join {good} --state-dir {dir}/s --outbound {taken} --status 127.0.0.1:0"), "outbound"),
        (format!("--join {good} --state-dir {dir}/s --inbound {taken} {rest}"), "inbound"),
        (format!("--join {good} --state-dir {dir}/s --outbound 127.0.0.1:0 --status {taken}"), "status"),
        (format!("--join {good} --state-dir {dir}/s {rest} --access-log /proc/weft/log"), "/proc/weft/log"),
        (format!("--config {dir}/none.yaml"), "none.yaml"),
        (format!("--config {dir}/bad.yaml"), "line 1: node"),
    ] {
        fails(&format!("proxy run {line}"), Path::new("unused"), 1, about).await;
    }
}

/// What is refused for good ends it; a control plane that is not there is waited for.
#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_gets_no_certificate_ends_where_it_never_will_and_waits_where_it_may() {
    let mut mesh = Mesh::start().await.unwrap();
    let folder = TempDir::new().unwrap();
    let join = mesh.join_file(&Plan::new("web-0", "web")).await.unwrap();
    let used = changed(&join, &folder.path().join("used.join"), 0o600, |it| it);
    let hash = changed(&join, &folder.path().join("hash.join"), 0o600, other_hash);
    let late = folder.path().join("late.join").display().to_string();
    let create = format!("token create -n shop --account web --ttl 1 --out {late}");
    assert!(weft(&create, &mesh.folder().join("context.json")).await.status.success());
    let over = SystemTime::now() + Duration::from_secs(2);
    let state = folder.path().join("redeemed");
    let _redeemed = Sidecar::from_join_file(&join, state, Plan::new("web-0", "web")).await.unwrap();
    let run = |join: &str, state: &str| {
        let state = folder.path().join(state).display().to_string();
        format!("proxy run --outbound 127.0.0.1:0 --status 127.0.0.1:0 --join {join} --state-dir {state}")
    };
    while let Ok(left) = over.duration_since(SystemTime::now()) {
        tokio::time::sleep(left).await;
    }
    for (join, about) in [
        (&used, "used.join: Unauthenticated: the join token for spiffe://weft.local/ns/shop/sa/web has been used"),
        (&late, "late.join: Unauthenticated: the join token for spiffe://weft.local/ns/shop/sa/web expired at"),
        (&join.display().to_string(), "there is no join token"),
        (&hash, "the CA with the SHA-256 5555"),
    ] {
        fails(&run(join, "fresh"), Path::new("unused"), 1, about).await;
    }
    mesh.stop_control_plane().await;
    waits(&used, folder.path(), "whether the control plane runs").await;
}

async fn waits(join: &str, folder: &Path, hint: &str) {
    let state = tempfile::tempdir_in(folder).unwrap();
    let mut proxy = Command::new(env!("CARGO_BIN_EXE_weft"));
    proxy.args(["proxy", "run", "--outbound", "127.0.0.1:0", "--status", "127.0.0.1:0", "--join", join]);
    proxy.arg("--state-dir").arg(state.path()).stderr(Stdio::piped()).stdout(Stdio::null()).kill_on_drop(true);
    let mut proxy = proxy.spawn().unwrap();
    let mut lines = BufReader::new(proxy.stderr.take().unwrap()).lines();
    let mut said = String::new();
    let told = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.contains("waiting for a certificate") && line.contains("hint=") {
                return line;
            }
            said.push_str(&line);
        }
        panic!("it ended:\n{said}");
    };
    let line = timeout(DEADLINE, told).await.unwrap();
    assert!(line.contains(hint), "{hint:?} is not in {line}");
    proxy.kill().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_fails_says_why_and_what_to_do() {
    let mesh = Mesh::start().await.unwrap();
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let context = mesh.folder().join("context.json");
    let hash = changed(&context, &path("hash.json"), 0o600, other_hash);
    let token = changed(&context, &path("token.json"), 0o600, |it| it.replace("\"token\": \"", "\"token\": \"x"));
    let readable = changed(&context, &path("readable.json"), 0o644, |it| it);
    let nobody = {
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let address = serde_json::from_str::<serde_json::Value>(&fs::read_to_string(&context).unwrap()).unwrap();
        let address = address["address"].as_str().unwrap().to_owned();
        changed(&context, &path("nobody.json"), 0o600, |it| it.replace(&address, &closed))
    };
    fs::write(path("bad.yaml"), "kind: Service\n").unwrap();
    fs::write(path("taken.join"), "").unwrap();
    let dir = folder.path().display();
    for (line, about) in [
        ("status --context /nonexistent/context.json".to_owned(), "/nonexistent/context.json"),
        (format!("status --context {readable}"), "0644"),
        (format!("status --context {nobody}"), "cannot reach"),
        (format!("status --context {hash}"), "is not the control plane of this context"),
        (format!("status --context {token}"), "admin token"),
        (format!("apply -f {dir}/none.yaml"), "none.yaml"),
        (format!("apply -f {dir}/bad.yaml"), "bad.yaml:1"),
        ("get service nobody -n shop".to_owned(), "nobody"),
        ("get gateways".to_owned(), "gateways"),
        ("delete service nobody -n shop".to_owned(), "nobody"),
        ("delete all nobody".to_owned(), "all"),
        ("token create -n Shop --account web".to_owned(), "namespace"),
        (format!("token create -n shop --account web --out {dir}/taken.join"), "taken.join"),
        ("explain nonsense".to_owned(), "nonsense"),
        ("proxy-config routes shop/nobody".to_owned(), "shop/nobody"),
        ("get refusals".to_owned(), "namespace/name"),
    ] {
        fails(&line, &context, 1, about).await;
    }
    for (line, about) in [
        ("aply", "aply"),
        ("apply", "--filename"),
        ("get all --outptu json", "--outptu"),
        ("proxy run", "--config"),
        ("control-plane run --grpc nowhere", "nowhere"),
    ] {
        fails(line, &context, 2, about).await;
    }
}
