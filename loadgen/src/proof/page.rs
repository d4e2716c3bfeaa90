//! A proof as a page: the same numbers as its text, and the figures that show what numbers hide. Like the
//! verdict it is a function of the recorded data alone, byte for byte.

use super::bootstrap::Estimate;
use super::kernel::KernelRow;
use super::result::{Proof, Purpose};
use super::samples::{Samples, Whole};
use super::schedule::{ARMS, Arm, Interleave};
use super::verdict::{Verdict, micros};
use crate::report::{Axis, Figure, Finding, Heat, Line, Lines, Mark, Page, Scale, Shape, Table};

/// Parts of the run that are shown beside each other.
const PARTS: usize = 50;
/// A part has enough samples for its p90.
const PART_SAMPLES_MIN: usize = 20;
/// Cells of a column of the heat map.
const CELLS: usize = 28;
/// Points of a distribution of differences.
const STEPS: usize = 200;

impl Verdict {
    fn mark(self) -> Mark {
        match self {
            Verdict::Pass => Mark::Good,
            Verdict::Fail => Mark::Bad,
            Verdict::Inconclusive => Mark::Unsure,
        }
    }
}

impl Proof {
    /// The whole report; `samples` are those it was made of.
    pub fn to_html(&self, samples: &Samples) -> String {
        let whole = samples.whole();
        let arms = self.context.arms();
        let mut figures = vec![percentile_curve(&whole, &arms)];
        figures.extend(over_time(&whole));
        for arm in [Arm::Direct, Arm::Through] {
            figures.extend(heat(&whole, arm));
        }
        if self.context.interleave == Interleave::Slot {
            figures.extend(differences(&whole, &arms));
        }
        let lag = "There is no send lag to show: a proof sends one request at a time, each when the one before it has \
                   been answered, so no request is ever late. `strait load` sends by the clock and shows it.";
        let page = Page {
            mark: self.verdict.mark(),
            verdict: self.verdict.name().to_owned(),
            headline: self.headline(),
            findings: self.findings(),
            warnings: self.warnings.clone(),
            tables: self.tables(),
            figures,
            notes: vec![lag.to_owned()],
            environment: self.surroundings(),
            command: self.context.command.clone(),
        };
        page.to_html()
    }

    fn findings(&self) -> Vec<Finding> {
        let finding = |verdict: Verdict, text| Finding {
            mark: verdict.mark(),
            verdict: verdict.name().to_owned(),
            text,
        };
        let judged = self.limits.iter().map(|judged| {
            let settle = judged.remedy.as_ref().map(|remedy| format!(". What would settle it: {remedy}"));
            let (name, cause) = (judged.name(), &judged.cause);
            finding(judged.verdict, format!("{name}: {cause}{}", settle.unwrap_or_default()))
        });
        let checks = self
            .checks
            .iter()
            .map(|check| finding(check.verdict, format!("{}: {}", check.name, check.cause)));
        judged.chain(checks).collect()
    }

