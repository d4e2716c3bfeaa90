//! Values to try: what conditions compare with, and what lies just beside it.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::{IpAddr, Ipv6Addr};

use strait_table::condition::automaton::ArchivedAutomaton;
use strait_table::condition::{
    ArchivedCondition, ArchivedNetwork, ArchivedOp, ArchivedOperand, ArchivedRoot, ArchivedTextTest,
};
use strait_table::window::ArchivedWindow;

use super::call::{Given, object};
use super::tree::fact_of;
use super::{Asked, DIMENSIONS_MAX, Dimension, Fact, VALUES_MAX, Value};

/// What stands for a text that nothing speaks of.
const SOMETHING: &str = "\"something\"";
/// One of each type, for what asks for types, and for what is compared with another type.
const OF_TYPES: [&str; 7] = [SOMETHING, "0", "0.5", "true", "null", "[]", "{}"];
/// A side that stands for values that no policy speaks of.
const OF_NEITHER: u8 = 2;
/// Regular expressions that texts are looked for: each may take some milliseconds.
const AUTOMATA_MAX: usize = 16;
/// How long a text or a list is made, to have a size that is asked for.
const SIZE_MAX: i128 = 1_024;
/// Times at which one window turns that are tried.
const TURNS_MAX: usize = 32;
/// Elements of lists are made of so many values at most.
const ELEMENTS_TRIED_MAX: usize = 48;
/// How often the offset of a zone is followed beyond the given moment: summer and winter.
const OFFSETS_MAX: usize = 2;

#[derive(Default)]
pub struct Values<'s> {
    /// With the policies that speak of it, a bit each.
    found: BTreeMap<Dimension, Vec<(Value, u8)>>,
    /// Of elements of lists: by the list, what stands at which path of an element.
    elements: BTreeMap<Dimension, Vec<(Vec<String>, String, u8)>>,
    automata: Vec<(Dimension, u8, &'s ArchivedAutomaton)>,
}

/// What a value is compared with.
enum Against {
    Number(String),
    Json(String),
}

impl<'s> Values<'s> {
    pub fn add(&mut self, asked: &Asked<'s>, given: &Given<'_>) {
        let mut adder = Adder { values: self, asked, given, list: None, inside: 0 };
        for op in asked.condition.ops.iter() {
            adder.op(op);
        }
    }

    fn push(&mut self, dimension: Dimension, value: Value, side: u8) {
        let of = self.found.entry(dimension).or_default();
        match of.iter().position(|(known, _)| *known == value) {
            Some(at) => of[at].1 |= 1 << side,
            // One that is beyond the bound is not tried; the search says how much it tried.
            None if of.len() < 4 * VALUES_MAX => of.push((value, 1 << side)),
            None => {}
        }
    }

    /// Texts on which the expressions of two policies differ.
    pub fn compare(&mut self) {
        let mut automata = std::mem::take(&mut self.automata);
        automata.truncate(AUTOMATA_MAX);
        for (at, (dimension, side, one)) in automata.iter().enumerate() {
            let others = automata
                .iter()
                .enumerate()
                .filter(|(other, (known, its, _))| *other != at && known == dimension && its != side);
            for (_, (_, _, other)) in others.take(4) {
                if let Some(text) = one.example(Some(other)) {
                    self.text(dimension, &text, *side);
                }
            }
            if let Some(text) = one.example(None) {
                self.text(dimension, &text, OF_NEITHER);
            }
        }
    }

    fn text(&mut self, dimension: &Dimension, text: &str, side: u8) {
        let value = match dimension {
            Dimension::Argument(_) | Dimension::Claim(_) => Value::Json(quoted(text)),
            _ => Value::Text(text.to_owned()),
        };
        self.push(dimension.clone(), value, side);
    }

