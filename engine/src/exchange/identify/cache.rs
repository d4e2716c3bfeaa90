//! Tokens that were verified, as one worker keeps them.
//!
//! A hit is one hash over the token and one comparison of all its bytes: nothing is allocated, locked or asked. The hash is keyed,
//! so that nobody can choose tokens that fall together, and it alone never decides. Two generations bound it: when the younger is
//! full the older is forgotten, and what is still used has moved to the younger by then.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use crate::fold::{Fold, mixed};
use crate::io::clock::{Clock, End};
use crate::io::random;
use crate::limits::{TOKEN_BYTES_KEPT, TOKENS_KEPT};
use crate::trust::Verified;

/// The keyed hash of tokens at endpoints.
pub struct Hash([u64; 2]);

impl Hash {
    pub fn new() -> Hash {
        let mut bytes = [0; 16];
        // Without random numbers collisions could be chosen; they cost time, and never a wrong answer.
        let _ = random::fill(&mut bytes);
        let (words, _) = bytes.as_chunks::<8>();
        Hash(std::array::from_fn(|at| words.get(at).map_or(0, |word| u64::from_le_bytes(*word))))
    }

    pub fn of(&self, endpoint: u64, token: &[u8]) -> u64 {
        let [first, second] = self.0;
        let fold = |a: u64, b: u64| {
            let product = u128::from(a).wrapping_mul(u128::from(b));
            (product as u64) ^ (product >> 64) as u64
        };
        let mut hash = fold(endpoint ^ first, second ^ token.len() as u64);
        let (pairs, rest) = token.as_chunks::<16>();
        for pair in pairs {
            let pair = u128::from_le_bytes(*pair);
            hash = fold(pair as u64 ^ first ^ hash, (pair >> 64) as u64 ^ second);
        }
        let mut last = [0; 16];
        if let Some(of_it) = last.get_mut(..rest.len()) {
            of_it.copy_from_slice(rest);
        }
        let last = u128::from_le_bytes(last);
        mixed(fold(last as u64 ^ first ^ hash, (last >> 64) as u64 ^ second))
    }
}

/// A token of this worker.
pub struct Token {
    token: Box<[u8]>,
    endpoint: u64,
    pub verified: Verified,
    /// Another one for every token that was verified.
    pub serial: u64,
    /// On the worker's clock, since a wall clock that is put back must revive nothing: until when it may be believed without
    /// asking again, and when it ends.
    until_ms: u64,
    ends_ms: u64,
    /// As whom an edition knows it: the edition's serial, and the principal's number there.
    pub met: Cell<(u64, u32)>,
}

impl Token {
    /// As it was presented.
    pub fn text(&self) -> &[u8] {
        &self.token
    }

    /// Whether it may be believed without asking again.
    pub fn is_fresh(&self, clock: &Clock) -> bool {
        clock.coarse_ms() < self.until_ms && !self.is_over(clock)
    }

    /// Whether it has ended, which no answer of control's changes.
    pub fn is_over(&self, clock: &Clock) -> bool {
        self.end().is_past(clock)
    }

    pub fn end(&self) -> End {
        End { unix_ms: self.verified.ends_unix_ms, ms: self.ends_ms }
    }
}

#[derive(Default)]
struct Generation {
    known: HashMap<u64, Rc<Token>, Fold>,
    bytes: usize,
}

pub struct Cache {
    pub hash: Hash,
    younger: RefCell<Generation>,
    older: RefCell<Generation>,
    last: Cell<u64>,
}

impl Cache {
    pub fn new() -> Cache {
        Cache {
            hash: Hash::new(),
            younger: RefCell::default(),
            older: RefCell::default(),
            last: Cell::new(0),
        }
    }

    pub fn find(&self, hash: u64, endpoint: u64, token: &[u8]) -> Option<Rc<Token>> {
        let is_it = |known: &Rc<Token>| known.endpoint == endpoint && *known.token == *token;
        if let Some(known) = self.younger.borrow().known.get(&hash) {
            return is_it(known).then(|| known.clone());
        }
        let known = self.older.borrow_mut().known.remove(&hash).filter(is_it)?;
        self.insert(hash, known.clone());
        Some(known)
    }

