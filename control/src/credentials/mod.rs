//! Credentials to upstreams: a kind per file, each made into the header lines or the variable that its upstream gets.
//!
//! | part | knows |
//! |---|---|
//! | [`stated`] | texts of the configuration |
//! | [`grant`] | a token of this gateway's own, asked for and kept |
//! | [`lender`] | tokens in exchange for callers' |
//! | [`endpoint`] | token endpoints: what they are asked, and what of their answers is believed |

mod endpoint;
mod grant;
mod lender;
mod stated;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use strait_engine::lending::{Lender, Question, Variable};
use strait_engine::{Secret, digest};
use strait_table::Snapshot;
use strait_table::rules::{
    ArchivedCredential, ArchivedGrant, ArchivedShown, ArchivedText, ArchivedTransport, ArchivedUpstream,
};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, timeout_at};

use crate::fetch::Fetcher;
use crate::limits::LENT_QUESTIONS_MAX;
use crate::secrets::references::References;
use endpoint::Endpoint;
pub use grant::Standing;
use grant::{Ears, Grant};
use lender::Exchanger;

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
    /// Who has a token for each caller.
    pub lender: Option<Lender>,
}

/// Tokens of this gateway's own; one for the whole process, since they outlive tables.
#[derive(Clone)]
pub struct Grants(Arc<Kept>);

struct Kept {
    fetcher: Fetcher,
    all: Mutex<Vec<(Key, Arc<Grant>)>>,
    lenders: Mutex<Vec<(Key, Lending)>>,
    ears: Ears,
}

/// An exchanger, and the way to it.
struct Lending {
    exchanger: Arc<Exchanger>,
    questions: mpsc::Sender<Question>,
    /// Until somebody hears them.
    asked: Option<mpsc::Receiver<Question>>,
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
                    return Ok(Shown { variable, ..Shown::default() });
                }
            }
        }
        ArchivedCredential::Exchange { grant, acts, shown, .. } => {
            return exchanged(&upstream.name, (grant, *acts, shown), resolve(&grant.secret)?, grants);
        }
    };
    // Anything else could end the line and begin a header of its own.
    match line.1.chars().all(|c| matches!(c, ' '..='~' | '\t')) {
        true => Ok(Shown { lines: vec![line], ..Shown::default() }),
        false => {
            let why =
                format!("the credential for header `{}` has a character that no header may have", line.0);
            Err(Lack::Stated(why))
        }
    }
}

/// What is shown for callers, and what for questions of our own.
fn exchanged(
    upstream: &str,
    (grant, acts, shown): (&ArchivedGrant, bool, &ArchivedShown),
    secret: Secret,
    grants: &Grants,
) -> Result<Shown, Lack> {
    let actor = acts.then(|| grants.of(upstream, grant));
    let (content, questions) = grants.lender(upstream, (grant, acts), actor.clone(), secret.clone());
    let own = actor.map(|actor| actor.token_with(secret)).transpose()?;
    let (lines, variable) = match shown {
        ArchivedShown::Line => (own.iter().map(|token| stated::bearer(token)).collect(), None),
        ArchivedShown::Variable(name) => (Vec::new(), Some(Variable { name: name.as_str().to_owned(), own })),
    };
    Ok(Shown { lines, variable: None, lender: Some(Lender { content, variable, questions }) })
}

/// Every text of an upstream that may hold a secret.
pub fn texts(upstream: &ArchivedUpstream) -> impl Iterator<Item = &ArchivedText> {
    let mut texts = Vec::new();
    match upstream.credential.as_ref() {
        None => {}
        Some(ArchivedCredential::Bearer(text) | ArchivedCredential::Basic(text)) => texts.push(text),
        Some(ArchivedCredential::Header { value, .. }) => texts.push(value),
        Some(ArchivedCredential::OAuth { grant, .. } | ArchivedCredential::Exchange { grant, .. }) => {
            texts.push(&grant.secret);
        }
    }
    texts.extend(upstream.identity_header.as_ref().map(|header| &header.key));
    if let ArchivedTransport::Stdio(stdio) = &upstream.transport {
        texts.extend(stdio.env.iter().map(|pair| &pair.1));
    }
    texts.into_iter()
}

