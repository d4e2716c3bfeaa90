//! Tokens that are wrong, and whoever presents many of them.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use crate::gateway::{Site, call, claims, described, refused};
use crate::issuer::{Issuer, Pair, now_s};

/// A site that believes these keys, and its issuer.
fn site(pairs: &[&Pair]) -> (Site, Issuer) {
    let issuer = Issuer::start(pairs);
    (Site::new(&format!("jwt: {{ issuer: \"{}\" }}", issuer.url())), issuer)
}

fn unsigned(head: Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.", part(&head), part(claims))
}

#[test]
fn what_is_wrong_with_a_token_is_found() {
    let (rsa, es) = (Pair::rsa("rsa", Algorithm::RS256), Pair::es256("es"));
    let foreign = Pair::es256("es");
    let (site, issuer) = site(&[&rsa, &es]);
    let fine = claims(&issuer.url(), "ada");
    let but = |name: &str, value: Value| {
        let mut claims = fine.clone();
        claims[name] = value;
        es.sign(&claims)
    };
    // The public key of the issuer as if it were a secret that both know.
    let confused = {
        let secret = EncodingKey::from_secret(rsa.jwk["n"].as_str().unwrap().as_bytes());
        let mut head = Header::new(Algorithm::HS256);
        (head.typ, head.kid) = (Some("at+jwt".into()), Some("rsa".into()));
        jsonwebtoken::encode(&head, &fine, &secret).expect("sign")
    };
    let kid_of_another = es.sign_under(&json!({"alg": "ES256", "typ": "at+jwt", "kid": "rsa"}), &fine);
    let long = but("pad", "x".repeat(9_000).into());
    let mut deep = json!(1);
    (0..40).for_each(|_| deep = json!([deep]));
    let mut broken = es.sign(&fine);
    broken.replace_range(broken.len() - 4.., if broken.ends_with("AAAA") { "BBBB" } else { "AAAA" });
    for (what, token, why) in [
        (
            "no algorithm",
            unsigned(json!({"alg": "none", "typ": "at+jwt"}), &fine),
            "its algorithm is not accepted",
        ),
        ("a shared secret", confused, "its algorithm is not accepted"),
        ("the id of a key of another kind", kid_of_another, "its key is not known"),
        ("the id of a key that is not his", foreign.sign(&fine), "its signature is wrong"),
        (
            "an unknown key",
            es.sign_under(&json!({"alg": "ES256", "typ": "at+jwt", "kid": "x"}), &fine),
            "its key is not known",
        ),
        ("another type", es.sign_as(&fine, "id+jwt"), "its type is not accepted"),
        ("no type", es.sign_under(&json!({"alg": "ES256", "kid": "es"}), &fine), "its type is not accepted"),
        ("expired", but("exp", (now_s() - 60).into()), "it has expired"),
        ("without an end", but("exp", Value::Null), "it has no end"),
        ("not yet valid", but("nbf", (now_s() + 120).into()), "it is not valid yet"),
        ("another audience", but("aud", "https://gw.example/other".into()), "it is for another audience"),
        ("no audience", but("aud", Value::Null), "it is for another audience"),
        ("another issuer", but("iss", "https://evil.example".into()), "it is of another issuer"),
        (
            "its issuer but for a slash",
            but("iss", format!("{}/", issuer.url()).into()),
            "it is of another issuer",
        ),
        ("bound to a key", but("cnf", json!({"jkt": "x"})), "what it is bound to is not known here"),
        // A connection in clear text has shown no certificate at all.
        (
            "bound to a certificate",
            but("cnf", json!({"x5t#S256": URL_SAFE_NO_PAD.encode([7; 32])})),
            "it is bound to a certificate that this connection has not shown",
        ),
        ("nobody", but("sub", "".into()), "it does not say whose it is"),
        ("as if it had none", but("sub", "anonymous".into()), "it does not say whose it is"),
        ("very long", long, "its length is no token's"),
        ("nested", but("deep", deep), "it is nested too deeply"),
        ("tampered with", broken, "its signature is wrong"),
    ] {
        let answer = site.call(&token);
        assert_eq!((answer.status, described(&answer).as_str()), (401, why), "{what}");
        assert_eq!(refused(&answer).as_deref(), Some("invalid_token"), "{what}");
    }
    assert_eq!(refused(&site.call(&es.sign(&fine))), None, "and a good one is believed");
    assert!(issuer.asked("/jwks") <= 2, "{} fetches", issuer.asked("/jwks"));
    let log = site.process.log();
    assert!(!log.contains("eyJ") && !log.contains("evil.example"), "{log}");
}

