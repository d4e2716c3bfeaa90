//! Figures by name: of upstreams, servers and limits, which come and go with tables.
//!
//! A name gets a *place* when an edition first has it, and keeps it for as long as the process lives: a reload that
//! leaves an upstream where it is leaves its counters where they are. There are [`NAMED_MAX`] places; what
//! comes later counts together, as [`OTHER`]: a table of thousands must not become hundreds of thousands of series.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::limits::NAMED_MAX;

/// Where the figures of a name are, on every worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(usize);

const OF_OTHERS: Place = Place(NAMED_MAX);

/// The name of those without a place of their own.
pub const OTHER: &str = "other";

/// All places of one worker, for figures of one type. They are made when the worker first meets the name.
#[derive(Debug)]
pub struct Places<T>([OnceLock<Box<T>>; NAMED_MAX + 1]);

impl<T> Default for Places<T> {
    fn default() -> Places<T> {
        Places(std::array::from_fn(|_| OnceLock::new()))
    }
}

impl<T: Default> Places<T> {
    /// By the worker they belong to.
    pub(super) fn at(&self, place: Place) -> &T {
        // A place is never over the last.
        self.0[place.0.min(NAMED_MAX)].get_or_init(Box::default)
    }

    pub(super) fn seen(&self, place: Place) -> Option<&T> {
        self.0.get(place.0)?.get().map(|figures| &**figures)
    }
}

/// Which name has which place. Control alone looks here: a worker gets the place with what has the name.
#[derive(Clone, Debug, Default)]
pub struct Book(Arc<Mutex<Vec<String>>>);

impl Book {
    pub fn place_of(&self, name: &str) -> Place {
        if name == OTHER {
            return OF_OTHERS;
        }
        let mut names = self.names();
        if let Some(at) = names.iter().position(|known| known == name) {
            return Place(at);
        }
        if names.len() == NAMED_MAX {
            return OF_OTHERS;
        }
        names.push(name.to_owned());
        Place(names.len() - 1)
    }

    /// Every name with its place; [`OTHER`] comes last.
    pub fn read(&self) -> Vec<(String, Place)> {
        let named = self.names().clone().into_iter().enumerate().map(|(at, name)| (name, Place(at)));
        named.chain([(OTHER.to_owned(), OF_OTHERS)]).collect()
    }

    fn names(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The books of a process.
#[derive(Clone, Debug, Default)]
pub struct Books {
    pub upstreams: Book,
    pub servers: Book,
    /// By `id/measure`.
    pub limits: Book,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::upstreams::UpstreamFigures;

    #[test]
    fn a_name_keeps_its_place() {
        let book = Book::default();
        let (a, b) = (book.place_of("a"), book.place_of("b"));
        assert_ne!(a, b);
        assert_eq!((book.place_of("b"), book.place_of("a")), (b, a));
        assert_eq!(book.place_of(OTHER), OF_OTHERS);
        assert_eq!(book.read(), [("a".to_owned(), a), ("b".to_owned(), b), (OTHER.to_owned(), OF_OTHERS)]);
    }

    #[test]
    fn ten_thousand_upstreams_make_a_bounded_number_of_series() {
        let (book, places) = (Book::default(), Places::<UpstreamFigures>::default());
        for n in 0..10_000 {
            places.at(book.place_of(&format!("up{n}"))).calls.add(1);
        }
        assert_eq!(book.read().len(), NAMED_MAX + 1);
        assert_eq!(places.seen(book.place_of("up0")).unwrap().calls.get(), 1);
        let rest = (10_000 - NAMED_MAX) as u64;
        assert_eq!(places.seen(book.place_of("up9999")).unwrap().calls.get(), rest);
    }
}
