//! `strait load compare A.json B.json`: what differs between two results by more than their noise.
//!
//! The decision: noise is measured and not assumed. Calls of one second are alike, so that drawing single calls anew would make every difference look certain; whole windows of
//! a run are drawn instead (a block bootstrap), a thousand times from each, and a percentile differs when 99 of 100 such differences lie on one side of zero and it is more than
//! the 1 % that a window's histogram rounds to. The runs were made one after the other: what else changed meanwhile is in the difference, and every output
//! says so. Runs that were not asked for the same are not compared at all, and of one that was cut short or not steady nothing is concluded.

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::raw;
use super::record::{PERCENTILES, Percentile};
use super::report::{SCHEMA as RESULT, Verdict};
use super::steady::WINDOWS_MIN;
use crate::random::Random;
use crate::words::{printable, shown_ns};

pub const SCHEMA: &str = "strait.load.compare/1";
pub const CAVEAT: &str = "the runs were not interleaved: whatever else changed between them is in the difference (`strait prove` interleaves)";

const DRAWS: usize = 1_000;
/// Outside of the interval on either side: 99 % are inside.
const TAIL: f64 = 0.005;
const ROUNDED_TO: f64 = 0.01;
/// Two-sided, p < 0.01.
const Z_MIN: f64 = 2.576;
/// What must have been asked alike.
const ASKED: [&str; 10] =
    ["loop", "arrivals", "schedule", "connections", "revision", "mix", "think", "cancel", "size", "progress"];

/// Why two files are not compared.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refused {
    /// Which one, and what it is not.
    NoResult { which: &'static str, why: String },
    /// What was asked of each.
    Unlike(Vec<String>),
}

/// How one figure of the second result stands to the first's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stands {
    Alike,
    Better,
    Worse,
}

impl Stands {
    const fn word(self) -> &'static str {
        match self {
            Stands::Alike => "alike",
            Stands::Better => "better",
            Stands::Worse => "worse",
        }
    }
}

/// A percentile of both.
#[derive(Clone, Debug)]
pub struct Row {
    pub name: &'static str,
    pub a: u64,
    pub b: u64,
    /// 99 % of differences.
    pub between: [f64; 2],
    pub stands: Stands,
}

#[derive(Clone, Debug)]
pub struct Comparison {
    urls: [String; 2],
    pub rows: Vec<Row>,
    /// Failed and measured, of each.
    failures: [[u64; 2]; 2],
    pub failing: Stands,
    /// Why nothing is concluded.
    pub unclear: Vec<String>,
}

struct Side {
    latency: Histogram<u64>,
    windows: Vec<Histogram<u64>>,
}

impl Side {
    fn of(result: &Value, which: &'static str) -> Result<Side, Refused> {
        let refused = |why: String| Refused::NoResult { which, why };
        if result["schema"] != RESULT {
            let found =
                result["schema"].as_str().map_or("no `schema`".to_owned(), |name| format!("`{name}`"));
            return Err(refused(format!("expected `schema` to be `{RESULT}`, found {found}")));
        }
        let read = |text: &Value| raw::decode(text.as_str().unwrap_or_default()).map_err(&refused);
        let windows = result["windows"].as_array().into_iter().flatten();
        Ok(Side {
            latency: read(&result["histograms"]["latency"])?,
            windows: windows.map(read).collect::<Result<_, _>>()?,
        })
    }

    fn quantile(&self, quantile: f64) -> Option<u64> {
        let is_known = self.latency.len() >= Percentile::needs(quantile);
        is_known.then(|| self.latency.value_at_quantile(quantile))
    }
}

