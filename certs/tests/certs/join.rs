//! Join files, the context file, tokens.
use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use tempfile::TempDir;
use weft_certs::{
    files::FileError,
    join::{
        Context, JoinError, JoinFile, MAX_TOKEN_LIFETIME, Token, TokenError, TokenHash, TokenRecord, redeem, redeem_for,
    },
};

use crate::support::{noon, web};

fn join_json() -> serde_json::Value {
    serde_json::json!({
        "controlPlane": "127.0.0.1:15012", "trustDomain": "weft.local", "meshDomain": "cluster.local",
        "cluster": "local", "caSha256": "ab".repeat(32), "token": "0123456789abcdef", "namespace": "shop",
        "account": "web",
    })
}

fn parse(json: &serde_json::Value) -> Result<JoinFile, JoinError> {
    JoinFile::parse(json.to_string().as_bytes(), "web.join")
}

#[test]
fn a_join_file_is_written_0600_and_read_back() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("web.join");
    let file = parse(&join_json()).unwrap();
    file.save(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(JoinFile::load(&path).unwrap(), file);
    assert_eq!(serde_json::to_value(&file).unwrap(), join_json());
    assert_eq!(file.identity(), web());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(JoinFile::load(&path), Err(JoinError::File(FileError::Mode { mode: 0o644, .. }))));
}

#[test]
fn a_used_token_is_erased_from_the_file_and_a_newer_one_is_not() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("web.join");
    let used = parse(&join_json()).unwrap();
    let newer = JoinFile { token: Some(Token::generate().unwrap()), ..used.clone() };
    newer.save(&path).unwrap();
    used.erase_token(&path).unwrap();
    assert_eq!(JoinFile::load(&path).unwrap(), newer);
    newer.erase_token(&path).unwrap();
    assert_eq!(JoinFile::load(&path).unwrap(), JoinFile { token: None, ..used });
    assert!(!fs::read_to_string(&path).unwrap().contains("token"));
}

#[test]
fn every_field_is_checked_and_named() {
    for (field, bad) in [
        ("controlPlane", "127.0.0.1"),
        ("controlPlane", "127.0.0.1:0"),
        ("controlPlane", "http://a:80"),
        ("controlPlane", "::1:80"),
        ("controlPlane", "[::g]:80"),
        ("trustDomain", "Weft"),
        ("meshDomain", "a..b"),
        ("cluster", "a.b"),
        ("caSha256", "ab"),
        ("token", ""),
        ("token", "with space"),
        ("namespace", "Shop"),
        ("account", ""),
    ] {
        let mut json = join_json();
        json[field] = bad.into();
        let error = parse(&json).unwrap_err().to_string();
        assert!(error.starts_with("web.join: field ") && error.contains(field), "{field} {bad:?}: {error}");
    }
    for good in ["control-plane.weft-system.svc:15012", "[::1]:15012", "localhost:1"] {
        let mut json = join_json();
        json["controlPlane"] = good.into();
        assert_eq!(parse(&json).unwrap().control_plane, good);
    }
}

#[test]
fn unknown_missing_and_mistyped_fields_are_named() {
    let mut unknown = join_json();
    unknown["colour"] = "red".into();
    assert!(parse(&unknown).unwrap_err().to_string().contains("unknown field `colour`"));
    let mut missing = join_json();
    missing.as_object_mut().unwrap().remove("account");
    assert!(parse(&missing).unwrap_err().to_string().contains("missing field `account`"));
    let mut mistyped = join_json();
    mistyped["account"] = 7.into();
    assert!(parse(&mistyped).unwrap_err().to_string().starts_with("web.join: "));
    for text in ["", "[", "[]", "null", "{}{}", "{\"token\":\"a\",\"token\":\"b\"}"] {
        let error = JoinFile::parse(text.as_bytes(), "web.join").unwrap_err().to_string();
        assert!(error.starts_with("web.join: "), "{error}");
    }
    let huge = format!("{{\"token\":\"{}\"}}", "a".repeat(20_000));
    assert!(JoinFile::parse(huge.as_bytes(), "web.join").unwrap_err().to_string().contains("larger than"));
}

#[test]
fn a_secret_in_the_wrong_place_is_not_repeated_in_the_error() {
    for text in ["\"s3cr3t-token\"", "{\"token\":[\"s3cr3t-token\"]}", "{\"caSha256\":\"s3cr3t-token\"}"] {
        let error = JoinFile::parse(text.as_bytes(), "web.join").unwrap_err().to_string();
        assert!(!error.contains("s3cr3t"), "{error}");
    }
    let mut json = join_json();
    json["token"] = "s3cr3t token".into();
    assert!(!parse(&json).unwrap_err().to_string().contains("s3cr3t"));
}