    fn tables(&self) -> Vec<Table> {
        let arms = self.context.arms();
        let longer: Vec<Arm> = arms.iter().copied().filter(|arm| arm.is_longer()).collect();
        let confidence = self.method.confidence * 100.0;
        let names =
            |arms: &[Arm], with: &str| arms.iter().map(|arm| format!("{with}{}", arm.name())).collect();
        let table =
            |title: String, mut columns: Vec<String>, row: &dyn Fn(&super::estimates::Row) -> Vec<String>| {
                columns.insert(0, "us".to_owned());
                let rows = self.rows.iter().map(|at| [vec![at.percentile.to_string()], row(at)].concat());
                Table { title, columns, rows: rows.collect() }
            };
        let mut tables = vec![table("Latency".to_owned(), names(&arms, ""), &|row| {
            arms.iter().map(|arm| plain(row.times[arm.index()])).collect()
        })];
        let mut columns: Vec<String> = names(&longer, "added ");
        columns.push("null".to_owned());
        let rival = self.context.rival.as_ref().map(|_| "through - rival".to_owned());
        columns.extend(rival);
        tables.push(table(
            format!("Added: difference of quantiles, {confidence} % interval"),
            columns,
            &|row| {
                let mut cells: Vec<String> = longer
                    .iter()
                    .map(|arm| row.of(*arm).map_or(String::new(), |of| interval(of.added)))
                    .collect();
                cells.push(interval(row.null));
                cells.extend(row.less_rival.map(interval));
                cells
            },
        ));
        if self.context.interleave == Interleave::Slot {
            let mut columns: Vec<String> =
                longer.iter().map(|arm| format!("{} - direct", arm.name())).collect();
            columns.push("again - direct".to_owned());
            let title = format!("Within a slot: quantiles of differences, {confidence} % interval");
            tables.push(table(title, columns, &|row| {
                let mut cells: Vec<String> = longer
                    .iter()
                    .map(|arm| row.of(*arm).map_or(String::new(), |of| interval(of.delta)))
                    .collect();
                cells.push(interval(row.null_delta));
                cells
            }));
        }
        tables.extend(self.kernel_tables(&arms));
        if !self.failure_counts.is_empty() {
            let columns = ["arm", "layer", "count", "for example"].map(str::to_owned).to_vec();
            let rows = self.failure_counts.iter().map(|count| {
                let (arm, layer) = (count.arm.name().to_owned(), count.layer.name().to_owned());
                vec![arm, layer, count.count.to_string(), count.example.clone()]
            });
            tables.push(Table { title: "Failures".to_owned(), columns, rows: rows.collect() });
        }
        tables
    }

    /// What the second clock says of the same exchanges.
    fn kernel_tables(&self, arms: &[Arm]) -> Vec<Table> {
        let Ok(kernel) = &self.kernel else { return Vec::new() };
        let longer: Vec<Arm> = arms.iter().copied().filter(|arm| arm.is_longer()).collect();
        let confidence = self.method.confidence * 100.0;
        let table = |title: String, added: &str, null: &str, cells: &dyn Fn(&KernelRow) -> Vec<String>| {
            let mut columns = vec!["us".to_owned()];
            columns.extend(arms.iter().map(|arm| arm.name().to_owned()));
            columns.extend(longer.iter().map(|arm| format!("{added} {}", arm.name())));
            columns.push(null.to_owned());
            let rows = kernel.rows.iter().map(|row| [vec![row.percentile.to_string()], cells(row)].concat());
            Table { title, columns, rows: rows.collect() }
        };
        let cells = |times: &[i64; ARMS], of: &dyn Fn(Arm) -> Option<Estimate>, null: Estimate| {
            let times = arms.iter().map(|arm| plain(times[arm.index()]));
            let added = longer.iter().map(|arm| of(*arm).map_or(String::new(), interval));
            times.chain(added).chain([interval(null)]).collect::<Vec<String>>()
        };
        vec![
            table(format!("By the kernel's stamps, {confidence} % interval"), "added", "null", &|row| {
                cells(&row.times, &|arm| row.added(arm), row.null)
            }),
            table(
                format!("This tool's clock minus the kernel's, of one exchange, {confidence} % interval"),
                "more in",
                "more in again",
                &|row| cells(&row.apart, &|arm| row.parted(arm), row.null_parted),
            ),
        ]
    }

