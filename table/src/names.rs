//! A flat open-addressing index from a name to a number, used in place from the mapped file.
//!
//! Each slot keeps 32 bits of the name's hash beside the item's index; the caller compares the name
//! itself. No lookup probes more than [`PROBES_MAX`] slots. Names are placed Robin Hood fashion (who came
//! further stays), which makes that a matter of course for any real set at a load of one half; and the
//! seed is drawn from the names themselves, so that an upstream which invents colliding names changes,
//! with each one, what they would have to collide under.

use rkyv::{Archive, Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The longest probe sequence an index may need.
pub const PROBES_MAX: usize = 16;
const EMPTY: u32 = u32::MAX;

#[derive(Archive, Deserialize, Serialize, Debug, Default)]
pub struct Names {
    seed: u64,
    slots: Vec<Slot>,
}

#[derive(Archive, Deserialize, Serialize, Debug, Clone, Copy)]
struct Slot {
    tag: u32,
    item: u32,
}

impl Names {
    /// Indexes `names` by position. Of equal names the first is found.
    pub fn build<'n>(names: impl ExactSizeIterator<Item = &'n str> + Clone) -> Names {
        let names: Vec<&str> = names.collect();
        let mut size = (names.len() * 2).next_power_of_two().max(2);
        let first = seed_of(&names);
        for attempt in 0..ATTEMPTS_MAX {
            let seed = first.wrapping_add(attempt);
            if let Some(slots) = place(&names, seed, size) {
                return Names { seed, slots };
            }
            // Chance, where a set is very large; more room settles it.
            if attempt % 4 == 3 {
                size *= 2;
            }
        }
        // Nobody can make this happen (seventeen names would have to collide under a seed that depends on
        // them, eight times over); an index without names fails closed, at `invariants`.
        Names { seed: first, slots: vec![FREE; 2] }
    }
}

/// Room grows to twice the first size, and no further.
const ATTEMPTS_MAX: u64 = 8;
const FREE: Slot = Slot { tag: 0, item: EMPTY };

