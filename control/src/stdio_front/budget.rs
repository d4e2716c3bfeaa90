//! How many bytes the front holds at once, over all requests and answers. It runs on one thread, so counting is a
//! cell; whoever holds bytes gives them back by being dropped.

use std::cell::Cell;
use std::rc::Rc;

#[derive(Clone)]
pub struct Budget {
    free: Rc<Cell<usize>>,
}

/// Bytes that are counted until this is dropped.
pub struct Held {
    budget: Budget,
    bytes: usize,
}

impl Budget {
    pub fn new(bytes: usize) -> Budget {
        Budget { free: Rc::new(Cell::new(bytes)) }
    }

    pub fn empty(&self) -> Held {
        Held { budget: self.clone(), bytes: 0 }
    }

    /// Counts so many bytes, if there is room for them.
    pub fn hold(&self, bytes: usize) -> Option<Held> {
        let mut held = self.empty();
        held.grow(bytes).then_some(held)
    }
}

impl Held {
    #[must_use]
    pub fn grow(&mut self, bytes: usize) -> bool {
        let Some(left) = self.budget.free.get().checked_sub(bytes) else { return false };
        self.budget.free.set(left);
        self.bytes += bytes;
        true
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.free.set(self.budget.free.get() + self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_is_free_again() {
        let budget = Budget::new(10);
        let mut held = budget.hold(6).unwrap();
        assert!(budget.hold(5).is_none());
        assert!(!held.grow(5) && held.grow(4));
        drop(held);
        assert!(budget.hold(10).is_some());
    }
}
