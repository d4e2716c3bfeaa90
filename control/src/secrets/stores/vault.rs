//! HashiCorp Vault and OpenBao: secrets of KV stores of version 2, read with a token or an AppRole.
//!
//! A [`Door`] is one way in, shared by all secrets that go it: one login is under way at a time, and one that failed is not tried
//! again before its pause is over, however many wait. A token is renewed when two thirds of its time are over, and a new one is
//! taken when that brings little more. Of what a store says nothing is repeated but numbers: not its errors, not its fields.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::Method;
use serde::Deserialize;
use serde_json::value::RawValue;
use strait_engine::Secret;
use strait_table::secret::{ArchivedSecret, ArchivedVault, ArchivedVaultLogin};
use tokio::sync::{Mutex, Notify};
use tokio::time::Instant;

use super::local::{Local, Shown};
use super::{Found, Means, jittered, text_of};
use crate::fetch::{Ask, Chosen, Said, Url};
use crate::limits::{STORE_AGAIN_MAX, STORE_AGAIN_MIN, STORE_ANSWER_BYTES_MAX, STORE_WITHIN};

/// One secret, as tables say it.
#[derive(Clone, PartialEq, Eq)]
pub struct Place {
    pub way: Way,
    path: String,
    field: String,
    pub refresh: Duration,
}

/// How a store is entered.
#[derive(Clone, PartialEq, Eq)]
pub struct Way {
    pub address: String,
    namespace: Option<String>,
    login: Login,
    ca: Option<PathBuf>,
}

#[derive(Clone, PartialEq, Eq)]
enum Login {
    Token(Shown),
    AppRole { mount: String, role: Shown, secret: Shown },
}

impl Place {
    pub fn of(vault: &ArchivedVault, base: &Path, declared: &[ArchivedSecret]) -> Place {
        let login = match &vault.login {
            ArchivedVaultLogin::Token(token) => Login::Token(Shown::of(token, base, declared)),
            ArchivedVaultLogin::AppRole { mount, role, secret } => Login::AppRole {
                mount: mount.as_str().to_owned(),
                role: Shown::of(role, base, declared),
                secret: Shown::of(secret, base, declared),
            },
        };
        let way = Way {
            address: vault.address.as_str().to_owned(),
            namespace: vault.namespace.as_ref().map(|text| text.as_str().to_owned()),
            login,
            ca: vault.ca.as_ref().map(|path| base.join(path.as_str())),
        };
        Place {
            way,
            path: vault.path.as_str().to_owned(),
            field: vault.field.as_str().to_owned(),
            refresh: Duration::from_secs(vault.refresh_s.to_native().into()),
        }
    }

    pub fn shown(&self) -> String {
        format!("{}/v1/{}", self.way.address, self.path)
    }

    /// What is there now.
    pub async fn fetch(&self, door: &Door) -> Result<Found, String> {
        let mut token = door.token().await?;
        let mut said = door.ask(Method::GET, &self.path, Some(&token), Bytes::new()).await?;
        if said.status == 403 && !door.knows(&token).await? {
            door.forget(&token).await;
            token = door.token().await?;
            said = door.ask(Method::GET, &self.path, Some(&token), Bytes::new()).await?;
        }
        self.found(&said).map_err(|why| format!("{} {why}", self.shown()))
    }

    fn found(&self, said: &Said) -> Result<Found, String> {
        match said.status {
            200 => {}
            403 => return Err("is not for this gateway: give its policy `read` on that path".to_owned()),
            404 => {
                let is_deleted = serde_json::from_slice::<Read<'_>>(&said.body).is_ok();
                return Err(match is_deleted {
                    true => "was deleted: write it again, or take it out of the configuration",
                    false => "is not there: look at its mount and path (`MOUNT/data/NAME`)",
                }
                .to_owned());
            }
            status => return Err(unexpected(status)),
        }
        let cannot_be_read = || "answered what is no secret of a KV store of version 2".to_owned();
        let read: Read<'_> = serde_json::from_slice(&said.body).map_err(|_| cannot_be_read())?;
        let version = read.data.metadata.version.to_string();
        let field = read.data.data.as_ref().ok_or_else(cannot_be_read)?.get(self.field.as_str());
        let field = field.ok_or_else(|| format!("has no field `{}`", self.field))?;
        let value = text_of(field).map_err(|why| format!("has a field `{}` that {why}", self.field))?;
        Ok(Found { value, version })
    }
}

/// What is not an answer to what was asked.
fn unexpected(status: u16) -> String {
    match status {
        503 => "answered 503: it is sealed or not ready; unseal it".to_owned(),
        429 => "answered 429: it is asked too often; raise `refresh` or its quota".to_owned(),
        301..=308 => format!(
            "answered {status}: it sends elsewhere, and nobody follows; name the node that answers itself"
        ),
        status => format!("answered {status}, expected 200"),
    }
}

