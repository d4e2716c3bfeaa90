//! Why somebody is not let in, and how it is said: the challenge of RFC 6750, with what RFC 9728 and the protocol add, so that a
//! client knows where tokens are and which scopes it must ask for.

use strait_table::rules::ArchivedAuthMethod;

use super::{identities, token};
use crate::core::Adopted;
use crate::exchange::Incoming;
use crate::exchange::refusal::Refusal;
use crate::trust::{Doubt, Endpoint};

/// A credential that was not accepted, at a server that accepts tokens or certificates.
#[derive(Debug)]
pub struct Fault {
    pub why: Why,
    /// `WWW-Authenticate`.
    pub challenge: String,
    /// Scopes that the token is to have, where a rule asks for them.
    asks_for: Option<String>,
    certificate: Certificate,
}

/// What a server would have made of a client's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Certificate {
    /// It accepts none.
    Unwanted,
    Missing,
    /// It is nobody's here.
    Unknown,
}

/// The challenge of a server that accepts certificates and nothing else: an answer of 401 must have one, and none is registered
/// for what happens below HTTP.
pub const BY_CERTIFICATE: &str = "Certificate";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// There is none.
    Missing,
    /// It is a token, and wrong.
    Invalid(&'static str),
    /// It is a good one, and it, or whoever it speaks for, was revoked.
    Revoked,
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

pub fn refusal(adopted: &Adopted, server: usize, incoming: &Incoming<'_>, why: Why) -> Refusal {
    let endpoint = adopted.trust.endpoint(server, usize::from(incoming.listener));
    let (certificate, takes_bearers) = wanted(adopted, server, incoming);
    let challenge = match endpoint.filter(|endpoint| !endpoint.challenge.is_empty()) {
        Some(endpoint) => challenge(endpoint, why, endpoint.scopes.iter().map(String::as_str)),
        // It takes keys alone, and says no more of itself.
        None if certificate == Certificate::Unwanted && why != Why::Revoked => {
            return Refusal::Unauthenticated;
        }
        None => if takes_bearers { "Bearer" } else { BY_CERTIFICATE }.to_owned(),
    };
    Refusal::Credential(Box::new(Fault { why, challenge, asks_for: None, certificate }))
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
    Some(Refusal::Credential(Box::new(Fault {
        why: Why::Scope,
        challenge,
        asks_for,
        certificate: Certificate::Unwanted,
    })))
}

fn challenge<'s>(endpoint: &Endpoint, why: Why, scopes: impl Iterator<Item = &'s str>) -> String {
    let error = match why {
        Why::Invalid(_) | Why::Revoked => "error=\"invalid_token\", ",
        Why::Scope => "error=\"insufficient_scope\", ",
        Why::Missing | Why::Unavailable(_) | Why::Flood(_) => "",
    };
    let described = match why {
        Why::Invalid(why) => format!(", error_description=\"{why}\""),
        Why::Revoked => ", error_description=\"it was revoked\"".to_owned(),
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

/// Whether a server accepts certificates, and what it made of this client's; and whether it accepts anything in a header.
fn wanted(adopted: &Adopted, server: usize, incoming: &Incoming<'_>) -> (Certificate, bool) {
    let rules = adopted.snapshot.rules();
    let accepted = rules.servers.get(server).into_iter().flat_map(identities);
    let methods = accepted.filter_map(|at| rules.identities.get(at)).map(|identity| &identity.method);
    let is_shown = |method: &ArchivedAuthMethod| matches!(method, ArchivedAuthMethod::Mtls(_));
    let certificate = match incoming.certificate {
        _ if !methods.clone().any(is_shown) => Certificate::Unwanted,
        None => Certificate::Missing,
        Some(_) => Certificate::Unknown,
    };
    (certificate, methods.clone().any(|method| !is_shown(method)))
}

impl Fault {
    pub fn label(&self) -> &'static str {
        match self.why {
            Why::Missing => "unauthenticated",
            Why::Invalid(_) => "invalid_token",
            Why::Revoked => "revoked",
            Why::Scope => "insufficient_scope",
            Why::Unavailable(_) => "identity_unavailable",
            Why::Flood(_) => "too_many_bad_tokens",
        }
    }

    pub fn status(&self) -> u16 {
        match self.why {
            Why::Missing | Why::Invalid(_) | Why::Revoked => 401,
            Why::Scope => 403,
            Why::Unavailable(_) => 503,
            Why::Flood(_) => 429,
        }
    }

    pub fn message(&self) -> String {
        match self.why {
            Why::Missing => self.missing(),
            Why::Invalid(why) => format!("request: the token is not accepted: {why}"),
            Why::Revoked => {
                "gateway: this credential, or whoever it speaks for, was revoked; ask the operator of this gateway"
                    .to_owned()
            }
            Why::Scope => match &self.asks_for {
                Some(scopes) => format!("policy: this call needs a token with the scopes `{scopes}`"),
                None => "request: the token lacks a scope that this server needs".to_owned(),
            },
            Why::Unavailable(why) => format!("gateway: the token cannot be verified now: {why}; retry later"),
            Why::Flood(_) => "request: too many bad tokens from this address; retry later".to_owned(),
        }
    }

    fn missing(&self) -> String {
        let of_header = "a token or an API key as `Authorization: Bearer …`";
        let of_connection = match self.certificate {
            Certificate::Unwanted => return format!("request: expected {of_header}"),
            Certificate::Missing => "a client certificate; this connection has shown none",
            Certificate::Unknown => {
                "a client certificate that this server accepts; the one that was shown has no such name, has ended, or \
                 was revoked"
            }
        };
        match self.challenge == BY_CERTIFICATE {
            true => format!("request: expected {of_connection}"),
            false => format!("request: expected {of_header}, or {of_connection}"),
        }
    }

    /// Seconds after which it may be tried again.
    pub fn retry_after_s(&self) -> Option<u64> {
        match self.why {
            Why::Unavailable(_) => Some(crate::limits::RETRY_AFTER_S),
            Why::Flood(seconds) => Some(seconds),
            Why::Missing | Why::Invalid(_) | Why::Revoked | Why::Scope => None,
        }
    }
}
