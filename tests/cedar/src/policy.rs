//! Policies of chance, within what `docs/CEDAR.md` says may be asked.

use std::collections::BTreeSet;

use crate::dice::Dice;

const LONGS: [&str; 9] =
    ["0", "1", "-1", "2", "3", "5", "500", "9223372036854775807", "-9223372036854775808"];
const TEXTS: [&str; 10] = [
    "\"\"",
    "\"a\"",
    "\"b\"",
    "\"ab\"",
    "\"abc\"",
    "\"a*c\"",
    "\"EUR\"",
    "\"alice\"",
    "\"\\u{e9}\\n\\\"\\\\\"",
    "\"\\x61b\"",
];
const PATTERNS: [&str; 14] =
    ["*", "", "a*", "*b", "*b*", "a*c", "a\\*c", "ab", "**", "*b*c*", "a*b*c", "get_*", "\\u{e9}*", "*.*"];
const FACTS: [&str; 8] = [
    "principal.id",
    "principal.user",
    "principal.agent",
    "principal.tenant",
    "resource.name",
    "resource.upstream",
    "resource.server",
    "context.method",
];
/// With what must be asked before it is read.
const PATHS: [(&str, &str); 14] = [
    ("context.args.n", "context.args has n"),
    ("context.args.n", "context.args has n"),
    ("context.args.m", "context.args has m"),
    ("context.args.s", "context.args has s"),
    ("context.args.s", "context.args has s"),
    ("context.args[\"t\"]", "context.args has \"t\""),
    ("context.args.b", "context.args has b"),
    ("context.args.l", "context.args has l"),
    ("context.args.o.n", "context.args has o.n"),
    ("context.args.o.s", "context.args has o.s"),
    ("context.args[\"a key\"]", "context.args has \"a key\""),
    ("principal.claims.dept", "principal.claims has dept"),
    ("principal.claims.level", "principal.claims has level"),
    ("principal[\"claims\"].o[\"n\"]", "principal.claims has o.n"),
];
const ORDERS: [&str; 6] = ["==", "!=", "<", "<=", ">", ">="];
const NETWORKS: [&str; 12] = [
    "10.0.0.0/8",
    "10.1.2.3",
    "10.0.0.7/24",
    "0.0.0.0/0",
    "127.0.0.1/8",
    "::1",
    "::/0",
    "2001:db8::/32",
    "::ffff:0:0/96",
    "::ffff:a00:0/104",
    "fe80::1",
    "::/64",
];
const MOMENTS: [&str; 9] = [
    "2027-01-01",
    "2027-01-01T00:00:00Z",
    "2027-01-01T00:00:00.001Z",
    "2026-12-31T23:59:59.999Z",
    "2027-01-01T01:30:00+0130",
    "2026-12-31T22:00:00-0200",
    "1970-01-01",
    "1969-12-31T23:59:59Z",
    "2030-03-17",
];

/// Some policies, one to a line.
pub fn policies(dice: &mut Dice) -> String {
    (0..=dice.below(3)).map(|_| policy(dice)).collect::<Vec<_>>().join("\n")
}

fn policy(dice: &mut Dice) -> String {
    let permits = dice.percent(65);
    let mut writer = Writer { dice, guards: BTreeSet::new(), kind: None };
    let head = writer.head();
    let mut clauses = String::new();
    for _ in 0..writer.dice.below(3) {
        let depth = writer.dice.below(4);
        let asks = writer.truth(depth);
        let word = *writer.dice.pick(&["when", "when", "unless"]);
        // Forbids ask before they read, most of the time.
        let guards: Vec<&str> = std::mem::take(&mut writer.guards).into_iter().collect();
        let guarded = match (word, guards.is_empty() || permits || writer.dice.percent(7)) {
            (_, true) => asks,
            ("when", false) => format!("{} && ({asks})", guards.join(" && ")),
            (_, false) => format!("!({}) || ({asks})", guards.join(" && ")),
        };
        clauses.push_str(&format!(" {word} {{ {guarded} }}"));
    }
    format!("{} {head}{clauses};", if permits { "permit" } else { "forbid" })
}

struct Writer<'d> {
    dice: &'d mut Dice,
    guards: BTreeSet<&'static str>,
    /// The type that the head says resources have.
    kind: Option<&'static str>,
}