#[derive(Deserialize)]
struct Read<'a> {
    #[serde(borrow)]
    data: ReadData<'a>,
}

#[derive(Deserialize)]
struct ReadData<'a> {
    /// `null` for a version that was deleted.
    #[serde(borrow)]
    data: Option<BTreeMap<String, &'a RawValue>>,
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    version: u64,
}

/// `auth` of a login or a renewal.
#[derive(Deserialize)]
struct LoggedIn {
    auth: Auth,
}

#[derive(Deserialize)]
struct Auth {
    client_token: String,
    lease_duration: u64,
    renewable: bool,
}

/// What a token says of itself.
#[derive(Deserialize)]
struct LookedUp {
    data: OfToken,
}

#[derive(Deserialize)]
struct OfToken {
    ttl: u64,
    #[serde(default)]
    renewable: bool,
}

/// One way in.
pub struct Door {
    way: Way,
    local: Local,
    means: Arc<Means>,
    inside: Mutex<Inside>,
    let_in: Notify,
}

#[derive(Default)]
struct Inside {
    session: Option<Session>,
    closed: Option<Closed>,
}

struct Session {
    token: Secret,
    /// What it was given at first; `None`: it never ends.
    lease: Option<Duration>,
    ends: Instant,
    renew: Instant,
    renewable: bool,
}

/// A login failed.
struct Closed {
    why: String,
    until: Instant,
    pause: Duration,
}

/// Nobody waits for a token that never ends; its task looks in so often.
const IDLE: Duration = Duration::from_secs(60);

impl Session {
    fn new(token: Secret, lease_s: u64, renewable: bool) -> Session {
        let lease = (lease_s > 0).then(|| Duration::from_secs(lease_s));
        let mut session = Session { token, lease, ends: Instant::now(), renew: Instant::now(), renewable };
        session.lasts(lease.unwrap_or(IDLE));
        session
    }

    fn lasts(&mut self, lease: Duration) {
        self.ends = Instant::now() + lease;
        self.renew = Instant::now() + lease * 2 / 3;
    }

    fn is_over(&self) -> bool {
        self.lease.is_some() && Instant::now() >= self.ends
    }
}

impl Door {
    pub fn new(way: Way, local: Local, means: Arc<Means>) -> Arc<Door> {
        let door = Door { way, local, means, inside: Mutex::default(), let_in: Notify::new() };
        let door = Arc::new(door);
        let weak = Arc::downgrade(&door);
        tokio::spawn(async move {
            while let Some(door) = weak.upgrade() {
                let due = door.attend().await;
                let wait = due.saturating_duration_since(Instant::now()).min(IDLE);
                // Whoever comes in first tells when to come back.
                let _ = tokio::time::timeout(wait, door.let_in.notified()).await;
            }
        });
        door
    }

    pub fn is(&self, way: &Way) -> bool {
        self.way == *way
    }

    /// Something has changed: a login that failed is tried again. One that is under way is another try already.
    pub fn again(&self) {
        if let Ok(mut inside) = self.inside.try_lock() {
            inside.closed = None;
        }
    }

    /// A token that is good as far as anybody knows.
    async fn token(&self) -> Result<Secret, String> {
        let mut inside = self.inside.lock().await;
        if let Some(session) = inside.session.as_ref().filter(|session| !session.is_over()) {
            return Ok(session.token.clone());
        }
        self.enter(&mut inside).await
    }

    async fn enter(&self, inside: &mut Inside) -> Result<Secret, String> {
        inside.session = None;
        if let Some(closed) = inside.closed.as_ref().filter(|closed| Instant::now() < closed.until) {
            return Err(closed.why.clone());
        }
        match self.log_in().await {
            Ok(session) => {
                let token = session.token.clone();
                inside.closed = None;
                inside.session = Some(session);
                self.let_in.notify_one();
                Ok(token)
            }
            Err(why) => {
                let why = format!("{} {why}", self.way.address);
                let pause = inside.closed.as_ref().map_or(STORE_AGAIN_MIN, |closed| closed.pause);
                let until = Instant::now() + jittered(pause);
                inside.closed =
                    Some(Closed { why: why.clone(), until, pause: (pause * 2).min(STORE_AGAIN_MAX) });
                Err(why)
            }
        }
    }

