//! Traits: what can be said of a principal once for all its calls. A bit for every role, and one for every part of a condition
//! that depends on the principal alone.
//!
//! They are worked out once per generation, so that what a decision costs does not grow with the number of roles. Windows of
//! time are kept in the same form.

/// Bits that a table may declare: roles and parts of conditions together.
pub const TRAITS_MAX: usize = 8_192;

/// Which of a table's bits are set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Traits(Box<[u64]>);

impl Traits {
    /// None of `count` bits.
    pub fn none(count: usize) -> Traits {
        Traits(vec![0; count.min(TRAITS_MAX).div_ceil(64)].into_boxed_slice())
    }

    /// Sets a bit; one beyond the count does not exist.
    pub fn insert(&mut self, bit: usize) {
        if let Some(word) = self.0.get_mut(bit / 64) {
            *word |= 1 << (bit % 64);
        }
    }

    pub fn contains(&self, bit: usize) -> bool {
        self.0.get(bit / 64).is_some_and(|word| word >> (bit % 64) & 1 == 1)
    }

    /// The bits that are set, ascending.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().enumerate().flat_map(|(at, word)| {
            (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| at * 64 + bit)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_every_bit_it_was_made_for_and_no_other() {
        let mut traits = Traits::none(130);
        for bit in [0, 63, 64, 129] {
            assert!(!traits.contains(bit));
            traits.insert(bit);
            assert!(traits.contains(bit));
        }
        traits.insert(100_000);
        assert!(!traits.contains(100_000));
        assert_eq!(traits.iter().collect::<Vec<_>>(), [0, 63, 64, 129]);
        let mut empty = Traits::default();
        empty.insert(0);
        assert!(!empty.contains(0));
    }
}
