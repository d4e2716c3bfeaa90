//! Conditions against the pinned `inputSchema` of what their rule speaks of: arguments that there are not, of another type than
//! they are compared with, or that never have the value they are compared with.
//!
//! The decision: a rule over several tools is told only of what is wrong with all of them, since `has(args.x)` is how one asks
//! of some. Ranges (`maximum`, `pattern` …) are not looked at: a deny of what a schema forbids is a precaution and no slip,
//! since nobody but the server enforces that.

use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;

use serde_json::Value as Json;
use strait_policy::glob;
use strait_protocol::jsonrpc::compare_numbers;
use strait_table::bound::Kind;
use strait_table::condition::{Comparison, Number, TextTest, types};
use strait_table::rules::PatternKind;

use crate::{
    condition::{
        Tree,
        tree::{Asks, Path, Question, Root, Value},
    },
    diagnostic::{Code, Finding, codes},
    limits::{SCHEMAS_KEPT_MAX, SCHEMAS_OF_RULE_MAX},
    lock::{
        Lock,
        input::{self, Found, Input, Place},
    },
    lower::{condition::Part, policy::Draft},
    source::Span,
    walk::{Walk, suggest},
};

const NUMBER: u8 = types::INTEGER | types::FRACTION;

pub fn run(walk: &mut Walk<'_>, drafts: &[Draft<'_>]) {
    let Some(lock) = walk.lock else { return };
    let mut schemas = Schemas { lock, kept: HashMap::new() };
    for draft in drafts {
        let Some(asked) = &draft.asked else { continue };
        let mut reads = false;
        asked.tree.paths(&mut |path, _| reads |= path.from == Root::Arguments);
        if !reads {
            continue;
        }
        let Some(items) = schemas.spoken_of(draft, &mut walk.pattern_names).filter(|items| !items.is_empty())
        else {
            continue;
        };
        for part in &asked.parts {
            questions(walk, draft, part, &items);
        }
    }
}

/// A tool or prompt with the schema of its arguments.
struct Item {
    name: String,
    at: Option<Span>,
    schema: Rc<Json>,
}

struct Schemas<'l> {
    lock: &'l Lock,
    /// By upstream, kind and place in its list.
    kept: HashMap<(usize, Kind, usize), Option<Rc<Json>>>,
}

impl Schemas<'_> {
    /// What a rule speaks of; `None` where that is too much, or has no schema to read.
    fn spoken_of(&mut self, draft: &Draft<'_>, left: &mut usize) -> Option<Vec<Item>> {
        let mut found: Vec<(usize, Kind, usize)> = Vec::new();
        for written in &draft.patterns {
            let glob = written.pattern.glob.as_str();
            let kinds: &[Kind] = match written.pattern.kind {
                PatternKind::Any => &[Kind::Tool, Kind::Prompt],
                PatternKind::Tool => &[Kind::Tool],
                PatternKind::Prompt => &[Kind::Prompt],
                PatternKind::Resource => &[],
            };
            let head = glob.split_once('.').filter(|(head, _)| !head.contains('*'));
            for (upstream, locked) in self.lock.upstreams.iter().enumerate() {
                if head.is_some_and(|(head, _)| head != locked.pinned.name) {
                    continue;
                }
                for kind in kinds.iter().copied() {
                    if let Some((_, name)) = head.filter(|_| !glob.contains('*')) {
                        found.extend(locked.index(kind, name).map(|at| (upstream, kind, at)));
                        continue;
                    }
                    let items = locked.pinned.lists.of(kind);
                    *left = left.checked_sub(items.len())?;
                    for (at, item) in items.iter().enumerate() {
                        if glob::matches(glob, &format!("{}.{}", locked.pinned.name, item.name)) {
                            found.push((upstream, kind, at));
                        }
                    }
                    if found.len() > SCHEMAS_OF_RULE_MAX {
                        return None;
                    }
                }
            }
        }
        found.sort_unstable_by_key(|(upstream, kind, at)| (*upstream, *kind as usize, *at));
        found.dedup();
        found.into_iter().map(|key| self.item(key)).collect()
    }

    fn item(&mut self, key: (usize, Kind, usize)) -> Option<Item> {
        let (upstream, kind, at) = key;
        let locked = self.lock.upstreams.get(upstream)?;
        let definition = locked.pinned.lists.of(kind).get(at)?;
        if self.kept.len() == SCHEMAS_KEPT_MAX {
            self.kept.clear();
        }
        let read = || input::schema_of(&definition.json, kind == Kind::Prompt).map(Rc::new);
        let schema = self.kept.entry(key).or_insert_with(read).clone()?;
        let name = format!("{}.{}", locked.pinned.name, definition.name);
        Some(Item { name, at: locked.place(kind, &definition.name).map(|place| place.name), schema })
    }
}

