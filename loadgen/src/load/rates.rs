//! How many requests per second an open loop sends while it is measured: always the same, rising, in steps, or at the times that
//! somebody wrote down.
//!
//! A course of rates is two functions, one the inverse of the other: how many requests are due within a time, and when a request
//! is due. A plan asks the second for whole requests when arrivals are even, and for sums of random gaps when they are not, so that
//! every course has both kinds of arrivals, and rounding never adds up.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::words::{rate, shown_ns};

/// Steps of one run.
pub const STEPS_MAX: usize = 1_000;
/// Times of one trace: 80 MB of them.
pub const TRACE_MAX: usize = 10_000_000;

const SECOND_NS: f64 = 1e9;

/// Requests per second over the measured part. A warm-up runs at the first of them.
#[derive(Clone, PartialEq, Debug)]
pub enum Rates {
    Constant(f64),
    /// In a straight line; what comes after goes on at the last rate.
    Ramp {
        from: f64,
        to: f64,
        over_ns: u64,
    },
    /// Each for so long; the last one goes on.
    Steps {
        rates: Arc<[f64]>,
        each_ns: u64,
    },
    /// When each request is due, in nanoseconds after the first; in order.
    Trace(Arc<[u64]>),
}

impl Rates {
    /// Requests that are due within so long.
    pub fn expected(&self, elapsed_ns: u64) -> f64 {
        let elapsed = elapsed_ns as f64 / SECOND_NS;
        match self {
            Rates::Constant(rate) => rate * elapsed,
            Rates::Ramp { from, to, over_ns } => {
                let over = *over_ns as f64 / SECOND_NS;
                let rising = elapsed.min(over);
                from * rising + (to - from) / over * rising * rising / 2.0 + to * (elapsed - rising)
            }
            Rates::Steps { rates, each_ns } => {
                let each = *each_ns as f64 / SECOND_NS;
                let (mut left, mut requests) = (elapsed, 0.0);
                for (place, rate) in rates.iter().enumerate() {
                    let is_last = place + 1 == rates.len();
                    let lasts = if is_last { left } else { left.min(each) };
                    requests += rate * lasts;
                    left -= lasts;
                }
                requests
            }
            Rates::Trace(times) => times.partition_point(|at| *at < elapsed_ns) as f64,
        }
    }

    /// When so many requests have been due, in nanoseconds after the first.
    pub fn due_ns(&self, requests: f64) -> u64 {
        let seconds = match self {
            Rates::Constant(rate) => return (requests * SECOND_NS / rate) as u64,
            Rates::Ramp { from, to, over_ns } => {
                let over = *over_ns as f64 / SECOND_NS;
                let rising = (from + to) / 2.0 * over;
                match requests <= rising {
                    // The root of the parabola that does not subtract what is almost equal.
                    true => {
                        let slope = (to - from) / over;
                        let root = (from * from + 2.0 * slope * requests).max(0.0).sqrt();
                        2.0 * requests / (from + root)
                    }
                    false => over + (requests - rising) / to,
                }
            }
            Rates::Steps { rates, each_ns } => {
                let each = *each_ns as f64 / SECOND_NS;
                let (mut left, mut elapsed) = (requests, 0.0);
                for (place, rate) in rates.iter().enumerate() {
                    if place + 1 == rates.len() || left <= rate * each {
                        elapsed += left / rate;
                        break;
                    }
                    left -= rate * each;
                    elapsed += each;
                }
                elapsed
            }
            Rates::Trace(times) => return times.get(requests as usize).copied().unwrap_or(u64::MAX),
        };
        (seconds * SECOND_NS) as u64
    }

    /// What a warm-up runs at.
    pub fn first(&self) -> f64 {
        match self {
            Rates::Constant(rate) => *rate,
            Rates::Ramp { from, .. } => *from,
            Rates::Steps { rates, .. } => rates.first().copied().unwrap_or(1.0),
            Rates::Trace(times) => {
                let lasts = times.last().copied().unwrap_or(0).max(1_000_000_000);
                times.len() as f64 * SECOND_NS / lasts as f64
            }
        }
    }

