//! What a run has seen: histograms of successes and of failures, kept apart, and failures by cause. HOT:
//! recording is a few additions into memory that is there from the start.
//!
//! The decision: a percentile that fewer than ten samples lie beyond is refused, with the number that
//! would do. A p99 of 200 calls is two calls' luck.

use hdrhistogram::Histogram;

use crate::target::Cause;

/// Samples that must lie beyond a percentile for it to be told.
pub const BEYOND_MIN: f64 = 10.0;
/// 1 ns to 60 s with three digits: 216 KiB each. What is longer counts as 60 s in a percentile.
pub const HIGHEST_NS: u64 = 60_000_000_000;
const DIGITS: u8 = 3;
/// Different HTTP statuses and JSON-RPC codes that are told apart; the rest is counted together.
const CODES_MAX: usize = 16;

/// Durations of one kind.
#[derive(Clone)]
pub struct Times {
    histogram: Histogram<u64>,
    sum: u128,
    max: u64,
}

impl Default for Times {
    fn default() -> Self {
        Times::new()
    }
}

/// Which percentile, and how it is called.
pub const PERCENTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)];

/// A percentile, or how many samples it would take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Percentile {
    Known(u64),
    Refused { needs: u64 },
}

impl Percentile {
    /// Samples without which it is not told.
    pub fn needs(quantile: f64) -> u64 {
        // Rounded, since 1 - 0.99 is not a hundredth in binary.
        (BEYOND_MIN / (1.0 - quantile)).round() as u64
    }

    pub fn known(self) -> Option<u64> {
        match self {
            Percentile::Known(ns) => Some(ns),
            Percentile::Refused { .. } => None,
        }
    }
}

impl Times {
    pub fn new() -> Times {
        let histogram = Histogram::new_with_bounds(1, HIGHEST_NS, DIGITS);
        Times { histogram: histogram.expect("1 ns to 60 s with 3 digits is a histogram"), sum: 0, max: 0 }
    }

    #[inline]
    pub fn record(&mut self, ns: u64) {
        self.histogram.saturating_record(ns);
        self.sum += u128::from(ns);
        self.max = self.max.max(ns);
    }

    /// What somebody else recorded, with its exact sum and maximum; an error when it does not fit in here.
    pub fn add(&mut self, histogram: &Histogram<u64>, sum: u128, max: u64) -> Result<(), String> {
        let is_like = (histogram.low(), histogram.high(), histogram.sigfig())
            == (1, HIGHEST_NS, self.histogram.sigfig());
        if !is_like {
            return Err("a histogram of other bounds".to_owned());
        }
        self.histogram.add(histogram).map_err(|error| error.to_string())?;
        self.sum = self.sum.saturating_add(sum);
        self.max = self.max.max(max);
        Ok(())
    }

    /// As it was, and as large.
    pub fn clear(&mut self) {
        self.histogram.clear();
        (self.sum, self.max) = (0, 0);
    }

    pub fn histogram(&self) -> &Histogram<u64> {
        &self.histogram
    }

    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// The exact largest one; none when nothing was recorded.
    pub fn max(&self) -> Option<u64> {
        (self.count() > 0).then_some(self.max)
    }

    /// Exact, as the mean is.
    pub fn sum_ns(&self) -> u128 {
        self.sum
    }

    pub fn mean(&self) -> Option<f64> {
        (self.count() > 0).then(|| self.sum as f64 / self.count() as f64)
    }

    pub fn percentile(&self, quantile: f64) -> Percentile {
        let needs = Percentile::needs(quantile);
        match self.count() >= needs {
            true => Percentile::Known(self.histogram.value_at_quantile(quantile).min(self.max)),
            false => Percentile::Refused { needs },
        }
    }

    /// The quantile whatever the count, for decisions about the generator itself.
    pub fn quantile(&self, quantile: f64) -> u64 {
        self.histogram.value_at_quantile(quantile).min(self.max)
    }
}

