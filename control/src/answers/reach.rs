//! What people can reach: things of all servers on one side, people on the other, and in between always, sometimes or never.
//!
//! The decision: whatever is true of two people alike is worked out once. People who cannot be told apart by any rule and
//! come to the same servers are one [`Class`], so that a hundred thousand keys cost as much as the few sorts of them there are.

use std::collections::HashMap;

use serde_json::{Value, json};
use strait_policy::{Ruling, Traits, glob};
use strait_table::condition::show;
use strait_table::decide::Decider;
use strait_table::{Kind, Snapshot};

use super::asked::{effect, place, usage};
use super::names::{KINDS, Names, Offered};
use super::people::{Person, described, known, role_alone};
use crate::Failure;
use crate::limits::REACH_ENTRIES_MAX;
use crate::source::Opened;

/// How much of something is permitted. What depends on the call or the time is sometimes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum May {
    Always,
    Sometimes,
    Never,
}

impl May {
    pub const ALL: [May; 3] = [May::Always, May::Sometimes, May::Never];

    pub fn of(ruling: &Ruling) -> May {
        match (ruling.possible, ruling.verdict.is_permit() && ruling.open.is_empty()) {
            (false, _) => May::Never,
            (true, true) => May::Always,
            (true, false) => May::Sometimes,
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            May::Always => "always",
            May::Sometimes => "sometimes",
            May::Never => "never",
        }
    }
}

/// The rules that a ruling rests on, with their conditions.
pub fn rules_of(snapshot: &Snapshot, ruling: &Ruling) -> Vec<Value> {
    told(snapshot, ruling.verdict.rule().into_iter().chain(ruling.open.iter().copied()))
}

fn told(snapshot: &Snapshot, rules: impl Iterator<Item = u32>) -> Vec<Value> {
    let all = snapshot.rules();
    let said = rules.filter_map(|rule| all.policy.rules.get(rule as usize)).map(|rule| {
        json!({
            "id": rule.id.as_str(),
            "effect": effect(rule),
            "at": place(snapshot, rule),
            "when": rule.condition.as_ref().map(|condition| show::shown(condition, all)),
        })
    });
    said.collect()
}

/// Something that a server shows.
pub struct Row {
    pub server: usize,
    pub kind: Kind,
    pub upstream: usize,
    /// `upstream.name`, or the pattern that stands for names nobody knows.
    pub name: String,
    /// What agents call it; nothing for a pattern.
    pub exposed: Option<String>,
    /// Its place on the server's shelf.
    item: usize,
}

/// One sort of people.
pub struct Class {
    pub who: Vec<Somebody>,
    /// Servers that let them in.
    pub servers: Vec<bool>,
    traits: Traits,
}

pub enum Somebody {
    Principal(Person),
    /// Whoever has one role alone, with an example of them.
    Role(String, Person),
}

#[derive(Clone)]
pub struct Cell {
    pub may: May,
    /// What it rests on.
    pub rules: Box<[u32]>,
}

pub struct Matrix {
    pub offered: Offered,
    pub rows: Vec<Row>,
    pub classes: Vec<Class>,
    /// What could not be found out.
    pub notes: Vec<String>,
}

/// What one person can reach; without one, what everybody can.
pub fn matrix(opened: &Opened, of: Option<Person>, tools: Option<&str>) -> Result<Matrix, Failure> {
    let snapshot = &*opened.snapshot;
    let mut names = Names::of(&[snapshot.rules()]);
    if let Some(glob) = tools {
        names.add_tool(glob);
    }
    let offered = Offered::of(snapshot, &names)?;
    let rows = rows(&offered, tools);
    let (people, roles, mut notes) = match of {
        Some(person) => (vec![person], Vec::new(), Vec::new()),
        None => {
            let people = known(opened);
            (people.known, snapshot.rules().roles.iter().collect(), people.unread)
        }
    };
    let rules = snapshot.rules();
    let lets_in = |person: &Person| -> Vec<bool> {
        rules.servers.iter().map(|server| person.comes_to(snapshot, server)).collect()
    };
    let mut sorts: Vec<(Traits, Vec<bool>, Vec<Somebody>)> = Vec::new();
    let mut places: HashMap<(Traits, Vec<bool>), usize> = HashMap::new();
    let persons = people.into_iter().map(|person| {
        let (traits, servers) = (snapshot.traits_of(&person.principal), lets_in(&person));
        (traits, servers, Somebody::Principal(person))
    });
    let alone = roles.into_iter().filter_map(|role| {
        let name = role.name.as_str();
        let Some(person) = role_alone(snapshot, role) else {
            notes.push(format!("role {name}: nobody was found who has it"));
            return None;
        };
        Some((
            snapshot.traits_of(&person.principal),
            lets_in(&person),
            Somebody::Role(name.to_owned(), person),
        ))
    });
    let all: Vec<_> = persons.chain(alone).collect();
    for (traits, servers, somebody) in all {
        let at = *places.entry((traits.clone(), servers.clone())).or_insert_with(|| {
            sorts.push((traits, servers, Vec::new()));
            sorts.len() - 1
        });
        sorts[at].2.push(somebody);
    }
    let classes = sorts.into_iter().map(|(traits, servers, who)| Class { who, servers, traits }).collect();
    Ok(Matrix { offered, rows, classes, notes })
}

