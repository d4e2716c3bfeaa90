//! Who calls, told to an upstream that is configured to hear it: a short statement, signed with a secret that only it and this gateway
//! have. Never a credential of the caller's, and never anything that somebody else could use.
//!
//! A statement is a JWT (HS256). It is made when a caller's first call to an upstream comes and is shown for half a minute: until then a
//! call costs a look-up. What was made is kept with the edition ([`crate::core::Adopted`]), by the caller's number there, so that no two
//! callers can share one, and another key means other statements at once. A call that is sent again much later is told of anew.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;

use aws_lc_rs::{digest, hmac};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use strait_policy::Principal;
use strait_protocol::Span;
use strait_protocol::jsonrpc::{Members, append_string};
use zeroize::Zeroizing;

use super::credential::Secret;
use crate::core::Adopted;
use crate::fold::Fold;
use crate::handle::IdentityKeys;
use crate::io::clock::Clock;
use crate::limits::{STATEMENT_AGAIN_MS, STATEMENT_BYTES_MAX, STATEMENT_S, STATEMENTS_KEPT};

/// How an upstream is told who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stated {
    /// The name of the header.
    pub header: String,
    /// Who says it, and to whom.
    pub issuer: String,
    pub audience: String,
    pub key: Secret,
}

/// Of whom it is said.
pub struct About<'a> {
    pub principal: &'a Principal,
    /// The name of the identity that knows the caller: two of them may call people the same.
    pub identity: &'a str,
}

impl About<'_> {
    /// Who has this number in an edition.
    pub fn of(adopted: &Adopted, number: u32) -> Option<About<'_>> {
        let has_key = |of: &IdentityKeys| of.by_digest.values().any(|known| *known == number);
        let at = match adopted.token(number) {
            Some(token) => adopted.trust.identity_of(&token.verified)?,
            None => adopted.keys.identities.iter().position(has_key)?,
        };
        let identity = adopted.snapshot.rules().identities.get(at)?.name.as_str();
        Some(About { principal: adopted.principal(number)?, identity })
    }
}

/// What is said of one caller to one upstream.
#[derive(Debug)]
pub struct Statement {
    stated: Arc<Stated>,
    /// All of it but the times, an object that is not closed.
    claims: Box<[u8]>,
    value: String,
    /// When another one is to be made, on the worker's clock.
    again_ms: u64,
}

impl Statement {
    /// `None`: it would be too long for a header.
    pub fn of(stated: &Arc<Stated>, about: &About<'_>, clock: &Clock) -> Option<Arc<Statement>> {
        let claims = stated.claims(about);
        let value = stated.sign(&claims, clock);
        let again_ms = clock.coarse_ms() + STATEMENT_AGAIN_MS;
        let fits = value.len() <= STATEMENT_BYTES_MAX;
        fits.then(|| Arc::new(Statement { stated: stated.clone(), claims: claims.into(), value, again_ms }))
    }

    /// The header's value, if it can be shown as it is: not much later, nor where another key is in use by now.
    fn is_good(&self, stated: &Arc<Stated>, clock: &Clock) -> bool {
        clock.coarse_ms() < self.again_ms && Arc::ptr_eq(&self.stated, stated)
    }

    /// The header's value, as it is to be sent now.
    pub fn value(&self, stated: &Arc<Stated>, clock: &Clock) -> Cow<'_, str> {
        match self.is_good(stated, clock) {
            true => Cow::Borrowed(&self.value),
            false => Cow::Owned(stated.sign(&self.claims, clock)),
        }
    }
}

impl Stated {
    fn sign(&self, claims: &[u8], clock: &Clock) -> String {
        let now_unix_s = clock.coarse_unix_ms() / 1_000;
        let mut whole = claims.to_vec();
        let times = format!(",\"iat\":{now_unix_s},\"exp\":{}}}", now_unix_s + STATEMENT_S);
        whole.extend_from_slice(times.as_bytes());
        let mut text = String::with_capacity(256 + 2 * whole.len());
        let head = format!(r#"{{"alg":"HS256","typ":"identity+jwt","kid":"{}"}}"#, self.key_id());
        URL_SAFE_NO_PAD.encode_string(head, &mut text);
        text.push('.');
        URL_SAFE_NO_PAD.encode_string(whole, &mut text);
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.key.as_bytes());
        let signature = hmac::sign(&key, text.as_bytes());
        text.push('.');
        URL_SAFE_NO_PAD.encode_string(signature.as_ref(), &mut text);
        text
    }

    /// Tells the keys of a rotation apart, and nothing of either.
    fn key_id(&self) -> String {
        let mut named = Zeroizing::new(Vec::with_capacity(KEY_ID.len() + self.key.len()));
        named.extend_from_slice(KEY_ID);
        named.extend_from_slice(self.key.as_bytes());
        let hash = digest::digest(&digest::SHA256, &named);
        let mut id = String::with_capacity(8);
        for byte in hash.as_ref().iter().take(4) {
            let _ = write!(id, "{byte:02x}");
        }
        id
    }

