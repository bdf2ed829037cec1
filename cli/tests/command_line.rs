//! The command line as a person or a script meets it: output, errors, exit codes, against a real control plane process.
use std::{
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

const WEFT: &str = env!("CARGO_BIN_EXE_weft");
const SHOP: &str = include_str!("../src/demo/shop.yaml");

/// A control plane process in a folder of its own; both end with it.
struct ControlPlane {
    folder: TempDir,
    child: Child,
}

impl ControlPlane {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |part: &str| folder.path().join(part);
        fs::create_dir(path("keys")).unwrap();
        let child = Command::new(WEFT)
            .args(["control-plane", "run", "--grpc", "127.0.0.1:0", "--api", "127.0.0.1:0", "--dir"])
            .arg(path("store"))
            .arg("--sealing-key-file")
            .arg(path("keys/sealing.key"))
            .arg("--context-file")
            .arg(path("context.json"))
            .stdout(Stdio::null())
            .stderr(fs::File::create(path("log")).unwrap())
            .spawn()
            .unwrap();
        let started = Self { folder, child };
        let deadline = Instant::now() + Duration::from_secs(20);
        while !started.weft(&["status"], "").status.success() {
            let log = fs::read_to_string(started.path("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "the control plane does not answer:\n{log}");
            std::thread::sleep(Duration::from_millis(20));
        }
        started
    }

    fn path(&self, part: &str) -> PathBuf {
        self.folder.path().join(part)
    }

    fn weft(&self, arguments: &[&str], input: &str) -> Output {
        weft(arguments, input, &self.path("context.json"))
    }

    /// Runs `weft`, which must succeed, and gives its standard output.
    fn said(&self, arguments: &[&str], input: &str) -> String {
        let output = self.weft(arguments, input);
        assert!(output.status.success(), "weft {arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        // It may have ended by itself: then the test has failed already.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn weft(arguments: &[&str], input: &str, context: &Path) -> Output {
    let mut child = Command::new(WEFT)
        .args(arguments)
        .env("WEFT_CONTEXT", context)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that does not read its input closes it.
    let _closed = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn wrong_usage_exits_with_2_and_a_failure_with_1_and_a_hint() {
    let nowhere = Path::new("/nonexistent/context.json");
    for arguments in [&["aply"][..], &["apply"], &["get"], &["get", "all", "--outptu", "json"], &["proxy", "run"]] {
        let output = weft(arguments, "", nowhere);
        assert_eq!(output.status.code(), Some(2), "weft {arguments:?}: {}", text(&output.stderr));
        assert!(output.stdout.is_empty());
    }
    let output = weft(&["get", "all"], "", nowhere);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let said = text(&output.stderr);
    assert!(said.contains("/nonexistent/context.json") && said.contains("hint: "), "{said}");
}

/// Each error names the file that was looked for, which shows the order.
#[test]
fn a_context_is_found_by_flag_then_variable_then_in_the_home_folder() {
    let home = tempfile::tempdir().unwrap();
    let looked_for = |arguments: &[&str], variable: Option<&str>| {
        let mut command = Command::new(WEFT);
        command.args(["status"]).args(arguments).env("HOME", home.path()).env_remove("XDG_CONFIG_HOME");
        command.env_remove("WEFT_CONTEXT").envs(variable.map(|file| ("WEFT_CONTEXT", file)));
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        text(&output.stderr)
    };
    let default = home.path().join(".config/weft/context.json").display().to_string();
    assert!(looked_for(&[], None).contains(&default));
    assert!(looked_for(&[], Some("/nonexistent/b")).contains("/nonexistent/b"));
    assert!(looked_for(&["--context", "/nonexistent/a"], Some("/nonexistent/b")).contains("/nonexistent/a"));
}

#[test]
fn a_file_that_cannot_be_read_and_an_empty_folder_are_named_with_a_hint() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().to_str().unwrap();
    for path in ["/nonexistent/shop.yaml", empty] {
        let output = weft(&["apply", "-f", path], "", Path::new("unused"));
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1));
        assert!(said.contains(path) && said.contains("hint: "), "{said}");
    }
}

#[test]
fn the_help_of_each_command_shows_examples_or_options() {
    for command in ["demo", "apply", "get", "delete", "proxy-config"] {
        let output = weft(&[command, "--help"], "", Path::new("unused"));
        assert!(output.status.success());
        let help = text(&output.stdout);
        assert!(help.contains("Example") && help.contains(&format!("weft {command}")), "{help}");
    }
}

#[test]
fn objects_are_applied_shown_applied_again_and_deleted() {
    let mesh = ControlPlane::start();
    assert!(mesh.said(&["apply", "-f", "-", "--dry-run"], SHOP).contains("HTTPRoute shop/reviews would be created"));
    assert_eq!(mesh.said(&["get", "all"], "").trim(), "no objects");
    assert!(mesh.said(&["apply", "-f", "-"], SHOP).contains("HTTPRoute shop/reviews created"));
    let table = mesh.said(&["get", "httproutes", "-n", "shop"], "");
    assert!(table.contains("reviews") && table.contains("-:"), "{table}");
    let yaml = mesh.said(&["get", "all", "-o", "yaml"], "");
    let again = mesh.said(&["apply", "-f", "-"], &yaml);
    assert!(again.contains("unchanged") && !again.contains("updated") && !again.contains("created"), "{again}");
    let json: serde_json::Value = serde_json::from_str(&mesh.said(&["get", "all", "-o", "json"], "")).unwrap();
    assert_eq!(json["items"].as_array().map(Vec::len), Some(13));
    let one = mesh.said(&["get", "service", "stock", "-n", "shop", "-o", "json"], "");
    assert_eq!(serde_json::from_str::<serde_json::Value>(&one).unwrap()["kind"], "Service");
    let changed = mesh.path("changed");
    fs::create_dir(&changed).unwrap();
    fs::write(changed.join("route.yaml"), yaml.replace("weight: 90", "weight: 80")).unwrap();
    let applied = mesh.said(&["apply", "-f", changed.to_str().unwrap()], "");
    assert!(applied.contains("HTTPRoute shop/reviews updated"), "{applied}");
    assert!(mesh.said(&["delete", "httproute", "reviews", "-n", "shop"], "").contains("deleted"));
    let gone = mesh.weft(&["get", "httproute", "reviews", "-n", "shop"], "");
    assert_eq!(gone.status.code(), Some(1));
    assert!(text(&gone.stderr).contains("there is no HTTPRoute reviews"), "{}", text(&gone.stderr));
}

#[test]
fn a_bad_object_is_refused_with_every_reason_and_nothing_is_stored() {
    let mesh = ControlPlane::start();
    let bad = SHOP.replace("backendRefs:\n", "backendRefz:\n").replace("targetPort: tcp", "targetPort: 0");
    let output = mesh.weft(&["apply", "-f", "-"], &bad);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    for part in ["-:61: error[unknown-field]", "did you mean `backendRefs`", "targetPort", "nothing was changed"] {
        assert!(said.contains(part), "{part} is missing:\n{said}");
    }
    assert_eq!(mesh.said(&["get", "all"], "").trim(), "no objects");
}

#[test]
fn a_join_file_is_written_for_its_owner_alone_and_never_over_another() {
    let mesh = ControlPlane::start();
    let path = mesh.path("web.join");
    let create = ["token", "create", "-n", "shop", "--account", "web", "--out", path.to_str().unwrap()];
    mesh.said(&create, "");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let again = mesh.weft(&create, "");
    assert_eq!(again.status.code(), Some(1));
    let printed = mesh.said(&["token", "create", "-n", "shop", "--account", "web"], "");
    let join: serde_json::Value = serde_json::from_str(&printed).unwrap();
    assert_eq!((&join["namespace"], &join["account"]), (&"shop".into(), &"web".into()));
    let bad = mesh.weft(&["token", "create", "-n", "Shop", "--account", "web"], "");
    assert_eq!(bad.status.code(), Some(1));
    assert!(text(&bad.stderr).contains("namespace"), "{}", text(&bad.stderr));
}

#[test]
fn a_deletion_says_who_still_names_the_object_also_without_deleting_it() {
    let mesh = ControlPlane::start();
    mesh.said(&["apply", "-f", "-"], SHOP);
    let delete = ["delete", "service", "reviews", "-n", "shop"];
    let dry = mesh.weft(&[&delete[..], &["--dry-run"]].concat(), "");
    assert!(text(&dry.stdout).contains("Service shop/reviews would be deleted"), "{}", text(&dry.stdout));
    assert!(text(&dry.stderr).contains("HTTPRoute shop/reviews"), "{}", text(&dry.stderr));
    let json = mesh.said(&[&delete[..], &["-o", "json"]].concat(), "");
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert!(json["revision"].is_string() && !json["warnings"].as_array().unwrap().is_empty(), "{json}");
}

#[test]
fn a_token_says_which_labels_it_allows() {
    let mesh = ControlPlane::start();
    let path = mesh.path("reviews.join");
    let create = ["token", "create", "-n", "shop", "--account", "reviews", "-o", "json"];
    let labels = ["--label", "app=reviews", "--label", "version=v1", "--out", path.to_str().unwrap()];
    let json: serde_json::Value = serde_json::from_str(&mesh.said(&[&create[..], &labels].concat(), "")).unwrap();
    assert_eq!(json["labels"], serde_json::json!({"app": "reviews", "version": "v1"}));
    assert!(path.exists());
    for (labels, told) in [
        (&["--label", "app"][..], "KEY=VALUE"),
        (&["--label", "app=a", "--label", "app=b"], "two values"),
        (&["--label", "app=a b"], "not a label's value"),
    ] {
        let output = mesh.weft(&[&create[..], labels].concat(), "");
        assert!(!output.status.success() && text(&output.stderr).contains(told), "{}", text(&output.stderr));
    }
}

#[test]
fn a_workload_that_is_not_there_is_named() {
    let mesh = ControlPlane::start();
    assert_eq!(mesh.said(&["get", "workloads"], "").trim(), "no workloads");
    let output = mesh.weft(&["proxy-config", "routes", "shop/web-0"], "");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("shop/web-0"), "{}", text(&output.stderr));
    let output = mesh.weft(&["proxy-config", "routes", "web-0"], "");
    assert!(text(&output.stderr).contains("namespace/name"), "{}", text(&output.stderr));
}

#[test]
fn the_intermediate_is_rotated_and_a_recovery_revoked_by_a_command_each() {
    let plane = ControlPlane::start();
    let said = plane.said(&["ca", "rotate"], "");
    assert!(said.contains("signs from now on, until 20"), "{said}");
    assert!(plane.said(&["recovery", "list"], "").contains("no certificate was recovered"));
    let said = plane.said(&["recovery", "revoke", "shop/web"], "");
    assert!(said.starts_with("no certificate that spiffe://weft.local/ns/shop/sa/web was given up to 20"), "{said}");
    let listed = plane.said(&["recovery", "list"], "");
    assert!(listed.contains("revoked") && listed.contains("spiffe://weft.local/ns/shop/sa/web"), "{listed}");
    let wrong = plane.weft(&["recovery", "revoke", "web"], "");
    assert!(text(&wrong.stderr).contains("is not NAMESPACE/ACCOUNT"), "{}", text(&wrong.stderr));
}

#[test]
fn removals_are_confirmed_only_where_some_are_held_back() {
    let plane = ControlPlane::start();
    let said = plane.said(&["confirm-removals"], "");
    assert!(said.starts_with("no proxy holds to another history than "), "{said}");
    let listed: serde_json::Value = serde_json::from_str(&plane.said(&["confirm-removals", "-o", "json"], "")).unwrap();
    assert_eq!(listed["items"], serde_json::json!([]), "{listed}");
}
