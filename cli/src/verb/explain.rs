//! `strait explain FILE --as PRINCIPAL --tool upstream.tool --args JSON`: one decision, and why; by the functions that a worker
//! decides with.

use std::net::IpAddr;
use std::path::PathBuf;

use serde_json::{Value, json};
use strait_control::answers::asked::{Thing, effect, place, plain, usage};
use strait_control::answers::call::{Call, From, decide, moment, reason, why};
use strait_control::answers::people::who;
use strait_control::{Failure, Source};
use strait_policy::Principal;
use strait_table::{Kind, Snapshot};

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

impl Explain {
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        let opened = Source::detect(&self.file)?.open()?;
        let snapshot = &*opened.snapshot;
        let principal = who(&opened, &self.principal)?.principal;
        let thing = self.thing(snapshot)?;
        let call = self.call()?;
        let facts = match thing.server(snapshot, self.server.as_deref())? {
            None => json!({
                "verdict": "deny",
                "rule": null,
                "reason": "no server shows it",
                "listed": false,
                "rules": [],
            }),
            Some(server) => facts(snapshot, &principal, server, &thing, &call)?,
        };
        output.facts(&facts, || text(&facts));
        Ok(())
    }

    fn thing(&self, snapshot: &Snapshot) -> Result<Thing<'_>, Failure> {
        let (kind, full) = match (&self.tool, &self.prompt, &self.resource) {
            (Some(name), _, _) => (Kind::Tool, name),
            (_, Some(name), _) => (Kind::Prompt, name),
            (_, _, Some(name)) => (Kind::Resource, name),
            _ => return Err(usage("name what is asked for: `--tool upstream.tool`".to_owned())),
        };
        Thing::of(snapshot, kind, full)
    }

    fn call(&self) -> Result<Call, Failure> {
        let at = match &self.at {
            None => strait_control::time::unix_s(),
            Some(text) => moment(text)?,
        };
        let headers = self.header.iter().map(|header| {
            let (name, value) = header.split_once(':').unwrap_or((header, ""));
            (name.trim().to_owned(), value.trim().to_owned())
        });
        let from = From { headers: headers.collect(), ip: self.ip };
        Ok(Call { args: self.args.clone(), at, from })
    }
}

fn facts(
    snapshot: &Snapshot,
    principal: &Principal,
    server: usize,
    thing: &Thing<'_>,
    call: &Call,
) -> Result<Value, Failure> {
    let decided = decide(snapshot, principal, server, thing, call)?;
    let rules = &snapshot.rules().policy.rules;
    let verdict = decided.verdict;
    let rule = verdict.rule().and_then(|rule| rules.get(rule as usize));
    let all = rules.iter().zip(&decided.standings).enumerate().map(|(index, (rule, standing))| {
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
        "reason": decided.refused.unwrap_or_else(|| reason(snapshot, verdict)),
        "server": snapshot.rules().servers[server].name.as_str(),
        "listed": decided.listed,
        "rules": all.collect::<Vec<_>>(),
    }))
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
        out.push_str(&plain(&line));
        out.push('\n');
    }
    out
}
