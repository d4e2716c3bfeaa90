//! Conditions and JSON of a case, and how they are written.

use std::fmt::{self, Display, Formatter};

use crate::world::{ADDRESSES, Dice, GROUPS, NUMBERS, TEXTS};

#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    Null,
    Bool(bool),
    /// As it is written: what a float makes of it is not what was sent.
    Number(String),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    pub fn number(text: &str) -> Json {
        Json::Number(text.to_owned())
    }

    pub fn text(text: &str) -> Json {
        Json::Text(text.to_owned())
    }

    pub fn object<const N: usize>(members: [(&str, Json); N]) -> Json {
        Json::Object(members.map(|(key, value)| (key.to_owned(), value)).into())
    }

    /// As JSON; `escaped`: every letter of its texts as an escape.
    pub fn written(&self, escaped: bool) -> String {
        let joined = |all: Vec<String>| all.join(",");
        match self {
            Json::Null => "null".to_owned(),
            Json::Bool(value) => value.to_string(),
            Json::Number(text) => text.clone(),
            Json::Text(text) if escaped => {
                let letters: String = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
                format!("\"{letters}\"")
            }
            Json::Text(text) => format!("\"{text}\""),
            Json::List(all) => format!("[{}]", joined(all.iter().map(|one| one.written(escaped)).collect())),
            Json::Object(all) => {
                let all = all.iter().map(|(key, value)| format!("\"{key}\":{}", value.written(escaped)));
                format!("{{{}}}", joined(all.collect()))
            }
        }
    }
}

#[derive(Clone, Debug)]
pub enum Cond {
    And(Vec<Cond>),
    Or(Vec<Cond>),
    Not(Box<Cond>),
    Ask(Ask),
}

