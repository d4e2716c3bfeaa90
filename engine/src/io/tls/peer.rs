//! Who a verified certificate says its owner is.
//!
//! rustls has checked the chain, the times and the signature by then; here names are only read. A certificate that
//! cannot be read as X.509 is nobody's, however well it was signed.

use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// Names of one kind that are kept of one certificate; there are one or two in practice.
const NAMES_MAX: usize = 64;

/// A client that showed a certificate which this listener accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerCertificate {
    /// Subject alternative names: URIs (a SPIFFE id is one), DNS names, mail addresses.
    pub uris: Vec<String>,
    /// In lower case.
    pub dns: Vec<String>,
    pub emails: Vec<String>,
    /// The subject, as RFC 4514 writes it.
    pub subject: String,
    /// SHA-256 of the certificate's DER: what a token bound to it has as `x5t#S256` (RFC 8705).
    pub sha256: [u8; 32],
    pub not_before_unix_s: i64,
    /// From when on it is not valid any more: a connection may outlive it.
    pub not_after_unix_s: i64,
}

impl PeerCertificate {
    /// Reads the names.
    pub fn read(certificate: &CertificateDer<'_>) -> Result<PeerCertificate, &'static str> {
        let (rest, parsed) = X509Certificate::from_der(certificate)
            .map_err(|_| "the certificate's names cannot be read as X.509")?;
        if !rest.is_empty() {
            return Err("there are bytes behind the certificate");
        }
        let mut peer = PeerCertificate {
            uris: Vec::new(),
            dns: Vec::new(),
            emails: Vec::new(),
            subject: parsed.subject().to_string(),
            sha256: sha256(certificate),
            not_before_unix_s: parsed.validity().not_before.timestamp(),
            not_after_unix_s: parsed.validity().not_after.timestamp(),
        };
        let names = parsed
            .subject_alternative_name()
            .map_err(|_| "the certificate's subject alternative names cannot be read, or are there twice")?;
        for name in names.iter().flat_map(|extension| &extension.value.general_names) {
            let (kind, text) = match name {
                GeneralName::URI(text) => (&mut peer.uris, (*text).to_owned()),
                GeneralName::DNSName(text) => (&mut peer.dns, text.to_ascii_lowercase()),
                GeneralName::RFC822Name(text) => (&mut peer.emails, (*text).to_owned()),
                _ => continue,
            };
            if kind.len() == NAMES_MAX {
                return Err("the certificate has more names than anybody needs");
            }
            kind.push(text);
        }
        Ok(peer)
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut digest = [0; 32];
    digest.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref());
    digest
}
