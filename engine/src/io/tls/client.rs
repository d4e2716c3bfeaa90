//! Whom a listener believes about its clients, and what a client has shown it.
//!
//! A handshake verifies a chain once, and its connection may outlive the trust that it was verified by: an authority is taken out of a
//! listener's `client_ca`. So a connection keeps its chain and remembers by which trust it was judged. Trusts are numbers: for as long
//! as the listener's is the same one, looking again is one comparison; another one verifies the chain anew, once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;

use super::PeerCertificate;
use crate::limits::CLIENT_CHAIN_BYTES_MAX;

/// Whose clients a listener lets in.
#[derive(Debug)]
pub struct Believed {
    number: u64,
    is_required: bool,
    verifier: Arc<dyn ClientCertVerifier>,
}

/// A client's certificate, on the connection that has shown it.
#[derive(Debug)]
pub struct ClientCertificate {
    /// Whom it names.
    pub names: PeerCertificate,
    /// As it was shown, its own certificate first. Empty where it is too long to be kept: whoever is to be believed by another trust
    /// connects again.
    chain: Box<[CertificateDer<'static>]>,
    /// The number of the trust that it was judged by last, and in the lowest bit whether it was good. Of two workers that judge it at once
    /// by different ones the later is remembered, and the other judges again: a verdict is never taken for another trust's.
    judged: AtomicU64,
}

const GOOD: u64 = 1;

impl Believed {
    /// `number`: the same for the same authorities in whatever order, another for others; never 0, and below 2^63.
    pub fn new(number: u64, is_required: bool, verifier: Arc<dyn ClientCertVerifier>) -> Believed {
        Believed { number, is_required, verifier }
    }

    /// Whether nobody is let in without a certificate.
    pub fn is_required(&self) -> bool {
        self.is_required
    }

    fn verdict(&self, is_good: bool) -> u64 {
        self.number << 1 | if is_good { GOOD } else { 0 }
    }
}

impl ClientCertificate {
    /// Reads a chain that a handshake has verified by `believed`.
    pub fn read(
        chain: &[CertificateDer<'static>],
        believed: Option<&Believed>,
    ) -> Result<Option<ClientCertificate>, &'static str> {
        let Some(own) = chain.first() else { return Ok(None) };
        let names = PeerCertificate::read(own)?;
        let bytes: usize = chain.iter().map(|certificate| certificate.len()).sum();
        let kept = if bytes <= CLIENT_CHAIN_BYTES_MAX { chain } else { &[] };
        let judged = AtomicU64::new(believed.map_or(0, |believed| believed.verdict(true)));
        Ok(Some(ClientCertificate { names, chain: kept.into(), judged }))
    }

    /// Whether it is good by this trust.
    pub fn is_good_by(&self, believed: &Believed, now_unix_ms: u64) -> bool {
        let judged = self.judged.load(Ordering::Relaxed);
        match judged >> 1 == believed.number {
            true => judged & GOOD == GOOD,
            false => self.judge(believed, now_unix_ms),
        }
    }

    #[cold]
    fn judge(&self, believed: &Believed, now_unix_ms: u64) -> bool {
        let now = UnixTime::since_unix_epoch(Duration::from_millis(now_unix_ms));
        let is_good = self
            .chain
            .split_first()
            .is_some_and(|(own, others)| believed.verifier.verify_client_cert(own, others, now).is_ok());
        self.judged.store(believed.verdict(is_good), Ordering::Relaxed);
        is_good
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
        date_time_ymd,
    };
    use rustls::RootCertStore;
    use rustls::crypto::aws_lc_rs::default_provider;
    use rustls::server::WebPkiClientVerifier;

    use super::*;

    type Issuer = CertifiedIssuer<'static, KeyPair>;

    /// 2026-01-01.
    const NOW_MS: u64 = 1_767_225_600_000;

    fn params() -> CertificateParams {
        let mut params = CertificateParams::default();
        params.not_before = date_time_ymd(2025, 1, 1);
        params.not_after = date_time_ymd(2027, 1, 1);
        params
    }

    fn authority(of: Option<&Issuer>) -> Issuer {
        let mut params = params();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        match of {
            None => CertifiedIssuer::self_signed(params, key).unwrap(),
            Some(of) => CertifiedIssuer::signed_by(params, key, of).unwrap(),
        }
    }

    fn client(of: &Issuer, chain: &[&Issuer]) -> Vec<CertificateDer<'static>> {
        let mut params = params();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let own = params.signed_by(&KeyPair::generate().unwrap(), of).unwrap();
        [vec![own.der().clone()], chain.iter().map(|issuer| issuer.der().clone()).collect()].concat()
    }

    fn believing(number: u64, authorities: &[&Issuer]) -> Believed {
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            roots.add(authority.der().clone()).unwrap();
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), default_provider().into());
        Believed::new(number, true, verifier.build().unwrap())
    }

    #[test]
    fn a_chain_is_judged_again_by_another_trust_and_by_the_same_one_remembered() {
        let (root, other) = (authority(None), authority(None));
        let between = authority(Some(&root));
        let chain = client(&between, &[&between]);
        let (both, without) = (believing(1, &[&root, &other]), believing(2, &[&other]));
        let shown = ClientCertificate::read(&chain, Some(&both)).unwrap().unwrap();
        assert!(shown.is_good_by(&both, NOW_MS));
        assert!(!shown.is_good_by(&without, NOW_MS));
        assert!(shown.is_good_by(&believing(3, &[&root]), NOW_MS));
        // Nobody is asked again by a trust of the same number: it would say otherwise.
        assert!(shown.is_good_by(&believing(3, &[&other]), NOW_MS));
        assert!(!shown.is_good_by(&without, NOW_MS));
        assert!(!shown.is_good_by(&believing(2, &[&root]), NOW_MS));
        // The time of now counts.
        assert!(!shown.is_good_by(&believing(4, &[&root]), NOW_MS + 3 * 365 * 86_400_000));
    }

    #[test]
    fn what_was_verified_by_nobody_or_is_too_long_to_keep_is_judged_closed() {
        let root = authority(None);
        let chain = client(&root, &[]);
        let unjudged = ClientCertificate::read(&chain, None).unwrap().unwrap();
        assert!(!unjudged.is_good_by(&believing(1, &[&authority(None)]), NOW_MS));
        assert!(unjudged.is_good_by(&believing(2, &[&root]), NOW_MS));
        let many: Vec<&Issuer> = std::iter::repeat_n(&root, 64).collect();
        let long = client(&root, &many);
        let trust = believing(1, &[&root]);
        let shown = ClientCertificate::read(&long, Some(&trust)).unwrap().unwrap();
        assert!(shown.is_good_by(&trust, NOW_MS));
        assert!(!shown.is_good_by(&believing(2, &[&root]), NOW_MS));
        assert!(ClientCertificate::read(&[], Some(&trust)).unwrap().is_none());
    }
}
