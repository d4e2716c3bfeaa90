//! `strait connect CLIENT [URL|CONFIG]`: a client's own file edited so that it reaches a gateway, and back with `--undo`.

use std::path::{Path, PathBuf};

use strait_control::connect::{self, Client, Route, Surroundings, Told, Wish};
use strait_control::{Code, Failure};

use crate::output::Output;

/// What `strait up` listens on when nothing else is said.
const URL: &str = "http://127.0.0.1:8080/mcp";

#[derive(clap::Args)]
pub struct Connect {
    /// Whose file is edited.
    #[arg(value_enum, value_name = "CLIENT")]
    client: Name,
    /// The server of a running gateway, or the configuration or table that it serves.
    #[arg(value_name = "URL|CONFIG", default_value = URL)]
    to: String,
    /// With CONFIG: which of its servers; `default` or the only one when not said.
    #[arg(long, value_name = "NAME")]
    server: Option<String>,
    /// What the entry is called in the client's file.
    #[arg(long, value_name = "NAME", default_value = "strait")]
    name: String,
    /// The client's file, where it is not in its usual place.
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,
    /// With URL: the server asks nobody for a key.
    #[arg(long, conflicts_with = "key_file")]
    no_key: bool,
    /// The file that holds the key, for a client that cannot refer to a variable.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Show what would be written, and write nothing.
    #[arg(long)]
    dry_run: bool,
    /// Put back what was there before.
    #[arg(long, conflicts_with_all = ["server", "no_key", "key_file"])]
    undo: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum Name {
    ClaudeDesktop,
    ClaudeCode,
    Cursor,
    Windsurf,
    Vscode,
}

impl Name {
    pub fn client(self) -> Client {
        match self {
            Name::ClaudeDesktop => Client::ClaudeDesktop,
            Name::ClaudeCode => Client::ClaudeCode,
            Name::Cursor => Client::Cursor,
            Name::Windsurf => Client::Windsurf,
            Name::Vscode => Client::VsCode,
        }
    }
}

/// The environment that clients' paths depend on.
pub fn around() -> Surroundings<'static> {
    Surroundings { env: &|name| std::env::var(name).ok(), system: std::env::consts::OS }
}

impl Connect {
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        let client = self.client.client();
        let wish = Wish { client, file: self.file.clone(), dry_run: self.dry_run };
        let done = match self.undo {
            true => connect::undo(&wish, &around())?,
            false => connect::connect(&wish, &self.route()?, &around())?,
        };
        output.facts(&done.to_json(), || done.text());
        Ok(())
    }

    fn route(self) -> Result<Route, Failure> {
        let told = match self.to.contains("://") {
            true => self.by_url()?,
            false => connect::told(Path::new(&self.to), self.server.as_deref())?,
        };
        let binary = std::env::current_exe().map_err(|error| {
            Failure::new(Code::Unfit, format!("where this program is cannot be told: {error}"))
        })?;
        let key_file = match self.key_file {
            Some(path) => Some(std::path::absolute(&path).map_err(|error| {
                Failure::new(Code::Usage, format!("`{}` is no path: {error}", path.display()))
            })?),
            None => told.key_file,
        };
        Ok(Route { name: self.name, url: told.url, needs_key: told.needs_key, key_file, binary })
    }

    fn by_url(&self) -> Result<Told, Failure> {
        if self.server.is_some() {
            let message = "--server is for a CONFIG: the path of a URL says which server is meant";
            return Err(Failure::new(Code::Usage, message));
        }
        let has_scheme = self.to.starts_with("http://") || self.to.starts_with("https://");
        if !has_scheme || self.to.contains(['@', ' ', '"']) || self.to.contains(char::is_control) {
            let message =
                "the URL of a gateway is like http://127.0.0.1:8080/mcp, without a user or password";
            return Err(Failure::new(Code::Usage, message));
        }
        Ok(Told { url: self.to.clone(), needs_key: !self.no_key, key_file: None })
    }
}