    /// Remembers what control said of a token.
    pub fn learn(
        &self,
        hash: u64,
        endpoint: u64,
        token: Box<[u8]>,
        verified: Verified,
        clock: &Clock,
    ) -> Rc<Token> {
        self.last.set(self.last.get() + 1);
        let left_ms = verified.ends_unix_ms.saturating_sub(clock.coarse_unix_ms());
        let now_ms = clock.coarse_ms();
        let (until_ms, ends_ms) = (now_ms + left_ms.min(verified.keep_ms), now_ms.saturating_add(left_ms));
        let known = Rc::new(Token {
            token,
            endpoint,
            verified,
            serial: self.last.get(),
            until_ms,
            ends_ms,
            met: Cell::new((u64::MAX, 0)),
        });
        self.insert(hash, known.clone());
        known
    }

    fn insert(&self, hash: u64, known: Rc<Token>) {
        let mut younger = self.younger.borrow_mut();
        // What is known of a principal is about as long as the token that tells it; of a certificate only a hash is here.
        younger.bytes += known.token.len() + known.token.len().max(known.verified.principal.claims.len());
        younger.known.insert(hash, known);
        if younger.known.len() >= TOKENS_KEPT / 2 || younger.bytes >= TOKEN_BYTES_KEPT / 2 {
            self.older.replace(std::mem::take(&mut *younger));
        }
    }

    /// A token of this principal that may be believed.
    pub fn of_principal(&self, digest: u64, clock: &Clock) -> Option<Rc<Token>> {
        let find = |generation: &RefCell<Generation>| {
            let generation = generation.borrow();
            let mut all = generation.known.values();
            all.find(|known| known.verified.digest == digest && known.is_fresh(clock)).cloned()
        };
        find(&self.younger).or_else(|| find(&self.older))
    }

    pub fn count(&self) -> usize {
        self.younger.borrow().known.len() + self.older.borrow().known.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lasting() -> Verified {
        Verified { ends_unix_ms: u64::MAX, keep_ms: u64::MAX / 4, ..Verified::default() }
    }

    #[test]
    fn a_token_is_found_by_all_of_its_bytes_at_its_own_endpoint() {
        let (cache, clock) = (Cache::new(), Clock::new());
        let token = |last: u8| -> Box<[u8]> { [vec![7; 700], vec![last]].concat().into() };
        let hash = cache.hash.of(1, &token(1));
        cache.learn(hash, 1, token(1), lasting(), &clock);
        assert!(cache.find(hash, 1, &token(1)).is_some());
        // The same hash, by a chance that nobody can help: the bytes decide.
        assert!(cache.find(hash, 1, &token(2)).is_none());
        assert!(cache.find(hash, 2, &token(1)).is_none());
        assert_ne!(cache.hash.of(1, &token(1)), cache.hash.of(2, &token(1)));
        assert_ne!(cache.hash.of(1, b"a"), cache.hash.of(1, b"a\0"));
    }

    #[test]
    fn it_is_bounded_and_keeps_what_is_used() {
        let (cache, clock) = (Cache::new(), Clock::new());
        let of = |n: u64| (cache.hash.of(0, &n.to_le_bytes()), Box::from(n.to_le_bytes()));
        for n in 0..4 * TOKENS_KEPT as u64 {
            let (hash, token) = of(n);
            cache.learn(hash, 0, token, lasting(), &clock);
            let (hash, token) = of(0);
            assert!(cache.find(hash, 0, &token).is_some(), "after {n}");
        }
        assert!(cache.count() <= TOKENS_KEPT, "{}", cache.count());
        let (hash, token) = of(1);
        assert!(cache.find(hash, 0, &token).is_none());
    }

    #[test]
    fn it_ends_by_either_clock() {
        let (cache, clock) = (Cache::new(), Clock::new());
        let now = clock.coarse_unix_ms();
        for (ends_unix_ms, keep_ms, is_fresh) in
            [(now + 60_000, 60_000, true), (now, 60_000, false), (now + 60_000, 0, false)]
        {
            let verified = Verified { ends_unix_ms, keep_ms, ..Verified::default() };
            assert_eq!(cache.learn(1, 0, Box::default(), verified, &clock).is_fresh(&clock), is_fresh);
        }
    }
}
