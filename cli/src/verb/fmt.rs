//! `strait fmt FILE…`: configurations in the one form. A file is replaced whole or not at all, with the mode it had; one that
//! cannot be formatted safely is left as it is, and named.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use strait_config_compiler::fmt::{Refused, format};
use strait_config_compiler::limits::FILE_BYTES_MAX;
use strait_control::{Code, Failure, whole};

use crate::output::{Output, count, error_line, print};

#[derive(clap::Args)]
pub struct Fmt {
    /// Configurations, or others of our YAML files; `-`: stdin, formatted to stdout.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Write nothing; name the files that are not in the form, and fail when there are any.
    #[arg(long)]
    check: bool,
}

/// What became of a file.
enum Done {
    Same,
    Changed,
    Refused(Refused),
}

impl Fmt {
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        let mut told = Vec::new();
        for file in &self.files {
            let done = if file == Path::new("-") { self.stdin()? } else { self.file(file)? };
            told.push((file.display().to_string(), done));
        }
        let is_text_out = !self.check && self.files.iter().any(|file| file == Path::new("-"));
        if output.json && !is_text_out {
            print(&format!("{:#}\n", json!({ "files": told.iter().map(fact).collect::<Vec<_>>() })));
        }
        let refused = told.iter().filter(|(_, done)| matches!(done, Done::Refused(_))).count();
        let changed = told.iter().filter(|(_, done)| matches!(done, Done::Changed)).count();
        for (file, done) in told.iter().filter(|_| !output.json) {
            match done {
                Done::Refused(Refused { line, why }) => {
                    error_line(&format!("{file}:{line}: left as it is: {why}"))
                }
                Done::Changed if self.check => print(&format!("{file}: not in the form of `strait fmt`\n")),
                Done::Changed if !is_text_out => print(&format!("{file}: formatted\n")),
                Done::Changed | Done::Same => {}
            }
        }
        if refused > 0 && output.json {
            let message = format!("{} cannot be formatted safely", count(refused, "file"));
            return Err(Failure::new(Code::Failed, message).help("nothing of them was changed"));
        }
        // What is wrong was told by file.
        if refused > 0 || (self.check && changed > 0) { Err(Failure::silent(Code::Failed)) } else { Ok(()) }
    }

    fn stdin(&self) -> Result<Done, Failure> {
        let mut text = String::new();
        let read = std::io::stdin().lock().take(FILE_BYTES_MAX + 1).read_to_string(&mut text);
        let read = read.map_err(|error| Failure::new(Code::Usage, format!("cannot read stdin: {error}")))?;
        if read as u64 > FILE_BYTES_MAX {
            return Err(Failure::new(Code::Usage, format!("stdin holds more than {FILE_BYTES_MAX} bytes")));
        }
        let formatted = match format(&text) {
            Ok(formatted) => formatted,
            Err(refused) => return Ok(Done::Refused(refused)),
        };
        if !self.check {
            // A closed pipe has seen enough.
            let _ = std::io::stdout().lock().write_all(formatted.as_bytes());
        }
        Ok(if formatted == text { Done::Same } else { Done::Changed })
    }

    fn file(&self, file: &Path) -> Result<Done, Failure> {
        let cannot = |doing: &str, why: String| {
            Failure::new(Code::Usage, format!("cannot {doing} `{}`: {why}", file.display()))
        };
        // Through links to the file itself: a link stays one.
        let path = file.canonicalize().map_err(|error| cannot("read", error.to_string()))?;
        let meta = path.metadata().map_err(|error| cannot("read", error.to_string()))?;
        if !meta.is_file() || meta.len() > FILE_BYTES_MAX {
            return Err(cannot("read", format!("expected a file of at most {FILE_BYTES_MAX} bytes")));
        }
        let bytes = std::fs::read(&path).map_err(|error| cannot("read", error.to_string()))?;
        let Ok(text) = String::from_utf8(bytes) else {
            return Ok(Done::Refused(Refused { line: 1, why: "it is not UTF-8 text".to_owned() }));
        };
        let formatted = match format(&text) {
            Ok(formatted) => formatted,
            Err(refused) => return Ok(Done::Refused(refused)),
        };
        if formatted == text {
            return Ok(Done::Same);
        }
        if !self.check {
            whole::write_like(&path, formatted.as_bytes()).map_err(|error| {
                Failure::new(Code::Unfit, format!("cannot write `{}`: {error}", file.display()))
            })?;
        }
        Ok(Done::Changed)
    }
}

fn fact((file, done): &(String, Done)) -> Value {
    match done {
        Done::Same => json!({ "file": file, "state": "same" }),
        Done::Changed => json!({ "file": file, "state": "changed" }),
        Done::Refused(Refused { line, why }) => {
            json!({ "file": file, "state": "refused", "line": line, "why": why })
        }
    }
}
