//! A configuration as large as Strait promises to carry, as files of an author: 10,000 tools pinned in a lock file, 1,000 roles,
//! 100,000 rules, 100,000 keys. And small ones of the same kind, to compare with.
//!
//! The decision: every condition is another text, so that nothing is saved by writing the same one twice, and of the ten rules of
//! tool `n` the first `n % 11` have one. So there are tools with none, and tools with ten.

use std::fmt::Write;

use strait_config_compiler::lock::{self, Pinned};
use strait_config_compiler::{load_text, render_short};
use strait_table::catalog::{Catalog, Definition, Known, Lists};
use strait_table::{Snapshot, bind, snapshot};

pub const TOOLS: usize = 10_000;
pub const ROLES: usize = 1_000;
pub const RULES_PER_TOOL: usize = 10;
pub const PRINCIPALS: usize = 100_000;
const UPSTREAMS: usize = 20;
/// Rules of one file: within what one file may hold.
const RULES_PER_FILE: usize = 10_000;

/// A file by its path and text.
pub type File = (String, String);

/// The whole configuration.
pub fn files() -> Vec<File> {
    let mut files = vec![
        ("strait.yaml".to_owned(), root()),
        ("roles.yaml".to_owned(), roles()),
        ("keys.yaml".to_owned(), keys()),
        (lock::FILE_NAME.to_owned(), lock_of(UPSTREAMS, TOOLS)),
    ];
    let rules = TOOLS * RULES_PER_TOOL;
    for first in (0..rules).step_by(RULES_PER_FILE) {
        let mut text = "policy:\n  rules:\n".to_owned();
        (first..rules.min(first + RULES_PER_FILE)).for_each(|n| rule(&mut text, n));
        files.push((format!("rules/{:03}.yaml", first / RULES_PER_FILE), text));
    }
    files
}

/// Ten tools and ten rules, of which each speaks of one tool, and is conditional or not; or each of all ten, with a condition.
pub fn small(rules: Small) -> Snapshot {
    let mut text = root_of(1, "");
    text.push_str("roles: { role0: '\"team0\" in principal.groups' }\n");
    text.push_str("policy:\n  default: deny\n  rules:\n");
    for n in 0..10 {
        let when = condition(n);
        let (names, when) = match rules {
            Small::Settled => (full_name(n, 1), String::new()),
            Small::OneEach => (full_name(n, 1), format!(", when: '{when}'")),
            Small::TenEach => ("up0.*".to_owned(), format!(", when: '{when}'")),
        };
        line(&mut text, &format!("{{ id: r{n}, allow: [{names}], to: [role0]{when} }}"));
    }
    let outcome = load_text("small.yaml", &text, &|_| None);
    let rules = outcome.rules.as_ref().unwrap_or_else(|| panic!("{}", render_short(&outcome)));
    let unbound = snapshot::of_rules(rules).expect("what compiles opens");
    let (bound, _) = bind(unbound.rules(), &Catalog { upstreams: vec![lists(0, 1, 10)] });
    unbound.with_bound(&bound).expect("what is bound opens")
}

/// What the rules of a small configuration ask.
#[derive(Clone, Copy, Debug)]
pub enum Small {
    Settled,
    OneEach,
    TenEach,
}

fn root() -> String {
    let mut text = root_of(UPSTREAMS, "include: [roles.yaml, rules/*.yaml]\n");
    text.push_str("policy: { default: deny }\n");
    text
}

fn root_of(upstreams: usize, include: &str) -> String {
    let mut text = format!("strait: 1\n{include}upstreams:\n");
    for up in 0..upstreams {
        line(&mut text, &format!("up{up}: {{ http: \"http://up{up}.internal/mcp\" }}"));
    }
    text.push_str("identity: { staff: { api_keys: keys.yaml } }\n");
    text.push_str("servers: { all: { path: /mcp, auth: [staff], naming: prefix, tools: [\"*\"] } }\n");
    text
}

fn line(text: &mut String, said: &str) {
    let dash = if said.starts_with('{') { "  - " } else { "" };
    // Writing to a String never fails.
    let _ = writeln!(text, "  {dash}{said}");
}

