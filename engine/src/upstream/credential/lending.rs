//! Tokens that a caller's token was exchanged for (RFC 8693): one for each caller and upstream, had from control once, kept here.
//!
//! A hit is a look-up by numbers. A miss asks control over a bounded queue, and only the request that needs it waits, with
//! everybody who needs the same one. What is kept ends with the shorter of both tokens, with the upstream it is for, and with a
//! 401 to it. Whoever has no token, or one of an identity that its upstream does not take, is refused: the upstream is never shown
//! anything of the gateway's own on a caller's behalf.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use strait_table::rules::ArchivedCredential;
use tokio::sync::{mpsc, oneshot};

use super::{Lines, Secret};
use crate::core::{Adopted, Core};
use crate::exchange::identify::Token;
use crate::flights::{Flight, Flights};
use crate::fold::{Fold, mixed};
use crate::io::clock::{Clock, Waited};
use crate::io::runtime;
use crate::io::signal::Signal;
use crate::limits::{LENT_KEPT, LENT_QUESTION_MS_MAX, LENT_QUESTIONS_MAX};
use crate::upstream::{Upstream, UpstreamFault};

/// Whom to ask for tokens in exchange for callers'.
#[derive(Clone)]
pub struct Lender {
    /// Of everything that is asked for: with another one it is another upstream.
    pub content: u64,
    /// The variable that a child gets its caller's token in, and that of our own questions.
    pub variable: Option<Variable>,
    pub questions: mpsc::Sender<Question>,
}

/// A child's variable for a token.
#[derive(Clone, PartialEq, Eq)]
pub struct Variable {
    pub name: String,
    /// What a child gets that serves our own questions.
    pub own: Option<Secret>,
}

impl Lender {
    /// Whether the same is asked for, whatever this gateway shows of its own.
    pub fn is_same_but_for_own(&self, other: &Lender) -> bool {
        let name = |lender: &Lender| lender.variable.as_ref().map(|variable| variable.name.clone());
        self.content == other.content && name(self) == name(other)
    }
}

impl PartialEq for Lender {
    fn eq(&self, other: &Lender) -> bool {
        self.content == other.content && self.variable == other.variable
    }
}

impl Eq for Lender {}

/// Asked of control.
pub struct Question {
    /// A caller's, as presented: it goes to the token endpoint and nowhere else.
    pub token: Secret,
    /// What it was exchanged for before was not taken.
    pub again: bool,
    pub answer: oneshot::Sender<Result<Given, String>>,
}

/// A token that was had in exchange.
pub struct Given {
    pub token: Secret,
    pub ends_unix_ms: u64,
}

/// A token that was had for a caller, as its upstream is shown it.
pub struct Lent {
    pub lines: Lines,
    pub token: Secret,
    ends_unix_ms: u64,
    is_refused: AtomicBool,
}

impl Lent {
    fn new(given: Given, of: &Token) -> Lent {
        let line = Secret::new(["Bearer ", &given.token].concat());
        Lent {
            lines: vec![("Authorization".to_owned(), line)],
            token: given.token,
            ends_unix_ms: given.ends_unix_ms.min(of.verified.ends_unix_ms),
            is_refused: AtomicBool::new(false),
        }
    }

    /// Whether another one is to be had before it is shown again.
    pub fn is_over(&self, clock: &Clock) -> bool {
        clock.coarse_unix_ms() >= self.ends_unix_ms || self.is_refused.load(Ordering::Relaxed)
    }

    /// Its upstream does not take it.
    pub fn refuse(&self) {
        self.is_refused.store(true, Ordering::Relaxed);
    }
}

// It is shown in nothing.
impl std::fmt::Debug for Lent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(a caller's token)")
    }
}

/// What one worker has had for callers.
#[derive(Default)]
pub struct Purse {
    known: RefCell<HashMap<Key, Held, Fold>>,
    flights: Flights<Key, Outcome>,
}

type Outcome = Result<Arc<Lent>, UpstreamFault>;
type Flying = Flight<Key, Outcome>;

/// A token by its serial, and an upstream: a changed one is another.
type Key = (u64, u32);

struct Held {
    lent: Arc<Lent>,
    /// On the worker's clock, since a wall clock that is put back must revive nothing.
    until_ms: Cell<u64>,
}

/// What an upstream is shown on behalf of a caller; `None`: what it is shown on anybody's. `waited`: also for that.
pub async fn lend(
    core: &Rc<Core>,
    adopted: &Adopted,
    (at, upstream): (usize, &Upstream),
    principal: u32,
    waited: &mut Waited,
) -> Result<Option<Arc<Lent>>, UpstreamFault> {
    let rules = adopted.snapshot.rules().upstreams.get(at);
    match rules.and_then(|rules| rules.credential.as_ref()) {
        // Boxed: it is rare, and every call would have room for it.
        Some(ArchivedCredential::Exchange { identities, .. }) => {
            let identities = identities.iter().map(|identity| identity.to_native() as usize);
            waited.on(Box::pin(exchanged(core, adopted, identities, upstream, principal))).await.map(Some)
        }
        _ => Ok(None),
    }
}

