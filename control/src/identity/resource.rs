//! An endpoint as an OAuth protected resource: its URL, its document of RFC 9728, and the challenge that leads there.
//!
//! The URL is the listener's public one with the server's path; a client that knows the endpoint by another name is told this one,
//! and refuses it, so a gateway behind a proxy needs `public`. What a request says of its own host is believed of nobody.

use serde_json::json;
use strait_engine::digest;
use strait_engine::trust::Endpoint;

/// Below it documents of resources are, each at its own path.
const RESOURCES: &str = "/.well-known/oauth-protected-resource";

/// The URL of a listener, by its public one or the address it has; no slash at its end, its host in lower case.
pub fn base(public: Option<&str>, bound: &str) -> String {
    let url = public.map_or_else(|| format!("http://{bound}"), str::to_owned);
    let url = url.trim_end_matches('/');
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let end = rest.find('/').unwrap_or(rest.len());
            let (authority, path) = rest.split_at(end);
            format!("{}://{}{path}", scheme.to_ascii_lowercase(), authority.to_ascii_lowercase())
        }
        None => url.to_owned(),
    }
}

/// A server's URL at a listener.
pub fn resource(base: &str, path: &str) -> String {
    format!("{base}{}", if path == "/" { "" } else { path })
}

/// What workers say of a server: `issuers` are those whose tokens it accepts.
///
/// `scopes` every token must have. What rules ask for beyond them is told at the call that needs it: clients may ask for everything that a
/// document names, and the protocol wants the least there.
pub fn endpoint(base: &str, path: &str, name: &str, issuers: &[&str], scopes: &[&str]) -> Endpoint {
    let resource = resource(base, path);
    let (origin, below) = match base.split_once("://") {
        Some((scheme, rest)) => {
            let end = rest.find('/').unwrap_or(rest.len());
            (format!("{scheme}://{}", &rest[..end]), &rest[end..])
        }
        None => (base.to_owned(), ""),
    };
    let path = format!("{below}{}", if path == "/" { "" } else { path });
    let mut endpoint = Endpoint {
        digest: digest(&resource),
        path: path.clone(),
        challenge: String::new(),
        scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
        metadata: Vec::new(),
        issuer_metadata: None,
    };
    let Some(first) = issuers.first() else { return endpoint };
    endpoint.challenge = format!("resource_metadata=\"{origin}{RESOURCES}{path}\"");
    let mut document = json!({
        "resource": resource,
        "authorization_servers": issuers,
        "bearer_methods_supported": ["header"],
        "resource_name": name,
    });
    if !scopes.is_empty() {
        document["scopes_supported"] = json!(scopes);
    }
    endpoint.metadata = document.to_string().into_bytes();
    let issuer = crate::fetch::Url::parse(first).ok();
    endpoint.issuer_metadata =
        issuer.map(|url| crate::identity::jwt::issuer::metadata_urls(first, &url)[1].clone());
    endpoint
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_known_by_its_public_url() {
        assert_eq!(base(Some("HTTPS://GW.example:8443/In/"), "x"), "https://gw.example:8443/In");
        assert_eq!(base(None, "127.0.0.1:80"), "http://127.0.0.1:80");
        assert_eq!(resource("https://gw.example", "/mcp"), "https://gw.example/mcp");
        assert_eq!(resource("https://gw.example", "/"), "https://gw.example");
        let endpoint =
            endpoint("https://gw.example/in", "/mcp", "crm", &["https://idp.example/t"], &["a", "b"]);
        assert_eq!(
            endpoint.challenge,
            "resource_metadata=\"https://gw.example/.well-known/oauth-protected-resource/in/mcp\""
        );
        assert_eq!(endpoint.scopes, ["a", "b"]);
        let document: serde_json::Value = serde_json::from_slice(&endpoint.metadata).unwrap();
        assert_eq!(document["resource"], "https://gw.example/in/mcp");
        assert_eq!(document["scopes_supported"], json!(["a", "b"]));
        assert_eq!(document["authorization_servers"][0], "https://idp.example/t");
        assert_eq!(
            endpoint.issuer_metadata.as_deref(),
            Some("https://idp.example/.well-known/oauth-authorization-server/t")
        );
    }
}
