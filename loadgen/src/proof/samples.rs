//! What a run leaves: a time per arm for every slot, or why the slot has none.
//!
//! A slot in which any arm failed has no times at all, because its arms can no longer be compared with
//! each other. It is never dropped silently: it stays in the list, is counted by arm and layer, and
//! decides about the verdict.

use super::schedule::{ARMS, Arm, Stamps, Times, Turns};

/// One slot, as it happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Slot {
    pub block: u16,
    /// Who went first, second, third.
    pub order: Turns,
    /// Nanoseconds from the first byte of the request to the last of the answer, at [`Arm::index`].
    pub outcome: Result<Times, Fault>,
    /// The same by the kernel's stamps: from the request's last byte handed to the device to the answer's
    /// last byte received. Nothing for an arm whose exchange lacks one of the two, and in a slot that failed.
    pub wire: Stamps,
}

/// Why an arm gave no time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub arm: Arm,
    pub layer: Layer,
    /// Expected and found, for a person.
    pub message: String,
}

/// Where an exchange went wrong, from the wire up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layer {
    /// No connection.
    Connect,
    /// The connection ended, or nothing came in time.
    Transport,
    /// An answer that is not HTTP, or with another status than 200.
    Http,
    /// 401 or 403.
    Auth,
    /// Not the JSON-RPC answer to this request.
    Rpc,
    /// An error of MCP: the tool is unknown, or the result says `isError`.
    Mcp,
}

impl Layer {
    pub const ALL: [Layer; 6] =
        [Layer::Connect, Layer::Transport, Layer::Http, Layer::Auth, Layer::Rpc, Layer::Mcp];

    pub fn name(self) -> &'static str {
        match self {
            Layer::Connect => "connect",
            Layer::Transport => "transport",
            Layer::Http => "http",
            Layer::Auth => "auth",
            Layer::Rpc => "rpc",
            Layer::Mcp => "mcp",
        }
    }
}

/// Failures of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailureCount {
    pub arm: Arm,
    pub layer: Layer,
    pub count: usize,
    pub example: String,
}

/// All slots of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples {
    pub slots: Vec<Slot>,
}

impl Samples {
    pub fn failures(&self) -> usize {
        self.slots.iter().filter(|slot| slot.outcome.is_err()).count()
    }

    /// Failures by arm and layer, each kind with the first message met.
    pub fn failure_counts(&self) -> Vec<FailureCount> {
        let mut counts: Vec<FailureCount> = Vec::new();
        for fault in self.slots.iter().filter_map(|slot| slot.outcome.as_ref().err()) {
            match counts.iter_mut().find(|known| (known.arm, known.layer) == (fault.arm, fault.layer)) {
                Some(known) => known.count += 1,
                None => counts.push(FailureCount {
                    arm: fault.arm,
                    layer: fault.layer,
                    count: 1,
                    example: fault.message.clone(),
                }),
            }
        }
        counts.sort_by_key(|count| (count.arm, count.layer));
        counts
    }

    /// The slots that have times: their blocks and the times of each arm.
    pub fn whole(&self) -> Whole {
        let mut whole = Whole::default();
        for slot in &self.slots {
            if let Ok(times) = &slot.outcome {
                whole.push(slot, times);
            }
        }
        whole
    }

    /// The slots in which every arm has both stamps of the kernel: by this tool's clock, and by the kernel's.
    pub fn stamped(&self) -> (Whole, Whole) {
        let (mut own, mut kernel) = (Whole::default(), Whole::default());
        for slot in &self.slots {
            let Ok(times) = &slot.outcome else { continue };
            let mut wire = Times::default();
            let are_there = slot.order.iter().all(|arm| match slot.wire[arm.index()] {
                Some(ns) => {
                    wire[arm.index()] = ns;
                    true
                }
                None => false,
            });
            if are_there {
                own.push(slot, times);
                kernel.push(slot, &wire);
            }
        }
        (own, kernel)
    }
}

/// Times side by side: `arms[arm][i]` belongs to block `blocks[i]`.
#[derive(Clone, Debug, Default)]
pub struct Whole {
    pub blocks: Vec<u16>,
    pub arms: [Vec<i64>; ARMS],
}

impl Whole {
    fn push(&mut self, slot: &Slot, times: &Times) {
        self.blocks.push(slot.block);
        for arm in slot.order.iter() {
            self.arms[arm.index()].push(i64::try_from(times[arm.index()]).unwrap_or(i64::MAX));
        }
    }

    pub fn len(&self) -> usize {
        self.blocks.len()
    }

    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// Which slots are one of so many equal parts of the run, in order of time.
    pub fn part(&self, index: usize, parts: usize) -> std::ops::Range<usize> {
        index * self.len() / parts..(index + 1) * self.len() / parts
    }

    /// Slots in each block, up to the last block that has one.
    pub fn sizes(&self) -> Vec<u32> {
        let blocks = self.blocks.iter().max().map_or(0, |last| usize::from(*last) + 1);
        let mut sizes = vec![0; blocks];
        for block in &self.blocks {
            sizes[usize::from(*block)] += 1;
        }
        sizes
    }

    /// One arm minus another, slot by slot.
    pub fn differences(&self, of: Arm, minus: Arm) -> Vec<i64> {
        self.arms[of.index()].iter().zip(&self.arms[minus.index()]).map(|(a, b)| a - b).collect()
    }
}