/// The token that a caller's was exchanged for, to an upstream that takes those of `identities`.
async fn exchanged(
    core: &Rc<Core>,
    adopted: &Adopted,
    mut identities: impl Iterator<Item = usize>,
    upstream: &Upstream,
    principal: u32,
) -> Result<Arc<Lent>, UpstreamFault> {
    let token = adopted.token(principal).ok_or_else(|| UpstreamFault::Credential(NO_TOKEN.to_owned()))?;
    // Who believes it was settled a moment ago, perhaps by a key that this edition has not heard of yet.
    let issuer = |identity: usize| adopted.trust.issuers.get(identity).and_then(Option::as_ref);
    let is_its = |identity| issuer(identity).is_some_and(|issuer| issuer.content == token.verified.issuer);
    if !identities.any(is_its) {
        return Err(UpstreamFault::Credential(OTHER_ISSUER.to_owned()));
    }
    let key = (token.serial, upstream.id.0);
    let again = match core.purse.find(key, &core.clock) {
        Ok(lent) => return Ok(lent),
        Err(again) => again,
    };
    let hash = mixed(token.serial ^ u64::from(upstream.id.0).rotate_left(40));
    let flight = match core.purse.flights.find(hash, |known| *known == key) {
        Some(flight) => flight,
        None => begin(core, upstream, token, (key, hash), again)?,
    };
    flight.outcome().await
}

const NO_TOKEN: &str = "it is shown a token in exchange for the caller's, and this caller has none: call with a token of an \
                        issuer instead of a key";
const OTHER_ISSUER: &str = "it is shown a token in exchange for the caller's, and this caller's is of an identity whose tokens \
                            are not exchanged there";
const NOBODY_ASKS: &str = "nobody exchanges tokens at the moment";

fn begin(
    core: &Rc<Core>,
    upstream: &Upstream,
    token: &Rc<Token>,
    (key, hash): (Key, u64),
    again: bool,
) -> Result<Rc<Flying>, UpstreamFault> {
    let flights = &core.purse.flights;
    if flights.count() >= LENT_QUESTIONS_MAX {
        return Err(UpstreamFault::Busy { limit: LENT_QUESTIONS_MAX });
    }
    let reach = upstream.reach.borrow().clone();
    let nobody = || UpstreamFault::Credential(NOBODY_ASKS.to_owned());
    let lender = reach.lender().ok_or_else(nobody)?;
    let text = std::str::from_utf8(token.text()).map_err(|_| nobody())?;
    let (answer, answered) = oneshot::channel();
    let question = Question { token: Secret::new(text), again, answer };
    lender.questions.try_send(question).map_err(|error| match error {
        mpsc::error::TrySendError::Full(_) => UpstreamFault::Busy { limit: LENT_QUESTIONS_MAX },
        mpsc::error::TrySendError::Closed(_) => nobody(),
    })?;
    let flight = flights.begin(hash, key);
    let (core, landing, token) = (core.clone(), flight.clone(), token.clone());
    runtime::spawn_guarded("exchange of a token", async move {
        let outcome = heard(&core, answered).await.map(|given| Arc::new(Lent::new(given, &token)));
        if let Ok(lent) = &outcome {
            core.purse.keep(key, lent.clone(), &core.clock);
        }
        core.purse.flights.land(hash, &landing, outcome);
    });
    Ok(flight)
}

async fn heard(
    core: &Rc<Core>,
    answered: oneshot::Receiver<Result<Given, String>>,
) -> Result<Given, UpstreamFault> {
    let late = Rc::new(Signal::new());
    let _watch = core.watches.wake_at(core.clock.coarse_ms() + LENT_QUESTION_MS_MAX, late.clone());
    let given = tokio::select! {
        biased;
        answer = answered => answer.unwrap_or_else(|_| Err(NOBODY_ASKS.to_owned())),
        () = late.wait() => Err("the caller's token could not be exchanged in time".to_owned()),
    };
    given.map_err(UpstreamFault::Credential)
}

impl Purse {
    /// What is kept, as long as it may be shown; else whether it was not taken.
    fn find(&self, key: Key, clock: &Clock) -> Result<Arc<Lent>, bool> {
        let known = self.known.borrow();
        let held = known.get(&key).ok_or(false)?;
        match clock.coarse_ms() < held.until_ms.get() && !held.lent.is_over(clock) {
            true => Ok(held.lent.clone()),
            false => Err(held.lent.is_refused.load(Ordering::Relaxed)),
        }
    }

    fn keep(&self, key: Key, lent: Arc<Lent>, clock: &Clock) {
        let mut known = self.known.borrow_mut();
        if known.len() >= LENT_KEPT {
            known.retain(|_, held| !held.lent.is_over(clock));
        }
        if known.len() >= LENT_KEPT {
            // What is still used is asked for again, and control has it.
            known.clear();
        }
        let left_ms = lent.ends_unix_ms.saturating_sub(clock.coarse_unix_ms());
        let until_ms = Cell::new(clock.coarse_ms().saturating_add(left_ms));
        known.insert(key, Held { lent, until_ms });
    }
}
