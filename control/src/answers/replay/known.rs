//! What a record holds of the call that it tells of, and what a condition would have to know.
//!
//! The decision: a log keeps less than a worker saw. Whether what is kept is enough is asked of each condition, by what it reads, before
//! it is put; one that reads anything else stays open, and is never answered by what is there instead.

use std::collections::BTreeSet;

use serde_json::Value;
use strait_table::condition::{ArchivedCondition, ArchivedOp, ArchivedOperand, ArchivedRead, ArchivedRoot};

/// What a log may not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Missing {
    /// Groups, claims and tenant of the caller.
    Caller,
    /// Which resource of a template, and with it what rules speak of it.
    Resource,
    /// The arguments, or that part of them that is read.
    Arguments,
    Headers,
    Address,
    /// A window of time turned while the call was under way.
    Time,
}

impl Missing {
    pub fn word(self) -> &'static str {
        match self {
            Missing::Caller => "caller",
            Missing::Resource => "resource",
            Missing::Arguments => "arguments",
            Missing::Headers => "headers",
            Missing::Address => "address",
            Missing::Time => "time",
        }
    }
}

/// What is kept of a call's arguments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Arguments {
    #[default]
    Unknown,
    /// As policy read them. A call without any has an empty object, to whoever asks.
    Whole(String),
    /// Keys and shape, in the form of `engine/src/audit/redact.rs`.
    Redacted(String),
}

impl Arguments {
    /// The text that conditions are put to, where they read nothing that is not in it.
    pub fn text(&self) -> &str {
        match self {
            Arguments::Unknown => "{}",
            Arguments::Whole(text) | Arguments::Redacted(text) => text,
        }
    }
}

/// What one rule's condition asks for beside its audience.
#[derive(Default)]
pub struct Needs<'t> {
    arguments: Vec<(&'t ArchivedRead, Use)>,
    headers: bool,
    address: bool,
    pub caller: bool,
    pub time: bool,
}

/// What a condition wants of a value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    ThatItIsThere,
    Itself,
}

impl<'t> Needs<'t> {
    pub fn of(condition: Option<&'t ArchivedCondition>) -> Needs<'t> {
        let mut needs = Needs::default();
        let Some(condition) = condition else { return needs };
        for op in condition.ops.iter() {
            let (operands, list): ([Option<&ArchivedOperand>; 2], Option<u16>) = match op {
                ArchivedOp::Compare { left, right, .. } => ([Some(left), Some(right)], None),
                ArchivedOp::Text { of, text, .. } => ([Some(of), Some(text)], None),
                ArchivedOp::IsType { of, .. }
                | ArchivedOp::In { of, .. }
                | ArchivedOp::Matches { of, .. } => ([Some(of), None], None),
                ArchivedOp::Holds { list, item } => ([Some(item), None], Some(list.to_native())),
                ArchivedOp::Each { list, .. } => ([None, None], Some(list.to_native())),
                ArchivedOp::InGroups(of) => {
                    needs.caller = true;
                    ([Some(of), None], None)
                }
                ArchivedOp::Has(read) => {
                    needs.reads(condition, read.to_native(), Use::ThatItIsThere);
                    ([None, None], None)
                }
                ArchivedOp::HasHeader(_) => {
                    needs.headers = true;
                    ([None, None], None)
                }
                ArchivedOp::Network(_) => {
                    needs.address = true;
                    ([None, None], None)
                }
                ArchivedOp::Trait { .. }
                | ArchivedOp::AnyGroup { .. }
                | ArchivedOp::Scope { .. }
                | ArchivedOp::StepUp => {
                    needs.caller = true;
                    ([None, None], None)
                }
                ArchivedOp::Window(_) => {
                    needs.time = true;
                    ([None, None], None)
                }
                ArchivedOp::Const(_)
                | ArchivedOp::Not
                | ArchivedOp::And
                | ArchivedOp::Or
                | ArchivedOp::UnlessFalse(_)
                | ArchivedOp::UnlessTrue(_) => ([None, None], None),
            };
            list.into_iter().for_each(|read| needs.reads(condition, read, Use::Itself));
            operands.into_iter().flatten().for_each(|operand| needs.operand(condition, operand));
        }
        needs
    }

    fn operand(&mut self, condition: &'t ArchivedCondition, operand: &ArchivedOperand) {
        match operand {
            ArchivedOperand::Read(read) | ArchivedOperand::Size(read) => {
                self.reads(condition, read.to_native(), Use::Itself);
            }
            ArchivedOperand::Principal(_) => self.caller = true,
            ArchivedOperand::Header(_) => self.headers = true,
            // The record says what was called, through which server.
            ArchivedOperand::Call(_)
            | ArchivedOperand::Text(_)
            | ArchivedOperand::Number(_)
            | ArchivedOperand::Bool(_)
            | ArchivedOperand::Null => {}
        }
    }

    fn reads(&mut self, condition: &'t ArchivedCondition, read: u16, how: Use) {
        let Some(read) = condition.reads.get(usize::from(read)) else { return };
        match read.from {
            ArchivedRoot::Arguments => self.arguments.push((read, how)),
            ArchivedRoot::Claims => self.caller = true,
            // It is part of a list, which is read itself.
            ArchivedRoot::Element => {}
        }
    }

    /// What of the request that brought the call is asked for and not known.
    pub fn missing(&self, arguments: &Arguments, has_address: bool) -> BTreeSet<Missing> {
        let has_arguments = match arguments {
            Arguments::Whole(_) => true,
            Arguments::Unknown => self.arguments.is_empty(),
            Arguments::Redacted(text) => {
                self.arguments.is_empty()
                    || serde_json::from_str(text).is_ok_and(|value| {
                        self.arguments.iter().all(|(read, how)| is_kept(&value, read, *how))
                    })
            }
        };
        let missing = [
            (!has_arguments, Missing::Arguments),
            (self.headers, Missing::Headers),
            (self.address && !has_address, Missing::Address),
        ];
        missing.into_iter().filter(|(is_missing, _)| *is_missing).map(|(_, what)| what).collect()
    }
}

/// Whether what is kept of the arguments says the same of this read as they did.
fn is_kept(arguments: &Value, read: &ArchivedRead, how: Use) -> bool {
    let mut at = arguments;
    for key in read.path.iter() {
        // A text, a number or a list has no members, whatever is kept of it.
        let Value::Object(members) = at else { return true };
        // Another key that is too long to be kept could be this one.
        if members.keys().any(|key| stands_for_other(key)) {
            return false;
        }
        match members.get(key.as_str()) {
            Some(member) => at = member,
            None => return true,
        }
    }
    how == Use::ThatItIsThere || is_itself(at)
}

/// Whether a value is as it was: nothing in it stands for something else.
fn is_itself(value: &Value) -> bool {
    match value {
        // Of texts and long numbers nothing else is kept.
        Value::String(_) => false,
        Value::Array(elements) => elements.iter().all(is_itself),
        Value::Object(members) => {
            members.iter().all(|(key, member)| !stands_for_other(key) && is_itself(member))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
    }
}

/// Keys like `<70>`.
fn stands_for_other(key: &str) -> bool {
    let inside = key.strip_prefix('<').and_then(|key| key.strip_suffix('>'));
    inside.is_some_and(|inside| !inside.is_empty() && inside.bytes().all(|byte| byte.is_ascii_digit()))
}
