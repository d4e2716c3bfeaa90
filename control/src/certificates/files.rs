//! What is in the files: chains, keys, and whom to believe. An error names the file, never a byte of a key.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use strait_engine::PeerCertificate;

use crate::log;

/// A file of certificates: a bundle of all that a machine trusts has 220 KB.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// Before it ends an operator is told.
const WARNED_BEFORE_S: i64 = 14 * 86_400;

/// When a certificate ends; of several that somebody believes, the last of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiry {
    pub path: PathBuf,
    /// It says whom to believe, and is shown to nobody.
    pub is_believed: bool,
    pub not_after_unix_s: i64,
}

impl Expiry {
    /// Of the first certificate in a file, which is the one that is shown.
    pub fn of_shown(path: &Path) -> Result<Expiry, String> {
        let chain = chain(path, &read(path)?)?;
        Expiry::of(path, false, chain.first().and_then(end))
    }

    pub fn of_believed(path: &Path) -> Result<Expiry, String> {
        let all = chain(path, &read(path)?)?;
        Expiry::of(path, true, all.iter().filter_map(end).max())
    }

    fn of(path: &Path, is_believed: bool, end: Option<i64>) -> Result<Expiry, String> {
        let unread = || format!("`{}` holds a certificate that cannot be read", path.display());
        let not_after_unix_s = end.ok_or_else(unread)?;
        Ok(Expiry { path: path.to_owned(), is_believed, not_after_unix_s })
    }

    /// Seconds until then; negative afterwards.
    pub fn left_s(&self) -> i64 {
        self.not_after_unix_s - now_unix_s()
    }

    pub fn warning(&self) -> Option<String> {
        let (path, left) = (self.path.display(), self.left_s());
        let (whole, so) = match self.is_believed {
            true => ("the last certificate of", "whoever it vouches for is refused"),
            false => ("certificate", "peers refuse it"),
        };
        match left {
            ..=0 => Some(format!("{whole} `{path}` has expired: {so}; renew it")),
            1..WARNED_BEFORE_S => {
                Some(format!("{whole} `{path}` expires in {} h: renew it", left.div_euclid(3_600)))
            }
            _ => None,
        }
    }
}

fn end(certificate: &CertificateDer<'_>) -> Option<i64> {
    PeerCertificate::read(certificate).ok().map(|read| read.not_after_unix_s)
}

/// A certificate with its chain, and its key, which fit each other.
pub fn pair(cert: &Path, key: &Path, hash: &mut blake3::Hasher) -> Result<CertifiedKey, String> {
    let (cert_text, key_text) = (read(cert)?, read(key)?);
    for text in [&cert_text, &key_text] {
        hash.update(&(text.len() as u64).to_le_bytes());
        hash.update(text);
    }
    let chain = chain(cert, &cert_text)?;
    let mode = std::fs::metadata(key).map_or(0, |metadata| metadata.mode());
    if mode & 0o007 != 0 {
        let key = key.display();
        log::warn(format!("key `{key}` may be read by everybody on this machine: `chmod 600 {key}`"));
    }
    let secret = PrivateKeyDer::from_pem_slice(&key_text)
        .map_err(|_| format!("`{}` holds no private key in PEM that can be read", key.display()))?;
    CertifiedKey::from_der(chain, secret, &super::provider()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            format!("key `{}` does not belong to certificate `{}`", key.display(), cert.display())
        }
        other => format!("key `{}` with certificate `{}`: {other}", key.display(), cert.display()),
    })
}

/// Whom to believe. The hash is the same for the same authorities, in whatever order and with whatever is written between them.
pub fn roots(path: &Path, hash: &mut blake3::Hasher) -> Result<RootCertStore, String> {
    let mut authorities = chain(path, &read(path)?)?;
    authorities.sort_by(|one, other| one.as_ref().cmp(other.as_ref()));
    authorities.dedup();
    let mut roots = RootCertStore::empty();
    for certificate in authorities {
        hash.update(&(certificate.len() as u64).to_le_bytes());
        hash.update(&certificate);
        roots.add(certificate).map_err(|error| {
            format!("`{}` holds a certificate that cannot be used: {error}", path.display())
        })?;
    }
    Ok(roots)
}

/// Whom this machine believes.
pub fn native_roots(hash: &mut blake3::Hasher) -> Result<RootCertStore, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    for certificate in &found.certs {
        hash.update(certificate);
    }
    // One that cannot be read makes the servers it vouches for unreachable, with a reason, and no others.
    roots.add_parsable_certificates(found.certs);
    match roots.is_empty() {
        true => Err("this machine trusts nobody: install its CA certificates, or write `tls: { ca: FILE }`"
            .to_owned()),
        false => Ok(roots),
    }
}

fn chain(path: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        _ => Err(format!("`{}` holds no certificate in PEM that can be read", path.display())),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let failed = |error: std::io::Error| format!("cannot read `{}`: {error}", path.display());
    let metadata = std::fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX {
        return Err(format!("`{}` is no file of at most {FILE_BYTES_MAX} bytes", path.display()));
    }
    std::fs::read(path).map_err(failed)
}

fn now_unix_s() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
}
