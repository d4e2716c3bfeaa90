//! The keys of one issuer: found, fetched, kept, and fetched again.
//!
//! Who asks while they are being fetched waits for the same answer. A key that nobody knows is a reason to look again, though not
//! more often than every [`ISSUER_KEYS_AGAIN`], so that invented names cost the issuer nothing. When the issuer does not answer,
//! what it said last stands for [`ISSUER_KEYS_STALE_MAX`].

use std::path::PathBuf;
use std::sync::{Arc, RwLock};
use std::time::Instant;

use axum::body::Bytes;
use axum::http::Method;
use serde_json::Value;
use tokio::sync::{Mutex, Notify};

use super::key::Key;
use super::text;
use crate::fetch::{Ask, Chosen, Fetcher, Url};
use crate::limits::*;
use crate::log;

/// Where keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum At {
    Discovered,
    Url(String),
    File(PathBuf),
}

pub struct Issuer {
    pub name: String,
    at: At,
    fetcher: Fetcher,
    keys: RwLock<Arc<Vec<Key>>>,
    /// Held by whoever fetches.
    fetching: Mutex<Fetched>,
    /// Told when the keys are others than before.
    changed: Arc<Notify>,
}

#[derive(Default)]
struct Fetched {
    tried: Option<Instant>,
    succeeded: Option<Instant>,
    complained: bool,
}

impl Issuer {
    pub fn new(name: String, at: At, fetcher: Fetcher, changed: Arc<Notify>) -> Issuer {
        Issuer { name, at, fetcher, keys: RwLock::default(), fetching: Mutex::default(), changed }
    }

    /// What is known now.
    pub fn keys(&self) -> Arc<Vec<Key>> {
        self.keys.read().map_or_else(|poisoned| poisoned.into_inner().clone(), |keys| keys.clone())
    }