    /// All dimensions, each with its values in the order in which they are tried: what only one policy speaks of first.
    pub fn finish(mut self, asked: &[Asked<'s>], given: &Given<'_>) -> (Vec<Dimension>, Vec<Vec<Value>>) {
        self.lists();
        for one in asked {
            let mut named = BTreeSet::new();
            for op in one.condition.ops.iter() {
                super::tree::depends_on(one.condition, op, given.principals.is_none(), &mut named);
            }
            for dimension in named {
                self.found.entry(dimension).or_default();
            }
        }
        self.found.remove(&Dimension::Group(String::new()));
        if self.found.contains_key(&Dimension::Time) {
            let times = times(asked, given.at).into_iter().map(|at| (Value::At(at), 3));
            self.found.insert(Dimension::Time, times.collect());
        }
        let is_common = |sides: u8| sides & 3 == 3 || sides & 3 == 0;
        let mut all: Vec<(bool, Dimension, Vec<Value>)> = Vec::new();
        for (dimension, mut values) in self.found {
            values.sort_by_key(|(_, sides)| is_common(*sides));
            let differs = values.first().is_some_and(|(_, sides)| !is_common(*sides));
            let mut values: Vec<Value> = values.into_iter().map(|(value, _)| value).collect();
            let room = VALUES_MAX - OF_TYPES.len() - 1;
            values.truncate(room);
            match dimension {
                Dimension::Argument(_) => {
                    values.push(Value::Absent);
                    values.extend(OF_TYPES.map(|json| Value::Json(json.to_owned())));
                }
                Dimension::Header(_) => {
                    values.extend([Value::Absent, Value::Text("something".to_owned())]);
                }
                Dimension::Claim(_) => {
                    values.insert(0, Value::Absent);
                    values.extend(OF_TYPES.map(|json| Value::Json(json.to_owned())));
                }
                Dimension::Group(_) | Dimension::Fact(_) => {
                    values.insert(0, Value::Absent);
                    values.push(Value::Text("something".to_owned()));
                }
                Dimension::Address => values.push(Value::Absent),
                Dimension::Time => {}
            }
            let mut seen = HashSet::new();
            values.retain(|value| seen.insert(value.clone()));
            all.push((differs, dimension, values));
        }
        all.sort_by_key(|(differs, _, _)| !differs);
        all.truncate(DIMENSIONS_MAX);
        all.into_iter().map(|(_, dimension, values)| (dimension, values)).unzip()
    }

    /// Lists out of what is asked of their elements.
    fn lists(&mut self) {
        for (list, mut parts) in std::mem::take(&mut self.elements) {
            let paths: BTreeSet<Vec<String>> = parts.iter().map(|(path, ..)| path.clone()).collect();
            let others = paths
                .iter()
                .flat_map(|path| [SOMETHING, "0"].map(|json| (path.clone(), json.to_owned(), OF_NEITHER)));
            parts.extend(others);
            let mut elements: Vec<(String, u8)> = Vec::new();
            for (path, json, side) in &parts {
                elements.push((element(path, json), *side));
                for (other, more, also) in parts.iter().filter(|(other, ..)| other != path) {
                    let both = [(path.as_slice(), json.as_str()), (other.as_slice(), more.as_str())];
                    if !path.is_empty() && !other.is_empty() {
                        elements.push((object(both), of_both(*side, *also)));
                    }
                }
            }
            let mut seen = HashSet::new();
            elements.retain(|(json, _)| seen.insert(json.clone()));
            elements.truncate(ELEMENTS_TRIED_MAX);
            let mut add = |json: String, side| self.push(list.clone(), Value::Json(json), side);
            elements.iter().for_each(|(one, side)| add(format!("[{one}]"), *side));
            for (one, side) in &elements {
                let others = elements.iter().filter(|(other, _)| other != one).take(8);
                others.for_each(|(other, also)| add(format!("[{one},{other}]"), of_both(*side, *also)));
            }
        }
    }
}

fn of_both(one: u8, other: u8) -> u8 {
    if one == other { one } else { OF_NEITHER }
}

fn element(path: &[String], json: &str) -> String {
    if path.is_empty() { json.to_owned() } else { object([(path, json)]) }
}

struct Adder<'v, 's> {
    values: &'v mut Values<'s>,
    asked: &'v Asked<'s>,
    given: &'v Given<'v>,
    /// The list whose elements are asked, and how many steps more.
    list: Option<Dimension>,
    inside: usize,
}

impl<'s> Adder<'_, 's> {
    fn op(&mut self, op: &'s ArchivedOp) {
        match self.inside.checked_sub(1) {
            Some(left) => self.inside = left,
            None => self.list = None,
        }
        match op {
            ArchivedOp::Compare { left, right, .. } => {
                for (of, with) in [(left, right), (right, left)] {
                    match self.constant(with) {
                        Some(against) => near(&against).into_iter().for_each(|json| self.of(of, &json)),
                        None => ["1", "2", "\"a\"", "\"b\""].into_iter().for_each(|json| self.of(of, json)),
                    }
                }
            }
            ArchivedOp::In { of, texts, numbers } => {
                texts.iter().for_each(|text| self.of(of, &quoted(text)));
                numbers.iter().for_each(|number| self.of(of, number.0.as_str()));
            }
            ArchivedOp::Holds { list, item } => {
                let items = match self.constant(item) {
                    Some(Against::Number(json) | Against::Json(json)) => vec![json],
                    None => vec![SOMETHING.to_owned(), "1".to_owned()],
                };
                for json in items {
                    self.of(item, &json);
                    self.read(list.to_native(), &format!("[{json}]"));
                }
                self.read(list.to_native(), "[\"other\"]");
            }
            ArchivedOp::Text { of, test, text } => match self.constant(text) {
                Some(Against::Json(json)) => {
                    let text = serde_json::from_str::<String>(&json).unwrap_or_default();
                    let long = match test {
                        ArchivedTextTest::StartsWith => format!("{text}a"),
                        ArchivedTextTest::EndsWith => format!("a{text}"),
                        ArchivedTextTest::Contains => format!("a{text}a"),
                    };
                    self.of(of, &json);
                    self.of(of, &quoted(&long));
                }
                _ => {
                    for operand in [of, text] {
                        ["\"a\"", "\"ab\""].into_iter().for_each(|json| self.of(operand, json));
                    }
                }
            },
            ArchivedOp::Matches { of, automaton } => {
                let automata = &self.asked.snapshot.rules().automata;
                let automaton = automata.get(usize::from(automaton.to_native()));
                match (self.dimension(of), automaton) {
                    (Some(dimension), Some(automaton)) => {
                        self.values.automata.push((dimension, self.asked.side, automaton));
                    }
                    (None, Some(automaton)) => {
                        if let Some(text) = automaton.example(None) {
                            self.of(of, &quoted(&text));
                        }
                    }
                    _ => {}
                }
            }
            ArchivedOp::IsType { of, .. } => OF_TYPES.into_iter().for_each(|json| self.of(of, json)),
            ArchivedOp::Has(read) => self.read(read.to_native(), SOMETHING),
            ArchivedOp::Scope { scope, text, .. } => {
                let all = self.asked.condition.ops.iter().filter_map(|op| match op {
                    ArchivedOp::Scope { text, .. } => Some(text.as_str()),
                    _ => None,
                });
                self.read(scope.to_native(), &quoted(&all.collect::<Vec<_>>().join(" ")));
                self.read(scope.to_native(), &quoted(text));
            }
            ArchivedOp::InGroups(of) => match (of, self.given.principals) {
                (ArchivedOperand::Text(text), None) => self.group(text),
                (_, Some(both)) => {
                    let groups: BTreeSet<&String> = both.iter().flat_map(|one| one.groups.iter()).collect();
                    groups.into_iter().for_each(|group| self.of(of, &quoted(group)));
                }
                _ => {}
            },
            ArchivedOp::AnyGroup { text, .. } if self.given.principals.is_none() => self.group(text),
            ArchivedOp::Network(networks) => {
                for network in networks.iter() {
                    for address in around(network) {
                        self.values.push(Dimension::Address, Value::Address(address), self.asked.side);
                    }
                }
            }
            ArchivedOp::Each { list, ops, .. } => {
                self.read(list.to_native(), "[]");
                self.list = self.dimension_of(list.to_native());
                self.inside = usize::from(ops.to_native());
            }
            _ => {}
        }
    }

