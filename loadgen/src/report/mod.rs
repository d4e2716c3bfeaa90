//! A result as one HTML file that needs nothing else: no script, no font, no picture from anywhere, so that it
//! can be sent, kept, and opened in ten years. What is shown is a plain [`Page`]; whoever measured fills one.
//!
//! The verdict is the first line. Every figure is inline SVG with a name, a sentence of what it shows for those
//! who do not see it, and the numbers behind it in a table that opens by keyboard. Lines differ in dash and not
//! in colour alone; colours follow the reader's light or dark. Everything that came from outside is escaped in
//! one place, [`escape`], because names of tools and URLs are a peer's to choose.

pub mod figure;
mod svg;

use std::fmt::Write;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

pub use figure::{Axis, Figure, Heat, Line, Lines, Scale, Shape};

use crate::words::printable;

const STYLE: &str = include_str!("style.css");
/// Rows of a figure's numbers; every so manieth is told of a longer one.
const ROWS_MAX: usize = 40;

/// How the first line is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    Good,
    Bad,
    Unsure,
}

impl Mark {
    fn class(self) -> &'static str {
        match self {
            Mark::Good => "good",
            Mark::Bad => "bad",
            Mark::Unsure => "unsure",
        }
    }
}

/// Everything a reader is shown, in this order.
#[derive(Clone, Debug)]
pub struct Page {
    pub mark: Mark,
    /// `PASS`; the first word of the page.
    pub verdict: String,
    /// What was measured, in one sentence.
    pub headline: String,
    /// What was asked, each with its own verdict and the reason for it.
    pub findings: Vec<Finding>,
    /// What to know before believing any of it.
    pub warnings: Vec<String>,
    pub tables: Vec<Table>,
    pub figures: Vec<Figure>,
    /// What can be said about a figure that is not there.
    pub notes: Vec<String>,
    pub environment: Vec<(String, String)>,
    /// The command line that makes it again.
    pub command: String,
}

#[derive(Clone, Debug)]
pub struct Finding {
    pub mark: Mark,
    pub verdict: String,
    pub text: String,
}

