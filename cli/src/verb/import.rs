//! `strait import [FILE]`: a configuration of another tool as ours, with a line for every key of it.

use std::path::{Path, PathBuf};

use serde_json::json;
use strait_config_compiler::import::{self, Form, Imported};
use strait_control::connect::Client;
use strait_control::{Code, Failure, source, whole};

use super::connect::around;
use crate::output::{Output, print};

#[derive(clap::Args)]
pub struct Import {
    /// The file; with `--from` a client, the one that it reads.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// What it is.
    #[arg(long, value_enum, default_value = "auto")]
    from: From,
    /// Where the configuration is written; stdout when not said.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace a file that is there and says something else.
    #[arg(long)]
    force: bool,
    /// Write nothing while something needs a decision.
    #[arg(long)]
    strict: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum From {
    Auto,
    ClaudeDesktop,
    ClaudeCode,
    Cursor,
    Windsurf,
    Vscode,
    Registry,
    Docker,
    Agentgateway,
    Envoy,
    McpProxy,
}

impl From {
    fn form(self) -> Option<Form> {
        match self {
            From::Auto => None,
            From::ClaudeDesktop | From::ClaudeCode | From::Cursor | From::Windsurf => Some(Form::McpServers),
            From::Vscode => Some(Form::VsCode),
            From::Registry => Some(Form::Registry),
            From::Docker => Some(Form::Docker),
            From::Agentgateway => Some(Form::Agentgateway),
            From::Envoy => Some(Form::Envoy),
            From::McpProxy => Some(Form::McpProxy),
        }
    }

    fn client(self) -> Option<Client> {
        match self {
            From::ClaudeDesktop => Some(Client::ClaudeDesktop),
            From::ClaudeCode => Some(Client::ClaudeCode),
            From::Cursor => Some(Client::Cursor),
            From::Windsurf => Some(Client::Windsurf),
            From::Vscode => Some(Client::VsCode),
            _ => None,
        }
    }
}

impl Import {
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        let usual = || self.from.client().and_then(|client| client.file(&around()));
        let file = self.file.clone().or_else(usual).ok_or_else(|| {
            Failure::new(Code::Usage, "no file is named")
                .help("name one, or the client whose file it is with --from")
        })?;
        if let Err(error) = std::fs::metadata(&file) {
            return Err(Failure::new(Code::Usage, format!("cannot read `{}`: {error}", file.display())));
        }
        let imported =
            import::file(&file, self.from.form()).map_err(|outcome| source::findings(&file, *outcome))?;
        let asked = imported.report.count("asked");
        let written = match (&imported.config, self.strict && asked > 0) {
            (Some(config), false) => self.write(config)?,
            _ => false,
        };
        self.tell(output, &imported, written);
        match (&imported.config, self.strict && asked > 0) {
            (Some(_), false) => Ok(()),
            (None, _) => {
                Err(Failure::new(Code::Failed, format!("nothing of `{}` can be carried", file.display()))
                    .help("the report says of each server what must be decided first"))
            }
            (_, true) => {
                Err(Failure::new(Code::Failed, format!("{asked} keys need a decision; nothing was written")))
            }
        }
    }

    /// Whether there is anything new in the file.
    fn write(&self, config: &str) -> Result<bool, Failure> {
        let Some(path) = &self.output else { return Ok(false) };
        match std::fs::read(path) {
            Ok(there) if there == config.as_bytes() => return Ok(false),
            Ok(_) if !self.force => {
                let message = format!("`{}` is there and says something else", path.display());
                return Err(Failure::new(Code::Conflict, message)
                    .help("name another file, or replace it with --force"));
            }
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(unwritten(path, &error));
            }
            _ => {}
        }
        whole::write(path, config.as_bytes()).map_err(|error| unwritten(path, &error))?;
        Ok(true)
    }

    /// The configuration on stdout where it has no file; the report beside it on stderr.
    fn tell(&self, output: &Output, imported: &Imported, written: bool) {
        if output.json {
            let facts = json!({
                "form": imported.form.name(),
                "output": self.output,
                "written": written,
                "config": imported.config,
                "variables": imported.variables,
                "mapped": imported.report.count("mapped"),
                "ignored": imported.report.count("ignored"),
                "asked": imported.report.count("asked"),
                "keys": imported.report.to_json(&imported.sources),
            });
            output.facts(&facts, String::new);
            return;
        }
        let mut told = imported.report.text(&imported.sources);
        if !imported.variables.is_empty() {
            told.push_str(&format!("set before it is compiled: {}\n", imported.variables.join(", ")));
        }
        match (&self.output, &imported.config) {
            (None, Some(config)) if !self.strict || imported.report.count("asked") == 0 => {
                output.note(&told);
                print(config);
            }
            (Some(path), Some(_)) => {
                let path = path.display();
                told.push_str(&match written {
                    true => format!("written to {path}; next: strait check {path} && strait up {path}\n"),
                    false => format!("{path} is as it was\n"),
                });
                print(&told);
            }
            _ => output.note(&told),
        }
    }
}

fn unwritten(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Code::Unfit, format!("cannot write `{}`: {error}", path.display()))
        .help("name a file in a folder that this user may write")
}
