//! Whether a target was steady: while warming up, to know when measuring may begin, and over what was measured, since the percentiles of a server
//! that is getting slower are about how long the run was.
//!
//! The rules are written down in docs/LOAD.md, and are about medians of windows of time, which a few slow calls do not move:
//!
//! - *Warm*: of the last eight windows of a quarter second, the later four's median is within a tenth (or 20 us) of the earlier four's.
//! - *NOT STEADY*: over the windows of the measured part there is a trend (Mann-Kendall, p < 0.01), and by its slope (Theil-Sen) the
//!   median changed by more than a fifth, and more than 20 us. Both, because a trend of nothing is no trouble, and because a run whose last
//!   second was noisy has no trend. It may be the target, or this machine: a closed loop, a backlog and a noisy neighbour look alike.
//!
//! HOT: a histogram of two digits (1 %) per window, all there from the start. When they are full, neighbours become one.

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::record::HIGHEST_NS;
use crate::words::shown_ns;

/// A window with fewer answers has no median, and goes on.
const SAMPLES_MIN: u64 = 20;
/// Windows of the measured part: 30 KB each.
const WINDOWS_MAX: usize = 64;
/// Windows that a run is cut into.
const WINDOWS: u64 = 40;
/// Fewer say nothing about a trend, and about noise.
pub const WINDOWS_MIN: usize = 8;
const WINDOW_NS: u64 = 250_000_000;
const WINDOW_NS_MIN: u64 = 100_000_000;
/// A change of less is a cache that grew warm, not a trend.
const CHANGE_NS_MIN: f64 = 20_000.0;
const WARM_SHARE_MAX: f64 = 0.1;
const CHANGE_SHARE_MAX: f64 = 0.2;
/// Two-sided, p < 0.01.
const Z_MIN: f64 = 2.576;

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, HIGHEST_NS, 2).expect("1 ns to 60 s with 2 digits is a histogram")
}

/// Latencies by windows of time.
#[derive(Clone)]
pub struct Windows {
    sets: Vec<Histogram<u64>>,
    /// When each began, after the first answer.
    began: Vec<u64>,
    first: Option<u64>,
    at: usize,
    each_ns: u64,
    ends: Option<u64>,
}

impl Windows {
    /// For a measured part of so long, if that is known.
    pub fn new(expected_ns: Option<u64>) -> Windows {
        let each_ns = expected_ns.map_or(WINDOW_NS, |ns| (ns / WINDOWS).max(WINDOW_NS_MIN));
        let sets = vec![histogram(); WINDOWS_MAX];
        Windows { sets, began: vec![0; WINDOWS_MAX], first: None, at: 0, each_ns, ends: None }
    }

    #[inline]
    pub fn answered(&mut self, now: u64, latency: u64) {
        let ends = *self.ends.get_or_insert(now + self.each_ns);
        self.first.get_or_insert(now);
        if now >= ends && self.sets.get(self.at).is_some_and(|set| set.len() >= SAMPLES_MIN) {
            self.turn(now);
        }
        if let Some(set) = self.sets.get_mut(self.at) {
            set.saturating_record(latency);
        }
    }

    fn turn(&mut self, now: u64) {
        self.at += 1;
        if self.at == self.sets.len() {
            self.halve();
        }
        if let Some(began) = self.began.get_mut(self.at) {
            *began = now.saturating_sub(self.first.unwrap_or(now));
        }
        self.ends = Some(now + self.each_ns);
    }

    /// Two windows become one, twice as long.
    fn halve(&mut self) {
        self.at = self.sets.len() / 2;
        self.each_ns *= 2;
        for place in 0..self.at {
            let (one, rest) = self.sets.split_at_mut(2 * place + 1);
            if let (Some(one), Some(other)) = (one.last_mut(), rest.first()) {
                // Both have the same bounds.
                let _ = one.add(other);
            }
            self.sets.swap(place, 2 * place);
            self.began.swap(place, 2 * place);
        }
        self.sets.iter_mut().skip(self.at).for_each(Histogram::clear);
    }

