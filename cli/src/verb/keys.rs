//! `strait keys new|list|revoke FILE`: files of API-key digests. A key is shown once, when it is made. `strait keys signing FILE`: a key
//! that signs tables.

use std::path::PathBuf;

use serde_json::{Value, json};
use strait_config_compiler::keys::{self, Key, KeyFileError};
use strait_control::signing::Signer;
use strait_control::{Code, Failure};
use strait_policy::Principal;

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
        /// On whose behalf it acts.
        #[arg(long, value_name = "NAME", default_value = "")]
        user: String,
        /// Which program it is.
        #[arg(long, value_name = "NAME", default_value = "")]
        agent: String,
        /// To which customer or team it belongs.
        #[arg(long, value_name = "NAME", default_value = "")]
        tenant: String,
        /// What else is known of it: a JSON object.
        #[arg(long, value_name = "JSON")]
        claims: Option<String>,
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
    /// Make a key that signs tables: FILE for `compile --sign`, and FILE.pub for `serve --require-signed`.
    Signing {
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

impl Keys {
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        match self.what {
            What::New { file, id, groups, user, agent, tenant, claims, quiet } => {
                let claims = claims.map(|text| keys::claims(&text).map_err(failed));
                let claims = claims.transpose()?.unwrap_or_default();
                let principal = Principal { id, user, agent, tenant, groups, claims };
                let key = keys::new_key(&file, &principal).map_err(failed)?;
                if quiet && !output.json {
                    print(&format!("{key}\n"));
                    return Ok(());
                }
                let mut facts = whom(&principal);
                facts["file"] = json!(file);
                facts["key"] = json!(key);
                output.facts(&facts, || {
                    format!(
                        "A key for `{}`, shown this once; `{}` holds its digest:\n{key}\n",
                        principal.id,
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
            What::Signing { file } => {
                let (signer, public) = Signer::make(&file)?;
                let id = signer.id().to_string();
                let facts = json!({ "key": id, "private": file, "public": public });
                output.facts(&facts, || {
                    format!(
                        "Key {id}: `{}` signs tables and stays secret; `{}` is what gateways are started with\n",
                        file.display(),
                        public.display()
                    )
                });
            }
        }
        Ok(())
    }
}

fn fact(key: &Key) -> Value {
    let mut fact = whom(&key.principal);
    fact["fingerprint"] = json!(key.fingerprint());
    fact["created"] = json!(key.created);
    fact["revoked"] = json!(key.revoked);
    fact
}

/// Claims as text: a number in them is exact there.
fn whom(principal: &Principal) -> Value {
    let Principal { id, user, agent, tenant, groups, claims } = principal;
    json!({ "id": id, "groups": groups, "user": user, "agent": agent, "tenant": tenant, "claims": claims })
}

fn line(key: &Key) -> String {
    let state = key.revoked.as_ref().map_or_else(|| "in use".to_owned(), |when| format!("revoked {when}"));
    format!(
        "{}  {}  [{}]  made {}  {state}\n",
        key.fingerprint(),
        key.principal.id,
        key.principal.groups.join(", "),
        key.created
    )
}

fn failed(error: KeyFileError) -> Failure {
    let code = match error {
        KeyFileError::Io { .. } => Code::Unfit,
        KeyFileError::Refused { .. } | KeyFileError::Unreadable { .. } => Code::Usage,
        KeyFileError::Malformed { .. } | KeyFileError::Unknown { .. } => Code::Failed,
    };
    Failure::new(code, error.to_string())
}
