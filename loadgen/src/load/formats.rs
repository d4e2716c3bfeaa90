//! A finished run in the forms that other programs read: HdrHistogram's percentile distribution, JUnit, Prometheus text.
//!
//! The decision: each is a function from a report to text, and says no more than the report does. A demand that could not be decided is
//! an error in JUnit and not a failure: nobody knows whether the target is to blame.

use std::fmt::Write;

use super::record::{PERCENTILES, Times};
use super::report::Report;
use crate::target::Cause;

/// Lines between two halvings of what is left above, as other tools write them.
const TICKS_PER_HALF: u32 = 5;
const NS_PER_MS: f64 = 1e6;

/// The distribution of latencies (`.hgrm`), in milliseconds.
pub fn hgrm(times: &Times) -> String {
    let histogram = times.histogram();
    let mut out =
        format!("{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
    let mut passed = 0;
    for step in histogram.iter_quantiles(TICKS_PER_HALF) {
        passed += step.count_since_last_iteration();
        let value = step.value_iterated_to().min(times.max().unwrap_or(0)) as f64 / NS_PER_MS;
        let quantile = step.quantile_iterated_to();
        let _ = match quantile < 1.0 {
            true => {
                writeln!(out, "{value:>12.6} {quantile:>14.12} {passed:>10} {:>14.2}", 1.0 / (1.0 - quantile))
            }
            false => writeln!(out, "{value:>12.6} {quantile:>14.12} {passed:>10}"),
        };
    }
    let ms = |ns: f64| ns / NS_PER_MS;
    let _ = writeln!(
        out,
        "#[Mean    = {:>12.6}, StdDeviation   = {:>12.6}]\n#[Max     = {:>12.6}, Total count    = {:>12}]\n\
         #[Buckets = {:>12}, SubBuckets     = {:>12}]",
        ms(times.mean().unwrap_or(0.0)),
        ms(histogram.stdev()),
        ms(times.max().unwrap_or(0) as f64),
        times.count(),
        histogram.buckets(),
        2_048
    );
    out
}

/// One test case per demand, and one for whether the generator kept up.
pub fn junit(report: &Report) -> String {
    let keeps_up = (!report.saturation.is_empty()).then(|| report.saturation.join("; "));
    let undecided = report.judged.iter().filter(|judged| judged.passed.is_none()).count();
    let failed = report.judged.iter().filter(|judged| judged.passed == Some(false)).count();
    let errors = undecided + usize::from(keeps_up.is_some()) + usize::from(report.interrupted);
    let seconds = report.duration_ns as f64 / 1e9;
    let tests = report.judged.len() + 1 + usize::from(report.interrupted);
    let mut out = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <testsuite name=\"strait load {}\" tests=\"{tests}\" failures=\"{failed}\" errors=\"{errors}\" time=\"{seconds:.3}\">\n",
        xml(&report.url)
    );
    let mut case = |name: &str, fault: Option<(&str, &str)>| {
        let _ = match fault {
            None => writeln!(out, "  <testcase classname=\"load\" name=\"{}\"/>", xml(name)),
            Some((kind, why)) => writeln!(
                out,
                "  <testcase classname=\"load\" name=\"{}\"><{kind} message=\"{}\"/></testcase>",
                xml(name),
                xml(why)
            ),
        };
    };
    case("the generator kept up", keeps_up.as_deref().map(|why| ("error", why)));
    for judged in &report.judged {
        let fault = match judged.passed {
            Some(true) => None,
            Some(false) => Some(("failure", judged.words.as_str())),
            None => Some(("error", judged.words.as_str())),
        };
        case(&judged.text, fault);
    }
    if report.interrupted {
        case("the run came to its end", Some(("error", "interrupted")));
    }
    out.push_str("</testsuite>\n");
    out
}

/// Figures of one run, for a gateway of pushed metrics or a textfile collector.
pub fn prometheus(report: &Report) -> String {
    let record = &report.record;
    let url = label(&report.url);
    let mut out = String::new();
    for (name, what, times) in [
        ("latency", "From when a request was due to its answer, of successes.", &record.latency),
        ("service", "From when a request was sent to its answer, of successes.", &record.service),
        ("send_lag", "From when a request was due to when it was sent.", &record.send_lag),
    ] {
        let name = format!("strait_load_{name}_seconds");
        let _ = writeln!(out, "# HELP {name} {what}\n# TYPE {name} summary");
        // One that too few samples lie beyond is left out.
        for (_, quantile) in PERCENTILES {
            if let Some(ns) = times.percentile(quantile).known() {
                let _ = writeln!(out, "{name}{{url=\"{url}\",quantile=\"{quantile}\"}} {}", ns as f64 / 1e9);
            }
        }
        let sum = times.mean().unwrap_or(0.0) * times.count() as f64 / 1e9;
        let _ = writeln!(
            out,
            "{name}_sum{{url=\"{url}\"}} {sum}\n{name}_count{{url=\"{url}\"}} {}",
            times.count()
        );
    }
    let mut family = |name: &str, help: &str, lines: Vec<(String, f64)>| {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge");
        for (labels, value) in lines {
            let _ = writeln!(out, "{name}{{url=\"{url}\"{labels}}} {value}");
        }
    };
    family(
        "strait_load_requests",
        "Requests that came to an end.",
        vec![
            (",outcome=\"succeeded\"".to_owned(), record.succeeded() as f64),
            (",outcome=\"failed\"".to_owned(), record.failed() as f64),
        ],
    );
    let causes = Cause::WORDS
        .iter()
        .zip(record.causes)
        .map(|(word, count)| (format!(",cause=\"{word}\""), count as f64));
    family("strait_load_errors", "Failures by cause.", causes.collect());
    family("strait_load_rate", "Answers per second.", vec![(String::new(), report.achieved_rate())]);
    let saturated = f64::from(u8::from(!report.saturation.is_empty()));
    family(
        "strait_load_self_saturated",
        "1: the generator did not keep up.",
        vec![(String::new(), saturated)],
    );
    out
}

/// What XML 1.0 can hold, between quotation marks.
fn xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}

fn label(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_ends_at_its_largest_value() {
        let mut times = Times::new();
        (1..=1_000u64).for_each(|n| times.record(n * 1_000_000));
        let text = hgrm(&times);
        let rows: Vec<Vec<f64>> = text
            .lines()
            .skip(2)
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.split_whitespace().map(|cell| cell.parse().unwrap()).collect())
            .collect();
        let (first, last) = (rows.first().unwrap(), rows.last().unwrap());
        assert!((first[0] - 1.0).abs() < 0.001 && first[1] == 0.0, "{text}");
        assert_eq!((last[0], last[1], last[2], last.len()), (1_000.0, 1.0, 1_000.0, 3), "{text}");
        assert!(rows.windows(2).all(|pair| pair[0][0] <= pair[1][0] && pair[0][2] <= pair[1][2]), "{text}");
        assert!(text.contains("Total count    =         1000]"), "{text}");
        assert!(hgrm(&Times::new()).contains("Total count    =            0]"));
    }

    #[test]
    fn texts_of_others_stay_where_they_are() {
        assert_eq!(xml("a<b>&\"c\"\u{1}\n"), "a&lt;b&gt;&amp;&quot;c&quot;\\u{1}\\n");
        assert_eq!(label("a\"b\\\n"), "a\\\"b\\\\\\n");
    }
}
