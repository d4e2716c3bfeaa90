//! Signed tokens: who is believed ([`issuer`]), which key may say what ([`key`]), and what a token is ([`text`]).

pub mod issuer;
pub mod key;
pub mod text;

use std::sync::Arc;

use strait_engine::trust::Doubt;
use tokio::sync::Semaphore;

use issuer::Issuer;
use key::{Algorithm, Key};
use serde_json::Value;
use text::Jwt;

/// How the tokens of one identity are verified.
pub struct Verifier {
    pub issuer: Arc<Issuer>,
    pub algorithms: Vec<Algorithm>,
    /// Accepted `typ`, lower case.
    pub kinds: Vec<String>,
    pub skew_s: i64,
}

/// A token whose signature is good.
pub struct Signed {
    pub claims: Value,
    pub key: u64,
}

impl Verifier {
    /// The claims of a token, once its signature is found good. `threads` bounds how many are looked at together.
    pub async fn verify(&self, token: &[u8], threads: &Semaphore) -> Result<Signed, Doubt> {
        let jwt = Jwt::parse(token).map_err(Doubt::Invalid)?;
        // Before a key is looked for: a token of somebody else must not make this issuer's be fetched.
        if jwt.claims.get("iss").and_then(Value::as_str) != Some(self.issuer.name.as_str()) {
            return Err(Doubt::Invalid("it is of another issuer"));
        }
        if !self.algorithms.contains(&jwt.algorithm) {
            return Err(Doubt::Invalid("its algorithm is not accepted"));
        }
        if !jwt.kind.as_ref().is_some_and(|kind| self.kinds.contains(kind)) {
            return Err(Doubt::Invalid("its type is not accepted"));
        }
        let fits = |key: &Key| {
            key.signs_with(jwt.algorithm) && jwt.key.as_ref().is_none_or(|id| key.id.as_ref() == Some(id))
        };
        let keys = self.issuer.keys_for(fits).await.map_err(Doubt::Unavailable)?;
        if keys.is_empty() {
            return Err(Doubt::Invalid("its key is not known"));
        }
        let Jwt { algorithm, claims, signature, signed, .. } = jwt;
        let signed: Vec<u8> = token.get(..signed).unwrap_or_default().into();
        let _turn = threads.acquire().await;
        let key = tokio::task::spawn_blocking(move || {
            keys.iter().find(|key| key.verifies(algorithm, &signed, &signature)).map(|key| key.number)
        });
        match key.await {
            Ok(Some(key)) => Ok(Signed { claims, key }),
            Ok(None) => Err(Doubt::Invalid("its signature is wrong")),
            Err(_) => Err(Doubt::Unavailable("its signature could not be looked at")),
        }
    }
}
