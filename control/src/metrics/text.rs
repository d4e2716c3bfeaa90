//! Prometheus' text format 0.0.4, and OpenMetrics 1.0 for whoever asks for it: a name with its help and its kind, then a line per
//! series. The second also has exemplars: the trace of a request beside the bucket that counts it.
//!
//! Written here, in the hundred lines it takes: the figures live in arrays of the engine, and a library wants to own
//! its counters, with a lock or a locked instruction in each.

use std::fmt::Write;

use strait_engine::figures::histogram::Distribution;

use super::exemplars::{Buckets, Exemplar};
use super::exposition::{Format, Kind, Labels, Number, seconds};
use crate::telemetry::hex;

/// Which of the two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    #[default]
    Prometheus,
    OpenMetrics,
}

impl Dialect {
    /// As whoever asks wants it: OpenMetrics where the header names it at all, as every scraper that knows it prefers it.
    pub fn wanted(accept: Option<&str>) -> Dialect {
        match accept.is_some_and(|accept| accept.contains("application/openmetrics-text")) {
            true => Dialect::OpenMetrics,
            false => Dialect::Prometheus,
        }
    }

    /// What scrapers are told this is.
    pub fn content_type(self) -> &'static str {
        match self {
            Dialect::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Dialect::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// The text so far.
#[derive(Default)]
pub struct Text {
    dialect: Dialect,
    out: String,
    /// Whose series follow.
    name: &'static str,
}

impl Text {
    pub fn new(dialect: Dialect) -> Text {
        Text { dialect, ..Text::default() }
    }

    pub fn into_text(mut self) -> String {
        if self.dialect == Dialect::OpenMetrics {
            self.out.push_str("# EOF\n");
        }
        self.out
    }

    fn line(
        &mut self,
        suffix: &str,
        labels: Labels<'_>,
        le: Option<&str>,
        value: Number,
        trace: Option<&Exemplar>,
    ) {
        // Writing into a String cannot fail, here and below.
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
            Number::Whole(n) => write!(self.out, " {n}"),
            Number::Real(n) => write!(self.out, " {n}"),
        };
        if let Some(trace) = trace {
            let (id, span) = (hex(&trace.trace), hex(&trace.span));
            let (value, at) = (seconds(trace.ns), trace.unix_ns / 1_000_000);
            let _ = write!(
                self.out,
                " # {{trace_id=\"{id}\",span_id=\"{span}\"}} {value} {}.{:03}",
                at / 1_000,
                at % 1_000
            );
        }
        self.out.push('\n');
    }
}

impl Format for Text {
    fn family(&mut self, kind: Kind, name: &'static str, help: &str) {
        let word = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        // OpenMetrics names a counter's family without what its series end in.
        let family = match self.dialect {
            Dialect::OpenMetrics if kind == Kind::Counter => name.strip_suffix("_total").unwrap_or(name),
            _ => name,
        };
        let _ = writeln!(self.out, "# HELP {family} {help}\n# TYPE {family} {word}");
        self.name = name;
    }

    fn series(&mut self, labels: Labels<'_>, value: Number) {
        self.line("", labels, None, value, None);
    }

    fn distribution(
        &mut self,
        labels: Labels<'_>,
        read: &Distribution,
        step: usize,
        traces: Option<&Buckets>,
    ) {
        let traces = traces.filter(|_| self.dialect == Dialect::OpenMetrics);
        let mut last = 0;
        for (at, (bound_ns, count)) in read.cumulative(step).enumerate() {
            let trace = traces.and_then(|traces| traces.get(at));
            self.line("_bucket", labels, Some(&format!("{}", seconds(bound_ns))), count.into(), trace);
            last = at + 1;
        }
        let count = read.count();
        let beyond = traces.and_then(|traces| traces.get(last));
        self.line("_bucket", labels, Some("+Inf"), count.into(), beyond);
        self.line("_sum", labels, None, seconds(read.sum_ns).into(), None);
        self.line("_count", labels, None, count.into(), None);
    }
}

#[cfg(test)]
mod tests {
    use strait_engine::figures::histogram::Histogram;

    use super::super::exposition::Exposition;
    use super::*;

    fn said(text: &mut Text) {
        let mut out = Exposition(text);
        out.one(Kind::Gauge, "up", "Whether.", true);
        let mut family = out.family(Kind::Counter, "calls_total", "Calls.");
        family.series(&[("a", "x"), ("b", "q\"\\\n")], u64::MAX);
        family.series(&[], 0.25);
    }

    #[test]
    fn open_metrics_names_counters_without_their_ending_and_shows_traces() {
        let mut text = Text::new(Dialect::OpenMetrics);
        said(&mut text);
        let (histogram, mut traces) = (Histogram::default(), Buckets::default());
        for ns in [1_000, 1 << 40] {
            histogram.record(ns);
            traces.keep(Exemplar { trace: [0xab; 16], span: [1; 8], ns, unix_ns: 1_700_000_000_123_000_000 });
        }
        let mut out = Exposition(&mut text);
        let read = Distribution::of([&histogram]);
        out.family(Kind::Histogram, "d_seconds", "D.").traced(&[], &read, Some(&traces));
        let text = text.into_text();
        for line in [
            "# TYPE calls counter",
            "calls_total 0.25",
            "d_seconds_bucket{le=\"0.000000512\"} 0",
            "d_seconds_bucket{le=\"0.000001024\"} 1 # {trace_id=\"abababababababababababababababab\",span_id=\"0101010101010101\"} 0.000001 1700000000.123",
            "d_seconds_bucket{le=\"+Inf\"} 2 # {trace_id=\"abababababababababababababababab\",span_id=\"0101010101010101\"} 1099.511627776 1700000000.123",
            "# EOF",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn whoever_names_open_metrics_gets_it() {
        let scraper = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        assert_eq!(Dialect::wanted(Some(scraper)), Dialect::OpenMetrics);
        for other in [None, Some("*/*"), Some("text/plain")] {
            assert_eq!(Dialect::wanted(other), Dialect::Prometheus);
        }
    }

    #[test]
    fn names_kinds_labels_and_values() {
        let mut text = Text::default();
        said(&mut text);
        let expected = "# HELP up Whether.\n# TYPE up gauge\nup 1\n\
                        # HELP calls_total Calls.\n# TYPE calls_total counter\n\
                        calls_total{a=\"x\",b=\"q\\\"\\\\\\n\"} 18446744073709551615\ncalls_total 0.25\n";
        assert_eq!(text.into_text(), expected);
    }

    #[test]
    fn a_distribution_ends_in_its_count() {
        let histogram = Histogram::default();
        [100, 1_024, 1_025].iter().for_each(|ns| histogram.record(*ns));
        let mut text = Text::default();
        let mut out = Exposition(&mut text);
        out.family(Kind::Histogram, "d_seconds", "D.").distribution(
            &[("k", "v")],
            &Distribution::of([&histogram]),
            3,
        );
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
