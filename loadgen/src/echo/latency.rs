//! How long a call takes: drawn from a distribution, and moved out of the windows in which the server
//! stands still. Seeded, so that two runs meet the same times in the same order.

use crate::random::Random;
use crate::words::duration_ns;

/// The longest latency that is accepted or drawn.
const LATENCY_NS_MAX: u64 = 60_000_000_000;

#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub enum Latency {
    /// At once.
    #[default]
    None,
    Fixed {
        ns: u64,
    },
    /// Its median, and the deviation of the logarithm: 0.5 has a p99 of 3.2 medians.
    Lognormal {
        median_ns: u64,
        sigma: f64,
    },
    Uniform {
        from_ns: u64,
        to_ns: u64,
    },
    /// In a straight line from one to the other over so long after the server's start, and the last from then on.
    Drift {
        from_ns: u64,
        to_ns: u64,
        over_ns: u64,
    },
    /// At once, but every `every_ns` the server stands still for `for_ns`.
    Stall {
        every_ns: u64,
        for_ns: u64,
    },
}

impl Latency {
    /// `fixed:5ms`, `lognormal:2ms,0.5`, `uniform:1ms,9ms`, `stall:10s,500ms`, `drift:5ms,20ms,10s`.
    pub fn parse(text: &str) -> Result<Latency, String> {
        const FORMS: &str = "expected fixed:TIME, lognormal:MEDIAN,SIGMA, uniform:FROM,TO, \
                             stall:EVERY,FOR or drift:FROM,TO,OVER";
        let wrong = || format!("`{text}` is no latency: {FORMS}");
        let (kind, values) = text.split_once(':').ok_or_else(wrong)?;
        let time = |text: &str| {
            let ns = duration_ns(text)?;
            match ns <= LATENCY_NS_MAX {
                true => Ok(ns),
                false => Err(format!("`{text}` is more than a minute")),
            }
        };
        let two = || values.split_once(',').ok_or_else(wrong);
        Ok(match kind {
            "fixed" => Latency::Fixed { ns: time(values)? },
            "lognormal" => {
                let (median, sigma) = two()?;
                let sigma: f64 = sigma.trim().parse().map_err(|_| wrong())?;
                if !(0.0..=4.0).contains(&sigma) {
                    return Err(format!("the sigma of `{text}` is not between 0 and 4"));
                }
                Latency::Lognormal { median_ns: time(median)?, sigma }
            }
            "uniform" => {
                let (from, to) = two()?;
                let (from_ns, to_ns) = (time(from)?, time(to)?);
                if from_ns > to_ns {
                    return Err(format!("`{text}` ends before it begins"));
                }
                Latency::Uniform { from_ns, to_ns }
            }
            "stall" => {
                let (every, length) = two()?;
                let (every_ns, for_ns) = (time(every)?, time(length)?);
                if for_ns >= every_ns {
                    return Err(format!(
                        "`{text}` would never answer: a stall must be shorter than its period"
                    ));
                }
                Latency::Stall { every_ns, for_ns }
            }
            "drift" => {
                let (from, rest) = two()?;
                let (to, over) = rest.split_once(',').ok_or_else(wrong)?;
                match duration_ns(over)? {
                    0 => return Err(format!("`{text}` drifts over no time: expected drift:FROM,TO,OVER")),
                    over_ns => Latency::Drift { from_ns: time(from)?, to_ns: time(to)?, over_ns },
                }
            }
            _ => return Err(wrong()),
        })
    }

    /// The time of one call that arrives so long after the server's start.
    pub fn draw(&self, random: &mut Random, now: u64) -> u64 {
        match *self {
            Latency::None | Latency::Stall { .. } => 0,
            Latency::Fixed { ns } => ns,
            Latency::Drift { from_ns, to_ns, over_ns } => {
                let share = now.min(over_ns) as f64 / over_ns as f64;
                (from_ns as f64 + (to_ns as f64 - from_ns as f64) * share) as u64
            }
            Latency::Lognormal { median_ns, sigma } => {
                ((median_ns as f64 * (sigma * random.normal()).exp()) as u64).min(LATENCY_NS_MAX)
            }
            Latency::Uniform { from_ns, to_ns } => from_ns + random.below(to_ns - from_ns + 1),
        }
    }

    /// When something due at `due` leaves: at the end of the stall it falls into, if any. Times count
    /// from the server's start, and the first stall begins one period later.
    pub fn leave(&self, due: u64) -> u64 {
        match *self {
            Latency::Stall { every_ns, for_ns } if every_ns > 0 && due >= every_ns => {
                let began = due - due % every_ns;
                due.max(began + for_ns)
            }
            _ => due,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_are_read_and_nonsense_is_told() {
        assert_eq!(Latency::parse("fixed:5ms"), Ok(Latency::Fixed { ns: 5_000_000 }));
        let uniform = Latency::Uniform { from_ns: 1_000, to_ns: 2_000_000 };
        assert_eq!(Latency::parse("uniform:1us,2ms"), Ok(uniform));
        let stall = Latency::Stall { every_ns: 5_000_000_000, for_ns: 500_000_000 };
        assert_eq!(Latency::parse("stall:5s,500ms"), Ok(stall));
        let drift = Latency::Drift { from_ns: 5_000_000, to_ns: 1_000_000, over_ns: 2_000_000_000 };
        assert_eq!(Latency::parse("drift:5ms,1ms,2s"), Ok(drift));
        let drawn = [0, 1, 2, 9].map(|at| drift.draw(&mut Random::new(1), at * 1_000_000_000));
        assert_eq!(drawn, [5_000_000, 3_000_000, 1_000_000, 1_000_000]);
        for text in [
            "drift:1ms,2ms",
            "drift:1ms,2ms,0",
            "",
            "5ms",
            "fixed:",
            "fixed:5",
            "fixed:2m",
            "lognormal:1ms",
            "lognormal:1ms,9",
            "lognormal:1ms,nan",
            "uniform:2ms,1ms",
            "stall:1s,1s",
            "normal:1ms,1",
        ] {
            assert!(Latency::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_stall_moves_what_falls_into_it() {
        let stall = Latency::Stall { every_ns: 1_000, for_ns: 100 };
        for (due, leaves) in
            [(0, 0), (50, 50), (999, 999), (1_000, 1_100), (1_099, 1_100), (1_100, 1_100), (2_050, 2_100)]
        {
            assert_eq!(stall.leave(due), leaves, "{due}");
        }
    }

    #[test]
    fn a_distribution_has_its_median_and_tail() {
        let mut random = Random::new(1);
        let lognormal = Latency::Lognormal { median_ns: 2_000_000, sigma: 0.5 };
        let mut drawn: Vec<u64> = (0..100_001).map(|_| lognormal.draw(&mut random, 0)).collect();
        drawn.sort_unstable();
        let (median, p99) = (drawn[50_000] as f64, drawn[99_000] as f64);
        assert!((median / 2e6 - 1.0).abs() < 0.02, "{median}");
        assert!((p99 / (2e6 * (0.5f64 * 2.3263).exp()) - 1.0).abs() < 0.04, "{p99}");
        let uniform = Latency::Uniform { from_ns: 3, to_ns: 5 };
        assert!((0..1000).all(|_| (3..=5).contains(&uniform.draw(&mut random, 0))));
    }
}
