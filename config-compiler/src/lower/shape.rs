//! Shapes: what a server says of single tools. A shape is of one tool, named in full, because what is said of its arguments
//! is about that tool's schema.
//!
//! What contradicts itself is refused here; whether the tool has such an argument is only known when its upstream's list is,
//! and told then (`strait_table::bind`).

use std::collections::HashMap;

use strait_policy::glob;
use strait_table::rules::Pattern;
use strait_table::shape::{ARGUMENTS_MAX, Argument, DROPS_MAX, Narrowed, PATH_KEYS_MAX, Said, Shape, Step};

use super::scope::Scope;
use crate::{
    diagnostic::{Finding, codes},
    limits::{SHAPE_VALUE_BYTES_MAX, SHAPE_VALUES_MAX, SHAPES_MAX},
    source::{Entry, Node, Span, Value},
    walk::{Fields, Walk, keys},
};

/// The shapes of a server that shows `tools`. `by` is what it is called in findings.
pub fn lower(
    walk: &mut Walk<'_>,
    node: Option<&Node>,
    tools: &[Pattern],
    upstreams: &Scope<'_>,
    by: &str,
) -> Vec<Shape> {
    let Some(node) = node.filter(|node| !node.is_nothing()) else { return Vec::new() };
    let mut shapes = Vec::new();
    // What agents call each, or the tool itself where no name is given.
    let mut names: HashMap<String, Span> = HashMap::new();
    for entry in walk.map(node, "a mapping from tools to shapes").unwrap_or_default() {
        let Some((upstream, tool)) = tool(walk, entry, tools, upstreams, by) else { continue };
        let items = walk.one_or_many(&entry.value);
        if items.is_empty() {
            let finding = Finding::new(&codes::MISSING, entry.key_span, "there is no shape of this tool")
                .help("leave it out of `tools` if agents shall not see it");
            walk.report(finding);
        }
        for item in items {
            let Some((shape, name_span)) = shape(walk, item, upstream, &tool) else { continue };
            let (name, span) = match (&shape.name, name_span) {
                (Some(name), Some(span)) => (name.clone(), span),
                _ => (entry.key.clone(), walk.files.first_line(item.span)),
            };
            if let Some(first) = names.get(&name) {
                let message = format!("two shapes of {by} would be called the same");
                let finding = Finding::new(&codes::DECLARED_TWICE, span, message)
                    .label("again here")
                    .note(*first, "first here")
                    .help("give each a `name` of its own");
                walk.report(finding);
                continue;
            }
            names.insert(name, span);
            if shapes.len() == SHAPES_MAX {
                let message = format!("{by} has more than {SHAPES_MAX} shapes");
                walk.report(Finding::new(&codes::OUT_OF_RANGE, span, message));
                return shapes;
            }
            shapes.push(shape);
        }
    }
    shapes
}

/// The upstream and the tool that a key names.
fn tool(
    walk: &mut Walk<'_>,
    entry: &Entry,
    tools: &[Pattern],
    upstreams: &Scope<'_>,
    by: &str,
) -> Option<(u16, String)> {
    let quoted = walk.quote(entry.key_span.file, &entry.key);
    let Some((head, tool)) = entry.key.split_once('.').filter(|(_, tool)| !tool.is_empty()) else {
        let finding = Finding::new(&codes::PATTERN, entry.key_span, format!("{quoted} does not name a tool"))
            .help("write `upstream.tool`");
        walk.report(finding);
        return None;
    };
    if entry.key.contains('*') {
        let message = format!("{quoted} is a pattern: a shape is of one tool");
        let finding = Finding::new(&codes::PATTERN, entry.key_span, message)
            .help("what is said of arguments is about the schema of one tool: write a shape for each");
        walk.report(finding);
        return None;
    }
    let Some(upstream) = upstreams.find(head) else {
        upstreams.unknown(walk, head, entry.key_span, &codes::UNKNOWN_UPSTREAM, by);
        return None;
    };
    if !tools.iter().any(|pattern| glob::matches(&pattern.glob, &entry.key)) {
        let message = format!("{by} does not show {quoted}: its shape would have no effect");
        let finding = Finding::new(&codes::SHAPE_UNSHOWN, entry.key_span, message)
            .label("no pattern of `tools` speaks of it")
            .help(format!("add `{}` to `tools`", entry.key));
        walk.report(finding);
        return None;
    }
    Some((upstream as u16, tool.to_owned()))
}