    /// The most in any second.
    pub fn highest(&self) -> f64 {
        match self {
            Rates::Constant(rate) => *rate,
            Rates::Ramp { from, to, .. } => from.max(*to),
            Rates::Steps { rates, .. } => rates.iter().copied().fold(0.0, f64::max),
            Rates::Trace(times) => {
                let (mut first, mut most) = (0, 0);
                for (last, at) in times.iter().enumerate() {
                    while times.get(first).is_some_and(|began| began + 1_000_000_000 <= *at) {
                        first += 1;
                    }
                    most = most.max(last + 1 - first);
                }
                most as f64
            }
        }
    }

    /// The one rate there is.
    pub fn constant(&self) -> Option<f64> {
        match self {
            Rates::Constant(rate) => Some(*rate),
            _ => None,
        }
    }

    pub fn shown(&self) -> String {
        match self {
            Rates::Constant(rate) => format!("{rate:.1}/s"),
            Rates::Ramp { from, to, over_ns } => {
                format!("{from:.1}/s to {to:.1}/s over {}", shown_ns(*over_ns as f64))
            }
            Rates::Steps { rates, each_ns } => {
                let shown: Vec<String> = rates.iter().map(|rate| format!("{rate:.1}/s")).collect();
                format!("{}, each for {}", shown.join(", "), shown_ns(*each_ns as f64))
            }
            Rates::Trace(times) => {
                let lasts = times.last().copied().unwrap_or(0);
                format!("{} requests of a trace over {}", times.len(), shown_ns(lasts as f64))
            }
        }
    }

    pub fn to_json(&self) -> Value {
        let seconds = |ns: u64| ns as f64 / SECOND_NS;
        match self {
            Rates::Constant(rate) => json!({ "kind": "constant", "rate": rate }),
            Rates::Ramp { from, to, over_ns } => {
                json!({ "kind": "ramp", "from": from, "to": to, "over_s": seconds(*over_ns) })
            }
            Rates::Steps { rates, each_ns } => {
                json!({ "kind": "steps", "rates": &rates[..], "each_s": seconds(*each_ns) })
            }
            Rates::Trace(times) => {
                json!({ "kind": "trace", "requests": times.len(), "over_s": seconds(times.last().copied().unwrap_or(0)) })
            }
        }
    }
}

/// `100..2000`: the ends of a ramp.
pub fn ramp(text: &str) -> Result<(f64, f64), String> {
    let ends = text.split_once("..").ok_or_else(|| format!("`{text}` is no ramp: expected FROM..TO"))?;
    Ok((rate(ends.0.trim())?, rate(ends.1.trim())?))
}

