//! Counts by reason. The stable words of refusals are spread over the code that knows them (heads, bodies,
//! upstreams); they are `&'static str`, so there are as many as the code has and no request can add one. A worker
//! gives a word its place when it is said first, and finds it again by looking at those that were said before.

use std::sync::OnceLock;

use super::cell::Counter;
use crate::limits::REASONS_MAX;

/// Counters by word.
#[derive(Debug)]
pub struct Reasons([(OnceLock<&'static str>, Counter); REASONS_MAX]);

impl Default for Reasons {
    fn default() -> Reasons {
        Reasons(std::array::from_fn(|_| Default::default()))
    }
}

impl Reasons {
    /// By the one thread that owns it.
    pub fn add(&self, reason: &'static str) {
        for (word, count) in &self.0 {
            // The first free place is this word's from now on.
            if *word.get_or_init(|| reason) == reason {
                return count.add(1);
            }
        }
        // More words than places: the code has grown and `REASONS_MAX` has not. The last place holds the rest.
        if let Some((_, rest)) = self.0.last() {
            rest.add(1);
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.iter().map_while(|(word, count)| Some((*word.get()?, count.get())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_counted_apart_and_never_too_many() {
        let reasons = Reasons::default();
        for reason in ["host", "origin", "host"] {
            reasons.add(reason);
        }
        assert_eq!(reasons.iter().collect::<Vec<_>>(), [("host", 2), ("origin", 1)]);
        for n in 0..2 * REASONS_MAX {
            reasons.add(format!("word-{n}").leak());
        }
        assert_eq!(reasons.iter().count(), REASONS_MAX);
        assert_eq!(reasons.iter().map(|(_, count)| count).sum::<u64>(), 3 + 2 * REASONS_MAX as u64);
    }
}
