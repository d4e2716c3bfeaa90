//! Secrets in stores of others: fetched and refreshed beside everything else, one task per secret, and kept.
//!
//! | part | knows |
//! |---|---|
//! | [`vault`] | HashiCorp Vault and OpenBao: logins, renewals, KV stores |
//! | [`aws`] | AWS Secrets Manager: whose credentials, signatures |
//! | `local` | what a store is shown: texts that this machine resolves |
//!
//! Resolving a reference asks nobody: it takes what is kept. A value that has changed wakes whoever waits for [`Stores::news`], and is
//! shown to upstreams as a changed file is. While a store does not answer, what it said last is used on, and that is told: once in
//! the log, and for as long as it lasts in `/readyz` and in figures. A secret is known by everything that is written of it, so that
//! two tables which name it alike and mean another place never share a value.

mod aws;
mod local;
mod vault;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use serde_json::value::RawValue;
use serde_json::{Value, json};
use strait_engine::Secret;
use strait_table::rules::ArchivedRules;
use strait_table::secret::{ArchivedSecret, ArchivedSource};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::certificates;
use crate::fetch::Fetcher;
use crate::limits::{SECRET_BYTES_MAX, STORE_AGAIN_MAX, STORE_AGAIN_MIN, STORE_UNWANTED_MAX, STORES_WITHIN};
use crate::log;
pub use local::Local;

/// What was fetched; its copies are one.
#[derive(Clone)]
pub struct Stores(Arc<Inner>);

struct Inner {
    local: Local,
    means: Arc<Means>,
    role: Arc<aws::OfRole>,
    entries: Mutex<Vec<Arc<Entry>>>,
    doors: Mutex<Vec<Weak<vault::Door>>>,
    /// How many values have changed.
    news: watch::Sender<u64>,
}

/// How others are asked.
#[derive(Default)]
struct Means {
    /// Made for the first store: what a machine trusts is a long file.
    fetcher: OnceLock<Fetcher>,
}

/// What a store said.
struct Found {
    value: Secret,
    /// As the store counts.
    version: String,
}

#[derive(Clone, PartialEq, Eq)]
enum Place {
    Vault(vault::Place),
    Aws(aws::Place),
}

/// Whom to ask for it.
enum Asked {
    Vault(Arc<vault::Door>),
    Aws(Arc<aws::OfRole>, Arc<Means>),
}

/// One secret.
struct Entry {
    /// As the table calls it that named it first.
    name: String,
    place: Place,
    asked: Asked,
    kept: Mutex<Kept>,
    /// How often it was asked for.
    tries: watch::Sender<u64>,
    /// Asks again at once.
    again: Notify,
}

#[derive(Default)]
struct Kept {
    value: Option<Secret>,
    version: String,
    fetched: Option<Instant>,
    fault: Option<Fault>,
    answered: u64,
    failed: u64,
    unwanted: Option<Instant>,
}

struct Fault {
    why: String,
    since: String,
}

/// A secret of a store, as figures show it.
pub struct Figures {
    pub name: String,
    pub kind: &'static str,
    /// The store does not give it now; what it gave before is used on, where there is such a thing.
    pub is_failing: bool,
    /// Since it was last given.
    pub age: Option<Duration>,
    pub answered: u64,
    pub failed: u64,
}

impl Stores {
    pub fn new(local: Local) -> Stores {
        Stores(Arc::new(Inner {
            local,
            means: Arc::default(),
            role: Arc::default(),
            entries: Mutex::default(),
            doors: Mutex::default(),
            news: watch::Sender::new(0),
        }))
    }

    /// Tells when a value has changed.
    pub fn news(&self) -> watch::Receiver<u64> {
        self.0.news.subscribe()
    }

    /// Sees to it that what this table names is fetched, and waits a bounded time for what never was. What failed is asked for again.
    pub async fn gather(&self, base: &Path, rules: &ArchivedRules) {
        let wanted: Vec<Arc<Entry>> =
            places(base, rules).map(|(name, place)| self.entry(name, place)).collect();
        let waits: Vec<_> = wanted.iter().map(|entry| (entry.clone(), entry.tries.subscribe())).collect();
        self.0.again(&wanted, true);
        let all_tried = async {
            for (entry, mut tries) in waits {
                // The sender is in the entry.
                let _ = tries.wait_for(|tries| *tries > 0 || entry.has_value()).await;
            }
        };
        let _ = tokio::time::timeout(STORES_WITHIN, all_tried).await;
    }

    /// Asks again for what failed: something that a login is made of may have changed.
    pub fn again(&self) {
        let all = self.0.entries().clone();
        self.0.again(&all, false);
    }

    /// These tables are in use; what none of them names is given up after a while.
    pub fn want_only(&self, base: &Path, in_use: &[&ArchivedRules]) {
        let wanted: Vec<Place> =
            in_use.iter().flat_map(|rules| places(base, rules)).map(|(_, place)| place).collect();
        for entry in self.0.entries().iter() {
            let mut kept = entry.kept();
            match wanted.contains(&entry.place) {
                true => kept.unwanted = None,
                false => kept.unwanted = kept.unwanted.or(Some(Instant::now())),
            }
        }
    }

