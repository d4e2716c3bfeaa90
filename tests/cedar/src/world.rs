//! A call: who, what, with which arguments, from where, when. The arguments are kept as they are written, since JSON has more
//! numbers than Cedar.

use std::fmt::Write;
use std::net::IpAddr;

use crate::dice::Dice;

pub const CONFIG: &str = r#"strait: 1
upstreams:
  crm: { sample: http }
  git: { sample: http }
servers:
  default: { path: /mcp, tools: ["*"], prompts: ["*"], resources: ["*"] }
  support: { path: /support, tools: ["*"], prompts: ["*"], resources: ["*"] }
roles:
  admin: '"admins" in principal.groups'
  ide: 'principal.agent == "ide"'
  senior: 'principal.claims.level > 3'
policy:
  default: deny
  cedar: p.cedar
"#;

#[derive(Clone, Debug)]
pub enum Json {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thing {
    Tool,
    Prompt,
    Resource,
}

#[derive(Clone, Debug)]
pub struct Call {
    pub id: String,
    pub user: String,
    pub agent: String,
    pub tenant: String,
    pub groups: Vec<String>,
    pub claims: Json,
    pub thing: Thing,
    pub server: &'static str,
    pub upstream: &'static str,
    pub name: String,
    pub method: &'static str,
    /// `None`: the call has none at all.
    pub args: Option<Json>,
    pub headers: Vec<(&'static str, String)>,
    pub ip: IpAddr,
    pub now: i64,
}

pub const TEXTS: [&str; 12] =
    ["", "a", "b", "ab", "abc", "a*c", "abcabc", "x", "EUR", "alice", "\u{e9}\n\"\\", "crm"];
pub const NUMBERS: [&str; 18] = [
    "0",
    "1",
    "-1",
    "2",
    "3",
    "5",
    "500",
    "-0",
    "5.0",
    "1e2",
    "1.5",
    "500.00000000000000001",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "-9223372036854775809",
    "18446744073709551615",
    "1E400",
];
pub const NAMES: [&str; 6] = ["get_order", "get_all", "delete_all", "refund", "file:///a", "crm.file:///a"];
const IPS: [&str; 8] =
    ["10.0.0.7", "10.1.2.3", "127.0.0.1", "192.168.1.9", "224.0.0.1", "::1", "2001:db8::7", "ff02::1"];
/// Around the moments that policies speak of, 2027-01-01T00:00:00Z among them.
pub const NOWS: [i64; 6] = [0, -1, 1_798_761_599, 1_798_761_600, 1_798_761_601, 1_900_000_000];

impl Call {
    pub fn of(dice: &mut Dice) -> Call {
        let text = |dice: &mut Dice| (*dice.pick(&["", "alice", "bob", "a", "ide"])).to_owned();
        let all = ["admins", "support", "a", "EUR"];
        let groups = all.iter().filter(|_| dice.percent(35)).map(|group| (*group).to_owned()).collect();
        let (thing, method) = *dice.pick(&[
            (Thing::Tool, "tools/call"),
            (Thing::Tool, "tools/call"),
            (Thing::Prompt, "prompts/get"),
            (Thing::Prompt, "completion/complete"),
            (Thing::Resource, "resources/read"),
            (Thing::Resource, "resources/subscribe"),
        ]);
        let headers = ["x-env", "x-team"].into_iter().filter(|_| dice.percent(50)).collect::<Vec<_>>();
        Call {
            id: (*dice.pick(&["alice", "bob", "ci"])).to_owned(),
            user: text(dice),
            agent: text(dice),
            tenant: text(dice),
            groups,
            claims: fields(dice, &["dept", "level", "o"]),
            thing,
            server: *dice.pick(&["default", "support"]),
            upstream: *dice.pick(&["crm", "git"]),
            name: (*dice.pick(&NAMES)).to_owned(),
            method,
            args: dice.percent(92).then(|| fields(dice, &["n", "m", "s", "t", "b", "l", "o", "a key"])),
            headers: headers.into_iter().map(|name| (name, (*dice.pick(&TEXTS[..10])).to_owned())).collect(),
            ip: dice.pick(&IPS).parse().unwrap(),
            now: *dice.pick(&NOWS),
        }
    }
}

/// An object with some of these keys, mostly of the types that policies expect.
fn fields(dice: &mut Dice, keys: &[&str]) -> Json {
    let mut members = Vec::new();
    for key in keys {
        if dice.percent(12) {
            continue;
        }
        let value = match *key {
            _ if dice.percent(15) => any(dice, 2),
            "n" | "m" | "level" => Json::Number((*dice.pick(&NUMBERS[..8])).to_owned()),
            "s" | "t" | "dept" | "a key" => Json::Text((*dice.pick(&TEXTS)).to_owned()),
            "b" => Json::Bool(dice.percent(50)),
            "l" => Json::List((0..dice.below(4)).map(|_| any(dice, 1)).collect()),
            _ => fields(dice, &["n", "s"]),
        };
        members.push(((*key).to_owned(), value));
    }
    Json::Object(members)
}

fn any(dice: &mut Dice, depth: usize) -> Json {
    match dice.below(if depth == 0 { 5 } else { 7 }) {
        0 => Json::Null,
        1 => Json::Bool(dice.percent(50)),
        2 => Json::Number((*dice.pick(&NUMBERS)).to_owned()),
        3 | 4 => Json::Text((*dice.pick(&TEXTS)).to_owned()),
        5 => Json::List((0..dice.below(3)).map(|_| any(dice, depth - 1)).collect()),
        _ => Json::Object(vec![("n".to_owned(), any(dice, depth - 1))]),
    }
}

impl Json {
    /// As a client may write it: letters as themselves, or as escapes.
    pub fn written(&self, dice: &mut Dice, out: &mut String) {
        match self {
            Json::Null => out.push_str("null"),
            Json::Bool(value) => write!(out, "{value}").unwrap(),
            Json::Number(number) => out.push_str(number),
            Json::Text(text) => quoted(text, dice, out),
            Json::List(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    out.push_str(if index == 0 { "" } else { ", " });
                    item.written(dice, out);
                }
                out.push(']');
            }
            Json::Object(members) => {
                out.push('{');
                for (index, (key, value)) in members.iter().enumerate() {
                    out.push_str(if index == 0 { "" } else { "," });
                    quoted(key, dice, out);
                    out.push(':');
                    value.written(dice, out);
                }
                out.push('}');
            }
        }
    }
}

fn quoted(text: &str, dice: &mut Dice, out: &mut String) {
    out.push('"');
    for letter in text.chars() {
        if dice.percent(10) || letter.is_control() || matches!(letter, '"' | '\\') {
            write!(out, "\\u{:04x}", letter as u32).unwrap();
        } else {
            out.push(letter);
        }
    }
    out.push('"');
}
