//! What several things cost beside each other on a machine that does other things as well: in each round each of them runs for a
//! moment, in turning order; ratios are of one round, and what is told is their median.

use std::time::{Duration, Instant};

/// One of the things: it runs so often.
pub struct Arm<'a> {
    pub name: &'a str,
    pub run: Box<dyn FnMut(usize) + 'a>,
}

/// By arm, then by round: nanoseconds of one run.
pub struct Measured(Vec<Vec<f64>>);

/// The length of one arm's part of a round: short beside the time slice of a busy machine, long beside a clock's reading.
const PART: Duration = Duration::from_millis(2);

pub fn measure(arms: &mut [Arm<'_>], rounds: usize) -> Measured {
    // So often that a part has its length; this is also the warm-up.
    let counts: Vec<usize> = arms
        .iter_mut()
        .map(|arm| {
            let mut count = 1;
            loop {
                let took = timed(arm, count);
                if took >= PART {
                    return ((count as f64 * PART.as_secs_f64() / took.as_secs_f64()) as usize).max(1);
                }
                count *= 2;
            }
        })
        .collect();
    let mut measured = vec![Vec::with_capacity(rounds); arms.len()];
    for round in 0..rounds {
        for turn in 0..arms.len() {
            let at = (round + turn) % arms.len();
            let took = timed(&mut arms[at], counts[at]);
            measured[at].push(took.as_nanos() as f64 / counts[at] as f64);
        }
    }
    Measured(measured)
}

fn timed(arm: &mut Arm<'_>, count: usize) -> Duration {
    let began = Instant::now();
    (arm.run)(count);
    began.elapsed()
}

impl Measured {
    pub fn cost(&self, arm: usize) -> Spread {
        Spread::of(self.0[arm].clone())
    }

    /// What one costs, in costs of the other.
    pub fn ratio(&self, one: usize, other: usize) -> Spread {
        Spread::of(self.0[one].iter().zip(&self.0[other]).map(|(one, other)| one / other).collect())
    }
}

/// A median with the quartiles around it.
pub struct Spread {
    pub median: f64,
    pub quartiles: [f64; 2],
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Spread {
        values.sort_by(f64::total_cmp);
        let at = |part: usize| values[(values.len() - 1) * part / 4];
        Spread { median: at(2), quartiles: [at(1), at(3)] }
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [low, high] = self.quartiles;
        match self.median {
            ..10.0 => write!(f, "{:.2} [{low:.2} {high:.2}]", self.median),
            _ => write!(f, "{:.1} [{low:.1} {high:.1}]", self.median),
        }
    }
}
