//! What a configuration means, read off its model: plain loops over values, slow and obvious, by `docs/POLICY.md`. Nothing of the
//! compiler or the table is used here; where they and this file differ, one of them is wrong.

use std::cmp::Ordering;

use crate::condition::{Ask, Cond, EXPRESSIONS, Fact, Json};
use crate::world::{Call, Effect, Kind, Naming, Person, Rule, Server, World};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    No,
    Yes,
    Error,
    /// What it asks is not known before there is a call.
    Maybe,
}

use Truth::{Error, Maybe, No, Yes};

/// What is decided about, with all that is known.
#[derive(Clone, Copy)]
pub struct Known<'a> {
    pub world: &'a World,
    pub person: &'a Person,
    pub server: &'a str,
    pub upstream: &'a str,
    pub name: &'a str,
    pub kind: Kind,
    pub now: i64,
    /// None: a list is made.
    pub call: Option<&'a Call>,
}

/// Permitted, held or denied, and by which rule.
pub type Decided = (Effect, Option<usize>);

/// The decision on a call.
pub fn decided(known: &Known<'_>) -> Decided {
    let speaking = |effect: Effect| {
        (0..known.world.rules.len()).find(|number| {
            let rule = &known.world.rules[*number];
            let truth = spoken(rule, known);
            // What cannot be decided is refused.
            rule.effect == effect
                && concerns(rule, known)
                && (truth == Yes || effect != Effect::Allow && truth == Error)
        })
    };
    for effect in [Effect::Deny, Effect::Hold, Effect::Allow] {
        if let Some(number) = speaking(effect) {
            return (effect, Some(number));
        }
    }
    (if known.world.default_allows { Effect::Allow } else { Effect::Deny }, None)
}

/// Whether a list shows it: some call of it may be permitted.
pub fn listed(known: &Known<'_>) -> bool {
    let rules = || known.world.rules.iter().filter(|rule| concerns(rule, known));
    let mut refusing = rules().filter(|rule| rule.effect != Effect::Allow);
    if refusing.any(|rule| matches!(spoken(rule, known), Yes | Error)) {
        return false;
    }
    let mut allowing = rules().filter(|rule| rule.effect == Effect::Allow);
    known.world.default_allows || allowing.any(|rule| matches!(spoken(rule, known), Yes | Maybe))
}

fn concerns(rule: &Rule, known: &Known<'_>) -> bool {
    let full = format!("{}.{}", known.upstream, known.name);
    rule.patterns.iter().any(|pattern| match pattern.split_once(':') {
        Some(("tool", glob)) => known.kind == Kind::Tool && matches(glob, &full),
        Some(("prompt", glob)) => known.kind == Kind::Prompt && matches(glob, &full),
        Some(("resource", glob)) => {
            matches!(known.kind, Kind::Resource | Kind::Template)
                && (matches(glob, &full) || matches(glob, known.name))
        }
        _ => matches(pattern, &full),
    })
}

/// `*` stands for anything.
pub fn matches(glob: &str, name: &str) -> bool {
    match glob.chars().next() {
        None => name.is_empty(),
        Some('*') => (0..=name.len())
            .filter(|at| name.is_char_boundary(*at))
            .any(|at| matches(&glob[1..], &name[at..])),
        Some(letter) => {
            name.starts_with(letter) && matches(&glob[letter.len_utf8()..], &name[letter.len_utf8()..])
        }
    }
}

fn spoken(rule: &Rule, known: &Known<'_>) -> Truth {
    let mut all = Vec::new();
    if let Some(roles) = &rule.to {
        all.push(or(roles.iter().map(|role| truth(&known.world.roles[*role], known, None)).collect()));
    }
    all.extend(rule.when.iter().map(|when| truth(when, known, None)));
    all.extend(rule.unless.iter().map(|unless| not(truth(unless, known, None))));
    if !rule.during.is_empty() {
        all.push(or(rule.during.iter().map(|window| of(holds(*window, known.now))).collect()));
    }
    and(all)
}

fn of(value: bool) -> Truth {
    if value { Yes } else { No }
}

fn not(truth: Truth) -> Truth {
    match truth {
        Yes => No,
        No => Yes,
        other => other,
    }
}

fn and(all: Vec<Truth>) -> Truth {
    [No, Maybe, Error].into_iter().find(|one| all.contains(one)).unwrap_or(Yes)
}

