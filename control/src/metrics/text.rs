//! Prometheus' text format, 0.0.4: a name with its help and its kind, then a line per series.
//!
//! Written here, in the hundred lines it takes: the figures live in arrays of the engine, and a library wants to own
//! its counters, with a lock or a locked instruction in each.

use std::fmt::Write;

use strait_engine::figures::histogram::Distribution;

/// What scrapers are told this is.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

#[derive(Clone, Copy)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// The text so far.
#[derive(Default)]
pub struct Exposition(String);

/// One name, whose series follow.
pub struct Family<'e> {
    out: &'e mut String,
    name: &'static str,
}

/// `[("method", "tools_call")]`
pub type Labels<'l> = &'l [(&'l str, &'l str)];

impl Exposition {
    pub fn family(&mut self, kind: Kind, name: &'static str, help: &str) -> Family<'_> {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        // Writing into a String cannot fail, here and below.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        Family { out: &mut self.0, name }
    }

    /// A family of one series without labels.
    pub fn one(&mut self, kind: Kind, name: &'static str, help: &str, value: impl Into<Number>) {
        self.family(kind, name, help).series(&[], value);
    }

    pub fn into_text(self) -> String {
        self.0
    }
}

impl Family<'_> {
    pub fn series(&mut self, labels: Labels<'_>, value: impl Into<Number>) {
        self.line("", labels, None, value.into());
    }

    /// Buckets at every `step`-th power of two, then the sum in seconds and the count.
    pub fn distribution(&mut self, labels: Labels<'_>, read: &Distribution, step: usize) {
        for (bound_ns, count) in read.cumulative(step) {
            self.line("_bucket", labels, Some(&format!("{}", seconds(bound_ns))), count.into());
        }
        let count = read.count();
        self.line("_bucket", labels, Some("+Inf"), count.into());
        self.line("_sum", labels, None, seconds(read.sum_ns).into());
        self.line("_count", labels, None, count.into());
    }

    fn line(&mut self, suffix: &str, labels: Labels<'_>, le: Option<&str>, value: Number) {
        let _ = write!(self.out, "{}{suffix}", self.name);
        let all = labels.iter().copied().chain(le.map(|le| ("le", le)));
        let mut before = '{';
        for (name, text) in all {
            let _ = write!(self.out, "{before}{name}=\"");
            for c in text.chars() {
                match c {
                    '\\' => self.out.push_str("\\\\"),
                    '"' => self.out.push_str("\\\""),
                    '\n' => self.out.push_str("\\n"),
                    c => self.out.push(c),
                }
            }
            self.out.push('"');
            before = ',';
        }
        if before == ',' {
            self.out.push('}');
        }
        let _ = match value {
            Number::Whole(n) => writeln!(self.out, " {n}"),
            Number::Real(n) => writeln!(self.out, " {n}"),
        };
    }
}

/// A value: counts stay whole, however large.
pub enum Number {
    Whole(u64),
    Real(f64),
}

impl From<u64> for Number {
    fn from(n: u64) -> Number {
        Number::Whole(n)
    }
}

impl From<usize> for Number {
    fn from(n: usize) -> Number {
        Number::Whole(n as u64)
    }
}

impl From<bool> for Number {
    fn from(is: bool) -> Number {
        Number::Whole(is.into())
    }
}

impl From<f64> for Number {
    fn from(n: f64) -> Number {
        Number::Real(n)
    }
}

pub fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use strait_engine::figures::histogram::Histogram;

    use super::*;

    #[test]
    fn names_kinds_labels_and_values() {
        let mut text = Exposition::default();
        text.one(Kind::Gauge, "up", "Whether.", true);
        let mut family = text.family(Kind::Counter, "calls_total", "Calls.");
        family.series(&[("a", "x"), ("b", "q\"\\\n")], u64::MAX);
        family.series(&[], 0.25);
        let expected = "# HELP up Whether.\n# TYPE up gauge\nup 1\n\
                        # HELP calls_total Calls.\n# TYPE calls_total counter\n\
                        calls_total{a=\"x\",b=\"q\\\"\\\\\\n\"} 18446744073709551615\ncalls_total 0.25\n";
        assert_eq!(text.into_text(), expected);
    }

    #[test]
    fn a_distribution_ends_in_its_count() {
        let histogram = Histogram::default();
        [100, 1_024, 1_025].iter().for_each(|ns| histogram.record(*ns));
        let mut text = Exposition::default();
        let mut family = text.family(Kind::Histogram, "d_seconds", "D.");
        family.distribution(&[("k", "v")], &Distribution::of([&histogram]), 3);
        let text = text.into_text();
        for line in [
            "d_seconds_bucket{k=\"v\",le=\"0.000000128\"} 1",
            "d_seconds_bucket{k=\"v\",le=\"0.000001024\"} 2",
            "d_seconds_bucket{k=\"v\",le=\"0.000008192\"} 3",
            "d_seconds_bucket{k=\"v\",le=\"+Inf\"} 3",
            "d_seconds_sum{k=\"v\"} 0.000002149",
            "d_seconds_count{k=\"v\"} 3",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
        }
    }
}
