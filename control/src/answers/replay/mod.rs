//! Recorded calls, put to another policy: what would be decided otherwise.
//!
//! The decision: a record is put as its worker put it, by the same function, and with what the log holds of it alone. Where a rule asks for
//! something else (`known.rs`), and its answer could change the verdict, nothing is told but what is missing. What the caller is in is
//! taken from the candidate, as it would be.

mod caller;
mod known;
mod report;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr};

use serde_json::Value;
use strait_audit::view::text;
use strait_audit::{moment, view};
use strait_policy::{Traits, Truth, Verdict, weigh};
use strait_protocol::jsonrpc::Decoder;
use strait_table::condition::{Asked, Moment, Workspace};
use strait_table::decide::{Standing, effect_of};
use strait_table::rules::ArchivedRule;
use strait_table::{Kind, Snapshot};

use super::asked::{Thing, place};
use super::call::{From, reason};
use crate::Failure;
use crate::source::Opened;
use caller::{Caller, Callers};
use known::Needs;
pub use known::{Arguments, Missing};
pub use report::{Group, Report};

/// A candidate to which records are put.
pub struct Replay<'o> {
    snapshot: &'o Snapshot,
    needs: Vec<Needs<'o>>,
    callers: Callers<'o>,
    workspace: Workspace,
    decoder: Decoder,
    windows: HashMap<i64, Traits>,
}

/// A decision, in words that two tables have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Said {
    pub verdict: String,
    pub rule: Option<String>,
    /// What is said of it beside, where the candidate says it.
    pub reason: String,
    pub at: Option<String>,
}

impl Said {
    fn permits(&self) -> bool {
        self.verdict == Verdict::Permit(None).label()
    }
}

/// Which way a decision changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    Opened,
    Closed,
    /// It is let through or refused as before, by another rule or in another way.
    Otherwise,
}

impl Way {
    pub fn word(self) -> &'static str {
        match self {
            Way::Opened => "opened",
            Way::Closed => "closed",
            Way::Otherwise => "otherwise",
        }
    }
}

/// What became of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Came {
    /// It tells of no decision about something that has a name.
    NoCall,
    Same,
    Changed(Way, Said),
    /// What would have to be known, and the rules that ask for it.
    Unknown(BTreeSet<Missing>, Vec<String>),
}

/// A call as a record tells of it.
struct Call<'r> {
    kind: Kind,
    item: &'r str,
    server: &'r str,
    method: &'r str,
    address: Option<IpAddr>,
    /// Its whole time, in seconds of Unix time.
    from: i64,
    until: i64,
}

/// The kinds of record that stand for one call each.
const KINDS: [&str; 2] = ["exchange", "stream_opened"];

