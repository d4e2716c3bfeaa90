//! What a figure shows, before anybody draws it: lines over an axis, or counts in cells. Numbers are as they
//! were measured; scales and ticks are the drawing's business, and so is leaving out what a logarithm has no
//! place for.

/// A figure with its name and what it shows in words.
#[derive(Clone, Debug)]
pub struct Figure {
    pub title: String,
    /// For everybody below the figure, and all there is for whoever does not see it.
    pub caption: String,
    pub shape: Shape,
}

#[derive(Clone, Debug)]
pub enum Shape {
    Lines(Lines),
    Heat(Heat),
}

#[derive(Clone, Debug)]
pub struct Axis {
    pub label: String,
    /// Behind each number on the axis.
    pub unit: String,
    pub scale: Scale,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    Linear,
    Log,
    /// Values are `1 / (1 - share)`, told as percentiles: 100 is p99.
    Percentile,
}

#[derive(Clone, Debug)]
pub struct Lines {
    pub x: Axis,
    pub y: Axis,
    pub lines: Vec<Line>,
}

/// Points from left to right.
#[derive(Clone, Debug)]
pub struct Line {
    pub name: String,
    pub points: Vec<(f64, f64)>,
}

/// Counts over time and size.
#[derive(Clone, Debug)]
pub struct Heat {
    pub x: Axis,
    pub y: Axis,
    /// Where each column begins.
    pub columns: Vec<f64>,
    /// Edges of the cells of a column, from below: one more than a column has cells.
    pub edges: Vec<f64>,
    /// By column, then by cell.
    pub counts: Vec<Vec<u64>>,
}

impl Scale {
    /// Where a value lies; `None` for what has no place.
    pub fn place(self, value: f64) -> Option<f64> {
        match self {
            Scale::Linear => Some(value),
            Scale::Log | Scale::Percentile if value > 0.0 => Some(value.log10()),
            Scale::Log | Scale::Percentile => None,
        }
        .filter(|place| place.is_finite())
    }

    /// Values to be named between two.
    pub fn ticks(self, low: f64, high: f64) -> Vec<f64> {
        let powers = || (-3..12).map(|power| 10f64.powi(power));
        let ticks: Vec<f64> = match self {
            Scale::Linear => {
                let rough = ((high - low) / 5.0).max(f64::MIN_POSITIVE);
                let power = 10f64.powf(rough.log10().floor());
                let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|n| n * power).find(|step| *step >= rough);
                let step = step.unwrap_or(rough);
                let first = (low / step).ceil();
                (0..12).map(|n| (first + f64::from(n)) * step).collect()
            }
            Scale::Log if high / low < 30.0 => {
                powers().flat_map(|power| [1.0, 2.0, 5.0].map(|n| n * power)).collect()
            }
            Scale::Log => powers().collect(),
            Scale::Percentile => {
                [1.0, 2.0].into_iter().chain((1..7).map(|power| 10f64.powi(power))).collect()
            }
        };
        ticks.into_iter().filter(|tick| (low..=high).contains(tick)).collect()
    }

    pub fn named(self, value: f64, unit: &str) -> String {
        match self {
            Scale::Percentile => {
                // Rounded, or p99.9 would be p99.90000000000001.
                let percent = (100.0 * (1.0 - 1.0 / value) * 1e5).round() / 1e5;
                format!("p{percent}")
            }
            Scale::Linear | Scale::Log => format!("{}{unit}", number(value)),
        }
    }
}

/// As short as it can be told.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 1e6 => format!("{}M", digits(value / 1e6)),
        size if size >= 1e4 => format!("{}k", digits(value / 1e3)),
        _ => digits(value),
    }
}

fn digits(value: f64) -> String {
    let decimals = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 1.0 => 1,
        _ => 3,
    };
    let text = format!("{value:.decimals$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

impl Figure {
    /// The numbers behind it: names of columns, and rows.
    pub fn numbers(&self) -> (Vec<String>, Vec<Vec<String>>) {
        match &self.shape {
            Shape::Lines(lines) => lines.numbers(),
            Shape::Heat(heat) => heat.numbers(),
        }
    }
}

impl Lines {
    fn numbers(&self) -> (Vec<String>, Vec<Vec<String>>) {
        let mut columns = vec![self.x.label.clone()];
        columns.extend(self.lines.iter().map(|line| line.name.clone()));
        let mut places: Vec<f64> =
            self.lines.iter().flat_map(|line| line.points.iter().map(|p| p.0)).collect();
        places.sort_by(f64::total_cmp);
        places.dedup();
        let row = |x: f64| {
            let mut row = vec![self.x.scale.named(x, &self.x.unit)];
            row.extend(self.lines.iter().map(|line| {
                let at = line.points.iter().find(|point| point.0 == x);
                at.map_or(String::new(), |point| self.y.scale.named(point.1, &self.y.unit))
            }));
            row
        };
        (columns, places.into_iter().filter(|x| x.is_finite()).map(row).collect())
    }
}

impl Heat {
    fn numbers(&self) -> (Vec<String>, Vec<Vec<String>>) {
        let columns = vec![self.y.label.clone(), "requests".to_owned()];
        let cells = self.edges.windows(2).enumerate().rev();
        let rows = cells.map(|(cell, edges)| {
            let told = |edge: f64| self.y.scale.named(edge, &self.y.unit);
            let count: u64 = self.counts.iter().filter_map(|column| column.get(cell)).sum();
            vec![format!("{} to {}", told(edges[0]), told(edges[1])), count.to_string()]
        });
        (columns, rows.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_few() {
        let names = |scale: Scale, low, high| -> Vec<String> {
            scale.ticks(low, high).into_iter().map(|tick| scale.named(tick, "")).collect()
        };
        assert_eq!(names(Scale::Linear, 0.0, 20_000.0), ["0", "5000", "10k", "15k", "20k"]);
        assert_eq!(names(Scale::Log, 18.0, 140.0), ["20", "50", "100"]);
        assert_eq!(names(Scale::Log, 5.0, 8_000.0), ["10", "100", "1000"]);
        assert_eq!(names(Scale::Percentile, 1.0, 20_000.0), ["p0", "p50", "p90", "p99", "p99.9", "p99.99"]);
        assert!(Scale::Log.place(0.0).is_none() && Scale::Linear.place(f64::NAN).is_none());
    }
}