    fn group(&mut self, name: &str) {
        let value = Value::Text(name.to_owned());
        self.values.push(Dimension::Group(name.to_owned()), value, self.asked.side);
    }

    /// What is compared with something that is known.
    fn constant(&self, operand: &ArchivedOperand) -> Option<Against> {
        match operand {
            ArchivedOperand::Text(text) => Some(Against::Json(quoted(text))),
            ArchivedOperand::Number(number) => Some(Against::Number(number.0.as_str().to_owned())),
            ArchivedOperand::Bool(value) => Some(Against::Json(value.to_string())),
            ArchivedOperand::Null => Some(Against::Json("null".to_owned())),
            ArchivedOperand::Principal(fact) => {
                let both = self.given.principals?;
                let of = both[usize::from(self.asked.side.min(1))];
                Some(Against::Json(quoted(match fact_of(fact) {
                    Fact::Id => &of.id,
                    Fact::User => &of.user,
                    Fact::Agent => &of.agent,
                    Fact::Tenant => &of.tenant,
                })))
            }
            _ => None,
        }
    }

    fn dimension(&self, operand: &ArchivedOperand) -> Option<Dimension> {
        match operand {
            ArchivedOperand::Read(read) => self.dimension_of(read.to_native()),
            ArchivedOperand::Header(name) => Some(Dimension::Header(name.as_str().to_owned())),
            ArchivedOperand::Principal(fact) if self.given.principals.is_none() => {
                Some(Dimension::Fact(fact_of(fact)))
            }
            _ => None,
        }
    }