/// Compares two results; the second is judged by the first.
pub fn compare(a: &Value, b: &Value) -> Result<Comparison, Refused> {
    let sides = [Side::of(a, "A")?, Side::of(b, "B")?];
    let unlike: Vec<String> = ASKED
        .into_iter()
        .filter(|name| asked(a, name) != asked(b, name))
        .map(|name| format!("`{name}`: {} and {}", asked(a, name), asked(b, name)))
        .collect();
    if !unlike.is_empty() {
        return Err(Refused::Unlike(unlike));
    }
    let mut unclear = Vec::new();
    for (which, result) in [("A", a), ("B", b)] {
        let is = |name: &str| result[name] == true;
        if is("self_saturated") {
            unclear.push(format!("{which} is SELF-SATURATED"));
        }
        if is("interrupted") || result["aborted"].is_string() {
            unclear.push(format!("{which} was cut short"));
        }
        if result["steadiness"]["steady"] == false {
            unclear.push(format!("{which} is NOT STEADY"));
        }
    }
    for (which, side) in ["A", "B"].into_iter().zip(&sides) {
        if side.windows.len() < WINDOWS_MIN {
            let found = side.windows.len();
            unclear.push(format!(
                "{which} has {found} windows of time, and noise takes {WINDOWS_MIN}: run longer"
            ));
        }
    }
    let rows = match unclear.iter().any(|why| why.contains("noise takes")) {
        true => Vec::new(),
        false => rows(&sides),
    };
    if rows.is_empty() && unclear.is_empty() {
        unclear.push("there are too few samples for any percentile".to_owned());
    }
    let count = |result: &Value, name: &str| result[name].as_u64().unwrap_or(0);
    let failures = [a, b].map(|result| [count(result, "failed"), count(result, "measured")]);
    let url = |result: &Value| result["url"].as_str().unwrap_or_default().to_owned();
    Ok(Comparison { urls: [url(a), url(b)], rows, failing: failing(failures), failures, unclear })
}

/// What was asked; of the mix, without how often each was sent.
fn asked(result: &Value, name: &str) -> Value {
    match (name, &result[name]) {
        ("mix", Value::Array(shares)) => {
            let without = |share: &Value| json!([share["method"], share["name"], share["weight"]]);
            shares.iter().map(without).collect()
        }
        (_, value) => value.clone(),
    }
}

