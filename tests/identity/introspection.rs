//! Tokens that only their issuer can read (RFC 7662): asked once, kept for a while, and refused when its answer is no good.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use strait_tests::gateway::wait_for;

use crate::gateway::{RESOURCE, Site, described, refused};
use crate::issuer::{Issuer, Script, now_s};
use crate::process::Folder;

const PATH: &str = "/introspect";

fn staff(issuer: &Issuer, keep: &str) -> String {
    let url = issuer.url();
    format!(
        "introspection: {{ endpoint: \"{url}{PATH}\", issuer: \"{url}\", client: strait, secret: \"${{file:secret}}\", \
         keep: {keep} }}"
    )
}

fn site(issuer: &Issuer, keep: &str) -> Site {
    let folder = Folder::new();
    folder.write("secret", "first/+ secret");
    Site::of(folder, &staff(issuer, keep))
}

/// What is said of a token that is fine.
fn active(issuer: &Issuer) -> Value {
    json!({"active": true, "iss": issuer.url(), "sub": "ada", "aud": RESOURCE, "exp": now_s() + 600,
        "client_id": "console", "groups": ["staff"], "scope": "mcp"})
}

/// The credential that a gateway shows with this secret.
fn basic(secret: &str) -> String {
    format!("Authorization: Basic {}", STANDARD.encode(format!("strait:{secret}")))
}

#[test]
fn a_token_is_asked_about_once_and_again_when_it_was_kept_long_enough() {
    let issuer = Issuer::silent();
    issuer.says_json(PATH, &active(&issuer));
    let site = site(&issuer, "1s");
    let token = "opaque-token+with/signs=";
    // One connection, so one worker: another one has asked nothing yet, and would hear at once what is said later.
    let mut client = site.client();
    let mut call = || client.roundtrip(crate::gateway::call("/mcp", token));
    assert_eq!(refused(&call()), None);
    let asked = issuer.heard(PATH);
    assert!(asked[0].starts_with("/introspect POST /introspect HTTP/1.1\r\n"), "{}", asked[0]);
    // Form-encoded before it is Basic, as RFC 6749 has it.
    assert!(asked[0].to_lowercase().contains(&basic("first%2F%2B%20secret").to_lowercase()), "{}", asked[0]);
    assert!(
        asked[0].ends_with("token=opaque-token%2Bwith%2Fsigns%3D&token_type_hint=access_token"),
        "{}",
        asked[0]
    );
    // It was taken back: known for a second at most.
    issuer.says_json(PATH, &json!({"active": false}));
    let mut told = String::new();
    wait_for("it to be asked about again", || {
        let answer = call();
        told = described(&answer);
        answer.status == 401
    });
    assert_eq!(told, "its issuer does not know it, or not any more");
    wait_for("a line", || {
        site.lines().iter().any(|line| line["tool"] == "echo" && line["principal"] == "ada")
    });
    let log = site.process.log();
    assert!(!log.contains("opaque-token") && !log.contains("first"), "{log}");
}

#[test]
fn a_token_that_is_kept_is_not_asked_about() {
    let issuer = Issuer::silent();
    issuer.says_json(PATH, &active(&issuer));
    let site = site(&issuer, "5m");
    let mut client = site.client();
    for _ in 0..20 {
        assert_eq!(client.roundtrip(crate::gateway::call("/mcp", "opaque")).status, 200);
    }
    assert_eq!(issuer.asked(PATH), 1);
}

#[test]
fn what_its_issuer_says_is_held_against_the_rules_of_all_tokens() {
    let issuer = Issuer::silent();
    let site = site(&issuer, "1s");
    let mut count = 0;
    let mut check = |name: &str, value: Value, why: &str| {
        let mut said = active(&issuer);
        said[name] = value;
        issuer.says_json(PATH, &said);
        count += 1;
        let answer = site.call(&format!("opaque-{count}"));
        assert_eq!((answer.status, described(&answer).as_str()), (401, why), "{name}");
    };
    let unknown = "its issuer does not know it, or not any more";
    check("active", json!(false), unknown);
    check("active", json!("true"), unknown);
    check("active", json!(1), unknown);
    check("active", Value::Null, unknown);
    check("aud", json!("https://gw.example/other"), "it is for another audience");
    check("aud", Value::Null, "it is for another audience");
    check("iss", json!("https://evil.example"), "it is of another issuer");
    check("exp", json!(now_s() - 60), "it has expired");
    check("exp", Value::Null, "it has no end");
    check("nbf", json!(now_s() + 600), "it is not valid yet");
    check("sub", json!("anonymous"), "it does not say whose it is");
    check("cnf", json!({"jkt": "x"}), "what it is bound to is not known here");
}

