//! Changes: all or nothing, each with its reason.
use weft_control_plane::client::CallError;
use weft_model::Code;

use crate::shop::{Shop, route};

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_object_is_refused_by_field_and_nothing_changes() {
    let shop = Shop::open().await;
    let before = shop.mesh.client().status().await.unwrap().revision;
    let bad = [
        (route(1, 1).replace("backendRefs:\n", "backendRefz:\n"), Code::UnknownField, "spec.rules[1].backendRefz"),
        (route(0, 0), Code::ZeroWeights, "spec.rules[1].backendRefs"),
        (route(1, 1).replace("reviews-v1", "reviews-v9"), Code::DanglingReference, "spec.rules[1].backendRefs[0]"),
    ];
    for (text, code, field) in bad {
        let Err(CallError::Objects(diagnostics)) = shop.mesh.apply(&text).await else { panic!("{field} was taken") };
        let found = diagnostics.iter().find(|it| it.code == code && it.field.0.starts_with(field));
        let found = found.unwrap_or_else(|| panic!("no {code} at {field} in {diagnostics:#?}"));
        assert_eq!(found.source.as_ref().map(|source| &*source.file), Some("test.yaml"));
        assert!(found.is_error());
    }
    assert_eq!(shop.mesh.client().status().await.unwrap().revision, before);
    let mut connection = shop.web.connect().await.unwrap();
    assert_eq!(connection.get("reviews", "/", &[]).await.unwrap().text(), "v1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_tells_what_it_has_in_effect_over_the_agent_stream() {
    let shop = Shop::open().await;
    let mut connection = shop.web.connect().await.unwrap();
    connection.get("reviews", "/", &[]).await.unwrap();
    let config = shop.mesh.client().proxy("shop", "web-0", "/config").await.unwrap().to_string();
    assert!(config.contains("outbound/reviews.shop.svc.cluster.local"), "{config}");
    assert!(config.contains("local/shop/reviews-v1:80"), "{config}");
    assert!(!config.contains("PRIVATE KEY"));
    // What web never used, it was never sent.
    assert!(!config.contains("outbound/web.shop"), "{config}");
}
