//! Principals that tokens tell of, as one adopted edition numbers them: behind those that have keys.
//!
//! A number is given once and stands for as long as the edition does, so that whatever asks by number works for tokens as it does
//! for keys. That the numbers have an end is no matter: a worker that has given most of them adopts its edition anew, and what
//! still has one of the old keeps the old edition.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use super::cache::Token;
use crate::fold::Fold;
use crate::limits::{STRANGERS_AT_ONCE, STRANGERS_MAX};

const CHUNKS: usize = STRANGERS_MAX / STRANGERS_AT_ONCE;

/// `F`: what is worked out of each once.
pub struct Strangers<F> {
    chunks: [OnceCell<Chunk<F>>; CHUNKS],
    count: Cell<usize>,
    /// By [`Token::serial`].
    numbers: RefCell<HashMap<u64, usize, Fold>>,
    /// By digest of the principal.
    digests: RefCell<HashMap<u64, usize, Fold>>,
}

type Chunk<F> = Box<[OnceCell<Stranger<F>>]>;

pub struct Stranger<F> {
    pub token: Rc<Token>,
    pub facts: OnceCell<F>,
}

impl<F> Default for Strangers<F> {
    fn default() -> Strangers<F> {
        Strangers {
            chunks: std::array::from_fn(|_| OnceCell::new()),
            count: Cell::new(0),
            numbers: RefCell::default(),
            digests: RefCell::default(),
        }
    }
}

impl<F> Strangers<F> {
    pub fn get(&self, number: usize) -> Option<&Stranger<F>> {
        self.chunks.get(number / STRANGERS_AT_ONCE)?.get()?.get(number % STRANGERS_AT_ONCE)?.get()
    }

    /// The number of a token's principal; `None`: there are no more.
    pub fn number(&self, token: &Rc<Token>) -> Option<usize> {
        if let Some(number) = self.numbers.borrow().get(&token.serial) {
            return Some(*number);
        }
        let number = self.count.get();
        let chunk = self.chunks.get(number / STRANGERS_AT_ONCE)?;
        let chunk = chunk.get_or_init(|| (0..STRANGERS_AT_ONCE).map(|_| OnceCell::new()).collect());
        let stranger = Stranger { token: token.clone(), facts: OnceCell::new() };
        chunk.get(number % STRANGERS_AT_ONCE)?.set(stranger).ok()?;
        self.count.set(number + 1);
        self.numbers.borrow_mut().insert(token.serial, number);
        self.digests.borrow_mut().insert(token.verified.digest, number);
        Some(number)
    }

    /// The last one of a principal.
    pub fn of_principal(&self, digest: u64) -> Option<usize> {
        self.digests.borrow().get(&digest).copied()
    }

    /// Most numbers are given.
    pub fn is_crowded(&self) -> bool {
        self.count.get() >= STRANGERS_MAX / 4 * 3
    }
}
