//! Certificates of listeners and upstreams: from files to configurations that workers use as they are.
//!
//! Read when a table is loaded and whenever a file changes. What says the same stays the very same configuration, so that
//! connections, pools and tickets live on; a certificate that cannot be used never takes the place of one that can.
//! Handshakes happen on workers: nothing here is asked then but which certificate fits a name ([`choice`]).

mod choice;
mod files;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, Ticketer};
use rustls::pki_types::ServerName;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ProducesTickets, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use strait_engine::{Believed, ClientTls, ListenerTls, ServerTls};
use strait_table::Snapshot;
use strait_table::rules::{ArchivedListener, ArchivedListenerTls, ArchivedUpstream};

use crate::log;
use choice::Choice;
pub use files::Expiry;

/// How listeners speak TLS, by listener of the table.
pub type Listeners = Arc<Vec<Option<ListenerTls>>>;

/// Everything that was made from files; one for the whole process.
#[derive(Default)]
pub struct Certificates(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    /// By what it was made from.
    servers: HashMap<[u8; 32], ServerTls>,
    clients: HashMap<[u8; 32], Arc<ClientConfig>>,
    /// Keys of tickets outlive a renewed certificate, and not a change of whom to believe: who goes on with a ticket is
    /// not verified again.
    tickets: HashMap<[u8; 32], Arc<dyn ProducesTickets>>,
    /// Numbers of sets of authorities that listeners believe: connections are judged again by another number, not by the same.
    believed: HashMap<[u8; 32], u64>,
    expiries: Vec<Expiry>,
}

impl Certificates {
    /// What the listeners of a table serve; an error when one of them could serve nobody.
    pub fn listeners(&self, snapshot: &Snapshot, base: &Path) -> Result<Listeners, String> {
        let listeners = snapshot.rules().listeners.iter();
        let all: Result<Vec<_>, String> = listeners
            .map(|listener| self.listener(listener, base).map_err(|why| named(listener, &why)))
            .collect();
        self.look_at_ends(snapshot, base);
        all.map(Arc::new)
    }

    /// The same again, where what cannot be used changes nothing.
    pub fn renewed(&self, snapshot: &Snapshot, base: &Path, in_use: &Listeners) -> Listeners {
        let renewed = snapshot.rules().listeners.iter().enumerate().map(|(index, listener)| {
            self.listener(listener, base).unwrap_or_else(|why| {
                let why = named(listener, &why);
                log::error(format!("{why}; the certificate from before is served on"));
                in_use.get(index).cloned().flatten()
            })
        });
        let renewed = Arc::new(renewed.collect());
        self.look_at_ends(snapshot, base);
        renewed
    }

    fn listener(&self, listener: &ArchivedListener, base: &Path) -> Result<Option<ListenerTls>, String> {
        let Some(tls) = listener.tls.as_ref() else { return Ok(None) };
        let mut hash = blake3::Hasher::new();
        let mut pairs = Vec::new();
        for pair in tls.certificates.iter() {
            pairs.push(files::pair(
                &base.join(pair.cert.as_str()),
                &base.join(pair.key.as_str()),
                &mut hash,
            )?);
        }
        let mut authorities = blake3::Hasher::new();
        let roots = match tls.client_ca.as_ref() {
            Some(path) => Some(files::roots(&base.join(path.as_str()), &mut authorities)?),
            None => None,
        };
        let authorities = *authorities.finalize().as_bytes();
        let mut trust = blake3::Hasher::new();
        trust.update(listener.name.as_bytes());
        trust.update(&[u8::from(tls.client_required)]);
        trust.update(&authorities);
        let trust = *trust.finalize().as_bytes();
        hash.update(&trust);
        let made_from = *hash.finalize().as_bytes();
        let mut kept = self.kept();
        if let Some(known) = kept.servers.get(&made_from) {
            return Ok(Some(ListenerTls::Ready(known.clone())));
        }
        let ticketer = match kept.tickets.get(&trust) {
            Some(known) => known.clone(),
            None => Ticketer::new().map_err(|error| format!("no keys for tickets: {error}"))?,
        };
        let believed = match roots {
            Some(roots) => Some(for_clients(roots, tls, kept.number_of(authorities))?),
            None => None,
        };
        let server = server(pairs, believed, ticketer.clone())?;
        kept.tickets.insert(trust, ticketer);
        kept.servers.insert(made_from, server.clone());
        Ok(Some(ListenerTls::Ready(server)))
    }