fn seed_of(names: &[&str]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    for name in names {
        hasher.update(&(name.len() as u64).to_le_bytes());
        hasher.update(name.as_bytes());
    }
    hasher.finalize().as_bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

fn place(names: &[&str], seed: u64, size: usize) -> Option<Vec<Slot>> {
    let mut slots = vec![FREE; size];
    // How many steps from its start the name in each slot is.
    let mut steps = vec![0usize; size];
    for (item, name) in names.iter().enumerate() {
        let (tag, start) = hash(name.as_bytes(), seed, size);
        let (mut carried, mut step, mut at) = (Slot { tag, item: item as u32 }, 0, start);
        loop {
            if step == PROBES_MAX {
                return None;
            }
            let resident = slots[at];
            if resident.item == EMPTY {
                (slots[at], steps[at]) = (carried, step);
                break;
            }
            if resident.tag == carried.tag && names[resident.item as usize] == names[carried.item as usize] {
                break;
            }
            if steps[at] < step {
                std::mem::swap(&mut slots[at], &mut carried);
                std::mem::swap(&mut steps[at], &mut step);
            }
            (step, at) = (step + 1, (at + 1) & (size - 1));
        }
    }
    Some(slots)
}

fn hash(name: &[u8], seed: u64, size: usize) -> (u32, usize) {
    let hash = xxh3_64_with_seed(name, seed);
    ((hash >> 32) as u32, hash as usize & (size - 1))
}

impl ArchivedNames {
    /// The item whose name satisfies `is` among those whose hash agrees with `name`'s.
    pub fn find(&self, name: &[u8], mut is: impl FnMut(usize) -> bool) -> Option<usize> {
        let size = self.slots.len();
        if size == 0 {
            return None;
        }
        let (tag, start) = hash(name, self.seed.to_native(), size);
        for step in 0..PROBES_MAX {
            let slot = &self.slots[(start + step) & (size - 1)];
            if slot.item == EMPTY {
                return None;
            }
            if slot.tag == tag && is(slot.item.to_native() as usize) {
                return Some(slot.item.to_native() as usize);
            }
        }
        None
    }

    /// Every slot points below `items`, and the size is a power of two.
    pub(crate) fn is_sound(&self, items: usize) -> bool {
        (self.slots.is_empty() || self.slots.len().is_power_of_two())
            && self.slots.iter().all(|slot| slot.item == EMPTY || (slot.item.to_native() as usize) < items)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;
    use rkyv::rancor;

    use super::*;

    /// Archives an index, as a table does, and looks names up in it.
    struct Opened<'n> {
        bytes: rkyv::util::AlignedVec,
        names: Vec<&'n str>,
    }

    impl<'n> Opened<'n> {
        fn new(names: Vec<&'n str>) -> Opened<'n> {
            let bytes = rkyv::to_bytes::<rancor::Error>(&Names::build(names.iter().copied())).unwrap();
            Opened { bytes, names }
        }

        fn index(&self) -> &ArchivedNames {
            rkyv::access::<ArchivedNames, rancor::Error>(&self.bytes).unwrap()
        }

        fn find(&self, name: &str) -> Option<usize> {
            self.find_in(self.index(), name)
        }

        fn find_in(&self, index: &ArchivedNames, name: &str) -> Option<usize> {
            index.find(name.as_bytes(), |item| self.names[item] == name)
        }

        /// Everything is found, in this many slots.
        fn check(&self, slots: usize) {
            let index = self.index();
            assert!(index.is_sound(self.names.len()));
            for (item, name) in self.names.iter().enumerate() {
                assert_eq!(self.find_in(index, name), Some(item));
            }
            assert_eq!(index.slots.len(), slots);
        }
    }

    proptest! {
        #[test]
        fn it_answers_like_a_hash_map(
            names in proptest::collection::vec("[ab_]{0,5}|\\PC{0,20}", 0..200),
            asked in "[ab_]{0,5}",
        ) {
            let mut oracle = HashMap::new();
            for (index, name) in names.iter().enumerate() {
                oracle.entry(name.as_str()).or_insert(index);
            }
            let opened = Opened::new(names.iter().map(String::as_str).collect());
            for name in names.iter().chain([&asked]) {
                prop_assert_eq!(opened.find(name), oracle.get(name.as_str()).copied());
            }
        }
    }

    #[test]
    fn full_loads_settle_at_the_first_size() {
        Opened::new(Vec::new()).check(2);
        // Just up to a power of two: half of the slots are taken.
        for count in [1, 2, 64, 1_024, 16_384, 65_536] {
            let names: Vec<String> = (0..count).map(|n| format!("crm__get_customer_{n}")).collect();
            Opened::new(names.iter().map(String::as_str).collect()).check(count * 2);
        }
    }

    #[test]
    fn one_name_many_times_is_one_name() {
        let opened = Opened::new(vec!["again"; 1_000]);
        assert_eq!(opened.find("again"), Some(0));
        assert_eq!(opened.find("other"), None);
    }

    #[test]
    fn names_made_to_collide_do_not() {
        // A hundred names that begin at one slot of the 256 under every seed an upstream could guess
        // beforehand: small numbers, and what honest names have now.
        let honest: Vec<String> = (0..20).map(|n| format!("tool_{n}")).collect();
        let guess = seed_of(&honest.iter().map(String::as_str).collect::<Vec<_>>());
        for seed in [0, 1, guess] {
            let colliding =
                (0u32..).map(|n| format!("evil_{n}")).filter(|name| hash(name.as_bytes(), seed, 256).1 == 7);
            let evil: Vec<String> = colliding.take(100).collect();
            assert!(place(&evil.iter().map(String::as_str).collect::<Vec<_>>(), seed, 256).is_none());
            let names: Vec<&str> = honest.iter().chain(&evil).map(String::as_str).collect();
            Opened::new(names).check(256);
        }
    }

    #[test]
    fn building_ends_even_where_no_seed_helps() {
        // Seventeen names cannot be found in sixteen probes of fewer slots.
        let names: Vec<String> = (0..17).map(|n| n.to_string()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert!((0..100).all(|seed| place(&names, seed, 16).is_none()));
        Opened::new(names).check(64);
    }
}
