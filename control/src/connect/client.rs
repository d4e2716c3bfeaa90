//! The clients that `strait connect` knows: where each keeps its list of servers, how it writes one that is reached by
//! URL or started as a process, and what it lets stand for a key, so that no key is ever written there. Paths and
//! spellings are those of the clients' own documentation (`docs/IMPORT.md` names it).

use std::path::PathBuf;

use serde_json::{Value, json};
use strait_config_compiler::source::jsonc::edit::Put;

/// The variable of the environment that holds a client's key.
pub const VARIABLE: &str = "STRAIT_KEY";
/// The editor's question for it.
const INPUT: &str = "strait-key";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    ClaudeDesktop,
    ClaudeCode,
    Cursor,
    Windsurf,
    VsCode,
}

/// How a gateway is reached.
pub struct Route {
    /// The entry's name.
    pub name: String,
    pub url: String,
    /// Its server asks for a key.
    pub needs_key: bool,
    /// The file with the key, for a client that can only start a process.
    pub key_file: Option<PathBuf>,
    /// This binary, whole.
    pub binary: PathBuf,
}

/// Where paths start.
pub struct Surroundings<'a> {
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// `linux`, `macos` or `windows`.
    pub system: &'a str,
}

impl Client {
    pub const ALL: [Client; 5] =
        [Client::ClaudeDesktop, Client::ClaudeCode, Client::Cursor, Client::Windsurf, Client::VsCode];

    pub fn name(self) -> &'static str {
        match self {
            Client::ClaudeDesktop => "claude-desktop",
            Client::ClaudeCode => "claude-code",
            Client::Cursor => "cursor",
            Client::Windsurf => "windsurf",
            Client::VsCode => "vscode",
        }
    }

    /// The file it reads. `None`: the environment does not tell whose.
    pub fn file(self, around: &Surroundings<'_>) -> Option<PathBuf> {
        let set = |name: &str| (around.env)(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let home = || set(if around.system == "windows" { "USERPROFILE" } else { "HOME" });
        let settings = || match around.system {
            "windows" => set("APPDATA"),
            "macos" => Some(home()?.join("Library/Application Support")),
            _ => set("XDG_CONFIG_HOME").or_else(|| Some(home()?.join(".config"))),
        };
        Some(match self {
            Client::ClaudeDesktop => settings()?.join("Claude/claude_desktop_config.json"),
            // Of the project one stands in: the user's own is rewritten by the client as it runs.
            Client::ClaudeCode => PathBuf::from(".mcp.json"),
            Client::Cursor => home()?.join(".cursor/mcp.json"),
            Client::Windsurf => home()?.join(".codeium/windsurf/mcp_config.json"),
            Client::VsCode => settings()?.join("Code/User/mcp.json"),
        })
    }

    /// Reads a list of processes alone.
    pub fn starts_processes_alone(self) -> bool {
        self == Client::ClaudeDesktop
    }

    /// What is written.
    pub fn changes(self, route: &Route) -> Vec<Put> {
        let at = |key: &str| vec![key.to_owned()];
        let with_key = |mut entry: Value, bearer: &str| {
            if route.needs_key {
                entry["headers"] = json!({ "Authorization": format!("Bearer {bearer}") });
            }
            entry
        };
        let member = |at: Vec<String>, value: Value| Put::Member { at, name: route.name.clone(), value };
        let url = &route.url;
        match self {
            Client::ClaudeDesktop => vec![member(at("mcpServers"), process(route))],
            Client::ClaudeCode => {
                let entry = with_key(json!({ "type": "http", "url": url }), &format!("${{{VARIABLE}}}"));
                vec![member(at("mcpServers"), entry)]
            }
            Client::Cursor => {
                vec![member(
                    at("mcpServers"),
                    with_key(json!({ "url": url }), &format!("${{env:{VARIABLE}}}")),
                )]
            }
            Client::Windsurf => {
                let entry = with_key(json!({ "serverUrl": url }), &format!("${{env:{VARIABLE}}}"));
                vec![member(at("mcpServers"), entry)]
            }
            Client::VsCode => {
                let entry = with_key(json!({ "type": "http", "url": url }), &format!("${{input:{INPUT}}}"));
                let mut changes = vec![member(at("servers"), entry)];
                if route.needs_key {
                    let value = json!({
                        "type": "promptString", "id": INPUT, "description": "Key of the Strait gateway", "password": true,
                    });
                    changes.push(Put::Element { list: "inputs".to_owned(), id: INPUT.to_owned(), value });
                }
                changes
            }
        }
    }

    /// What is left for a person to do.
    pub fn remark(self, route: &Route) -> String {
        let restart = match self {
            Client::ClaudeDesktop | Client::Windsurf => "start it again to have it read its file",
            _ => "it reads its file by itself, or when it is started",
        };
        let key = match (self, route.needs_key) {
            (_, false) => String::new(),
            (Client::ClaudeDesktop, _) => {
                "; it cannot refer to a variable, so the file of the key is named, not the key".to_owned()
            }
            (Client::VsCode, _) => "; it asks for the key and keeps it".to_owned(),
            _ => format!("; the key is read from the variable {VARIABLE} of its environment"),
        };
        format!("{}: {restart}{key}", self.name())
    }
}