    fn dimension_of(&self, read: u16) -> Option<Dimension> {
        let read = read_of(self.asked.condition, read)?;
        match read.0 {
            ArchivedRoot::Arguments => Some(Dimension::Argument(read.1)),
            ArchivedRoot::Claims if self.given.principals.is_none() => Some(Dimension::Claim(read.1)),
            _ => None,
        }
    }

    fn of(&mut self, operand: &ArchivedOperand, json: &str) {
        match operand {
            ArchivedOperand::Read(read) => self.read(read.to_native(), json),
            ArchivedOperand::Size(read) => {
                let Some(size) = json.parse().ok().filter(|size| (0..=SIZE_MAX).contains(size)) else {
                    return;
                };
                let size = size as usize;
                self.read(read.to_native(), &quoted(&"x".repeat(size)));
                self.read(read.to_native(), &format!("[{}]", vec!["0"; size].join(",")));
            }
            _ => {
                let text = serde_json::from_str::<String>(json);
                if let (Some(dimension), Ok(text)) = (self.dimension(operand), text) {
                    self.values.push(dimension, Value::Text(text), self.asked.side);
                }
            }
        }
    }

    fn read(&mut self, read: u16, json: &str) {
        if let Some(dimension) = self.dimension_of(read) {
            self.values.push(dimension, Value::Json(json.to_owned()), self.asked.side);
            return;
        }
        let (Some((ArchivedRoot::Element, path)), Some(list)) =
            (read_of(self.asked.condition, read), self.list.clone())
        else {
            return;
        };
        let parts = self.values.elements.entry(list).or_default();
        let part = (path, json.to_owned(), self.asked.side);
        if !parts.contains(&part) {
            parts.push(part);
        }
    }
}