impl Grants {
    pub fn new(fetcher: Fetcher) -> Grants {
        let (all, lenders) = (Mutex::default(), Mutex::default());
        Grants(Arc::new(Kept { fetcher, all, lenders, ears: Ears::default() }))
    }

    /// Raised when a token is another one, and when one was asked for.
    pub fn ears(&self) -> (Arc<Notify>, Arc<Notify>) {
        (self.0.ears.changed.clone(), self.0.ears.told.clone())
    }

    /// The grant as it is known, or a new one, which asks for nothing until it is begun.
    fn of(&self, upstream: &str, grant: &ArchivedGrant) -> Arc<Grant> {
        let key = key(upstream, grant, false);
        let mut all = self.all();
        if let Some((_, known)) = all.iter().find(|(known, _)| *known == key) {
            return known.clone();
        }
        let endpoint = Endpoint::of(grant, self.0.fetcher.clone());
        let made = Grant::new(upstream, endpoint, self.0.ears.clone());
        all.push((key, made.clone()));
        made
    }

    /// Who exchanges tokens for an upstream: a number of what is asked for, and the way there.
    fn lender(
        &self,
        upstream: &str,
        (grant, acts): (&ArchivedGrant, bool),
        actor: Option<Arc<Grant>>,
        secret: Secret,
    ) -> (u64, mpsc::Sender<Question>) {
        let key = key(upstream, grant, acts);
        let content = digest(&format!("{key:?}"));
        let mut lenders = self.lenders();
        if !lenders.iter().any(|(known, _)| *known == key) {
            let endpoint = Endpoint::of(grant, self.0.fetcher.clone());
            let exchanger = Arc::new(Exchanger::new(endpoint, actor));
            let (questions, asked) = mpsc::channel(LENT_QUESTIONS_MAX);
            lenders.push((key.clone(), Lending { exchanger, questions, asked: Some(asked) }));
        }
        let lending = lenders.iter().find(|(known, _)| *known == key);
        let Some((_, lending)) = lending else { unreachable!("it was put there") };
        lending.exchanger.asks_with(secret);
        (content, lending.questions.clone())
    }

    /// Begins to ask for whatever a table wants, and waits for what was never heard of, but not longer than that.
    pub async fn begin(&self, snapshot: &Snapshot, by: Instant) {
        let wanted = keys(snapshot);
        let all: Vec<Arc<Grant>> = self
            .all()
            .iter()
            .filter(|(key, _)| wanted.contains(key))
            .map(|(_, grant)| grant.clone())
            .collect();
        all.iter().for_each(Grant::begin);
        for (_, lending) in self.lenders().iter_mut().filter(|(key, _)| wanted.contains(key)) {
            if let Some(asked) = lending.asked.take() {
                tokio::spawn(lending.exchanger.clone().serve(asked));
            }
        }
        for grant in all {
            // What is late comes later, and is taken up then.
            let _ = timeout_at(by, grant.heard()).await;
        }
    }

    /// Lets go of what none of these tables wants.
    pub fn want_only<'s>(&self, snapshots: impl Iterator<Item = &'s Snapshot>) {
        let wanted: Vec<Key> = snapshots.flat_map(keys).collect();
        self.all().retain(|(key, _)| wanted.contains(key));
        self.lenders().retain(|(key, _)| wanted.contains(key));
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

    fn lenders(&self) -> MutexGuard<'_, Vec<(Key, Lending)>> {
        self.0.lenders.lock().unwrap_or_else(PoisonError::into_inner)
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
    let mut keys = Vec::new();
    for upstream in snapshot.rules().upstreams.iter() {
        match upstream.credential.as_ref() {
            Some(ArchivedCredential::OAuth { grant, .. }) => keys.push(key(&upstream.name, grant, false)),
            // The actor's token, and the exchange.
            Some(ArchivedCredential::Exchange { grant, .. }) => {
                keys.extend([false, true].map(|acts| key(&upstream.name, grant, acts)));
            }
            _ => {}
        }
    }
    keys
}

fn key(upstream: &str, grant: &ArchivedGrant, acts: bool) -> Key {
    // Of references their names: a secret of the table is no secret any more.
    (upstream.to_owned(), *blake3::hash(format!("{acts} {grant:?}").as_bytes()).as_bytes())
}
