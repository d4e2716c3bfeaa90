//! A call that its caller may make, and may not make like this, as the caller is told.
//!
//! The decision: it is named, with the rule that decided. Whoever was shown the tool knows that it is there; a model that reads
//! why can ask for less, or say so. What nobody may ever do is not told apart from what does not exist.

use strait_policy::Verdict;
use strait_protocol::jsonrpc::{Message, append_string};
use strait_table::Kind;

use super::resolve::Item;
use crate::core::Adopted;

#[derive(Debug)]
pub struct Denied {
    kind: Kind,
    name: String,
    /// The rule that refuses; none: no rule allows.
    rule: Option<String>,
    held: bool,
    /// The call's answer is a tool's result, which the model reads.
    pub as_result: bool,
}

impl Denied {
    pub fn of(
        adopted: &Adopted,
        item: &Item,
        name: &[u8],
        verdict: Verdict,
        message: Option<&Message>,
    ) -> Denied {
        let rules = &adopted.snapshot.rules().policy.rules;
        let rule = verdict.rule().and_then(|rule| rules.get(rule as usize));
        Denied {
            kind: item.kind,
            name: String::from_utf8_lossy(name).chars().take(256).collect(),
            rule: rule.map(|rule| rule.id.as_str().to_owned()),
            held: matches!(verdict, Verdict::Hold(_)),
            // A task of 2025-11-25 begins with another result.
            as_result: item.kind == Kind::Tool && message.is_some_and(|message| message.task.is_none()),
        }
    }

    pub fn label(&self) -> &'static str {
        match (&self.rule, self.held) {
            (None, _) => "no_rule",
            (Some(_), true) => "no_approver",
            (Some(_), false) => "denied_by_rule",
        }
    }

    pub fn message(&self) -> String {
        let what = match self.kind {
            Kind::Tool => "tool",
            Kind::Prompt => "prompt",
            Kind::Resource | Kind::Template => "resource",
        };
        let name = &self.name;
        match (&self.rule, self.held) {
            (None, _) => {
                format!("policy: no rule allows {what} `{name}` with these arguments, from here, now")
            }
            (Some(rule), true) => format!(
                "policy: rule `{rule}` holds {what} `{name}` with these arguments until a person approves, and there is nobody to ask"
            ),
            (Some(rule), false) => {
                format!("policy: rule `{rule}` denies {what} `{name}` with these arguments, from here, now")
            }
        }
    }

    /// `{"reason":…,"rule":…}`.
    pub fn append_data(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"reason\":");
        append_string(out, self.label().as_bytes());
        if let Some(rule) = &self.rule {
            out.extend_from_slice(b",\"rule\":");
            append_string(out, rule.as_bytes());
        }
        out.push(b'}');
    }
}