/// What is wrong with one question.
struct Fault {
    code: &'static Code,
    message: String,
    meant: Option<String>,
    help: Option<String>,
    /// The part of the question that it is about, as it is written there.
    about: Option<String>,
}

fn questions(walk: &mut Walk<'_>, draft: &Draft<'_>, part: &Part<'_>, items: &[Item]) {
    let mut told: Vec<String> = Vec::new();
    each_question(&part.tree, None, &mut |asked| {
        // Wrong with all that the rule speaks of, or not at all; where it may be right with one, as mildly as there.
        let mut mildest: Option<(Fault, &Item)> = None;
        for item in items {
            let input = Input::of(&item.schema);
            let Some(fault) = fault(&input, &asked) else { return };
            if mildest.as_ref().is_none_or(|(known, _)| known.code.severity < fault.code.severity) {
                mildest = Some((fault, item));
            }
        }
        let Some((fault, item)) = mildest else { return };
        let mut at = asked.at.clone();
        let text = walk.files.slice(walk.within(part.node, at.start, at.end));
        if let Some((from, until)) = fault.about.as_ref().and_then(|about| found(text, about)) {
            at = at.start + from..at.start + until;
        }
        if told.contains(&fault.message) {
            return;
        }
        told.push(fault.message.clone());
        let of = match items.len() {
            1 => format!("`{}`", item.name),
            n => format!("`{}`, like all {n} that the rule speaks of,", item.name),
        };
        let message = format!("rule `{}`: {}, as {of} is pinned", draft.id, fault.message);
        let mut finding = Finding::new(fault.code, walk.within(part.node, at.start, at.end), message)
            .meant(fault.meant.as_deref());
        if let Some(help) = fault.help.filter(|_| fault.meant.is_none()) {
            finding = finding.help(help);
        }
        if let Some(at) = item.at {
            finding = finding.note(at, "pinned here");
        }
        walk.report(finding);
    });
}

/// Where a text has this as a whole word.
fn found(text: &str, about: &str) -> Option<(usize, usize)> {
    let goes_on = |at: usize| text[at..].starts_with(|c: char| c.is_alphanumeric() || c == '_');
    let mut all = text.match_indices(about).map(|(from, _)| (from, from + about.len()));
    all.find(|(_, until)| !goes_on(*until))
}

/// A question, and the list of whose elements it asks.
struct Asked<'t> {
    what: What<'t>,
    at: Range<usize>,
    list: Option<&'t Path>,
}

enum What<'t> {
    Asks(&'t Asks),
    Each(&'t Path),
}

fn each_question<'t>(tree: &'t Tree, list: Option<&'t Path>, each: &mut impl FnMut(Asked<'t>)) {
    match tree {
        Tree::Const(_) => {}
        Tree::Ask(Question { asks, at }) => each(Asked { what: What::Asks(asks), at: at.clone(), list }),
        Tree::Not(inner) => each_question(inner, list, each),
        Tree::And(parts) | Tree::Or(parts) => parts.iter().for_each(|part| each_question(part, list, each)),
        Tree::Each { list: of, body, at, .. } => {
            each(Asked { what: What::Each(of), at: at.clone(), list: None });
            each_question(body, Some(of), each);
        }
    }
}