    /// Keys that may have signed something; looks for them where none is known that could have. `Err`: the issuer cannot be
    /// heard.
    pub async fn keys_for(&self, fits: impl Fn(&Key) -> bool) -> Result<Vec<Key>, &'static str> {
        let known = |keys: &[Key]| -> Vec<Key> { keys.iter().filter(|key| fits(key)).cloned().collect() };
        let found = known(&self.keys());
        if !found.is_empty() {
            return Ok(found);
        }
        let is_known = self.look().await;
        let found = known(&self.keys());
        match !found.is_empty() || is_known {
            true => Ok(found),
            false => Err("its issuer gives no keys"),
        }
    }

    /// Fetches unless somebody has just tried; whether anything is known then.
    async fn look(&self) -> bool {
        let mut fetched = self.fetching.lock().await;
        if fetched.tried.is_none_or(|tried| tried.elapsed() >= ISSUER_KEYS_AGAIN) {
            self.fetch(&mut fetched).await;
        }
        fetched.succeeded.is_some()
    }

    /// Looks again now and then, for as long as anybody has the issuer.
    pub async fn renew(&self) {
        let mut fetched = self.fetching.lock().await;
        if fetched.tried.is_none_or(|tried| tried.elapsed() >= ISSUER_KEYS_EVERY) {
            self.fetch(&mut fetched).await;
        }
    }

    async fn fetch(&self, fetched: &mut Fetched) {
        fetched.tried = Some(Instant::now());
        let name = &self.name;
        match self.fetched().await {
            Ok(keys) => {
                if fetched.complained {
                    log::info(format!("issuer `{name}`: its keys are known again"));
                }
                fetched.complained = false;
                fetched.succeeded = fetched.tried;
                self.set(keys);
            }
            Err(why) => {
                let is_stale = fetched.succeeded.is_some_and(|at| at.elapsed() >= ISSUER_KEYS_STALE_MAX);
                if is_stale {
                    fetched.succeeded = None;
                    self.set(Vec::new());
                }
                if !fetched.complained || is_stale {
                    let then = match (fetched.succeeded, is_stale) {
                        (Some(_), _) => "the last known keys stay for now",
                        (None, true) => "the last known keys are too old, and its tokens are refused",
                        (None, false) => "its tokens are refused until it does",
                    };
                    log::warn(format!("issuer `{name}` gives no keys: {why}; {then}"));
                }
                fetched.complained = true;
            }
        }
    }

    fn set(&self, keys: Vec<Key>) {
        if *self.keys() == keys {
            return;
        }
        match self.keys.write() {
            Ok(mut known) => *known = Arc::new(keys),
            Err(poisoned) => *poisoned.into_inner() = Arc::new(keys),
        }
        self.changed.notify_one();
    }

    async fn fetched(&self) -> Result<Vec<Key>, String> {
        let document = match &self.at {
            At::File(path) => {
                let (from, at) = (path.clone(), path);
                let read = tokio::task::spawn_blocking(move || read_bounded(&from)).await;
                let read = read.unwrap_or_else(|error| Err(std::io::Error::other(error)));
                Bytes::from(read.map_err(|error| format!("cannot read `{}`: {error}", at.display()))?)
            }
            At::Url(url) => self.ask(&Url::parse(url)?, Chosen::ByOperator).await?,
            At::Discovered => {
                let issuer = Url::parse(&self.name)?;
                let url = self.discovered(&issuer).await?;
                // The issuer is the operator's word; another origin is the issuer's.
                let chosen = if url.has_origin_of(&issuer) { Chosen::ByOperator } else { Chosen::ByPeer };
                self.ask(&url, chosen).await?
            }
        };
        keys_of(&document)
    }

    async fn discovered(&self, issuer: &Url) -> Result<Url, String> {
        let mut why = String::new();
        for url in metadata_urls(&self.name, issuer) {
            match self.metadata(&Url::parse(&url)?).await {
                Ok(jwks) => return Ok(jwks),
                Err(reason) if why.is_empty() => why = reason,
                Err(_) => {}
            }
        }
        Err(why)
    }

    async fn metadata(&self, url: &Url) -> Result<Url, String> {
        let document = text::object(&self.ask(url, Chosen::ByOperator).await?);
        let document = document.map_err(|why| format!("{} is no metadata: {why}", url.shown()))?;
        let text = |name: &str| document.get(name).and_then(Value::as_str);
        if text("issuer") != Some(self.name.as_str()) {
            return Err(format!("{} speaks of another issuer", url.shown()));
        }
        Url::parse(text("jwks_uri").ok_or_else(|| format!("{} names no `jwks_uri`", url.shown()))?)
    }

    async fn ask(&self, url: &Url, chosen: Chosen) -> Result<Bytes, String> {
        let ask = Ask {
            method: Method::GET,
            url,
            chosen,
            headers: &[],
            body: Bytes::new(),
            within: ISSUER_WITHIN / 3,
            answer_bytes_max: ISSUER_BYTES_MAX,
        };
        let said = self.fetcher.ask(ask).await.map_err(|fault| fault.to_string())?;
        match said.status {
            200 => Ok(said.body),
            status => Err(format!("{} answered {status}, expected 200", url.shown())),
        }
    }
}

/// Where an issuer may tell of itself: OpenID Connect Discovery, then RFC 8414.
pub fn metadata_urls(name: &str, issuer: &Url) -> [String; 2] {
    let path = issuer.path().trim_end_matches('/');
    [
        format!("{}/.well-known/openid-configuration", name.trim_end_matches('/')),
        format!("{}/.well-known/oauth-authorization-server{path}", issuer.origin()),
    ]
}

fn keys_of(document: &[u8]) -> Result<Vec<Key>, String> {
    let document = text::object(document).map_err(|why| format!("its JWKS cannot be used: {why}"))?;
    let all = document.get("keys").and_then(Value::as_array);
    let all = all.ok_or("its JWKS cannot be used: it has no `keys`")?;
    if all.len() > ISSUER_KEYS_MAX {
        return Err(format!("its JWKS has {} keys, over the limit of {ISSUER_KEYS_MAX}", all.len()));
    }
    let keys: Vec<Key> = all.iter().filter_map(Key::parse).collect();
    match keys.is_empty() {
        true => Err("its JWKS has no key that tokens are signed with here".to_owned()),
        false => Ok(keys),
    }
}

fn read_bounded(path: &std::path::Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(ISSUER_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    match bytes.len() > ISSUER_BYTES_MAX {
        true => Err(std::io::Error::other(format!("longer than {ISSUER_BYTES_MAX} bytes"))),
        false => Ok(bytes),
    }
}