impl Writer<'_> {
    fn head(&mut self) -> String {
        let principal = match self.dice.below(10) {
            0..=4 => "principal".to_owned(),
            5 => "principal is Principal".to_owned(),
            6 => format!("principal == Principal::{}", self.dice.pick(&["\"alice\"", "\"bob\""])),
            7 => format!("principal is Principal in {}", self.parent()),
            _ => format!("principal in {}", self.parent()),
        };
        let named = [("Tool", "call_tool"), ("Prompt", "get_prompt"), ("Resource", "read_resource")];
        let (kind, action) = *self.dice.pick(&named);
        let mut told = false;
        let action = match self.dice.below(8) {
            0..=3 => "action".to_owned(),
            4 => format!("action in [Action::\"{action}\", Action::\"call_tool\"]"),
            5 => format!("action in Action::\"{action}\""),
            _ => {
                told = true;
                format!("action == Action::\"{action}\"")
            }
        };
        let inside = *self.dice.pick(&["Upstream::\"crm\"", "Upstream::\"git\"", "Server::\"support\""]);
        let name = *self.dice.pick(&crate::world::NAMES);
        let resource = match self.dice.below(8) {
            0..=2 => "resource".to_owned(),
            3 | 4 => format!("resource in {inside}"),
            5 => {
                told = true;
                format!("resource is {kind}")
            }
            6 => {
                told = true;
                format!("resource is {kind} in {inside}")
            }
            _ => {
                told = true;
                format!("resource == {kind}::\"{}.{name}\"", self.dice.pick(&["crm", "git"]))
            }
        };
        self.kind = told.then_some(kind);
        format!("({principal}, {action}, {resource})")
    }

    fn parent(&mut self) -> String {
        (*self.dice.pick(&[
            "Group::\"support\"",
            "Group::\"admins\"",
            "Role::\"admin\"",
            "Role::\"ide\"",
            "Role::\"senior\"",
            "User::\"alice\"",
            "Agent::\"ide\"",
            "Tenant::\"a\"",
            "Principal::\"bob\"",
        ]))
        .to_owned()
    }

    fn path(&mut self) -> &'static str {
        let (path, guard) = *self.dice.pick(&PATHS);
        self.guards.insert(guard);
        path
    }

    fn header(&mut self) -> &'static str {
        self.guards.insert("context.headers has \"x-env\"");
        "context.headers[\"x-env\"]"
    }

    fn truth(&mut self, depth: usize) -> String {
        if depth == 0 {
            return self.question();
        }
        let depth = depth - 1;
        match self.dice.below(9) {
            0..=2 => format!("({} && {})", self.truth(depth), self.truth(depth)),
            3 | 4 => format!("({} || {})", self.truth(depth), self.truth(depth)),
            5 => format!("!({})", self.truth(depth)),
            6 => format!("(if {} then {} else {})", self.truth(depth), self.truth(depth), self.truth(depth)),
            7 => format!("({} && {} || {})", self.truth(depth), self.truth(depth), self.truth(depth)),
            _ => format!("(({}) == {})", self.truth(depth), self.dice.pick(&["true", "false"])),
        }
    }

    fn pick(&mut self, of: &[&'static str]) -> &'static str {
        *self.dice.pick(of)
    }

    fn question(&mut self) -> String {
        match self.dice.below(27) {
            0 | 1 => format!("{} {} {}", self.path(), self.pick(&ORDERS), self.pick(&LONGS)),
            2 => format!("{} {} {}", self.pick(&LONGS), self.pick(&ORDERS), self.path()),
            3 => format!("{} {} {}", self.path(), self.pick(&ORDERS[2..]), self.path()),
            4 | 5 => format!("{} {} {}", self.path(), self.pick(&ORDERS[..2]), self.pick(&TEXTS)),
            6 => format!("{} {} {}", self.path(), self.pick(&ORDERS[..2]), self.pick(&FACTS)),
            7 => format!("{} {} {}", self.pick(&FACTS), self.pick(&ORDERS[..2]), self.pick(&TEXTS)),
            8 => self.path().to_owned(),
            9 => format!("{} {} {}", self.path(), self.pick(&ORDERS[..2]), self.pick(&["true", "false"])),
            10 | 11 => format!("{} like \"{}\"", self.path(), self.pick(&PATTERNS)),
            12 => format!("{} like \"{}\"", self.pick(&FACTS), self.pick(&PATTERNS)),
            13 => format!("{}.contains({})", self.set(), self.path()),
            14 => {
                let texts = format!("[{}, {}]", self.pick(&TEXTS), self.pick(&TEXTS));
                format!("{texts}.contains({})", self.pick(&FACTS))
            }
            15 => format!("{}.contains({})", self.path(), self.item()),
            16 => format!("{}.{}({})", self.path(), self.pick(&["containsAll", "containsAny"]), self.set()),
            17 => format!("{}.{}({})", self.set(), self.pick(&["containsAll", "containsAny"]), self.path()),
            18 => format!("{}.isEmpty()", self.path()),
            19 => {
                let groups = [
                    "principal.groups.contains(\"support\")",
                    "principal.roles.contains(\"admin\")",
                    "principal.roles.containsAny([\"admin\", \"ide\"])",
                    "principal.groups.containsAll([\"support\", \"a\"])",
                    "principal.groups.containsAny([\"support\", \"a\"])",
                    "principal.groups.contains(principal.tenant)",
                    "principal is Principal",
                    "principal has user",
                ];
                self.pick(&groups).to_owned()
            }
            20 => match self.dice.percent(50) {
                true => format!("principal in {}", self.parent()),
                false => format!("principal in [{}, {}]", self.parent(), self.parent()),
            },
            21 => match self.kind {
                Some(kind) if self.dice.percent(50) => {
                    format!("resource == {kind}::\"crm.{}\"", self.dice.pick(&crate::world::NAMES))
                }
                _ => {
                    let inside = [
                        "Upstream::\"crm\"",
                        "Server::\"default\"",
                        "[Upstream::\"crm\", Server::\"support\"]",
                    ];
                    format!("resource in {}", self.pick(&inside))
                }
            },
            22 => match self.dice.below(3) {
                0 => format!("context.ip == ip(\"{}\")", self.pick(&["10.0.0.7", "::1", "10.1.2.3/32"])),
                1 => format!("context.ip.isInRange(ip(\"{}\"))", self.pick(&NETWORKS)),
                _ => {
                    format!("context.ip.{}()", self.pick(&["isIpv4", "isIpv6", "isLoopback", "isMulticast"]))
                }
            },
            23 => match self.dice.percent(50) {
                true => {
                    format!("context.now {} datetime(\"{}\")", self.pick(&ORDERS[2..]), self.pick(&MOMENTS))
                }
                false => {
                    format!("datetime(\"{}\") {} context.now", self.pick(&MOMENTS), self.pick(&ORDERS[2..]))
                }
            },
            24 => match self.dice.below(3) {
                0 => format!("{} {} {}", self.header(), self.pick(&ORDERS[..2]), self.pick(&TEXTS)),
                1 => format!("{} like \"{}\"", self.header(), self.pick(&PATTERNS)),
                _ => format!("[\"a\", \"EUR\"].contains({})", self.header()),
            },
            25 => {
                let has = [
                    "context.args has n",
                    "context.args has \"a key\"",
                    "context.args has o.n",
                    "context.headers has \"x-team\"",
                    "principal.claims has dept",
                    "principal.claims has o.n",
                    "context has args",
                ];
                self.pick(&has).to_owned()
            }
            _ => {
                self.guards.insert("context.args has o");
                "context.args.o has n".to_owned()
            }
        }
    }

    fn item(&mut self) -> &'static str {
        match self.dice.below(5) {
            0 | 1 => self.pick(&TEXTS),
            2 | 3 => self.pick(&LONGS),
            _ => self.pick(&["true", "principal.user"]),
        }
    }

    fn set(&mut self) -> String {
        let constant = |writer: &mut Self| match writer.dice.below(5) {
            0 | 1 => writer.pick(&TEXTS),
            2 | 3 => writer.pick(&LONGS),
            _ => writer.pick(&["true", "false"]),
        };
        let items: Vec<&str> = (0..=self.dice.below(3)).map(|_| constant(self)).collect();
        format!("[{}]", items.join(", "))
    }
}
