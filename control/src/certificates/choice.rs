//! Which certificate fits the name that a client asks for.

use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use strait_engine::PeerCertificate;

/// Certificates of one listener, in their order.
#[derive(Debug)]
pub struct Choice(Vec<Named>);

#[derive(Debug)]
struct Named {
    /// As certificates have them: `*` stands for one label.
    names: Vec<String>,
    pair: Arc<CertifiedKey>,
}

impl Choice {
    pub fn among(pairs: Vec<CertifiedKey>) -> Result<Choice, String> {
        let named = pairs.into_iter().map(|pair| {
            let own = pair.cert.first().ok_or("a chain without a certificate")?;
            let names = PeerCertificate::read(own)?.dns;
            let names = names.into_iter().map(|name| name.to_ascii_lowercase()).collect();
            Ok(Named { names, pair: Arc::new(pair) })
        });
        named.collect::<Result<Vec<_>, &str>>().map(Choice).map_err(str::to_owned)
    }

    /// The first for this name whose key can sign what the client verifies; else the first that can.
    fn choose(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let name = name.map(str::to_ascii_lowercase);
        let usable = || self.0.iter().filter(|named| named.pair.key.choose_scheme(schemes).is_some());
        let fits =
            name.and_then(|name| usable().find(|named| named.names.iter().any(|own| covers(own, &name))));
        // Who asks for a name that nobody has is told by the certificate that it gets, and can say so.
        fits.or_else(|| usable().next()).map(|named| named.pair.clone())
    }
}

fn covers(own: &str, name: &str) -> bool {
    match own.strip_prefix("*.") {
        Some(rest) => name.split_once('.').is_some_and(|(label, behind)| !label.is_empty() && behind == rest),
        None => own == name,
    }
}

impl ResolvesServerCert for Choice {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(hello.server_name(), hello.signature_schemes())
    }
}

/// The one certificate that an upstream is shown.
#[derive(Debug)]
pub struct Only(pub Arc<CertifiedKey>);

impl ResolvesClientCert for Only {
    fn resolve(&self, _hints: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.key.choose_scheme(schemes).map(|_| self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::covers;

    #[test]
    fn a_star_stands_for_one_label() {
        for (own, name, expected) in [
            ("gw.example", "gw.example", true),
            ("*.example", "gw.example", true),
            ("*.example", "a.gw.example", false),
            ("*.example", "example", false),
            ("*.example", ".example", false),
            ("gw.example", "other.example", false),
        ] {
            assert_eq!(covers(own, name), expected, "{own} {name}");
        }
    }
}