impl<'o> Replay<'o> {
    /// `described`: principals as JSON, for those of whom the log holds no more than the name.
    pub fn new(candidate: &'o Opened, described: &[String]) -> Result<Replay<'o>, Failure> {
        let snapshot: &Snapshot = &candidate.snapshot;
        let rules = &snapshot.rules().policy.rules;
        Ok(Replay {
            snapshot,
            needs: rules.iter().map(|rule| Needs::of(rule.condition.as_ref())).collect(),
            callers: Callers::of(candidate, described)?,
            workspace: Workspace::default(),
            decoder: Decoder::new(),
            windows: HashMap::new(),
        })
    }

    pub fn put(&mut self, record: &Value, arguments: &Arguments) -> Came {
        let Some((call, before)) = read(record) else { return Came::NoCall };
        let after = match self.decide(record, &call, arguments) {
            Ok(after) => after,
            Err((missing, rules)) => return Came::Unknown(missing, rules),
        };
        let is_same = after.verdict == before.verdict && after.rule == before.rule;
        match (before.permits(), after.permits()) {
            (true, false) => Came::Changed(Way::Closed, after),
            (false, true) => Came::Changed(Way::Opened, after),
            _ if is_same => Came::Same,
            _ => Came::Changed(Way::Otherwise, after),
        }
    }

    fn decide(
        &mut self,
        record: &Value,
        call: &Call<'_>,
        arguments: &Arguments,
    ) -> Result<Said, (BTreeSet<Missing>, Vec<String>)> {
        let (thing, server) = match self.find(call) {
            Ok(found) => found,
            Err(why) => return Ok(refused(why)),
        };
        let caller = self.callers.of_record(self.snapshot, server, record);
        if let Caller::Refused(why) = caller {
            return Ok(refused(why));
        }
        if call.kind == Kind::Template {
            return Err((BTreeSet::from([Missing::Resource]), Vec::new()));
        }
        let known = match self.edits(server, &thing) || record.get("variant").is_some() {
            // What the log holds is what was left of them, and policy would read something else.
            true => &Arguments::Unknown,
            false => arguments,
        };
        let windows = self.windows(call);
        let (principal, traits) = match &caller {
            Caller::Known(principal, traits) => (Some(principal), Some(traits)),
            _ => (None, None),
        };
        let moment = Moment { traits, windows: windows.as_ref(), principal, thing: None, asked: None };
        self.weigh(call, &thing, server, known, &moment)
    }

    /// The thing and the server of the candidate, or why it would be refused there before any rule is asked.
    fn find<'c>(&self, call: &Call<'c>) -> Result<(Thing<'c>, usize), String> {
        let snapshot = self.snapshot;
        let rules = snapshot.rules();
        let server = rules.servers.iter().position(|server| server.name == call.server);
        let server = server.ok_or_else(|| format!("there is no server `{}`", call.server))?;
        let thing = Thing::of(snapshot, call.kind, call.item).map_err(|failure| failure.message)?;
        if !thing.is_shown_by(snapshot, server) {
            return Err(format!("server `{}` does not show it", call.server));
        }
        if !rules.pins.is_empty() {
            let pins = rules.pins.get(thing.upstream);
            let is_pinned = pins.is_some_and(|pins| {
                let pins = match thing.kind {
                    Kind::Tool => &pins.tools,
                    Kind::Prompt => &pins.prompts,
                    Kind::Resource => &pins.resources,
                    Kind::Template => &pins.templates,
                };
                pins.iter().any(|pin| pin.name == thing.name)
            });
            // A template may cover a resource that is not pinned itself.
            let is_covered =
                thing.kind == Kind::Resource && pins.is_some_and(|pins| !pins.templates.is_empty());
            if !is_pinned && !is_covered {
                return Err("the lock file does not have it".to_owned());
            }
        }
        Ok((thing, server))
    }

    /// Whether the candidate edits arguments of this tool before policy reads them.
    fn edits(&self, server: usize, thing: &Thing<'_>) -> bool {
        let server = self.snapshot.rules().servers.get(server);
        let mut shapes = server.into_iter().flat_map(|server| server.shapes.iter());
        thing.kind == Kind::Tool
            && shapes.any(|shape| {
                usize::from(shape.upstream.to_native()) == thing.upstream
                    && shape.tool == thing.name
                    && !shape.arguments.is_empty()
            })
    }

    /// The windows that hold for all of a call; `None`: one turned meanwhile.
    fn windows(&mut self, call: &Call<'_>) -> Option<Traits> {
        if self.windows.len() > WINDOWS_MAX {
            self.windows.clear();
        }
        let snapshot = self.snapshot;
        let mut at = |second: i64| {
            self.windows.entry(second).or_insert_with(|| snapshot.windows_at(second).bits).clone()
        };
        let (from, until) = (at(call.from), at(call.until));
        (from == until).then_some(from)
    }

