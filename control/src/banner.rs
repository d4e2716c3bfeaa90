//! What `strait up` shows when the gateway is open: where it listens, what stands behind it, and lines
//! to copy that work as they are. The key itself is shown on a terminal only; elsewhere the commands
//! read it from its file, so that no log ever holds it.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::net::SocketAddr;
use std::path::Path;

use serde_json::json;
use strait_table::Snapshot;
use strait_table::rules::{ArchivedAuthMethod, ArchivedServer, ArchivedTransport};

use crate::board::state_of;
use crate::keys::Generated;
use crate::ledger::Ledger;

mod example;
#[cfg(test)]
mod tests;

/// What the banner is made from.
pub struct Shown<'a> {
    pub snapshot: &'a Snapshot,
    pub ledger: &'a Ledger,
    pub addresses: &'a [SocketAddr],
    pub generated: &'a [Generated],
    pub driver: &'static str,
    pub workers: usize,
    /// Where the admin endpoints are, if they are anywhere.
    pub admin: Option<&'a str>,
    pub state: &'a Path,
    /// What was to be served.
    pub file: &'a Path,
    /// Why the last good table is served instead, where that is so.
    pub kept_instead: Option<&'a str>,
}

/// What a caller of one server presents.
enum Credential<'a> {
    None,
    Generated(&'a Generated),
    /// A key of a key file: only its holder has it.
    Own(String),
}

