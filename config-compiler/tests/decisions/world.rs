//! What a case is made of: upstreams, servers, roles, rules, people and calls, by one seed, and what an author would write.

use std::fmt::Write;

use crate::condition::{Cond, Json};

/// Chance by a seed: splitmix64.
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, count: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ mixed >> 31) % count as u64) as usize
    }

    pub fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    pub fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }

    /// Some of these, in their order.
    pub fn some<T: Clone>(&mut self, of: &[T]) -> Vec<T> {
        of.iter().filter(|_| self.one_in(2)).cloned().collect()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Tool,
    Prompt,
    Resource,
    Template,
}

pub struct Upstream {
    pub name: &'static str,
    pub items: Vec<(Kind, String)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    Auto,
    Prefix,
    Bare,
}

pub struct Server {
    pub name: &'static str,
    pub naming: Naming,
    pub tools: Vec<&'static str>,
    pub prompts: Vec<&'static str>,
    pub resources: Vec<&'static str>,
    /// A tool of an upstream, and what it is called here.
    pub renamed: Option<(usize, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    Allow,
    Hold,
    Deny,
}

pub struct Rule {
    pub effect: Effect,
    pub patterns: Vec<&'static str>,
    /// Numbers of roles.
    pub to: Option<Vec<usize>>,
    pub when: Option<Cond>,
    pub unless: Option<Cond>,
    /// Numbers of windows.
    pub during: Vec<usize>,
}

pub struct Person {
    pub id: &'static str,
    pub user: &'static str,
    pub agent: &'static str,
    pub tenant: &'static str,
    pub groups: Vec<&'static str>,
    pub claims: Option<Json>,
}

pub struct World {
    pub upstreams: Vec<Upstream>,
    pub servers: Vec<Server>,
    pub roles: Vec<Cond>,
    pub rules: Vec<Rule>,
    pub default_allows: bool,
    pub people: Vec<Person>,
}

/// What comes with a call.
pub struct Call {
    pub arguments: Option<Json>,
    pub headers: Vec<(&'static str, &'static str)>,
    pub ip: &'static str,
}

const UPSTREAMS: [&str; 3] = ["crm", "git", "hr"];
const TOOLS: [&str; 6] = ["get", "get_all", "delete_x", "refund", "t.a", "list"];
const PROMPTS: [&str; 2] = ["hello", "get"];
const PATTERNS: [&str; 20] = [
    "*",
    "crm.*",
    "git.*",
    "crm.get",
    "crm.get*",
    "*.get",
    "*.delete_*",
    "git.delete_x",
    "crm.refund",
    "hr.*",
    "hr.t.a",
    "tool:crm.*",
    "tool:*.get",
    "prompt:*",
    "prompt:crm.hello",
    "resource:crm.crm://*",
    "resource:crm://a",
    "resource:crm://a*",
    "resource:*",
    "git.git://*",
];
pub const GROUPS: [&str; 4] = ["staff", "admin", "eu-west", "eu-north"];
pub const TEXTS: [&str; 8] = ["", "a", "ab", "b", "USD", "EUR", "é", "prod"];
/// As an author writes them.
pub const NUMBERS: [&str; 9] = ["0", "1", "2", "3", "0.5", "100", "500", "9007199254740993", "2.50"];
/// As a caller may write them.
const SENT: [&str; 15] = [
    "0",
    "-0",
    "1",
    "2",
    "3",
    "-1",
    "0.5",
    "5e-1",
    "1e2",
    "100.0",
    "500",
    "500.00000000000000001",
    "9007199254740992",
    "9007199254740993",
    "25e-1",
];
pub const ADDRESSES: [&str; 4] = ["10.1.2.3", "192.168.0.9", "2001:db8::1", "127.0.0.1"];

impl World {
    pub fn of(dice: &mut Dice) -> World {
        let names = &UPSTREAMS[..2 + dice.below(2)];
        let upstreams: Vec<Upstream> = names.iter().map(|name| upstream(dice, name)).collect();
        let servers =
            ["one", "two", "three"][..1 + dice.below(3)].iter().map(|name| server(dice, name, &upstreams));
        let servers = servers.collect();
        let roles: Vec<Cond> = (0..1 + dice.below(3)).map(|_| Cond::of_role(dice)).collect();
        let rules = (0..1 + dice.below(7)).map(|_| rule(dice, &upstreams, roles.len())).collect();
        let people = ["ann", "bob", "a"].map(|id| person(dice, id)).into();
        World { upstreams, servers, roles, rules, default_allows: dice.one_in(4), people }
    }

