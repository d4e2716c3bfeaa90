//! What is left of every allowance, shared by all workers of the process and kept over reloads.
//!
//! A fixed number of slots, each a key and a cell; a key has its place in one group of [`CELL_WAYS`]. Taking and giving
//! back is one compare-and-swap on the cell. A key that is new gets a slot that is free, or one whose cell is idle: it
//! says no more than a fresh one, so nothing is forgotten with it. When every slot of the group is in use the call
//! is refused: a caller whom nobody can count is not within limits.
//!
//! Two workers must not give one key two slots. Whoever places a key holds its group's flag for those few stores;
//! another who finds the flag up looks for the key again, [`LOOKS_MAX`] times, and then refuses.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use strait_policy::limit::{Class, Measure, Moment, Taken};

use crate::limits::{ALLOWANCES_MAX, CELL_WAYS, LOOKS_MAX};

/// Whose allowance, of which limit. Never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(u64);

/// The bits of a key that say the class of its measure.
const CLASS_BITS: u64 = 7;
/// A slot that changes hands. No measure's cell has this value: [`Cells::take`] sees to it.
const BUSY: u64 = u64::MAX;

impl Key {
    pub fn new(hash: u64, class: Class) -> Key {
        Key(hash & !CLASS_BITS | class as u64)
    }

    pub fn hash(self) -> u64 {
        self.0 >> CLASS_BITS.count_ones()
    }
}

/// What was taken, and where.
#[derive(Clone, Copy, Debug)]
pub struct Grant {
    pub slot: u32,
    /// The cell as it became.
    pub cell: u64,
    pub units: u64,
}

/// Why nothing was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// Not within the limit; `None`: never.
    Reached { wait_ns: Option<u64> },
    /// No slot is free for a new key.
    Full,
}

#[derive(Debug, Default)]
struct Slot {
    key: AtomicU64,
    cell: AtomicU64,
}

#[derive(Debug)]
pub struct Cells {
    slots: Box<[Slot]>,
    /// Of each group: its slots are being given to a new key.
    placing: Box<[AtomicBool]>,
}

impl Default for Cells {
    fn default() -> Cells {
        Cells::with_groups(ALLOWANCES_MAX / CELL_WAYS)
    }
}

impl Cells {
    fn with_groups(groups: usize) -> Cells {
        Cells {
            slots: (0..groups * CELL_WAYS).map(|_| Slot::default()).collect(),
            placing: (0..groups).map(|_| AtomicBool::new(false)).collect(),
        }
    }

    /// Takes `least` units or a lease that covers them.
    pub fn take(
        &self,
        key: Key,
        measure: &Measure,
        now: &Moment,
        least: u64,
        workers: u64,
    ) -> Result<Grant, Denial> {
        for _ in 0..LOOKS_MAX {
            if let Some(slot) = self.find(key) {
                match self.take_from(slot, key, measure, now, least, workers) {
                    Some(outcome) => return outcome,
                    None => continue,
                }
            }
            let (cell, units) = match measure.take(0, now, least, workers) {
                Taken::Granted { cell: BUSY, .. } => return Err(Denial::Full),
                Taken::Granted { cell, units } => (cell, units),
                Taken::Refused { wait_ns } => return Err(Denial::Reached { wait_ns }),
            };
            match self.place(key, cell, now) {
                Placed::At(slot) => return Ok(Grant { slot: slot as u32, cell, units }),
                Placed::Nowhere => return Err(Denial::Full),
                Placed::Later => spin_loop(),
            }
        }
        Err(Denial::Full)
    }

    /// Whether `units` could be taken, if these were given back before: so many, taken while the cell was so.
    pub fn foresee(
        &self,
        key: Key,
        measure: &Measure,
        now: &Moment,
        units: u64,
        (taken_as, back): (u64, u64),
    ) -> Result<(), Denial> {
        let slot = self.find(key).and_then(|slot| self.slots.get(slot));
        let cell = slot.map(|slot| slot.cell.load(Ordering::Acquire)).filter(|cell| *cell != BUSY);
        let cell = match cell {
            Some(cell) if back > 0 => measure.give_back(cell, taken_as, back),
            cell => cell.unwrap_or_default(),
        };
        match measure.take(cell, now, units, 1) {
            Taken::Granted { .. } => Ok(()),
            Taken::Refused { wait_ns } => Err(Denial::Reached { wait_ns }),
        }
    }