/// A shape, and where its name stands.
fn shape(walk: &mut Walk<'_>, node: &Node, upstream: u16, tool: &str) -> Option<(Shape, Option<Span>)> {
    let mut fields = walk.fields(node, &keys::SHAPE)?;
    let name_node = fields.get("name");
    let name = name_node.and_then(|node| {
        let name = walk.text(node)?;
        walk.name(&name, node.span, "a tool", true).then_some(name)
    });
    let title = fields.get("title").and_then(|node| walk.text(node));
    let description = fields.get("description").and_then(|node| walk.text(node));
    let arguments = fields.get("args").map(|node| arguments(walk, node)).unwrap_or_default();
    let drops = fields.get("output").map(|node| drops(walk, node)).unwrap_or_default();
    fields.finish();
    if name_node.is_some() && name.is_none() {
        return None;
    }
    let shape = Shape { upstream, tool: tool.to_owned(), name, title, description, arguments, drops };
    Some((shape, name_node.map(|node| node.span)))
}

fn arguments(walk: &mut Walk<'_>, node: &Node) -> Vec<Argument> {
    let mut read: Vec<(Argument, Span)> = Vec::new();
    for entry in walk.map(node, "a mapping from arguments to what is said of them").unwrap_or_default() {
        let path = path(walk, &entry.key, entry.key_span);
        let said = said(walk, entry);
        if let (Some(path), Some(said)) = (path, said) {
            read.push((Argument { path, said }, entry.key_span));
        }
    }
    if let Some((_, span)) = read.get(ARGUMENTS_MAX) {
        let message = format!("a shape speaks of more than {ARGUMENTS_MAX} arguments");
        walk.report(Finding::new(&codes::OUT_OF_RANGE, *span, message));
    }
    read.sort_by(|(one, _), (other, _)| one.path.cmp(&other.path));
    for pair in read.windows(2) {
        if let [(outer, outer_span), (inner, inner_span)] = pair
            && inner.path.starts_with(&outer.path)
        {
            let (outer, inner) = (outer.path.join("."), inner.path.join("."));
            let message = format!("`{inner}` is inside of `{outer}`, of which something is said as well");
            let finding = Finding::new(&codes::SHAPE_CLASH, *inner_span, message)
                .label("which of the two is meant?")
                .note(*outer_span, "the other is here")
                .help("say it of one of the two");
            walk.report(finding);
        }
    }
    read.into_iter().map(|(argument, _)| argument).collect()
}

/// Keys between dots.
fn path(walk: &mut Walk<'_>, text: &str, span: Span) -> Option<Vec<String>> {
    let keys: Vec<String> = text.split('.').map(str::to_owned).collect();
    let why = if keys.iter().any(String::is_empty) {
        "a name between its dots is empty".to_owned()
    } else if keys.len() > PATH_KEYS_MAX {
        format!("it has more than {PATH_KEYS_MAX} names")
    } else if keys.iter().any(|key| key == "*") {
        "arguments inside of lists cannot be shaped".to_owned()
    } else {
        return Some(keys);
    };
    let quoted = walk.quote(span.file, text);
    walk.report(Finding::new(&codes::NAME, span, format!("{quoted} is not a path: {why}")));
    None
}

fn said(walk: &mut Walk<'_>, entry: &Entry) -> Option<Said> {
    let mut fields = walk.fields(&entry.value, &keys::ARGUMENT)?;
    let written: Vec<&Entry> = ["fix", "hide", "default", "required", "min", "max", "enum"]
        .into_iter()
        .filter_map(|key| fields.entry(key))
        .collect();
    if let Some((one, other)) = exclusive(&written) {
        let message = format!("an argument cannot have both `{}` and `{}`", one.key, other.key);
        let finding = Finding::new(&codes::ONE_OF, other.key_span, message)
            .label("leave out one of the two")
            .note(one.key_span, "the other is here");
        walk.report(finding);
        return None;
    }
    let said = match (fields.get("fix"), fields.get("hide")) {
        (Some(node), _) => value(walk, node).map(Said::Fixed),
        (None, Some(node)) => walk.flag(node).map(|hide| match hide {
            true => Said::Hidden,
            false => Said::Narrowed(Narrowed::default()),
        }),
        (None, None) => narrowed(walk, &mut fields).map(Said::Narrowed),
    };
    fields.finish();
    let is_silent = match &entry.value.value {
        Value::Map(keys) => {
            keys.is_empty() || said == Some(Said::Narrowed(Narrowed::default())) && !written.is_empty()
        }
        _ => false,
    };
    if is_silent {
        let quoted = walk.quote(entry.key_span.file, &entry.key);
        let finding = Finding::new(&codes::MISSING, entry.key_span, format!("nothing is said of {quoted}"))
            .help("write `fix`, `hide: true`, `default`, `required: true`, `min`, `max` or `enum`");
        walk.report(finding);
        return None;
    }
    said
}