    fn claims(&self, about: &About<'_>) -> Vec<u8> {
        let Principal { id, user, agent, tenant, groups, claims } = about.principal;
        let mut out = Vec::with_capacity(256);
        let member = |out: &mut Vec<u8>, name: &str, text: &str| {
            if !text.is_empty() {
                out.push(if out.is_empty() { b'{' } else { b',' });
                append_string(out, name.as_bytes());
                out.push(b':');
                append_string(out, text.as_bytes());
            }
        };
        member(&mut out, "iss", &self.issuer);
        member(&mut out, "aud", &self.audience);
        member(&mut out, "sub", id);
        member(&mut out, "identity", about.identity);
        member(&mut out, "user", user);
        member(&mut out, "agent", agent);
        member(&mut out, "tenant", tenant);
        if !groups.is_empty() {
            out.extend_from_slice(b",\"groups\":[");
            for (at, group) in groups.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                append_string(&mut out, group.as_bytes());
            }
            out.push(b']');
        }
        if let Some(chain) = chain(claims) {
            out.extend_from_slice(b",\"act\":");
            out.extend_from_slice(chain);
        }
        out
    }
}

const KEY_ID: &[u8] = b"strait identity header\0";

/// The chain of whom a caller acts for, as its token says it.
fn chain(claims: &str) -> Option<&[u8]> {
    let bytes = claims.as_bytes();
    let place = Members::find(bytes, Span::between(0, bytes.len()), "act").ok()??;
    Some(place.of(bytes)).filter(|chain| chain.starts_with(b"{"))
}

/// Statements of one edition.
#[derive(Default)]
pub struct Statements {
    /// By upstream of the table, and by caller as the edition numbers them.
    known: RefCell<HashMap<(u16, u32), Arc<Statement>, Fold>>,
}

impl Statements {
    /// What an upstream is told of a caller; `about` says who that is.
    pub fn get<'a>(
        &self,
        clock: &Clock,
        stated: &Arc<Stated>,
        (upstream, caller): (u16, u32),
        about: impl FnOnce() -> Option<About<'a>>,
    ) -> Option<Arc<Statement>> {
        if let Some(known) = self.known.borrow().get(&(upstream, caller))
            && known.is_good(stated, clock)
        {
            return Some(known.clone());
        }
        let statement = Statement::of(stated, &about()?, clock)?;
        let mut known = self.known.borrow_mut();
        if known.len() >= STATEMENTS_KEPT {
            known.clear();
        }
        known.insert((upstream, caller), statement.clone());
        Some(statement)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn stated(key: &str) -> Arc<Stated> {
        let (header, issuer, audience) =
            ("X-Strait-Identity".to_owned(), "https://gw.example".to_owned(), "crm".to_owned());
        Arc::new(Stated { header, issuer, audience, key: Secret::new(key) })
    }

    fn principal(id: &str) -> Principal {
        Principal {
            id: id.to_owned(),
            agent: "ops \"agent\"".to_owned(),
            groups: vec!["a".to_owned(), "b".to_owned()],
            claims: r#"{"sub":"ada","act":{"sub":"ops","act":{"sub":"planner"}},"secret":"not for others"}"#
                .to_owned(),
            ..Principal::default()
        }
    }

    fn part(statement: &str, at: usize) -> Value {
        let coded = statement.split('.').nth(at).unwrap();
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(coded).unwrap()).unwrap()
    }

    #[test]
    fn a_statement_says_who_calls_and_nothing_that_is_the_callers_alone() {
        let (ada, stated, clock) =
            (principal("ada"), stated("0123456789abcdef0123456789abcdef"), Clock::new());
        let about = About { principal: &ada, identity: "staff" };
        let statement = Statement::of(&stated, &about, &clock).unwrap();
        let said = statement.value(&stated, &clock);
        let now_s = clock.coarse_unix_ms() / 1_000;
        assert_eq!(
            part(&said, 1),
            json!({"iss": "https://gw.example", "aud": "crm", "sub": "ada", "identity": "staff", "agent": "ops \"agent\"",
                "groups": ["a", "b"], "act": {"sub": "ops", "act": {"sub": "planner"}}, "iat": now_s, "exp": now_s + STATEMENT_S})
        );
        let head = part(&said, 0);
        assert_eq!((&head["alg"], &head["typ"]), (&json!("HS256"), &json!("identity+jwt")));
        let (signed, signature) = said.rsplit_once('.').unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"0123456789abcdef0123456789abcdef");
        assert!(hmac::verify(&key, signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()).is_ok());
        // Where another key is in use by now it is signed with that one, and says so.
        let renewed = self::stated("another key of thirty-two bytes!");
        assert_ne!(part(&statement.value(&renewed, &clock), 0)["kid"], head["kid"]);
        assert!(!format!("{statement:?}").contains("0123456789abcdef"));
    }

    #[test]
    fn it_is_made_once_for_each_caller_and_upstream() {
        let (clock, statements, stated) = (Clock::new(), Statements::default(), stated("k"));
        let made = std::cell::Cell::new(0);
        let get = |upstream, caller: u32, id: &str| {
            let principal = principal(id);
            let about = || {
                made.set(made.get() + 1);
                Some(About { principal: &principal, identity: "" })
            };
            let said = statements.get(&clock, &stated, (upstream, caller), about).unwrap();
            part(&said.value, 1)["sub"].as_str().unwrap().to_owned()
        };
        for _ in 0..3 {
            assert_eq!(
                (get(0, 1, "ada"), get(0, 2, "bob"), get(1, 1, "ada")),
                ("ada".into(), "bob".into(), "ada".into())
            );
        }
        assert_eq!(made.get(), 3);
        let long = Principal { groups: vec!["x".repeat(STATEMENT_BYTES_MAX)], ..principal("long") };
        let about = || Some(About { principal: &long, identity: "" });
        assert!(statements.get(&clock, &stated, (0, 9), about).is_none());
        for caller in 0..3 * STATEMENTS_KEPT as u32 {
            get(0, caller, "many");
        }
        assert!(statements.known.borrow().len() <= STATEMENTS_KEPT);
    }
}
