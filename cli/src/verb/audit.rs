//! `strait audit …`: reading, checking and proving an audit log. No verb here needs a gateway, and none but `erase` writes.

mod erase;
mod export;
mod proofs;
mod replay;
mod show;
mod verify;

use std::path::{Path, PathBuf};

use strait_audit::{LogError, PublicKey};
use strait_control::{Code, Failure};

use crate::output::Output;

/// More than a checkpoint, a key or a proof has.
const FILE_BYTES_MAX: u64 = 1 << 20;

#[derive(clap::Args)]
pub struct Audit {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Show records: all, or those that a filter takes.
    Show(show::Show),
    /// Check every byte of a log's folder; name the first thing that is wrong.
    Verify(verify::Verify),
    /// Prove that a record is in the log: print it with everything that is needed to check that elsewhere.
    Prove(proofs::Prove),
    /// Check a proof, without the log.
    CheckProof(proofs::CheckProof),
    /// Prove that the log of one checkpoint goes on as that of another.
    Consistency(proofs::Consistency),
    /// Overwrite what is kept of a record's arguments and result; the record and its proofs stay.
    Erase(erase::Erase),
    /// Print records in the form of another system.
    Export(export::Export),
    /// Put recorded calls to another policy: what would be decided otherwise.
    Replay(replay::Replay),
}

impl Audit {
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        match self.what {
            What::Show(show) => show.run(output),
            What::Verify(verify) => verify.run(output),
            What::Prove(prove) => prove.run(),
            What::CheckProof(check) => check.run(output),
            What::Consistency(consistency) => consistency.run(output),
            What::Erase(erase) => erase.run(output),
            What::Export(export) => export.run(),
            What::Replay(replay) => replay.run(output),
        }
    }
}

fn failed(error: LogError) -> Failure {
    let code = match &error {
        LogError::Damage { .. } | LogError::OtherKey { .. } | LogError::Refused(_) => Code::Failed,
        LogError::Locked { .. } => Code::Conflict,
        LogError::NoLog { .. } | LogError::Origin(_) | LogError::Key { .. } => Code::Usage,
        LogError::Io { error, .. } if error.kind() == std::io::ErrorKind::NotFound => Code::Usage,
        LogError::Io { .. } | LogError::Random => Code::Unfit,
    };
    Failure::new(code, error.to_string())
}

/// A small file that was named on the command line.
fn read(path: &Path) -> Result<String, Failure> {
    use std::io::Read;
    let wrong = |what: String| Failure::new(Code::Usage, format!("cannot read `{}`: {what}", path.display()));
    let file = std::fs::File::open(path).map_err(|error| wrong(error.to_string()))?;
    let mut text = String::new();
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(|error| wrong(error.to_string()))?;
    match text.len() as u64 > FILE_BYTES_MAX {
        true => Err(wrong(format!("expected at most {FILE_BYTES_MAX} bytes"))),
        false => Ok(text),
    }
}

/// A public key, as `key.pub` of a log has it.
fn key(path: Option<&PathBuf>) -> Result<Option<PublicKey>, Failure> {
    let Some(path) = path else { return Ok(None) };
    let text = read(path)?;
    let key = PublicKey::parse(text.trim_end()).ok_or_else(|| {
        let message = format!("`{}` is no key: expected a line `name+id+key`", path.display());
        Failure::new(Code::Usage, message)
            .help("it is the file `key.pub` of the log, kept from when it was made")
    })?;
    Ok(Some(key))
}

/// A record's name as it is typed.
fn name(text: &str) -> Result<strait_audit::reader::Name, Failure> {
    strait_audit::reader::Name::parse(text).ok_or_else(|| {
        let message = format!("`{}` is no record: expected an index or an id", text.escape_debug());
        Failure::new(Code::Usage, message).help("`strait audit show DIR` begins each line with the index")
    })
}