    /// What is kept of a secret that a table declares.
    pub fn value(
        &self,
        source: &ArchivedSource,
        base: &Path,
        declared: &[ArchivedSecret],
    ) -> Result<Secret, String> {
        let Some(place) = Place::of(source, base, declared) else {
            return Err("a bug in strait: it is in no store".to_owned());
        };
        let known = self.0.entries().iter().find(|entry| entry.place == place).cloned();
        let Some(entry) = known else { return Err(format!("{} was not asked yet", place.shown())) };
        let kept = entry.kept();
        match (&kept.value, &kept.fault) {
            (Some(value), _) => Ok(value.clone()),
            (None, Some(fault)) => Err(fault.why.clone()),
            (None, None) => Err(format!("{} has not answered yet", place.shown())),
        }
    }

    /// Secrets that their stores do not give now, as `/readyz` shows them.
    pub fn failing(&self) -> Value {
        let shown = |entry: &Arc<Entry>| {
            let kept = entry.kept();
            let fault = kept.fault.as_ref().filter(|_| kept.unwanted.is_none())?;
            Some(json!({
                "name": entry.name,
                "state": if kept.value.is_some() { "kept" } else { "missing" },
                "version": kept.version,
                "since": fault.since,
                "why": fault.why,
            }))
        };
        self.0.entries().iter().filter_map(shown).collect()
    }

    pub fn figures(&self) -> Vec<Figures> {
        let mut figures: Vec<Figures> = Vec::new();
        for entry in self.0.entries().iter() {
            let kept = entry.kept();
            // A candidate may have another secret of the same name; a name has one series.
            figures.retain(|other| kept.unwanted.is_some() || other.name != entry.name);
            if kept.unwanted.is_none() {
                figures.push(Figures {
                    name: entry.name.clone(),
                    kind: entry.place.kind(),
                    is_failing: kept.fault.is_some(),
                    age: kept.fetched.map(|at| at.elapsed()),
                    answered: kept.answered,
                    failed: kept.failed,
                });
            }
        }
        figures
    }

    fn entry(&self, name: String, place: Place) -> Arc<Entry> {
        let mut entries = self.0.entries();
        if let Some(entry) = entries.iter().find(|entry| entry.place == place) {
            entry.kept().unwanted = None;
            return entry.clone();
        }
        let asked = match &place {
            Place::Vault(of) => Asked::Vault(self.0.door(&of.way)),
            Place::Aws(_) => Asked::Aws(self.0.role.clone(), self.0.means.clone()),
        };
        let kept = Mutex::default();
        let tries = watch::Sender::new(0);
        let entry = Arc::new(Entry { name, place, asked, kept, tries, again: Notify::new() });
        entries.push(entry.clone());
        tokio::spawn(keep(entry.clone(), Arc::downgrade(&self.0)));
        entry
    }
}

/// Asks for one secret for as long as somebody wants it.
async fn keep(entry: Arc<Entry>, stores: Weak<Inner>) {
    let mut pause = STORE_AGAIN_MIN;
    loop {
        let found = entry.fetch().await;
        let Some(stores) = stores.upgrade() else { return };
        let wait = match found {
            Ok(found) => {
                pause = STORE_AGAIN_MIN;
                if entry.takes(found) {
                    stores.news.send_modify(|count| *count += 1);
                }
                jittered(entry.place.refresh())
            }
            Err(why) => {
                entry.fails(why);
                let now = pause;
                pause = (pause * 2).min(STORE_AGAIN_MAX);
                jittered(now)
            }
        };
        entry.tries.send_modify(|tries| *tries += 1);
        if stores.gives_up(&entry) {
            return;
        }
        drop(stores);
        if tokio::time::timeout(wait, entry.again.notified()).await.is_ok() {
            pause = STORE_AGAIN_MIN;
        }
    }
}

impl Entry {
    async fn fetch(&self) -> Result<Found, String> {
        let found = match (&self.place, &self.asked) {
            (Place::Vault(place), Asked::Vault(door)) => place.fetch(door).await,
            (Place::Aws(place), Asked::Aws(role, means)) => place.fetch(role, means).await,
            _ => Err("a bug in strait: it is asked for elsewhere".to_owned()),
        }?;
        match found.value.len() as u64 {
            0 => Err(format!("{} is empty", self.place.shown())),
            1..=SECRET_BYTES_MAX => Ok(found),
            long => Err(format!("{} has {long} bytes, over {SECRET_BYTES_MAX}", self.place.shown())),
        }
    }

