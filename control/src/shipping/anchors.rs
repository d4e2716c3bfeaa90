//! Checkpoints for somebody outside: only the newest, and no oftener than one wants them. Whoever is away gets the newest when it is
//! back: a checkpoint covers all that the ones before it did.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use axum::body::Bytes;
use serde_json::{Value, json};
use strait_engine::Secret;
use strait_table::ship::{ArchivedAnchor, ArchivedKeeper};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::sleep;

use super::Resolve;
use super::post::{Outcome, signed};
use super::signed::Signed;
use super::standing::{Health, state};
use crate::fetch::{Fetcher, Url};
use crate::limits::{SHIP_AGAIN_MAX, SHIP_AGAIN_MIN};
use crate::log;
use crate::telemetry::{hex, jittered};

#[derive(Clone, PartialEq, Eq)]
pub struct Config {
    /// As it is called where people look.
    name: String,
    to: Keeper,
    every: Duration,
}

#[derive(Clone, PartialEq, Eq)]
enum Keeper {
    Stdout,
    File(PathBuf),
    Webhook {
        url: String,
        secret: Secret,
    },
    /// What it needs cannot be had.
    Lacks(String),
}

/// An anchor that is sent to.
pub struct Sending {
    pub config: Config,
    pub standing: Arc<Standing>,
    task: AbortHandle,
}

/// How it stands.
#[derive(Default)]
pub struct Standing {
    pub name: String,
    health: Health,
    /// Records under the newest checkpoint that it has.
    pub size: AtomicU64,
    pub failures: AtomicU64,
}

impl Config {
    pub fn of(anchor: &ArchivedAnchor, base: &Path, secret: Resolve<'_>) -> Config {
        let (name, to) = match &anchor.to {
            ArchivedKeeper::Stdout => ("stdout".to_owned(), Keeper::Stdout),
            ArchivedKeeper::File(path) => {
                let path = base.join(path.as_str());
                (path.display().to_string(), Keeper::File(path))
            }
            ArchivedKeeper::Webhook { url, secret: text } => {
                // A query may hold what nobody should read.
                let name = Url::parse(url).map_or_else(|_| "webhook".to_owned(), |url| url.shown());
                let to = match secret(text) {
                    Ok(secret) => Keeper::Webhook { url: url.as_str().to_owned(), secret },
                    Err(why) => Keeper::Lacks(format!("its secret: {why}")),
                };
                (name, to)
            }
        };
        Config { name, to, every: Duration::from_millis(anchor.every_ms.to_native().into()) }
    }
}

pub fn begin(config: Config, fetcher: Fetcher, newest: watch::Receiver<Option<Arc<Signed>>>) -> Sending {
    let standing = Arc::new(Standing { name: config.name.clone(), ..Standing::default() });
    let task = tokio::spawn(run(config.clone(), standing.clone(), fetcher, newest)).abort_handle();
    Sending { config, standing, task }
}

impl Sending {
    pub fn end(self) {
        self.task.abort();
    }
}

async fn run(
    config: Config,
    standing: Arc<Standing>,
    fetcher: Fetcher,
    mut newest: watch::Receiver<Option<Arc<Signed>>>,
) {
    let mut pause = SHIP_AGAIN_MIN;
    loop {
        let has = standing.size.load(Relaxed);
        let is_newer = |signed: &Option<Arc<Signed>>| signed.as_ref().is_some_and(|now| now.size > has);
        let Ok(signed) = newest.wait_for(is_newer).await.map(|found| found.clone()) else { return };
        let Some(signed) = signed else { continue };
        let wait = match send(&config.to, &fetcher, &signed).await {
            Ok(()) => {
                standing.size.store(signed.size, Relaxed);
                if standing.health.well() {
                    log::info(format!("audit: anchor `{}` takes checkpoints again", config.name));
                }
                pause = SHIP_AGAIN_MIN;
                config.every
            }
            Err(why) => {
                standing.failures.fetch_add(1, Relaxed);
                if standing.health.fails(&why) {
                    let name = &config.name;
                    log::warn(format!(
                        "audit: anchor `{name}` takes no checkpoint now, and gets the newest later: {why}"
                    ));
                }
                let wait = jittered(pause);
                pause = (pause * 2).min(SHIP_AGAIN_MAX);
                wait
            }
        };
        sleep(wait).await;
    }
}

async fn send(to: &Keeper, fetcher: &Fetcher, signed_by_us: &Arc<Signed>) -> Result<(), String> {
    let note = signed_by_us.note.clone();
    match to {
        Keeper::Stdout => {
            let line = format!("{}\n", told(signed_by_us));
            blocking(move || std::io::stdout().lock().write_all(line.as_bytes())).await
        }
        Keeper::File(path) => {
            let at = path.clone();
            let appended = blocking(move || append(&at, note.as_bytes())).await;
            appended.map_err(|why| format!("cannot append to `{}`: {why}", path.display()))
        }
        Keeper::Webhook { url, secret } => {
            let mark = hex(&strait_audit::hash::plain(note.as_bytes())[..8]);
            let id = format!("checkpoint-{}-{mark}", signed_by_us.size);
            match signed(fetcher, url, secret, &id, ("text/plain; charset=utf-8", Bytes::from(note))).await {
                Outcome::Taken { .. } => Ok(()),
                Outcome::TooLarge { why } | Outcome::Later { why, .. } => Err(why),
            }
        }
        Keeper::Lacks(why) => Err(why.clone()),
    }
}

/// One JSON object a line, as everything else there is.
fn told(signed: &Signed) -> Value {
    json!({ "time": crate::time::now(), "size": signed.size, "checkpoint": signed.note })
}

async fn blocking(work: impl FnOnce() -> std::io::Result<()> + Send + 'static) -> Result<(), String> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(_) => Err("its thread ended".to_owned()),
    }
}

fn append(path: &Path, note: &[u8]) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    file.write_all(note)?;
    file.sync_data()
}

impl Standing {
    pub fn is_up(&self) -> Option<bool> {
        self.health.is_up()
    }

    pub fn to_json(&self) -> Value {
        json!({
            "to": self.name,
            "state": state(self.is_up()),
            "why": self.health.why(),
            "size": self.size.load(Relaxed),
        })
    }
}
