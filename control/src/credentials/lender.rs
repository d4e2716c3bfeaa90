//! Tokens in exchange for callers' (RFC 8693): answers what workers ask, each caller and upstream once.
//!
//! A caller's token goes to the token endpoint that the configuration names, and nowhere else; workers see to it that it is of an
//! identity whose tokens may go there. What comes of it is kept until it ends, a refusal for [`LENT_REFUSED_KEPT`], so that a caller
//! who is refused costs the endpoint little. Every question is a task of its own: one caller's trouble holds up no other's.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use strait_engine::Secret;
use strait_engine::lending::{Given, Question};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use super::endpoint::Endpoint;
use super::grant::Grant;
use crate::limits::{GRANT_REFUSED_EVERY, LENT_AT_ONCE, LENT_KEPT, LENT_MARGIN_MAX, LENT_REFUSED_KEPT};

const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// Exchanges tokens for one upstream.
pub struct Exchanger {
    endpoint: Result<Endpoint, String>,
    /// The token of this gateway's own, that says who acts; `None`: nobody is named.
    actor: Option<Arc<Grant>>,
    secret: Mutex<Option<Secret>>,
    /// By a hash of the caller's token. Held by whoever asks for it; the others wait.
    known: Mutex<HashMap<[u8; 32], Place>>,
}

type Place = Arc<tokio::sync::Mutex<Option<Known>>>;

/// What came of a caller's token.
struct Known {
    outcome: Result<Secret, String>,
    asked: Instant,
    until: Instant,
}

impl Exchanger {
    pub fn new(endpoint: Result<Endpoint, String>, actor: Option<Arc<Grant>>) -> Exchanger {
        Exchanger { endpoint, actor, secret: Mutex::default(), known: Mutex::default() }
    }

    /// The secret to ask with from now on.
    pub fn asks_with(&self, secret: Secret) {
        *self.secret.lock().unwrap_or_else(PoisonError::into_inner) = Some(secret);
    }

    /// Answers until nobody asks any more.
    pub async fn serve(self: Arc<Exchanger>, mut questions: mpsc::Receiver<Question>) {
        let places = Arc::new(Semaphore::new(LENT_AT_ONCE));
        while let Some(question) = questions.recv().await {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            let exchanger = self.clone();
            tokio::spawn(async move {
                let answer = exchanger.exchange(&question.token, question.again).await;
                // It waits no longer.
                let _ = question.answer.send(answer);
                drop(place);
            });
        }
    }

    async fn exchange(&self, subject: &str, again: bool) -> Result<Given, String> {
        let place = self.place(*blake3::hash(subject.as_bytes()).as_bytes());
        let mut known = place.lock().await;
        let is_good = known.as_ref().is_some_and(|known| {
            let is_refused = again && known.asked.elapsed() >= GRANT_REFUSED_EVERY;
            known.until > Instant::now() && !is_refused
        });
        if !is_good {
            *known = Some(self.ask(subject).await);
        }
        let Some(Known { outcome, until, .. }) = &*known else {
            return Err("it was not asked for".to_owned());
        };
        let token = outcome.clone()?;
        let lasts = until.saturating_duration_since(Instant::now());
        Ok(Given { token, ends_unix_ms: unix_ms(SystemTime::now() + lasts) })
    }

    async fn ask(&self, subject: &str) -> Known {
        let asked = Instant::now();
        let outcome = self.issued(subject).await;
        let lasts = outcome.as_ref().map_or(LENT_REFUSED_KEPT, |(_, lasts)| {
            // What is on its way when it ends was shown too late.
            *lasts - (*lasts / 10).min(LENT_MARGIN_MAX)
        });
        Known { outcome: outcome.map(|(token, _)| token), asked, until: asked + lasts }
    }

    async fn issued(&self, subject: &str) -> Result<(Secret, Duration), String> {
        let endpoint = self.endpoint.as_ref().map_err(Clone::clone)?;
        let secret = self.secret.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let secret = secret.ok_or("the secret of this gateway is not there")?;
        let actor = self.actor.as_ref().map(|actor| actor.token()).transpose();
        let actor = actor.map_err(|why| format!("there is nobody to act: {why}"))?;
        let mut members = vec![
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("subject_token", subject),
            ("subject_token_type", ACCESS_TOKEN),
            ("requested_token_type", ACCESS_TOKEN),
        ];
        if let Some(actor) = &actor {
            members.extend([("actor_token", &**actor), ("actor_token_type", ACCESS_TOKEN)]);
        }
        let issued = endpoint.ask(&secret, &members).await?;
        Ok((issued.token, issued.lasts))
    }

    fn place(&self, subject: [u8; 32]) -> Place {
        let mut known = self.known();
        if known.len() >= LENT_KEPT && !known.contains_key(&subject) {
            // Those that somebody asks for now stay where they are.
            known.retain(|_, place| {
                let is_good = |known: &Known| known.until > Instant::now();
                place.try_lock().map_or(true, |known| known.as_ref().is_some_and(is_good))
            });
            if known.len() >= LENT_KEPT {
                known.clear();
            }
        }
        known.entry(subject).or_default().clone()
    }

    fn known(&self) -> MutexGuard<'_, HashMap<[u8; 32], Place>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unix_ms(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
