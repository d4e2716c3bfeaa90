//! `strait init [DIR|FILE]`: a first configuration, with its schema beside it for editors. It asks nothing and never
//! writes over anything.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use strait_config_compiler::{first, import};
use strait_control::{Code, Failure, source};

use crate::output::Output;

#[derive(clap::Args)]
pub struct Init {
    /// A folder, where `strait.yaml` is written, or the file itself: `NAME.yaml`. The folder is made where it is missing.
    #[arg(value_name = "DIR|FILE", default_value = ".")]
    to: PathBuf,
    /// Begin with what another tool's file says, as `strait import` reads it, instead of a sample.
    #[arg(long, value_name = "FILE")]
    import: Option<PathBuf>,
}

impl Init {
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        let config = file(&self.to)?;
        let folder = config.parent().unwrap_or(Path::new(""));
        let name = config.file_name().unwrap_or_default().to_string_lossy();
        let imported = self.import.as_deref().map(imported).transpose()?;
        let text = imported.as_ref().map_or_else(|| first::text(&name), |imported| imported.text.clone());
        if !folder.as_os_str().is_empty() {
            fs::create_dir_all(folder).map_err(|error| cannot(folder, &error))?;
        }
        if !write_new(&config, &text)? {
            let message = format!("`{}` is there already, and nothing was written", config.display());
            let help = format!("`strait check {}` tells what is wrong with it", config.display());
            return Err(Failure::new(Code::Conflict, message).help(help));
        }
        let schema = folder.join(first::SCHEMA_NAME);
        // One that is there is as good: it came from a `strait` too.
        let is_new = write_new(&schema, &format!("{:#}\n", strait_config_compiler::schema()))?;
        let mut facts = json!({ "config": config, "schema": schema, "schema_written": is_new });
        if let Some(imported) = &imported {
            facts["keys"] = imported.keys.clone();
            facts["variables"] = json!(imported.variables);
        }
        output.facts(&facts, || {
            let (config, schema) = (config.display(), schema.display());
            let about = match &imported {
                None => "one sample server, one key, two rules".to_owned(),
                Some(imported) => imported.told.trim_end().to_owned(),
            };
            let kept = if is_new { "" } else { ", which was there already" };
            format!(
                "{config}: {about}\n{schema}: for editors{kept}\n\nto do next:\n  \
                 strait up {config}      serves it, and prints a key and a first call\n  \
                 strait check {config}   tells what is wrong after a change\n"
            )
        });
        Ok(())
    }
}

/// Another tool's file as ours, and what is to say about that.
struct Import {
    text: String,
    told: String,
    keys: Value,
    variables: Vec<String>,
}

fn imported(file: &Path) -> Result<Import, Failure> {
    if let Err(error) = fs::metadata(file) {
        return Err(Failure::new(Code::Usage, format!("cannot read `{}`: {error}", file.display())));
    }
    let imported = import::file(file, None).map_err(|outcome| source::findings(file, *outcome))?;
    let Some(config) = imported.config else {
        let message = format!("nothing of `{}` can be carried, and nothing was written", file.display());
        let help = format!("`strait import {}` says of each of its keys why", file.display());
        return Err(Failure::new(Code::Failed, message).help(help));
    };
    let mut told = format!("what `{}` says:\n{}", file.display(), imported.report.text(&imported.sources));
    if !imported.variables.is_empty() {
        told.push_str(&format!("set before it is compiled: {}\n", imported.variables.join(", ")));
    }
    let keys = imported.report.to_json(&imported.sources);
    Ok(Import { text: format!("{}{config}", first::MODELINE), told, keys, variables: imported.variables })
}

/// A name that ends like YAML is the file; any other is a folder.
fn file(to: &Path) -> Result<PathBuf, Failure> {
    match to.extension().and_then(|extension| extension.to_str()) {
        _ if to.is_dir() => {
            Ok(if to == Path::new(".") { PathBuf::new() } else { to.to_owned() }.join("strait.yaml"))
        }
        Some("yaml" | "yml") => Ok(to.to_owned()),
        None => Ok(to.join("strait.yaml")),
        Some(_) => {
            let message = format!("`{}` is neither a folder nor a name that ends in `.yaml`", to.display());
            Err(Failure::new(Code::Usage, message).help("name a folder, or a file like `strait.yaml`"))
        }
    }
}

/// `false`: something is there. A file that could not be written whole is taken away again.
fn write_new(path: &Path, text: &str) -> Result<bool, Failure> {
    let mut file = match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(false),
        Err(error) => return Err(cannot(path, &error)),
    };
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    written.map(|()| true).map_err(|error| {
        let _ = fs::remove_file(path);
        cannot(path, &error)
    })
}

fn cannot(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Code::Unfit, format!("cannot write `{}`: {error}", path.display()))
        .help("name a folder that this user may write")
}
