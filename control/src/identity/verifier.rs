//! Answers what workers ask about tokens, for the servers of one table.
//!
//! Every question is a task of its own, so that an issuer that hangs holds up its own tokens and no others. The identities of the
//! server are tried in their order; the first that accepts the token says whose it is. When none does, what the one said that
//! came furthest is told.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use strait_engine::trust::{Doubt, Question, Verified};
use tokio::sync::{Semaphore, mpsc};

use super::claims::{Accepted, Moment};
use super::introspection::{Introspector, OF_ANOTHER_KIND};
use super::jwt::{self, text};
use crate::limits::TOKENS_AT_ONCE;

/// An identity that is learnt from tokens.
pub struct Method {
    pub way: Way,
    pub accepted: Accepted,
    /// See [`strait_engine::trust::Issuer::content`].
    pub content: u64,
}

pub enum Way {
    Jwt(jwt::Verifier),
    Introspection(Introspector),
}

/// A server, as tokens are for it.
pub struct Server {
    pub identities: Vec<usize>,
    /// By listener its URL, and the digest of it.
    pub urls: Vec<(String, u64)>,
}

/// The identities of one table.
pub struct Verifier {
    /// By identity.
    pub methods: Vec<Option<Method>>,
    /// By server.
    pub servers: Vec<Server>,
    pub threads: Arc<Semaphore>,
}

impl Verifier {
    /// Answers until nobody asks any more.
    pub async fn serve(self: Arc<Verifier>, mut questions: mpsc::Receiver<Question>) {
        let places = Arc::new(Semaphore::new(TOKENS_AT_ONCE));
        while let Some(question) = questions.recv().await {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            let verifier = self.clone();
            tokio::spawn(async move {
                let answer = verifier.judge(&question.token, question.server, question.listener).await;
                // It waits no longer.
                let _ = question.answer.send(answer);
                drop(place);
            });
        }
    }

    async fn judge(&self, token: &[u8], server: usize, listener: usize) -> Result<Verified, Doubt> {
        let nobody = Doubt::Unavailable("no identity of this server verifies tokens");
        let Server { identities, urls } = self.servers.get(server).ok_or(nobody)?;
        let (resource, endpoint) = urls.get(listener).ok_or(nobody)?;
        let mut doubt = None;
        for method in identities.iter().filter_map(|identity| self.methods.get(*identity)?.as_ref()) {
            match method.judge(token, resource, &self.threads).await {
                Ok(verified) => return Ok(Verified { endpoint: *endpoint, ..verified }),
                Err(why) if doubt.is_none_or(|last| weight(why) > weight(last)) => doubt = Some(why),
                Err(_) => {}
            }
        }
        Err(doubt.unwrap_or(nobody))
    }
}

/// What is worth telling of several: that another token might do is worth least.
fn weight(doubt: Doubt) -> u8 {
    match doubt {
        Doubt::Invalid("it is of another issuer" | "it is malformed" | OF_ANOTHER_KIND) => 0,
        Doubt::Invalid(_) => 1,
        Doubt::Scope => 2,
        Doubt::Unavailable(_) => 3,
    }
}

impl Method {
    async fn judge(&self, token: &[u8], resource: &str, threads: &Semaphore) -> Result<Verified, Doubt> {
        let (claims, key, skew_s, keep_ms) = match &self.way {
            Way::Jwt(way) => {
                let signed = way.verify(token, threads).await?;
                (signed.claims, Some(signed.key), way.skew_s, u64::MAX)
            }
            Way::Introspection(way) => {
                if text::nesting(token) > 0 || !token.is_ascii() {
                    return Err(Doubt::Invalid("it is malformed"));
                }
                (way.ask(token).await?, None, 0, way.keep_ms)
            }
        };
        let at = Moment { now_unix_ms: now_unix_ms(), skew_s, resource };
        let verified = self.accepted.read(&claims, &at)?;
        Ok(Verified { issuer: self.content, key, keep_ms, ..verified })
    }
}

pub fn now_unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
