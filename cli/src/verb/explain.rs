//! `strait explain FILE --as PRINCIPAL --tool upstream.tool --args JSON`: one decision, and why; by the functions that a worker
//! decides with.

use std::net::IpAddr;
use std::path::PathBuf;

use serde_json::{Value, json};
use strait_config_compiler::condition::during;
use strait_control::{Failure, Source};
use strait_policy::{Principal, Truth, Verdict};
use strait_protocol::jsonrpc::Decoder;
use strait_table::condition::evaluate::Header;
use strait_table::condition::{Asked, Moment, Request, Workspace, show};
use strait_table::decide::Standing;
use strait_table::rules::{ArchivedEffect, ArchivedRule};
use strait_table::{Kind, Snapshot};

use super::asked::{Thing, effect, place, usage, who};
use crate::output::Output;

#[derive(clap::Args)]
pub struct Explain {
    /// A configuration or a table.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Who asks: the id of a key, or JSON like `{"id":"ann","groups":["staff"],"agent":"","user":"","tenant":"","claims":{}}`.
    #[arg(long = "as", value_name = "PRINCIPAL")]
    principal: String,
    /// The tool that is called, as `upstream.tool`.
    #[arg(long, value_name = "NAME", required_unless_present_any = ["prompt", "resource"])]
    tool: Option<String>,
    /// The prompt that is got, as `upstream.prompt`.
    #[arg(long, value_name = "NAME", conflicts_with = "tool")]
    prompt: Option<String>,
    /// The resource that is read, as `upstream.uri`.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["tool", "prompt"])]
    resource: Option<String>,
    /// Its arguments, as its upstream would get them.
    #[arg(long, value_name = "JSON", default_value = "{}")]
    args: String,
    /// The server it is called through. Default: the first that shows it.
    #[arg(long, value_name = "NAME")]
    server: Option<String>,
    /// When, as RFC 3339. Default: now.
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// A header of the request, as `name: value`.
    #[arg(long, value_name = "HEADER")]
    header: Vec<String>,
    /// The address that the request comes from.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    ip: IpAddr,
}

struct From {
    headers: Vec<(String, String)>,
    ip: IpAddr,
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

impl Explain {
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        let opened = Source::detect(&self.file)?.open()?;
        let snapshot = &*opened.snapshot;
        let principal = who(&opened, &self.principal)?;
        let (thing, method) = self.thing(snapshot)?;
        let now = match &self.at {
            None => strait_control::time::unix_s(),
            Some(text) => {
                let moment = during::moment(text).map(|(second, _)| second);
                moment.ok_or_else(|| usage(format!("`{text}` is not a time like 2026-11-21T06:00:00Z")))?
            }
        };
        let facts = match thing.server(snapshot, self.server.as_deref())? {
            None => json!({
                "verdict": "deny",
                "rule": null,
                "reason": "no server shows it",
                "listed": false,
                "rules": [],
            }),
            Some(server) => self.facts(snapshot, &principal, &thing, method, server, now)?,
        };
        output.facts(&facts, || text(&facts));
        Ok(())
    }

    fn thing(&self, snapshot: &Snapshot) -> Result<(Thing<'_>, &'static str), Failure> {
        let (kind, method, full) = match (&self.tool, &self.prompt, &self.resource) {
            (Some(name), _, _) => (Kind::Tool, "tools/call", name),
            (_, Some(name), _) => (Kind::Prompt, "prompts/get", name),
            (_, _, Some(name)) => (Kind::Resource, "resources/read", name),
            _ => return Err(usage("name what is asked for: `--tool upstream.tool`".to_owned())),
        };
        Ok((Thing::of(snapshot, kind, full)?, method))
    }