/// `strait stdio`, which reaches the gateway over HTTP.
fn process(route: &Route) -> Value {
    let mut args = vec!["stdio".to_owned(), route.url.clone()];
    if let Some(file) = &route.key_file {
        args.extend(["--key-file".to_owned(), file.display().to_string()]);
    }
    json!({ "command": route.binary.display().to_string(), "args": args })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_where_the_clients_look() {
        let file = |client: Client, system: &str| {
            let env = |name: &str| match name {
                "HOME" => Some("/h".to_owned()),
                "USERPROFILE" => Some("C:/u".to_owned()),
                "APPDATA" => Some("C:/a".to_owned()),
                _ => None,
            };
            client.file(&Surroundings { env: &env, system }).unwrap().display().to_string()
        };
        for (client, linux, macos, windows) in [
            (
                Client::ClaudeDesktop,
                "/h/.config/Claude/claude_desktop_config.json",
                "/h/Library/Application Support/Claude/claude_desktop_config.json",
                "C:/a/Claude/claude_desktop_config.json",
            ),
            (Client::ClaudeCode, ".mcp.json", ".mcp.json", ".mcp.json"),
            (Client::Cursor, "/h/.cursor/mcp.json", "/h/.cursor/mcp.json", "C:/u/.cursor/mcp.json"),
            (
                Client::Windsurf,
                "/h/.codeium/windsurf/mcp_config.json",
                "/h/.codeium/windsurf/mcp_config.json",
                "C:/u/.codeium/windsurf/mcp_config.json",
            ),
            (
                Client::VsCode,
                "/h/.config/Code/User/mcp.json",
                "/h/Library/Application Support/Code/User/mcp.json",
                "C:/a/Code/User/mcp.json",
            ),
        ] {
            let found = ["linux", "macos", "windows"].map(|system| file(client, system));
            assert_eq!(found, [linux, macos, windows], "{}", client.name());
        }
    }

    #[test]
    fn nobody_is_given_a_key() {
        let route = Route {
            name: "strait".to_owned(),
            url: "http://127.0.0.1:8080/mcp".to_owned(),
            needs_key: true,
            key_file: Some("/s/keys/you".into()),
            binary: "/b/strait".into(),
        };
        for client in Client::ALL {
            let written = format!("{:?}", client.changes(&route));
            let refers = ["${STRAIT_KEY}", "${env:STRAIT_KEY}", "${input:strait-key}", "--key-file"];
            assert!(refers.iter().any(|how| written.contains(how)), "{written}");
        }
    }
}
