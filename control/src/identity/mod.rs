//! Who calls, where a token says it: what workers believe ([`strait_engine::trust`]) is made here.
//!
//! | part | knows |
//! |---|---|
//! | [`jwt`] | signed tokens: issuers, their keys, what a key may sign |
//! | [`introspection`] | tokens of which their issuer is asked |
//! | [`claims`] | what must be true of claims, and which say what of a principal |
//! | [`resource`] | endpoints as OAuth knows them: metadata and challenges |
//! | [`verifier`] | answers what workers ask about tokens |
//!
//! Issuers outlive tables: one that a new table names as the old one did keeps its keys.

mod claims;
mod introspection;
pub mod jwt;
mod resource;
mod verifier;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use strait_engine::trust::{self, Question, Revoked, Trust};
use strait_engine::{Secret, digest};
use strait_table::Snapshot;
use strait_table::rules::{
    ArchivedAuthMethod, ArchivedIdentity, ArchivedIntrospection, ArchivedJwks, ArchivedJwt, ArchivedText,
};
use tokio::sync::{Notify, Semaphore, mpsc};

use crate::fetch::{Fetcher, Url};
use crate::limits::{ISSUER_KEYS_AGAIN, SIGNATURES_AT_ONCE, TOKEN_QUESTIONS_MAX};
use crate::log;
use claims::Accepted;
use introspection::{Introspector, Shown};
use jwt::issuer::{At, Issuer};
use jwt::key::Algorithm;
use verifier::{Method, Server, Verifier, Way};

/// What control keeps of it.
pub struct Identity {
    base: PathBuf,
    fetcher: Fetcher,
    issuers: Vec<(At, Weak<Issuer>)>,
    /// Verifiers of tables, the last ones asked for; a table that is served no more falls out.
    verifiers: Vec<Made>,
    /// What issuers are shown that are asked about tokens: by identity, with all that it says of that.
    shown: Vec<(u64, Shown)>,
    threads: Arc<Semaphore>,
    /// Raised when an issuer's keys are others than before.
    pub changed: Arc<Notify>,
    revoked: Arc<Revoked>,
}

struct Made {
    /// Of everything that went into it, but for secrets.
    fingerprint: u64,
    secrets: Vec<Option<Shown>>,
    verifier: Arc<Verifier>,
    questions: mpsc::Sender<Question>,
    endpoints: Vec<Vec<trust::Endpoint>>,
}

/// The live table, a candidate, and the one before each.
const VERIFIERS_KEPT: usize = 4;
/// Secrets of identities, of all of these.
const SHOWN_KEPT: usize = 256;

impl Identity {
    pub fn new(base: PathBuf, revoked: Arc<Revoked>) -> Identity {
        Identity {
            base,
            fetcher: Fetcher::new(),
            issuers: Vec::new(),
            verifiers: Vec::new(),
            shown: Vec::new(),
            threads: Arc::new(Semaphore::new(SIGNATURES_AT_ONCE)),
            changed: Arc::default(),
            revoked,
        }
    }

    /// Whom nobody believes from now on.
    pub fn revoke(&mut self, revoked: Arc<Revoked>) {
        self.revoked = revoked;
    }