    fn surroundings(&self) -> Vec<(String, String)> {
        let context = &self.context;
        let mut facts: Vec<(String, String)> = Vec::new();
        let mut fact = |name: &str, value: String| facts.push((name.to_owned(), value));
        for arm in context.arms().into_iter().filter(|arm| *arm != Arm::Again) {
            fact(&format!("arm {}", arm.name()), context.url(arm).unwrap_or_default().to_owned());
        }
        fact("request", context.call.clone());
        let by = match context.interleave {
            Interleave::Slot => "arms take turns by the request, in random order",
            Interleave::Block => "arms take turns by the block, in random order",
        };
        fact("slots", format!("{} of {} in {} blocks; {by}", self.slots, context.slots, context.blocks));
        fact("failed slots", self.failures.to_string());
        if let Purpose::SelfTest { clocked_ns, .. } = context.purpose {
            fact("delay by the relay's clock", micros(i64::try_from(clocked_ns).unwrap_or(i64::MAX)));
        }
        if let Some(cpu) = &context.cpu {
            let told = format!(
                "{:.1} us per request, over {} requests one at a time; idle {:.0} us per second ({})",
                cpu.us_per_request, cpu.requests, cpu.idle_us_per_second, cpu.account
            );
            fact("gateway's processor time", told);
        }
        if let Some(told) = self.residence() {
            fact("gateway's residence time, by its own clock", told);
        }
        fact(
            "kernel's stamps",
            match &self.kernel {
                Ok(kernel) => kernel.told(),
                Err(why) => format!("not available: {why}"),
            },
        );
        for (percentile, ns) in &context.floor {
            let least = micros(*ns);
            fact(
                &format!("floor at {percentile}"),
                format!("this host, just before, could prove {least} added"),
            );
        }
        for subject in &context.subjects {
            let (name, bytes, sha256) = (&subject.name, subject.bytes, &subject.sha256);
            fact(&subject.what, format!("{name}, {bytes} bytes, sha256 {sha256}"));
        }
        fact("measured by", context.made_by.clone());
        for (name, value) in context.environment.told() {
            fact(name, value);
        }
        fact("started", format!("{} seconds after 1970-01-01 UTC", context.started_unix_s));
        facts
    }
}

fn us(label: &str, scale: Scale) -> Axis {
    Axis { label: label.to_owned(), unit: " us".to_owned(), scale }
}

fn in_us(ns: i64) -> f64 {
    ns as f64 / 1_000.0
}

fn plain(ns: i64) -> String {
    micros(ns).trim_end_matches(" us").to_owned()
}

fn interval(estimate: Estimate) -> String {
    format!("{} [{}, {}]", plain(estimate.estimate), plain(estimate.low), plain(estimate.high))
}

/// Sorted times of an arm, or of a part of them.
fn sorted(times: &[i64]) -> Vec<i64> {
    let mut times = times.to_vec();
    times.sort_unstable();
    times
}

