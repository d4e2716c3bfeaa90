//! Which arm goes when. One seed gives the whole schedule, so a run can be described by its command line.
//!
//! A slot is one request per arm, in an order drawn anew for each slot (or for each block, where that was
//! asked for): whatever the host does over time (drift, a neighbour waking up) meets all arms alike. Slots come in blocks of
//! consecutive ones; a block has connections of its own, so that luck in placing a connection on a core
//! is drawn again for every block and shows as spread, not as a difference between arms.

use std::ops::Deref;

use serde::{Deserialize, Serialize};

use crate::random::Random;

/// A way to the same server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arm {
    /// Straight to the server.
    Direct,
    /// Straight to the server once more: what differs between these two is noise.
    Again,
    /// Through the gateway.
    Through,
    /// Through the gateway with everything on.
    Policy,
    /// Through somebody else's gateway.
    Rival,
}

/// As many as there are kinds of arms; a run has three of them or more.
pub const ARMS: usize = 5;

/// One figure for each arm, at [`Arm::index`]; 0 where a run does not have the arm.
pub type Times = [u64; ARMS];

/// The kernel's time for each arm, where it gave both stamps.
pub type Stamps = [Option<u64>; ARMS];

impl Arm {
    pub const ALL: [Arm; ARMS] = [Arm::Direct, Arm::Again, Arm::Through, Arm::Policy, Arm::Rival];
    /// Those of every run.
    pub const ALWAYS: [Arm; 3] = [Arm::Direct, Arm::Again, Arm::Through];

    pub fn index(self) -> usize {
        self as usize
    }

    pub fn name(self) -> &'static str {
        match self {
            Arm::Direct => "direct",
            Arm::Again => "again",
            Arm::Through => "through",
            Arm::Policy => "policy",
            Arm::Rival => "rival",
        }
    }

    /// Whether something stands between the client and the server.
    pub fn is_longer(self) -> bool {
        !matches!(self, Arm::Direct | Arm::Again)
    }
}

/// The arms of a slot in the order of their turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Turns {
    arms: [Arm; ARMS],
    len: usize,
}

impl Turns {
    /// Each arm once; more than there are do not fit and are left out.
    pub fn of(arms: &[Arm]) -> Turns {
        let mut turns = Turns { arms: Arm::ALL, len: arms.len().min(ARMS) };
        turns.arms.iter_mut().zip(arms).for_each(|(place, arm)| *place = *arm);
        turns
    }

    fn shuffled(mut self, random: &mut Random) -> Turns {
        for place in 0..self.len.saturating_sub(1) {
            self.arms.swap(place, place + random.below((self.len - place) as u64) as usize);
        }
        self
    }
}

impl Deref for Turns {
    type Target = [Arm];

    fn deref(&self) -> &[Arm] {
        &self.arms[..self.len]
    }
}

/// How arms take turns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Interleave {
    /// One request each, in an order drawn for every slot.
    #[default]
    Slot,
    /// A whole block of requests each, in an order drawn for every block: each arm then finds the caches as
    /// its own last request left them, as it would in production.
    Block,
}

/// Blocks of a run; fewer when there are too few slots to fill them.
pub const BLOCKS_MAX: usize = 100;
/// Below this many blocks an interval would be narrower than the truth.
pub const BLOCKS_MIN: usize = 30;
const BLOCK_SLOTS_MIN: usize = 10;

/// All slots of a run, block by block.
pub struct Schedule {
    slots: usize,
    blocks: usize,
    seed: u64,
    turns: Turns,
    interleave: Interleave,
}

impl Schedule {
    pub fn new(slots: usize, seed: u64, arms: &[Arm], interleave: Interleave) -> Schedule {
        Schedule { slots, blocks: blocks_of(slots), seed, turns: Turns::of(arms), interleave }
    }

    pub fn blocks(&self) -> usize {
        self.blocks
    }

    pub fn arms(&self) -> Turns {
        self.turns
    }

    pub fn interleave(&self) -> Interleave {
        self.interleave
    }

    /// The first slot of a block; that of the block after the last is the number of slots.
    pub fn start_of(&self, block: usize) -> usize {
        block * self.slots / self.blocks
    }

    /// The order of arms in each slot, from the first slot on.
    pub fn orders(&self) -> impl Iterator<Item = Turns> + use<> {
        let mut random = Random::new(self.seed);
        let (turns, interleave) = (self.turns, self.interleave);
        let sizes: Vec<usize> =
            (0..self.blocks).map(|block| self.start_of(block + 1) - self.start_of(block)).collect();
        sizes.into_iter().flat_map(move |size| {
            let mut of_block = turns;
            let drawn = (0..size).map(|index| {
                if index == 0 || interleave == Interleave::Slot {
                    of_block = turns.shuffled(&mut random);
                }
                of_block
            });
            drawn.collect::<Vec<_>>()
        })
    }
}

fn blocks_of(slots: usize) -> usize {
    (slots / BLOCK_SLOTS_MIN).clamp(1, BLOCKS_MAX)
}