fn or(all: Vec<Truth>) -> Truth {
    [Yes, Maybe, Error].into_iter().find(|one| all.contains(one)).unwrap_or(No)
}

fn truth(condition: &Cond, known: &Known<'_>, element: Option<&Json>) -> Truth {
    let each = |all: &[Cond]| all.iter().map(|one| truth(one, known, element)).collect();
    match condition {
        Cond::And(all) => and(each(all)),
        Cond::Or(all) => or(each(all)),
        Cond::Not(one) => not(truth(one, known, element)),
        Cond::Ask(ask) => answer(ask, known, element),
    }
}

/// What a fact comes to.
enum Seen {
    Unknown,
    Missing,
    /// On the way to it something is missing, or no object.
    Broken,
    Value(Json),
}

fn seen(fact: &Fact, known: &Known<'_>, element: Option<&Json>) -> Seen {
    let Person { id, user, agent, tenant, claims, .. } = known.person;
    let nothing = Json::Object(Vec::new());
    let text = |text: &str| Seen::Value(Json::text(text));
    match (fact, known.call) {
        (Fact::Args(path), Some(call)) => at(call.arguments.as_ref().unwrap_or(&nothing), path),
        (Fact::SizeOfArgs(path), Some(call)) => match at(call.arguments.as_ref().unwrap_or(&nothing), path) {
            Seen::Value(Json::Text(text)) => Seen::Value(Json::Number(text.chars().count().to_string())),
            Seen::Value(Json::List(all)) => Seen::Value(Json::Number(all.len().to_string())),
            Seen::Value(Json::Object(all)) => Seen::Value(Json::Number(all.len().to_string())),
            _ => Seen::Broken,
        },
        (Fact::Header(wanted), Some(call)) => {
            let all: Vec<&str> = call
                .headers
                .iter()
                .filter(|(name, _)| name.to_lowercase() == *wanted)
                .map(|of| of.1)
                .collect();
            if let [one] = all[..] { text(one) } else { Seen::Broken }
        }
        (Fact::Called("method"), Some(_)) => text(method(known.kind)),
        (Fact::Args(_) | Fact::SizeOfArgs(_) | Fact::Header(_) | Fact::Called("method"), None) => {
            Seen::Unknown
        }
        (Fact::Claims(path), _) => at(claims.as_ref().unwrap_or(&nothing), path),
        (Fact::Principal("id"), _) => text(id),
        (Fact::Principal("user"), _) => text(user),
        (Fact::Principal("agent"), _) => text(agent),
        (Fact::Principal(_), _) => text(tenant),
        (Fact::Called("server"), _) => text(known.server),
        (Fact::Called("upstream"), _) => text(known.upstream),
        (Fact::Called(_), _) => text(known.name),
        (Fact::Element, _) => Seen::Value(element.expect("a quantifier is around it").clone()),
    }
}

pub fn method(kind: Kind) -> &'static str {
    match kind {
        Kind::Tool => "tools/call",
        Kind::Prompt => "prompts/get",
        Kind::Resource | Kind::Template => "resources/read",
    }
}

fn at(root: &Json, path: &str) -> Seen {
    let mut found = Seen::Value(root.clone());
    for key in path.split('.') {
        found = match found {
            Seen::Value(Json::Object(members)) => {
                let member = members.into_iter().find(|(name, _)| name == key);
                member.map_or(Seen::Missing, |(_, value)| Seen::Value(value))
            }
            _ => Seen::Broken,
        };
    }
    found
}

