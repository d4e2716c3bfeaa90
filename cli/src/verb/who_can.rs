//! `strait who-can FILE upstream.tool`: whom the policy lets call something, always or under conditions: everybody who has a key,
//! and whoever had one role alone.

use std::path::PathBuf;

use serde_json::{Value, json};
use strait_control::answers::asked::{Thing, plain};
use strait_control::answers::people::{known, role_alone};
use strait_control::answers::reach::{May, rules_of};
use strait_control::{Failure, Source};
use strait_policy::Traits;
use strait_table::condition::{Moment, Workspace};
use strait_table::{Kind, Snapshot};

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
        let people = known(&opened);
        let reach =
            |traits: &Traits| server.map_or_else(never, |server| reach(snapshot, &thing, server, traits));
        let people = people.known.iter().map(|person| {
            let mut facts = reach(&snapshot.traits_of(&person.principal));
            facts["id"] = person.principal.id.as_str().into();
            facts
        });
        let roles = rules.roles.iter().map(|role| {
            let alone = role_alone(snapshot, role).map(|person| snapshot.traits_of(&person.principal));
            let mut facts = alone.map_or_else(never, |traits| reach(&traits));
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
    json!({ "may": May::of(&ruling).word(), "rules": rules_of(snapshot, &ruling) })
}

fn text(facts: &Value) -> String {
    let plain = |value: &Value| plain(value.as_str().unwrap_or_default());
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