fn roles() -> String {
    let mut text = "roles:\n".to_owned();
    (0..ROLES).for_each(|n| line(&mut text, &format!("role{n}: '\"team{n}\" in principal.groups'")));
    text
}

fn verb(n: usize) -> &'static str {
    ["get", "list", "update", "create", "delete"][n / UPSTREAMS % 5]
}

/// What its upstream calls the `n`th tool.
pub fn tool_name(n: usize) -> String {
    format!("{}_customer_{n}", verb(n))
}

fn full_name(n: usize, upstreams: usize) -> String {
    format!("up{}.{}", n % upstreams, tool_name(n))
}

/// What agents call it in the large configuration; in a small one all are of `up0`.
pub fn exposed_name(n: usize, is_large: bool) -> String {
    format!("up{}__{}", if is_large { n % UPSTREAMS } else { 0 }, tool_name(n))
}

/// Three questions of a call's arguments.
pub fn condition(n: usize) -> String {
    format!(r#"args.amount <= {} && args.currency in ["EUR", "USD"] && args.limit < 50"#, 1_000 + n)
}

fn rule(text: &mut String, n: usize) {
    let (tool, k) = (n / RULES_PER_TOOL, n % RULES_PER_TOOL);
    let role = |by: usize| (tool * 7 + k * 131 + by) % ROLES;
    let (role, other, name) = (role(0), role(500), full_name(tool, UPSTREAMS));
    let said = match k {
        9 if tool.is_multiple_of(100) => {
            format!("{{ id: r{n}, allow: [up{}.get_*], to: [role{role}] }}", tool / 100 % UPSTREAMS)
        }
        9 if tool % 100 == 50 => {
            format!("{{ id: r{n}, deny: [\"*.{}_*_{tool}\"], to: [role{role}] }}", verb(tool))
        }
        // Every tenth tool has ten; a hundredth of those only nine, and a pattern with a star.
        _ if k < tool % 11 => {
            format!("{{ id: r{n}, allow: [{name}], to: [role{role}], when: '{}' }}", condition(n))
        }
        _ if verb(tool) == "delete" => format!("{{ id: r{n}, deny: [{name}], to: [role{role}] }}"),
        _ => format!("{{ id: r{n}, allow: [{name}], to: [role{role}, role{other}] }}"),
    };
    line(text, &said);
}

fn keys() -> String {
    let mut text = format!("pepper: \"{}\"\nkeys:\n", blake3::hash(b"pepper").to_hex());
    for n in 0..PRINCIPALS {
        let digest = blake3::hash(&n.to_le_bytes()).to_hex();
        let teams = format!("\"team{}\",\"team{}\",\"team{}\"", n % ROLES, n * 7 % ROLES, n * 13 % ROLES);
        line(
            &mut text,
            &format!(
                "{{\"id\":\"agent-{n}\",\"groups\":[{teams}],\"digest\":\"{digest}\",\"created\":\"2026-11-21T10:15:00Z\"}}"
            ),
        );
    }
    text
}

fn lock_of(upstreams: usize, tools: usize) -> String {
    let pinned = (0..upstreams).map(|up| Pinned::of(&format!("up{up}"), &lists(up, upstreams, tools)).0);
    lock::write(&pinned.collect::<Vec<_>>())
}

/// What an upstream offers.
fn lists(up: usize, upstreams: usize, tools: usize) -> Lists {
    let tools = (up..tools).step_by(upstreams).map(tool).collect();
    Lists { known: Known::Fresh, tools, ..Lists::default() }
}

fn tool(n: usize) -> Definition {
    let name = tool_name(n);
    let json = format!(
        r#"{{"name":"{name}","title":"Customer {n}","description":"Reads or changes customer records of region {n}. Returns the record as JSON.","inputSchema":{{"type":"object","properties":{{"id":{{"type":"string","description":"the customer's number"}},"fields":{{"type":"array","items":{{"type":"string"}}}},"amount":{{"type":"number"}},"currency":{{"type":"string","enum":["EUR","USD","GBP"]}},"limit":{{"type":"integer","minimum":1,"maximum":100}}}},"required":["id"]}},"annotations":{{"readOnlyHint":true}}}}"#
    );
    Definition { name, json }
}