/// Everything that servers show, in the order of servers, upstreams and kinds.
fn rows(offered: &Offered, tools: Option<&str>) -> Vec<Row> {
    let rules = offered.snapshot.rules();
    let mut rows = Vec::new();
    for (server, bound) in offered.snapshot.bound().servers.iter().enumerate() {
        for upstream in 0..rules.upstreams.len() {
            for kind in KINDS {
                let items = bound.shelf(kind).items.iter().enumerate();
                let items = items.filter(|(_, item)| usize::from(item.upstream.to_native()) == upstream);
                rows.extend(items.filter_map(|(at, item)| {
                    let bare = item.bare.as_str();
                    let pattern = offered.pattern(upstream, kind, bare);
                    let written = pattern.unwrap_or(bare);
                    let full = match kind == Kind::Resource
                        && pattern.is_some_and(|pattern| pattern.contains("://"))
                    {
                        true => written.to_owned(),
                        false => format!("{}.{written}", rules.upstreams[upstream].name.as_str()),
                    };
                    let is_wanted = tools.is_none_or(|tools| {
                        kind == Kind::Tool && (glob::matches(tools, &full) || tools == full)
                    });
                    let exposed = pattern.is_none().then(|| item.exposed.as_str().to_owned());
                    is_wanted.then_some(Row { server, kind, upstream, name: full, exposed, item: at })
                }));
            }
        }
    }
    rows
}

impl Matrix {
    /// What a class can reach, by row.
    pub fn cells(&self, class: &Class) -> Vec<Cell> {
        let mut cells = Vec::with_capacity(self.rows.len());
        for rows in self.rows.chunk_by(|one, other| one.server == other.server) {
            let server = rows[0].server;
            let decider = class.servers[server]
                .then(|| Decider::new(&self.offered.snapshot, server, &class.traits, None));
            let Some(mut decider) = decider.flatten() else {
                cells.extend(rows.iter().map(|_| Cell { may: May::Never, rules: Box::default() }));
                continue;
            };
            for row in rows {
                let ruling = decider.item(&decider.shelf(row.kind).items[row.item]);
                let rules = ruling.verdict.rule().into_iter().chain(ruling.open.iter().copied()).collect();
                cells.push(Cell { may: May::of(&ruling), rules });
            }
        }
        cells
    }

    /// All of it: what each person, and each role alone, can reach, thing by thing.
    pub fn to_json(&self) -> Result<Value, Failure> {
        let people: usize = self.classes.iter().map(|class| class.who.len()).sum();
        if people.saturating_mul(self.rows.len()) > REACH_ENTRIES_MAX {
            let message = format!(
                "{people} people times {} things is more than {REACH_ENTRIES_MAX} entries of JSON",
                self.rows.len()
            );
            let help = "name a principal, or the tools that matter (`--tool 'crm.*'`), or write `--csv`";
            return Err(usage(message).help(help));
        }
        let snapshot = &self.offered.snapshot;
        let (mut principals, mut roles) = (Vec::new(), Vec::new());
        for class in &self.classes {
            let reach: Vec<Value> =
                self.rows.iter().zip(&self.cells(class)).map(|(row, cell)| self.entry(row, cell)).collect();
            for somebody in &class.who {
                match somebody {
                    Somebody::Principal(person) => principals.push(json!({
                        "id": person.principal.id,
                        "groups": person.principal.groups,
                        "reach": reach,
                    })),
                    Somebody::Role(role, person) => roles.push(json!({
                        "role": role,
                        "example": described(&person.principal),
                        "reach": reach,
                    })),
                }
            }
        }
        Ok(json!({
            "generation": snapshot.generation().to_string(),
            "pinned": self.offered.pinned,
            "notes": self.notes,
            "principals": principals,
            "roles": roles,
        }))
    }

    fn entry(&self, row: &Row, cell: &Cell) -> Value {
        let snapshot = &self.offered.snapshot;
        json!({
            "server": self.server(row),
            "kind": row.kind.word(),
            "name": row.name,
            "exposed": row.exposed,
            "may": cell.may.word(),
            "rules": told(snapshot, cell.rules.iter().copied()),
        })
    }

    /// The same as comma separated values (RFC 4180), a line for each person and thing; given out person by person, since there
    /// may be very many.
    pub fn to_csv(&self, mut write: impl FnMut(&str)) {
        let rules = self.offered.snapshot.rules();
        write("principal,role,server,kind,name,may,rules\r\n");
        for class in &self.classes {
            let cells = self.cells(class);
            for somebody in &class.who {
                let (principal, role) = match somebody {
                    Somebody::Principal(person) => (person.principal.id.as_str(), ""),
                    Somebody::Role(role, _) => ("", role.as_str()),
                };
                let mut out = String::new();
                for (row, cell) in self.rows.iter().zip(&cells) {
                    let said = cell.rules.iter().filter_map(|rule| rules.policy.rules.get(*rule as usize));
                    let said: Vec<&str> = said.map(|rule| rule.id.as_str()).collect();
                    let (server, said) = (self.server(row), said.join(" "));
                    let fields =
                        [principal, role, server, row.kind.word(), &row.name, cell.may.word(), &said];
                    out.push_str(&fields.map(field).join(","));
                    out.push_str("\r\n");
                }
                write(&out);
            }
        }
    }

    pub fn server(&self, row: &Row) -> &str {
        self.offered.snapshot.rules().servers[row.server].name.as_str()
    }

    pub fn upstream(&self, row: &Row) -> &str {
        self.offered.snapshot.rules().upstreams[row.upstream].name.as_str()
    }

    /// The rules that a cell rests on.
    pub fn rules(&self, cell: &Cell) -> Vec<Value> {
        told(&self.offered.snapshot, cell.rules.iter().copied())
    }
}

fn field(text: &str) -> String {
    match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}