    /// `None`: the slot is another key's by now, or about to be.
    fn take_from(
        &self,
        slot: usize,
        key: Key,
        measure: &Measure,
        now: &Moment,
        least: u64,
        workers: u64,
    ) -> Option<Result<Grant, Denial>> {
        let at = self.slots.get(slot)?;
        for _ in 0..LOOKS_MAX {
            let before = at.cell.load(Ordering::Acquire);
            if before == BUSY || at.key.load(Ordering::Acquire) != key.0 {
                return None;
            }
            let (cell, units) = match measure.take(before, now, least, workers) {
                Taken::Granted { cell: BUSY, .. } => return Some(Err(Denial::Full)),
                Taken::Granted { cell, units } => (cell, units),
                Taken::Refused { wait_ns } => return Some(Err(Denial::Reached { wait_ns })),
            };
            if at.cell.compare_exchange(before, cell, Ordering::AcqRel, Ordering::Relaxed).is_err() {
                spin_loop();
                continue;
            }
            // An idle slot may have changed hands between the look at its key and the exchange, and look the same.
            if at.key.load(Ordering::Acquire) != key.0 {
                let _ = at.cell.compare_exchange(cell, before, Ordering::AcqRel, Ordering::Relaxed);
                return None;
            }
            return Some(Ok(Grant { slot: slot as u32, cell, units }));
        }
        Some(Err(Denial::Full))
    }

    /// Gives back units that were taken while the cell was `taken_as`.
    pub fn give_back(&self, slot: u32, key: Key, measure: &Measure, taken_as: u64, units: u64, now: &Moment) {
        let Some(at) = self.slots.get(slot as usize) else { return };
        for _ in 0..LOOKS_MAX {
            let before = at.cell.load(Ordering::Acquire);
            // An idle one is whole already, and may be another key's at any time.
            if before == BUSY
                || at.key.load(Ordering::Acquire) != key.0
                || measure.class().is_idle(before, now)
            {
                return;
            }
            let cell = measure.give_back(before, taken_as, units);
            if at.cell.compare_exchange(before, cell, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                return;
            }
            spin_loop();
        }
    }

    fn find(&self, key: Key) -> Option<usize> {
        let first = self.group_of(key) * CELL_WAYS;
        let group = self.slots.get(first..first + CELL_WAYS)?;
        group.iter().position(|slot| slot.key.load(Ordering::Acquire) == key.0).map(|way| first + way)
    }

    fn group_of(&self, key: Key) -> usize {
        (key.hash() % self.placing.len() as u64) as usize
    }

    fn place(&self, key: Key, cell: u64, now: &Moment) -> Placed {
        let group = self.group_of(key);
        let Some(flag) = self.placing.get(group) else { return Placed::Nowhere };
        if flag.swap(true, Ordering::Acquire) {
            return Placed::Later;
        }
        let placed = match self.find(key) {
            Some(_) => Placed::Later,
            None => self.place_in(group, key, cell, now),
        };
        flag.store(false, Ordering::Release);
        placed
    }

    /// By whoever holds the group's flag.
    fn place_in(&self, group: usize, key: Key, cell: u64, now: &Moment) -> Placed {
        let first = group * CELL_WAYS;
        let Some(slots) = self.slots.get(first..first + CELL_WAYS) else { return Placed::Nowhere };
        for (way, slot) in slots.iter().enumerate() {
            let owner = slot.key.load(Ordering::Acquire);
            if owner != 0 {
                let idle = slot.cell.load(Ordering::Acquire);
                let class = Class::ALL.iter().find(|class| **class as u64 == owner & CLASS_BITS);
                let is_idle = idle != BUSY && class.is_some_and(|class| class.is_idle(idle, now));
                // From here on nobody takes from it; one who just did has made it another value.
                if !is_idle
                    || slot.cell.compare_exchange(idle, BUSY, Ordering::AcqRel, Ordering::Relaxed).is_err()
                {
                    continue;
                }
                slot.key.store(key.0, Ordering::Release);
                slot.cell.store(cell, Ordering::Release);
            } else {
                slot.cell.store(cell, Ordering::Release);
                slot.key.store(key.0, Ordering::Release);
            }
            return Placed::At(first + way);
        }
        Placed::Nowhere
    }
}

enum Placed {
    At(usize),
    Nowhere,
    /// Another worker places a key in this group, or has placed this one.
    Later,
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::{Barrier, Mutex};

    use strait_policy::limit::{Period, Rate, Window};

    use super::*;

    const NOW: Moment = Moment { steady_ns: 1_000_000_000_000, unix_ms: 1_800_000_000_000 };

    fn day(max: u64) -> Measure {
        Measure::Calls(Window { period: Period::Day, max })
    }

    fn key(number: u64, measure: &Measure) -> Key {
        Key::new(number << 3, measure.class())
    }

