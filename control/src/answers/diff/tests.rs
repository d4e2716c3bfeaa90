//! Policies of chance, changed by chance: what is told of a change is so, and what calls of chance show of it is told.

use std::path::PathBuf;
use std::sync::Arc;

use strait_table::snapshot;

use super::*;
use crate::answers::asked::Thing as Named;
use crate::answers::call::{From, decide};
use crate::answers::reach::May;

/// Always the same numbers.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % end
    }

    fn of<'o, T>(&mut self, all: &'o [T]) -> &'o T {
        &all[self.below(all.len())]
    }
}

const CONDITIONS: [&str; 22] = [
    "args.n <= 500",
    "args.n <= 600",
    "args.n > 0.25",
    "args.n >= 10 && args.n < 20",
    "args.n < 500.5",
    "args.kind in [\"a\", \"b\"]",
    "args.kind in [\"a\", \"b\", \"c\"]",
    "args.kind == \"a\"",
    "args.kind != \"a\"",
    "args.name.startsWith(\"eu-\")",
    "args.name.matches(\"^[a-c]+x$\")",
    "args.name.matches(\"^[a-d]+x$\")",
    "size(args.name) <= 3",
    "size(args.tags) < 2",
    "args.tags.all(t, t in [\"x\", \"y\"])",
    "args.tags.exists(t, t == \"x\")",
    "args.who.id == principal.id",
    "request.headers[\"x-env\"] == \"prod\"",
    "cidr(\"10.0.0.0/8\").containsIP(request.ip)",
    "type(args.n) == int",
    "has(args.deep.key) && args.deep.key == true",
    "principal.agent == \"bot\" || args.n == 7",
];

const PATTERNS: [&str; 5] = ["crm.*", "crm.get", "crm.put", "crm.get_*", "*.put"];

fn rule(chance: &mut Chance, id: usize) -> String {
    let effect = *chance.of(&["allow", "allow", "allow", "deny", "hold"]);
    let pattern = match effect {
        "allow" => *chance.of(&PATTERNS),
        // Over several tools, arguments must be asked for with `has`.
        _ => *chance.of(&["crm.get", "crm.put"]),
    };
    let mut rule = format!("    - {{ id: r{id}, {effect}: [\"{pattern}\"]");
    if chance.below(3) == 0 {
        rule.push_str(", to: [staff]");
    }
    if chance.below(3) > 0 {
        let mut condition = (*chance.of(&CONDITIONS)).to_owned();
        if chance.below(2) == 0 {
            let word = *chance.of(&["&&", "||"]);
            condition = format!("({condition}) {word} ({})", chance.of(&CONDITIONS));
        }
        let key = *chance.of(&["when", "when", "unless"]);
        rule.push_str(&format!(", {key}: '{condition}'"));
    }
    if chance.below(6) == 0 {
        let hours = *chance.of(&["06:00-18:00 UTC", "06:00-18:00 Europe/Berlin", "22:00-02:00 UTC"]);
        rule.push_str(&format!(", during: \"Mon-Fri {hours}\""));
    }
    rule + " }\n"
}

fn opened(rules: &[String]) -> Option<Opened> {
    let text = format!(
        "strait: 1\nupstreams: {{ crm: {{ sample: http }} }}\n\
         servers: {{ default: {{ path: /mcp, auth: [local], tools: [\"crm.*\", \"crm.get_*\", crm.get, crm.put] }} }}\n\
         identity: {{ local: {{ api_keys: {{ generate: [{{ id: ann, groups: [staff] }}, {{ id: bob, agent: bot }}] }} }} }}\n\
         roles: {{ staff: '\"staff\" in principal.groups' }}\npolicy:\n  default: deny\n  rules:\n{}",
        rules.concat()
    );
    let outcome = strait_config_compiler::load_text("a.yaml", &text, &|_| None);
    let snapshot = snapshot::of_rules(outcome.rules.as_ref()?).unwrap();
    Some(Opened { snapshot: Arc::new(snapshot), base: PathBuf::from("."), outcome: None })
}

/// 2026-11-21, a Saturday, at noon.
const AT: i64 = 1_795_262_400;