    /// Of several machines that began together: the same time of each becomes one window. None where they were cut at different times.
    pub fn together(all: &[Vec<(u64, Histogram<u64>)>]) -> Option<Windows> {
        let shortest = all.iter().map(Vec::len).min()?;
        let longest = all.iter().map(Vec::len).max()?;
        // The last one of some may have had too few answers.
        if longest > (shortest + 1).min(WINDOWS_MAX) || shortest == 0 {
            return None;
        }
        let mut windows = Windows::new(None);
        for windows_of_one in all {
            for (place, (began, other)) in windows_of_one.iter().take(shortest).enumerate() {
                windows.sets.get_mut(place)?.add(other).ok()?;
                let of_all = windows.began.get_mut(place)?;
                *of_all = (*of_all).max(*began);
            }
        }
        windows.at = shortest - 1;
        Some(windows)
    }

    /// Those with a median, in order.
    pub fn full(&self) -> impl Iterator<Item = &Histogram<u64>> {
        self.timed().map(|(_, set)| set)
    }

    /// The same, each with when it began, in nanoseconds after the first answer.
    pub fn timed(&self) -> impl Iterator<Item = (u64, &Histogram<u64>)> {
        let sets = self.began.iter().copied().zip(&self.sets).take(self.at + 1);
        sets.filter(|(_, set)| set.len() >= SAMPLES_MIN)
    }

    pub fn medians(&self) -> Vec<f64> {
        self.full().map(|set| set.value_at_quantile(0.5) as f64).collect()
    }
}

/// A warm-up that ends when the target is steady.
pub(super) struct Settling {
    current: Histogram<u64>,
    ends: Option<u64>,
    /// The oldest first.
    medians: Vec<f64>,
}

impl Settling {
    pub fn new() -> Settling {
        Settling { current: histogram(), ends: None, medians: Vec::with_capacity(WINDOWS_MIN) }
    }

    /// Whether the target has become steady with this answer.
    pub fn answered(&mut self, now: u64, latency: u64) -> bool {
        let ends = *self.ends.get_or_insert(now + WINDOW_NS);
        let is_over = now >= ends && self.current.len() >= SAMPLES_MIN;
        if is_over {
            if self.medians.len() == WINDOWS_MIN {
                self.medians.remove(0);
            }
            self.medians.push(self.current.value_at_quantile(0.5) as f64);
            self.current.clear();
            self.ends = Some(now + WINDOW_NS);
        }
        self.current.saturating_record(latency);
        is_over && is_warm(&self.medians)
    }
}

fn is_warm(medians: &[f64]) -> bool {
    if medians.len() < WINDOWS_MIN {
        return false;
    }
    let (earlier, later) = medians.split_at(medians.len() / 2);
    let (earlier, later) = (median(earlier), median(later));
    (later - earlier).abs() <= (earlier * WARM_SHARE_MAX).max(CHANGE_NS_MIN)
}

/// What can be said of the measured part.
#[derive(Clone, PartialEq, Debug)]
pub enum Steadiness {
    Steady,
    /// With the reason.
    NotSteady(String),
    /// With what it would take.
    Unknown(String),
}

impl Steadiness {
    pub fn of(medians: &[f64]) -> Steadiness {
        if medians.len() < WINDOWS_MIN {
            return Steadiness::Unknown(format!(
                "{} windows of {SAMPLES_MIN} answers or more, and a trend takes {WINDOWS_MIN}: a longer run would tell",
                medians.len()
            ));
        }
        let change = slope(medians) * (medians.len() - 1) as f64;
        let middle = median(medians);
        let is_large = change.abs() > (middle * CHANGE_SHARE_MAX).max(CHANGE_NS_MIN);
        match is_large && trend(medians) > Z_MIN {
            true => Steadiness::NotSteady(format!(
                "the median of latencies went {} by {} while it was measured, from about {} to about {}",
                if change > 0.0 { "up" } else { "down" },
                shown_ns(change.abs()),
                shown_ns(middle - change / 2.0),
                shown_ns(middle + change / 2.0)
            )),
            false => Steadiness::Steady,
        }
    }

    pub fn to_json(&self) -> Value {
        match self {
            Steadiness::Steady => json!({ "steady": true, "why": null }),
            Steadiness::NotSteady(why) => json!({ "steady": false, "why": why }),
            Steadiness::Unknown(why) => json!({ "steady": null, "why": why }),
        }
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}

fn pairs(values: &[f64]) -> impl Iterator<Item = (usize, f64)> + '_ {
    values.iter().enumerate().flat_map(|(at, earlier)| {
        values.iter().skip(at + 1).enumerate().map(move |(apart, later)| (apart + 1, later - earlier))
    })
}

