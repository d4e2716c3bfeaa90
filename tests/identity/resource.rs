//! What clients are told that need a token.

use serde_json::json;

use crate::gateway::{PUBLIC, RESOURCE, Site, described};
use crate::issuer::{Issuer, Pair};

#[test]
fn whoever_has_no_token_is_led_to_one() {
    let pair = Pair::es256("one");
    let issuer = Issuer::start(&[&pair]);
    let site = Site::new(&format!("jwt: {{ issuer: \"{}\", scopes: [mcp, \"crm:read\"] }}", issuer.url()));
    let metadata = format!("{PUBLIC}/.well-known/oauth-protected-resource/mcp");

    let answer = site.ask("POST", "/mcp", "Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\nContent-Length: 0\r\n");
    assert_eq!(answer.status, 401);
    assert_eq!(
        answer.header("www-authenticate"),
        Some(
            format!("Bearer resource_metadata=\"{metadata}\", scope=\"mcp crm:read\"")
                .replace("mcp crm:read", "crm:read mcp")
                .as_str()
        )
    );
    let answer = site.call("not-a-token");
    assert_eq!(answer.status, 401);
    let challenge = answer.header("www-authenticate").expect("a challenge");
    assert!(challenge.starts_with("Bearer error=\"invalid_token\", resource_metadata="), "{challenge}");
    assert_eq!(described(&answer), "it is malformed");

    let document = site.get("/.well-known/oauth-protected-resource/mcp", "Origin: https://evil.example\r\n");
    assert_eq!(document.status, 200);
    assert_eq!(document.header("access-control-allow-origin"), Some("*"));
    assert!(document.header("cache-control").expect("caching").contains("max-age"));
    assert_eq!(
        document.json(),
        json!({"resource": RESOURCE, "authorization_servers": [issuer.url()],
            "bearer_methods_supported": ["header"], "resource_name": "default",
            "scopes_supported": ["crm:read", "mcp"]})
    );
    // Without a path the first server's.
    assert_eq!(site.get("/.well-known/oauth-protected-resource", "").json()["resource"], RESOURCE);
    let of_other = site.get("/.well-known/oauth-protected-resource/other", "").json();
    assert_eq!(of_other["resource"], format!("{PUBLIC}/other"));
    let head = site.ask("HEAD", "/.well-known/oauth-protected-resource/mcp", "");
    assert_eq!((head.status, head.body.len()), (200, 0));
    let preflight = "Origin: https://page.example\r\nAccess-Control-Request-Method: GET\r\n";
    let preflight = site.ask("OPTIONS", "/.well-known/oauth-protected-resource/mcp", preflight);
    assert_eq!(preflight.status, 204);
    assert!(preflight.header("access-control-allow-methods").is_some());
    // Clients of 2025-03-26 look for the issuer here.
    for path in ["/.well-known/oauth-authorization-server", "/.well-known/oauth-authorization-server/mcp"] {
        let answer = site.get(path, "");
        assert_eq!(answer.status, 307, "{path}");
        let there = format!("{}/.well-known/oauth-authorization-server", issuer.url());
        assert_eq!(answer.header("location"), Some(there.as_str()));
    }
    // A server of keys alone, one that does not exist, and a path that is none: all the same.
    let body = |path: &str| {
        let answer = site.get(path, "");
        (answer.status, String::from_utf8_lossy(&answer.body).into_owned())
    };
    let unknown = body("/nowhere");
    assert_eq!(unknown.0, 404);
    for path in ["keyed", "nowhere", "mcp/", "mcp/more", "..%2fmcp"] {
        assert_eq!(body(&format!("/.well-known/oauth-protected-resource/{path}")), unknown, "{path}");
    }
    assert_eq!(
        site.ask("POST", "/.well-known/oauth-protected-resource/mcp", "Content-Length: 0\r\n").status,
        405
    );
}

#[test]
fn a_token_with_too_few_scopes_is_told_which_it_needs() {
    let pair = Pair::es256("one");
    let issuer = Issuer::start(&[&pair]);
    let site = Site::new(&format!("jwt: {{ issuer: \"{}\", scopes: [mcp, more] }}", issuer.url()));
    let mut claims = crate::gateway::claims(&issuer.url(), "ada");
    claims["scope"] = "mcp".into();
    let answer = site.call(&pair.sign(&claims));
    assert_eq!(answer.status, 403);
    let challenge = answer.header("www-authenticate").expect("a challenge");
    assert!(challenge.starts_with("Bearer error=\"insufficient_scope\", resource_metadata="), "{challenge}");
    assert!(challenge.contains("scope=\"mcp more\""), "{challenge}");
    claims["scope"] = "more of mcp mcp".into();
    assert_eq!(site.call(&pair.sign(&claims)).status, 200);
}