#[derive(Clone, Debug)]
pub struct Table {
    pub title: String,
    /// The first column names the row.
    pub columns: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

impl Page {
    /// The whole file.
    pub fn to_html(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let (verdict, headline) = (escape(&self.verdict), escape(&self.headline));
        // Of this style and nothing else; of scripts none at all.
        let style = STANDARD.encode(digest(&SHA256, STYLE.as_bytes()));
        write!(
            out,
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-{style}'\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>{verdict}: {headline}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n\
             <h1><span class=\"mark {}\">{verdict}</span> <span class=\"what\">{headline}</span></h1>\n",
            self.mark.class()
        )?;
        if !self.findings.is_empty() {
            out.push_str("<ul class=\"findings\">\n");
            for finding in &self.findings {
                let (class, verdict) = (finding.mark.class(), escape(&finding.verdict));
                let text = escape(&finding.text);
                writeln!(out, "<li><span class=\"mark {class}\">{verdict}</span> <span>{text}</span></li>")?;
            }
            out.push_str("</ul>\n");
        }
        if !self.warnings.is_empty() {
            out.push_str("<section aria-labelledby=\"warnings\">\n<h2 id=\"warnings\">Before you believe it</h2>\n<ul>\n");
            for warning in &self.warnings {
                writeln!(out, "<li>{}</li>", escape(warning))?;
            }
            out.push_str("</ul>\n</section>\n");
        }
        for table in &self.tables {
            write_table(out, table)?;
        }
        for (index, figure) in self.figures.iter().enumerate() {
            write_figure(out, index, figure)?;
        }
        for note in &self.notes {
            writeln!(out, "<p class=\"note\">{}</p>", escape(note))?;
        }
        if !self.environment.is_empty() {
            out.push_str(
                "<section aria-labelledby=\"where\">\n<h2 id=\"where\">Where it was measured</h2>\n<dl>\n",
            );
            for (name, value) in &self.environment {
                writeln!(out, "<div><dt>{}</dt><dd>{}</dd></div>", escape(name), escape(value))?;
            }
            out.push_str("</dl>\n</section>\n");
        }
        write!(
            out,
            "<section aria-labelledby=\"again\">\n<h2 id=\"again\">To repeat it</h2>\n\
             <pre tabindex=\"0\"><code>{}</code></pre>\n</section>\n</main>\n</body>\n</html>\n",
            escape(&self.command)
        )
    }
}

fn write_table(out: &mut String, table: &Table) -> std::fmt::Result {
    let title = escape(&table.title);
    writeln!(out, "<section>\n<h2>{title}</h2>")?;
    write_rows(out, &title, &table.columns, &table.rows)?;
    out.push_str("</section>\n");
    Ok(())
}

/// A table that scrolls by itself where the window is narrow, by keyboard too. `name` is escaped already.
fn write_rows(out: &mut String, name: &str, columns: &[String], rows: &[Vec<String>]) -> std::fmt::Result {
    write!(
        out,
        "<div class=\"scroll\" role=\"region\" aria-label=\"{name}\" tabindex=\"0\"><table>\n<thead><tr>"
    )?;
    for column in columns {
        write!(out, "<th scope=\"col\">{}</th>", escape(column))?;
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for row in rows {
        out.push_str("<tr>");
        for (index, cell) in row.iter().enumerate() {
            let cell = escape(cell);
            match index {
                0 => write!(out, "<th scope=\"row\">{cell}</th>")?,
                _ => write!(out, "<td>{cell}</td>")?,
            }
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody>\n</table></div>\n");
    Ok(())
}

fn write_figure(out: &mut String, index: usize, figure: &Figure) -> std::fmt::Result {
    let (title, caption) = (escape(&figure.title), escape(&figure.caption));
    writeln!(out, "<section>\n<h2 id=\"f{index}\">{title}</h2>\n<figure aria-labelledby=\"f{index}\">")?;
    svg::draw(out, index, figure)?;
    writeln!(out, "<figcaption>{caption}</figcaption>")?;
    let (columns, rows) = figure.numbers();
    if !rows.is_empty() {
        let every = rows.len().div_ceil(ROWS_MAX);
        let last = rows.len() - 1;
        let kept = rows.into_iter().enumerate().filter(|(at, _)| at % every == 0 || *at == last);
        let rows: Vec<Vec<String>> = kept.map(|(_, row)| row).collect();
        writeln!(out, "<details><summary>{title}: the numbers</summary>")?;
        write_rows(out, &format!("{title}: the numbers"), &columns, &rows)?;
        out.push_str("</details>\n");
    }
    out.push_str("</figure>\n</section>\n");
    Ok(())
}

/// Text for HTML, inside elements and quoted attributes: markup is taken from it, and what would turn text
/// around or is no character at all is spelt out.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in printable(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str =
        "</title><script>alert(1)</script><img src=x onerror='a()'>\" onload=\"b()\u{202e}\u{7}&amp;";

    /// Every place that shows text, with text that wants out of it.
    #[test]
    fn nothing_gets_out_of_its_place() {
        let line = Line { name: HOSTILE.to_owned(), points: vec![(1.0, 2.0), (10.0, 3.0)] };
        let axis = Axis { label: HOSTILE.to_owned(), unit: HOSTILE.to_owned(), scale: Scale::Log };
        let lines = Lines { x: axis.clone(), y: axis.clone(), lines: vec![line] };
        let heat = Heat {
            x: Axis { scale: Scale::Linear, ..axis.clone() },
            y: axis,
            columns: vec![0.0, 1.0],
            edges: vec![1.0, 2.0, 4.0],
            counts: vec![vec![1, 2], vec![0, 9]],
        };
        let figure = |shape| Figure { title: HOSTILE.to_owned(), caption: HOSTILE.to_owned(), shape };
        let page = Page {
            mark: Mark::Bad,
            verdict: HOSTILE.to_owned(),
            headline: HOSTILE.to_owned(),
            findings: vec![Finding {
                mark: Mark::Good,
                verdict: HOSTILE.to_owned(),
                text: HOSTILE.to_owned(),
            }],
            warnings: vec![HOSTILE.to_owned()],
            tables: vec![Table {
                title: HOSTILE.to_owned(),
                columns: vec![HOSTILE.to_owned()],
                rows: vec![vec![HOSTILE.to_owned(); 2]],
            }],
            figures: vec![figure(Shape::Lines(lines)), figure(Shape::Heat(heat))],
            notes: vec![HOSTILE.to_owned()],
            environment: vec![(HOSTILE.to_owned(), HOSTILE.to_owned())],
            command: HOSTILE.to_owned(),
        };
        let html = page.to_html();
        for outlawed in
            ["<script", "<img", "onerror='", "onload=\"", "\u{202e}", "\u{7}", "http-equiv=\"refresh"]
        {
            assert!(!html.contains(outlawed), "{outlawed}");
        }
        assert_eq!(html.matches("</title>").count(), 1 + 2, "of the page, and one a figure");
        assert!(html.matches("&lt;script&gt;").count() > 20);
    }

    #[test]
    fn figures_without_values_are_drawn_as_nothing() {
        let axis = Axis { label: "x".to_owned(), unit: String::new(), scale: Scale::Log };
        let odd = [f64::NAN, f64::INFINITY, -1.0, 0.0];
        let points = odd.iter().map(|value| (*value, *value)).collect();
        let shapes = [
            Shape::Lines(Lines { x: axis.clone(), y: axis.clone(), lines: Vec::new() }),
            Shape::Lines(Lines {
                x: axis.clone(),
                y: axis.clone(),
                lines: vec![Line { name: "a".to_owned(), points }],
            }),
            Shape::Heat(Heat {
                x: axis.clone(),
                y: axis,
                columns: Vec::new(),
                edges: Vec::new(),
                counts: Vec::new(),
            }),
        ];
        for shape in shapes {
            let mut out = String::new();
            write_figure(&mut out, 0, &Figure { title: "t".to_owned(), caption: String::new(), shape })
                .unwrap();
            assert!(!out.contains("NaN") && !out.contains("inf"), "{out}");
        }
    }
}
