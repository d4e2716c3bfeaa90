//! Tokens that are fine: of every kind of key, from a file and from an issuer, kept and looked at once.

use jsonwebtoken::Algorithm;
use serde_json::{Value, json};
use strait_tests::gateway::wait_for;

use crate::gateway::{Site, claims, refused};
use crate::issuer::{Issuer, Pair};
use crate::process::Folder;

#[test]
fn tokens_of_every_kind_of_key_are_believed() {
    let pairs = [
        Pair::rsa("rs256", Algorithm::RS256),
        Pair::rsa("rs384", Algorithm::RS384),
        Pair::rsa("ps256", Algorithm::PS256),
        Pair::es256("es256"),
        Pair::ed25519("ed"),
    ];
    let issuer = Issuer::start(&pairs.iter().collect::<Vec<_>>());
    let site = Site::new(&format!("jwt: {{ issuer: \"{}\" }}", issuer.url()));
    for pair in &pairs {
        let answer = site.call(&pair.sign(&claims(&issuer.url(), "ada")));
        assert_eq!(answer.status, 200, "{}: {:?}", pair.id, String::from_utf8_lossy(&answer.body));
        assert_eq!(refused(&answer), None, "{}", pair.id);
    }
    assert_eq!(issuer.asked("/jwks"), 1, "its keys are fetched once");
    let echoed = |line: &Value| line["tool"] == "echo";
    // Lines are written behind the answers.
    wait_for("a line", || site.lines().iter().any(echoed));
    let line = site.lines().into_iter().find(echoed).expect("a line");
    assert_eq!((&line["principal"], &line["agent"]), (&json!("ada"), &json!("console")));
    // The caller's token goes nowhere.
    let sent = site.upstream.arrived("tools/call");
    assert_eq!(sent.len(), pairs.len());
    assert!(sent.iter().all(|request| request.header("authorization").is_none()));
}

#[test]
fn keys_may_be_in_a_file_and_no_issuer_is_asked() {
    let pair = Pair::es256("one");
    let folder = Folder::new();
    folder.write("keys.json", json!({"keys": [pair.jwk]}).to_string());
    let site = Site::of(folder, "jwt: { issuer: \"https://idp.example\", jwks: ./keys.json }");
    let token = pair.sign(&claims("https://idp.example", "ada"));
    assert_eq!(refused(&site.call(&token)), None);
    // The other server is another audience.
    assert_eq!(site.call_at("/other", &token).status, 401);
    // API keys are accepted beside it.
    let key = String::from_utf8(site.folder.read("state/keys/ci.robot.key")).expect("UTF-8");
    assert_eq!(refused(&site.call(key.trim())), None);
    assert_eq!(refused(&site.call_at("/keyed", key.trim())), None);
    assert_eq!(site.call_at("/keyed", &token).status, 401);
}

#[test]
fn an_issuer_that_changes_its_keys_is_followed() {
    let (old, new) = (Pair::es256("old"), Pair::es256("new"));
    let issuer = Issuer::start(&[&old]);
    let site = Site::new(&format!("jwt: {{ issuer: \"{}\" }}", issuer.url()));
    let of_old = old.sign(&claims(&issuer.url(), "ada"));
    assert_eq!(refused(&site.call(&of_old)), None);
    issuer.has(&[&new]);
    // It was asked a moment ago; invented names must not make it be asked all the time.
    let of_new = new.sign(&claims(&issuer.url(), "ada"));
    wait_for("the new key", || site.call(&of_new).status == 200);
    assert_eq!(issuer.asked("/jwks"), 2);
    // What the old key signed is over with it, also where it was believed before.
    wait_for("the old key to be forgotten", || site.call(&of_old).status == 401);
}
