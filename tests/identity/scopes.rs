//! Rules that ask for scopes: who could have them sees what they allow, and is told at a call which to come back with.

use serde_json::{Value, json};
use strait_tests::client::{modern, post};

use crate::gateway::{PUBLIC, Site, call_with, claims, refused};
use crate::issuer::{Issuer, Pair};
use crate::process::Folder;

const RULE: &str =
    r#"{ id: write, allow: ["*"], to: [staff], scopes: [crm.read, crm.write], when: 'args.say != "no"' }"#;

/// Names of the tools that a bearer of this credential is shown.
fn shown(site: &Site, credential: &str) -> Vec<String> {
    let body = modern("", 1, "tools/list", json!({}));
    let at = body.windows(4).position(|window| window == b"\r\n\r\n").expect("a head") + 4;
    let bearer = format!("Bearer {credential}");
    let headers = [
        ("Authorization", bearer.as_str()),
        ("MCP-Protocol-Version", "2026-07-28"),
        ("Mcp-Method", "tools/list"),
    ];
    let answer = site.client().roundtrip(post(&headers, &body[at..]));
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    let tools = answer.json()["result"]["tools"].clone();
    let tools = tools.as_array().cloned().unwrap_or_default();
    tools.iter().filter_map(|tool| Some(tool["name"].as_str()?.to_owned())).collect()
}

#[test]
fn a_caller_is_told_which_scopes_a_call_needs() {
    let pair = Pair::es256("one");
    let issuer = Issuer::start(&[&pair]);
    let staff = format!("jwt: {{ issuer: \"{}\", scopes: [mcp] }}", issuer.url());
    let site = Site::with_rule(Folder::new(), &staff, RULE);
    let token = |scope: Value| {
        let mut claims = claims(&issuer.url(), "ada");
        claims["scope"] = scope;
        pair.sign(&claims)
    };

    let weak = token("mcp crm.read".into());
    assert_eq!(shown(&site, &weak), ["echo", "slow", "secret"]);
    let answer = site.call(&weak);
    assert_eq!((answer.status, refused(&answer).as_deref()), (403, Some("insufficient_scope")));
    let metadata = format!("{PUBLIC}/.well-known/oauth-protected-resource/mcp");
    let challenge = answer.header("www-authenticate").expect("a challenge");
    let begin = format!(
        "Bearer error=\"insufficient_scope\", resource_metadata=\"{metadata}\", scope=\"mcp crm.read crm.write\""
    );
    assert!(challenge.starts_with(&begin), "{challenge}");
    let message = answer.json()["error"]["message"].as_str().expect("a message").to_owned();
    assert!(message.contains("`crm.read crm.write`"), "{message}");
    assert!(site.upstream.arrived("tools/call").is_empty(), "nothing of it reached the upstream");
    // More scopes would not help this one: no word of them.
    let answer = site.client().roundtrip(call_with("/mcp", &weak, json!({"say": "no"})));
    assert_eq!(answer.header("www-authenticate"), None);
    assert_eq!(answer.json()["result"]["isError"], true);

    // As one text, or as a list; what only looks like one of them is another.
    assert_eq!(site.call(&token("crm.write mcp crm.read".into())).status, 200);
    assert_eq!(site.call(&token(json!(["mcp", "crm.read", "crm.write"]))).status, 200);
    assert_eq!(site.call(&token("mcp crm.read crm.writes xcrm.write".into())).status, 403);

    // A key has no token that it could change for another.
    let key = String::from_utf8(site.folder.read("state/keys/ci.robot.key")).expect("UTF-8");
    assert!(shown(&site, key.trim()).is_empty());
    let answer = site.call(key.trim());
    assert_eq!((answer.status, answer.header("www-authenticate")), (200, None));
    let message = answer.json()["error"]["message"].as_str().map(str::to_owned);
    assert_eq!(message.as_deref(), Some("Unknown tool: echo"));
    // A client that asks for all that the document names asks for no more than every call needs.
    let supported = site.get("/.well-known/oauth-protected-resource/mcp", "").json();
    assert_eq!(supported["scopes_supported"], json!(["mcp"]));
}