    /// The configuration.
    pub fn text(&self) -> String {
        let mut text = "strait: 1\nidentity: { staff: { api_keys: keys.yaml } }\nupstreams:\n".to_owned();
        for upstream in &self.upstreams {
            let _ = writeln!(text, "  {}: {{ sample: http }}", upstream.name);
        }
        text.push_str("servers:\n");
        for server in &self.servers {
            let naming = ["auto", "prefix", "bare"][server.naming as usize];
            let _ = write!(
                text,
                "  {0}: {{ path: /{0}, auth: [staff], naming: {naming}, tools: {1:?}, prompts: {2:?}, resources: {3:?}",
                server.name, server.tools, server.prompts, server.resources
            );
            if let Some((upstream, tool)) = &server.renamed {
                let _ = write!(
                    text,
                    ", shape: {{ {}.{tool}: {{ name: other }} }}",
                    self.upstreams[*upstream].name
                );
            }
            text.push_str(" }\n");
        }
        text.push_str("roles:\n");
        for (number, role) in self.roles.iter().enumerate() {
            let _ = writeln!(text, "  role{number}: '{role}'");
        }
        let default = if self.default_allows { "allow" } else { "deny" };
        let _ = write!(text, "policy:\n  default: {default}\n  rules:\n");
        for (number, rule) in self.rules.iter().enumerate() {
            let effect = ["allow", "hold", "deny"][rule.effect as usize];
            let _ = write!(text, "    - {{ id: r{number}, {effect}: {:?}", rule.patterns);
            if let Some(to) = &rule.to {
                let _ = write!(
                    text,
                    ", to: [{}]",
                    to.iter().map(|n| format!("role{n}")).collect::<Vec<_>>().join(", ")
                );
            }
            for (key, said) in [("when", &rule.when), ("unless", &rule.unless)] {
                if let Some(condition) = said {
                    let _ = write!(text, ", {key}: '{condition}'");
                }
            }
            if !rule.during.is_empty() {
                let windows: Vec<&str> = rule.during.iter().map(|n| crate::meaning::WINDOWS[*n]).collect();
                let _ = write!(text, ", during: {windows:?}");
            }
            text.push_str(" }\n");
        }
        text
    }
}

fn upstream(dice: &mut Dice, name: &'static str) -> Upstream {
    let mut items: Vec<(Kind, String)> = Vec::new();
    let all = |kind, names: Vec<&str>| {
        names.into_iter().map(move |name| (kind, name.to_owned())).collect::<Vec<_>>()
    };
    items.extend(all(Kind::Tool, dice.some(&TOOLS)));
    items.extend(all(Kind::Prompt, dice.some(&PROMPTS)));
    let uris = [format!("{name}://a"), format!("{name}://b")];
    items.extend(dice.some(&uris).into_iter().map(|uri| (Kind::Resource, uri)));
    if dice.one_in(2) {
        items.push((Kind::Template, format!("{name}://{{id}}")));
    }
    Upstream { name, items }
}

fn server(dice: &mut Dice, name: &'static str, upstreams: &[Upstream]) -> Server {
    let lists: [&[&str]; 4] = [&["*"], &["crm.*"], &["crm.get*", "git.*"], &["*.get", "git.delete_x"]];
    let tools = dice.pick(&lists).to_vec();
    let naming = dice.pick(&[Naming::Auto, Naming::Prefix, Naming::Bare]);
    let shown = upstreams[0].items.iter().find(|(kind, tool)| {
        let full = format!("{}.{tool}", upstreams[0].name);
        *kind == Kind::Tool && tools.iter().any(|glob| crate::meaning::matches(glob, &full))
    });
    let renamed = shown.filter(|_| dice.one_in(3)).map(|(_, tool)| (0, tool.clone()));
    let others: [&[&str]; 3] = [&[], &["*"], &["crm.*"]];
    Server {
        name,
        naming,
        tools,
        prompts: dice.pick(&others).to_vec(),
        resources: dice.pick(&others).to_vec(),
        renamed,
    }
}

fn rule(dice: &mut Dice, upstreams: &[Upstream], roles: usize) -> Rule {
    let effect = dice.pick(&[Effect::Allow, Effect::Allow, Effect::Allow, Effect::Deny, Effect::Hold]);
    // A pattern over nothing that is declared is a finding of its own.
    let known = |glob: &&str| upstreams.len() == UPSTREAMS.len() || !glob.contains("hr.");
    let known: Vec<&str> = PATTERNS.iter().copied().filter(known).collect();
    let patterns: Vec<&str> = (0..1 + dice.below(2)).map(|_| dice.pick(&known)).collect();
    let several = patterns.len() > 1 || patterns[0].contains('*');
    // ST0408: a deny over several tools says of each argument whether it must be there.
    let guarded = effect != Effect::Allow && several;
    let condition = |dice: &mut Dice| Cond::of_rule(dice, guarded, roles);
    Rule {
        effect,
        patterns,
        to: dice.one_in(2).then(|| vec![dice.below(roles)]),
        when: dice.one_in(2).then(|| condition(dice)),
        unless: dice.one_in(5).then(|| condition(dice)),
        during: match dice.below(8) {
            0 => vec![dice.below(crate::meaning::WINDOWS.len())],
            1 => vec![0, 2],
            _ => Vec::new(),
        },
    }
}

fn person(dice: &mut Dice, id: &'static str) -> Person {
    let claims = [
        None,
        Some(Json::object([("team", Json::text("a")), ("level", Json::number("3"))])),
        Some(Json::object([("level", Json::text("3")), ("o", Json::object([("n", Json::number("2"))]))])),
    ];
    Person {
        id,
        user: dice.pick(&["", "carol"]),
        agent: dice.pick(&["", "bot"]),
        tenant: dice.pick(&["", "acme"]),
        groups: dice.some(&GROUPS),
        claims: dice.pick(&claims),
    }
}

impl Call {
    pub fn of(dice: &mut Dice) -> Call {
        let headers: [&[(&str, &str)]; 4] = [
            &[],
            &[("X-Env", "prod")],
            &[("x-env", "a"), ("x-team", "b")],
            &[("x-env", "prod"), ("X-ENV", "prod")],
        ];
        Call {
            arguments: (!dice.one_in(8)).then(|| arguments(dice)),
            headers: dice.pick(&headers).to_vec(),
            ip: dice.pick(&ADDRESSES),
        }
    }
}

/// `n` and `m` numbers, `s` and `t` texts, `b` true or false, `l` a list of numbers, `o` an object with a number `n`; each may be
/// missing, or something else.
fn arguments(dice: &mut Dice) -> Json {
    let number = |dice: &mut Dice| Json::number(dice.pick(&SENT));
    let text = |dice: &mut Dice| Json::text(dice.pick(&TEXTS));
    let list =
        |dice: &mut Dice| Json::List((0..dice.below(4)).map(|_| Json::number(dice.pick(&SENT))).collect());
    let mut members = Vec::new();
    for key in ["n", "m", "s", "t", "b", "l", "o"] {
        let strange = dice.below(10);
        let value = match (key, strange) {
            (_, 0) => continue,
            (_, 1) => dice.pick(&[
                Json::Null,
                Json::Bool(true),
                Json::text("1"),
                Json::number("1"),
                Json::List(vec![]),
            ]),
            ("n" | "m", _) => number(dice),
            ("s" | "t", _) => text(dice),
            ("b", _) => Json::Bool(dice.one_in(2)),
            ("l", 2) => Json::List(vec![number(dice), text(dice)]),
            ("l", _) => list(dice),
            _ => Json::object([("n", number(dice))]),
        };
        members.push((key.to_owned(), value));
    }
    Json::Object(members)
}
