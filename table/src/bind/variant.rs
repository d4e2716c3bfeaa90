//! A tool's definition as a shape of it is shown: other texts, arguments taken out of the schema or narrowed in it, fields
//! taken out of what it promises. Everything else stays byte for byte; the name is for whoever shows it.
//!
//! The decision: what a shape says of an argument must be found in the schema as a plain property, once. An argument that
//! is not there, a value that its schema does not take, or a schema that says a key twice leaves the tool out, because
//! agents would be shown something else than what is enforced. Combinations (`allOf`, `$ref` …) beside the properties
//! are left as they are; where they stand on the way of a dropped field, nothing is promised of the output any more.

use std::borrow::Cow;

use strait_protocol::Span;
use strait_protocol::jsonrpc::{Elements, Gaps, Members, compare_numbers, is_integer, string_at};

use super::fragment::{Edits, all, edited, quoted};
use crate::shape::{
    ArchivedArgument, ArchivedNarrowed, ArchivedSaid, ArchivedShape, Met, Reach, same_scalar,
};

/// Why a shape cannot be shown.
pub type Reason = Cow<'static, str>;

/// A definition that a shape was applied to.
pub struct Variant {
    pub json: String,
    /// Paths of the shape that the output schema does not have.
    pub unmet: Vec<usize>,
}

pub fn variant(definition: &str, shape: &ArchivedShape) -> Result<Variant, Reason> {
    let json = definition.as_bytes();
    let top = all(json);
    let mut editor = Editor { json, edits: Vec::new(), unmet: 0 };
    let mut added = Vec::new();
    for (key, text) in [("title", &shape.title), ("description", &shape.description)] {
        if let Some(text) = text.as_ref() {
            editor.set(top, key, quoted(text), &mut added)?;
        }
    }
    editor.add(top, added);
    if let Some(first) = shape.arguments.first() {
        let schema = editor.once(top, "inputSchema")?.ok_or_else(|| absent(first, first.path.len()))?;
        editor.input(schema, &shape.arguments, 0)?;
    }
    if !shape.drops.is_empty()
        && let Some(schema) = editor.once(top, "outputSchema")?
    {
        let before = editor.edits.len();
        editor.unmet = u32::MAX;
        if editor.output(schema, shape, &shape.outermost())?.is_none() {
            // What it promises cannot be told without what is dropped: nothing is promised.
            editor.edits.truncate(before);
            editor.unmet = 0;
            editor.take(top, |key| key == "outputSchema");
        }
    }
    let unmet = (0..shape.drops.len()).filter(|at| editor.unmet >> at & 1 == 1).collect();
    let json = edited(definition, editor.edits).ok_or("its definition cannot be edited")?;
    Ok(Variant { json, unmet })
}

fn absent(argument: &ArchivedArgument, keys: usize) -> Reason {
    format!("its tool has no argument `{}`", path(argument, keys)).into()
}

fn path(argument: &ArchivedArgument, keys: usize) -> String {
    let keys: Vec<&str> = argument.path.iter().take(keys).map(|key| key.as_str()).collect();
    keys.join(".")
}

/// Words of a schema beside which its properties do not say all.
const COMBINING: [&str; 21] = [
    "$ref",
    "$dynamicRef",
    "$recursiveRef",
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "if",
    "then",
    "else",
    "dependentSchemas",
    "dependentRequired",
    "dependencies",
    "patternProperties",
    "propertyNames",
    "minProperties",
    "unevaluatedProperties",
    "prefixItems",
    "contains",
    "enum",
    "const",
];

struct Editor<'d> {
    json: &'d [u8],
    edits: Edits,
    /// A bit for each dropped path that was not found.
    unmet: u32,
}

