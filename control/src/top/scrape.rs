//! What `/metrics` says, read back: names, labels and values as they are written, and the few sums that are asked of
//! them. Lines that are not understood are passed over: a newer gateway may say more.

use std::collections::BTreeMap;

/// One text of `/metrics`.
#[derive(Debug, Default)]
pub struct Scrape(BTreeMap<String, Vec<Series>>);

#[derive(Debug)]
struct Series {
    labels: Vec<(String, String)>,
    value: f64,
}

impl Series {
    fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn has(&self, wanted: Labels<'_>) -> bool {
        wanted.iter().all(|(name, value)| self.label(name) == Some(value))
    }
}

/// Those that a series must have; it may have more.
pub type Labels<'l> = &'l [(&'l str, &'l str)];

impl Scrape {
    pub fn parse(text: &str) -> Scrape {
        let mut all = Scrape::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            if let Some((name, series)) = series(line) {
                all.0.entry(name.to_owned()).or_default().push(series);
            }
        }
        all
    }

    /// Of all series of a name that have these labels; `None` when there is none.
    pub fn sum(&self, name: &str, labels: Labels<'_>) -> Option<f64> {
        let mut values = self.of(name, labels).map(|series| series.value).peekable();
        values.peek().is_some().then(|| values.sum())
    }

    /// Sums by the value of one label.
    pub fn by(&self, name: &str, label: &str, labels: Labels<'_>) -> BTreeMap<String, f64> {
        let mut sums = BTreeMap::new();
        for series in self.of(name, labels) {
            if let Some(value) = series.label(label) {
                *sums.entry(value.to_owned()).or_default() += series.value;
            }
        }
        sums
    }

    /// A histogram, summed over all series that have these labels.
    pub fn histogram(&self, name: &str, labels: Labels<'_>) -> Histogram {
        let mut bounds: Vec<(u64, f64)> = Vec::new();
        for series in self.of(&format!("{name}_bucket"), labels) {
            let bound = match series.label("le") {
                Some("+Inf") => u64::MAX,
                Some(le) => le.parse::<f64>().map_or(u64::MAX, |seconds| (seconds * 1e9).round() as u64),
                None => continue,
            };
            match bounds.binary_search_by_key(&bound, |(known, _)| *known) {
                Ok(at) => bounds[at].1 += series.value,
                Err(at) => bounds.insert(at, (bound, series.value)),
            }
        }
        Histogram::of_cumulative(&bounds)
    }

    fn of<'s>(&'s self, name: &str, labels: Labels<'s>) -> impl Iterator<Item = &'s Series> {
        self.0.get(name).into_iter().flatten().filter(move |series| series.has(labels))
    }
}

/// `name{a="b",c="d"} 1`
fn series(line: &str) -> Option<(&str, Series)> {
    let end = line.find(['{', ' '])?;
    let (name, rest) = line.split_at(end);
    let mut labels = Vec::new();
    let mut rest = rest;
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (label, after) = rest.split_once("=\"")?;
            let (value, after) = quoted(after)?;
            labels.push((label.trim_start_matches(',').to_owned(), value));
            rest = after;
            if let Some(after) = rest.strip_prefix('}') {
                rest = after;
                break;
            }
        }
    }
    let value = rest.trim().parse().ok()?;
    Some((name, Series { labels, value }))
}

/// The text up to a quote that is not escaped, and what follows that.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

/// How many values lie in which stretch of nanoseconds, ascending; empty stretches may be left out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram(pub Vec<Bucket>);

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    pub above_ns: f64,
    /// Infinite for the last.
    pub up_to_ns: f64,
    pub count: f64,
}

impl Histogram {
    /// Of counts that include all smaller values, as Prometheus writes them.
    fn of_cumulative(bounds: &[(u64, f64)]) -> Histogram {
        let (mut above_ns, mut below) = (0.0, 0.0);
        let buckets = bounds.iter().map(|(bound, count)| {
            let up_to_ns = if *bound == u64::MAX { f64::INFINITY } else { *bound as f64 };
            let bucket = Bucket { above_ns, up_to_ns, count: count - below };
            (above_ns, below) = (up_to_ns, *count);
            bucket
        });
        Histogram(buckets.collect())
    }

    /// What came since.
    pub fn since(&self, before: &Histogram) -> Histogram {
        let earlier = |bucket: &Bucket| {
            before.0.iter().find(|one| one.up_to_ns == bucket.up_to_ns).map_or(0.0, |one| one.count)
        };
        Histogram(
            self.0.iter().map(|one| Bucket { count: (one.count - earlier(one)).max(0.0), ..*one }).collect(),
        )
    }

    /// Nanoseconds that this share of all were within, taken evenly inside of a bucket. `None`: there is nothing.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let all: f64 = self.0.iter().map(|bucket| bucket.count).sum();
        let wanted = all * share;
        let mut below = 0.0;
        for bucket in self.0.iter().filter(|bucket| bucket.count > 0.0) {
            if below + bucket.count >= wanted {
                // Above the last bound nobody knows: it is at least that.
                let width = if bucket.up_to_ns.is_finite() { bucket.up_to_ns - bucket.above_ns } else { 0.0 };
                return Some(bucket.above_ns + width * (wanted - below) / bucket.count);
            }
            below += bucket.count;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# HELP a A.\n# TYPE a counter\na{x=\"1\",y=\"p\"} 3\na{x=\"2\",y=\"p\"} 4\na{x=\"2\",y=\"q\\\"}\\n\"} 5\n\
                        up 1\nnot understood\nh_bucket{k=\"v\",le=\"0.000001\"} 10\nh_bucket{k=\"v\",le=\"0.000002\"} 90\n\
                        h_bucket{k=\"v\",le=\"+Inf\"} 100\nh_sum{k=\"v\"} 1\n";

    #[test]
    fn sums_by_labels() {
        let scrape = Scrape::parse(TEXT);
        assert_eq!((scrape.sum("a", &[]), scrape.sum("a", &[("y", "p")])), (Some(12.0), Some(7.0)));
        assert_eq!((scrape.sum("up", &[]), scrape.sum("none", &[])), (Some(1.0), None));
        let by = scrape.by("a", "y", &[("x", "2")]);
        assert_eq!(by.into_iter().collect::<Vec<_>>(), [("p".to_owned(), 4.0), ("q\"}\n".to_owned(), 5.0)]);
    }

    #[test]
    fn quantiles_lie_in_their_bucket() {
        let histogram = Scrape::parse(TEXT).histogram("h", &[("k", "v")]);
        let check = |share, expected| assert_eq!(histogram.quantile(share), Some(expected), "{share}");
        check(0.05, 500.0);
        check(0.5, 1_500.0);
        check(0.9, 2_000.0);
        check(0.99, 2_000.0);
        assert_eq!(histogram.since(&histogram).quantile(0.5), None);
        assert_eq!(Histogram::default().quantile(0.5), None);
    }
}