/// Two keys of which the second leaves the first without meaning.
fn exclusive<'n>(written: &[&'n Entry]) -> Option<(&'n Entry, &'n Entry)> {
    let find = |key: &str| written.iter().find(|entry| entry.key == key).copied();
    let alone = find("fix").or(find("hide"));
    if let Some(one) = alone {
        let other = written.iter().find(|entry| entry.key != one.key).copied();
        return other.map(|other| (one, other));
    }
    let pairs = [("default", "required"), ("enum", "min"), ("enum", "max")];
    pairs.into_iter().find_map(|(one, other)| Some((find(one)?, find(other)?)))
}

fn narrowed(walk: &mut Walk<'_>, fields: &mut Fields<'_>) -> Option<Narrowed> {
    let mut narrowed = Narrowed::default();
    let (min, max) = (fields.get("min"), fields.get("max"));
    if let Some(node) = min {
        narrowed.min = Some(walk.json_number(node)?);
    }
    if let Some(node) = max {
        narrowed.max = Some(walk.json_number(node)?);
    }
    if let (Some(least), Some(most), Some(min), Some(max)) = (&narrowed.min, &narrowed.max, min, max)
        && !narrowed.is_possible()
    {
        let message = format!("no number is at least {least} and at most {most}");
        let finding = Finding::new(&codes::SHAPE_CLASH, max.span, message).note(min.span, "more than this");
        walk.report(finding);
        return None;
    }
    if let Some(node) = fields.get("enum") {
        narrowed.among = among(walk, node)?;
    }
    if let Some(node) = fields.get("required") {
        narrowed.required = walk.flag(node)?;
    }
    if let Some(node) = fields.get("default") {
        let default = value(walk, node)?;
        if !narrowed.admits(default.as_bytes()) {
            let message = format!("the default {default} is not what a call may bring");
            walk.report(Finding::new(&codes::SHAPE_CLASH, node.span, message));
            return None;
        }
        narrowed.default = Some(default);
    }
    Some(narrowed)
}

fn among(walk: &mut Walk<'_>, node: &Node) -> Option<Vec<String>> {
    let items = walk.list(node, "values")?;
    if items.is_empty() || items.len() > SHAPE_VALUES_MAX {
        let message = format!("`enum` has {} values: expected 1 to {SHAPE_VALUES_MAX}", items.len());
        walk.report(Finding::new(&codes::OUT_OF_RANGE, walk.files.first_line(node.span), message));
        return None;
    }
    let mut among = Vec::new();
    for item in items {
        if !matches!(item.value, Value::Scalar(_)) {
            let finding = walk.wrong_type(item, "a text, a number, true, false or null");
            walk.report(finding);
            return None;
        }
        among.push(value(walk, item)?);
    }
    Some(among)
}

fn value(walk: &mut Walk<'_>, node: &Node) -> Option<String> {
    walk.json_value(node, |walk, node| walk.text(node), SHAPE_VALUE_BYTES_MAX)
}

fn drops(walk: &mut Walk<'_>, node: &Node) -> Vec<Vec<Step>> {
    let Some(mut fields) = walk.fields(node, &keys::OUTPUT) else { return Vec::new() };
    let list = fields.required(walk, "drop", node.span, "name what agents shall not see");
    fields.finish();
    let items = list.and_then(|node| walk.list(node, "paths")).unwrap_or_default();
    if let Some(item) = items.get(DROPS_MAX) {
        let message = format!("a shape drops more than {DROPS_MAX} paths");
        walk.report(Finding::new(&codes::OUT_OF_RANGE, item.span, message));
    }
    items.iter().filter_map(|item| drop_path(walk, item)).collect()
}

fn drop_path(walk: &mut Walk<'_>, node: &Node) -> Option<Vec<Step>> {
    let text = walk.text(node)?;
    let steps: Vec<Step> =
        text.split('.').map(|key| if key == "*" { Step::Each } else { Step::Key(key.to_owned()) }).collect();
    let why = if steps.iter().any(|step| *step == Step::Key(String::new())) {
        "a name between its dots is empty".to_owned()
    } else if steps.len() > PATH_KEYS_MAX {
        format!("it has more than {PATH_KEYS_MAX} names")
    } else if steps.last() == Some(&Step::Each) {
        "it ends in `*`: name what holds them".to_owned()
    } else {
        return Some(steps);
    };
    let quoted = walk.quote(node.span.file, &text);
    walk.report(Finding::new(&codes::NAME, node.span, format!("{quoted} is not a path: {why}")));
    None
}
