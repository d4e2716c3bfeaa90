//! Figures by names that traffic brings: who calls. (Which tools are called: [`super::tools`].)
//!
//! The decision: a worker gives a name its place when it meets it first, and only the first [`NAMED_MAX`] of a process get
//! one; the rest counts together, as [`OTHER`]. So what is shown is bounded, whatever a table or a directory of keys
//! holds, and names that nobody uses cost nothing. Which place a principal has is remembered beside the edition
//! ([`crate::core::Adopted`]): after its first exchange a name is not looked at again.

use std::sync::OnceLock;

use super::cell::Counter;
use super::histogram::Histogram;
use super::labels::Outcome;
use super::places::OTHER;
use crate::limits::NAMED_MAX;

/// Of one name on one worker.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct CallFigures {
    pub calls: Counter,
    /// The upstream's own errors, its faults, overload, faults of ours.
    pub failed: Counter,
    /// By policy, a limit or the form of the request.
    pub denied: Counter,
    /// Of those that were answered, from the whole request to the last byte of the answer.
    pub duration: Histogram,
}

/// Figures by name.
#[derive(Debug)]
pub struct Named([OnceLock<Met>; NAMED_MAX + 1]);

/// A name, and what is counted of it.
type Met = Box<(Box<str>, CallFigures)>;

impl Default for Named {
    fn default() -> Named {
        Named(std::array::from_fn(|_| OnceLock::new()))
    }
}

impl Named {
    /// The place of a name, made where it has none yet; by the one thread that owns it.
    pub(crate) fn place_of(&self, name: &str) -> u16 {
        let named = self.0.get(..NAMED_MAX).unwrap_or_default();
        // The first free place is this name's from now on.
        let found = named.iter().position(|place| &*place.get_or_init(|| new(name)).0 == name);
        let place = found.unwrap_or_else(|| {
            self.0[NAMED_MAX].get_or_init(|| new(OTHER));
            NAMED_MAX
        });
        place as u16
    }

    /// By the one thread that owns it.
    pub(crate) fn count(&self, place: u16, outcome: Outcome, ns: u64) {
        let Some((_, figures)) = self.0.get(usize::from(place)).and_then(OnceLock::get).map(|known| &**known)
        else {
            return;
        };
        figures.calls.add(1);
        match outcome {
            Outcome::Ok => {}
            Outcome::Refused => figures.denied.add(1),
            Outcome::ClientGone => return,
            Outcome::Error | Outcome::Overloaded | Outcome::UpstreamFault | Outcome::Internal => {
                figures.failed.add(1)
            }
        }
        if matches!(outcome, Outcome::Ok | Outcome::Error) {
            figures.duration.record(ns);
        }
    }

    /// Every name that was met.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &CallFigures)> {
        self.0.iter().filter_map(OnceLock::get).map(|known| (&*known.0, &known.1))
    }
}

fn new(name: &str) -> Met {
    Box::new((name.into(), CallFigures::default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_counted_apart_and_never_too_many() {
        let named = Named::default();
        for n in 0..2 * NAMED_MAX {
            let place = named.place_of(&format!("tool{n}"));
            assert_eq!(place, named.place_of(&format!("tool{n}")));
            named.count(place, if n == 0 { Outcome::Refused } else { Outcome::Ok }, 1_000);
        }
        assert_eq!(named.iter().count(), NAMED_MAX + 1);
        let of =
            |name: &str| named.iter().find(|(known, _)| *known == name).map(|(_, figures)| figures).unwrap();
        let first = of("tool0");
        assert_eq!((first.calls.get(), first.denied.get(), first.failed.get()), (1, 1, 0));
        assert_eq!(of(OTHER).calls.get(), NAMED_MAX as u64);
        assert_eq!(named.iter().map(|(_, figures)| figures.calls.get()).sum::<u64>(), 2 * NAMED_MAX as u64);
    }
}
