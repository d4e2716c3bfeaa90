//! Figures of one generation: how its exchanges ended and how long they took, apart from those of every other.
//!
//! The decision: they belong to the edition, not to the worker. Control makes one [`Tally`] for a generation, with a block for
//! each worker, and every edition of it carries that; a worker counts in the tally of the edition that an exchange was told
//! under. So nobody moves counts from one place to another while others write them: when the last exchange of a generation is
//! over, nobody holds its tally but control, which adds it to those of earlier ones.

use strait_table::Generation;

use super::cell::Counter;
use super::histogram::Histogram;
use super::labels::Outcome;

/// What was counted of one generation, by worker.
#[derive(Debug)]
pub struct Tally {
    pub generation: Generation,
    workers: Box<[GenerationFigures]>,
}

/// Of one worker.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct GenerationFigures {
    outcomes: [Counter; Outcome::ALL.len()],
    /// From the whole request to the last byte of its answer.
    pub duration: Histogram,
    /// Of forwarded calls: duration less what was spent waiting for the upstream.
    pub added: Histogram,
}

impl Tally {
    pub fn new(generation: Generation, workers: usize) -> Tally {
        Tally { generation, workers: (0..workers).map(|_| GenerationFigures::default()).collect() }
    }

    /// By the worker of this number, which alone writes it; `None`: one more than the edition was made for.
    pub(crate) fn of(&self, worker: usize) -> Option<&GenerationFigures> {
        self.workers.get(worker)
    }

    pub fn workers(&self) -> &[GenerationFigures] {
        &self.workers
    }

    /// Exchanges that ended so.
    pub fn outcome(&self, outcome: Outcome) -> u64 {
        self.workers.iter().map(|worker| worker.outcomes(outcome).get()).sum()
    }
}

impl GenerationFigures {
    pub fn outcomes(&self, outcome: Outcome) -> &Counter {
        // One for each word, by its number.
        &self.outcomes[outcome as usize]
    }
}
