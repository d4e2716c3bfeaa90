//! `strait keys new|list|revoke FILE`: files of API-key digests. A key is shown once, when it is made.

use std::path::PathBuf;

use serde_json::{Value, json};
use strait_config_compiler::keys::{self, Key, KeyFileError};
use strait_control::{Code, Failure};

use crate::output::{Output, count, print};

#[derive(clap::Args)]
pub struct Keys {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Make a key, and the file where it is missing. The key is printed once and kept nowhere.
    New {
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Whom the key stands for.
        #[arg(long, value_name = "NAME")]
        id: String,
        /// Groups that roles may ask for, separated by commas.
        #[arg(long, value_name = "GROUP", value_delimiter = ',')]
        groups: Vec<String>,
        /// Print the key alone.
        #[arg(long, short)]
        quiet: bool,
    },
    /// List the keys of a file: whom they stand for, never the keys.
    List {
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Revoke every key of an id, or one by its fingerprint.
    Revoke {
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// An id, or a fingerprint as `list` shows it.
        #[arg(value_name = "ID")]
        which: String,
    },
}

impl Keys {
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        match self.what {
            What::New { file, id, groups, quiet } => {
                let key = keys::new_key(&file, &id, &groups).map_err(failed)?;
                if quiet && !output.json {
                    print(&format!("{key}\n"));
                    return Ok(());
                }
                let facts = json!({ "id": id, "groups": groups, "file": file, "key": key });
                output.facts(&facts, || {
                    format!(
                        "A key for `{id}`, shown this once; `{}` holds its digest:\n{key}\n",
                        file.display()
                    )
                });
            }
            What::List { file } => {
                let keys = keys::list(&file).map_err(failed)?;
                let facts: Vec<Value> = keys.iter().map(fact).collect();
                output.facts(&json!({ "keys": facts }), || keys.iter().map(line).collect());
            }
            What::Revoke { file, which } => {
                let revoked = keys::revoke(&file, &which).map_err(failed)?;
                let text = || format!("{} of `{which}` revoked\n", count(revoked, "key"));
                output.facts(&json!({ "revoked": revoked }), text);
            }
        }
        Ok(())
    }
}

fn fact(key: &Key) -> Value {
    json!({
        "id": key.id,
        "groups": key.groups,
        "fingerprint": key.fingerprint(),
        "created": key.created,
        "revoked": key.revoked,
    })
}

fn line(key: &Key) -> String {
    let state = key.revoked.as_ref().map_or_else(|| "in use".to_owned(), |when| format!("revoked {when}"));
    format!("{}  {}  [{}]  made {}  {state}\n", key.fingerprint(), key.id, key.groups.join(", "), key.created)
}

fn failed(error: KeyFileError) -> Failure {
    let code = match error {
        KeyFileError::Io { .. } => Code::Unfit,
        KeyFileError::Refused { .. } | KeyFileError::Unreadable { .. } => Code::Usage,
        KeyFileError::Malformed { .. } | KeyFileError::Unknown { .. } => Code::Failed,
    };
    Failure::new(code, error.to_string())
}
