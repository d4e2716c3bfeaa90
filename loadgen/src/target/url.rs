//! Where a target is and what it is told about the caller. A header's value may be a credential, so all
//! of them are [`Secret`]: they can be written into a request and nowhere else.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

use super::tls::{Tls, TlsFiles};

/// Bytes that are never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    pub fn new(bytes: impl Into<Vec<u8>>) -> Secret {
        Secret(bytes.into())
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(secret)")
    }
}

/// A URL taken apart, its address resolved, and the headers that every request to it carries.
#[derive(Clone, Debug)]
pub struct Target {
    /// As given, for reports.
    pub url: String,
    /// `host:port` as it is written in `Host`.
    pub authority: String,
    /// With its query; begins with `/`.
    pub path: String,
    pub address: SocketAddr,
    headers: Vec<(String, Secret)>,
    pub tls: Option<Tls>,
}

/// Why a target cannot be spoken of at all.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TargetFault {
    /// The user's words are wrong.
    Usage(String),
    /// The name has no address.
    Name(String),
}

impl std::fmt::Display for TargetFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            TargetFault::Usage(text) | TargetFault::Name(text) => f.write_str(text),
        }
    }
}

/// Names that a request carries anyway, and that `--header` may not change.
const RESERVED: [&str; 9] = [
    "Host",
    "Content-Length",
    "Content-Type",
    "Transfer-Encoding",
    "Connection",
    "Mcp-Method",
    "Mcp-Name",
    "Mcp-Session-Id",
    "MCP-Protocol-Version",
];

impl Target {
    /// Takes `http://host[:port]/path` apart and asks the system for the address of a name.
    pub fn parse(url: &str) -> Result<Target, TargetFault> {
        Target::parse_with(url, None)
    }

    /// The same of `https://` too, where files for it are given.
    pub fn parse_with(url: &str, files: Option<&TlsFiles>) -> Result<Target, TargetFault> {
        let usage = |text: String| Err(TargetFault::Usage(text));
        let secure = url.strip_prefix("https://");
        let (rest, files, port) = match (url.strip_prefix("http://"), secure, files) {
            (Some(rest), ..) => (rest, None, 80),
            (None, Some(rest), Some(files)) => (rest, Some(files), 443),
            (None, Some(_), None) => {
                return usage(format!("`{url}` is https: this is measured over plain `http://` only"));
            }
            (None, None, _) => return usage(format!("`{url}` is no URL: expected `http://host:port/path`")),
        };
        let otherwise = port;
        let at = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(at);
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        if !path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
            return usage(format!("the path of `{url}` has a character that a request line cannot carry"));
        }
        if authority.contains('@') {
            return usage("credentials do not belong in a URL: use `--bearer-env NAME`".to_owned());
        }
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => match port.parse::<u16>() {
                Ok(port) if port > 0 => (host, port),
                _ => return usage(format!("the port of `{url}` is `{port}`: expected 1 to 65535")),
            },
            _ => (authority, otherwise),
        };
        let name = host.trim_start_matches('[').trim_end_matches(']');
        if name.is_empty() {
            return usage(format!("`{url}` names no host"));
        }
        let address = resolve(name, port)?;
        let tls = files.map(|files| Tls::of(name, files)).transpose()?;
        Ok(Target {
            url: url.to_owned(),
            authority: authority.to_owned(),
            path,
            address,
            headers: Vec::new(),
            tls,
        })
    }

    /// Adds a header to every request.
    pub fn header(&mut self, name: &str, value: Secret) -> Result<(), TargetFault> {
        let name = name.trim();
        if RESERVED.iter().any(|reserved| reserved.eq_ignore_ascii_case(name)) {
            return Err(TargetFault::Usage(format!("`{name}` is written by the generator itself")));
        }
        let plain = |byte: &u8| *byte == b'\t' || (0x20..=0x7e).contains(byte) || *byte >= 0x80;
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || !name.bytes().all(token) || !value.0.iter().all(plain) {
            // The value may be a credential: it is not shown.
            return Err(TargetFault::Usage(format!("`{name}` is no header that HTTP can carry")));
        }
        self.headers.push((name.to_owned(), value));
        Ok(())
    }

    /// `Authorization: Bearer`.
    pub fn bearer(&mut self, token: &str) -> Result<(), TargetFault> {
        self.header("Authorization", Secret::new(format!("Bearer {}", token.trim())))
    }

    pub fn is_loopback(&self) -> bool {
        match self.address.ip() {
            IpAddr::V4(ip) => ip.is_loopback(),
            IpAddr::V6(ip) => ip.is_loopback() || ip.to_ipv4_mapped().is_some_and(|ip| ip.is_loopback()),
        }
    }

    pub(crate) fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.bytes()))
    }
}

fn resolve(name: &str, port: u16) -> Result<SocketAddr, TargetFault> {
    let found = (name, port).to_socket_addrs();
    let mut found = found.map_err(|error| TargetFault::Name(format!("`{name}` has no address: {error}")))?;
    found.next().ok_or_else(|| TargetFault::Name(format!("`{name}` has no address")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        let cases = [
            ("http://127.0.0.1:8080/mcp", "127.0.0.1:8080", "/mcp", 8080),
            ("http://127.0.0.1", "127.0.0.1", "/", 80),
            ("http://127.0.0.1?a=b", "127.0.0.1", "/?a=b", 80),
            ("http://[::1]:9/x", "[::1]:9", "/x", 9),
            ("http://[::1]/x", "[::1]", "/x", 80),
        ];
        for (url, authority, path, port) in cases {
            let target = Target::parse(url).unwrap();
            assert_eq!((target.authority.as_str(), target.path.as_str()), (authority, path), "{url}");
            assert_eq!(target.address.port(), port, "{url}");
            assert!(target.is_loopback(), "{url}");
        }
    }

    #[test]
    fn nonsense_is_told() {
        for url in
            ["", "127.0.0.1:80", "https://a/", "http://", "http://h:0/", "http://h:99999/", "http://u:p@h/"]
        {
            assert!(matches!(Target::parse(url), Err(TargetFault::Usage(_))), "{url}");
        }
        let nowhere = TlsFiles { ca: Some("/nowhere".into()), pair: None };
        let fault = Target::parse_with("https://127.0.0.1/", Some(&nowhere)).unwrap_err();
        assert!(fault.to_string().contains("`/nowhere`"), "{fault}");
        assert!(!Target::parse("http://192.0.2.1/").unwrap().is_loopback());
    }

    #[test]
    fn a_secret_is_not_printed_and_cannot_split_a_request() {
        let mut target = Target::parse("http://127.0.0.1/").unwrap();
        target.bearer("sk-strait-hidden").unwrap();
        assert!(!format!("{target:?}").contains("hidden"));
        let fault = target.header("X-Key", Secret::new("hidden\r\nEvil: 1")).unwrap_err();
        assert!(!fault.to_string().contains("hidden"));
        assert!(target.header("content-length", Secret::new("1")).is_err());
    }
}
