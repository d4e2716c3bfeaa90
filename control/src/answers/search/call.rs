//! From chosen values to a principal and a call.

use std::net::{IpAddr, Ipv4Addr};

use strait_policy::Principal;
use strait_table::condition::evaluate::Thing;

use super::{Dimension, Fact, Value};
use crate::answers::call::{Call, From};

/// What is not searched.
pub struct Given<'s> {
    /// Who acts, under each of two policies; None: that is searched too.
    pub principals: Option<[&'s Principal; 2]>,
    /// What is asked about.
    pub thing: Option<Thing<'s>>,
    pub method: &'s str,
    /// The moment, unless another one is chosen.
    pub at: i64,
}

impl<'s> Given<'s> {
    /// For a search of principals.
    pub fn anybody() -> Given<'s> {
        Given { principals: None, thing: None, method: "", at: 0 }
    }

    /// The principal that is given, or the one that is chosen.
    pub fn principal(&self, chosen: &[(&Dimension, &Value)]) -> Principal {
        let mut principal = Principal { id: "somebody".to_owned(), ..Principal::default() };
        let mut claims: Vec<(&[String], &str)> = Vec::new();
        for (dimension, value) in chosen {
            match (dimension, value) {
                (Dimension::Group(group), Value::Text(_)) => principal.groups.push(group.clone()),
                (Dimension::Fact(fact), Value::Text(text)) => *field(&mut principal, *fact) = text.clone(),
                (Dimension::Claim(path), Value::Json(json)) => claims.push((path, json)),
                _ => {}
            }
        }
        if !claims.is_empty() {
            claims.sort();
            principal.claims = object(claims);
        }
        principal
    }

    /// The call that is chosen.
    pub fn call(&self, chosen: &[(&Dimension, &Value)]) -> Call {
        let mut call = Call {
            args: String::new(),
            at: self.at,
            from: From { headers: Vec::new(), ip: IpAddr::V4(Ipv4Addr::LOCALHOST) },
        };
        let mut args: Vec<(&[String], &str)> = Vec::new();
        for (dimension, value) in chosen {
            match (dimension, value) {
                (Dimension::Argument(path), Value::Json(json)) => args.push((path, json)),
                (Dimension::Header(name), Value::Text(text)) => {
                    call.from.headers.push((name.clone(), text.clone()));
                }
                (Dimension::Address, Value::Address(ip)) => call.from.ip = *ip,
                (Dimension::Time, Value::At(at)) => call.at = *at,
                _ => {}
            }
        }
        args.sort();
        call.args = object(args);
        call
    }
}

pub fn field(principal: &mut Principal, fact: Fact) -> &mut String {
    match fact {
        Fact::Id => &mut principal.id,
        Fact::User => &mut principal.user,
        Fact::Agent => &mut principal.agent,
        Fact::Tenant => &mut principal.tenant,
    }
}

/// JSON that keeps numbers as they are written.
enum Document {
    Written(String),
    Object(Vec<(String, Document)>),
}

impl Document {
    fn object() -> Document {
        Document::Object(Vec::new())
    }

    /// Puts a value at a path. Shorter paths come first, so what stands in the way is another value of the same search: it
    /// gives way.
    fn put(&mut self, path: &[String], json: &str) {
        let Some((key, rest)) = path.split_first() else {
            *self = Document::Written(json.to_owned());
            return;
        };
        if let Document::Written(_) = self {
            *self = Document::object();
        }
        let Document::Object(members) = self else { return };
        let at = members.iter().position(|(known, _)| known == key).unwrap_or_else(|| {
            members.push((key.clone(), Document::object()));
            members.len() - 1
        });
        members[at].1.put(rest, json);
    }

    fn write(&self, out: &mut String) {
        match self {
            Document::Written(json) => out.push_str(json),
            Document::Object(members) => {
                for (count, (key, member)) in members.iter().enumerate() {
                    out.push_str(if count == 0 { "{" } else { "," });
                    out.push_str(&serde_json::Value::from(key.as_str()).to_string());
                    out.push(':');
                    member.write(out);
                }
                out.push_str(if members.is_empty() { "{}" } else { "}" });
            }
        }
    }
}

/// The text of an object, of values at paths that ascend.
pub fn object<'v>(values: impl IntoIterator<Item = (&'v [String], &'v str)>) -> String {
    let mut whole = Document::object();
    values.into_iter().for_each(|(path, json)| whole.put(path, json));
    let mut out = String::new();
    whole.write(&mut out);
    out
}