#[test]
fn of_keys_with_the_same_id_the_one_that_fits_decides() {
    let (one, other, third) = (Pair::es256("same"), Pair::es256("same"), Pair::es256("same"));
    let (site, issuer) = site(&[&one, &other]);
    let fine = claims(&issuer.url(), "ada");
    assert_eq!(refused(&site.call(&one.sign(&fine))), None);
    assert_eq!(refused(&site.call(&other.sign(&fine))), None);
    assert_eq!(site.call(&third.sign(&fine)).status, 401);
}

#[test]
fn whoever_floods_with_bad_tokens_is_held_up_and_known_tokens_are_not() {
    let pair = Pair::es256("es");
    let (site, issuer) = site(&[&pair]);
    let good = pair.sign(&claims(&issuer.url(), "ada"));
    let mut client = site.client();
    // On the connection, and so the worker, that the flood comes over.
    assert_eq!(client.roundtrip(call("/mcp", &good)).status, 200);
    let mut held_up = 0;
    for n in 0..200 {
        let answer = client.roundtrip(call("/mcp", &format!("eyJ.bad.{n}")));
        match answer.status {
            401 => {}
            429 => {
                assert!(answer.header("retry-after").is_some());
                held_up += 1;
            }
            status => panic!("{status}"),
        }
    }
    assert!(held_up > 0, "nobody was held up");
    assert_eq!(client.roundtrip(call("/mcp", &good)).status, 200);
}

#[test]
fn a_session_is_no_use_to_another_principal_or_at_another_endpoint() {
    let pair = Pair::es256("es");
    let issuer = Issuer::start(&[&pair]);
    let both = format!(
        "jwt: {{ issuer: \"{}\", audience: [\"https://gw.example/mcp\", \"https://gw.example/other\"] }}",
        issuer.url()
    );
    let site = Site::new(&both);
    let token = |subject: &str, jti: &str| {
        let mut claims = claims(&issuer.url(), subject);
        claims["jti"] = jti.into();
        pair.sign(&claims)
    };
    let ask = |path: &str, token: &str, session: Option<&str>, method: &str, params: Value| {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
        let session =
            session.map(|id| format!("Mcp-Session-Id: {id}\r\nMCP-Protocol-Version: 2025-06-18\r\n"));
        let mut client = site.client();
        client.send(format!(
            "POST {path} HTTP/1.1\r\nHost: gw.example\r\nAuthorization: Bearer {token}\r\n\
             X-Forwarded-For: 10.0.0.1\r\nX-Forwarded-User: root\r\nX-Forwarded-Host: evil.example\r\n\
             Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n{}Content-Length: {}\r\n\r\n{body}",
            session.unwrap_or_default(),
            body.len()
        ));
        client.answer().expect("an answer")
    };
    let hello = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    let begun = ask("/mcp", &token("ada", "1"), None, "initialize", hello);
    let session = begun.header("mcp-session-id").expect("a session").to_owned();
    let list = |path: &str, token: &str| ask(path, token, Some(&session), "tools/list", json!({})).status;
    assert_eq!(list("/mcp", &token("ada", "1")), 200);
    assert_eq!(list("/mcp", &token("ada", "2")), 200, "a newer token of the same principal");
    assert_eq!(list("/mcp", &token("eve", "3")), 404);
    assert_eq!(list("/other", &token("ada", "1")), 404);
    let key = String::from_utf8(site.folder.read("state/keys/ci.robot.key")).expect("UTF-8");
    assert_eq!(list("/mcp", key.trim()), 404);
}