fn call(chance: &mut Chance) -> Call {
    let mut args = Vec::new();
    let mut add = |chance: &mut Chance, key: &str, values: &[&str]| {
        if chance.below(4) > 0 {
            args.push(format!("\"{key}\":{}", chance.of(values)));
        }
    };
    add(chance, "n", &["7", "0.3", "15", "500", "500.2", "550", "\"5\"", "12.5"]);
    add(chance, "kind", &["\"a\"", "\"b\"", "\"c\"", "\"d\"", "1"]);
    add(chance, "name", &["\"eu-1\"", "\"ax\"", "\"dx\"", "\"abcx\"", "\"\""]);
    add(chance, "tags", &["[]", "[\"x\"]", "[\"x\",\"y\"]", "[\"z\"]", "[1]"]);
    add(chance, "who", &["{\"id\":\"ann\"}", "{\"id\":\"eve\"}", "{}"]);
    add(chance, "deep", &["{\"key\":true}", "{\"key\":false}"]);
    let headers = match chance.below(2) {
        0 => Vec::new(),
        _ => vec![("x-env".to_owned(), (*chance.of(&["prod", "test"])).to_owned())],
    };
    let ip = chance.of(&["127.0.0.1", "10.1.2.3"]).parse().unwrap();
    let at = AT + 3600 * chance.below(24 * 7) as i64;
    Call { args: format!("{{{}}}", args.join(",")), at, from: From { headers, ip } }
}

/// By the function that `strait explain` decides with, which knows nothing of searches and views.
fn permits(opened: &Opened, principal: &Principal, tool: &str, call: &Call) -> bool {
    let thing = Named { kind: Kind::Tool, upstream: 0, name: tool };
    decide(&opened.snapshot, principal, 0, &thing, call).unwrap().verdict.is_permit()
}

fn principal(opened: &Opened, id: &str) -> Principal {
    crate::answers::people::who(opened, id).unwrap().principal
}

#[test]
fn what_is_told_of_changes_of_chance_is_so_and_what_calls_show_is_told() {
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    let (mut pairs, mut witnesses, mut shown, mut unsettled) = (0, 0, 0, 0);
    for _ in 0..100 {
        let count = 1 + chance.below(4);
        let mut rules: Vec<String> = (0..count).map(|id| rule(&mut chance, id)).collect();
        let Some(before) = opened(&rules) else { continue };
        match chance.below(3) {
            0 => rules.push(rule(&mut chance, count)),
            _ => {
                let at = chance.below(count);
                rules[at] = rule(&mut chance, at);
            }
        }
        let Some(after) = opened(&rules) else { continue };
        pairs += 1;
        let diff = diff(&before, &after, AT).unwrap();
        for difference in &diff.differences {
            let Ok((way, witness)) = &difference.found else {
                unsettled += 1;
                continue;
            };
            let told =
                [&before, &after].map(|side| permits(side, &witness.principal, &witness.name, &witness.call));
            let expected = if *way == Way::Opened { [false, true] } else { [true, false] };
            assert_eq!(told, expected, "{:?} {rules:?}", witness.call);
            witnesses += 1;
        }
        for _ in 0..60 {
            let (tool, call) = (*chance.of(&["get", "put", "get_any"]), call(&mut chance));
            let id = *chance.of(&["ann", "bob"]);
            let told = [&before, &after].map(|side| permits(side, &principal(side, id), tool, &call));
            if told[0] == told[1] {
                continue;
            }
            let way = if told[1] { Way::Opened } else { Way::Closed };
            let is_it = |one: &&Difference| {
                one.name.replace('*', "any") == format!("crm.{tool}")
                    && one.who.contains(&Who::Key(id.to_owned()))
            };
            let its: Vec<_> = diff.differences.iter().filter(is_it).collect();
            let is_told = its.iter().any(|one| one.found.as_ref().is_ok_and(|(found, _)| *found == way));
            assert!(is_told, "{way:?} {id} {tool} {call:?}\n{}", rules.concat());
            shown += 1;
        }
    }
    // The numbers are of this chance; too few of any would mean that nothing was tested.
    println!("{pairs} pairs, {witnesses} witnesses, {shown} calls that show a change, {unsettled} unsettled");
    assert!(pairs > 80 && witnesses > 200 && shown > 500, "{pairs} {witnesses} {shown}");
}

/// What is always permitted is permitted in every call of chance, and what never is, in none.
#[test]
fn what_is_said_of_reach_is_so_of_calls_of_chance() {
    let mut chance = Chance(0x0123_4567_89ab_cdef);
    let mut met = [0; 3];
    for _ in 0..100 {
        let count = 1 + chance.below(4);
        let rules: Vec<String> = (0..count).map(|id| rule(&mut chance, id)).collect();
        let Some(opened) = opened(&rules) else { continue };
        for id in ["ann", "bob"] {
            let person = crate::answers::people::who(&opened, id).unwrap();
            let principal = person.principal.clone();
            let matrix = crate::answers::reach::matrix(&opened, Some(person), None).unwrap();
            for (row, cell) in matrix.rows.iter().zip(matrix.cells(&matrix.classes[0])) {
                let tool = row.name.replace('*', "any").replace("crm.", "");
                for _ in 0..10 {
                    let permitted = permits(&opened, &principal, &tool, &call(&mut chance));
                    let expected = match cell.may {
                        May::Always => true,
                        May::Never => false,
                        May::Sometimes => permitted,
                    };
                    assert_eq!(permitted, expected, "{id} {tool} {:?} {rules:?}", cell.may);
                    met[cell.may as usize] += 1;
                }
            }
        }
    }
    assert!(met.iter().all(|count| *count > 500), "{met:?}");
}

