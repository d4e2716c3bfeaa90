//! A URL that can be asked: `http` or `https`, a host, and nothing that hides another meaning.

use axum::http::Uri;

/// Longer ones are nobody's.
const BYTES_MAX: usize = 2_048;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Url {
    uri: Uri,
    is_https: bool,
    /// Without the brackets of an IPv6 address.
    host: String,
    port: u16,
}

impl Url {
    pub fn parse(text: &str) -> Result<Url, String> {
        let shown = text.chars().take(80).collect::<String>().escape_default().to_string();
        let not = |why: &str| format!("`{shown}` is no URL to ask: {why}");
        if text.len() > BYTES_MAX {
            return Err(not("it is too long"));
        }
        if text.contains('#') {
            return Err(not("it has a fragment"));
        }
        let uri: Uri = text.parse().map_err(|_| not("it cannot be parsed"))?;
        let is_https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(not("it is neither https nor http")),
        };
        let authority = uri.authority().ok_or_else(|| not("it has no host"))?;
        if authority.as_str().contains('@') {
            return Err(not("it names a user"));
        }
        let host = authority.host().trim_matches(['[', ']']).to_ascii_lowercase();
        if host.is_empty() {
            return Err(not("it has no host"));
        }
        let has_port = authority.as_str().rsplit(']').next().is_some_and(|tail| tail.contains(':'));
        let port = match authority.port_u16() {
            Some(0) => return Err(not("its port is not one")),
            Some(port) => port,
            None if has_port => return Err(not("its port is not one")),
            None => default_port(is_https),
        };
        Ok(Url { is_https, host, port, uri })
    }

    pub fn is_https(&self) -> bool {
        self.is_https
    }

    pub fn host(&self) -> &str {
        &self.host
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn path(&self) -> &str {
        self.uri.path()
    }

    /// As a request line has it.
    pub(super) fn path_and_query(&self) -> &str {
        self.uri.path_and_query().map_or("/", |text| text.as_str())
    }

    /// As `Host` has it: the port only where it is not the scheme's own.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == default_port(self.is_https) { host } else { format!("{host}:{}", self.port) }
    }

    /// Scheme, host and port.
    pub fn origin(&self) -> String {
        format!("{}://{}", if self.is_https { "https" } else { "http" }, self.authority())
    }

    pub fn has_origin_of(&self, other: &Url) -> bool {
        (self.is_https, &self.host, self.port) == (other.is_https, &other.host, other.port)
    }

    /// For logs: a query may hold what nobody should read.
    pub fn shown(&self) -> String {
        format!("{}{}", self.origin(), self.path())
    }
}

impl std::str::FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Url, String> {
        Url::parse(text)
    }
}

fn default_port(is_https: bool) -> u16 {
    if is_https { 443 } else { 80 }
}
