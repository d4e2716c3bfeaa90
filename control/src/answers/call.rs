//! One call, put to a policy as a worker would put it: read by the same decoder, decided by the same function, and told with
//! what every rule had to do with it.

use std::net::IpAddr;

use strait_config_compiler::condition::during;
use strait_policy::{Principal, Truth, Verdict};
use strait_protocol::jsonrpc::Decoder;
use strait_table::condition::evaluate::Header;
use strait_table::condition::{Asked, Moment, Request, Workspace, show};
use strait_table::decide::Standing;
use strait_table::rules::{ArchivedEffect, ArchivedRule};
use strait_table::{Kind, Snapshot};

use super::asked::{Thing, usage};
use crate::Failure;

/// What a call brings with it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Call {
    /// The text of a JSON object: the arguments as the upstream would get them.
    pub args: String,
    /// In seconds of Unix time.
    pub at: i64,
    pub from: From,
}

/// The request that brings a call.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct From {
    pub headers: Vec<(String, String)>,
    pub ip: IpAddr,
}

impl Request for From {
    fn header(&self, name: &str) -> Header<'_> {
        let mut values = self.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        match (values.next(), values.next()) {
            (None, _) => Header::Missing,
            (Some((_, value)), None) => Header::One(value.as_bytes()),
            _ => Header::Several,
        }
    }

    fn ip(&self) -> IpAddr {
        self.ip
    }
}

/// A moment as its author writes it, RFC 3339.
pub fn moment(text: &str) -> Result<i64, Failure> {
    let moment = during::moment(text).map(|(second, _)| second);
    moment.ok_or_else(|| usage(format!("`{text}` is not a time like 2026-11-21T06:00:00Z")))
}

/// What a call of this kind is, in MCP's words.
pub fn method(kind: Kind) -> &'static str {
    match kind {
        Kind::Tool => "tools/call",
        Kind::Prompt => "prompts/get",
        Kind::Resource | Kind::Template => "resources/read",
    }
}

/// What came of a call.
pub struct Decided {
    pub verdict: Verdict,
    /// A list shows the thing: some call of it may be permitted, at that moment.
    pub listed: bool,
    /// How every rule stands to it. Empty where `refused`.
    pub standings: Vec<Standing>,
    /// Why it is refused before any rule is asked.
    pub refused: Option<String>,
}

/// Decides a call through a server that shows the thing.
pub fn decide(
    snapshot: &Snapshot,
    principal: &Principal,
    server: usize,
    thing: &Thing<'_>,
    call: &Call,
) -> Result<Decided, Failure> {
    let (traits, windows) = (snapshot.traits_of(principal), snapshot.windows_at(call.at).bits);
    // Read as a worker reads a call, and refused as it would be.
    let before = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":"#;
    let body = format!("{before}{}}}}}", call.args);
    let mut workspace = Workspace::default();
    let unknown =
        Moment { traits: Some(&traits), windows: Some(&windows), principal: None, thing: None, asked: None };
    let mut explain = |moment: &Moment<'_>| {
        snapshot.explain(server, thing.upstream, thing.kind, thing.name, moment, &mut workspace)
    };
    let listed = explain(&unknown).ok().flatten().is_some_and(|(ruling, _)| ruling.possible);
    let decided = Decoder::new().decode(body.as_bytes()).map(|message| message.arguments);
    let decided = decided.and_then(|arguments| {
        let method = method(thing.kind);
        let asked =
            Asked { method, body: body.as_bytes(), arguments, request: &call.from, with_scopes: false };
        explain(&Moment { principal: Some(principal), asked: Some(&asked), ..unknown })
    });
    match decided {
        Ok(Some((ruling, standings))) => {
            Ok(Decided { verdict: ruling.verdict, listed, standings, refused: None })
        }
        Ok(None) => Err(Failure::bug("the thing that was found is not there".to_owned())),
        Err(mut fault) => {
            // Counted from where the arguments begin.
            fault.at = fault.at.saturating_sub(before.len() as u32);
            let why = format!("the arguments are refused before any rule: {}", fault.message());
            Ok(Decided { verdict: Verdict::Deny(None), listed, standings: Vec::new(), refused: Some(why) })
        }
    }
}

/// What a verdict is, in a sentence.
pub fn reason(snapshot: &Snapshot, verdict: Verdict) -> String {
    let rules = &snapshot.rules().policy.rules;
    let rule = verdict.rule().and_then(|rule| rules.get(rule as usize));
    match (verdict, rule) {
        (Verdict::Permit(_), Some(rule)) => format!("rule `{}` allows it", rule.id.as_str()),
        (Verdict::Permit(_), None) => "no rule speaks of it, and the default is allow".to_owned(),
        (Verdict::Hold(_), Some(rule)) => {
            format!("rule `{}` holds it, and there is nobody to ask: refused", rule.id.as_str())
        }
        (Verdict::Deny(_), Some(rule)) => format!("rule `{}` denies it", rule.id.as_str()),
        (_, None) if rules.is_empty() => "there is no rule".to_owned(),
        (_, None) => "no rule allows it, and the default is deny".to_owned(),
    }
}

/// Why a rule decided, or did not.
pub fn why(snapshot: &Snapshot, rule: &ArchivedRule, standing: &Standing, verdict: Verdict) -> String {
    let shown = || match rule.condition.as_ref() {
        Some(condition) => format!(": {}", show::shown(condition, snapshot.rules())),
        None => String::new(),
    };
    let denies = !matches!(rule.effect, ArchivedEffect::Allow);
    match (standing.concerns, standing.to, standing.speaks) {
        (false, _, _) => "it speaks of other things".to_owned(),
        (_, Truth::False, _) => "it speaks to others".to_owned(),
        (_, _, Truth::True) if verdict_is_of(verdict, rule) => "it speaks".to_owned(),
        (_, _, Truth::True) => "it speaks, and another rule wins".to_owned(),
        (_, _, Truth::False) => format!("its condition is false{}", shown()),
        (_, _, Truth::Error | Truth::Unknown) if denies => {
            format!("its condition cannot be decided, so it speaks{}", shown())
        }
        (_, _, Truth::Error | Truth::Unknown) => format!("its condition cannot be decided{}", shown()),
    }
}

fn verdict_is_of(verdict: Verdict, rule: &ArchivedRule) -> bool {
    matches!(
        (verdict, &rule.effect),
        (Verdict::Permit(_), ArchivedEffect::Allow)
            | (Verdict::Hold(_), ArchivedEffect::Hold)
            | (Verdict::Deny(_), ArchivedEffect::Deny)
    )
}
