//! The figures of `/metrics` as OTLP has them: the same names, counts since the process began, and histograms with explicit bounds,
//! since ours are exact at powers of two of a nanosecond and at no exponent of two of a second.

use strait_engine::figures::histogram::Distribution;

use super::wire::{
    Amount, Attribute, CUMULATIVE, Data, Exemplar, Gauge, Histogram, HistogramPoint, Metric, NumberPoint, Sum,
};
use crate::metrics::exemplars::Buckets;
use crate::metrics::exposition::{Format, Kind, Labels, Number, seconds};

/// Metrics so far.
pub struct Points {
    started_unix_ns: u64,
    now_unix_ns: u64,
    pub metrics: Vec<Metric>,
}

impl Points {
    pub fn new(started_unix_ns: u64, now_unix_ns: u64) -> Points {
        Points { started_unix_ns, now_unix_ns, metrics: Vec::with_capacity(96) }
    }

    fn data(&mut self) -> Option<&mut Data> {
        self.metrics.last_mut()?.data.as_mut()
    }
}

fn attributes(labels: Labels<'_>) -> Vec<Attribute> {
    labels.iter().map(|(name, text)| Attribute::text(name, *text)).collect()
}

fn unit(name: &str) -> &'static str {
    let bare = name.strip_suffix("_total").unwrap_or(name);
    match bare {
        _ if bare.ends_with("_seconds") => "s",
        _ if bare.ends_with("_bytes") => "By",
        _ => "",
    }
}

impl Format for Points {
    fn family(&mut self, kind: Kind, name: &'static str, help: &str) {
        let aggregation_temporality = CUMULATIVE;
        let data = match kind {
            Kind::Gauge => Data::Gauge(Gauge::default()),
            Kind::Counter => {
                Data::Sum(Sum { data_points: Vec::new(), aggregation_temporality, is_monotonic: true })
            }
            Kind::Histogram => {
                Data::Histogram(Histogram { data_points: Vec::new(), aggregation_temporality })
            }
        };
        self.metrics.push(Metric {
            name: name.to_owned(),
            description: help.to_owned(),
            unit: unit(name).to_owned(),
            data: Some(data),
        });
    }

    fn series(&mut self, labels: Labels<'_>, value: Number) {
        let point = NumberPoint {
            start_time_unix_nano: self.started_unix_ns,
            time_unix_nano: self.now_unix_ns,
            value: Some(match value {
                Number::Whole(n) => Amount::Whole(i64::try_from(n).unwrap_or(i64::MAX)),
                Number::Real(n) => Amount::Real(n),
            }),
            attributes: attributes(labels),
        };
        match self.data() {
            Some(Data::Gauge(gauge)) => gauge.data_points.push(point),
            Some(Data::Sum(sum)) => sum.data_points.push(point),
            _ => {}
        }
    }

    fn distribution(
        &mut self,
        labels: Labels<'_>,
        read: &Distribution,
        step: usize,
        traces: Option<&Buckets>,
    ) {
        let (mut bounds, mut counts, mut below) = (Vec::new(), Vec::new(), 0);
        for (bound_ns, count) in read.cumulative(step) {
            bounds.push(seconds(bound_ns));
            counts.push(count - below);
            below = count;
        }
        let count = read.count();
        counts.push(count - below);
        let kept = (0..counts.len()).filter_map(|at| traces?.get(at));
        let exemplars = kept.map(|one| Exemplar {
            time_unix_nano: one.unix_ns,
            value: Some(seconds(one.ns)),
            span_id: one.span.to_vec(),
            trace_id: one.trace.to_vec(),
        });
        let point = HistogramPoint {
            start_time_unix_nano: self.started_unix_ns,
            time_unix_nano: self.now_unix_ns,
            count,
            sum: Some(seconds(read.sum_ns)),
            exemplars: exemplars.collect(),
            bucket_counts: counts,
            explicit_bounds: bounds,
            attributes: attributes(labels),
        };
        if let Some(Data::Histogram(histogram)) = self.data() {
            histogram.data_points.push(point);
        }
    }
}

#[cfg(test)]
mod tests {
    use strait_engine::figures::histogram::Histogram as Counted;

    use super::*;
    use crate::metrics::exposition::Exposition;

    #[test]
    fn kinds_units_and_buckets_are_those_of_the_text() {
        let mut points = Points::new(1, 2);
        let mut out = Exposition(&mut points);
        out.one(Kind::Gauge, "up", "Whether.", true);
        out.family(Kind::Counter, "sent_bytes_total", "Sent.").series(&[("a", "b")], 7u64);
        let counted = Counted::default();
        [100, 1_000, 1 << 40].into_iter().for_each(|ns| counted.record(ns));
        let read = Distribution::of([&counted]);
        out.family(Kind::Histogram, "d_seconds", "D.").distribution(&[], &read, 1);
        let units: Vec<&str> = points.metrics.iter().map(|metric| metric.unit.as_str()).collect();
        assert_eq!(units, ["", "By", "s"]);
        let Some(Data::Sum(sum)) = &points.metrics[1].data else { panic!("a counter is a sum") };
        assert_eq!((sum.is_monotonic, &sum.data_points[0].value), (true, &Some(Amount::Whole(7))));
        let Some(Data::Histogram(histogram)) = &points.metrics[2].data else { panic!("no histogram") };
        let point = &histogram.data_points[0];
        assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
        assert_eq!((point.count, point.bucket_counts.iter().sum::<u64>()), (3, 3));
        assert_eq!((point.bucket_counts.first(), point.bucket_counts.last()), (Some(&1), Some(&1)));
        assert_eq!(point.explicit_bounds[0], 0.000000128);
    }
}
