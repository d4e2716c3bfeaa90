//! `--assert 'p99<500us'`: a demand on one figure of a report. The decision: a demand on a percentile
//! that was refused is neither met nor broken but undecided, and says how many samples would decide it.

use super::record::{PERCENTILES, Percentile, Times};
use super::report::Report;
use crate::words::{duration_ns, rate, shown_ns};

/// A figure that can be asked about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Figure {
    Latency(Part),
    Service(Part),
    SendLag(Part),
    Errors,
    ErrorRate,
    Rate,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Part {
    Percentile(usize),
    Max,
    Mean,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Relation {
    Less,
    LessOrEqual,
    Equal,
    MoreOrEqual,
    More,
}

/// Longest first, so that `<=` is not read as `<`.
const RELATIONS: [(&str, Relation); 6] = [
    ("<=", Relation::LessOrEqual),
    (">=", Relation::MoreOrEqual),
    ("==", Relation::Equal),
    ("<", Relation::Less),
    (">", Relation::More),
    ("=", Relation::Equal),
];

const KNOWN: &str =
    "p50, p90, p99, p99.9, max, mean (of latency; or service.p99, send_lag.p99, …), errors, error_rate, rate";

/// One demand.
#[derive(Clone, PartialEq, Debug)]
pub struct Threshold {
    text: String,
    pub(super) figure: Figure,
    pub(super) relation: Relation,
    pub(super) limit: f64,
}

/// What came of a demand.
#[derive(Clone, PartialEq, Debug)]
pub struct Judged {
    pub text: String,
    /// Nanoseconds, requests or requests per second; none when it is not known.
    pub value: Option<f64>,
    /// `None` is undecided.
    pub passed: Option<bool>,
    /// The value, or why there is none.
    pub words: String,
}

impl Threshold {
    pub fn parse(text: &str) -> Result<Threshold, String> {
        let found = RELATIONS.iter().find_map(|(word, relation)| {
            text.split_once(word).map(|(figure, limit)| (figure.trim(), *relation, limit.trim()))
        });
        let Some((name, relation, limit)) = found else {
            return Err(format!(
                "`{text}` compares nothing: expected a figure, one of < <= == >= >, and a limit"
            ));
        };
        let figure =
            figure(name).ok_or_else(|| format!("`{name}` is no figure of a load: known are {KNOWN}"))?;
        let number = || limit.parse::<f64>().ok().filter(|n| n.is_finite() && *n >= 0.0);
        let limit = match figure {
            Figure::Latency(_) | Figure::Service(_) | Figure::SendLag(_) => duration_ns(limit)? as f64,
            Figure::Rate => rate(limit)?,
            Figure::Errors | Figure::ErrorRate => {
                number().ok_or_else(|| format!("`{limit}` is no number of errors"))?
            }
        };
        Ok(Threshold { text: text.to_owned(), figure, relation, limit })
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// Samples that it takes to decide it, where it speaks of a percentile.
    pub fn samples_needed(&self) -> Option<u64> {
        match self.figure {
            Figure::Latency(Part::Percentile(index))
            | Figure::Service(Part::Percentile(index))
            | Figure::SendLag(Part::Percentile(index)) => Some(Percentile::needs(PERCENTILES[index].1)),
            _ => None,
        }
    }

    /// Whether it speaks of errors: then nothing is demanded of them beside it.
    pub fn is_about_errors(&self) -> bool {
        matches!(self.figure, Figure::Errors | Figure::ErrorRate)
    }

    pub fn judge(&self, report: &Report) -> Judged {
        let measured = report.measured() as f64;
        let failed = report.record.failed() as f64;
        let (value, words) = match self.figure {
            Figure::Latency(part) => time(part, &report.record.latency),
            Figure::Service(part) => time(part, &report.record.service),
            Figure::SendLag(part) => time(part, &report.record.send_lag),
            Figure::Errors => (Some(failed), format!("{failed}")),
            Figure::ErrorRate if measured == 0.0 => (None, "nothing was measured".to_owned()),
            Figure::ErrorRate => (Some(failed / measured), format!("{:.4}", failed / measured)),
            Figure::Rate => (Some(report.achieved_rate()), format!("{:.1}/s", report.achieved_rate())),
        };
        let passed = value.map(|value| match self.relation {
            Relation::Less => value < self.limit,
            Relation::LessOrEqual => value <= self.limit,
            Relation::Equal => value == self.limit,
            Relation::MoreOrEqual => value >= self.limit,
            Relation::More => value > self.limit,
        });
        Judged { text: self.text.clone(), value, passed, words }
    }
}

fn figure(name: &str) -> Option<Figure> {
    let (of, part) = name.split_once('.').unwrap_or(("latency", name));
    // `p99.9` has a point of its own.
    let (of, part) = if of.starts_with('p') { ("latency", name) } else { (of, part) };
    let part = match part {
        "max" => Some(Part::Max),
        "mean" => Some(Part::Mean),
        "p99.9" => PERCENTILES.iter().position(|(word, _)| *word == "p999").map(Part::Percentile),
        part => PERCENTILES.iter().position(|(word, _)| *word == part).map(Part::Percentile),
    };
    match (of, part) {
        ("latency", Some(part)) => Some(Figure::Latency(part)),
        ("service", Some(part)) => Some(Figure::Service(part)),
        ("send_lag", Some(part)) => Some(Figure::SendLag(part)),
        _ => match name {
            "errors" => Some(Figure::Errors),
            "error_rate" => Some(Figure::ErrorRate),
            "rate" => Some(Figure::Rate),
            _ => None,
        },
    }
}

fn time(part: Part, times: &Times) -> (Option<f64>, String) {
    let value = match part {
        Part::Max => times.max().map(|ns| ns as f64),
        Part::Mean => times.mean(),
        Part::Percentile(index) => match times.percentile(PERCENTILES[index].1) {
            Percentile::Known(ns) => Some(ns as f64),
            Percentile::Refused { needs } => {
                return (None, format!("needs {needs} samples, found {}", times.count()));
            }
        },
    };
    (value, value.map_or_else(|| "no sample".to_owned(), shown_ns))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demands_are_read_and_typos_are_told() {
        let p99 = PERCENTILES.iter().position(|(word, _)| *word == "p99").unwrap();
        let cases = [
            ("p99<500us", Figure::Latency(Part::Percentile(p99)), Relation::Less, 500_000.0),
            ("p99.9 <= 1ms", Figure::Latency(Part::Percentile(p99 + 1)), Relation::LessOrEqual, 1e6),
            ("latency.p999<1s", Figure::Latency(Part::Percentile(p99 + 1)), Relation::Less, 1e9),
            ("service.p99.9<1s", Figure::Service(Part::Percentile(p99 + 1)), Relation::Less, 1e9),
            ("service.max<2m", Figure::Service(Part::Max), Relation::Less, 120e9),
            ("mean>0", Figure::Latency(Part::Mean), Relation::More, 0.0),
            ("errors==0", Figure::Errors, Relation::Equal, 0.0),
            ("error_rate<0.01", Figure::ErrorRate, Relation::Less, 0.01),
            ("rate>=1900/s", Figure::Rate, Relation::MoreOrEqual, 1900.0),
        ];
        for (text, figure, relation, limit) in cases {
            let read = Threshold::parse(text).unwrap();
            assert_eq!((read.figure, read.relation, read.limit), (figure, relation, limit), "{text}");
        }
        for text in [
            "",
            "p99",
            "p98<1ms",
            "p99<5",
            "p99<fast",
            "error==0",
            "errors==-1",
            "errors==nan",
            "rate>=0",
            "servic.p99<1ms",
        ] {
            let fault = Threshold::parse(text).unwrap_err();
            assert!(!fault.is_empty(), "{text}");
        }
        assert!(Threshold::parse("p98<1ms").unwrap_err().contains("p99.9"));
    }
}