impl Editor<'_> {
    /// The value of a member, which must not be there twice: a client might read the other one.
    fn once(&self, object: Span, wanted: &str) -> Result<Option<Span>, Reason> {
        let mut found = None;
        for member in Members::of(self.json, object) {
            let member = member.map_err(|_| "a part of its definition is no JSON object")?;
            if member.key_is(self.json, wanted) && found.replace(member.value).is_some() {
                return Err(format!("its definition says `{wanted}` twice").into());
            }
        }
        Ok(found)
    }

    /// Says a member of an object; one that is not there yet is left in `added`.
    fn set(&mut self, object: Span, key: &str, value: String, added: &mut Vec<String>) -> Result<(), Reason> {
        match self.once(object, key)? {
            Some(place) => self.edits.push((place, value)),
            None => added.push(format!("{}:{value}", quoted(key))),
        }
        Ok(())
    }

    /// Adds members to an object of which none are taken away.
    fn add(&mut self, object: Span, added: Vec<String>) {
        if added.is_empty() {
            return;
        }
        let comma = if Members::of(self.json, object).next().is_none() { "" } else { "," };
        let place = Span { start: object.start + 1, len: 0 };
        self.edits.push((place, format!("{}{comma}", added.join(","))));
    }

    /// Takes the members away whose keys say so.
    fn take(&mut self, object: Span, goes: impl Fn(&str) -> bool) {
        let mut gaps = Gaps::default();
        for member in Members::of(self.json, object).flatten() {
            let whole = Span::between(member.key.start as usize, member.value.end() as usize);
            match std::str::from_utf8(&member.key_text(self.json)) {
                Ok(key) if goes(key) => gaps.goes(whole),
                _ => self.cut(gaps.stays(whole)),
            }
        }
        self.cut(gaps.finish());
    }

    fn cut(&mut self, gap: Option<Span>) {
        self.edits.extend(gap.map(|gap| (gap, String::new())));
    }

    fn is_object(&self, place: Span) -> bool {
        place.of(self.json).starts_with(b"{")
    }

    /// An object's schema, whose properties these arguments are from their key `depth` on.
    fn input(&mut self, schema: Span, arguments: &[ArchivedArgument], depth: usize) -> Result<(), Reason> {
        let Some(first) = arguments.first() else { return Ok(()) };
        let properties = self.once(schema, "properties")?.filter(|place| self.is_object(*place));
        let properties = properties.ok_or_else(|| absent(first, depth + 1))?;
        let required = self.once(schema, "required")?;
        let (mut gone, mut optional, mut demanded) = (Vec::new(), Vec::new(), Vec::new());
        for inside in arguments.chunk_by(|one, other| one.path.get(depth) == other.path.get(depth)) {
            let Some((first, key)) = inside.first().and_then(|first| Some((first, first.path.get(depth)?)))
            else {
                continue;
            };
            let property = self.once(properties, key)?.ok_or_else(|| absent(first, depth + 1))?;
            if first.path.len() > depth + 1 {
                self.input(property, inside, depth + 1)?;
                continue;
            }
            match &first.said {
                ArchivedSaid::Fixed(value) => {
                    self.fits(property, value, first)?;
                    gone.push(key.as_str());
                    optional.push(key.as_str());
                }
                ArchivedSaid::Hidden if self.lists(required, key) => {
                    let path = path(first, first.path.len());
                    return Err(format!(
                        "its tool requires `{path}`: an argument that is hidden must be fixed"
                    )
                    .into());
                }
                ArchivedSaid::Hidden => gone.push(key.as_str()),
                ArchivedSaid::Narrowed(narrowed) => {
                    self.narrow(property, narrowed, first)?;
                    if narrowed.default.is_some() {
                        optional.push(key.as_str());
                    }
                    if narrowed.required && !self.lists(required, key) {
                        demanded.push(key.as_str());
                    }
                }
            }
        }
        if !gone.is_empty() {
            self.take(properties, |key| gone.contains(&key));
        }
        self.require(schema, required, &optional, &demanded)
    }

    /// Whether `required` has the key.
    fn lists(&self, required: Option<Span>, key: &str) -> bool {
        self.elements(required).any(|one| string_at(self.json, one).as_deref() == Some(key))
    }

    fn elements(&self, array: Option<Span>) -> impl Iterator<Item = Span> {
        array.into_iter().flat_map(|array| Elements::of(self.json, array)).map_while(Result::ok)
    }

    /// Changes which properties a schema requires.
    fn require(
        &mut self,
        schema: Span,
        required: Option<Span>,
        optional: &[&str],
        demanded: &[&str],
    ) -> Result<(), Reason> {
        let is_optional =
            |one: &Span| string_at(self.json, *one).is_some_and(|key| optional.contains(&key.as_str()));
        if demanded.is_empty() && !self.elements(required).any(|one| is_optional(&one)) {
            return Ok(());
        }
        let stay = self.elements(required).filter(|one| !is_optional(one));
        let stay = stay.map(|one| String::from_utf8_lossy(one.of(self.json)).into_owned());
        let all: Vec<String> = stay.chain(demanded.iter().map(|key| quoted(key))).collect();
        let mut added = Vec::new();
        self.set(schema, "required", format!("[{}]", all.join(",")), &mut added)?;
        self.add(schema, added);
        Ok(())
    }

    fn narrow(
        &mut self,
        property: Span,
        narrowed: &ArchivedNarrowed,
        argument: &ArchivedArgument,
    ) -> Result<(), Reason> {
        let values = narrowed.among.iter().chain(narrowed.default.as_ref());
        values.into_iter().try_for_each(|value| self.fits(property, value, argument))?;
        let bounds = [("minimum", narrowed.min.as_ref()), ("maximum", narrowed.max.as_ref())];
        for bound in bounds.iter().filter_map(|(_, bound)| bound.as_ref()) {
            self.has_type(property, bound, argument)?;
        }
        let mut said = Vec::new();
        if !narrowed.among.is_empty() {
            let among: Vec<&str> = narrowed.among.iter().map(|one| one.as_str()).collect();
            said.push(("enum", format!("[{}]", among.join(","))));
        }
        for (key, bound) in bounds.into_iter().filter_map(|(key, bound)| Some((key, bound?))) {
            let tighter =
                if key == "minimum" { std::cmp::Ordering::is_ge } else { std::cmp::Ordering::is_le };
            let own = if self.is_object(property) { self.once(property, key)? } else { None };
            let own = own.and_then(|own| compare_numbers(own.of(self.json), bound.as_bytes()));
            if !own.is_some_and(tighter) {
                said.push((key, bound.as_str().to_owned()));
            }
        }
        if let Some(default) = narrowed.default.as_ref() {
            said.push(("default", default.as_str().to_owned()));
        }
        let mut added = Vec::new();
        if self.is_object(property) {
            for (key, value) in said {
                self.set(property, key, value, &mut added)?;
            }
            self.add(property, added);
        } else if !said.is_empty() {
            // `true`: anything. What says that nothing is right does not fit any value.
            let said: Vec<String> =
                said.into_iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
            self.edits.push((property, format!("{{{}}}", said.join(","))));
        }
        Ok(())
    }

    /// Whether the tool would take this value, as far as its type and its list of values say.
    fn fits(&self, property: Span, value: &str, argument: &ArchivedArgument) -> Result<(), Reason> {
        self.has_type(property, value, argument)?;
        if !self.is_object(property) {
            return Ok(());
        }
        let raw = value.as_bytes();
        let is_same = |own: Span| own.of(self.json) == raw || same_scalar(own.of(self.json), raw);
        let among = self.once(property, "enum")?;
        let alone = self.once(property, "const")?;
        if among.is_some() && !self.elements(among).any(is_same) || alone.is_some_and(|own| !is_same(own)) {
            let path = path(argument, argument.path.len());
            return Err(format!("its tool does not take {value} for `{path}`").into());
        }
        Ok(())
    }

    fn has_type(&self, property: Span, value: &str, argument: &ArchivedArgument) -> Result<(), Reason> {
        let takes = match property.of(self.json) {
            b"true" => true,
            said if said.starts_with(b"{") => {
                let said = self.once(property, "type")?;
                let is_one =
                    |one: Span| string_at(self.json, one).is_some_and(|name| is_of_type(value, &name));
                match said {
                    None => true,
                    Some(one) if one.of(self.json).starts_with(b"[") => self.elements(said).any(is_one),
                    Some(one) => is_one(one),
                }
            }
            _ => false,
        };
        let path = || path(argument, argument.path.len());
        if takes { Ok(()) } else { Err(format!("{value} is not of the type of `{}`", path()).into()) }
    }

    /// Takes what is dropped out of an output's schema. `None` where its properties do not say all.
    fn output(&mut self, schema: Span, shape: &ArchivedShape, reach: &Reach) -> Result<Option<()>, Reason> {
        if !self.is_object(schema) {
            return Ok(Some(()));
        }
        for member in Members::of(self.json, schema).flatten() {
            if COMBINING.iter().any(|word| member.key_is(self.json, word)) {
                return Ok(None);
            }
        }
        let mut gone = Vec::new();
        let properties = self.once(schema, "properties")?.filter(|place| self.is_object(*place));
        for member in properties.into_iter().flat_map(|place| Members::of(self.json, place)).flatten() {
            match shape.met(reach, |key| member.key_is(self.json, key)) {
                Met::Goes(path) => {
                    self.unmet &= !(1 << path);
                    gone.push(String::from_utf8_lossy(&member.key_text(self.json)).into_owned());
                }
                Met::Below(reach) => {
                    if self.output(member.value, shape, &reach)?.is_none() {
                        return Ok(None);
                    }
                }
                Met::Stays => {}
            }
        }
        if let Some(properties) = properties.filter(|_| !gone.is_empty()) {
            self.take(properties, |key| gone.iter().any(|gone| gone == key));
        }
        let optional: Vec<&str> = gone.iter().map(String::as_str).collect();
        let required = self.once(schema, "required")?;
        self.require(schema, required, &optional, &[])?;
        if let Some(items) = self.once(schema, "items")? {
            return self.output(items, shape, &shape.elements(reach));
        }
        // Properties that are not named may be what is dropped, or have it inside.
        match self.once(schema, "additionalProperties")? {
            Some(others) if self.is_object(others) => Ok(None),
            _ => Ok(Some(())),
        }
    }
}

fn is_of_type(value: &str, name: &str) -> bool {
    match value.as_bytes().first() {
        Some(b'"') => name == "string",
        Some(b'{') => name == "object",
        Some(b'[') => name == "array",
        Some(b't' | b'f') => name == "boolean",
        Some(b'n') => name == "null",
        _ => name == "number" || (name == "integer" && is_integer(value.as_bytes())),
    }
}
