//! Which arm goes when. One seed gives the whole schedule, so a run can be described by its command line.
//!
//! A slot is one request per arm, in one of the six orders, drawn anew for each slot: whatever the host
//! does over time (drift, a neighbour waking up) meets all arms alike. Slots come in blocks of
//! consecutive ones; a block has connections of its own, so that luck in placing a connection on a core
//! is drawn again for every block and shows as spread, not as a difference between arms.

use crate::random::Random;

/// A way to the same server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Arm {
    /// Straight to the server.
    Direct,
    /// Straight to the server once more: what differs between these two is noise.
    Again,
    /// Through the gateway.
    Through,
}

impl Arm {
    pub const ALL: [Arm; 3] = [Arm::Direct, Arm::Again, Arm::Through];

    pub fn index(self) -> usize {
        self as usize
    }

    pub fn name(self) -> &'static str {
        match self {
            Arm::Direct => "direct",
            Arm::Again => "again",
            Arm::Through => "through",
        }
    }
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
}

impl Schedule {
    pub fn new(slots: usize, seed: u64) -> Schedule {
        Schedule { slots, blocks: blocks_of(slots), seed }
    }

    pub fn blocks(&self) -> usize {
        self.blocks
    }

    /// The first slot of a block; that of the block after the last is the number of slots.
    pub fn start_of(&self, block: usize) -> usize {
        block * self.slots / self.blocks
    }

    /// The order of arms in each slot, from the first slot on.
    pub fn orders(&self) -> impl Iterator<Item = [Arm; 3]> + use<> {
        let mut random = Random::new(self.seed);
        (0..self.slots).map(move |_| draw_order(&mut random))
    }
}

fn blocks_of(slots: usize) -> usize {
    (slots / BLOCK_SLOTS_MIN).clamp(1, BLOCKS_MAX)
}

fn draw_order(random: &mut Random) -> [Arm; 3] {
    let mut order = Arm::ALL;
    order.swap(0, random.below(3) as usize);
    order.swap(1, 1 + random.below(2) as usize);
    order
}
