//! Small values that tests begin with.

use strait_policy::Traits;
use strait_table::catalog::{Catalog, Definition, Known, Lists};
use strait_table::condition::{Condition, Moment, NONE, Op, Operand};
use strait_table::names::Names;
use strait_table::rules::*;

/// One listener, two upstreams (`git`, `crm`), one server at `/mcp` that shows everything to everyone.
pub fn rules() -> Rules {
    Rules {
        listeners: vec![Listener {
            name: "main".into(),
            bind: "127.0.0.1:8080".into(),
            public: None,
            hosts: vec!["localhost".into()],
            origins: Vec::new(),
            tls: None,
        }],
        upstreams: vec![upstream("git"), upstream("crm")],
        servers: vec![server("default", "/mcp", &["*"])],
        paths: Names::build(["/mcp"].into_iter()),
        policy: Policy { default: Effect::Allow, rules: Vec::new() },
        body_bytes_max: 1 << 22,
        caps: Caps::default(),
        ..Rules::default()
    }
}

pub fn upstream(name: &str) -> Upstream {
    Upstream {
        name: name.into(),
        transport: Transport::Sample(Sample::Stdio),
        era: Era::Auto,
        credential: None,
        identity_header: None,
        timeout: Timeouts::default(),
        list_ttl_ms: 0,
        tls: Default::default(),
    }
}

/// Its prompts and resources are patterns like its tools.
pub fn server(name: &str, path: &str, globs: &[&str]) -> Server {
    Server {
        name: name.into(),
        path: path.into(),
        auth: Vec::new(),
        tools: patterns(PatternKind::Tool, globs),
        prompts: patterns(PatternKind::Prompt, globs),
        resources: patterns(PatternKind::Any, globs),
        naming: Naming::Auto,
        instructions: String::new(),
        shapes: Vec::new(),
    }
}

pub fn patterns(kind: PatternKind, globs: &[&str]) -> Vec<Pattern> {
    globs.iter().map(|glob| Pattern { kind, glob: (*glob).into() }).collect()
}

pub fn rule(effect: Effect, kind: PatternKind, globs: &[&str], to: To) -> Rule {
    let patterns = patterns(kind, globs);
    Rule {
        id: "r".into(),
        effect,
        patterns,
        to,
        condition: None,
        scopes: Vec::new(),
        audit: Default::default(),
        place: Place::default(),
    }
}

/// A trait that is true of nobody but whom a test gives it.
pub fn a_trait(n: usize) -> Trait {
    let ops = vec![Op::InGroups(Operand::Text(n.to_string()))];
    Trait { condition: Condition { reads: Vec::new(), ops }, on_error: false }
}

/// A role by the trait of its number.
pub fn role(n: usize) -> Role {
    Role { name: n.to_string(), yes: n as u16, error: NONE }
}

/// Nothing but these traits is known.
pub fn moment(traits: &Traits) -> Moment<'_> {
    Moment { traits: Some(traits), windows: None, principal: None, thing: None, asked: None }
}

pub fn tool(name: &str) -> Definition {
    Definition { name: name.into(), json: format!(r#"{{"name":"{name}","inputSchema":{{}}}}"#) }
}

pub fn resource(uri: &str) -> Definition {
    Definition { name: uri.into(), json: format!(r#"{{"uri":"{uri}","name":"r"}}"#) }
}

pub fn template(uri: &str) -> Definition {
    Definition { name: uri.into(), json: format!(r#"{{"uriTemplate":"{uri}","name":"t"}}"#) }
}

pub fn lists(tools: &[&str]) -> Lists {
    Lists { known: Known::Fresh, tools: tools.iter().map(|name| tool(name)).collect(), ..Lists::default() }
}

/// `git` offers `log` and `push`, `crm` offers `get`.
pub fn catalog() -> Catalog {
    Catalog { upstreams: vec![lists(&["log", "push"]), lists(&["get"])] }
}
