//! The third estimand: how long requests stay in the gateway by the gateway's own clock, out of the histogram
//! that its metrics have of it. From the whole request received to the answer handed to the kernel, less the wait
//! for the server (docs/METRICS.md).
//!
//! It is never mixed with what is added, which a client sees and which holds the wire and every wake-up as well.
//! It can contradict a PASS, and it can be judged by limits of its own. A bucket says "up to": a figure is told
//! as the bucket it lies in, never as a number between.

use serde::{Deserialize, Serialize};

use super::limit::Percentile;
use super::verdict::micros;

/// The family of Strait's metrics.
pub const FAMILY: &str = "strait_gateway_added_seconds";
/// The quantile of the normal distribution that leaves 2.5 % outside at either end.
const Z: f64 = 1.96;

/// Counts up to and including each bound, ns; the last bound is that of everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Residence {
    pub up_to: Vec<(u64, u64)>,
}

/// Where a percentile lies: over the first, and at most the second, which nobody knows in the last bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Within {
    pub over_ns: u64,
    pub at_most_ns: Option<u64>,
}

impl Within {
    /// `8.2 us to 16.4 us`.
    pub fn told(self) -> String {
        let told = |ns: u64| micros(i64::try_from(ns).unwrap_or(i64::MAX));
        match self.at_most_ns {
            Some(most) => format!("{} to {}", told(self.over_ns), told(most)),
            None => format!("over {}", told(self.over_ns)),
        }
    }
}

impl Residence {
    /// Out of a page in Prometheus' text format; nothing where a gateway does not tell.
    pub fn parse(page: &str) -> Option<Residence> {
        let lines = page.lines().filter_map(|line| line.strip_prefix(FAMILY)?.strip_prefix("_bucket{le=\""));
        let mut up_to = Vec::new();
        for line in lines {
            let (bound, rest) = line.split_once('"')?;
            let count = rest.strip_prefix("} ")?.split(' ').next()?.parse().ok()?;
            let bound = match bound {
                "+Inf" => u64::MAX,
                seconds => (seconds.parse::<f64>().ok()? * 1e9).round() as u64,
            };
            up_to.push((bound, count));
        }
        (!up_to.is_empty() && up_to.is_sorted()).then_some(Residence { up_to })
    }

    /// What came between two readings; nothing when they are not of one process.
    pub fn until(&self, after: &Residence) -> Option<Residence> {
        let pairs = self.up_to.iter().zip(&after.up_to);
        let since = pairs.map(|(before, after)| match before.0 == after.0 {
            true => Some((after.0, after.1.checked_sub(before.1)?)),
            false => None,
        });
        let up_to: Option<Vec<(u64, u64)>> = since.collect();
        Some(Residence { up_to: up_to? }).filter(|_| self.up_to.len() == after.up_to.len())
    }

    pub fn count(&self) -> u64 {
        self.up_to.last().map_or(0, |last| last.1)
    }

    /// Where a percentile lies with 95 % confidence; nothing of no requests.
    pub fn at(&self, percentile: Percentile) -> Option<Within> {
        let n = self.count();
        let rank = percentile.rank(n) as f64;
        let share = rank / n.max(1) as f64;
        // How far the rank of the truth may lie from that of the sample.
        let off = Z * (n as f64 * share * (1.0 - share)).sqrt();
        let low = ((rank - off).floor() as u64).max(1);
        let high = ((rank + off).ceil() as u64).min(n);
        let bucket = |rank: u64| self.up_to.iter().position(|(_, count)| *count >= rank);
        let (low, high) = (bucket(low)?, bucket(high)?);
        let over_ns = low.checked_sub(1).map_or(0, |below| self.up_to[below].0);
        (n > 0).then(|| Within { over_ns, at_most_ns: Some(self.up_to[high].0).filter(|ns| *ns != u64::MAX) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# TYPE strait_gateway_added_seconds histogram\n\
        strait_gateway_added_seconds_bucket{le=\"0.000008192\"} 10\n\
        strait_gateway_added_seconds_bucket{le=\"0.000016384\"} 9000\n\
        strait_gateway_added_seconds_bucket{le=\"0.000032768\"} 9990\n\
        strait_gateway_added_seconds_bucket{le=\"+Inf\"} 10000\n\
        strait_gateway_added_seconds_sum 0.1\n";

    #[test]
    fn a_percentile_is_told_by_its_buckets() {
        let all = Residence::parse(PAGE).unwrap();
        let within = |over_ns, at_most_ns| Some(Within { over_ns, at_most_ns });
        assert_eq!(all.at(Percentile::P50), within(8_192, Some(16_384)));
        assert_eq!(all.at(Percentile::P99), within(16_384, Some(32_768)));
        // Its rank may lie to either side of a bound: both buckets.
        assert_eq!(all.at(Percentile::P90), within(8_192, Some(32_768)));
        assert_eq!(all.at("p99.99".parse().unwrap()), within(32_768, None));
        assert_eq!(Residence::default().at(Percentile::P50), None);
        assert_eq!(Residence::parse("strait_gateway_added_seconds_count 1\n"), None);
    }

    #[test]
    fn only_what_came_between_counts() {
        let all = Residence::parse(PAGE).unwrap();
        let more = Residence { up_to: all.up_to.iter().map(|(bound, count)| (*bound, count + 5)).collect() };
        assert_eq!(all.until(&more).unwrap().count(), 5);
        assert_eq!(more.until(&all), None, "a process that began anew");
    }
}