    /// Whether that is news.
    fn takes(&self, found: Found) -> bool {
        let mut kept = self.kept();
        kept.answered += 1;
        kept.fetched = Some(Instant::now());
        let (is_first, is_same) = (kept.value.is_none(), kept.value.as_ref() == Some(&found.value));
        let (name, shown) = (&self.name, self.place.shown());
        if kept.fault.take().is_some() {
            log::info(format!("secret `{name}`: {shown} gives it again"));
        }
        if !is_first && !is_same {
            log::info(format!("secret `{name}`: {shown} has version {}", found.version));
        }
        kept.version = found.version;
        if !is_same {
            kept.value = Some(found.value);
        }
        !is_same
    }

    fn fails(&self, why: String) {
        let mut kept = self.kept();
        kept.failed += 1;
        if kept.fault.as_ref().is_some_and(|fault| fault.why == why) {
            return;
        }
        let goes_on = match kept.value {
            Some(_) => format!("; version {} is used on", kept.version),
            None => String::new(),
        };
        log::error(format!("secret `{}`: {why}{goes_on}", self.name));
        let since = kept.fault.take().map_or_else(crate::time::now, |fault| fault.since);
        kept.fault = Some(Fault { why, since });
    }

    fn has_value(&self) -> bool {
        self.kept().value.is_some()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn entries(&self) -> MutexGuard<'_, Vec<Arc<Entry>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks again for what failed, or for `all`.
    fn again(&self, entries: &[Arc<Entry>], all: bool) {
        for entry in entries {
            let is_failing = entry.kept().fault.is_some();
            if let (Asked::Vault(door), true) = (&entry.asked, is_failing) {
                door.again();
            }
            // One that has no value and no fault is being asked for.
            if is_failing || (all && entry.has_value()) {
                entry.again.notify_one();
            }
        }
    }

    fn door(&self, way: &vault::Way) -> Arc<vault::Door> {
        let mut doors = self.doors.lock().unwrap_or_else(PoisonError::into_inner);
        doors.retain(|door| door.strong_count() > 0);
        if let Some(door) = doors.iter().filter_map(Weak::upgrade).find(|door| door.is(way)) {
            return door;
        }
        let door = vault::Door::new(way.clone(), self.local.clone(), self.means.clone());
        doors.push(Arc::downgrade(&door));
        door
    }

    /// Whether nobody has wanted it for long; then it is known no more.
    fn gives_up(&self, entry: &Arc<Entry>) -> bool {
        let mut entries = self.entries();
        let gives_up = entry.kept().unwanted.is_some_and(|since| since.elapsed() > STORE_UNWANTED_MAX);
        if gives_up {
            entries.retain(|other| !Arc::ptr_eq(other, entry));
        }
        gives_up
    }
}

impl Means {
    /// `ca`: whom to believe, where it is not whom this machine believes.
    fn fetcher(&self, ca: Option<&Path>) -> Result<Fetcher, String> {
        match ca {
            None => Ok(self.fetcher.get_or_init(Fetcher::new).clone()),
            Some(path) => certificates::roots(path).map(Fetcher::trusting),
        }
    }
}

/// Secrets of stores that a table declares.
fn places<'a>(base: &'a Path, rules: &'a ArchivedRules) -> impl Iterator<Item = (String, Place)> + 'a {
    rules.secrets.iter().filter_map(move |secret| {
        let place = Place::of(&secret.source, base, &rules.secrets)?;
        Some((secret.name.as_str().to_owned(), place))
    })
}

impl Place {
    /// `None`: it is in no store.
    fn of(source: &ArchivedSource, base: &Path, declared: &[ArchivedSecret]) -> Option<Place> {
        match source {
            ArchivedSource::Vault(of) => Some(Place::Vault(vault::Place::of(of, base, declared))),
            ArchivedSource::Aws(of) => Some(Place::Aws(aws::Place::of(of))),
            ArchivedSource::File(_) | ArchivedSource::Env(_) | ArchivedSource::Systemd(_) => None,
        }
    }

    fn shown(&self) -> String {
        match self {
            Place::Vault(place) => place.shown(),
            Place::Aws(place) => place.shown(),
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Place::Vault(_) => "vault",
            Place::Aws(_) => "aws",
        }
    }

    fn refresh(&self) -> Duration {
        match self {
            Place::Vault(place) => place.refresh,
            Place::Aws(place) => place.refresh,
        }
    }
}

/// Scheme, host and port of the store that a secret is in; `None`: it is in none.
pub fn address(source: &ArchivedSource) -> Option<String> {
    Place::of(source, Path::new(""), &[]).map(|place| match place {
        Place::Vault(place) => place.way.address,
        Place::Aws(place) => place.endpoint,
    })
}

/// A JSON text, decoded; nothing of any other value is told.
fn text_of(raw: &RawValue) -> Result<Secret, String> {
    serde_json::from_str::<String>(raw.get()).map(Secret::new).map_err(|_| "is no text".to_owned())
}

/// Up to a tenth more or less, so that many gateways which were started together do not ask together.
fn jittered(pause: Duration) -> Duration {
    let mut byte = [128];
    // Without randomness all of them ask together.
    let _ = aws_lc_rs::rand::fill(&mut byte);
    pause.mul_f64(0.9 + 0.2 * f64::from(byte[0]) / 255.0)
}