fn fault(input: &Input<'_>, asked: &Asked<'_>) -> Option<Fault> {
    let of = |path: &Path| place(input, path, asked.list);
    let typed = |value: &Value, wanted: u8, compared: &str| match value {
        Value::Path(path) => match of(path) {
            Err(fault) => fault,
            Ok(place) => mistyped(input, path, place.as_ref()?, wanted, compared),
        },
        Value::Size(path) => match of(path) {
            Err(fault) => fault,
            Ok(place) => mistyped(
                input,
                path,
                place.as_ref()?,
                types::TEXT | types::LIST | types::OBJECT,
                "has no size",
            ),
        },
        _ => None,
    };
    match &asked.what {
        What::Each(list) => typed(&Value::Path((*list).clone()), types::LIST, "is no list"),
        What::Asks(asks) => match asks {
            Asks::Has(path) => of(path).err().flatten(),
            Asks::IsType { of, .. } => typed(of, input::ANY, ""),
            Asks::InGroups(of) | Asks::Matches { of, .. } => typed(of, types::TEXT, "is never a text"),
            Asks::Text { of: value, text, test } => {
                let fault = typed(value, types::TEXT, "is never a text")
                    .or_else(|| typed(text, types::TEXT, "is never a text"));
                fault.or_else(|| match (value, text) {
                    (Value::Path(path), Value::Text(part)) => {
                        let values = listed(input, &of(path).ok()??)?;
                        let fits = |value: &Json| {
                            value.as_str().is_some_and(|value| match test {
                                TextTest::StartsWith => value.starts_with(part.as_str()),
                                TextTest::EndsWith => value.ends_with(part.as_str()),
                                TextTest::Contains => value.contains(part.as_str()),
                            })
                        };
                        let verb = match test {
                            TextTest::StartsWith => "begins with",
                            TextTest::EndsWith => "ends with",
                            TextTest::Contains => "contains",
                        };
                        (!values.iter().any(|value| fits(value)))
                            .then(|| never(path, &format!("never {verb} {part:?}"), None, &values))
                    }
                    _ => None,
                })
            }
            Asks::In { of: value, texts, numbers } => {
                let mut wanted = 0;
                wanted |= if texts.is_empty() { 0 } else { types::TEXT };
                wanted |= if numbers.is_empty() { 0 } else { NUMBER };
                typed(value, wanted, &format!("is never {}", input::named(wanted))).or_else(|| {
                    let Value::Path(path) = value else { return None };
                    let values = listed(input, &of(path).ok()??)?;
                    let texts = texts
                        .iter()
                        .find(|text| !has_text(&values, text))
                        .map(|text| impossible(path, text, &values));
                    texts.or_else(|| {
                        let number = numbers.iter().find(|number| !has_number(&values, number))?;
                        Some(never(path, &format!("is never {}", number.0), None, &values))
                    })
                })
            }
            Asks::Holds { list, item } => typed(&Value::Path(list.clone()), types::LIST, "is no list")
                .or_else(|| {
                    let elements = input.elements(&of(list).ok()??);
                    equal(input, list, &elements, item)
                }),
            Asks::Compare { left, by, right } => {
                let (path, other) = match (left, right) {
                    (Value::Path(path), other) => (path, other),
                    (other, Value::Path(path)) => (path, other),
                    (size, other) => return typed(size, 0, "").or_else(|| typed(other, 0, "")),
                };
                if let Some(fault) = typed(other, input::ANY, "") {
                    return Some(fault);
                }
                let place = match of(path) {
                    Err(fault) => return fault,
                    Ok(place) => place?,
                };
                let wanted = match other {
                    Value::Null => return None,
                    Value::Bool(_) => types::BOOL,
                    Value::Number(_) | Value::Size(_) => NUMBER,
                    Value::Path(other) => input.types(&of(other).ok()??),
                    _ => types::TEXT,
                };
                let compared = format!("is never {}", input::named(wanted & !types::NULL));
                mistyped(input, path, &place, wanted, &compared).or_else(|| match by {
                    Comparison::Equal | Comparison::NotEqual => equal(input, path, &place, other),
                    _ => None,
                })
            }
            Asks::Role(_)
            | Asks::Window(_)
            | Asks::AnyGroup { .. }
            | Asks::HasHeader(_)
            | Asks::Scope(_)
            | Asks::StepUp
            | Asks::Network(_) => None,
        },
    }
}