/// The times of a trace: one a line, in seconds after the first request, in order. Blank lines and lines of `#` are passed over.
pub fn trace(text: &str) -> Result<Arc<[u64]>, String> {
    let mut times: Vec<u64> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let written = line.trim();
        if written.is_empty() || written.starts_with('#') {
            continue;
        }
        let at = |why: &str| format!("line {}: `{}` {why}", number + 1, written.escape_debug());
        let seconds: f64 = written.parse().map_err(|_| at("is no number of seconds"))?;
        if !(0.0..=1e9).contains(&seconds) {
            return Err(at("is no time within a run: expected 0 to 1e9 seconds"));
        }
        let ns = (seconds * SECOND_NS) as u64;
        if times.last().is_some_and(|last| ns < *last) {
            return Err(at("comes before the line above it: times stand in order"));
        }
        if times.len() == TRACE_MAX {
            return Err(at(&format!("is one too many: a trace has {TRACE_MAX} times at most")));
        }
        times.push(ns);
    }
    let first = *times.first().ok_or("there is no time in it")?;
    times.iter_mut().for_each(|at| *at -= first);
    Ok(times.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: u64 = 60_000_000_000;

    fn courses() -> impl Strategy<Value = Rates> {
        let rate = 0.1..1e6f64;
        let times = prop::collection::vec(0..MINUTE, 1..50).prop_map(|mut times| {
            times.sort_unstable();
            Rates::Trace(times.into())
        });
        prop_oneof![
            rate.clone().prop_map(Rates::Constant),
            (rate.clone(), rate.clone(), 1_000_000..MINUTE).prop_map(|(from, to, over_ns)| Rates::Ramp {
                from,
                to,
                over_ns
            }),
            (prop::collection::vec(rate, 1..9), 1_000_000..MINUTE)
                .prop_map(|(rates, each_ns)| Rates::Steps { rates: rates.into(), each_ns }),
            times,
        ]
    }

    proptest! {
        /// What is due by a time is what has been due by then, whatever the course.
        #[test]
        fn one_is_the_inverse_of_the_other(rates in courses(), share in 0.0..2.0f64) {
            let requests = (rates.expected(MINUTE) * share).floor();
            let due_ns = rates.due_ns(requests);
            if matches!(rates, Rates::Trace(_)) {
                // Several may be due at once.
                prop_assert!(due_ns == u64::MAX || rates.expected(due_ns) <= requests);
            } else {
                let again = rates.expected(due_ns);
                // A nanosecond of rounding, at the highest rate, and what a float forgets.
                let off = (again - requests).abs();
                prop_assert!(off <= rates.highest() * 2e-9 + requests * 1e-9 + 1e-6, "{requests} {again}");
            }
        }

        #[test]
        fn nothing_is_due_before_what_came_before_it(rates in courses(), first in 0.0..1e6f64, more in 0.0..1e3f64) {
            prop_assert!(rates.due_ns(first) <= rates.due_ns(first + more));
            prop_assert!(rates.first() <= rates.highest() + 1.0);
        }
    }

    #[test]
    fn a_ramp_has_the_requests_of_its_mean_and_most_of_them_late() {
        let rates = Rates::Ramp { from: 0.1, to: 200.1, over_ns: 10_000_000_000 };
        assert!((rates.expected(10_000_000_000) - 1_001.0).abs() < 1e-6);
        assert!((rates.expected(5_000_000_000) - 250.5).abs() < 1e-6);
        assert!((rates.expected(11_000_000_000) - 1_201.1).abs() < 1e-6);
        let down = Rates::Ramp { from: 200.1, to: 0.1, over_ns: 10_000_000_000 };
        assert!((down.expected(5_000_000_000) - 750.5).abs() < 1e-6);
    }

    #[test]
    fn a_trace_is_read_and_a_bad_line_is_named() {
        assert_eq!(*trace("# a day\n1.5\n\n 1.5\n2\r\n").unwrap(), [0, 0, 500_000_000]);
        for (text, word) in [
            ("", "no time"),
            ("# only this", "no time"),
            ("1\nsoon", "line 2: `soon`"),
            ("1\n0.5", "line 2: `0.5` comes before"),
            ("-1", "line 1"),
            ("nan", "line 1"),
            ("inf", "line 1"),
            ("1e300", "line 1"),
            ("1 2", "line 1"),
        ] {
            let told = trace(text).unwrap_err();
            assert!(told.contains(word), "{text}: {told}");
        }
    }

    #[test]
    fn the_most_in_any_second_is_what_a_target_meets() {
        let trace = Rates::Trace([0, 900, 950, 1_899, 2_500].map(|ms| ms * 1_000_000).into());
        assert_eq!(trace.highest(), 3.0);
        assert_eq!(Rates::Steps { rates: [1.0, 9.0, 2.0].into(), each_ns: 1 }.highest(), 9.0);
        assert_eq!(ramp("100 .. 2000/s"), Ok((100.0, 2_000.0)));
        for bad in ["100", "..", "100..", "0..5", "a..b", "1..-1", "1..inf"] {
            assert!(ramp(bad).is_err(), "{bad}");
        }
    }
}