/// The first witness of a change of one rule, whose condition is put for `?`.
#[track_caller]
fn planted(rule: &str, before: &str, after: &str, expected: &str) {
    let side = |condition: &str| {
        opened(&[format!("    - {}\n", rule.replace('?', condition))]).expect("it compiles")
    };
    let (before, after) = (side(before), side(after));
    let diff = diff(&before, &after, AT).unwrap();
    let opened = diff.differences.first().and_then(|one| one.found.as_ref().ok()).expect("a witness");
    assert_eq!(opened.0, Way::Opened);
    let call = &opened.1.call;
    let told =
        format!("{} {:?} {} {}", call.args, call.from.headers, call.from.ip, crate::time::rfc3339(call.at));
    assert!(told.contains(expected), "{told}");
    let closed = super::diff(&after, &before, AT).unwrap();
    let ways = closed.differences.iter().filter_map(|one| one.found.as_ref().ok());
    assert!(ways.into_iter().any(|(way, _)| *way == Way::Closed));
}

#[test]
fn a_planted_opening_is_found() {
    let allow = "{ id: a, allow: [crm.get], when: '?' }";
    planted(allow, "args.n <= 500", "args.n <= 600", r#"{"n":501}"#);
    planted(allow, "args.n < 500", "args.n <= 500", r#"{"n":500}"#);
    planted(allow, "args.n <= 0.500", "args.n <= 0.5001", r#"{"n":0.5001}"#);
    planted(
        allow,
        "args.n <= 500.00000000000000001",
        "args.n <= 500.00000000000000002",
        "500.00000000000000002",
    );
    planted(allow, "args.k in [\"a\"]", "args.k in [\"a\", \"b\"]", r#"{"k":"b"}"#);
    planted(allow, "args.k.startsWith(\"eu-w\")", "args.k.startsWith(\"eu-\")", r#"{"k":"eu-"}"#);
    planted(allow, "args.k.matches(\"^[a-c]+$\")", "args.k.matches(\"^[a-d]+$\")", r#"{"k":"d"}"#);
    planted(allow, "size(args.k) < 3", "size(args.k) <= 3", r#"{"k":"xxx"}"#);
    planted(allow, "type(args.n) == int", "type(args.n) in [int, double]", r#"{"n":0.5}"#);
    planted(allow, "has(args.a) && args.a == 1", "!has(args.a) || args.a == 1", "{}");
    planted(allow, "args.l.all(x, x in [\"a\"])", "args.l.all(x, x in [\"a\", \"b\"])", r#"{"l":["b"]}"#);
    planted(
        allow,
        "request.headers[\"x-env\"] == \"dev\"",
        "request.headers[\"x-env\"] in [\"dev\", \"prod\"]",
        r#"("x-env", "prod")"#,
    );
    planted(
        allow,
        "cidr(\"10.0.0.0/16\").containsIP(request.ip)",
        "cidr(\"10.0.0.0/8\").containsIP(request.ip)",
        "10.1.0.0",
    );
    // Eight arguments must all be right before the ninth matters.
    let many: Vec<String> = (0..8).map(|n| format!("args.a{n} == \"v{n}\"")).collect();
    let many = many.join(" && ");
    planted(allow, &format!("{many} && args.n <= 5"), &format!("{many} && args.n <= 6"), r#""n":6"#);
    let deny = "{ id: b, allow: [crm.get] }\n    - { id: a, deny: [crm.get], when: '?' }";
    planted(deny, "args.n > 500", "args.n > 600", r#"{"n":501}"#);
    let during = "{ id: a, allow: [crm.get], during: \"?\" }";
    planted(during, "Mon-Fri 06:00-18:00 UTC", "Mon-Fri 06:00-18:30 UTC", "2026-11-23T18:");
    planted(during, "Mon-Fri 06:00-18:00 Europe/Berlin", "Mon-Fri 06:00-18:00 Etc/GMT-1", "2027-");
    planted("{ id: a, allow: [?] }", "crm.get", "crm.get, crm.put", "{}");
}
