//! Configurations of any size, bound to catalogs of any size.

use strait_policy::Traits;
use strait_table::catalog::{Catalog, Definition, Known, Lists};
use strait_table::condition::{Condition, NONE, Op, Operand};
use strait_table::names::Names;
use strait_table::rules::*;
use strait_table::snapshot::of_rules;
use strait_table::{Snapshot, bind, file};

/// How large a configuration is.
#[derive(Clone, Copy)]
pub struct Size {
    pub tools: usize,
    pub rules: usize,
    pub roles: usize,
}

pub const LARGE: Size = Size { tools: 10_000, rules: 1_000, roles: 100 };
pub const SMALL: Size = Size { tools: 100, rules: 10, roles: 5 };

/// Tools are spread over so many upstreams, all behind one server.
const UPSTREAMS: usize = 10;

pub fn rules(size: Size) -> Rules {
    Rules {
        listeners: vec![Listener {
            name: "main".into(),
            bind: "127.0.0.1:8080".into(),
            public: None,
            hosts: vec!["localhost".into()],
            origins: Vec::new(),
            tls: None,
        }],
        upstreams: (0..UPSTREAMS).map(upstream).collect(),
        servers: vec![Server {
            name: "default".into(),
            path: "/mcp".into(),
            auth: Vec::new(),
            tools: vec![pattern("*".into())],
            prompts: Vec::new(),
            resources: Vec::new(),
            naming: Naming::Prefix,
            instructions: String::new(),
            shapes: Vec::new(),
        }],
        paths: Names::build(["/mcp"].into_iter()),
        traits: (0..size.roles).map(in_group).collect(),
        roles: (0..size.roles)
            .map(|n| Role { name: format!("role{n}"), yes: n as u16, error: NONE })
            .collect(),
        policy: Policy { default: Effect::Deny, rules: (0..size.rules).map(|n| rule(n, size)).collect() },
        body_bytes_max: 4 << 20,
        caps: Caps::default(),
        ..Rules::default()
    }
}

fn upstream(n: usize) -> Upstream {
    Upstream {
        name: format!("up{n}"),
        transport: Transport::Http {
            endpoints: vec![Endpoint {
                host: format!("up{n}.internal"),
                port: 80,
                path: "/mcp".into(),
                https: false,
            }],
        },
        era: Era::Auto,
        credential: None,
        identity_header: None,
        timeout: Timeouts::default(),
        list_ttl_ms: 0,
        tls: Default::default(),
    }
}

fn in_group(n: usize) -> Trait {
    let ops = vec![Op::InGroups(Operand::Text(format!("group{n}")))];
    Trait { condition: Condition { reads: Vec::new(), ops }, on_error: false }
}

fn pattern(glob: String) -> Pattern {
    Pattern { kind: PatternKind::Any, glob }
}

/// Nine in ten allow ten tools or so to two roles; the tenth denies a verb of one upstream to a role.
fn rule(n: usize, size: Size) -> Rule {
    let role = |n: usize| (n % size.roles) as u16;
    let (effect, glob, to) = match n % 10 {
        9 => (Effect::Deny, format!("up{}.delete_*_{}", n / 10 % UPSTREAMS, n / 10 % 10), vec![role(n / 10)]),
        _ => (Effect::Allow, format!("*.*_{}", n % 1_000), vec![role(n), role(n * 7 + 3)]),
    };
    Rule {
        id: format!("rule-{n}"),
        effect,
        patterns: vec![pattern(glob)],
        to: To::Roles(to),
        condition: None,
        scopes: Vec::new(),
        audit: Default::default(),
        place: Place::default(),
    }
}

pub fn catalog(size: Size) -> Catalog {
    let tools_of = |upstream: usize| (upstream..size.tools).step_by(UPSTREAMS).map(tool).collect();
    let lists = |upstream| Lists { known: Known::Fresh, tools: tools_of(upstream), ..Lists::default() };
    Catalog { upstreams: (0..UPSTREAMS).map(lists).collect() }
}

/// What its upstream calls the `n`th tool.
pub fn tool_name(n: usize) -> String {
    let verb = ["get", "list", "update", "create", "delete"][n / UPSTREAMS % 5];
    format!("{verb}_customer_{n}")
}

/// What agents call it.
pub fn exposed_name(n: usize) -> String {
    format!("up{}__{}", n % UPSTREAMS, tool_name(n))
}

fn tool(n: usize) -> Definition {
    let name = tool_name(n);
    let json = format!(
        r#"{{"name":"{name}","title":"Customer {n}","description":"Reads or changes customer records of region {n}. Returns the record as JSON.","inputSchema":{{"type":"object","properties":{{"id":{{"type":"string","description":"the customer's number"}},"fields":{{"type":"array","items":{{"type":"string"}}}},"limit":{{"type":"integer","minimum":1,"maximum":100}}}},"required":["id"]}},"annotations":{{"readOnlyHint":true}}}}"#
    );
    Definition { name, json }
}

/// The bytes of a table with its catalog.
pub fn table(size: Size) -> Vec<u8> {
    let rules = rules(size);
    let snapshot = of_rules(&rules).expect("fixtures are sound");
    let (bound, findings) = bind(snapshot.rules(), &catalog(size));
    assert_eq!(findings, []);
    file::write(&rules, Some(&bound))
}

pub fn snapshot(size: Size) -> Snapshot {
    Snapshot::from_bytes(&table(size)).expect("fixtures are sound")
}

/// A principal of three roles.
pub fn roles(size: Size) -> Traits {
    let mut roles = Traits::none(size.roles);
    [1, 2, 4].iter().for_each(|role| roles.insert(role * size.roles / 5));
    roles
}

/// The names of `count` tools in an order that a prefetcher cannot guess.
pub fn asked_names(size: Size, count: usize) -> Vec<String> {
    (0..count).map(|n| exposed_name(n.wrapping_mul(2_654_435_761) % size.tools)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use strait_table::{Kind, View};

    #[test]
    fn a_principal_sees_some_of_the_tools_and_finds_all() {
        for size in [SMALL, LARGE] {
            let snapshot = snapshot(size);
            let shelf = snapshot.bound().servers[0].shelf(Kind::Tool);
            assert_eq!(shelf.items.len(), size.tools);
            for name in asked_names(size, 1_000) {
                assert!(shelf.find(name.as_bytes()).is_some(), "{name}");
            }
            let view = View::of(&snapshot, 0, &roles(size), &Traits::default()).unwrap();
            let seen = view.kind(Kind::Tool).visible_count();
            assert!(seen > 0 && seen < size.tools / 2, "{seen} of {}", size.tools);
        }
    }

    #[test]
    fn messages_have_the_size_they_are_asked_to_have() {
        for bytes in [200, 2 << 10, 64 << 10] {
            for message in [crate::fixtures::call(bytes), crate::fixtures::reply(bytes)] {
                assert!(
                    message.len() <= bytes && message.len() + 150 > bytes,
                    "{} of {bytes}",
                    message.len()
                );
            }
        }
    }
}
