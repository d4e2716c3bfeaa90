//! `strait reach FILE PRINCIPAL`: what somebody can reach, always or under conditions; without PRINCIPAL, everybody side by side.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;
use strait_control::answers::asked::{plain, usage};
use strait_control::answers::people::{By, who};
use strait_control::answers::reach::{Cell, Class, Matrix, May, Row, Somebody, matrix};
use strait_control::{Failure, Source};

use crate::output::{COLUMNS, Output, count, print, wrapped};

/// Names that text shows of one list; there may be ten thousand.
const NAMES_SHOWN_MAX: usize = 100;
/// People named of one sort.
const PEOPLE_SHOWN_MAX: usize = 3;
/// Sorts of people that text shows side by side.
const SORTS_SHOWN_MAX: usize = 40;
/// Of the names of things, in the table of everybody.
const NAME_COLUMNS: usize = 44;

#[derive(clap::Args)]
pub struct Reach {
    /// A configuration or a table.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Whose reach: the id of a key, `anonymous`, or JSON like `{"id":"ann","groups":["staff"]}`. Default: everybody who has a key,
    /// and whoever had one role alone.
    #[arg(value_name = "PRINCIPAL", conflicts_with = "all")]
    principal: Option<String>,
    /// Everybody who has a key, and whoever had one role alone.
    #[arg(long)]
    all: bool,
    /// Only tools that this pattern speaks of, like `crm.get_*`.
    #[arg(long, value_name = "GLOB")]
    tool: Option<String>,
    /// Comma separated values: one line for each person and thing.
    #[arg(long, conflicts_with = "json")]
    csv: bool,
}

impl Reach {
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        let opened = Source::detect(&self.file)?.open()?;
        let person = self.principal.as_deref().map(|text| who(&opened, text)).transpose()?;
        let is_one = person.is_some();
        let matrix = matrix(&opened, person, self.tool.as_deref())?;
        if let (Some(tool), true) = (&self.tool, matrix.rows.is_empty()) {
            return Err(usage(format!("no server shows a tool like `{tool}`"))
                .help("patterns are written as rules write them: `crm.get_*`"));
        }
        if self.csv {
            matrix.to_csv(print);
            return Ok(());
        }
        let facts = if output.json { matrix.to_json()? } else { Value::Null };
        output.facts(&facts, || match (is_one, matrix.classes.first()) {
            (true, Some(class)) => one(&matrix, class),
            _ => everybody(&matrix),
        });
        Ok(())
    }
}

/// What one person can reach.
fn one(matrix: &Matrix, class: &Class) -> String {
    let snapshot = &matrix.offered.snapshot;
    let mut out = String::new();
    for somebody in &class.who {
        let Somebody::Principal(person) = somebody else { continue };
        let traits = snapshot.traits_of(&person.principal);
        let roles = snapshot.rules().roles.iter().filter(|role| traits.contains(role.yes.to_native().into()));
        let roles: Vec<&str> = roles.map(|role| role.name.as_str()).collect();
        let said = |what: &str, all: String| {
            if all.is_empty() { format!("no {what}") } else { format!("{what} {all}") }
        };
        out.push_str(&plain(&format!(
            "{}: {}; {}",
            person.principal.id,
            said("groups", person.principal.groups.join(", ")),
            said("roles", roles.join(", "))
        )));
        out.push('\n');
        out.push_str(&not_let_in(matrix, class, &person.by));
    }
    out.push_str(&about_names(matrix));
    let cells = matrix.cells(class);
    for (rows, cells) in groups(matrix, &cells) {
        if !class.servers[rows[0].server] {
            continue;
        }
        out.push_str(&format!("\n{}\n", heading(matrix, &rows[0])));
        for may in May::ALL {
            let mut by_rules: BTreeMap<&[u32], Vec<(&Row, &Cell)>> = BTreeMap::new();
            for (row, cell) in rows.iter().zip(cells).filter(|(_, cell)| cell.may == may) {
                // Only conditions need to be told.
                let rules = if may == May::Sometimes { &*cell.rules } else { &[] };
                by_rules.entry(rules).or_default().push((row, cell));
            }
            for found in by_rules.into_values() {
                out.push_str(&format!("  {}\n", may.word()));
                out.push_str(&names(found.iter().map(|(row, _)| row.name.as_str())));
                if let (May::Sometimes, Some((_, cell))) = (may, found.first()) {
                    matrix.rules(cell).iter().for_each(|rule| out.push_str(&told(rule)));
                }
            }
        }
    }
    out
}

fn not_let_in(matrix: &Matrix, class: &Class, by: &By) -> String {
    let mut out = String::new();
    for (server, _) in
        matrix.offered.snapshot.rules().servers.iter().zip(&class.servers).filter(|(_, lets)| !**lets)
    {
        let why = match by {
            By::Nothing => "asks for a credential",
            _ if server.auth.is_empty() => "asks for no credential: there, everybody is `anonymous`",
            _ => "does not accept the identity that knows this key",
        };
        out.push_str(&format!("server {} {why}\n", server.name.as_str()));
    }
    out
}

