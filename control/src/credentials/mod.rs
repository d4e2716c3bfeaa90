//! Credentials to upstreams: a kind per file, each made into the header lines or the variable that its upstream gets.
//!
//! | part | knows |
//! |---|---|
//! | [`stated`] | texts of the configuration |
//! | [`grant`] | a token of this gateway's own, asked for and kept |
//! | [`endpoint`] | token endpoints: what they are asked, and what of their answers is believed |

mod endpoint;
mod grant;
mod stated;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use strait_engine::Secret;
use strait_table::Snapshot;
use strait_table::rules::{
    ArchivedCredential, ArchivedGrant, ArchivedShown, ArchivedText, ArchivedTransport, ArchivedUpstream,
};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::fetch::Fetcher;
use crate::limits::GRANT_FIRST_WITHIN;
use crate::secrets::references::References;
use endpoint::Endpoint;
pub use grant::Standing;
use grant::{Ears, Grant};

/// Why an upstream cannot be shown its credential.
#[derive(Debug)]
pub enum Lack {
    /// A reference that nothing resolves, or a value that cannot be used: somebody has to mend it.
    Stated(String),
    /// A token that is not there now: it goes on being asked for.
    Token(String),
}

/// What an upstream is shown.
#[derive(Default)]
pub struct Shown {
    pub lines: Vec<(String, Secret)>,
    pub variable: Option<(String, Secret)>,
}

/// Tokens of this gateway's own; one for the whole process, since they outlive tables.
#[derive(Clone)]
pub struct Grants(Arc<Kept>);

struct Kept {
    fetcher: Fetcher,
    all: Mutex<Vec<(Key, Arc<Grant>)>>,
    ears: Ears,
}

/// Whose token it is, and a hash of all that is asked for; a secret is in it by its reference.
type Key = (String, [u8; 32]);

/// What `credential` of this upstream says, replaced by what is there now.
pub fn shown(upstream: &ArchivedUpstream, references: &References, grants: &Grants) -> Result<Shown, Lack> {
    let Some(credential) = upstream.credential.as_ref() else { return Ok(Shown::default()) };
    let resolve = |text| references.resolve(text).map_err(Lack::Stated);
    let line = match credential {
        ArchivedCredential::Bearer(text) => stated::bearer(&resolve(text)?),
        ArchivedCredential::Basic(text) => stated::basic(&resolve(text)?),
        ArchivedCredential::Header { name, value } => (name.as_str().to_owned(), resolve(value)?),
        ArchivedCredential::OAuth { grant, shown } => {
            let secret = resolve(&grant.secret)?;
            let token = grants.of(&upstream.name, grant).token_with(secret)?;
            match shown {
                ArchivedShown::Line => stated::bearer(&token),
                ArchivedShown::Variable(name) => {
                    let variable = Some((name.as_str().to_owned(), token));
                    return Ok(Shown { lines: Vec::new(), variable });
                }
            }
        }
    };
    // Anything else could end the line and begin a header of its own.
    match line.1.chars().all(|c| matches!(c, ' '..='~' | '\t')) {
        true => Ok(Shown { lines: vec![line], variable: None }),
        false => {
            let why =
                format!("the credential for header `{}` has a character that no header may have", line.0);
            Err(Lack::Stated(why))
        }
    }
}

/// Every text of an upstream that may hold a secret.
pub fn texts(upstream: &ArchivedUpstream) -> impl Iterator<Item = &ArchivedText> {
    let mut texts = Vec::new();
    match upstream.credential.as_ref() {
        None => {}
        Some(ArchivedCredential::Bearer(text) | ArchivedCredential::Basic(text)) => texts.push(text),
        Some(ArchivedCredential::Header { value, .. }) => texts.push(value),
        Some(ArchivedCredential::OAuth { grant, .. }) => texts.push(&grant.secret),
    }
    texts.extend(upstream.identity_header.as_ref().map(|header| &header.key));
    if let ArchivedTransport::Stdio(stdio) = &upstream.transport {
        texts.extend(stdio.env.iter().map(|pair| &pair.1));
    }
    texts.into_iter()
}

impl Grants {
    pub fn new(fetcher: Fetcher) -> Grants {
        Grants(Arc::new(Kept { fetcher, all: Mutex::default(), ears: Ears::default() }))
    }

    /// Raised when a token is another one, and when one was asked for.
    pub fn ears(&self) -> (Arc<Notify>, Arc<Notify>) {
        (self.0.ears.changed.clone(), self.0.ears.told.clone())
    }

    /// The grant as it is known, or a new one, which asks for nothing until it is begun.
    fn of(&self, upstream: &str, grant: &ArchivedGrant) -> Arc<Grant> {
        let key = key(upstream, grant);
        let mut all = self.all();
        if let Some((_, known)) = all.iter().find(|(known, _)| *known == key) {
            return known.clone();
        }
        let endpoint = Endpoint::of(grant, self.0.fetcher.clone());
        let made = Grant::new(upstream, endpoint, self.0.ears.clone());
        all.push((key, made.clone()));
        made
    }

    /// Begins to ask for whatever a table wants, and waits a while for what was never heard of.
    pub async fn begin(&self, snapshot: &Snapshot) {
        let by = Instant::now() + GRANT_FIRST_WITHIN;
        let wanted = keys(snapshot);
        let all: Vec<Arc<Grant>> = self
            .all()
            .iter()
            .filter(|(key, _)| wanted.contains(key))
            .map(|(_, grant)| grant.clone())
            .collect();
        all.iter().for_each(Grant::begin);
        for grant in all {
            // What is late comes later, and is taken up then.
            let _ = timeout_at(by, grant.heard()).await;
        }
    }

    /// Lets go of what none of these tables wants.
    pub fn want_only<'s>(&self, snapshots: impl Iterator<Item = &'s Snapshot>) {
        let wanted: Vec<Key> = snapshots.flat_map(keys).collect();
        self.all().retain(|(key, _)| wanted.contains(key));
    }

    /// An upstream of this name does not take its token.
    pub fn refused(&self, upstream: &str) {
        let all = self.all();
        all.iter().filter(|((name, _), _)| name == upstream).for_each(|(_, grant)| grant.refused());
    }

    /// What there is to tell of each.
    pub fn standings(&self) -> Vec<Standing> {
        self.all().iter().map(|(_, grant)| grant.standing()).collect()
    }

    fn all(&self) -> MutexGuard<'_, Vec<(Key, Arc<Grant>)>> {
        self.0.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Grant {
    fn token_with(&self, secret: Secret) -> Result<Secret, Lack> {
        self.asks_with(secret);
        self.token().map_err(Lack::Token)
    }
}

fn keys(snapshot: &Snapshot) -> Vec<Key> {
    let upstreams = snapshot.rules().upstreams.iter();
    let of_it = |upstream: &ArchivedUpstream| match upstream.credential.as_ref()? {
        ArchivedCredential::OAuth { grant, .. } => Some(key(&upstream.name, grant)),
        _ => None,
    };
    upstreams.filter_map(of_it).collect()
}

fn key(upstream: &str, grant: &ArchivedGrant) -> Key {
    // Of references their names: a secret of the table is no secret any more.
    (upstream.to_owned(), *blake3::hash(format!("{grant:?}").as_bytes()).as_bytes())
}
