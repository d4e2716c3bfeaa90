//! Figures as SVG inside the page. The drawing has one size and scales with its column; colours are classes,
//! so that the page's style decides what they are in light and in dark.

use std::fmt::Write;

use super::escape;
use super::figure::{Axis, Figure, Heat, Lines, Scale, Shape};

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 86.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 52.0;
/// Lines that have a colour and a dash of their own.
const STYLES: usize = 6;

/// One axis laid out.
struct Laid {
    scale: Scale,
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Laid {
    /// Over these values; nothing when none has a place.
    fn new(scale: Scale, values: impl Iterator<Item = f64>, from: f64, to: f64) -> Option<Laid> {
        let placed = values.filter(|value| scale.place(*value).is_some());
        let (low, high) =
            placed.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
        let room = match scale {
            _ if low > high => return None,
            // All on one value: some room around it.
            Scale::Linear if low == high => (low - 1.0, high + 1.0),
            Scale::Linear => (low, high),
            Scale::Log | Scale::Percentile if low == high => (low / 2.0, high * 2.0),
            Scale::Log | Scale::Percentile => (low, high),
        };
        Some(Laid { scale, low: room.0, high: room.1, from, to })
    }

    fn at(&self, value: f64) -> Option<f64> {
        let place = |value| self.scale.place(value);
        let share = (place(value)? - place(self.low)?) / (place(self.high)? - place(self.low)?);
        Some(self.from + share.clamp(0.0, 1.0) * (self.to - self.from))
    }
}

/// The figure's SVG, or a sentence when it has nothing to show.
pub fn draw(out: &mut String, index: usize, figure: &Figure) -> std::fmt::Result {
    let mut body = String::new();
    let drawn = match &figure.shape {
        Shape::Lines(lines) => draw_lines(&mut body, lines),
        Shape::Heat(heat) => draw_heat(&mut body, heat),
    };
    if drawn.is_none() {
        return writeln!(out, "<p class=\"note\">Nothing to show.</p>");
    }
    let (title, caption) = (escape(&figure.title), escape(&figure.caption));
    writeln!(
        out,
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-labelledby=\"t{index} d{index}\">\n\
         <title id=\"t{index}\">{title}</title><desc id=\"d{index}\">{caption}</desc>\n{body}</svg>"
    )?;
    if let Shape::Lines(lines) = &figure.shape {
        out.push_str("<ul class=\"legend\" aria-hidden=\"true\">");
        for (at, line) in lines.lines.iter().enumerate() {
            let (style, name) = (at % STYLES, escape(&line.name));
            write!(
                out,
                "<li><svg viewBox=\"0 0 28 8\" width=\"28\" height=\"8\"><path class=\"line s{style}\" d=\"M0 4H28\"/></svg>{name}</li>"
            )?;
        }
        out.push_str("</ul>\n");
    }
    Ok(())
}

fn draw_lines(out: &mut String, lines: &Lines) -> Option<()> {
    let points = || lines.lines.iter().flat_map(|line| &line.points);
    let x = Laid::new(lines.x.scale, points().map(|point| point.0), LEFT, WIDTH - RIGHT)?;
    let y = Laid::new(lines.y.scale, points().map(|point| point.1), HEIGHT - BOTTOM, TOP)?;
    draw_axes(out, (&lines.x, &x), (&lines.y, &y));
    for (index, line) in lines.lines.iter().enumerate() {
        let mut path = String::new();
        let placed = line.points.iter().filter_map(|point| Some((x.at(point.0)?, y.at(point.1)?)));
        for (at, (x, y)) in placed.enumerate() {
            let _ = write!(path, "{}{x:.1} {y:.1}", if at == 0 { "M" } else { "L" });
        }
        let _ = writeln!(out, "<path class=\"line s{}\" d=\"{path}\"/>", index % STYLES);
    }
    Some(())
}

fn draw_heat(out: &mut String, heat: &Heat) -> Option<()> {
    let most = heat.counts.iter().flatten().copied().max().filter(|most| *most > 0)? as f64;
    let wide = heat.columns.get(1)? - heat.columns.first()?;
    let columns = heat.columns.iter().copied().chain(heat.columns.last().map(|last| last + wide));
    let x = Laid::new(heat.x.scale, columns, LEFT, WIDTH - RIGHT)?;
    let y = Laid::new(heat.y.scale, heat.edges.iter().copied(), HEIGHT - BOTTOM, TOP)?;
    draw_axes(out, (&heat.x, &x), (&heat.y, &y));
    for (column, counts) in heat.columns.iter().zip(&heat.counts) {
        let (left, right) = (x.at(*column)?, x.at(column + wide)?);
        for (edges, count) in heat.edges.windows(2).zip(counts).filter(|(_, count)| **count > 0) {
            let (bottom, top) = (y.at(edges[0])?, y.at(edges[1])?);
            // By the logarithm: one request among thousands is what somebody looks for.
            let ink = 0.12 + 0.88 * ((*count as f64).ln_1p() / most.ln_1p());
            let _ = writeln!(
                out,
                "<rect class=\"cell\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill-opacity=\"{ink:.2}\"/>",
                right - left,
                bottom - top
            );
        }
    }
    Some(())
}

fn draw_axes(out: &mut String, (x_axis, x): (&Axis, &Laid), (y_axis, y): (&Axis, &Laid)) {
    let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
    // Writing to a string cannot fail.
    for tick in y.scale.ticks(y.low, y.high) {
        let Some(at) = y.at(tick) else { continue };
        let name = escape(&y.scale.named(tick, &y_axis.unit));
        let _ = writeln!(
            out,
            "<path class=\"grid\" d=\"M{LEFT} {at:.1}H{right}\"/><text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{name}</text>",
            LEFT - 8.0,
            at + 4.0
        );
    }
    for tick in x.scale.ticks(x.low, x.high) {
        let Some(at) = x.at(tick) else { continue };
        let name = escape(&x.scale.named(tick, &x_axis.unit));
        let anchor = if at > right - 20.0 { "end" } else { "middle" };
        let _ = writeln!(
            out,
            "<path class=\"grid\" d=\"M{at:.1} {TOP}V{bottom}\"/><text class=\"tick\" x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{name}</text>",
            bottom + 18.0
        );
    }
    let (middle, low) = ((LEFT + right) / 2.0, HEIGHT - 8.0);
    let up = (TOP + bottom) / 2.0;
    let (x_label, y_label) = (escape(&x_axis.label), escape(&y_axis.label));
    let _ = writeln!(
        out,
        "<path class=\"axis\" d=\"M{LEFT} {TOP}V{bottom}H{right}\"/>\
         <text class=\"label\" x=\"{middle}\" y=\"{low}\" text-anchor=\"middle\">{x_label}</text>\
         <text class=\"label\" transform=\"translate(14 {up}) rotate(-90)\" text-anchor=\"middle\">{y_label}</text>"
    );
}

#[cfg(test)]
mod tests {
    use super::super::figure::{Line, Shape};
    use super::*;

