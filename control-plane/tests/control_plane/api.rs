//! The admin API.
use std::{fs, os::unix::fs::PermissionsExt};

use hyper::{Method, StatusCode};
use weft_certs::join::Context;
use weft_control_plane::{
    client::CallError,
    wire::{ApplyRequest, ChangeKind, Document},
};
use weft_model::Code;

use crate::support::{Plane, SHOP};

#[tokio::test]
async fn an_applied_object_is_listed_and_deleted() {
    let plane = Plane::start().await;
    let applied = plane.apply(SHOP).await.unwrap();
    let changes: Vec<_> = applied.changes.iter().map(|it| (it.object.as_str(), it.change)).collect();
    let expected = [("Service shop/web", ChangeKind::Created), ("AccessPolicy shop/web", ChangeKind::Created)];
    assert_eq!(changes, expected);

    let client = plane.client();
    let listed = client.objects(Some("services"), Some("shop"), Some("web")).await.unwrap();
    assert_eq!(listed.revision, applied.revision);
    let [item] = listed.items.as_slice() else { panic!("{listed:?}") };
    assert_eq!((item.object["kind"].as_str(), item.owner.as_str()), (Some("Service"), "api"));
    let source = item.source.as_ref().unwrap();
    assert_eq!((&*source.file, source.line), ("test.yaml", 2));
    assert!(client.objects(None, Some("other"), None).await.unwrap().items.is_empty());

    let deleted = client.delete("AccessPolicy", "shop", "web").await.unwrap();
    assert_ne!(deleted.revision, applied.revision);
    let left = client.objects(None, None, None).await.unwrap();
    assert_eq!((left.items.len(), left.revision), (1, deleted.revision));
}