fn answer(ask: &Ask, known: &Known<'_>, element: Option<&Json>) -> Truth {
    let seen = |fact: &Fact| seen(fact, known, element);
    match ask {
        // Whether something is null can be asked of anything.
        Ask::Compare(fact, by, Json::Null) => match seen(fact) {
            Seen::Unknown => Maybe,
            Seen::Value(value) => of((value == Json::Null) == (*by == "==")),
            _ => Error,
        },
        Ask::Compare(fact, by, to) => compared(seen(fact), by, Seen::Value(to.clone())),
        Ask::Both(one, by, other) => compared(seen(one), by, seen(other)),
        Ask::In(fact, list) => {
            or(list.iter().map(|one| compared(seen(fact), "==", Seen::Value(one.clone()))).collect())
        }
        Ask::Has(Fact::Header(wanted)) => match known.call {
            None => Maybe,
            Some(call) => of(call.headers.iter().any(|(name, _)| name.to_lowercase() == *wanted)),
        },
        Ask::Has(fact) => match seen(fact) {
            Seen::Unknown => Maybe,
            Seen::Missing => No,
            Seen::Broken => Error,
            Seen::Value(_) => Yes,
        },
        Ask::IsType(fact, name) => match seen(fact) {
            Seen::Unknown => Maybe,
            Seen::Value(value) => of(type_of(&value) == *name),
            _ => Error,
        },
        Ask::Test(fact, test, with) => match seen(fact) {
            Seen::Unknown => Maybe,
            Seen::Value(Json::Text(text)) => of(match *test {
                "startsWith" => text.starts_with(with),
                "endsWith" => text.ends_with(with),
                "contains" => text.contains(with),
                _ => expressed(with, &text),
            }),
            _ => Error,
        },
        Ask::InGroups(group) => of(known.person.groups.contains(group)),
        Ask::AnyGroup(begin) => of(known.person.groups.iter().any(|group| group.starts_with(begin))),
        Ask::HasRole(role) => truth(&known.world.roles[*role], known, None),
        Ask::Holds(item, path) => match seen(&Fact::Args(path)) {
            Seen::Unknown => Maybe,
            // Elements of another type are other elements.
            Seen::Value(Json::List(all)) => {
                let same = |one: Json| compared(Seen::Value(one), "==", Seen::Value(item.clone())) == Yes;
                of(all.into_iter().any(same))
            }
            _ => Error,
        },
        Ask::Each(path, each, body) => match seen(&Fact::Args(path)) {
            Seen::Unknown => Maybe,
            Seen::Value(Json::List(all)) => {
                let all: Vec<Truth> = all.iter().map(|one| truth(body, known, Some(one))).collect();
                match *each {
                    "all" => and(all),
                    "exists" => or(all),
                    _ if all.contains(&Error) => Error,
                    _ => of(all.iter().filter(|one| **one == Yes).count() == 1),
                }
            }
            _ => Error,
        },
        Ask::Ip(address) => known.call.map_or(Maybe, |call| of(call.ip == *address)),
        Ask::Network(network) => known.call.map_or(Maybe, |call| {
            of(match *network {
                "10.0.0.0/8" => call.ip.starts_with("10."),
                "2001:db8::/32" => call.ip.starts_with("2001:db8:"),
                _ => call.ip.contains('.'),
            })
        }),
        Ask::Now(by, moment) => {
            let moment = match *moment {
                "2027-01-01T00:00:00Z" => unix(2027, 1, 1, 0),
                _ => unix(2026, 11, 21, 12) + 30 * 60,
            };
            of(ordered(known.now.cmp(&moment), by))
        }
    }
}

fn type_of(value: &Json) -> &'static str {
    match value {
        Json::Null => "null_type",
        Json::Bool(_) => "bool",
        Json::Number(text) if text.contains(['.', 'e', 'E']) => "double",
        Json::Number(_) => "int",
        Json::Text(_) => "string",
        Json::List(_) => "list",
        Json::Object(_) => "map",
    }
}

fn expressed(expression: &str, text: &str) -> bool {
    match EXPRESSIONS.iter().position(|known| *known == expression) {
        Some(0) => text.len() == 3 && text.chars().all(|letter| letter.is_ascii_uppercase()),
        Some(1) => text.contains('b'),
        Some(2) => text.starts_with('a'),
        _ => text.ends_with('é'),
    }
}

fn ordered(ordering: Ordering, by: &str) -> bool {
    match by {
        "==" => ordering.is_eq(),
        "!=" => ordering.is_ne(),
        "<" => ordering.is_lt(),
        "<=" => ordering.is_le(),
        ">" => ordering.is_gt(),
        _ => ordering.is_ge(),
    }
}