    /// How an upstream's `https` URLs are reached.
    pub fn client(&self, upstream: &ArchivedUpstream, base: &Path, host: &str) -> Result<ClientTls, String> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| format!("no certificate can be for the host `{host}`"))?;
        let mut hash = blake3::Hasher::new();
        let pair = upstream.tls.pair.as_ref();
        let pair = pair.map(|pair| {
            files::pair(&base.join(pair.cert.as_str()), &base.join(pair.key.as_str()), &mut hash)
        });
        let pair = pair.transpose()?;
        let roots = match upstream.tls.ca.as_ref() {
            Some(path) => files::roots(&base.join(path.as_str()), &mut hash)?,
            None => files::native_roots(&mut hash)?,
        };
        let mut kept = self.kept();
        let made_from = *hash.finalize().as_bytes();
        if let Some(config) = kept.clients.get(&made_from) {
            return Ok(ClientTls { config: config.clone(), name });
        }
        let config = Arc::new(client(roots, pair)?);
        kept.clients.insert(made_from, config.clone());
        Ok(ClientTls { config, name })
    }

    /// When each certificate of the table that was loaded last ends.
    pub fn expiries(&self) -> Vec<Expiry> {
        self.kept().expiries.clone()
    }

    fn look_at_ends(&self, snapshot: &Snapshot, base: &Path) {
        // What cannot be read was said elsewhere.
        let expiries: Vec<Expiry> = ends(snapshot, base).into_iter().filter_map(Result::ok).collect();
        expiries.iter().filter_map(Expiry::warning).for_each(log::warn);
        self.kept().expiries = expiries;
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Files that change what listeners serve.
pub fn files_of_listeners(snapshot: &Snapshot, base: &Path) -> Vec<PathBuf> {
    let tls = snapshot.rules().listeners.iter().filter_map(|listener| listener.tls.as_ref());
    let files = tls.flat_map(|tls| {
        let pairs = tls.certificates.iter().flat_map(|pair| [pair.cert.as_str(), pair.key.as_str()]);
        pairs.chain(tls.client_ca.as_ref().map(|path| path.as_str()))
    });
    files.map(|path| base.join(path)).collect()
}

/// Files that change how upstreams are reached.
pub fn files_of_upstreams(snapshot: &Snapshot, base: &Path) -> Vec<PathBuf> {
    let tls = snapshot.rules().upstreams.iter().map(|upstream| &upstream.tls);
    let files = tls.flat_map(|tls| {
        let pair = tls.pair.iter().flat_map(|pair| [pair.cert.as_str(), pair.key.as_str()]);
        pair.chain(tls.ca.as_ref().map(|path| path.as_str()))
    });
    files.map(|path| base.join(path)).collect()
}

/// Whom a file says to believe.
pub fn roots(path: &Path) -> Result<RootCertStore, String> {
    files::roots(path, &mut blake3::Hasher::new())
}

/// Certificates that this gateway shows to others.
pub fn shown(snapshot: &Snapshot, base: &Path) -> Vec<PathBuf> {
    let rules = snapshot.rules();
    let listeners = rules.listeners.iter().filter_map(|listener| listener.tls.as_ref());
    let listeners = listeners.flat_map(|tls| tls.certificates.iter().map(|pair| pair.cert.as_str()));
    let upstreams = rules.upstreams.iter().filter_map(|upstream| upstream.tls.pair.as_ref());
    listeners.chain(upstreams.map(|pair| pair.cert.as_str())).map(|path| base.join(path)).collect()
}

/// When each certificate of a table ends that is in a file: those that are shown, and those of whom it believes.
pub fn ends(snapshot: &Snapshot, base: &Path) -> Vec<Result<Expiry, String>> {
    let mut files: Vec<(PathBuf, bool)> = Vec::new();
    let shown = shown(snapshot, base).into_iter().map(|path| (path, false));
    for file in shown.chain(believed(snapshot, base).into_iter().map(|path| (path, true))) {
        if !files.contains(&file) {
            files.push(file);
        }
    }
    let end = |(path, is_believed): &(PathBuf, bool)| match is_believed {
        true => Expiry::of_believed(path),
        false => Expiry::of_shown(path),
    };
    files.iter().map(end).collect()
}

/// Files that say whom to believe.
fn believed(snapshot: &Snapshot, base: &Path) -> Vec<PathBuf> {
    let rules = snapshot.rules();
    let listeners = rules.listeners.iter().filter_map(|listener| listener.tls.as_ref()?.client_ca.as_ref());
    let upstreams = rules.upstreams.iter().filter_map(|upstream| upstream.tls.ca.as_ref());
    listeners.chain(upstreams).map(|path| base.join(path.as_str())).collect()
}

fn named(listener: &ArchivedListener, why: &str) -> String {
    format!("listener `{}`: TLS: {why}", listener.name.as_str())
}

impl Kept {
    fn number_of(&mut self, authorities: [u8; 32]) -> u64 {
        let next = self.believed.len() as u64 + 1;
        *self.believed.entry(authorities).or_insert(next)
    }
}

type Verifier = Arc<dyn ClientCertVerifier>;

/// Whom a listener believes about its clients, for those who connect and for those who have.
fn for_clients(
    roots: RootCertStore,
    tls: &ArchivedListenerTls,
    number: u64,
) -> Result<(Verifier, Arc<Believed>), String> {
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
    let verifier = if tls.client_required { verifier } else { verifier.allow_unauthenticated() };
    let verifier: Verifier = verifier.build().map_err(|error| error.to_string())?;
    Ok((verifier.clone(), Arc::new(Believed::new(number, tls.client_required, verifier))))
}

fn server(
    pairs: Vec<CertifiedKey>,
    believed: Option<(Verifier, Arc<Believed>)>,
    ticketer: Arc<dyn ProducesTickets>,
) -> Result<ServerTls, String> {
    let said = |error: rustls::Error| error.to_string();
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(said)?;
    let (builder, believed) = match believed {
        None => (builder.with_no_client_auth(), None),
        Some((verifier, believed)) => (builder.with_client_cert_verifier(verifier), Some(believed)),
    };
    let mut config = builder.with_cert_resolver(Arc::new(Choice::among(pairs)?));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.ticketer = ticketer;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(ServerTls { config: Arc::new(config), believed })
}

fn client(roots: RootCertStore, pair: Option<CertifiedKey>) -> Result<ClientConfig, String> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    let mut config = match pair {
        None => builder.with_no_client_auth(),
        Some(pair) => builder.with_client_cert_resolver(Arc::new(choice::Only(Arc::new(pair)))),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}