/// Everybody, side by side.
fn everybody(matrix: &Matrix) -> String {
    let mut out = String::new();
    matrix.notes.iter().for_each(|note| out.push_str(&format!("not known: {}\n", plain(note))));
    if matrix.classes.is_empty() {
        out.push_str("nobody has a key, no server is open, and there are no roles\n");
        return out;
    }
    out.push_str("A always, s sometimes, . never, blank: not let in\n\n");
    for (number, class) in matrix.classes.iter().take(SORTS_SHOWN_MAX).enumerate() {
        out.push_str(&format!("{:>4}  {}\n", number + 1, sort(class)));
    }
    if matrix.classes.len() > SORTS_SHOWN_MAX {
        let more = count(matrix.classes.len() - SORTS_SHOWN_MAX, "more sort");
        out.push_str(&format!("      and {more} of people: `--json` and `--csv` have all\n"));
    }
    let names = about_names(matrix);
    if !names.is_empty() {
        out.push_str(&format!("\n{names}"));
    }
    let per_block = (COLUMNS - NAME_COLUMNS - 4) / 3;
    let shown = matrix.classes.len().min(SORTS_SHOWN_MAX);
    let cells: Vec<Vec<Cell>> = matrix.classes.iter().take(shown).map(|class| matrix.cells(class)).collect();
    let mut from = 0;
    for rows in matrix.rows.chunk_by(is_same_group) {
        for first in (0..shown).step_by(per_block) {
            let classes = first..(first + per_block).min(shown);
            let numbers: String = classes.clone().map(|class| format!("{:>3}", class + 1)).collect();
            out.push_str(&format!("\n{:<w$}{numbers}\n", heading(matrix, &rows[0]), w = NAME_COLUMNS + 4));
            for (at, row) in rows.iter().enumerate().take(NAMES_SHOWN_MAX) {
                let marks: String = classes
                    .clone()
                    .map(|class| mark(&matrix.classes[class], row, cells[class][from + at].may))
                    .collect();
                let name = plain(&row.name);
                if name.chars().count() > NAME_COLUMNS {
                    out.push_str(&format!("  {name}\n{:w$}{marks}\n", "", w = NAME_COLUMNS + 4));
                } else {
                    out.push_str(&format!("  {name:<w$}{marks}\n", w = NAME_COLUMNS + 2));
                }
            }
        }
        out.push_str(&left_out(rows.len(), 2));
        from += rows.len();
    }
    out
}

fn mark(class: &Class, row: &Row, may: May) -> &'static str {
    match (class.servers[row.server], may) {
        (false, _) => "   ",
        (_, May::Always) => "  A",
        (_, May::Sometimes) => "  s",
        (_, May::Never) => "  .",
    }
}

fn sort(class: &Class) -> String {
    let names = class.who.iter().map(|somebody| match somebody {
        Somebody::Principal(person) => plain(&person.principal.id),
        Somebody::Role(role, _) => format!("role {} alone", plain(role)),
    });
    let shown: Vec<String> = names.take(PEOPLE_SHOWN_MAX).collect();
    match class.who.len() - shown.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

fn is_same_group(one: &Row, other: &Row) -> bool {
    (one.server, one.upstream, one.kind) == (other.server, other.upstream, other.kind)
}

fn groups<'m>(matrix: &'m Matrix, cells: &'m [Cell]) -> Vec<(&'m [Row], &'m [Cell])> {
    let mut rest = cells;
    let mut groups = Vec::new();
    for rows in matrix.rows.chunk_by(is_same_group) {
        let (cells, after) = rest.split_at(rows.len());
        groups.push((rows, cells));
        rest = after;
    }
    groups
}

fn heading(matrix: &Matrix, row: &Row) -> String {
    format!("{}: {}s of {}", matrix.server(row), row.kind.word(), matrix.upstream(row))
}

fn about_names(matrix: &Matrix) -> String {
    match (matrix.offered.pinned, matrix.rows.is_empty()) {
        (_, true) => "no server shows anything that the policy names\n".to_owned(),
        (true, false) => String::new(),
        (false, false) => "No lock file pins what upstreams offer: these are the names that the policy\n\
                           writes, and a pattern is whatever else it speaks of.\n"
            .to_owned(),
    }
}

fn names<'n>(all: impl ExactSizeIterator<Item = &'n str>) -> String {
    let length = all.len();
    let shown: Vec<String> = all.take(NAMES_SHOWN_MAX).map(plain).collect();
    wrapped(4, shown.iter().map(String::as_str)) + &left_out(length, 4)
}

fn left_out(length: usize, indent: usize) -> String {
    match length.saturating_sub(NAMES_SHOWN_MAX) {
        0 => String::new(),
        more => {
            format!("{:indent$}and {more} more: `--tool GLOB` narrows, `--json` and `--csv` have all\n", "")
        }
    }
}

/// A rule with its condition and its place.
fn told(rule: &Value) -> String {
    let word = |key: &str| plain(rule[key].as_str().unwrap_or_default());
    let condition = rule["when"].as_str().map(|_| format!(" when {}", word("when"))).unwrap_or_default();
    let line = format!("{} {}{condition} ({})", word("effect"), word("id"), word("at"));
    wrapped(6, line.split(' '))
}