/// Things of one type.
fn compared(one: Seen, by: &str, other: Seen) -> Truth {
    match (one, other) {
        (Seen::Unknown, _) | (_, Seen::Unknown) => Maybe,
        (Seen::Value(one), Seen::Value(other)) => match (one, other) {
            (Json::Null, Json::Null) if by == "==" || by == "!=" => of(by == "=="),
            (Json::Bool(one), Json::Bool(other)) if by == "==" || by == "!=" => {
                of((one == other) == (by == "=="))
            }
            (Json::Text(one), Json::Text(other)) => of(ordered(one.cmp(&other), by)),
            (Json::Number(one), Json::Number(other)) => {
                of(ordered(decimals(&one).cmp(&decimals(&other)), by))
            }
            _ => Error,
        },
        _ => Error,
    }
}

/// A number times 10^30, exactly; of what the cases have, nothing is left over.
fn decimals(text: &str) -> i128 {
    let (digits, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    // 2^53 and twenty zeros fit; what is smaller than that has no more digits behind the point.
    let zeros = 20 + exponent.parse::<i32>().unwrap() - fraction.len() as i32;
    format!("{whole}{fraction}").parse::<i128>().unwrap() * 10i128.pow(zeros as u32)
}

pub const WINDOWS: [&str; 5] = [
    "Mon-Fri 06:00-18:00 UTC",
    "Sat,Sun UTC",
    "22:00-02:00 UTC",
    "08:00-17:00 Europe/Berlin",
    "Fri 22:00-04:00 Europe/Berlin",
];

fn holds(window: usize, now: i64) -> bool {
    let summer = [(2026, 29, 25), (2027, 28, 31), (2028, 26, 29)];
    let is_summer = summer
        .iter()
        .any(|(year, march, october)| unix(*year, 3, *march, 1) <= now && now < unix(*year, 10, *october, 1));
    let local = match (window, is_summer) {
        (0..3, _) => now,
        (_, true) => now + 2 * 3600,
        (_, false) => now + 3600,
    };
    // Monday is 0; the first day of 1970 was a Thursday.
    let (weekday, hour) = ((local / 86_400 + 3) % 7, local % 86_400 / 3_600);
    match window {
        0 => weekday < 5 && (6..18).contains(&hour),
        1 => weekday >= 5,
        2 => !(2..22).contains(&hour),
        3 => (8..17).contains(&hour),
        _ => weekday == 4 && hour >= 22 || weekday == 5 && hour < 4,
    }
}

/// Of a full hour, in UTC.
pub fn unix(year: i64, month: usize, day: i64, hour: i64) -> i64 {
    let is_leap = |year: i64| year % 4 == 0;
    let days: i64 = (1970..year).map(|year| 365 + i64::from(is_leap(year))).sum();
    let months = [31, 28 + i64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    (days + months[..month - 1].iter().sum::<i64>() + day - 1) * 86_400 + hour * 3_600
}

/// What agents see under a server, were everything permitted: of each kind the name, the upstream's number, and its own name.
pub fn exposed(world: &World, server: &Server) -> Vec<(Kind, String, usize, String)> {
    let speaks_of = |upstream: &&crate::world::Upstream| {
        let begin = format!("{}.", upstream.name);
        let all = server.tools.iter().chain(&server.prompts).chain(&server.resources);
        all.map(|glob| glob.split('*').next().unwrap())
            .any(|fixed| fixed.starts_with(&begin) || begin.starts_with(fixed))
    };
    let prefixed = match server.naming {
        Naming::Prefix => true,
        Naming::Bare => false,
        Naming::Auto => world.upstreams.iter().filter(speaks_of).count() > 1,
    };
    let mut all: Vec<(Kind, String, usize, String)> = Vec::new();
    for (number, upstream) in world.upstreams.iter().enumerate() {
        for (kind, name) in &upstream.items {
            let full = format!("{}.{name}", upstream.name);
            let globs = match kind {
                Kind::Tool => &server.tools,
                Kind::Prompt => &server.prompts,
                Kind::Resource | Kind::Template => &server.resources,
            };
            if !globs.iter().any(|glob| matches(glob, &full)) {
                continue;
            }
            let is_renamed = server.renamed.as_ref().is_some_and(|(of, tool)| *of == number && tool == name);
            let shown = match kind {
                Kind::Tool if is_renamed => "other".to_owned(),
                Kind::Tool | Kind::Prompt if prefixed => format!("{}__{name}", upstream.name),
                _ => name.clone(),
            };
            // The first upstream that has a name keeps it.
            if !all.iter().any(|(of, taken, ..)| of == kind && *taken == shown) {
                all.push((*kind, shown, number, name.clone()));
            }
        }
    }
    all
}
