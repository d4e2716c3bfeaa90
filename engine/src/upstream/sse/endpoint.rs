//! Where an HTTP+SSE server wants messages posted: a URI of its own origin, whole or relative to the stream's.
//!
//! The server chooses the path, never the host: a credential that was meant for one origin goes to no other.

use strait_protocol::limits::TARGET_BYTES_MAX;

use crate::handle::HttpEndpoint;

/// The request target that the `endpoint` event names.
pub fn path(stream: &HttpEndpoint, uri: &[u8]) -> Result<Box<str>, String> {
    let refused = |what: &str| {
        let shown: String = String::from_utf8_lossy(uri).chars().take(80).collect();
        format!("its `endpoint` event names `{}`, {what}", shown.escape_debug())
    };
    let text = std::str::from_utf8(uri).map_err(|_| refused("which is no text"))?.trim();
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(refused("which is no URI"));
    }
    let text = text.split('#').next().unwrap_or_default();
    let target = if let Some((scheme, rest)) = text.split_once("://").filter(|(scheme, _)| is_scheme(scheme))
    {
        let (host, at) = match rest.find(['/', '?']) {
            Some(at) => (rest.get(..at).unwrap_or_default(), rest.get(at..).unwrap_or_default()),
            None => (rest, ""),
        };
        let expected = if stream.tls.is_some() { "https" } else { "http" };
        if !scheme.eq_ignore_ascii_case(expected)
            || !plain(host, expected).eq_ignore_ascii_case(plain(&stream.host, expected))
        {
            return Err(refused("which is not of the same origin as its stream"));
        }
        if at.starts_with('/') { at.to_owned() } else { format!("/{at}") }
    } else if text.starts_with("//") || text.starts_with('\\') {
        return Err(refused("which is not of the same origin as its stream"));
    } else if text.starts_with('/') {
        text.to_owned()
    } else {
        let base = stream.path.split('?').next().unwrap_or_default();
        let folder = match text.starts_with('?') {
            true => base,
            false => base.rfind('/').and_then(|slash| base.get(..=slash)).unwrap_or("/"),
        };
        format!("{folder}{}", text.strip_prefix("./").unwrap_or(text))
    };
    if target.len() > TARGET_BYTES_MAX {
        return Err(refused("which is too long"));
    }
    Ok(target.into())
}

fn is_scheme(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
}

/// Without the port that need not be said.
fn plain<'h>(host: &'h str, scheme: &str) -> &'h str {
    host.strip_suffix(if scheme == "https" { ":443" } else { ":80" }).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(uri: &str) -> Result<String, String> {
        let stream = HttpEndpoint {
            address: std::net::SocketAddr::from(([127, 0, 0, 1], 8000)),
            host: "tools.example:8000".to_owned(),
            path: "/mcp/sse?tenant=1".to_owned(),
            headers: Vec::new(),
            previous: Vec::new(),
            stated: None,
            tls: None,
            lender: None,
        };
        path(&stream, uri.as_bytes()).map(String::from)
    }

    #[test]
    fn uris_of_the_same_origin_become_paths() {
        for (uri, expected) in [
            ("/messages/?session_id=a", "/messages/?session_id=a"),
            (" /m#part\n", "/m"),
            ("http://tools.example:8000/m?x=1", "/m?x=1"),
            ("HTTP://Tools.Example:8000", "/"),
            ("http://tools.example:8000?x=1", "/?x=1"),
            ("message?sessionId=1", "/mcp/message?sessionId=1"),
            ("./message", "/mcp/message"),
            ("?sessionId=1", "/mcp/sse?sessionId=1"),
            ("/m?next=http://other.example/", "/m?next=http://other.example/"),
        ] {
            assert_eq!(of(uri).as_deref(), Ok(expected), "{uri}");
        }
    }

    #[test]
    fn other_origins_and_what_is_no_uri_are_refused() {
        for uri in [
            "http://other.example:8000/m",
            "http://tools.example/m",
            "http://tools.example:80000/m",
            "http://tools.example:8000@other.example/m",
            "https://tools.example:8000/m",
            "//other.example/m",
            "\\\\other.example/m",
            "file:///etc/passwd",
            "",
            "/m m",
            "/m\r\nX: y",
        ] {
            assert!(of(uri).is_err(), "{uri}");
        }
        assert!(of(&format!("/{}", "a".repeat(TARGET_BYTES_MAX))).is_err());
    }
}