#[test]
fn an_issuer_that_does_not_behave_is_not_believed_and_is_followed_nowhere() {
    let there = Issuer::silent();
    there.says_json(PATH, &active(&there));
    let unavailable = |what: &str, script: Script| {
        let issuer = Issuer::silent();
        issuer.says(PATH, script);
        let site = site(&issuer, "60s");
        let answer = site.call("opaque");
        assert_eq!(
            (answer.status, refused(&answer).as_deref()),
            (503, Some("identity_unavailable")),
            "{what}"
        );
        assert!(answer.header("retry-after").is_some(), "{what}");
        site.process.wait_for_log("introspection:");
        let log = site.process.log();
        assert!(!log.contains("opaque") && !log.contains("first"), "{what}: {log}");
        // Whoever does not need it is let in, and it is asked again by the next.
        let key = String::from_utf8(site.folder.read("state/keys/ci.robot.key")).expect("UTF-8");
        assert_eq!(refused(&site.call(key.trim())), None, "{what}");
        issuer.says_json(PATH, &active(&issuer));
        assert_eq!(refused(&site.call("opaque")), None, "{what}: it answers again");
    };
    let says =
        |status: u16, lines: &str, body: &[u8]| Script::Says((status, lines.to_owned(), body.to_vec()));
    unavailable("hangs", Script::Hangs);
    unavailable("floods", Script::Floods);
    unavailable("garbage", says(200, "", b"<html>active</html>"));
    unavailable("an array", says(200, "", b"[{\"active\": true}]"));
    unavailable("nothing", says(200, "", b""));
    unavailable("does not know us", says(401, "WWW-Authenticate: Basic\r\n", b"{}"));
    unavailable("fails", says(500, "", b"{\"active\": true}"));
    let lines = format!("Location: {}{PATH}\r\n", there.url());
    unavailable("redirects", says(307, &lines, b"{\"active\": true}"));
    assert_eq!(there.asked(PATH), 0, "nobody follows");
}

#[test]
fn its_secret_is_rotated_without_a_restart_and_the_one_before_is_tried_when_the_new_one_is_early() {
    let issuer = Issuer::silent();
    let takes = |secret: &str| {
        issuer.says(PATH, Script::Knows(basic(secret), active(&issuer).to_string().into_bytes()));
    };
    takes("first%2F%2B%20secret");
    let site = site(&issuer, "1s");
    let mut last = 0;
    let mut next = || {
        last += 1;
        site.call(&format!("opaque-{last}")).status
    };
    assert_eq!(next(), 200);
    // The file first: the issuer does not know the new one yet.
    site.folder.replace("secret", "s-two-canary");
    wait_for("the new one to be shown", || {
        assert_eq!(next(), 200);
        issuer.heard(PATH).iter().any(|asked| asked.contains(&basic("s-two-canary")[21..]))
    });
    takes("s-two-canary");
    for _ in 0..5 {
        assert_eq!(next(), 200);
    }
    // One that is gone leaves the one that was there.
    std::fs::remove_file(site.folder.at("secret")).expect("remove");
    site.process.wait_for_log("goes on with the secret it had");
    assert_eq!(next(), 200);
    site.folder.replace("secret", "s-three-canary");
    wait_for("the third one to be shown", || {
        assert_eq!(next(), 200);
        issuer.heard(PATH).iter().any(|asked| asked.contains(&basic("s-three-canary")[21..]))
    });
    takes("s-three-canary");
    assert_eq!(next(), 200);
    let log = site.process.log();
    assert!(!log.contains("s-two-canary") && !log.contains("s-three-canary"), "{log}");
}