    fn facts(
        &self,
        snapshot: &Snapshot,
        principal: &Principal,
        thing: &Thing<'_>,
        method: &str,
        server: usize,
        now: i64,
    ) -> Result<Value, Failure> {
        let rules = snapshot.rules();
        let (traits, windows) = (snapshot.traits_of(principal), snapshot.windows_at(now).bits);
        // Read as a worker reads a call, and refused as it would be.
        let before = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":"#;
        let body = format!("{before}{}}}}}", self.args);
        let headers = self.header.iter().map(|header| {
            let (name, value) = header.split_once(':').unwrap_or((header, ""));
            (name.trim().to_owned(), value.trim().to_owned())
        });
        let request = From { headers: headers.collect(), ip: self.ip };
        let mut workspace = Workspace::default();
        let unknown = Moment {
            traits: Some(&traits),
            windows: Some(&windows),
            principal: None,
            thing: None,
            asked: None,
        };
        let mut explain = |moment: &Moment<'_>| {
            snapshot.explain(server, thing.upstream, thing.kind, thing.name, moment, &mut workspace)
        };
        let listed = explain(&unknown).ok().flatten().is_some_and(|(ruling, _)| ruling.possible);
        let decided = Decoder::new().decode(body.as_bytes()).map(|message| message.arguments);
        let decided = decided.and_then(|arguments| {
            let asked = Asked { method, body: body.as_bytes(), arguments, request: &request };
            explain(&Moment { principal: Some(principal), asked: Some(&asked), ..unknown })
        });
        let server = rules.servers[server].name.as_str();
        let (ruling, standings) = match decided {
            Ok(Some(decided)) => decided,
            Ok(None) => return Err(Failure::bug("the thing that was found is not there".to_owned())),
            Err(mut fault) => {
                // Counted from where the arguments begin.
                fault.at = fault.at.saturating_sub(before.len() as u32);
                return Ok(json!({
                    "verdict": "deny",
                    "rule": null,
                    "reason": format!("the arguments are refused before any rule: {}", fault.message()),
                    "server": server,
                    "listed": listed,
                    "rules": [],
                }));
            }
        };
        let verdict = ruling.verdict;
        let rule = verdict.rule().and_then(|rule| rules.policy.rules.get(rule as usize));
        let all = rules.policy.rules.iter().zip(&standings).enumerate().map(|(index, (rule, standing))| {
            json!({
                "id": rule.id.as_str(),
                "effect": effect(rule),
                "at": place(snapshot, rule),
                "decides": verdict.rule() == Some(index as u32),
                "why": why(snapshot, rule, standing, verdict),
            })
        });
        Ok(json!({
            "verdict": verdict.label(),
            "rule": rule.map(|rule| rule.id.as_str()),
            "at": rule.map(|rule| place(snapshot, rule)),
            "reason": reason(snapshot, verdict, rule),
            "server": server,
            "listed": listed,
            "rules": all.collect::<Vec<_>>(),
        }))
    }
}

fn reason(snapshot: &Snapshot, verdict: Verdict, rule: Option<&ArchivedRule>) -> String {
    match (verdict, rule) {
        (Verdict::Permit(_), Some(rule)) => format!("rule `{}` allows it", rule.id.as_str()),
        (Verdict::Permit(_), None) => "no rule speaks of it, and the default is allow".to_owned(),
        (Verdict::Hold(_), Some(rule)) => {
            format!("rule `{}` holds it, and there is nobody to ask: refused", rule.id.as_str())
        }
        (Verdict::Deny(_), Some(rule)) => format!("rule `{}` denies it", rule.id.as_str()),
        (_, None) => {
            let any = snapshot.rules().policy.rules.is_empty();
            if any {
                "there is no rule".to_owned()
            } else {
                "no rule allows it, and the default is deny".to_owned()
            }
        }
    }
}

/// Why a rule decided, or did not.
fn why(snapshot: &Snapshot, rule: &ArchivedRule, standing: &Standing, verdict: Verdict) -> String {
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

fn text(facts: &Value) -> String {
    let word = |key: &str| facts[key].as_str().unwrap_or_default().to_owned();
    let mut out = format!("{}: {}", word("verdict"), word("reason"));
    if facts["at"].is_string() {
        out.push_str(&format!("  ({})", word("at")));
    }
    let listed = if facts["listed"] == true {
        "some call of it may be permitted: it is listed"
    } else {
        "it is not listed"
    };
    out.push_str(&format!("\n{listed}\n"));
    for rule in facts["rules"].as_array().into_iter().flatten() {
        let word = |key: &str| rule[key].as_str().unwrap_or_default();
        let mark = if rule["decides"] == true { ">" } else { " " };
        let line = format!("{mark} {:<5} {}  {}  ({})", word("effect"), word("id"), word("why"), word("at"));
        out.extend(line.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }));
        out.push('\n');
    }
    out
}