/// Where a path leads: nowhere that is known (`None`), or to no place at all, which is a fault if it can be told.
fn place<'s>(
    input: &Input<'s>,
    path: &Path,
    list: Option<&Path>,
) -> Result<Option<Place<'s>>, Option<Fault>> {
    let mut place = match path.from {
        Root::Claims => return Err(None),
        Root::Arguments => input.arguments(),
        Root::Element => {
            let Some(list) = list else { return Err(None) };
            // What is wrong with the list is told of the list.
            match self::place(input, list, None) {
                Ok(Some(place)) => input.elements(&place),
                _ => return Err(None),
            }
        }
    };
    for (depth, key) in path.keys.iter().enumerate() {
        if place.is_empty() {
            return Ok(None);
        }
        let outer = Path { from: path.from, keys: path.keys.get(..depth).unwrap_or_default().to_vec() };
        if let Some(fault) = mistyped(input, &outer, &place, types::OBJECT, "is no object") {
            return Err(Some(fault));
        }
        let code = match input.property(&place, key) {
            Found::Listed(found) => {
                place = found;
                continue;
            }
            Found::Open | Found::Silent => return Ok(None),
            Found::Closed => &codes::ARGUMENT_UNKNOWN,
            Found::Unlisted => &codes::ARGUMENT_UNLISTED,
        };
        let keys = input.keys(&place);
        let meant = suggest::nearest(key, keys.iter().copied()).map(str::to_owned);
        let wrong = Path { from: path.from, keys: path.keys.get(..=depth).unwrap_or_default().to_vec() };
        let message = match wrong.from {
            Root::Element => format!("elements of the list have no `{key}`"),
            _ => format!("there is no argument `{}`", wrong.written()),
        };
        let help = match keys.is_empty() {
            true => "it has no arguments".to_owned(),
            false => format!("listed are {}", suggest::listed(&keys)),
        };
        return Err(Some(Fault { code, message, meant, help: Some(help), about: Some(written(&wrong)) }));
    }
    Ok(Some(place).filter(|place| !place.is_empty()))
}

/// As it stands in the text: of an element, whatever the author called it.
fn written(path: &Path) -> String {
    let whole = path.written();
    match path.from {
        Root::Element => whole.trim_start_matches("element").to_owned(),
        _ => whole,
    }
}

fn mistyped(input: &Input<'_>, path: &Path, place: &Place<'_>, wanted: u8, says: &str) -> Option<Fault> {
    let has = input.types(place);
    // Whether something is null can be asked of anything, and settles nothing else.
    if wanted == 0 || has & wanted & !types::NULL != 0 || has & !types::NULL == 0 {
        return None;
    }
    let name = match path.from {
        Root::Element => "an element of the list".to_owned(),
        _ => format!("`{}`", path.written()),
    };
    let help = format!("it is {}", input::named(has));
    let message = format!("{name} {says}");
    Some(Fault { code: &codes::ARGUMENT_TYPE, message, meant: None, help: Some(help), about: None })
}

fn listed<'s>(input: &Input<'s>, place: &Place<'s>) -> Option<Vec<&'s Json>> {
    // A number that was read as a float is not what was written.
    input.values(place).filter(|values| !values.iter().any(|value| value.is_f64()))
}

fn equal(input: &Input<'_>, path: &Path, place: &Place<'_>, other: &Value) -> Option<Fault> {
    let values = listed(input, place)?;
    match other {
        Value::Text(text) if !has_text(&values, text) => Some(impossible(path, text, &values)),
        Value::Number(number) if !has_number(&values, number) => {
            Some(never(path, &format!("is never {}", number.0), None, &values))
        }
        _ => None,
    }
}

fn has_text(values: &[&Json], text: &str) -> bool {
    values.iter().any(|value| value.as_str() == Some(text))
}

fn has_number(values: &[&Json], number: &Number) -> bool {
    let is = |value: &&Json| {
        value.is_number()
            && compare_numbers(value.to_string().as_bytes(), number.0.as_bytes())
                .is_some_and(|order| order.is_eq())
    };
    values.iter().any(is)
}

fn impossible(path: &Path, text: &str, values: &[&Json]) -> Fault {
    let mut fault = never(path, &format!("never says {text:?}"), Some(&format!("{text:?}")), values);
    fault.meant = suggest::nearest(text, values.iter().filter_map(|value| value.as_str())).map(str::to_owned);
    fault
}

fn never(path: &Path, what: &str, about: Option<&str>, values: &[&Json]) -> Fault {
    let name = match path.from {
        Root::Element => "an element of the list".to_owned(),
        _ => format!("`{}`", path.written()),
    };
    let values: Vec<String> = values.iter().map(|value| value.to_string()).collect();
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    Fault {
        code: &codes::ARGUMENT_VALUE,
        message: format!("{name} {what}"),
        meant: None,
        help: Some(format!("it is one of {}", suggest::listed(&values))),
        about: about.map(str::to_owned),
    }
}