#[test]
fn a_context_file_is_written_0600_and_read_back() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("context.json");
    let json = serde_json::json!({
        "address": "127.0.0.1:15014", "caSha256": "cd".repeat(32), "token": "abc", "trustDomain": "weft.local",
    });
    let context = Context::parse(json.to_string().as_bytes(), "context.json").unwrap();
    context.save(&path).unwrap();
    assert_eq!(Context::load(&path).unwrap(), context);
    assert_eq!(serde_json::to_value(&context).unwrap(), json);
    assert_eq!(context.control_plane().as_str(), "spiffe://weft.local/ns/weft-system/sa/control-plane");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(Context::load(&path), Err(JoinError::File(FileError::Mode { .. }))));
    let mut bad = json;
    bad["address"] = "nowhere".into();
    let error = Context::parse(bad.to_string().as_bytes(), "context.json").unwrap_err().to_string();
    assert!(error.starts_with("context.json: field address: "), "{error}");
}

#[test]
fn tokens_are_random_and_hidden() {
    let (one, other) = (Token::generate().unwrap(), Token::generate().unwrap());
    assert_ne!(one, other);
    assert_eq!(one.reveal().len(), 64);
    assert_eq!(format!("{one:?}"), "Token(…)");
    let mut json = join_json();
    json["token"] = one.reveal().into();
    let file = parse(&json).unwrap();
    assert_eq!(file.token.as_ref(), Some(&one));
    assert!(!format!("{file:?}").contains(one.reveal()));
    let record = TokenRecord::new(&one, web(), Duration::from_secs(60), noon()).unwrap();
    assert!(!format!("{record:?}").contains(one.reveal()));
    assert!(!serde_json::to_string(&record).unwrap().contains(one.reveal()));
}

#[test]
fn a_token_is_redeemed_once_in_its_time() {
    let token = Token::generate().unwrap();
    let record = TokenRecord::new(&token, web(), Duration::from_secs(60), noon()).unwrap();
    let last = noon() + Duration::from_secs(59);
    assert_eq!(redeem(&record, token.reveal(), noon()), Ok(web()));
    assert_eq!(redeem(&record, token.reveal(), last), Ok(web()));
    let late = redeem(&record, token.reveal(), last + Duration::from_secs(1)).unwrap_err();
    assert_eq!(late, TokenError::Expired { identity: web(), at: "2026-11-20T12:01:00Z".into() });
    assert_eq!(redeem(&record.clone().spent(), token.reveal(), noon()), Err(TokenError::Used(web())));
    // Who does not have the token does not learn whether it was used or is over.
    let (again, other) = (record.clone().spent_for("key".to_owned()), TokenError::Used(web()));
    assert_eq!(redeem_for(&again, token.reveal(), "key", last), Ok(web()));
    assert_eq!(redeem_for(&again, token.reveal(), "other", last), Err(other.clone()));
    assert_eq!(redeem_for(&again, token.reveal(), "key", last + Duration::from_secs(1)), Err(other.clone()));
    assert_eq!(redeem_for(&record.clone().spent(), token.reveal(), "key", last), Err(other));
    for wrong in ["", "x", &token.reveal()[1..], &token.reveal().to_uppercase(), Token::generate().unwrap().reveal()] {
        assert_eq!(redeem(&record.clone().spent(), wrong, last), Err(TokenError::Unknown), "{wrong}");
    }
}

#[test]
fn a_record_is_stored_and_read_back_without_its_token() {
    let token = Token::generate().unwrap();
    let record = TokenRecord::new(&token, web(), Duration::from_secs(60), noon()).unwrap();
    let stored = serde_json::to_string(&record).unwrap();
    assert_eq!(serde_json::from_str::<TokenRecord>(&stored).unwrap(), record);
    assert_eq!(TokenHash::of(token.reveal()), record.hash);
    assert!(record.hash.matches(token.reveal()) && !record.hash.matches("another"));
    assert!(serde_json::from_str::<TokenRecord>(&stored.replace("spiffe://", "http://")).is_err());
}

#[test]
fn a_token_lives_ten_minutes_at_most() {
    let token = Token::generate().unwrap();
    let with = |lifetime| TokenRecord::new(&token, web(), lifetime, noon());
    assert!(with(MAX_TOKEN_LIFETIME).is_ok());
    for lifetime in [Duration::ZERO, MAX_TOKEN_LIFETIME + Duration::from_secs(1)] {
        assert_eq!(with(lifetime), Err(TokenError::Lifetime));
    }
}

#[test]
fn presented_tokens_are_compared_in_constant_time() {
    // Time cannot be tested reliably; that the only comparison is the library's constant-time one can.
    let source = include_str!("../../src/join/token.rs");
    let comparison = source.split("pub fn matches").nth(1).unwrap().split("\n    }").next().unwrap();
    assert!(comparison.contains("verify_slices_are_equal"));
    let redeem = source.split("pub fn redeem").nth(1).unwrap().split("\n}").next().unwrap();
    assert!(redeem.contains("record.hash.matches(presented)") && !redeem.contains("=="));
}