    /// What workers believe under this table. `bound`: where its listeners are, as far as that is known.
    pub fn trust(
        &mut self,
        snapshot: &Snapshot,
        bound: &[SocketAddr],
        secret: &dyn Fn(&ArchivedText) -> Result<Secret, String>,
    ) -> Arc<Trust> {
        let rules = snapshot.rules();
        let certificates: Vec<Option<u64>> = rules.identities.iter().map(shown).collect();
        let is_token = |method: &ArchivedAuthMethod| {
            matches!(method, ArchivedAuthMethod::Jwt(_) | ArchivedAuthMethod::Introspection(_))
        };
        if !rules.identities.iter().any(|identity| is_token(&identity.method)) {
            return Arc::new(Trust { certificates, revoked: self.revoked.clone(), ..Trust::default() });
        }
        let bases: Vec<String> = rules
            .listeners
            .iter()
            .enumerate()
            .map(|(at, listener)| {
                let address =
                    bound.get(at).map_or_else(|| listener.bind.as_str().to_owned(), SocketAddr::to_string);
                resource::base(listener.public.as_ref().map(|public| public.as_str()), &address)
            })
            .collect();
        let secrets = rules.identities.iter().map(|identity| match &identity.method {
            ArchivedAuthMethod::Introspection(method) => {
                Some(self.shown(&identity.name, method, secret(&method.secret)))
            }
            _ => None,
        });
        let secrets: Vec<Option<Shown>> = secrets.collect();
        let fingerprint = digest(&format!("{} {bases:?}", snapshot.generation()));
        let is_it = |made: &Made| {
            let is_same = |(one, other): (&Option<Shown>, &Option<Shown>)| match (one, other) {
                (Some(one), Some(other)) => one.is_same(other),
                (one, other) => one.is_none() && other.is_none(),
            };
            made.fingerprint == fingerprint && made.secrets.iter().zip(&secrets).all(is_same)
        };
        if !self.verifiers.iter().any(is_it) {
            // With other secrets nobody makes it again.
            self.verifiers.retain(|made| made.fingerprint != fingerprint);
            let made = self.make(snapshot, &bases, secrets.clone(), fingerprint);
            self.verifiers.push(made);
            if self.verifiers.len() > VERIFIERS_KEPT {
                self.verifiers.remove(0);
            }
        }
        let Some(made) = self.verifiers.iter().find(|made| is_it(made)) else {
            return Arc::new(Trust { revoked: self.revoked.clone(), ..Trust::default() });
        };
        let issuer = |method: &Method| trust::Issuer {
            content: method.content,
            keys: match &method.way {
                Way::Jwt(way) => Some(way.issuer.keys().iter().map(|key| key.number).collect()),
                Way::Introspection(_) => None,
            },
        };
        Arc::new(Trust {
            issuers: made.verifier.methods.iter().map(|method| method.as_ref().map(issuer)).collect(),
            certificates,
            endpoints: made.endpoints.clone(),
            revoked: self.revoked.clone(),
            questions: Some(made.questions.clone()),
        })
    }

    /// What the issuer of an identity is shown, now that its secret was read.
    fn shown(&mut self, name: &str, method: &ArchivedIntrospection, secret: Result<Secret, String>) -> Shown {
        let number = digest(&format!(
            "{name} {} {} {:?}",
            method.endpoint.as_str(),
            method.client.as_str(),
            method.secret
        ));
        let Some((_, last)) = self.shown.iter_mut().find(|(known, _)| *known == number) else {
            let shown = Shown::first(secret);
            self.shown.push((number, shown.clone()));
            if self.shown.len() > SHOWN_KEPT {
                self.shown.remove(0);
            }
            return shown;
        };
        let shown = last.rotated(secret);
        if let Some(why) = shown.newly_lost(last) {
            log::error(format!("identity `{name}` goes on with the secret it had: {why}"));
        } else if !shown.is_same(last) {
            log::info(format!("identity `{name}`: another secret is shown to its issuer from now on"));
        }
        *last = shown.clone();
        shown
    }

    fn make(
        &mut self,
        snapshot: &Snapshot,
        bases: &[String],
        secrets: Vec<Option<Shown>>,
        fingerprint: u64,
    ) -> Made {
        let rules = snapshot.rules();
        let methods: Vec<Option<Method>> = rules
            .identities
            .iter()
            .zip(secrets.iter().cloned())
            .map(|(identity, secret)| match (&identity.method, secret) {
                (ArchivedAuthMethod::Jwt(method), _) => Some(self.jwt(&identity.name, method)),
                (ArchivedAuthMethod::Introspection(method), Some(secret)) => {
                    self.introspection(&identity.name, method, secret)
                }
                _ => None,
            })
            .collect();
        let mut endpoints = Vec::new();
        let mut servers = Vec::new();
        for server in rules.servers.iter() {
            let identities: Vec<usize> = server.auth.iter().map(|at| at.to_native() as usize).collect();
            let accepted: Vec<&Method> =
                identities.iter().filter_map(|at| methods.get(*at)?.as_ref()).collect();
            let issuers: Vec<&str> = accepted.iter().map(|method| method.issuer()).collect();
            let mut scopes: Vec<&str> =
                accepted.iter().flat_map(|method| &method.accepted.scopes).map(String::as_str).collect();
            scopes.sort_unstable();
            scopes.dedup();
            let of_listener =
                |base: &String| resource::endpoint(base, &server.path, &server.name, &issuers, &scopes);
            let of_server: Vec<trust::Endpoint> = bases.iter().map(of_listener).collect();
            let urls = bases.iter().zip(&of_server);
            let urls = urls.map(|(base, endpoint)| (resource::resource(base, &server.path), endpoint.digest));
            servers.push(Server { identities, urls: urls.collect() });
            endpoints.push(of_server);
        }
        let verifier = Arc::new(Verifier { methods, servers, threads: self.threads.clone() });
        let (questions, asked) = mpsc::channel(TOKEN_QUESTIONS_MAX);
        tokio::spawn(verifier.clone().serve(asked));
        Made { fingerprint, secrets, verifier, questions, endpoints }
    }

