//! Issuers that do not behave: their tokens are refused, and nobody else's.

use serde_json::json;

use crate::gateway::{Site, claims, refused};
use crate::issuer::{Issuer, Pair, Script};

/// A token of an issuer that answers in some way is refused with 503 and a word.
fn unavailable(pair: &Pair, issuer: &Issuer, what: &str) {
    let site = Site::new(&format!("jwt: {{ issuer: \"{}\" }}", issuer.url()));
    let answer = site.call(&pair.sign(&claims(&issuer.url(), "ada")));
    assert_eq!((answer.status, refused(&answer).as_deref()), (503, Some("identity_unavailable")), "{what}");
    assert!(answer.header("retry-after").is_some(), "{what}");
    // Whoever does not need the issuer is let in.
    let key = String::from_utf8(site.folder.read("state/keys/ci.robot.key")).expect("UTF-8");
    assert_eq!(refused(&site.call(key.trim())), None, "{what}");
    site.process.wait_for_log("gives no keys");
}

#[test]
fn an_issuer_that_does_not_behave_is_not_believed() {
    let pair = Pair::es256("one");
    let metadata = "/.well-known/openid-configuration";
    let silent = Issuer::silent();
    unavailable(&pair, &silent, "nothing is there");

    let hangs = Issuer::start(&[&pair]);
    hangs.says("/jwks", Script::Hangs);
    unavailable(&pair, &hangs, "hangs");

    let floods = Issuer::start(&[&pair]);
    floods.says("/jwks", Script::Floods);
    unavailable(&pair, &floods, "floods");

    let redirects = Issuer::start(&[&pair]);
    let there = Issuer::start(&[&pair]);
    let lines = format!("Location: {}/jwks\r\n", there.url());
    redirects.says("/jwks", Script::Says((302, lines, Vec::new())));
    unavailable(&pair, &redirects, "redirects");
    assert_eq!(there.asked("/jwks"), 0, "nobody follows");

    let garbage = Issuer::start(&[&pair]);
    garbage.says("/jwks", Script::Says((200, String::new(), b"<html>".to_vec())));
    unavailable(&pair, &garbage, "garbage");

    let another = Issuer::start(&[&pair]);
    another.says_json(
        metadata,
        &json!({"issuer": "https://evil.example", "jwks_uri": format!("{}/jwks", another.url())}),
    );
    unavailable(&pair, &another, "metadata of another issuer");
    assert_eq!(another.asked("/jwks"), 0);

    // Its metadata leads to another origin of this machine, which is a peer's word.
    let leads_away = Issuer::start(&[&pair]);
    leads_away.says_json(
        metadata,
        &json!({"issuer": leads_away.url(), "jwks_uri": format!("{}/jwks", there.url())}),
    );
    unavailable(&pair, &leads_away, "leads to another address of this machine");
    assert_eq!(there.asked("/jwks"), 0, "nobody is led");
}

#[test]
fn an_issuer_may_tell_of_itself_in_the_way_of_rfc_8414() {
    let pair = Pair::es256("one");
    let issuer = Issuer::silent();
    let name = format!("{}/tenant", issuer.url());
    issuer.says_json(
        "/.well-known/oauth-authorization-server/tenant",
        &json!({"issuer": name, "jwks_uri": format!("{}/jwks", issuer.url())}),
    );
    issuer.has(&[&pair]);
    let site = Site::new(&format!("jwt: {{ issuer: \"{name}\" }}"));
    assert_eq!(refused(&site.call(&pair.sign(&claims(&name, "ada")))), None);
}
