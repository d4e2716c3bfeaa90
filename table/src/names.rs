//! A flat open-addressing index from a name to a number, used in place from the mapped file.
//!
//! Each slot keeps 32 bits of the name's hash beside the item's index; the caller compares the name
//! itself. The seed is chosen when the index is built so that no lookup probes more than
//! [`PROBES_MAX`] slots: an upstream that invents colliding names cannot slow anybody's lookups.

use rkyv::{Archive, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The longest probe sequence an index may need.
pub const PROBES_MAX: usize = 16;
const EMPTY: u32 = u32::MAX;

#[derive(Archive, Serialize, Debug, Default)]
pub struct Names {
    seed: u64,
    slots: Vec<Slot>,
}

#[derive(Archive, Serialize, Debug, Clone, Copy)]
struct Slot {
    tag: u32,
    item: u32,
}

impl Names {
    /// Indexes `names` by position. `names` must be distinct.
    pub fn build<'n>(names: impl ExactSizeIterator<Item = &'n str> + Clone) -> Names {
        let mut size = (names.len() * 2).next_power_of_two().max(2);
        for seed in 0.. {
            if let Some(slots) = place(names.clone(), seed, size) {
                return Names { seed, slots };
            }
            // Real names settle at the first seed; a crowd that does not gets more room.
            if seed % 8 == 7 {
                size *= 2;
            }
        }
        Names::default()
    }
}

fn place<'n>(names: impl Iterator<Item = &'n str>, seed: u64, size: usize) -> Option<Vec<Slot>> {
    let mut slots = vec![Slot { tag: 0, item: EMPTY }; size];
    for (item, name) in names.enumerate() {
        let (tag, start) = hash(name.as_bytes(), seed, size);
        let free = (0..PROBES_MAX).map(|step| (start + step) % size).find(|at| slots[*at].item == EMPTY)?;
        slots[free] = Slot { tag, item: item as u32 };
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