/// Counts by a small number.
#[derive(Clone, Default)]
pub struct Codes {
    counts: Vec<(i64, u64)>,
    pub others: u64,
}

impl Codes {
    fn new() -> Codes {
        Codes { counts: Vec::with_capacity(CODES_MAX), others: 0 }
    }

    fn count(&mut self, code: i64) {
        self.add(code, 1);
    }

    pub fn add(&mut self, code: i64, times: u64) {
        let is_room = self.counts.len() < CODES_MAX;
        match self.counts.iter_mut().find(|(known, _)| *known == code) {
            Some((_, count)) => *count = count.saturating_add(times),
            None if is_room => self.counts.push((code, times)),
            None => self.others = self.others.saturating_add(times),
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (i64, u64)> {
        self.counts.iter().copied()
    }
}

/// Everything that was measured of one run.
#[derive(Clone)]
pub struct Record {
    /// From the moment a request was due to its answer.
    pub latency: Times,
    /// From its first byte sent to its answer.
    pub service: Times,
    /// From due to sent.
    pub send_lag: Times,
    /// The part of it that is the generator's own: a connection was free and the time had come.
    pub own_lag: Times,
    /// As latency and service, of calls that failed.
    pub failed_latency: Times,
    pub failed_service: Times,
    /// Of streams: from due to the first event, and between one and the next, the answer included.
    pub first_event: Times,
    pub event_gap: Times,
    pub causes: [u64; Cause::WORDS.len()],
    /// Calls that were given up on purpose, and those whose answer crossed that.
    pub cancelled: u64,
    pub crossed: u64,
    pub statuses: Codes,
    pub codes: Codes,
    pub body_bytes: u64,
    pub events: u64,
}

impl Default for Record {
    fn default() -> Self {
        Record::new()
    }
}

impl Record {
    pub fn new() -> Record {
        Record {
            latency: Times::new(),
            service: Times::new(),
            send_lag: Times::new(),
            own_lag: Times::new(),
            failed_latency: Times::new(),
            failed_service: Times::new(),
            first_event: Times::new(),
            event_gap: Times::new(),
            cancelled: 0,
            crossed: 0,
            causes: [0; Cause::WORDS.len()],
            statuses: Codes::new(),
            codes: Codes::new(),
            body_bytes: 0,
            events: 0,
        }
    }

    pub fn succeeded(&self) -> u64 {
        self.latency.count()
    }

    pub fn failed(&self) -> u64 {
        self.causes.iter().sum()
    }

    pub fn failure(&mut self, cause: Cause) {
        if let Some(count) = self.causes.get_mut(cause.index()) {
            *count += 1;
        }
        match cause {
            Cause::HttpStatus(status) => self.statuses.count(i64::from(status)),
            Cause::JsonRpc(code) => self.codes.count(code),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_needs_ten_samples_beyond_it() {
        for (quantile, needs) in [(0.5, 20), (0.9, 100), (0.99, 1_000), (0.999, 10_000)] {
            let mut times = Times::new();
            for sample in 1..needs {
                times.record(sample * 1_000);
            }
            assert_eq!(times.percentile(quantile), Percentile::Refused { needs }, "{quantile}");
            times.record(needs * 1_000);
            let known = times.percentile(quantile).known().unwrap() as f64;
            let exact = quantile * needs as f64 * 1_000.0;
            assert!((known / exact - 1.0).abs() < 0.002, "{quantile}: {known}, exact {exact}");
        }
    }

    #[test]
    fn the_largest_and_the_mean_are_exact_and_the_endless_is_kept() {
        let mut times = Times::new();
        assert_eq!((times.max(), times.mean()), (None, None));
        times.record(123_456_789);
        times.record(u64::MAX / 2);
        assert_eq!(times.max(), Some(u64::MAX / 2));
        assert_eq!(times.mean(), Some((123_456_789.0 + (u64::MAX / 2) as f64) / 2.0));
    }
}
