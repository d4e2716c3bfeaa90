//! Who asks. A server lists the identities it accepts, in order; one without any is open, and its
//! caller is the principal `anonymous`.
//!
//! | file | a caller shows |
//! |---|---|
//! | [`keys`] | an API key |
//! | [`token`] | a token of an issuer: known here ([`cache`]), or asked about once |
//! | [`mtls`] | a certificate, on its connection |
//!
//! Of a caller that shows both, the identity decides that comes first in the server's order and accepts.
//!
//! What a worker knows costs a look-up. For a token that it does not know control is asked, and only the request that brings
//! it waits; [`flood`] sees that nobody makes a habit of it. Principals of tokens and certificates are numbered behind those of
//! keys ([`strangers`]).

mod cache;
mod fault;
mod flood;
mod keys;
mod mtls;
pub mod strangers;
mod token;

use std::cell::Cell;
use std::rc::Rc;

use strait_table::rules::ArchivedServer;

pub use cache::Token;
pub use fault::{BY_CERTIFICATE, Fault, Why, step_up};
pub use token::Tokens;

use self::mtls::Shown;
use self::token::Unknown;
use super::Incoming;
use super::arrive::Place;
use super::record::Record;
use super::refusal::Refusal;
use crate::core::{Adopted, Core, TraitsId};
use crate::io::clock::End;
use crate::trial::Side;

/// A verified caller.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// See [`Adopted::principal`].
    pub principal: u32,
    /// Of the principal's id: what sessions are bound to.
    pub digest: u64,
    pub traits: TraitsId,
}

impl Caller {
    /// Whoever comes to a server that asks for no credential.
    pub fn is_anonymous(&self) -> bool {
        self.principal == 0
    }
}

/// What a worker can say at once of a caller.
pub enum Identified<'a> {
    Caller(Caller),
    /// It brings a token that has to be asked about.
    Asks(Asking<'a>),
}

/// A token on its way to be asked about: see [`settle`].
pub struct Asking<'a> {
    unknown: Unknown<'a>,
    /// Whom a certificate shows, should the token be nobody's.
    shown: Option<Shown>,
}

/// Who calls, as far as this worker knows.
pub fn run<'a>(
    core: &Core,
    incoming: &Incoming<'a>,
    adopted: &Adopted,
    place: &Place,
    record: &mut Record,
) -> Result<Identified<'a>, Refusal> {
    let server = adopted.snapshot.rules().servers.get(place.server).ok_or(Refusal::NoSuchPath)?;
    let met = |principal: u32, record: &mut Record| {
        let refused = || fault::refusal(adopted, place.server, incoming, Why::Revoked);
        met(adopted, principal, record).ok_or_else(refused).map(Identified::Caller)
    };
    let of_token = |token: &Rc<Token>, record: &mut Record| met(number(adopted, token)?, record);
    if server.auth.is_empty() {
        return met(0, record);
    }
    let shown = incoming
        .certificate
        .and_then(|certificate| mtls::find(core, adopted, identities(server), &certificate.names));
    let otherwise = |record: &mut Record, why| match &shown {
        Some(shown) => of_token(&shown.token, record),
        None => Err(fault::refusal(adopted, place.server, incoming, why)),
    };
    let presented = incoming.head.authorization.and_then(|span| bearer(span.of(incoming.bytes)));
    let Some(presented) = presented else { return otherwise(record, Why::Missing) };
    let before = before(server, shown.as_ref());
    if let Some((principal, _)) = keys::find(adopted, before.clone(), presented) {
        return met(principal, record);
    }
    let endpoint = adopted.trust.endpoint(place.server, usize::from(incoming.listener));
    let asked_for = adopted.trust.is_asked_for(before.clone());
    let Some(endpoint) = endpoint.filter(|_| asked_for) else { return otherwise(record, Why::Missing) };
    match core.tokens.find(core, adopted, identities(server), endpoint.digest, presented) {
        Ok(token) if !is_with_its_certificate(incoming, &token) => otherwise(record, Why::Invalid(BOUND)),
        // One of an identity behind the certificate's.
        Ok(token) if shown.is_some() && !adopted.trust.is_of(&token.verified, before) => {
            otherwise(record, Why::Missing)
        }
        Ok(token) => of_token(&token, record),
        Err(unknown) => Ok(Identified::Asks(Asking { unknown, shown })),
    }
}