pub fn print(shown: &Shown) {
    let text = text(shown, std::io::stdout().is_terminal());
    // A closed stdout is no reason to stop serving.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

/// The same for a log.
pub fn one_line(shown: &Shown) -> String {
    let servers: Vec<String> =
        shown.snapshot.rules().servers.iter().map(|server| shown.url(server)).collect();
    let admin = shown.admin.map_or(String::new(), |admin| format!(", admin http://{admin}"));
    format!(
        "open: generation {}, {} on {}, {}{admin}",
        shown.snapshot.generation(),
        count(shown.workers, "worker"),
        shown.driver,
        servers.join(" "),
    )
}

fn text(shown: &Shown, secrets: bool) -> String {
    let mut out = String::new();
    let generation = shown.snapshot.generation();
    if let Some(why) = shown.kept_instead {
        let _ = writeln!(
            out,
            "Not what is in `{}`, but the last good table of an earlier run is served:\n{}\n",
            shown.file.display(),
            why.trim_end()
        );
    }
    let _ = writeln!(
        out,
        "Strait is open: generation {generation}, {} on {}\n",
        count(shown.workers, "worker"),
        shown.driver
    );
    shown.servers(&mut out);
    shown.upstreams(&mut out);
    shown.keys(&mut out, secrets);
    shown.commands(&mut out, secrets);
    let health = shown.admin.map_or(String::new(), |admin| format!("Health: curl http://{admin}/readyz   "));
    let _ = writeln!(out, "{health}State: {}   Stop: Ctrl-C", shown.state.display());
    out
}

impl Shown<'_> {
    fn servers(&self, out: &mut String) {
        out.push_str("Servers\n");
        let bound = self.snapshot.bound();
        for (server, shelves) in self.snapshot.rules().servers.iter().zip(bound.servers.iter()) {
            let _ = writeln!(
                out,
                "  {}  `{}`: {}, {}, {}",
                self.url(server),
                server.name.as_str(),
                count(shelves.tools.items.len(), "tool"),
                count(shelves.prompts.items.len(), "prompt"),
                count(shelves.resources.items.len() + shelves.templates.items.len(), "resource"),
            );
        }
    }

    fn upstreams(&self, out: &mut String) {
        out.push_str("Upstreams\n");
        for (upstream, (standing, lists)) in self.snapshot.rules().upstreams.iter().zip(self.ledger.iter()) {
            let kind = match &upstream.transport {
                ArchivedTransport::Http { .. } => "http",
                ArchivedTransport::Stdio(_) => "stdio",
                ArchivedTransport::Sample(_) => "sample",
            };
            let state = state_of(standing, lists);
            let said = match &standing.error {
                Some(error) => {
                    format!("{state}: {}", error.lines().next().unwrap_or_default().escape_debug())
                }
                None => format!("{state}, {}", count(lists.tools.len(), "tool")),
            };
            let _ = writeln!(out, "  {} ({kind})  {said}", standing.name);
        }
    }

    fn keys(&self, out: &mut String, secrets: bool) {
        if !self.generated.is_empty() {
            out.push_str("API keys\n");
        }
        for key in self.generated {
            let groups = match key.principal.groups.is_empty() {
                true => String::new(),
                false => format!(" ({})", key.principal.groups.join(", ")),
            };
            let path = key.path.display();
            let _ = match secrets {
                true => writeln!(out, "  {}{groups}  {}  in {path}", key.principal.id, key.key),
                false => writeln!(out, "  {}{groups}  in {path}", key.principal.id),
            };
        }
    }

    /// Lines to copy, for the first server.
    fn commands(&self, out: &mut String, secrets: bool) {
        let Some(server) = self.snapshot.rules().servers.first() else { return };
        let url = self.url(server);
        let credential = self.credential(server);
        let header = match &credential {
            Credential::None => None,
            Credential::Generated(key) if secrets => Some(format!("'Authorization: Bearer {}'", key.key)),
            Credential::Generated(key) => {
                Some(format!("\"Authorization: Bearer $(cat {})\"", quoted(&key.path.to_string_lossy())))
            }
            Credential::Own(_) => Some("\"Authorization: Bearer $STRAIT_KEY\"".to_owned()),
        };
        if let Credential::Own(path) = &credential {
            let _ = writeln!(
                out,
                "\nKeys are in {path}: put yours in STRAIT_KEY (`strait keys new {path} --id NAME` makes one)"
            );
        }
        let principal = match &credential {
            Credential::Generated(key) => key.principal.clone(),
            _ => strait_policy::Principal::anonymous(),
        };
        // A rule may hide some: then the list is shorter than what is counted above.
        let seen = match (&credential, example::tools(self.snapshot, 0, &principal)) {
            (Credential::None | Credential::Generated(_), Some((seen, all))) if seen < all => {
                format!(" that {} may see: {seen} of {all}", principal.id)
            }
            _ => String::new(),
        };
        let list = example::list();
        let _ = writeln!(out, "\nList the tools{seen}\n{}", curl(&url, header.as_deref(), &list));
        if let Some(call) = example::call(self.snapshot, 0, &principal) {
            let _ = writeln!(out, "\nCall one\n{}", curl(&url, header.as_deref(), &call));
        }
        let mut entry = json!({ "type": "http", "url": url });
        match &credential {
            Credential::None => {}
            Credential::Generated(key) if secrets => {
                entry["headers"] = json!({ "Authorization": format!("Bearer {}", key.key) });
            }
            Credential::Generated(key) => {
                entry["headers"] =
                    json!({ "Authorization": format!("Bearer <the key in {}>", key.path.display()) });
            }
            Credential::Own(_) => entry["headers"] = json!({ "Authorization": "Bearer <your key>" }),
        }
        let client = json!({ "mcpServers": { "strait": entry } });
        let _ = writeln!(out, "\nFor an MCP client's configuration\n  {client}\n");
    }

    fn credential(&self, server: &ArchivedServer) -> Credential<'_> {
        let identities = server.auth.iter().map(|identity| usize::from(identity.to_native()));
        let mut own = None;
        for identity in identities {
            if let Some(key) = self.generated.iter().find(|key| key.identity == identity) {
                return Credential::Generated(key);
            }
            if let Some(ArchivedAuthMethod::KeyFile { path }) =
                self.snapshot.rules().identities.get(identity).map(|identity| &identity.method)
            {
                own.get_or_insert_with(|| path.as_str().to_owned());
            }
        }
        own.map_or(Credential::None, Credential::Own)
    }

    /// How an agent reaches a server: by the first listener's public name, or its address.
    fn url(&self, server: &ArchivedServer) -> String {
        let listener = self.snapshot.rules().listeners.first();
        let path = server.path.as_str();
        if let Some(public) = listener.and_then(|listener| listener.public.as_ref()) {
            return format!("{}{path}", public.as_str().trim_end_matches('/'));
        }
        let Some(address) = self.addresses.first() else { return path.to_owned() };
        let mut address = *address;
        if address.ip().is_unspecified() {
            address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
        }
        format!("http://{address}{path}")
    }
}

fn curl(url: &str, credential: Option<&str>, example: &example::Example) -> String {
    let mut out = format!("  curl -sS {}", quoted(url));
    if let Some(header) = credential {
        let _ = write!(out, " -H {header}");
    }
    out.push_str(
        " \\\n    -H 'Content-Type: application/json' -H 'Accept: application/json, text/event-stream'",
    );
    for (name, value) in &example.headers {
        let _ = write!(out, " \\\n    -H {}", quoted(&format!("{name}: {value}")));
    }
    let _ = write!(out, " \\\n    -d {}", quoted(&example.body.to_string()));
    out
}

/// For a shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:@%+,=".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

fn count(n: usize, word: &str) -> String {
    format!("{n} {word}{}", if n == 1 { "" } else { "s" })
}