    fn drawn(shape: Shape) -> String {
        let mut out = String::new();
        draw(&mut out, 0, &Figure { title: "t".to_owned(), caption: String::new(), shape }).unwrap();
        out
    }

    fn axis(scale: Scale) -> Axis {
        Axis { label: "a".to_owned(), unit: String::new(), scale }
    }

    /// Left to right and from below, by the scale; a legend has the line of its name.
    #[test]
    fn a_line_is_drawn_where_its_scale_says() {
        let line = |name: &str, points| Line { name: name.to_owned(), points };
        let lines = vec![
            line("first", vec![(0.0, 10.0), (5.0, 100.0), (10.0, 1_000.0)]),
            line("second", vec![(0.0, 10.0), (10.0, 10.0)]),
        ];
        let svg = drawn(Shape::Lines(Lines { x: axis(Scale::Linear), y: axis(Scale::Log), lines }));
        for path in [
            "<path class=\"line s0\" d=\"M86.0 268.0L415.0 141.0L744.0 14.0\"/>",
            "<path class=\"line s1\" d=\"M86.0 268.0L744.0 268.0\"/>",
            "<path class=\"line s0\" d=\"M0 4H28\"/></svg>first</li>",
            "<path class=\"line s1\" d=\"M0 4H28\"/></svg>second</li>",
        ] {
            assert!(svg.contains(path), "{path}: {svg}");
        }
    }

    /// The more, the darker; the first column left, the first cell below.
    #[test]
    fn a_cell_is_as_dark_as_it_is_full() {
        let heat = Heat {
            x: axis(Scale::Linear),
            y: axis(Scale::Linear),
            columns: vec![0.0, 1.0],
            edges: vec![0.0, 1.0, 2.0],
            counts: vec![vec![1, 0], vec![0, 9]],
        };
        let svg = drawn(Shape::Heat(heat));
        let cells: Vec<&str> = svg.lines().filter(|line| line.contains("class=\"cell\"")).collect();
        assert_eq!(cells.len(), 2, "{svg}");
        assert!(
            cells[0].contains("x=\"86.0\" y=\"141.0\"") && cells[0].contains("fill-opacity=\"0.38\""),
            "{svg}"
        );
        assert!(
            cells[1].contains("x=\"415.0\" y=\"14.0\"") && cells[1].contains("fill-opacity=\"1.00\""),
            "{svg}"
        );
    }
}