fn at(sorted: &[i64], share: f64) -> Option<i64> {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

fn percentile_curve(whole: &Whole, arms: &[Arm]) -> Figure {
    let lines = arms.iter().map(|arm| {
        let times = sorted(&whole.arms[arm.index()]);
        let n = times.len() as f64;
        // Even steps of the logarithm, up to the last percentile that ten samples lie beyond.
        let most = (n / 10.0).max(2.0).log10();
        let points = (0..=80).filter_map(|step| {
            let beyond = 10f64.powf(most * f64::from(step) / 80.0);
            Some((beyond, in_us(at(&times, 1.0 - 1.0 / beyond)?)))
        });
        Line { name: arm.name().to_owned(), points: points.collect() }
    });
    Figure {
        title: "Latency by percentile".to_owned(),
        caption: "How long requests of each arm took, from the fastest on the left to the slowest that ten others were \
                  slower than. Where two lines run together nothing tells these arms apart."
            .to_owned(),
        shape: Shape::Lines(Lines {
            x: Axis { label: "percentile".to_owned(), unit: String::new(), scale: Scale::Percentile },
            y: us("latency", Scale::Log),
            lines: lines.collect(),
        }),
    }
}

fn parts(whole: &Whole) -> usize {
    (whole.len() / PART_SAMPLES_MIN).clamp(1, PARTS)
}

fn over_time(whole: &Whole) -> Option<Figure> {
    let parts = parts(whole);
    if parts < 2 {
        return None;
    }
    let mut lines = Vec::new();
    // Two arms, so that it can be read; the tables have the others.
    for arm in [Arm::Direct, Arm::Through] {
        for (name, share) in [("p50", 0.5), ("p90", 0.9)] {
            let points = (0..parts).filter_map(|part| {
                let of = whole.part(part, parts);
                let times = sorted(whole.arms[arm.index()].get(of.clone())?);
                Some((of.start as f64, in_us(at(&times, share)?)))
            });
            lines.push(Line { name: format!("{} {name}", arm.name()), points: points.collect() });
        }
    }
    Some(Figure {
        title: "Percentiles over the run".to_owned(),
        caption: format!(
            "Median and p90 of {parts} equal parts of the run, one after the other. A step or a slope is the host \
             changing its mood; it should be the same in all arms."
        ),
        shape: Shape::Lines(Lines {
            x: Axis { label: "slot".to_owned(), unit: String::new(), scale: Scale::Linear },
            y: us("latency", Scale::Log),
            lines,
        }),
    })
}

fn heat(whole: &Whole, arm: Arm) -> Option<Figure> {
    let parts = parts(whole);
    // One scale for both maps, so that they can be laid side by side.
    let (low, high) = [Arm::Direct, Arm::Through]
        .iter()
        .flat_map(|arm| &whole.arms[arm.index()])
        .fold((i64::MAX, 1), |(low, high), ns| (low.min(*ns), high.max(*ns)));
    if parts < 2 || low >= high {
        return None;
    }
    let (low, high) = (in_us(low.max(1)).ln(), in_us(high).ln());
    let edges: Vec<f64> =
        (0..=CELLS).map(|edge| (low + (high - low) * edge as f64 / CELLS as f64).exp()).collect();
    let cell = |ns: i64| {
        let share = (in_us(ns.max(1)).ln() - low) / (high - low);
        ((share * CELLS as f64) as usize).min(CELLS - 1)
    };
    let counts = (0..parts).map(|part| {
        let mut counts = vec![0; CELLS];
        for ns in whole.arms[arm.index()].get(whole.part(part, parts)).unwrap_or_default() {
            counts[cell(*ns)] += 1;
        }
        counts
    });
    let which = if arm == Arm::Direct { "straight to the server" } else { "through the gateway" };
    Some(Figure {
        title: format!("All requests {which}"),
        caption: "Every request of the arm: darker where more of them took that long at that time, by the logarithm of \
                  their number. Both maps have the same scale."
            .to_owned(),
        shape: Shape::Heat(Heat {
            x: Axis { label: "slot".to_owned(), unit: String::new(), scale: Scale::Linear },
            y: us("latency", Scale::Log),
            columns: (0..parts).map(|part| whole.part(part, parts).start as f64).collect(),
            edges,
            counts: counts.collect(),
        }),
    })
}

fn differences(whole: &Whole, arms: &[Arm]) -> Option<Figure> {
    let of: Vec<(Arm, Vec<i64>)> = arms
        .iter()
        .filter(|arm| **arm != Arm::Direct)
        .map(|arm| (*arm, sorted(&whole.differences(*arm, Arm::Direct))))
        .collect();
    let low = of.iter().filter_map(|(_, sorted)| at(sorted, 0.05)).min()?;
    let high = of.iter().filter_map(|(_, sorted)| at(sorted, 0.95)).max()?;
    let lines = of.iter().map(|(arm, sorted)| {
        let points = (0..=STEPS).map(|step| {
            let ns = low + (high - low) * step as i64 / STEPS as i64;
            let share = sorted.partition_point(|value| *value <= ns) as f64 / sorted.len().max(1) as f64;
            (in_us(ns), share * 100.0)
        });
        Line { name: format!("{} - direct", arm.name()), points: points.collect() }
    });
    Some(Figure {
        title: "Differences within a slot".to_owned(),
        caption: "For each difference, the share of slots that were at or below it; 5 % at either end are outside. \
                  The null, again - direct, should rise at 0; how far right of it another line rises is what is added."
            .to_owned(),
        shape: Shape::Lines(Lines {
            x: us("difference", Scale::Linear),
            y: Axis { label: "share of slots".to_owned(), unit: " %".to_owned(), scale: Scale::Linear },
            lines: lines.collect(),
        }),
    })
}