    fn weigh(
        &mut self,
        call: &Call<'_>,
        thing: &Thing<'_>,
        server: usize,
        arguments: &Arguments,
        moment: &Moment<'_>,
    ) -> Result<Said, (BTreeSet<Missing>, Vec<String>)> {
        let snapshot = self.snapshot;
        let rules = &snapshot.rules().policy.rules;
        let workspace = &mut self.workspace;
        let mut explain = |moment: &Moment<'_>| {
            snapshot.explain(server, thing.upstream, thing.kind, thing.name, moment, workspace)
        };
        let open = explain(moment);
        // Read as a worker reads a call.
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"x","arguments":{}}}}}"#,
            arguments.text()
        );
        let from =
            From { headers: Vec::new(), ip: call.address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)) };
        let decoded = self.decoder.decode(body.as_bytes()).map(|message| message.arguments);
        let settled = decoded.and_then(|arguments| {
            let asked = Asked {
                method: call.method,
                body: body.as_bytes(),
                arguments,
                request: &from,
                with_scopes: false,
            };
            explain(&Moment { asked: Some(&asked), ..*moment })
        });
        let (settled, open) = match (settled, open, arguments) {
            (Ok(Some((_, settled))), Ok(Some((_, open))), _) => (settled, open),
            // What was accepted, and can be read in two ways by what this policy reads of it.
            (Err(fault), _, Arguments::Whole(_)) => {
                return Ok(refused(format!(
                    "the arguments are refused before any rule: {}",
                    fault.message()
                )));
            }
            _ => return Err((BTreeSet::from([Missing::Arguments]), Vec::new())),
        };
        let missing = |index: usize| {
            self.needs
                .get(index)
                .map(|needs| needs.missing(arguments, call.address.is_some()))
                .unwrap_or_default()
        };
        let standing = |index: usize| match missing(index).is_empty() {
            true => settled.get(index),
            false => open.get(index),
        };
        let concerned = |index: &usize| open.get(*index).is_some_and(|standing| standing.concerns);
        let spoken = rules.iter().enumerate().filter(|(index, _)| concerned(index)).map(|(index, rule)| {
            let truth = standing(index).map_or(Truth::Unknown, |standing| standing.speaks);
            (index as u32, effect_of(&rule.effect), truth)
        });
        let ruling = weigh(effect_of(&snapshot.rules().policy.default), spoken);
        if ruling.open.is_empty() {
            return Ok(said(snapshot, ruling.verdict));
        }
        let mut why = BTreeSet::new();
        let mut asking = Vec::new();
        for index in ruling.open.iter().map(|index| *index as usize) {
            let Some(rule) = rules.get(index) else { continue };
            why.extend(missing(index));
            why.extend(self.beside(index, standing(index), moment));
            asking.push(rule.id.as_str().to_owned());
        }
        Err((why, asking))
    }

    /// What else of a moment a rule asks for.
    fn beside(&self, index: usize, standing: Option<&Standing>, moment: &Moment<'_>) -> Vec<Missing> {
        let needs = self.needs.get(index);
        let asks_who = standing.is_some_and(|standing| standing.to == Truth::Unknown)
            || needs.is_some_and(|needs| needs.caller);
        let asks_when = needs.is_some_and(|needs| needs.time);
        let mut missing = Vec::new();
        missing.extend((asks_who && moment.traits.is_none()).then_some(Missing::Caller));
        missing.extend((asks_when && moment.windows.is_none()).then_some(Missing::Time));
        missing
    }
}

/// Seconds of which the windows are remembered.
const WINDOWS_MAX: usize = 4_096;

fn said(snapshot: &Snapshot, verdict: Verdict) -> Said {
    let rule: Option<&ArchivedRule> =
        verdict.rule().and_then(|rule| snapshot.rules().policy.rules.get(rule as usize));
    Said {
        verdict: verdict.label().to_owned(),
        rule: rule.map(|rule| rule.id.as_str().to_owned()),
        reason: reason(snapshot, verdict),
        at: rule.map(|rule| place(snapshot, rule)),
    }
}

fn refused(why: String) -> Said {
    Said { verdict: Verdict::Deny(None).label().to_owned(), rule: None, reason: why, at: None }
}

/// The call that a record tells of, and what was decided.
fn read(record: &Value) -> Option<(Call<'_>, Said)> {
    let verdict = text(record, "verdict")?;
    let (kind, item) = [
        ("tool", Kind::Tool),
        ("prompt", Kind::Prompt),
        ("resource", Kind::Resource),
        ("template", Kind::Template),
    ]
    .into_iter()
    .find_map(|(name, kind)| Some((kind, text(record, name)?)))?;
    if !KINDS.contains(&text(record, "kind")?) {
        return None;
    }
    let until_ms = moment::parse(text(record, "ts")?)?;
    let from_ms = until_ms.saturating_sub(view::ns(record).unwrap_or(0) / 1_000_000);
    let second = |ms: u64| i64::try_from(ms / 1_000).unwrap_or(i64::MAX);
    let call = Call {
        kind,
        item,
        server: text(record, "server")?,
        method: text(record, "method")?,
        address: text(record, "peer").and_then(|peer| peer.parse().ok()),
        from: second(from_ms),
        until: second(until_ms),
    };
    let rule = text(record, "rule").map(str::to_owned);
    Some((call, Said { verdict: verdict.to_owned(), rule, reason: String::new(), at: None }))
}
