//! What is to be proved: `p50=30us` says that the gateway adds less than 30 us at the median.
//!
//! A percentile is kept in millionths, so that `p99.9` is a number and a name at once and two spellings
//! of one percentile are equal. A duration has its unit written.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::words;

/// An hour: longer than any answer is waited for.
const ADDED_NS_MAX: u64 = 3_600_000_000_000;

/// Between p1 and p99.999; in files it stands as `p99`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Percentile {
    millionths: u32,
}

/// An upper bound on what is added at one percentile; in files it stands as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Limit {
    pub percentile: Percentile,
    pub added_ns_max: u64,
}

impl Percentile {
    pub const P50: Percentile = Percentile { millionths: 500_000 };
    pub const P90: Percentile = Percentile { millionths: 900_000 };
    pub const P99: Percentile = Percentile { millionths: 990_000 };
    const LEAST: u32 = 10_000;
    const MOST: u32 = 999_990;

    /// The rank, from 1, of this percentile among `n` values: the smallest value that at least this share
    /// of them does not exceed.
    pub fn rank(self, n: u64) -> u64 {
        (n * u64::from(self.millionths)).div_ceil(1_000_000).max(1)
    }

    /// How many of `n` values lie on the thinner side of this percentile.
    pub fn beyond(self, n: u64) -> u64 {
        let share = u64::from(self.millionths.min(1_000_000 - self.millionths));
        n * share / 1_000_000
    }

    /// The least `n` that has `beyond` values on the thinner side.
    pub fn slots_for(self, beyond: u64) -> u64 {
        let share = u64::from(self.millionths.min(1_000_000 - self.millionths));
        (beyond * 1_000_000).div_ceil(share)
    }

    /// From p90 on a percentile speaks of the rare and slow.
    pub fn is_tail(self) -> bool {
        self >= Percentile::P90
    }
}

impl fmt::Display for Percentile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p{}", f64::from(self.millionths) / 10_000.0)
    }
}

impl FromStr for Percentile {
    type Err = String;

    fn from_str(text: &str) -> Result<Percentile, String> {
        let wrong = || format!("`{text}` is no percentile: expected `p50`, `p99` or `p99.9`");
        let number = text.strip_prefix('p').ok_or_else(wrong)?;
        if !number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
            return Err(wrong());
        }
        let percent: f64 = number.parse().map_err(|_| wrong())?;
        let millionths = (percent * 10_000.0).round();
        let in_range =
            millionths >= f64::from(Percentile::LEAST) && millionths <= f64::from(Percentile::MOST);
        if !in_range {
            return Err(format!("`{text}` is out of range: expected p1 to p99.999"));
        }
        // In range, so the number fits.
        Ok(Percentile { millionths: millionths as u32 })
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.percentile, exact(self.added_ns_max))
    }
}

impl FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Limit, String> {
        let (percentile, bound) =
            text.split_once('=').ok_or_else(|| format!("`{text}`: expected `p50=30us`"))?;
        let added_ns_max = words::duration_ns(bound)?;
        if added_ns_max == 0 {
            return Err(format!("`{text}`: a limit of nothing cannot be proved, every path takes time"));
        }
        if added_ns_max > ADDED_NS_MAX {
            return Err(format!("`{text}` is out of range: at most an hour"));
        }
        Ok(Limit { percentile: percentile.parse()?, added_ns_max })
    }
}

impl From<Percentile> for String {
    fn from(percentile: Percentile) -> String {
        percentile.to_string()
    }
}

impl TryFrom<String> for Percentile {
    type Error = String;

    fn try_from(text: String) -> Result<Percentile, String> {
        text.parse()
    }
}

impl From<Limit> for String {
    fn from(limit: Limit) -> String {
        limit.to_string()
    }
}

impl TryFrom<String> for Limit {
    type Error = String;

    fn try_from(text: String) -> Result<Limit, String> {
        text.parse()
    }
}

/// A duration as it was written: the largest unit that divides it.
fn exact(ns: u64) -> String {
    match ns {
        ns if ns % 1_000_000_000 == 0 => format!("{}s", ns / 1_000_000_000),
        ns if ns % 1_000_000 == 0 => format!("{}ms", ns / 1_000_000),
        ns if ns % 1_000 == 0 => format!("{}us", ns / 1_000),
        ns => format!("{ns}ns"),
    }
}
