//! The ids that a worker gives to its requests.
//!
//! No two workers give the same one: a server that keeps no sessions sees the requests of all of them together, and
//! would take the cancellation of one call for that of another.

use std::cell::Cell;

/// The ids of one worker, from its first.
#[derive(Clone)]
pub struct Ids {
    next: Cell<i64>,
    step: i64,
}

impl Ids {
    pub fn of(worker: usize, workers: usize) -> Ids {
        Ids { next: Cell::new(worker as i64 + 1), step: workers.max(1) as i64 }
    }

    pub fn next(&self) -> i64 {
        let id = self.next.get();
        self.next.set(id + self.step);
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_id_is_given_twice_by_any_two_workers() {
        let workers = [0, 1, 2].map(|worker| Ids::of(worker, 3));
        let given: std::collections::BTreeSet<i64> =
            workers.iter().flat_map(|ids| (0..10).map(|_| ids.next())).collect();
        assert_eq!(given.len(), 30);
    }
}
