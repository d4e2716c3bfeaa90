//! Tokens: verified by control once, remembered here.
//!
//! Only the request that brings an unknown one waits, and everybody who brings the same one meanwhile waits with it: control is
//! asked once. A question that finds no room, or no answer in time, is a refusal.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::cache::{Cache, Token};
use super::flood::Flood;
use crate::core::{Adopted, Core};
use crate::flights::{Flight, Flights};
use crate::io::runtime;
use crate::io::signal::Signal;
use crate::limits::{TOKEN_BYTES_MAX, TOKEN_QUESTION_MS_MAX, TOKEN_QUESTIONS_MAX};
use crate::trial::Side;
use crate::trust::{Doubt, Question, Trust, Verified};

/// What a worker knows of tokens.
pub struct Tokens {
    pub cache: Cache,
    flood: Flood,
    under_way: Flights<About, Outcome>,
}

/// What a question is about: the token, and by whose word it is judged.
struct About {
    token: Box<[u8]>,
    trust: Arc<Trust>,
}

type Outcome = Result<Rc<Token>, Doubt>;

/// A token that nobody here knows.
pub struct Unknown<'a> {
    pub token: &'a [u8],
    hash: u64,
    pub endpoint: u64,
}

/// Why a token was not even asked about, or what came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Doubt(Doubt),
    /// Its peer presents too many bad ones: ask again after so many seconds.
    Flood(u64),
    /// Too many questions are open.
    Full,
}

impl Default for Tokens {
    fn default() -> Tokens {
        Tokens { cache: Cache::new(), flood: Flood::new(), under_way: Flights::default() }
    }
}

impl Tokens {
    /// The token, if this worker may believe it now.
    pub fn find<'a>(
        &self,
        core: &Core,
        adopted: &Adopted,
        identities: impl Iterator<Item = usize> + Clone,
        endpoint: u64,
        token: &'a [u8],
    ) -> Result<Rc<Token>, Unknown<'a>> {
        let hash = self.cache.hash.of(endpoint, token);
        let believed = |hash| {
            let known = self.cache.find(hash, endpoint, token).filter(|known| known.is_fresh(&core.clock))?;
            // What this edition has met, it has judged.
            let believes = known.met.get().0 == adopted.serial
                || adopted.trust.believes(&known.verified, identities.clone());
            believes.then_some(known)
        };
        match (believed(hash), adopted.side) {
            (Some(known), _) => Ok(known),
            (None, Side::Live) => Err(Unknown { token, hash, endpoint }),
            // What a candidate was told otherwise must not put out what the live edition knows, and the other way around.
            (None, Side::Trial(_)) => {
                let hash = self.cache.hash.of(!endpoint, token);
                believed(hash).ok_or(Unknown { token, hash, endpoint })
            }
        }
    }

    /// Asks control, or waits with whoever asked.
    pub async fn ask(
        core: &Rc<Core>,
        adopted: &Adopted,
        (server, listener): (usize, usize),
        peer: IpAddr,
        unknown: Unknown<'_>,
    ) -> Result<Rc<Token>, Fault> {
        let tokens = &core.tokens;
        if unknown.token.is_empty() || unknown.token.len() > TOKEN_BYTES_MAX {
            return Err(Fault::Doubt(Doubt::Invalid("its length is no token's")));
        }
        if let Some(seconds) = tokens.flood.holds_up(peer, core.clock.coarse_ms()) {
            return Err(Fault::Flood(seconds));
        }
        let is_it =
            |about: &About| *about.token == *unknown.token && Arc::ptr_eq(&about.trust, &adopted.trust);
        let flight = match tokens.under_way.find(unknown.hash, is_it) {
            Some(flight) => flight,
            None => tokens.begin(core, adopted, (server, listener), &unknown)?,
        };
        let outcome = flight.outcome().await;
        if let Err(Doubt::Invalid(_)) = &outcome {
            tokens.flood.count(peer, core.clock.coarse_ms());
        }
        outcome.map_err(Fault::Doubt)
    }

    fn begin(
        &self,
        core: &Rc<Core>,
        adopted: &Adopted,
        (server, listener): (usize, usize),
        unknown: &Unknown<'_>,
    ) -> Result<Rc<Flight<About, Outcome>>, Fault> {
        if self.under_way.count() >= TOKEN_QUESTIONS_MAX {
            return Err(Fault::Full);
        }
        let questions = adopted.trust.questions.as_ref();
        let nobody = Fault::Doubt(Doubt::Unavailable("nobody verifies tokens"));
        let questions = questions.ok_or(nobody)?;
        let (answer, answered) = oneshot::channel();
        let question = Question { token: unknown.token.into(), server, listener, answer };
        // Closed: control is gone, and what is known is all that ever will be.
        questions.try_send(question).map_err(|error| match error {
            tokio::sync::mpsc::error::TrySendError::Full(_) => Fault::Full,
            tokio::sync::mpsc::error::TrySendError::Closed(_) => nobody,
        })?;
        let (hash, endpoint) = (unknown.hash, unknown.endpoint);
        let about = About { token: unknown.token.into(), trust: adopted.trust.clone() };
        let flight = self.under_way.begin(hash, about);
        runtime::spawn_guarded(
            "question about a token",
            land(core.clone(), flight.clone(), (hash, endpoint), answered),
        );
        Ok(flight)
    }
}

/// Takes the answer, whoever still waits for it.
async fn land(
    core: Rc<Core>,
    flight: Rc<Flight<About, Outcome>>,
    (hash, endpoint): (u64, u64),
    answered: oneshot::Receiver<Result<Verified, Doubt>>,
) {
    let late = Rc::new(Signal::new());
    let _watch = core.watches.wake_at(core.clock.coarse_ms() + TOKEN_QUESTION_MS_MAX, late.clone());
    let outcome = tokio::select! {
        biased;
        answer = answered => answer.unwrap_or(Err(Doubt::Unavailable("nobody verifies tokens"))),
        () = late.wait() => Err(Doubt::Unavailable("it could not be verified in time")),
    };
    let tokens = &core.tokens;
    let outcome = outcome.map(|verified| {
        tokens.cache.learn(hash, endpoint, flight.about.token.clone(), verified, &core.clock)
    });
    tokens.under_way.land(hash, &flight, outcome);
}