/// The identities of a server that come before the one that a certificate shows: only they can still decide otherwise.
fn before<'s>(
    server: &'s ArchivedServer,
    shown: Option<&Shown>,
) -> impl Iterator<Item = usize> + Clone + use<'s> {
    identities(server).take(shown.map_or(usize::MAX, |shown| shown.place))
}

fn number(adopted: &Adopted, token: &Rc<Token>) -> Result<u32, Refusal> {
    adopted.number(token).ok_or(Refusal::Overloaded(CROWDED))
}

/// The caller whose token had to be asked about.
pub async fn settle(
    core: &Rc<Core>,
    incoming: &Incoming<'_>,
    adopted: &Adopted,
    place: &Place,
    asking: Asking<'_>,
    record: &mut Record,
) -> Result<Caller, Refusal> {
    let at = (place.server, usize::from(incoming.listener));
    let token = Tokens::ask(core, adopted, at, incoming.peer, asking.unknown).await;
    let server = adopted.snapshot.rules().servers.get(place.server).ok_or(Refusal::NoSuchPath)?;
    let refused = |why| fault::refusal(adopted, place.server, incoming, why);
    let of_token = |token: &Rc<Token>, record: &mut Record| {
        let principal = number(adopted, token)?;
        // Somebody may have been revoked while control was asked.
        let caller = met(adopted, principal, record).filter(|_| !core.has_revoked(adopted, principal));
        caller.ok_or_else(|| refused(Why::Revoked))
    };
    // Its key is believed, even where this edition has not heard of it yet.
    let why = match token.map_err(Why::from) {
        Ok(token) if !is_with_its_certificate(incoming, &token) => Why::Invalid(BOUND),
        Ok(token) => match &asking.shown {
            // One of an identity behind the certificate's.
            Some(shown) if !adopted.trust.is_of(&token.verified, before(server, Some(shown))) => {
                return of_token(&shown.token, record);
            }
            _ => return of_token(&token, record),
        },
        Err(why) => why,
    };
    match asking.shown {
        // Nobody may come in by a later identity because an earlier one could not be asked.
        Some(shown) if matches!(why, Why::Invalid(_) | Why::Scope) => of_token(&shown.token, record),
        _ => Err(refused(why)),
    }
}

/// A token that is bound to a certificate (RFC 8705) is believed of whoever has shown that one, and of nobody else.
fn is_with_its_certificate(incoming: &Incoming<'_>, token: &Token) -> bool {
    let shown = incoming.certificate.map(|certificate| certificate.names.sha256);
    token.verified.certificate.is_none_or(|bound| shown == Some(bound))
}

const BOUND: &str = "it is bound to a certificate that this connection has not shown";

const CROWDED: &str = "too many callers with tokens of their own";

impl Identified<'_> {
    /// The caller, where nobody can wait: the same request was identified a moment ago, so a token that is not known is nobody's.
    pub fn at_once(self, adopted: &Adopted, record: &mut Record) -> Result<Caller, Refusal> {
        match self {
            Identified::Caller(caller) => Ok(caller),
            Identified::Asks(Asking { shown: Some(shown), .. }) => {
                met(adopted, number(adopted, &shown.token)?, record).ok_or(Refusal::Unauthenticated)
            }
            Identified::Asks(_) => Err(Refusal::Overloaded(CROWDED)),
        }
    }
}

/// `None`: it was revoked.
fn met(adopted: &Adopted, principal: u32, record: &mut Record) -> Option<Caller> {
    record.principal(principal);
    caller(adopted, principal)
}

fn identities(server: &ArchivedServer) -> impl Iterator<Item = usize> + Clone + '_ {
    server.auth.iter().map(|identity| identity.to_native() as usize)
}

/// What an answer that stands open remembers of its caller, to look again who that is: keys and tokens are revoked, tokens end,
/// and roles change, while it stands. Of a key a digest, never the key.
#[derive(Clone)]
pub enum Credential {
    None,
    Key([u8; 32]),
    Token(Rc<Token>),
}