    /// A key that several threads meet at once has one slot, and what is taken from it is what there is.
    #[test]
    fn threads_that_meet_a_new_key_share_one_allowance() {
        const ROUNDS: u64 = 3_000;
        let (cells, measure, together) = (Cells::with_groups(1), day(3), Barrier::new(4));
        let counts = || (0..ROUNDS).map(|_| AtomicU64::new(0)).collect::<Vec<_>>();
        let (taken, in_the_way) = (counts(), counts());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for (round, (taken, in_the_way)) in (0..ROUNDS).zip(taken.iter().zip(&in_the_way)) {
                        // Every round's key is new, and those of the days before are idle.
                        let now = Moment { unix_ms: NOW.unix_ms + round * 86_400_000, ..NOW };
                        let key = key(round + 1, &measure);
                        together.wait();
                        for _ in 0..4 {
                            // Nothing is asserted here: the others would wait for a thread that panicked.
                            match cells.take(key, &measure, &now, 1, 4) {
                                Ok(grant) => drop(taken.fetch_add(grant.units, Ordering::Relaxed)),
                                Err(Denial::Reached { .. }) => {}
                                // Whoever places the key has lost its core meanwhile: that is not waited for.
                                Err(Denial::Full) => drop(in_the_way.fetch_add(1, Ordering::Relaxed)),
                            }
                        }
                        // A thread that is late must not see the next day.
                        together.wait();
                    }
                });
            }
        });
        let mut whole = 0;
        for (round, (taken, in_the_way)) in taken.iter().zip(&in_the_way).enumerate() {
            let (taken, in_the_way) = (taken.load(Ordering::Relaxed), in_the_way.load(Ordering::Relaxed));
            assert!(taken == 3 || taken < 3 && in_the_way > 0, "round {round}: {taken}, {in_the_way}");
            whole += u64::from(in_the_way == 0);
        }
        assert!(whole > ROUNDS / 2, "only {whole} rounds of {ROUNDS} without anybody in the way");
    }

    #[test]
    fn a_full_group_refuses_until_one_of_it_is_idle() {
        let cells = Cells::with_groups(1);
        let rate = Measure::Rate(Rate::new(1, 1_000_000_000, 1).unwrap());
        for number in 0..CELL_WAYS as u64 {
            cells.take(key(number + 1, &rate), &rate, &NOW, 1, 1).unwrap();
        }
        let newcomer = key(100, &rate);
        assert_eq!(cells.take(newcomer, &rate, &NOW, 1, 1).unwrap_err(), Denial::Full);
        // The others know what they have used.
        for number in 0..CELL_WAYS as u64 {
            let denial = cells.take(key(number + 1, &rate), &rate, &NOW, 1, 1).unwrap_err();
            assert_eq!(denial, Denial::Reached { wait_ns: Some(1_000_000_000) });
        }
        let later = Moment { steady_ns: NOW.steady_ns + 1_000_000_000, ..NOW };
        cells.take(newcomer, &rate, &later, 1, 1).unwrap();
        assert!(cells.take(newcomer, &rate, &later, 1, 1).is_err());
    }

    #[test]
    fn what_can_never_be_takes_no_slot() {
        let cells = Cells::with_groups(1);
        let denial = cells.take(key(1, &day(1)), &day(1), &NOW, 2, 1).unwrap_err();
        assert_eq!(denial, Denial::Reached { wait_ns: None });
        assert!(cells.slots.iter().all(|slot| slot.key.load(Ordering::Relaxed) == 0));
    }

    /// Calls at once of more keys than there are slots, by several threads: never more than allowed, and all come back.
    #[test]
    fn places_are_never_held_by_more_than_may() {
        let (cells, two) = (Cells::with_groups(1), Measure::Concurrency(2));
        let held: Mutex<HashMap<u64, i32>> = Mutex::default();
        std::thread::scope(|scope| {
            for thread in 0..4u64 {
                let (cells, held, two) = (&cells, &held, &two);
                scope.spawn(move || {
                    for turn in 0..4_000u64 {
                        let number = 1 + (turn * 7 + thread * 3) % 40;
                        let Ok(grant) = cells.take(key(number, two), two, &NOW, 1, 4) else { continue };
                        {
                            let mut held = held.lock().unwrap();
                            let count = held.entry(number).or_default();
                            *count += 1;
                            assert!(*count <= 2);
                        }
                        *held.lock().unwrap().get_mut(&number).unwrap() -= 1;
                        cells.give_back(grant.slot, key(number, two), two, grant.cell, 1, &NOW);
                    }
                });
            }
        });
        assert!(cells.slots.iter().all(|slot| slot.cell.load(Ordering::Relaxed) == 0));
    }
}
