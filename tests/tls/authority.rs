//! Certificates made for one test: an authority, what it issues, and files of both.

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    SanType,
};

use crate::process::Folder;

/// Who issues.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

const DAY: Duration = Duration::from_secs(86_400);

impl Authority {
    /// Its certificate is `NAME.pem` in the folder.
    pub fn new(folder: &Folder, name: &str) -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let issuer =
            CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority");
        folder.write(&format!("{name}.pem"), issuer.pem());
        Authority(issuer)
    }

    /// A server's certificate for these names, as `FILE.pem` and `FILE.key`.
    pub fn server(&self, folder: &Folder, file: &str, names: &[&str]) {
        let names = names.iter().map(|name| match name.parse() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName((*name).try_into().expect("a name")),
        });
        self.issue(
            folder,
            file,
            names.collect(),
            ExtendedKeyUsagePurpose::ServerAuth,
            SystemTime::now() + DAY,
        );
    }

    /// The same, expired yesterday.
    pub fn expired_server(&self, folder: &Folder, file: &str, name: &str) {
        let names = vec![SanType::DnsName(name.try_into().expect("a name"))];
        self.issue(folder, file, names, ExtendedKeyUsagePurpose::ServerAuth, SystemTime::now() - DAY);
    }

    /// A client's certificate with this URI.
    pub fn client(&self, folder: &Folder, file: &str, uri: &str, is_expired: bool) {
        let until = if is_expired { SystemTime::now() - DAY } else { SystemTime::now() + DAY };
        self.client_until(folder, file, &[uri], until);
    }

    /// One with these names: URIs, mail addresses and hosts.
    pub fn client_of(&self, folder: &Folder, file: &str, names: &[&str]) {
        self.client_until(folder, file, names, SystemTime::now() + DAY);
    }

    pub fn client_until(&self, folder: &Folder, file: &str, names: &[&str], until: SystemTime) {
        let names = names.iter().map(|name| match (name.contains(':'), name.contains('@')) {
            (true, _) => SanType::URI((*name).try_into().expect("a URI")),
            (_, true) => SanType::Rfc822Name((*name).try_into().expect("an address")),
            _ => SanType::DnsName((*name).try_into().expect("a name")),
        });
        self.issue(folder, file, names.collect(), ExtendedKeyUsagePurpose::ClientAuth, until);
    }

    fn issue(
        &self,
        folder: &Folder,
        file: &str,
        names: Vec<SanType>,
        purpose: ExtendedKeyUsagePurpose,
        until: SystemTime,
    ) {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names;
        params.extended_key_usages = vec![purpose];
        params.distinguished_name.push(DnType::CommonName, file);
        params.not_before = (SystemTime::now() - 10 * DAY).into();
        params.not_after = until.into();
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        folder.replace(&format!("{file}.key"), key.serialize_pem());
        folder.replace(&format!("{file}.pem"), certificate.pem());
    }
}
