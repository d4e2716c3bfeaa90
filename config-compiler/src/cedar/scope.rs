//! The head of a policy: of what kinds of things it speaks, of which of them, to whom.
//!
//! What patterns can say becomes patterns, so that a worker finds the rule by the name of the thing; what they cannot say exactly
//! becomes a part of the condition.

use std::ops::Range;

use strait_table::{
    condition::{CallFact, Comparison},
    rules::PatternKind,
};

use super::{
    meaning::{Both, Reader, entity},
    tree::{Expr, Head, Kind, Policy, Variable},
};
use crate::{
    condition::{
        Wrong,
        tree::{Asks, Value},
    },
    diagnostic::codes,
};

/// The kinds of things that a policy may speak of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kinds(u8);

impl Kinds {
    pub const TOOL: Kinds = Kinds(1);
    pub const PROMPT: Kinds = Kinds(2);
    pub const RESOURCE: Kinds = Kinds(4);
    /// With methods that nobody here knows, and that have no name.
    pub const ALL: Kinds = Kinds(15);

    /// The one kind of things, where there is only one.
    pub fn one(self) -> Option<&'static str> {
        TYPES.iter().find(|(_, kinds, _)| *kinds == self).map(|(name, _, _)| *name)
    }

    pub fn and(self, other: Kinds) -> Kinds {
        Kinds(self.0 & other.0)
    }

    pub fn with(self, other: Kinds) -> Kinds {
        Kinds(self.0 | other.0)
    }

    fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// Types of resources, and the action that each is for.
pub const TYPES: [(&str, Kinds, &str); 3] = [
    ("Tool", Kinds::TOOL, "call_tool"),
    ("Prompt", Kinds::PROMPT, "get_prompt"),
    ("Resource", Kinds::RESOURCE, "read_resource"),
];

/// What a head comes to.
pub struct Scope {
    pub kinds: Kinds,
    pub patterns: Vec<(PatternKind, String)>,
    /// Where the resource is written, and the part that names an upstream.
    pub at: Range<usize>,
    pub upstream_at: Range<usize>,
    /// The role that the rule speaks to.
    pub role: Option<u16>,
    /// What neither patterns nor role say.
    pub asks: Both,
}

type Read<T> = Result<T, Wrong>;

pub fn scope(policy: &Policy, reader: &mut Reader<'_>) -> Read<Scope> {
    let mut asks = Vec::new();
    let role = principal(&policy.principal, reader, &mut asks)?;
    let of_action = action(&policy.action, reader)?;
    let resource = resource(&policy.resource, reader)?;
    let kinds = of_action.and(resource.kinds);
    if kinds.is_empty() {
        let message = "this action is never done with such a resource";
        let help = "tools are for `Action::\"call_tool\"`, prompts for `\"get_prompt\"`, resources for `\"read_resource\"`";
        return Err(Wrong::new(&codes::CEDAR_TYPE, message, help, policy.action.at.clone()));
    }
    reader.kinds = kinds;
    let glob = match (&resource.upstream, &resource.name) {
        (Some(upstream), Some(name)) => format!("{upstream}.{name}"),
        (Some(upstream), None) => format!("{upstream}.*"),
        (None, _) => "*".to_owned(),
    };
    let patterns = match kinds {
        Kinds::ALL => vec![(PatternKind::Any, glob)],
        _ => {
            let all = [PatternKind::Tool, PatternKind::Prompt, PatternKind::Resource];
            let named = TYPES.iter().zip(all).filter(|((_, kind, _), _)| !kinds.and(*kind).is_empty());
            named.map(|(_, kind)| (kind, glob.clone())).collect()
        }
    };
    let at = policy.resource.at.clone();
    // A pattern over resources also matches URIs without their upstream.
    if let (Some(upstream), true) =
        (&resource.upstream, kinds != Kinds::ALL && !kinds.and(Kinds::RESOURCE).is_empty())
    {
        if let Some(name) = &resource.name {
            let of = Value::Call(CallFact::Tool);
            asks.push(reader.certain(equals(of, Value::Text(name.clone())), &at));
        }
        let of = Value::Call(CallFact::Upstream);
        asks.push(reader.certain(equals(of, Value::Text(upstream.clone())), &at));
    }
    if let Some(server) = resource.server {
        asks.push(reader.certain(equals(Value::Call(CallFact::Server), Value::Text(server)), &at));
    }
    let upstream_at = resource.upstream_at;
    Ok(Scope { kinds, patterns, at, upstream_at, role, asks: reader.all(asks, &policy.at)? })
}

