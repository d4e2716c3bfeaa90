//! Tables: what every view is made of, and what the terminal, `--once` and `--json` have in common.

use serde_json::{Map, Value};

use super::cell::{Cell, printable};

pub struct Column {
    pub head: &'static str,
    /// The member of `--json`, with its unit.
    pub key: &'static str,
    pub width: usize,
}

pub const fn column(head: &'static str, key: &'static str, width: usize) -> Column {
    Column { head, key, width }
}

/// The first column is a name, and takes what the others leave; the others stand to the right.
pub struct Table {
    pub title: &'static str,
    pub columns: &'static [Column],
    pub rows: Vec<Row>,
}

#[derive(Clone, Debug)]
pub struct Row {
    pub cells: Vec<Cell>,
    pub mood: Mood,
}

/// What a row deserves: attention, or none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    #[default]
    Usual,
    /// Something is wrong with it.
    Bad,
    /// Nothing happens there.
    Quiet,
}

impl Row {
    pub fn new(cells: impl Into<Vec<Cell>>) -> Row {
        Row { cells: cells.into(), mood: Mood::Usual }
    }

    pub fn mood(mut self, mood: Mood) -> Row {
        self.mood = mood;
        self
    }
}

/// Which rows, in which order.
#[derive(Clone, Debug, Default)]
pub struct Order {
    /// By column; `None`: as they come.
    pub by: Option<usize>,
    pub reversed: bool,
    /// What the first column must hold, in any case.
    pub filter: String,
}

const GAP: usize = 1;

impl Table {
    pub fn arranged(&self, order: &Order) -> Vec<&Row> {
        let wanted = order.filter.to_lowercase();
        let name = |row: &Row| row.cells.first().map(Cell::shown).unwrap_or_default();
        let mut rows: Vec<&Row> =
            self.rows.iter().filter(|row| name(row).to_lowercase().contains(&wanted)).collect();
        if let Some(by) = order.by {
            let cell = |row: &Row| row.cells.get(by).cloned().unwrap_or(Cell::None);
            // Stable: rows that are alike stay where they are, or lists would flicker.
            rows.sort_by(|one, two| cell(one).order(&cell(two)));
        }
        if order.reversed {
            rows.reverse();
        }
        rows
    }

    /// How wide the first column is in this many columns of a terminal.
    fn name_width(&self, columns: usize) -> usize {
        let others: usize = self.columns.iter().skip(1).map(|column| column.width + GAP).sum();
        columns.saturating_sub(others).max(self.columns.first().map_or(1, |column| column.width))
    }

    pub fn head(&self, columns: usize, sorted: Option<usize>) -> String {
        let heads = self.columns.iter().enumerate().map(|(at, column)| match sorted == Some(at) {
            true => format!("{}*", column.head),
            false => column.head.to_owned(),
        });
        self.line(columns, heads)
    }

    pub fn row(&self, columns: usize, row: &Row) -> String {
        self.line(columns, row.cells.iter().map(Cell::shown))
    }

    fn line(&self, columns: usize, cells: impl Iterator<Item = String>) -> String {
        let mut line = String::new();
        for (at, (cell, column)) in cells.zip(self.columns).enumerate() {
            match at {
                0 => line.push_str(&format!(
                    "{:<1$}",
                    cut(&cell, self.name_width(columns)),
                    self.name_width(columns)
                )),
                _ => line.push_str(&format!(" {:>1$}", cut(&cell, column.width), column.width)),
            }
        }
        line.truncate(line.trim_end().len());
        line
    }

    pub fn text(&self, columns: usize, order: &Order) -> String {
        let mut out = format!("{}\n", self.head(columns, None));
        for row in self.arranged(order) {
            out.push_str(&self.row(columns, row));
            out.push('\n');
        }
        out
    }

    pub fn json(&self) -> Value {
        let row = |row: &Row| -> Value {
            let members = self.columns.iter().zip(&row.cells);
            Value::Object(
                members.map(|(column, cell)| (column.key.to_owned(), cell.json())).collect::<Map<_, _>>(),
            )
        };
        self.rows.iter().map(row).collect()
    }
}

/// What is too long ends in `~`.
fn cut(text: &str, width: usize) -> String {
    let text = printable(text);
    match text.len() > width {
        true => format!("{}~", text.get(..width.saturating_sub(1)).unwrap_or_default()),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static COLUMNS: [Column; 3] =
        [column("NAME", "name", 6), column("N", "n", 5), column("P50", "p50_ns", 7)];

    fn table() -> Table {
        let row = |name: &str, n, ns| Row::new([Cell::text(name), Cell::Rate(n), Cell::Time(ns)]);
        let rows =
            vec![row("b", 3.0, None), row("abcdefghijklmnopqrst", 12.5, Some(1e3)), row("c", 0.0, Some(5e6))];
        Table { title: "t", columns: &COLUMNS, rows }
    }

    #[test]
    fn columns_stand_still() {
        let text = table().text(24, &Order { by: Some(1), ..Order::default() });
        let expected = "NAME           N     P50\nabcdefghi~  12.5 1.00 us\nb            3.0       -\nc              0 5.00 ms\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn rows_are_sorted_and_filtered() {
        let names = |order: Order| -> String {
            let table = table();
            let rows = table.arranged(&order);
            rows.iter().filter_map(|row| row.cells[0].shown().chars().next()).collect()
        };
        let by = |by| Order { by: Some(by), ..Order::default() };
        assert_eq!(names(Order::default()), "bac");
        assert_eq!(names(by(0)), "abc");
        assert_eq!(names(by(1)), "abc");
        assert_eq!(names(by(2)), "cab");
        assert_eq!(names(Order { reversed: true, ..by(2) }), "bac");
        assert_eq!(names(Order { filter: "B".into(), ..by(0) }), "ab");
        assert_eq!(
            table().json()[1],
            serde_json::json!({ "name": "abcdefghijklmnopqrst", "n": 12.5, "p50_ns": 1000 })
        );
    }
}