/// The credential that [`run`] accepted of this caller.
pub fn credential(
    incoming: &Incoming<'_>,
    adopted: &Adopted,
    server: usize,
    caller: &Caller,
) -> Option<Credential> {
    let server = adopted.snapshot.rules().servers.get(server)?;
    if server.auth.is_empty() {
        return Some(Credential::None);
    }
    if let Some(token) = adopted.token(caller.principal) {
        return Some(Credential::Token(token.clone()));
    }
    let key = bearer(incoming.head.authorization?.of(incoming.bytes))?;
    keys::find(adopted, identities(server), key).map(|(_, digest)| Credential::Key(digest))
}

/// Whom an answer that stands open is for: asked again before each event that follows a change.
pub struct Listener {
    /// Digests of the server and the principal.
    server: u64,
    principal: u64,
    credential: Credential,
    side: Side,
    /// The edition that allowed it last.
    allowed: Cell<u64>,
}

impl Listener {
    /// The caller of this request, which [`run`] accepted.
    pub fn of(
        incoming: &Incoming<'_>,
        adopted: &Adopted,
        server: usize,
        caller: &Caller,
    ) -> Result<Listener, Refusal> {
        let credential = credential(incoming, adopted, server, caller).ok_or(Refusal::Unauthenticated)?;
        let digest = adopted.server_digest(server).ok_or(Refusal::NoSuchPath)?;
        let (principal, allowed) = (caller.digest, Cell::new(adopted.serial));
        Ok(Listener { server: digest, principal, credential, side: adopted.side, allowed })
    }

    /// Whether it may still hear what is said.
    pub fn is_welcome(&self, core: &Core) -> bool {
        let adopted = core.adopted_on(self.side);
        if self.credential.is_over(core) {
            return false;
        }
        if self.allowed.replace(adopted.serial) == adopted.serial {
            return true;
        }
        let server = adopted.server_of(self.server);
        let caller = server.and_then(|server| again(core, &adopted, server, &self.credential));
        let is_welcome = caller.is_some_and(|caller| caller.digest == self.principal);
        if !is_welcome {
            // Not now, and not at the next look either.
            self.allowed.set(u64::MAX);
        }
        is_welcome
    }

    /// When it ends by itself.
    pub fn end(&self) -> End {
        self.credential.end()
    }
}

impl Credential {
    /// Whether it has ended by itself.
    pub fn is_over(&self, core: &Core) -> bool {
        self.end().is_past(&core.clock)
    }

    pub fn end(&self) -> End {
        match self {
            Credential::Token(token) => token.end(),
            Credential::None | Credential::Key(_) => End::NEVER,
        }
    }
}

/// Who has this credential now; `None` when the server does not accept it any more.
pub fn again(core: &Core, adopted: &Adopted, server: usize, credential: &Credential) -> Option<Caller> {
    let server = adopted.snapshot.rules().servers.get(server)?;
    let principal = match credential {
        _ if server.auth.is_empty() => Some(0),
        Credential::None => None,
        Credential::Key(digest) => keys::again(adopted, identities(server), digest),
        Credential::Token(token) => {
            let believed =
                !token.is_over(&core.clock) && adopted.trust.believes(&token.verified, identities(server));
            believed.then(|| adopted.number(token)).flatten()
        }
    };
    caller(adopted, principal?)
}

/// The principal that has this digest, as a caller of now.
pub fn known(core: &Core, adopted: &Adopted, server: usize, digest: u64) -> Option<Caller> {
    if let Some(principal) = adopted.principal_of(digest) {
        return caller(adopted, principal);
    }
    // It has brought a token, and not in this edition yet.
    let token = core.tokens.cache.of_principal(digest, &core.clock)?;
    again(core, adopted, server, &Credential::Token(token))
}

fn caller(adopted: &Adopted, principal: u32) -> Option<Caller> {
    let known = adopted.known(principal);
    (!known.is_revoked).then_some(Caller { principal, digest: known.digest, traits: known.traits })
}

fn bearer(authorization: &[u8]) -> Option<&[u8]> {
    let (scheme, key) = authorization.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| key.trim_ascii())
}