fn read_of(condition: &ArchivedCondition, read: u16) -> Option<(&ArchivedRoot, Vec<String>)> {
    let read = condition.reads.get(usize::from(read))?;
    Some((&read.from, read.path.iter().map(|key| key.as_str().to_owned()).collect()))
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Itself and what lies just beside it.
fn near(against: &Against) -> Vec<String> {
    match against {
        Against::Number(number) => {
            let mut all = vec![number.clone()];
            all.extend(beside(number, 1));
            all.extend(beside(number, -1));
            all
        }
        Against::Json(json) => match serde_json::from_str::<String>(json) {
            Ok(text) => {
                let mut shorter = text.clone();
                shorter.pop();
                vec![json.clone(), quoted(&format!("{text}a")), quoted(&shorter)]
            }
            Err(_) if json == "true" || json == "false" => vec!["true".to_owned(), "false".to_owned()],
            Err(_) => vec![json.clone()],
        },
    }
}

/// A decimal that is one unit of its last place more or less. None: it is written in a form that is not counted in here.
fn beside(number: &str, by: i128) -> Option<String> {
    let (sign, digits) = number.strip_prefix('-').map_or((1, number), |digits| (-1, digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let units: i128 = format!("{whole}{fraction}").parse().ok()?;
    let units = (sign * units).checked_add(by)?;
    let (sign, text) = (if units < 0 { "-" } else { "" }, units.unsigned_abs().to_string());
    if fraction.is_empty() {
        return Some(format!("{sign}{text}"));
    }
    let text = format!("{text:0>width$}", width = fraction.len() + 1);
    let (whole, fraction) = text.split_at(text.len() - fraction.len());
    Some(format!("{sign}{whole}.{fraction}"))
}

/// The first and the last address of a network, and those just outside.
fn around(network: &ArchivedNetwork) -> Vec<IpAddr> {
    let bits = u32::from(network.bits.min(128));
    let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
    let first = u128::from_be_bytes(network.address) & mask;
    let last = first | !mask;
    let all = [Some(first), Some(last), last.checked_add(1), first.checked_sub(1)];
    let address = |bits: u128| {
        let v6 = Ipv6Addr::from(bits);
        v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4)
    };
    all.into_iter().flatten().map(address).collect()
}

/// A time for every combination of windows that is met from a moment on: around the turns of two weeks, and of those after
/// the next changes between summer and winter.
fn times(asked: &[Asked<'_>], from: i64) -> Vec<i64> {
    let mut windows: Vec<&ArchivedWindow> = Vec::new();
    for one in asked {
        for op in one.condition.ops.iter() {
            if let ArchivedOp::Window(window) = op {
                windows.extend(one.snapshot.rules().windows.get(usize::from(window.to_native())));
            }
        }
    }
    let mut times = vec![from];
    for window in &windows {
        let mut starts = vec![from];
        let later = window.offsets.iter().map(|offset| offset.from.to_native()).filter(|at| *at > from);
        starts.extend(later.take(OFFSETS_MAX));
        let bounds = [window.from.to_native(), window.until.to_native()];
        starts.extend(bounds.into_iter().filter(|bound| *bound != i64::MIN && *bound != i64::MAX));
        for start in starts {
            times.extend([start, start.saturating_sub(1)]);
            let mut at = start;
            for _ in 0..TURNS_MAX {
                let (_, turns) = window.at(at);
                if turns == i64::MAX || turns <= at {
                    break;
                }
                times.extend([turns.saturating_sub(1), turns]);
                at = turns;
            }
        }
    }
    let mut met = HashSet::new();
    times.retain(|at| met.insert(windows.iter().map(|window| window.at(*at).0).collect::<Vec<bool>>()));
    times
}

#[cfg(test)]
mod tests {
    use super::beside;

    #[test]
    fn one_unit_of_the_last_place() {
        let check = |number: &str, more: Option<&str>, less: Option<&str>| {
            assert_eq!(
                (beside(number, 1).as_deref(), beside(number, -1).as_deref()),
                (more, less),
                "{number}"
            );
        };
        check("500", Some("501"), Some("499"));
        check("0", Some("1"), Some("-1"));
        check("-1", Some("0"), Some("-2"));
        check("0.5", Some("0.6"), Some("0.4"));
        check("-0.05", Some("-0.04"), Some("-0.06"));
        check("9.99", Some("10.00"), Some("9.98"));
        check("500.00000000000000001", Some("500.00000000000000002"), Some("500.00000000000000000"));
        check("1e3", None, None);
    }
}