    fn jwt(&mut self, name: &str, method: &ArchivedJwt) -> Method {
        let at = match &method.jwks {
            ArchivedJwks::Discovered => At::Discovered,
            ArchivedJwks::Url(url) => At::Url(url.as_str().to_owned()),
            ArchivedJwks::File(path) => At::File(self.base.join(Path::new(path.as_str()))),
        };
        let issuer = self.issuer(method.issuer.as_str(), at);
        let algorithms = method.algorithms.iter();
        let algorithms: Vec<Algorithm> = algorithms.filter_map(|name| Algorithm::parse(name)).collect();
        let kinds: Vec<String> = method.types.iter().map(|kind| kind.as_str().to_owned()).collect();
        let skew_s = i64::from(method.skew_s.to_native());
        let accepted = Accepted::of(name, &method.accepted);
        let content = digest(&format!("jwt {} {algorithms:?} {kinds:?} {skew_s} {accepted:?}", issuer.name));
        Method { way: Way::Jwt(jwt::Verifier { issuer, algorithms, kinds, skew_s }), accepted, content }
    }

    fn introspection(&mut self, name: &str, method: &ArchivedIntrospection, secret: Shown) -> Option<Method> {
        // The compiler has looked at it.
        let url = Url::parse(&method.endpoint).ok()?;
        let accepted = Accepted::of(name, &method.accepted);
        let keep_ms = u64::from(method.keep_s.to_native()) * 1_000;
        let (issuer, client) = (method.issuer.as_str().to_owned(), method.client.as_str().to_owned());
        let content = digest(&format!("introspection {url:?} {issuer} {client} {accepted:?}"));
        let way = Introspector::new(url, issuer, client, secret, keep_ms, self.fetcher.clone());
        Some(Method { way: Way::Introspection(way), accepted, content })
    }

    /// The issuer as it is known, or a new one whose keys are looked for at once.
    fn issuer(&mut self, name: &str, at: At) -> Arc<Issuer> {
        self.issuers.retain(|(_, issuer)| issuer.strong_count() > 0);
        let known =
            self.issuers.iter().filter(|(place, _)| *place == at).filter_map(|(_, issuer)| issuer.upgrade());
        if let Some(issuer) = known.into_iter().find(|issuer| issuer.name == name) {
            return issuer;
        }
        let issuer =
            Arc::new(Issuer::new(name.to_owned(), at.clone(), self.fetcher.clone(), self.changed.clone()));
        let weak = Arc::downgrade(&issuer);
        self.issuers.push((at, weak.clone()));
        tokio::spawn(async move {
            while let Some(issuer) = weak.upgrade() {
                issuer.renew().await;
                drop(issuer);
                tokio::time::sleep(ISSUER_KEYS_AGAIN).await;
            }
        });
        issuer
    }
}

/// Of an identity that certificates show: its content, as workers tell it from another one.
fn shown(identity: &ArchivedIdentity) -> Option<u64> {
    let ArchivedAuthMethod::Mtls(method) = &identity.method else { return None };
    Some(digest(&format!("mtls {} {}", identity.name.as_str(), method.content())))
}

impl Method {
    fn issuer(&self) -> &str {
        match &self.way {
            Way::Jwt(way) => &way.issuer.name,
            Way::Introspection(way) => &way.issuer,
        }
    }
}