/// Theil and Sen: the median of the slopes of all pairs.
fn slope(values: &[f64]) -> f64 {
    let slopes: Vec<f64> = pairs(values).map(|(apart, change)| change / apart as f64).collect();
    median(&slopes)
}

/// Mann and Kendall: how far more pairs go one way than the other, in standard deviations. Windows of one value are no trend.
fn trend(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    let sign = |change: f64| if change == 0.0 { 0.0 } else { change.signum() };
    let sum: f64 = pairs(values).map(|(_, change)| sign(change)).sum();
    let deviation = (n * (n - 1.0) * (2.0 * n + 5.0) / 18.0).sqrt();
    (sum.abs() - 1.0).max(0.0) / deviation
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn noisy(n: usize, of: impl Fn(f64) -> f64) -> Vec<f64> {
        let mut random = Random::new(3);
        (0..n).map(|at| of(at as f64 / n as f64) * (1.0 + 0.05 * random.normal())).collect()
    }

    #[test]
    fn a_trend_is_told_and_noise_and_trifles_are_not() {
        let of = |medians: &[f64]| Steadiness::of(medians);
        let is = |medians: Vec<f64>| matches!(of(&medians), Steadiness::NotSteady(_));
        assert!(is(noisy(40, |at| 1e6 * (1.0 + at))), "slower and slower");
        assert!(is(noisy(40, |at| 2e6 - 1e6 * at)), "faster and faster");
        assert!(is(noisy(40, |at| if at < 0.5 { 1e6 } else { 2e6 })), "a step");
        assert!(!is(noisy(40, |_| 1e6)), "noise");
        assert!(!is(noisy(40, |at| 1e6 * (1.0 + 0.1 * at))), "a tenth");
        assert!(!is(noisy(40, |at| 1e4 * (1.0 + at))), "10 us");
        assert!(!is(noisy(40, |at| if at > 0.95 { 9e6 } else { 1e6 })), "the last second");
        // Seven tenths more by its slope, and yet four of 28 pairs the other way may be luck: p is above 0.01.
        assert!(!is([1.2, 1.0, 1.4, 1.3, 1.6, 1.5, 1.8, 1.7].map(|ms| ms * 1e6).to_vec()), "a few windows");
        assert!(matches!(of(&[1e6; 7]), Steadiness::Unknown(_)));
        let Steadiness::NotSteady(why) = of(&noisy(40, |at| 1e6 * (1.0 + at))) else { panic!() };
        assert!(why.contains("went up by"), "{why}");
    }

    #[test]
    fn a_target_is_warm_when_it_changes_no_more() {
        let mut settling = Settling::new();
        let (mut now, mut warm) = (0, None);
        // 20 ms at first, less by the second until 5 ms after three.
        while warm.is_none() && now < 30_000_000_000 {
            let latency = 20_000_000 - 5 * now.min(3_000_000_000) / 1_000;
            if settling.answered(now, latency) {
                warm = Some(now);
            }
            now += 1_000_000;
        }
        let warm = warm.unwrap() as f64 / 1e9;
        assert!((3.0..5.6).contains(&warm), "{warm} s");
    }

    #[test]
    fn windows_become_longer_and_lose_nothing() {
        let mut windows = Windows::new(Some(4_000_000_000));
        for at in 0..100_000u64 {
            windows.answered(at * 1_000_000, 1_000_000 + at);
        }
        let counts: Vec<u64> = windows.full().map(|set| set.len()).collect();
        assert!((32..=64).contains(&counts.len()), "{counts:?}");
        assert_eq!(windows.sets.iter().map(|set| set.len()).sum::<u64>(), 100_000);
        let began: Vec<u64> = windows.timed().map(|(began, _)| began).collect();
        assert_eq!(began[0], 0);
        assert!(began.windows(2).all(|pair| pair[0] < pair[1]), "{began:?}");
        assert!(windows.medians().windows(2).all(|pair| pair[0] <= pair[1]), "{:?}", windows.medians());
    }
}
