//! `--think`: what a user of a closed loop does between an answer and the next call.
//!
//! The decision: a call is due when its user has done thinking, not when the generator gets to it, so that the latency of a closed loop with
//! thinking counts from the intended start too. Users begin with thinking, or all of them would call at once. HOT: a heap as large as there
//! are connections, and a number drawn.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use serde::{Deserialize, Serialize};

use crate::random::Random;
use crate::words::{duration_ns, shown_ns};

/// The longest that is drawn or accepted.
const THINK_NS_MAX: u64 = 600_000_000_000;

/// How long a user thinks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Think {
    Fixed {
        ns: u64,
    },
    /// At random around a mean, as independent users do.
    Exponential {
        mean_ns: u64,
    },
    Uniform {
        from_ns: u64,
        to_ns: u64,
    },
}

impl Think {
    /// `2s`, `exp:2s`, `uniform:1s,5s`.
    pub fn parse(text: &str) -> Result<Think, String> {
        let time = |text: &str| match duration_ns(text)? {
            ns if ns <= THINK_NS_MAX => Ok(ns),
            _ => Err(format!("`{text}` is more than {}", shown_ns(THINK_NS_MAX as f64))),
        };
        match text.split_once(':') {
            None => Ok(Think::Fixed { ns: time(text)? }),
            Some(("exp", mean)) => Ok(Think::Exponential { mean_ns: time(mean)? }),
            Some(("uniform", between)) => {
                let (from, to) = between
                    .split_once(',')
                    .ok_or_else(|| format!("`{text}` has one end: expected uniform:FROM,TO"))?;
                let (from_ns, to_ns) = (time(from)?, time(to)?);
                match from_ns <= to_ns {
                    true => Ok(Think::Uniform { from_ns, to_ns }),
                    false => Err(format!("`{text}` ends before it begins")),
                }
            }
            Some(_) => {
                Err(format!("`{text}` is no time to think: expected TIME, exp:MEAN or uniform:FROM,TO"))
            }
        }
    }

    pub fn shown(self) -> String {
        let of = |ns: u64| shown_ns(ns as f64);
        match self {
            Think::Fixed { ns } => of(ns),
            Think::Exponential { mean_ns } => format!("{} on average, at random", of(mean_ns)),
            Think::Uniform { from_ns, to_ns } => format!("{} to {}", of(from_ns), of(to_ns)),
        }
    }

    /// Whether [`Think::parse`] could have made it.
    pub(crate) fn is_fit(self) -> bool {
        match self {
            Think::Fixed { ns } | Think::Exponential { mean_ns: ns } => ns <= THINK_NS_MAX,
            Think::Uniform { from_ns, to_ns } => from_ns <= to_ns && to_ns <= THINK_NS_MAX,
        }
    }

    fn draw(self, random: &mut Random) -> u64 {
        match self {
            Think::Fixed { ns } => ns,
            Think::Exponential { mean_ns } => {
                ((random.exponential() * mean_ns as f64) as u64).min(THINK_NS_MAX)
            }
            Think::Uniform { from_ns, to_ns } => from_ns + random.below(to_ns - from_ns + 1),
        }
    }
}

/// Connections whose users think, by when they will have done so.
pub(super) struct Thinkers {
    think: Think,
    random: Random,
    until: BinaryHeap<Reverse<(u64, usize)>>,
}

impl Thinkers {
    pub fn new(think: Think, seed: u64, connections: usize) -> Thinkers {
        Thinkers {
            think,
            random: Random::new(seed ^ 0x0074_6869_6e6b),
            until: BinaryHeap::with_capacity(connections),
        }
    }

    pub fn begin(&mut self, now: u64, connection: usize) {
        let done = now.saturating_add(self.think.draw(&mut self.random));
        self.until.push(Reverse((done, connection)));
    }

    /// One that has done so, and since when.
    pub fn done(&mut self, now: u64) -> Option<(usize, u64)> {
        let Reverse((at, connection)) = *self.until.peek().filter(|Reverse((at, _))| *at <= now)?;
        self.until.pop();
        Some((connection, at))
    }

    /// When the next one will have.
    pub fn next(&self) -> Option<u64> {
        self.until.peek().map(|Reverse((at, _))| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_to_think_are_read_and_drawn() {
        assert_eq!(Think::parse("2s"), Ok(Think::Fixed { ns: 2_000_000_000 }));
        let mut random = Random::new(1);
        let mean = |text: &str, random: &mut Random| {
            let think = Think::parse(text).unwrap();
            (0..20_000).map(|_| think.draw(random) as f64).sum::<f64>() / 20_000.0 / 1e6
        };
        assert!((mean("exp:10ms", &mut random) - 10.0).abs() < 0.3);
        assert!((mean("uniform:10ms,20ms", &mut random) - 15.0).abs() < 0.2);
        for text in ["", "2", "-1s", "exp:", "exp", "uniform:1s", "uniform:2s,1s", "normal:1s", "11m"] {
            assert!(Think::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn whoever_is_done_first_comes_first() {
        let mut thinkers = Thinkers::new(Think::Fixed { ns: 10 }, 1, 3);
        thinkers.begin(5, 7);
        thinkers.begin(3, 8);
        assert_eq!((thinkers.next(), thinkers.done(12)), (Some(13), None));
        assert_eq!(
            (thinkers.done(20), thinkers.done(20), thinkers.done(20)),
            (Some((8, 13)), Some((7, 15)), None)
        );
    }
}
