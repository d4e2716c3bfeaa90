//! `strait who-can FILE upstream.tool`: whom the policy lets call something, always or under conditions: everybody who has a key,
//! and whoever had one role alone.

use std::path::PathBuf;

use serde_json::{Value, json};
use strait_control::{Failure, Source};
use strait_policy::{Principal, Traits};
use strait_table::condition::{Moment, Workspace, show};
use strait_table::{Kind, Snapshot};

use super::asked::{Thing, known, place};
use crate::output::Output;

#[derive(clap::Args)]
pub struct WhoCan {
    /// A configuration or a table.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The tool, as `upstream.tool`.
    #[arg(value_name = "NAME")]
    name: String,
    /// It is a prompt.
    #[arg(long, conflicts_with = "resource")]
    prompt: bool,
    /// It is a resource, as `upstream.uri`.
    #[arg(long)]
    resource: bool,
    /// The server it is called through. Default: the first that shows it.
    #[arg(long, value_name = "NAME")]
    server: Option<String>,
}

impl WhoCan {
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        let opened = Source::detect(&self.file)?.open()?;
        let snapshot = &*opened.snapshot;
        let kind = match (self.prompt, self.resource) {
            (true, _) => Kind::Prompt,
            (_, true) => Kind::Resource,
            _ => Kind::Tool,
        };
        let thing = Thing::of(snapshot, kind, &self.name)?;
        let server = thing.server(snapshot, self.server.as_deref())?;
        let rules = snapshot.rules();
        let mut principals = known(&opened);
        // An open server has callers without a key.
        if rules.servers.iter().any(|server| server.auth.is_empty()) {
            principals.insert(0, Principal::anonymous());
        }
        let reach =
            |traits: &Traits| server.map_or_else(never, |server| reach(snapshot, &thing, server, traits));
        let people = principals.iter().map(|principal| {
            let mut facts = reach(&snapshot.traits_of(principal));
            facts["id"] = principal.id.as_str().into();
            facts
        });
        let roles = rules.roles.iter().map(|role| {
            let mut traits = Traits::none(rules.traits.len());
            traits.insert(usize::from(role.yes.to_native()));
            let mut facts = reach(&traits);
            facts["role"] = role.name.as_str().into();
            facts
        });
        let facts = json!({
            "name": self.name,
            "server": server.map(|server| rules.servers[server].name.as_str()),
            "principals": people.collect::<Vec<_>>(),
            "roles": roles.collect::<Vec<_>>(),
        });
        output.facts(&facts, || text(&facts));
        Ok(())
    }
}

fn never() -> Value {
    json!({ "may": "never", "rules": [] })
}

/// Whether some call, or every call, may be permitted to whoever has these traits, and the rules that say so. What depends on
/// the call or the time counts as maybe.
fn reach(snapshot: &Snapshot, thing: &Thing<'_>, server: usize, traits: &Traits) -> Value {
    let moment = Moment { traits: Some(traits), windows: None, principal: None, thing: None, asked: None };
    let mut workspace = Workspace::default();
    let explained = snapshot.explain(server, thing.upstream, thing.kind, thing.name, &moment, &mut workspace);
    let Ok(Some((ruling, _))) = explained else { return never() };
    let may = match (ruling.possible, ruling.verdict.is_permit() && ruling.open.is_empty()) {
        (false, _) => "never",
        (true, true) => "always",
        (true, false) => "sometimes",
    };
    let rules = snapshot.rules();
    let said = ruling.verdict.rule().into_iter().chain(ruling.open);
    let said = said.filter_map(|rule| rules.policy.rules.get(rule as usize)).map(|rule| {
        json!({
            "id": rule.id.as_str(),
            "effect": super::asked::effect(rule),
            "at": place(snapshot, rule),
            "when": rule.condition.as_ref().map(|condition| show::shown(condition, rules)),
        })
    });
    json!({ "may": may, "rules": said.collect::<Vec<_>>() })
}

fn text(facts: &Value) -> String {
    let plain =
        |value: &Value| value.as_str().unwrap_or_default().replace(|c: char| c.is_control(), "\u{fffd}");
    let mut out = match facts["server"].as_str() {
        Some(server) => format!("{} through server {server}\n", plain(&facts["name"])),
        None => format!("{}: no server shows it\n", plain(&facts["name"])),
    };
    for (heading, entries, name) in [
        ("principals with a key", &facts["principals"], "id"),
        ("whoever has one role alone", &facts["roles"], "role"),
    ] {
        let Some(entries) = entries.as_array().filter(|entries| !entries.is_empty()) else { continue };
        out.push_str(&format!("{heading}\n"));
        for entry in entries {
            out.push_str(&format!("  {:<9} {}\n", plain(&entry["may"]), plain(&entry[name])));
            for rule in entry["rules"].as_array().into_iter().flatten() {
                let when = rule["when"].as_str().map(|_| format!(" when {}", plain(&rule["when"])));
                let (effect, id, at) = (plain(&rule["effect"]), plain(&rule["id"]), plain(&rule["at"]));
                out.push_str(&format!("            {effect} {id}{}  ({at})\n", when.unwrap_or_default()));
            }
        }
    }
    out
}
