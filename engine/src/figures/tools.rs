//! Calls by tool: how they ended, of every tool that is called, and how long they took, of some.
//!
//! The decision: whoever shows them shows the tools that are called *most*, and only who counts all of them knows which those are.
//! So each gets a cell of a hundred bytes from its worker when it is called first, in chunks that are made when they are
//! needed; past [`TOOLS_COUNTED_MAX`] the rest counts together. A histogram is twenty times that, so only the first
//! [`NAMED_MAX`] that a worker meets have one, and those that their reader asks for ([`ToolFigures::is_timed_from_now`]).
//!
//! Which place a tool has is remembered beside the edition ([`crate::core::Adopted::place`]), and by name by the worker:
//! after its first call a name is not looked at again.

use std::collections::HashMap;
use std::sync::OnceLock;

use super::cell::Counter;
use super::histogram::Histogram;
use super::labels::Outcome;
use crate::edition::digest;
use crate::fold::Fold;
use crate::limits::{NAMED_MAX, TOOLS_COUNTED_MAX};

const CHUNK: usize = 256;
const CHUNKS: usize = TOOLS_COUNTED_MAX / CHUNK;

/// Of one tool on one worker.
#[derive(Debug, Default)]
pub struct ToolFigures {
    outcomes: [Counter; Outcome::ALL.len()],
    /// Of calls that were answered, from the whole request to the last byte of the answer.
    duration: OnceLock<Box<Histogram>>,
}

/// The places of tools that a worker has met, by digest of `upstream.tool`. Its own alone: nobody else looks for a name.
#[derive(Default)]
pub struct Met(HashMap<u64, u16, Fold>);

impl Met {
    /// The place of a tool, made where it has none yet. Past the last one it is nobody's, and counted with the rest.
    pub fn place_of(&mut self, tools: &Tools, name: &str) -> u16 {
        let digest = digest(name);
        if let Some(place) = self.0.get(&digest) {
            return *place;
        }
        let place = self.0.len() as u16;
        if usize::from(place) < TOOLS_COUNTED_MAX {
            self.0.insert(digest, place);
            tools.meet(name, place);
        }
        place
    }
}

/// Every tool of one worker.
#[derive(Debug)]
pub struct Tools {
    chunks: [OnceLock<Chunk>; CHUNKS],
    /// Those without a cell.
    rest: ToolFigures,
}

type Chunk = Box<[OnceLock<(Box<str>, ToolFigures)>]>;

impl Default for Tools {
    fn default() -> Tools {
        Tools { chunks: std::array::from_fn(|_| OnceLock::new()), rest: ToolFigures::default() }
    }
}

impl Tools {
    /// A tool that was not met before gets this place, the number of those that were; by the one thread that owns it.
    fn meet(&self, name: &str, place: u16) {
        let at = usize::from(place);
        let Some(chunk) = self.chunks.get(at / CHUNK) else { return };
        let chunk = chunk.get_or_init(|| (0..CHUNK).map(|_| OnceLock::new()).collect());
        let Some(cell) = chunk.get(at % CHUNK) else { return };
        cell.get_or_init(|| {
            let figures = ToolFigures::default();
            if at < NAMED_MAX {
                figures.is_timed_from_now();
            }
            (name.into(), figures)
        });
    }

    /// By the one thread that owns it.
    pub fn count(&self, place: u16, outcome: Outcome, ns: u64) {
        let at = usize::from(place);
        let cell =
            self.chunks.get(at / CHUNK).and_then(OnceLock::get).and_then(|chunk| chunk.get(at % CHUNK));
        let figures = cell.and_then(OnceLock::get).map_or(&self.rest, |(_, figures)| figures);
        figures.count(outcome, ns);
    }

    /// Every tool that was met and has a cell.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &ToolFigures)> {
        let cells = self.chunks.iter().map_while(OnceLock::get).flat_map(|chunk| chunk.iter());
        cells.map_while(OnceLock::get).map(|(name, figures)| (&**name, figures))
    }

    /// All others together.
    pub fn rest(&self) -> &ToolFigures {
        &self.rest
    }
}

impl ToolFigures {
    fn count(&self, outcome: Outcome, ns: u64) {
        // One for each word, by its number.
        self.outcomes[outcome as usize].add(1);
        if matches!(outcome, Outcome::Ok | Outcome::Error)
            && let Some(duration) = self.duration.get()
        {
            duration.record(ns);
        }
    }

    /// What was counted, by outcome.
    pub fn outcomes(&self) -> [u64; Outcome::ALL.len()] {
        std::array::from_fn(|at| self.outcomes[at].get())
    }

    /// `None`: nobody has asked for it.
    pub fn duration(&self) -> Option<&Histogram> {
        self.duration.get().map(|duration| &**duration)
    }

    /// By anyone: its worker counts durations, too, as soon as it sees that. Gives whether that is new.
    pub fn is_timed_from_now(&self) -> bool {
        self.duration.set(Box::default()).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tool_is_counted_and_the_rest_together() {
        let tools = Tools::default();
        let all = TOOLS_COUNTED_MAX + 10;
        let mut met = Met::default();
        for n in 0..all {
            let name = format!("up.tool{n}");
            let place = met.place_of(&tools, &name);
            assert_eq!(place, met.place_of(&tools, &name));
            tools.count(place, if n == 0 { Outcome::Refused } else { Outcome::Ok }, 1_000);
        }
        assert_eq!(tools.iter().count(), TOOLS_COUNTED_MAX);
        let of = |outcome: Outcome| tools.iter().map(|(_, f)| f.outcomes()[outcome as usize]).sum::<u64>();
        assert_eq!((of(Outcome::Refused), of(Outcome::Ok)), (1, TOOLS_COUNTED_MAX as u64 - 1));
        assert_eq!(tools.rest().outcomes()[Outcome::Ok as usize], 10);
        assert!(tools.rest().duration().is_none());
        assert_eq!(tools.iter().filter(|(_, figures)| figures.duration().is_some()).count(), NAMED_MAX);
    }

    #[test]
    fn a_tool_is_timed_from_when_its_reader_asks() {
        let tools = Tools::default();
        let last = NAMED_MAX as u16;
        (0..=last).for_each(|n| tools.meet(&n.to_string(), n));
        tools.count(last, Outcome::Ok, 1_000);
        let (_, figures) = tools.iter().last().unwrap();
        assert!(figures.duration().is_none() && figures.is_timed_from_now() && !figures.is_timed_from_now());
        tools.count(last, Outcome::Ok, 1_000);
        tools.count(last, Outcome::Refused, 1_000);
        let read = super::super::histogram::Distribution::of(figures.duration());
        assert_eq!((read.count(), figures.outcomes().iter().sum::<u64>()), (1, 3));
    }
}