fn rows(sides: &[Side; 2]) -> Vec<Row> {
    let known = PERCENTILES.into_iter().filter_map(|(name, quantile)| {
        Some((name, quantile, sides[0].quantile(quantile)?, sides[1].quantile(quantile)?))
    });
    let known: Vec<_> = known.collect();
    let quantiles: Vec<f64> = known.iter().map(|(_, quantile, ..)| *quantile).collect();
    let mut random = Random::new(1);
    let mut drawn = |side: &Side| Draws::of(&side.windows).draw(&quantiles, &mut random);
    let (of_a, of_b) = (drawn(&sides[0]), drawn(&sides[1]));
    let row = |(place, (name, _, a, b)): (usize, &(&'static str, f64, u64, u64))| {
        let pairs = of_a.iter().zip(&of_b);
        let mut apart: Vec<f64> = pairs.map(|(a, b)| b[place] as f64 - a[place] as f64).collect();
        apart.sort_by(f64::total_cmp);
        let at = |share: f64| apart[((apart.len() - 1) as f64 * share).round() as usize];
        let between = [at(TAIL), at(1.0 - TAIL)];
        let is_more = (*a as f64 - *b as f64).abs() > *a as f64 * ROUNDED_TO;
        let stands = match between {
            [low, _] if low > 0.0 && b > a && is_more => Stands::Worse,
            [_, high] if high < 0.0 && b < a && is_more => Stands::Better,
            _ => Stands::Alike,
        };
        Row { name, a: *a, b: *b, between, stands }
    };
    known.iter().enumerate().map(row).collect()
}

/// Windows as counts by value, so that a draw is a sum.
struct Draws {
    values: Vec<u64>,
    /// By window, in the order of the values.
    counts: Vec<Vec<u64>>,
}

impl Draws {
    fn of(windows: &[Histogram<u64>]) -> Draws {
        let values =
            windows.iter().flat_map(|window| window.iter_recorded().map(|step| step.value_iterated_to()));
        let mut values: Vec<u64> = values.collect();
        values.sort_unstable();
        values.dedup();
        let counts =
            windows.iter().map(|window| values.iter().map(|value| window.count_at(*value)).collect());
        Draws { counts: counts.collect(), values }
    }

    /// Quantiles of as many windows as there are, drawn with replacement, many times.
    fn draw(&self, quantiles: &[f64], random: &mut Random) -> Vec<Vec<u64>> {
        let mut sums = vec![0u64; self.values.len()];
        let once = |_| {
            sums.fill(0);
            for _ in 0..self.counts.len() {
                let window = &self.counts[random.below(self.counts.len() as u64) as usize];
                sums.iter_mut().zip(window).for_each(|(sum, count)| *sum += count);
            }
            let all: u64 = sums.iter().sum();
            quantiles
                .iter()
                .map(|quantile| self.quantile(&sums, (all as f64 * quantile).ceil() as u64))
                .collect()
        };
        (0..DRAWS).map(once).collect()
    }

    fn quantile(&self, sums: &[u64], rank: u64) -> u64 {
        let mut passed = 0;
        let found = sums.iter().zip(&self.values).find(|(count, _)| {
            passed += **count;
            passed >= rank
        });
        found.map_or(0, |(_, value)| *value)
    }
}

/// Two shares, as far as chance goes.
fn failing([[failed_a, n_a], [failed_b, n_b]]: [[u64; 2]; 2]) -> Stands {
    let (n_a, n_b) = (n_a as f64, n_b as f64);
    if n_a == 0.0 || n_b == 0.0 {
        return Stands::Alike;
    }
    let both = (failed_a + failed_b) as f64 / (n_a + n_b);
    let deviation = (both * (1.0 - both) * (1.0 / n_a + 1.0 / n_b)).sqrt();
    let apart = failed_b as f64 / n_b - failed_a as f64 / n_a;
    match apart {
        apart if apart > Z_MIN * deviation => Stands::Worse,
        apart if -apart > Z_MIN * deviation => Stands::Better,
        _ => Stands::Alike,
    }
}

impl Comparison {
    pub fn verdict(&self) -> Verdict {
        let is_worse =
            self.failing == Stands::Worse || self.rows.iter().any(|row| row.stands == Stands::Worse);
        match (self.unclear.is_empty(), is_worse) {
            (false, _) => Verdict::Inconclusive,
            (true, true) => Verdict::Failed,
            (true, false) => Verdict::Passed,
        }
    }

    fn sentence(&self) -> String {
        let named = |wanted: Stands| -> Vec<&str> {
            let rows = self.rows.iter().filter(|row| row.stands == wanted).map(|row| row.name);
            rows.chain((self.failing == wanted).then_some("failures")).collect()
        };
        let (worse, better) = (named(Stands::Worse), named(Stands::Better));
        match (self.unclear.as_slice(), worse.as_slice(), better.as_slice()) {
            ([_, ..], ..) => format!("INCONCLUSIVE: {}", self.unclear.join("; ")),
            (_, [], []) => "no difference beyond noise".to_owned(),
            (_, [], better) => format!("B is better: {}", better.join(", ")),
            (_, worse, []) => format!("B is WORSE: {}", worse.join(", ")),
            (_, worse, better) => {
                format!("B is WORSE: {}; and better: {}", worse.join(", "), better.join(", "))
            }
        }
    }

    pub fn text(&self) -> String {
        let mut out = String::new();
        let mut line = |text: String| {
            out.push_str(printable(&text).trim_end());
            out.push('\n');
        };
        line(self.sentence());
        line(String::new());
        let [a, b] = &self.urls;
        line(format!("A  {a}\nB  {b}").replace('\n', "; "));
        let columns = ["A", "B", "B - A", "from", "to"];
        line(format!("{:<10}{}", "latency", columns.map(|column| format!("{column:>11}")).concat()));
        let signed = |ns: f64| format!("{}{}", if ns < 0.0 { "-" } else { "+" }, shown_ns(ns.abs()));
        for row in &self.rows {
            let apart = row.b as f64 - row.a as f64;
            let cells = [shown_ns(row.a as f64), shown_ns(row.b as f64), signed(apart)];
            let between = row.between.map(signed);
            let cells: String = cells.iter().chain(&between).map(|cell| format!("{cell:>11}")).collect();
            line(format!("{:<10}{cells}  {}", row.name.replace("p999", "p99.9"), row.stands.word()));
        }
        let [[failed_a, n_a], [failed_b, n_b]] = self.failures;
        line(format!("failed: {failed_a} of {n_a}, and {failed_b} of {n_b}  {}", self.failing.word()));
        line("from and to hold 99 % of the differences of windows drawn anew".to_owned());
        line(CAVEAT.to_owned());
        out
    }

    pub fn to_json(&self) -> Value {
        let rows = self.rows.iter().map(|row| {
            json!({ "percentile": row.name, "a_ns": row.a, "b_ns": row.b, "difference_from_ns": row.between[0],
                    "difference_to_ns": row.between[1], "b_is": row.stands.word() })
        });
        let failures =
            self.failures.map(|[failed, measured]| json!({ "failed": failed, "measured": measured }));
        json!({
            "schema": SCHEMA,
            "latency": rows.collect::<Vec<_>>(),
            "failures": { "a": failures[0], "b": failures[1], "b_is": self.failing.word() },
            "unclear": self.unclear,
            "note": CAVEAT,
            "verdict": self.verdict().word(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::steady::Windows;
    use super::*;

    /// Ten seconds at 1,000/s around a latency, with noise that is the same for a whole window.
    fn result(latency_us: f64, seed: u64, failed: u64) -> Value {
        let mut random = Random::new(seed);
        let mut windows = Windows::new(Some(10_000_000_000));
        let mut latency = Histogram::new_with_bounds(1, super::super::record::HIGHEST_NS, 3).unwrap();
        let mut of_window = 1.0;
        for call in 0..10_000u64 {
            if call % 250 == 0 {
                of_window = 1.0 + 0.05 * random.normal();
            }
            let ns = (latency_us * 1e3 * of_window * (0.2 * random.normal()).exp()) as u64;
            windows.answered(call * 1_000_000, ns);
            latency.record(ns).unwrap();
        }
        json!({
            "schema": RESULT, "url": "http://x/", "loop": "open", "schedule": { "rate": 1_000 },
            "measured": 10_000 + failed, "failed": failed,
            "histograms": { "latency": raw::encode(&latency) },
            "windows": windows.full().map(raw::encode).collect::<Vec<_>>(),
        })
    }

    #[test]
    fn a_difference_beyond_noise_is_told_and_noise_is_not() {
        let base = result(1_000.0, 1, 0);
        let of = |other: &Value| compare(&base, other).unwrap();
        let mut told = 0;
        for seed in 2..12 {
            told += u32::from(of(&result(1_000.0, seed, 0)).verdict() != Verdict::Passed);
        }
        assert!(told <= 1, "{told} of 10 like runs were called worse");
        let slower = of(&result(1_100.0, 20, 0));
        assert_eq!(
            (slower.verdict(), slower.rows[0].stands),
            (Verdict::Failed, Stands::Worse),
            "{}",
            slower.text()
        );
        assert!(slower.text().starts_with("B is WORSE: p50"), "{}", slower.text());
        let faster = of(&result(900.0, 20, 0));
        assert_eq!(
            (faster.verdict(), faster.rows[0].stands),
            (Verdict::Passed, Stands::Better),
            "{}",
            faster.text()
        );
        assert_eq!(of(&result(1_000.0, 1, 2)).failing, Stands::Alike);
        assert_eq!(of(&result(1_000.0, 1, 50)).verdict(), Verdict::Failed);
        assert!(slower.text().contains(CAVEAT) && slower.to_json()["note"] == CAVEAT);
    }

    #[test]
    fn what_is_not_alike_or_no_result_is_refused_and_a_cut_run_concludes_nothing() {
        let base = result(1_000.0, 1, 0);
        let with = |name: &str, value: Value| {
            let mut other = base.clone();
            other[name] = value;
            compare(&base, &other)
        };
        let Err(Refused::Unlike(what)) = with("schedule", json!({ "rate": 2_000 })) else { panic!() };
        assert!(what[0].starts_with("`schedule`") && what.len() == 1, "{what:?}");
        for (name, value) in [("schema", json!("other")), ("schema", Value::Null), ("histograms", json!({}))]
        {
            assert!(matches!(with(name, value), Err(Refused::NoResult { which: "B", .. })), "{name}");
        }
        for (name, value) in [
            ("self_saturated", json!(true)),
            ("interrupted", json!(true)),
            ("aborted", json!("lost")),
            ("steadiness", json!({ "steady": false })),
            ("windows", json!([])),
        ] {
            let unclear = with(name, value).unwrap();
            assert_eq!(unclear.verdict(), Verdict::Inconclusive, "{name}");
            assert!(unclear.text().starts_with("INCONCLUSIVE: B "), "{}", unclear.text());
        }
    }
}