    async fn log_in(&self) -> Result<Session, String> {
        let of = |what: &str, text: &Shown| {
            text.resolve(&self.local).map_err(|why| format!("cannot be entered: {what}: {why}"))
        };
        match &self.way.login {
            Login::Token(token) => {
                let token = of("token", token)?;
                let said =
                    self.said(Method::GET, "auth/token/lookup-self", Some(&token), Bytes::new()).await?;
                match said.status {
                    200 => {}
                    403 => {
                        return Err("does not know the token, or not any more: put another one in its place"
                            .to_owned());
                    }
                    status => return Err(unexpected(status)),
                }
                let read: LookedUp = serde_json::from_slice(&said.body)
                    .map_err(|_| "answered what tells nothing of a token".to_owned())?;
                Ok(Session::new(token, read.data.ttl, read.data.renewable))
            }
            Login::AppRole { mount, role, secret } => {
                let (role, secret) = (of("approle.role", role)?, of("approle.secret", secret)?);
                let body = serde_json::json!({ "role_id": &*role, "secret_id": &*secret });
                let body = Bytes::from(body.to_string());
                let said = self.said(Method::POST, &format!("auth/{mount}/login"), None, body).await?;
                match said.status {
                    200 => {}
                    400 | 401 | 403 => {
                        return Err("does not take this AppRole: look at `role` and `secret`, whose time or number of uses may be over".to_owned());
                    }
                    404 => return Err(format!("has no AppRole at `auth/{mount}`: look at `mount`")),
                    status => return Err(unexpected(status)),
                }
                let Auth { client_token, lease_duration, renewable } = logged_in(&said)?;
                Ok(Session::new(Secret::new(client_token), lease_duration, renewable))
            }
        }
    }

    /// Renews what is to be renewed, and says when to look again.
    async fn attend(&self) -> Instant {
        let mut inside = self.inside.lock().await;
        let Some(session) = inside.session.as_mut() else { return Instant::now() + IDLE };
        let Some(lease) = session.lease else { return Instant::now() + IDLE };
        if Instant::now() < session.renew {
            return session.renew;
        }
        if session.renewable && !session.is_over() {
            match self.renewed(&session.token).await {
                // Close to the end of all renewing each brings less than the one before.
                Ok(Some(granted)) if granted * 2 > lease => {
                    session.lasts(granted);
                    return session.renew;
                }
                Ok(_) => {}
                // It is good until it ends, and whoever reads tells what is wrong.
                Err(_) => {
                    let left = session.ends.saturating_duration_since(Instant::now());
                    session.renew = Instant::now() + (left / 4).max(STORE_AGAIN_MIN);
                    return session.renew;
                }
            }
        }
        // What is wrong is told by whoever needs the token next.
        let _ = self.enter(&mut inside).await;
        inside.session.as_ref().map_or_else(|| Instant::now() + IDLE, |session| session.renew)
    }

    /// What a renewal brought; `None`: the store wants a new login.
    async fn renewed(&self, token: &Secret) -> Result<Option<Duration>, String> {
        let body = Bytes::from_static(b"{}");
        let said = self.said(Method::POST, "auth/token/renew-self", Some(token), body).await?;
        match said.status {
            200 => Ok(Some(Duration::from_secs(logged_in(&said)?.lease_duration))),
            400 | 403 => Ok(None),
            status => Err(unexpected(status)),
        }
    }

    /// Whether a token that was refused something is good for anything.
    async fn knows(&self, token: &Secret) -> Result<bool, String> {
        let said = self.ask(Method::GET, "auth/token/lookup-self", Some(token), Bytes::new()).await?;
        Ok(said.status != 403)
    }

    async fn forget(&self, token: &Secret) {
        let mut inside = self.inside.lock().await;
        // Somebody else may have come back with another one already.
        if inside.session.as_ref().is_some_and(|session| session.token == *token) {
            inside.session = None;
        }
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        token: Option<&Secret>,
        body: Bytes,
    ) -> Result<Said, String> {
        self.said(method, path, token, body).await.map_err(|why| format!("{} {why}", self.way.address))
    }

    async fn said(
        &self,
        method: Method,
        path: &str,
        token: Option<&Secret>,
        body: Bytes,
    ) -> Result<Said, String> {
        let url = Url::parse(&format!("{}/v1/{path}", self.way.address))?;
        let fetcher = self.means.fetcher(self.way.ca.as_deref())?;
        let mut headers = vec![("X-Vault-Request", "true"), ("Content-Type", "application/json")];
        headers.extend(token.map(|token| ("X-Vault-Token", &**token)));
        headers.extend(self.way.namespace.as_deref().map(|namespace| ("X-Vault-Namespace", namespace)));
        let ask = Ask {
            method,
            url: &url,
            chosen: Chosen::ByOperator,
            headers: &headers,
            body,
            within: STORE_WITHIN,
            answer_bytes_max: STORE_ANSWER_BYTES_MAX,
        };
        // Its text names the place once more.
        let said = fetcher.ask(ask).await;
        said.map_err(|fault| fault.to_string().replacen(&format!("{} ", url.shown()), "", 1))
    }
}

fn logged_in(said: &Said) -> Result<Auth, String> {
    let read: Result<LoggedIn, _> = serde_json::from_slice(&said.body);
    read.map(|read| read.auth).map_err(|_| "answered what is no login".to_owned())
}