/// The deletion of a Service that routes named once broke their traffic without a word.
#[tokio::test]
async fn deleting_what_others_name_is_told_and_a_dry_run_only_tells() {
    let plane = Plane::start().await;
    let applied = plane.apply(SHOP).await.unwrap();
    let client = plane.client();
    let told = client.dry_delete("Service", "shop", "web").await.unwrap();
    assert_eq!(told.revision, applied.revision);
    let [warning] = told.warnings.as_slice() else { panic!("{told:?}") };
    assert!(!warning.is_error() && warning.to_string().contains("AccessPolicy shop/web"), "{warning}");
    assert_eq!(client.objects(None, None, None).await.unwrap().items.len(), 2);
    let deleted = client.delete("Service", "shop", "web").await.unwrap();
    assert_eq!(deleted.warnings, told.warnings);
    assert_eq!(client.objects(None, None, None).await.unwrap().items.len(), 1);
    let last = client.delete("AccessPolicy", "shop", "web").await.unwrap();
    assert!(last.warnings.is_empty(), "{last:?}");
    let (status, _) = plane.json(Method::DELETE, "/v1/objects/service/shop/web?dryrun=true", b"").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_request_without_the_admin_token_is_refused() {
    let plane = Plane::start().await;
    for token in [None, Some("wrong"), Some("")] {
        for (method, path) in [(Method::GET, "/v1/status"), (Method::POST, "/v1/apply"), (Method::GET, "/nothing")] {
            let (status, body) = plane.request(method, path, token, b"{}").await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{path}");
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert!(body["error"].is_string() && body["hint"].is_string(), "{body}");
        }
    }
}

#[tokio::test]
async fn a_bad_object_is_refused_with_its_field_and_nothing_changes() {
    let plane = Plane::start().await;
    let before = plane.apply(SHOP).await.unwrap().revision;
    let bad = SHOP.replace("port: 80,", "port: 81,").replace("selector: {app: web}", "selektor: {app: web}");
    let Err(CallError::Objects(diagnostics)) = plane.apply(&bad).await else { panic!("it was taken") };
    let told = diagnostics.iter().find(|it| it.code == Code::UnknownField).unwrap();
    assert_eq!(told.field.0, "spec.selektor");
    assert_eq!(told.source.as_ref().map(|source| source.line), Some(6));
    let dangling = "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web, namespace: shop}
spec:
  parentRefs: [{group: \"\", kind: Service, name: web}]
  rules: [{backendRefs: [{name: nowhere, port: 80}]}]
";
    let Err(CallError::Objects(diagnostics)) = plane.apply(dangling).await else { panic!("it was taken") };
    assert!(diagnostics.iter().any(|it| it.code == Code::DanglingReference), "{diagnostics:?}");
    let listed = plane.client().objects(None, None, None).await.unwrap();
    assert_eq!((listed.revision, listed.items.len()), (before, 2));
}

#[tokio::test]
async fn applying_the_same_again_changes_nothing() {
    let plane = Plane::start().await;
    let first = plane.apply(SHOP).await.unwrap();
    let second = plane.apply(SHOP).await.unwrap();
    assert_eq!(first.revision, second.revision);
    assert!(second.changes.iter().all(|it| it.change == ChangeKind::Unchanged), "{second:?}");
    let changed = plane.apply(&SHOP.replace("port: 80,", "port: 81,")).await.unwrap();
    let kinds: Vec<_> = changed.changes.iter().map(|it| it.change).collect();
    assert_eq!(kinds, [ChangeKind::Updated, ChangeKind::Unchanged]);
}

#[tokio::test]
async fn a_dry_run_says_what_would_change_and_changes_nothing() {
    let plane = Plane::start().await;
    let document = Document { file: "-".to_owned(), text: SHOP.to_owned() };
    let request = ApplyRequest { documents: vec![document], dry_run: true };
    let told = plane.client().apply(&request).await.unwrap();
    assert!(told.changes.iter().all(|it| it.change == ChangeKind::Created), "{told:?}");
    assert!(plane.client().objects(None, None, None).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn every_failure_says_what_is_wrong_and_what_to_do() {
    let plane = Plane::start().await;
    let big = format!("{{\"documents\": [{{\"file\": \"-\", \"text\": \"{}\"}}]}}", "#".repeat(5 << 20));
    for (method, path, body, expected) in [
        (Method::GET, "/v1/nothing", "", StatusCode::NOT_FOUND),
        (Method::PUT, "/v1/apply", "", StatusCode::METHOD_NOT_ALLOWED),
        (Method::POST, "/v1/apply", "nonsense", StatusCode::BAD_REQUEST),
        (Method::POST, "/v1/apply", "{\"documents\": [], \"dryrun\": true}", StatusCode::BAD_REQUEST),
        (Method::POST, "/v1/apply", big.as_str(), StatusCode::PAYLOAD_TOO_LARGE),
        (Method::GET, "/v1/objects?kind=Pod", "", StatusCode::BAD_REQUEST),
        (Method::GET, "/v1/objects?namspace=x", "", StatusCode::BAD_REQUEST),
        (Method::DELETE, "/v1/objects/Service/shop/web", "", StatusCode::NOT_FOUND),
        (Method::DELETE, "/v1/objects/Service/SHOP/web", "", StatusCode::BAD_REQUEST),
        (Method::POST, "/v1/tokens", "{\"namespace\": \"shop\"}", StatusCode::BAD_REQUEST),
        (
            Method::POST,
            "/v1/tokens",
            "{\"namespace\": \"shop\", \"account\": \"web\", \"ttlSeconds\": 601}",
            StatusCode::BAD_REQUEST,
        ),
        (
            Method::POST,
            "/v1/tokens",
            "{\"namespace\": \"weft-system\", \"account\": \"control-plane\"}",
            StatusCode::BAD_REQUEST,
        ),
        (Method::GET, "/v1/workloads/shop/web/proxy?path=/config", "", StatusCode::NOT_FOUND),
        (Method::GET, "/v1/workloads/shop/web/proxy?path=config", "", StatusCode::BAD_REQUEST),
    ] {
        let (status, answer) = plane.json(method.clone(), path, body.as_bytes()).await;
        assert_eq!(status, expected, "{method} {path}: {answer}");
        let text = |field: &str| answer[field].as_str().is_some_and(|text| !text.is_empty());
        assert!(text("error") && text("hint"), "{method} {path}: {answer}");
    }
}

#[tokio::test]
async fn the_status_and_the_metrics_tell_what_runs() {
    let plane = Plane::start().await;
    let status = plane.client().status().await.unwrap();
    let names = (status.trust_domain.as_str(), status.mesh_domain.as_str(), status.cluster.as_str());
    assert_eq!(names, ("weft.local", "cluster.local", "local"));
    assert_eq!((status.proxies.connected, status.resources_sent, status.resources_resent), (0, 0, 0));
    assert_eq!(status.revision, plane.running().revision().to_string());
    let token = plane.running().context.token.reveal().to_owned();
    let (code, text) = plane.request(Method::GET, "/metrics", Some(&token), b"").await;
    assert_eq!(code, StatusCode::OK);
    let text = String::from_utf8(text.to_vec()).unwrap();
    assert!(text.contains("# TYPE weft_xds_resources_sent_total counter"), "{text}");
    let commits = text.lines().find_map(|line| line.strip_prefix("weft_store_commits_total "));
    assert!(commits.unwrap().parse::<u64>().unwrap() > 0, "{text}");
}

#[tokio::test]
async fn the_context_file_is_its_owners_alone_and_outlives_a_restart() {
    let mut plane = Plane::start().await;
    let path = plane.path("context.json");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let first = Context::load(&path).unwrap();
    assert_eq!(first, plane.running().context);
    plane.stop().await;
    plane.start_again().await.unwrap();
    let second = Context::load(&path).unwrap();
    assert_eq!((&first.token, first.ca_sha256), (&second.token, second.ca_sha256));

    plane.stop().await;
    fs::remove_file(&path).unwrap();
    plane.start_again().await.unwrap();
    let third = Context::load(&path).unwrap();
    assert_ne!(first.token, third.token);
    let (status, _) = plane.request(Method::GET, "/v1/status", Some(first.token.reveal()), b"").await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert!(plane.client().status().await.is_ok());
}

/// Another mesh's context was once overwritten, and its admin token with it.
#[tokio::test]
async fn the_context_file_of_another_mesh_is_left_alone() {
    let mut plane = Plane::start().await;
    plane.stop().await;
    let path = plane.path("context.json");
    let before = fs::read(&path).unwrap();
    let first = plane.config.dir.clone();
    plane.config.dir = plane.path("second-store");
    let error = plane.start_again().await.unwrap_err();
    for part in [path.to_str().unwrap(), "of another mesh", "--context-file"] {
        assert!(error.to_string().contains(part), "{part} is not in {error}");
    }
    assert_eq!(fs::read(&path).unwrap(), before);
    plane.config.dir = first;
    plane.start_again().await.unwrap();
}

#[tokio::test]
async fn changes_made_at_the_same_time_are_judged_one_after_the_other() {
    let plane = Plane::start().await;
    plane.apply(SHOP).await.unwrap();
    let route = "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web, namespace: shop}
spec:
  parentRefs: [{group: \"\", kind: Service, name: web}]
  rules: [{backendRefs: [{name: web, port: 80}]}]
";
    let texts: Vec<_> =
        (1..=8).map(|at| route.replace("name: web, namespace", &format!("name: web-{at}, namespace"))).collect();
    let results = futures::future::join_all(texts.iter().map(|text| plane.apply(text))).await;
    for result in results {
        result.unwrap();
    }
    assert_eq!(plane.client().objects(Some("HTTPRoute"), None, None).await.unwrap().items.len(), 8);
}
