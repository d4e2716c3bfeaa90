//! Why somebody is not let in, and how it is said: the challenge of RFC 6750, with what RFC 9728 and the protocol add, so that a
//! client knows where tokens are and which scopes it must ask for.

use super::token;
use crate::core::Adopted;
use crate::exchange::refusal::Refusal;
use crate::trust::{Doubt, Endpoint};

/// A credential that was not accepted, at a server that accepts tokens.
#[derive(Debug)]
pub struct Fault {
    pub why: Why,
    /// `WWW-Authenticate`.
    pub challenge: String,
    /// Scopes that the token is to have, where a rule asks for them.
    asks_for: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// There is none.
    Missing,
    /// It is a token, and wrong.
    Invalid(&'static str),
    /// It is a good one, and too weak.
    Scope,
    /// Nobody can say now.
    Unavailable(&'static str),
    /// Its peer brings too many bad ones: until so many seconds are over.
    Flood(u64),
}

impl From<token::Fault> for Why {
    fn from(fault: token::Fault) -> Why {
        match fault {
            token::Fault::Doubt(Doubt::Invalid(why)) => Why::Invalid(why),
            token::Fault::Doubt(Doubt::Scope) => Why::Scope,
            token::Fault::Doubt(Doubt::Unavailable(why)) => Why::Unavailable(why),
            token::Fault::Flood(seconds) => Why::Flood(seconds),
            token::Fault::Full => Why::Unavailable("too many tokens are being verified"),
        }
    }
}

pub fn refusal(adopted: &Adopted, server: usize, listener: u16, why: Why) -> Refusal {
    let Some(endpoint) = adopted.trust.endpoint(server, usize::from(listener)) else {
        return Refusal::Unauthenticated;
    };
    if endpoint.challenge.is_empty() {
        return Refusal::Unauthenticated;
    }
    let challenge = challenge(endpoint, why, endpoint.scopes.iter().map(String::as_str));
    Refusal::Credential(Box::new(Fault { why, challenge, asks_for: None }))
}

/// A call that would be allowed to the same caller with these scopes as well; none where nobody has tokens.
pub fn step_up(adopted: &Adopted, server: usize, listener: u16, scopes: &[&str]) -> Option<Refusal> {
    let endpoint = adopted.trust.endpoint(server, usize::from(listener))?;
    if endpoint.challenge.is_empty() || scopes.is_empty() {
        return None;
    }
    let wanted = endpoint.scopes.iter().map(String::as_str).filter(|scope| !scopes.contains(scope));
    let challenge = challenge(endpoint, Why::Scope, wanted.chain(scopes.iter().copied()));
    let asks_for = Some(scopes.join(" "));
    Some(Refusal::Credential(Box::new(Fault { why: Why::Scope, challenge, asks_for })))
}

fn challenge<'s>(endpoint: &Endpoint, why: Why, scopes: impl Iterator<Item = &'s str>) -> String {
    let error = match why {
        Why::Invalid(_) => "error=\"invalid_token\", ",
        Why::Scope => "error=\"insufficient_scope\", ",
        Why::Missing | Why::Unavailable(_) | Why::Flood(_) => "",
    };
    let described = match why {
        Why::Invalid(why) => format!(", error_description=\"{why}\""),
        Why::Scope => ", error_description=\"the token lacks a scope that this server needs\"".to_owned(),
        Why::Missing | Why::Unavailable(_) | Why::Flood(_) => String::new(),
    };
    let mut challenge = format!("Bearer {error}{}", endpoint.challenge);
    let scopes: Vec<&str> = scopes.collect();
    if !scopes.is_empty() {
        challenge.push_str(&format!(", scope=\"{}\"", scopes.join(" ")));
    }
    challenge.push_str(&described);
    challenge
}

impl Fault {
    pub fn label(&self) -> &'static str {
        match self.why {
            Why::Missing => "unauthenticated",
            Why::Invalid(_) => "invalid_token",
            Why::Scope => "insufficient_scope",
            Why::Unavailable(_) => "identity_unavailable",
            Why::Flood(_) => "too_many_bad_tokens",
        }
    }

    pub fn status(&self) -> u16 {
        match self.why {
            Why::Missing | Why::Invalid(_) => 401,
            Why::Scope => 403,
            Why::Unavailable(_) => 503,
            Why::Flood(_) => 429,
        }
    }

    pub fn message(&self) -> String {
        match self.why {
            Why::Missing => "request: expected a token or an API key as `Authorization: Bearer …`".to_owned(),
            Why::Invalid(why) => format!("request: the token is not accepted: {why}"),
            Why::Scope => match &self.asks_for {
                Some(scopes) => format!("policy: this call needs a token with the scopes `{scopes}`"),
                None => "request: the token lacks a scope that this server needs".to_owned(),
            },
            Why::Unavailable(why) => format!("gateway: the token cannot be verified now: {why}; retry later"),
            Why::Flood(_) => "request: too many bad tokens from this address; retry later".to_owned(),
        }
    }

    /// Seconds after which it may be tried again.
    pub fn retry_after_s(&self) -> Option<u64> {
        match self.why {
            Why::Unavailable(_) => Some(crate::limits::RETRY_AFTER_S),
            Why::Flood(seconds) => Some(seconds),
            Why::Missing | Why::Invalid(_) | Why::Scope => None,
        }
    }
}