/// What can be compared.
#[derive(Clone, Debug)]
pub enum Fact {
    Args(&'static str),
    SizeOfArgs(&'static str),
    Claims(&'static str),
    Principal(&'static str),
    Called(&'static str),
    Header(&'static str),
    /// The element that a quantifier looks at.
    Element,
}

#[derive(Clone, Debug)]
pub enum Ask {
    Compare(Fact, &'static str, Json),
    Both(Fact, &'static str, Fact),
    In(Fact, Vec<Json>),
    Has(Fact),
    IsType(Fact, &'static str),
    /// `startsWith`, `endsWith`, `contains` or `matches`.
    Test(Fact, &'static str, &'static str),
    InGroups(&'static str),
    AnyGroup(&'static str),
    HasRole(usize),
    Holds(Json, &'static str),
    Each(&'static str, &'static str, Box<Cond>),
    Ip(&'static str),
    Network(&'static str),
    Now(&'static str, &'static str),
}

const ORDER: [&str; 6] = ["==", "!=", "<", "<=", ">", ">="];
const EQUAL: [&str; 2] = ["==", "!="];
/// Numbers and texts among the arguments.
const NUMBERED: [&str; 3] = ["n", "m", "o.n"];
pub const EXPRESSIONS: [&str; 4] = ["^[A-Z]{3}$", "b", "^a", "é$"];
const MOMENTS: [&str; 2] = ["2027-01-01T00:00:00Z", "2026-11-21T12:30:00Z"];

impl Cond {
    /// A role asks for the principal alone.
    pub fn of_role(dice: &mut Dice) -> Cond {
        Cond::nested(dice, 2, &|dice| Cond::Ask(of_principal(dice)))
    }

    pub fn of_rule(dice: &mut Dice, guarded: bool, roles: usize) -> Cond {
        Cond::nested(dice, 3, &|dice| match dice.below(12) {
            0 | 1 => Cond::Ask(of_principal(dice)),
            2 => Cond::Ask(Ask::HasRole(dice.below(roles))),
            3 => Cond::Ask(of_request(dice)),
            _ => guard(guarded, of_arguments(dice)),
        })
    }

    fn nested(dice: &mut Dice, depth: usize, ask: &dyn Fn(&mut Dice) -> Cond) -> Cond {
        let several =
            |dice: &mut Dice| (0..2 + dice.below(2)).map(|_| Cond::nested(dice, depth - 1, ask)).collect();
        match if depth == 0 { 9 } else { dice.below(8) } {
            0 | 1 => Cond::And(several(dice)),
            2 | 3 => Cond::Or(several(dice)),
            4 => Cond::Not(Box::new(Cond::nested(dice, depth - 1, ask))),
            _ => ask(dice),
        }
    }
}

/// A question that says of each argument that it must be there.
fn guard(guarded: bool, ask: Ask) -> Cond {
    let mut all = Vec::new();
    let mut needs = |fact: &Fact| match fact {
        Fact::Args(path) | Fact::SizeOfArgs(path) if guarded => {
            all.push(Cond::Ask(Ask::Has(Fact::Args(path))))
        }
        _ => {}
    };
    match &ask {
        Ask::Compare(fact, ..) | Ask::In(fact, _) | Ask::IsType(fact, _) | Ask::Test(fact, ..) => needs(fact),
        Ask::Both(one, _, other) => [one, other].into_iter().for_each(needs),
        Ask::Holds(_, path) | Ask::Each(path, ..) => needs(&Fact::Args(path)),
        _ => {}
    }
    all.push(Cond::Ask(ask));
    if all.len() == 1 { all.remove(0) } else { Cond::And(all) }
}

fn of_principal(dice: &mut Dice) -> Ask {
    let fact = dice.pick(&["id", "user", "agent", "tenant"]);
    let word = dice.pick(&["ann", "carol", "bot", "acme", ""]);
    match dice.below(9) {
        0..=2 => Ask::InGroups(dice.pick(&GROUPS)),
        3 => Ask::AnyGroup(dice.pick(&["eu-", "s", "x"])),
        4 => Ask::Compare(Fact::Principal(fact), dice.pick(&EQUAL), Json::text(word)),
        5 => Ask::In(Fact::Principal(fact), vec![Json::text(word), Json::text("bob")]),
        6 => Ask::Has(Fact::Claims(dice.pick(&["team", "level", "o.n"]))),
        7 => Ask::Compare(Fact::Claims("team"), dice.pick(&EQUAL), Json::text("a")),
        _ => Ask::Compare(
            Fact::Claims(dice.pick(&["level", "o.n"])),
            dice.pick(&ORDER),
            Json::number(dice.pick(&NUMBERS)),
        ),
    }
}

fn of_request(dice: &mut Dice) -> Ask {
    match dice.below(8) {
        0 => Ask::Compare(Fact::Header("x-env"), dice.pick(&EQUAL), Json::text("prod")),
        1 => Ask::Has(Fact::Header("x-team")),
        2 => Ask::Ip(dice.pick(&ADDRESSES)),
        3 => Ask::Network(dice.pick(&["10.0.0.0/8", "2001:db8::/32", "0.0.0.0/0"])),
        4 => Ask::Now(dice.pick(&ORDER[2..]), dice.pick(&MOMENTS)),
        5 => Ask::Compare(
            Fact::Called("method"),
            dice.pick(&EQUAL),
            Json::text(dice.pick(&["tools/call", "prompts/get"])),
        ),
        6 => Ask::Compare(Fact::Called("upstream"), dice.pick(&EQUAL), Json::text("crm")),
        _ => Ask::In(
            Fact::Called(dice.pick(&["tool", "server"])),
            ["get", "one", "crm://a", "t.a"].map(Json::text).into(),
        ),
    }
}

fn of_arguments(dice: &mut Dice) -> Ask {
    let path = dice.pick(&NUMBERED);
    let number = Json::number(dice.pick(&NUMBERS));
    let text = dice.pick(&TEXTS);
    let texts = Fact::Args(dice.pick(&["s", "t"]));
    match dice.below(16) {
        0 | 1 => Ask::Compare(Fact::Args(path), dice.pick(&ORDER), number),
        2 => Ask::Both(Fact::Args("n"), dice.pick(&ORDER), Fact::Args(dice.pick(&["m", "o.n"]))),
        3 => Ask::Compare(texts, dice.pick(&ORDER), Json::text(text)),
        4 => Ask::In(texts, vec![Json::text(text), Json::text("USD")]),
        5 => Ask::In(Fact::Args(path), vec![number, Json::number("100")]),
        6 => Ask::Has(Fact::Args(dice.pick(&["n", "s", "l", "o", "o.n", "x"]))),
        7 => Ask::IsType(
            Fact::Args(dice.pick(&["n", "s", "b", "l", "o"])),
            dice.pick(&["int", "double", "string", "bool", "list", "map", "null_type"]),
        ),
        8 => Ask::Test(texts, dice.pick(&["startsWith", "endsWith", "contains"]), text),
        9 => Ask::Test(texts, "matches", dice.pick(&EXPRESSIONS)),
        10 => {
            Ask::Compare(Fact::SizeOfArgs(dice.pick(&["s", "l", "o"])), dice.pick(&ORDER), Json::number("1"))
        }
        11 => Ask::Compare(Fact::Args("b"), dice.pick(&EQUAL), Json::Bool(dice.one_in(2))),
        12 => Ask::Holds(number, "l"),
        13 => Ask::Both(Fact::Args("s"), dice.pick(&EQUAL), Fact::Principal("id")),
        14 => Ask::Compare(Fact::Args(dice.pick(&["n", "s", "o"])), dice.pick(&EQUAL), Json::Null),
        _ => {
            let asks = |dice: &mut Dice| {
                Cond::Ask(Ask::Compare(Fact::Element, dice.pick(&ORDER), Json::number(dice.pick(&NUMBERS))))
            };
            Ask::Each(
                "l",
                dice.pick(&["all", "exists", "exists_one"]),
                Box::new(Cond::nested(dice, 1, &asks)),
            )
        }
    }
}

impl Display for Cond {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let joined = |f: &mut Formatter<'_>, all: &[Cond], by: &str| {
            let all: Vec<String> = all.iter().map(|one| one.to_string()).collect();
            write!(f, "({})", all.join(by))
        };
        match self {
            Cond::And(all) => joined(f, all, " && "),
            Cond::Or(all) => joined(f, all, " || "),
            Cond::Not(one) => write!(f, "!({one})"),
            Cond::Ask(ask) => write!(f, "{ask}"),
        }
    }
}

impl Display for Fact {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Fact::Args(path) => write!(f, "args.{path}"),
            Fact::SizeOfArgs(path) => write!(f, "size(args.{path})"),
            Fact::Claims(path) => write!(f, "principal.claims.{path}"),
            Fact::Principal(fact) => write!(f, "principal.{fact}"),
            Fact::Called(fact) => write!(f, "call.{fact}"),
            Fact::Header(name) => write!(f, "request.headers[\"{name}\"]"),
            Fact::Element => f.write_str("i"),
        }
    }
}

impl Display for Ask {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let constant = |json: &Json| json.written(false);
        match self {
            Ask::Compare(fact, by, to) => write!(f, "{fact} {by} {}", constant(to)),
            Ask::Both(one, by, other) => write!(f, "{one} {by} {other}"),
            Ask::In(fact, list) => {
                write!(f, "{fact} in [{}]", list.iter().map(constant).collect::<Vec<_>>().join(", "))
            }
            Ask::Has(Fact::Header(name)) => write!(f, "\"{name}\" in request.headers"),
            Ask::Has(fact) => write!(f, "has({fact})"),
            Ask::IsType(fact, name) => write!(f, "type({fact}) == {name}"),
            Ask::Test(fact, test, text) => write!(f, "{fact}.{test}(\"{text}\")"),
            Ask::InGroups(group) => write!(f, "\"{group}\" in principal.groups"),
            Ask::AnyGroup(begin) => write!(f, "principal.groups.exists(g, g.startsWith(\"{begin}\"))"),
            Ask::HasRole(role) => write!(f, "\"role{role}\" in principal.roles"),
            Ask::Holds(item, path) => write!(f, "{} in args.{path}", constant(item)),
            Ask::Each(path, each, body) => write!(f, "args.{path}.{each}(i, {body})"),
            Ask::Ip(address) => write!(f, "request.ip == \"{address}\""),
            Ask::Network(network) => write!(f, "cidr(\"{network}\").containsIP(request.ip)"),
            Ask::Now(by, moment) => write!(f, "now {by} timestamp(\"{moment}\")"),
        }
    }
}
