//! `strait vault set|list|rotate|remove`: the embedded vault of a state folder. A value comes from stdin, never from the command
//! line: other users see that.

use std::io::{IsTerminal, Read, Write};
use std::path::PathBuf;

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use serde_json::json;
use strait_control::secrets::sealed::{Place, SealedError};
use strait_control::{Code, Failure};
use zeroize::Zeroizing;

use crate::output::{Output, count};

/// More than a secret may have, so that one that is too long is told as that.
const READ_BYTES_MAX: u64 = 128 * 1024;

#[derive(clap::Args)]
pub struct Vault {
    #[command(subcommand)]
    what: What,
    /// The gateway's state folder.
    #[arg(long, value_name = "DIR", default_value = ".strait", global = true)]
    state: PathBuf,
    /// The file with the key that wraps the others; also by STRAIT_KEK_FILE. Default: systemd's credential `strait-kek`, else
    /// `vault.key` in the state folder.
    #[arg(long, value_name = "FILE", global = true)]
    kek: Option<PathBuf>,
}

#[derive(clap::Subcommand)]
enum What {
    /// Keep a value, read from stdin, under a name: `${secret:NAME}` stands for it.
    Set {
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// List names and versions, never values.
    List,
    /// Encrypt everything anew under a new key.
    Rotate,
    /// Forget a secret.
    Remove {
        #[arg(value_name = "NAME")]
        name: String,
    },
}

impl Vault {
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        let env = |name: &str| std::env::var(name).ok();
        let place = Place::of(&self.state, self.kek.as_deref(), &env);
        match self.what {
            What::Set { name } => {
                let value = value(&name)?;
                let version = place.set(&name, &value).map_err(failed)?;
                output.facts(&json!({ "name": name, "version": version }), || {
                    format!("`{name}` is in the vault, version {version}\n")
                });
            }
            What::List => {
                let listed = place.list().map_err(failed)?;
                let facts: Vec<_> = listed
                    .iter()
                    .map(|one| json!({ "name": one.name, "version": one.version, "set": one.set }))
                    .collect();
                output.facts(&json!({ "secrets": facts }), || {
                    listed
                        .iter()
                        .map(|one| format!("{}  version {}  set {}\n", one.name, one.version, one.set))
                        .collect()
                });
            }
            What::Rotate => {
                let secrets = place.rotate().map_err(failed)?;
                output.facts(&json!({ "rotated": secrets }), || {
                    format!("{} under a new key in `{}`\n", count(secrets, "secret"), place.kek.display())
                });
            }
            What::Remove { name } => {
                if !place.remove(&name).map_err(failed)? {
                    let message = format!("there is no secret `{}` in the vault", name.escape_debug());
                    return Err(Failure::new(Code::Failed, message));
                }
                output.facts(&json!({ "removed": name }), || format!("`{name}` is forgotten\n"));
            }
        }
        Ok(())
    }
}

/// Without the line break at its end. A person types it unseen.
fn value(name: &str) -> Result<Zeroizing<String>, Failure> {
    let stdin = std::io::stdin();
    let unseen = stdin.is_terminal().then(|| {
        eprint!("Value of `{name}`: ");
        let _ = std::io::stderr().flush();
        Unseen::begin()
    });
    // As large as it may become: a text that grows leaves copies behind.
    let mut text = Zeroizing::new(String::with_capacity(READ_BYTES_MAX as usize));
    let read = match unseen {
        Some(_) => stdin.read_line(&mut text),
        None => stdin.lock().take(READ_BYTES_MAX).read_to_string(&mut text),
    };
    drop(unseen);
    read.map_err(|error| Failure::new(Code::Usage, format!("cannot read the value from stdin: {error}")))?;
    let length = text.trim_end_matches(['\r', '\n']).len();
    text.truncate(length);
    Ok(text)
}

/// A terminal that shows nothing of what is typed, until dropped.
struct Unseen(Option<rustix::termios::Termios>);

impl Unseen {
    fn begin() -> Unseen {
        let Ok(before) = tcgetattr(std::io::stdin()) else { return Unseen(None) };
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        let set = tcsetattr(std::io::stdin(), OptionalActions::Flush, &quiet);
        Unseen(set.is_ok().then_some(before))
    }
}

impl Drop for Unseen {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            // The shell puts it back too.
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Flush, before);
            eprintln!();
        }
    }
}

fn failed(error: SealedError) -> Failure {
    let code = match error {
        SealedError::Refused(_) => Code::Usage,
        SealedError::Kek { .. } | SealedError::Io { .. } => Code::Unfit,
        _ => Code::Failed,
    };
    Failure::new(code, error.to_string())
}
