//! A token of this gateway's own (OAuth client credentials): asked for, kept, and asked for again before it ends.
//!
//! One task per grant does all the asking, so nobody asks twice at once. While the token endpoint gives none, the last token that
//! has not ended stands; that is said once in the log, and shown by `/readyz` and `/metrics` for as long as it is so. A token that an
//! upstream does not take is replaced, though not more often than every [`GRANT_REFUSED_EVERY`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use strait_engine::Secret;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::endpoint::{Endpoint, Issued};
use crate::limits::{GRANT_AGAIN_MAX, GRANT_AGAIN_MIN, GRANT_REFUSED_EVERY};
use crate::log;

pub struct Grant {
    upstream: String,
    endpoint: Result<Endpoint, String>,
    state: Mutex<State>,
    /// Raised to ask at once.
    kick: Arc<Notify>,
    /// Whether it was heard of: a token, or why there is none.
    heard: watch::Sender<bool>,
    ears: Ears,
}

/// Whoever wants to know of tokens.
#[derive(Clone, Default)]
pub struct Ears {
    /// There is another token, or none any more.
    pub changed: Arc<Notify>,
    /// It was asked for.
    pub told: Arc<Notify>,
}

#[derive(Default)]
struct State {
    secret: Option<Secret>,
    held: Option<Held>,
    complaint: Option<String>,
    asked: Option<Instant>,
    began: bool,
    failures: u32,
}

struct Held {
    token: Secret,
    ends: Instant,
}

/// What is told of a grant.
#[derive(Clone, Debug)]
pub struct Standing {
    pub upstream: String,
    /// When its token ends, in Unix time; 0: there is none.
    pub not_after_unix_s: u64,
    pub complaint: Option<String>,
}

impl Standing {
    /// As `/readyz` says it.
    pub fn to_json(&self) -> Value {
        let mut shown = json!({ "upstream": self.upstream, "not_after": self.not_after_unix_s });
        if let Some(complaint) = &self.complaint {
            shown["error"] = complaint.as_str().into();
        }
        shown
    }
}

impl Grant {
    pub fn new(upstream: &str, endpoint: Result<Endpoint, String>, ears: Ears) -> Arc<Grant> {
        Arc::new(Grant {
            upstream: upstream.to_owned(),
            endpoint,
            state: Mutex::default(),
            kick: Arc::default(),
            heard: watch::Sender::new(false),
            ears,
        })
    }

    /// The token, as long as it lasts; else why there is none.
    pub fn token(&self) -> Result<Secret, String> {
        let state = self.state();
        match &state.held {
            Some(held) if held.ends > Instant::now() => Ok(held.token.clone()),
            _ => Err(state.complaint.clone().unwrap_or_else(|| "its token is being asked for".to_owned())),
        }
    }

    /// The secret to ask with from now on. Another one is tried at once: should it be wrong, the token that there is stands for a
    /// while still, and the log says so.
    pub fn asks_with(&self, secret: Secret) {
        let mut state = self.state();
        if state.secret.as_ref() != Some(&secret) {
            let is_another = state.secret.replace(secret).is_some();
            drop(state);
            if is_another {
                self.kick.notify_one();
            }
        }
    }

    /// Begins to ask; once.
    pub fn begin(self: &Arc<Grant>) {
        if !std::mem::replace(&mut self.state().began, true) {
            tokio::spawn(keep(Arc::downgrade(self), self.kick.clone()));
        }
    }

    /// Waits until something is known of it.
    pub async fn heard(&self) {
        // The sender is ours, so it is not gone.
        let _ = self.heard.subscribe().wait_for(|heard| *heard).await;
    }

    /// Its upstream does not take the token.
    pub fn refused(&self) {
        let asked = self.state().asked;
        if asked.is_none_or(|asked| asked.elapsed() >= GRANT_REFUSED_EVERY) {
            self.kick.notify_one();
        }
    }

    pub fn standing(&self) -> Standing {
        let state = self.state();
        let lasts = state.held.as_ref().map(|held| held.ends.saturating_duration_since(Instant::now()));
        let ends = lasts.filter(|lasts| !lasts.is_zero()).map(|lasts| SystemTime::now() + lasts);
        let ends = ends.and_then(|ends| ends.duration_since(UNIX_EPOCH).ok());
        Standing {
            upstream: self.upstream.clone(),
            not_after_unix_s: ends.map_or(0, |ends| ends.as_secs()),
            complaint: state.complaint.clone(),
        }
    }

    /// Asks once; when to do so again.
    async fn renew(&self) -> Instant {
        let asked = Instant::now();
        let secret = {
            let mut state = self.state();
            state.asked = Some(asked);
            state.secret.clone()
        };
        let issued = match (&self.endpoint, secret) {
            (Ok(endpoint), Some(secret)) => {
                endpoint.ask(&secret, &[("grant_type", "client_credentials")]).await
            }
            (Err(why), _) => Err(why.clone()),
            (_, None) => Err("its secret is not there".to_owned()),
        };
        let again = match issued {
            Ok(issued) => self.holds(issued, asked),
            Err(why) => self.lacks(why),
        };
        self.heard.send_replace(true);
        self.ears.told.notify_one();
        again
    }

    fn holds(&self, issued: Issued, asked: Instant) -> Instant {
        let mut state = self.state();
        state.held = Some(Held { token: issued.token, ends: asked + issued.lasts });
        state.failures = 0;
        self.ears.changed.notify_one();
        if state.complaint.take().is_some() {
            log::info(format!("upstream `{}`: its token is had again", self.upstream));
        }
        // Many gateways that began together shall not ask together.
        asked + issued.lasts.mul_f64(0.7 + 0.1 * share())
    }

    fn lacks(&self, why: String) -> Instant {
        let now = Instant::now();
        let mut state = self.state();
        let ends = state.held.as_ref().map(|held| held.ends).filter(|ends| *ends > now);
        if ends.is_none() && state.held.take().is_some() {
            self.ears.changed.notify_one();
        }
        let text = format!("no token: {why}");
        if state.complaint.as_ref() != Some(&text) {
            let then = match ends {
                Some(ends) => format!("the last one stands for {} s more", (ends - now).as_secs()),
                None => "it is not asked anything until there is one".to_owned(),
            };
            log::warn(format!("upstream `{}`: {text}; {then}", self.upstream));
            state.complaint = Some(text);
        }
        let pause = (GRANT_AGAIN_MIN * 2u32.saturating_pow(state.failures)).min(GRANT_AGAIN_MAX);
        state.failures = (state.failures + 1).min(16);
        let again = now + pause.mul_f64(0.75 + 0.5 * share());
        // That a token has ended is to be seen when it is so.
        ends.map_or(again, |ends| again.min(ends))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Grant {
    /// Its task sees that it is gone.
    fn drop(&mut self) {
        self.kick.notify_one();
    }
}

async fn keep(grant: Weak<Grant>, kick: Arc<Notify>) {
    loop {
        let Some(held) = grant.upgrade() else { return };
        let again = held.renew().await;
        drop(held);
        tokio::select! {
            () = tokio::time::sleep_until(again) => {}
            () = kick.notified() => {}
        }
    }
}

/// A number between 0 and 1.
fn share() -> f64 {
    let mut bytes = [0; 4];
    // Without chance they ask together, which is no harm to one gateway.
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
}