fn equals(left: Value, right: Value) -> Asks {
    Asks::Compare { left, by: Comparison::Equal, right }
}

fn principal(head: &Head, reader: &mut Reader<'_>, asks: &mut Vec<Both>) -> Read<Option<u16>> {
    if let Some((name, at)) = &head.is {
        reader.is_principal(name, at)?;
    }
    let Some((within, of)) = &head.related else { return Ok(None) };
    no_slot(of)?;
    if let (true, Kind::Entity { of: kind, id }) = (within, &of.kind)
        && kind == "Role"
    {
        return reader.role(id, &of.at).map(Some);
    }
    let principal = Expr { kind: Kind::Variable(Variable::Principal), at: head.at.clone() };
    let relation = Kind::Relation(if *within { "in" } else { "==" }, Box::new([principal, of.clone()]));
    asks.push(reader.truth(&Expr { kind: relation, at: head.at.clone() })?);
    Ok(None)
}

fn action(head: &Head, reader: &Reader<'_>) -> Read<Kinds> {
    if let Some((_, at)) = &head.is {
        return Err(reader.no_action_type(at));
    }
    let Some((_, of)) = &head.related else { return Ok(Kinds::ALL) };
    no_slot(of)?;
    let named = match &of.kind {
        Kind::Set(items) => items.as_slice(),
        _ => std::slice::from_ref(of),
    };
    let mut kinds = Kinds(0);
    for one in named {
        kinds = kinds.with(reader.action(one)?);
    }
    Ok(kinds)
}

struct Named {
    kinds: Kinds,
    upstream: Option<String>,
    upstream_at: Range<usize>,
    name: Option<String>,
    server: Option<String>,
}

fn resource(head: &Head, reader: &Reader<'_>) -> Read<Named> {
    let at = head.at.clone();
    let mut named = Named { kinds: Kinds::ALL, upstream: None, upstream_at: at, name: None, server: None };
    if let Some((name, at)) = &head.is {
        named.kinds = reader.kind_of(name, at)?;
    }
    let Some((within, of)) = &head.related else { return Ok(named) };
    no_slot(of)?;
    let Some((kind, id)) = entity(of) else {
        let help = "write `resource in Upstream::\"crm\"` or `resource == Tool::\"crm.get_order\"`";
        return Err(Wrong::new(&codes::CEDAR_SUBSET, "only an entity can stand here", help, of.at.clone()));
    };
    named.upstream_at = of.at.clone();
    match (kind, within) {
        ("Upstream", true) => {
            named.upstream = Some(id.to_owned());
            // Past `Upstream::"`, where it is written without blanks.
            named.upstream_at = inside(&of.at, kind, id);
        }
        ("Server", true) => named.server = Some(reader.server(id, &of.at)?),
        ("Upstream" | "Server", false) => {
            let message = format!("a resource is never a `{kind}` itself");
            let help = format!("write `resource in {kind}::\"{id}\"`");
            return Err(Wrong::new(&codes::CEDAR_TYPE, message, help, of.at.clone()));
        }
        _ => {
            named.kinds = named.kinds.and(reader.kind_of(kind, &of.at)?);
            let (upstream, name) = reader.item(kind, id, &of.at)?;
            if name.contains('*') {
                let message = format!("`*` stands for itself in the id of a `{kind}`");
                let help = format!(
                    "write `resource is {kind} in Upstream::\"{upstream}\"` with `when {{ resource.name like \"{name}\" }}`"
                );
                return Err(Wrong::new(&codes::CEDAR_SUBSET, message, help, of.at.clone()));
            }
            named.upstream_at = inside(&of.at, kind, upstream);
            (named.upstream, named.name) = (Some(upstream.to_owned()), Some(name.to_owned()));
        }
    }
    Ok(named)
}

/// The part of `Kind::"id…"` that says `id`, as most people write it.
fn inside(at: &Range<usize>, kind: &str, id: &str) -> Range<usize> {
    let start = at.start + kind.len() + 3;
    if start + id.len() < at.end { start..start + id.len() } else { at.clone() }
}

fn no_slot(of: &Expr) -> Read<()> {
    match &of.kind {
        Kind::Slot(name) => Err(Wrong::new(
            &codes::CEDAR_SUBSET,
            format!("a template with `?{name}` is no policy by itself"),
            "write the entity that it is linked with",
            of.at.clone(),
        )),
        _ => Ok(()),
    }
}
