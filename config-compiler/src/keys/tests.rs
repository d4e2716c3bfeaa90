//! Key files: made, read, revoked, raced over, and broken in every way that comes to mind.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use super::*;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("strait-keys-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn named(id: &str) -> Principal {
    Principal { id: id.into(), ..Principal::default() }
}

#[test]
fn a_new_key_is_known_until_it_is_revoked() {
    let folder = Folder::new("life");
    for name in ["keys.yaml", "keys.json"] {
        let path = folder.0.join(name);
        let all = Principal {
            user: "ann lee".into(),
            agent: "desk".into(),
            tenant: "acme".into(),
            groups: vec!["staff".to_owned(), "a \"quoted\" one".to_owned()],
            claims: claims(r#"{"level": 500.00000000000000001, "a \"b\"": ["\ud83d\ude00", null, true]}"#)
                .unwrap(),
            ..named("ann")
        };
        let ann = new_key(&path, &all).unwrap();
        let ben = new_key(&path, &named("ben")).unwrap();
        let file = load(&path).unwrap();
        assert_eq!(file.find(&ann).map(|key| &key.principal), Some(&all));
        assert!(all.claims.starts_with(r#"{"level":500.00000000000000001,"#), "{}", all.claims);
        assert_eq!(file.find("sk-strait-x"), None);
        assert_eq!(revoke(&path, "ann").unwrap(), 1);
        let file = load(&path).unwrap();
        assert_eq!(file.find(&ann), None);
        assert!(file.find(&ben).is_some());
        assert!(matches!(revoke(&path, "ann"), Err(KeyFileError::Unknown { .. })));
        assert_eq!(revoke(&path, &file.keys[1].fingerprint()).unwrap(), 1);
        assert_eq!(list(&path).unwrap().len(), 2);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains(&ann) && !text.contains(KEY_PREFIX), "no key in the file");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn keys_made_at_the_same_time_are_all_kept() {
    let folder = Folder::new("race");
    let path = folder.0.join("keys.yaml");
    std::thread::scope(|scope| {
        for n in 0..8 {
            let path = &path;
            scope.spawn(move || new_key(path, &named(&format!("agent-{n}"))).unwrap());
        }
    });
    assert_eq!(list(&path).unwrap().len(), 8);
    assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 1, "nothing left behind");
}

#[test]
fn a_malformed_file_says_where_and_never_what() {
    let secret = "sk-strait-abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG";
    let check = |text: String, places: &[&str]| {
        let error = parse(Path::new("keys.yaml"), text.clone()).expect_err(&text).to_string();
        assert!(!error.contains("sk-strait"), "{error}");
        places.iter().for_each(|place| assert!(error.contains(place), "{error} should speak of {place}"));
    };
    let pepper = "0".repeat(64);
    check(format!("pepper: {secret}\nkeys: []"), &["keys.yaml:1:9", "64 hexadecimal"]);
    check(
        format!("pepper: \"{pepper}\"\nkeys:\n  - {{ id: a, digest: {secret}, created: {secret} }}"),
        &["3:22", "3:86"],
    );
    check(format!("pepper: \"{pepper}\"\n{secret}: 1"), &["2:1", "unknown key"]);
    check(format!("pepper: \"{pepper}\"\nkeys: {secret}"), &["expected a list"]);
    check(format!("{secret}: 1\n{secret}: 2"), &["2:1"]);
    check(format!("pepper: [{secret}"), &["ST0004"]);
    check(format!("pepper: *{secret}"), &["ST0008"]);
    check(secret.to_owned(), &["expected"]);
    check(String::new(), &["ST0013"]);
    check(
        format!(
            "pepper: \"{pepper}\"\nkeys: [{{ id: a, digest: \"{pepper}\", created: 2026-01-01T00:00:00Z, revoked: soon }}]"
        ),
        &["not a time"],
    );
}

#[test]
fn ids_that_would_mislead_are_refused() {
    let path = Path::new("nowhere/keys.yaml");
    for id in ["", "anonymous", "a\nb"] {
        assert!(matches!(new_key(path, &named(id)), Err(KeyFileError::Refused { .. })));
    }
}

#[test]
fn a_file_from_before_the_further_facts_is_read() {
    let digits = "0".repeat(64);
    let text = format!(
        "pepper: \"{digits}\"\nkeys:\n  - {{\"created\":\"2026-01-01T00:00:00Z\",\"digest\":\"{digits}\",\"groups\":[\"a\"],\"id\":\"ann\"}}\n"
    );
    let file = parse(Path::new("keys.yaml"), text).unwrap();
    assert_eq!(file.keys[0].principal, Principal { groups: vec!["a".into()], ..named("ann") });
}

#[test]
fn claims_are_an_object() {
    for no in ["3", "[1]", "{a: .5}", "{\"a\": 1, \"a\": 2}", "{", ""] {
        assert!(matches!(claims(no), Err(KeyFileError::Refused { .. })), "{no}");
    }
    assert_eq!(claims("{a: {b: 1.50}, c: x}").unwrap(), r#"{"a":{"b":1.50},"c":"x"}"#);
    assert!(claims(&format!("{{a: {}}}", "x".repeat(20_000))).is_err());
}
