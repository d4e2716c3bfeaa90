//! `strait audit prove|check-proof|consistency`.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use strait_audit::proof::{self, Proof};
use strait_audit::view::plain;
use strait_control::{Code, Failure};

use super::{failed, key, name, read};
use crate::output::{Output, print};

#[derive(clap::Args)]
pub struct Prove {
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// The record: its index, or its id (`START-CORE-N`, `CORE-N`).
    #[arg(value_name = "RECORD")]
    record: String,
}

impl Prove {
    pub fn run(self) -> Result<(), Failure> {
        let proof = Proof::make(&self.dir, name(&self.record)?).map_err(failed)?;
        print(&format!("{:#}\n", json!(proof)));
        Ok(())
    }
}

#[derive(clap::Args)]
pub struct CheckProof {
    /// What `strait audit prove` printed.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The key that must have signed it: `key.pub` of the log, kept from elsewhere. Without it the key in the proof is believed.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

impl CheckProof {
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        let wrong = |error: proof::ProofError| {
            Failure::new(Code::Failed, format!("`{}` proves nothing: {error}", self.file.display()))
        };
        let key = key(self.key.as_ref())?;
        let proof = Proof::parse(&read(&self.file)?).map_err(wrong)?;
        let proven = proof.check(key.as_ref()).map_err(wrong)?;
        let record: Value = serde_json::from_str(&proof.record).unwrap_or_else(|_| json!(proof.record));
        let size = proven.checkpoint.size;
        let facts = json!({
            "verdict": "proven",
            "index": proof.index,
            "size": size,
            "origin": proven.checkpoint.origin,
            "key": proven.key.line(),
            "trusted": key.is_some(),
            "record": record,
        });
        output.facts(&facts, || {
            let by = proven.key.line();
            let record = plain(&proof.record);
            let mut text = format!(
                "proven   record {} of the first {size} of `{}`\nkey      {by}\n",
                proof.index, proven.checkpoint.origin
            );
            if key.is_none() {
                text.push_str(
                    "alone    the key is the proof's own: `--key FILE` holds it against one that you trust\n",
                );
            }
            text + &format!("record   {record}\n")
        });
        Ok(())
    }
}

#[derive(clap::Args)]
pub struct Consistency {
    /// The earlier checkpoint.
    #[arg(value_name = "A")]
    from: PathBuf,
    /// The later one.
    #[arg(value_name = "B")]
    to: PathBuf,
    /// The folder of the log; that of B where it is not said.
    #[arg(long, value_name = "DIR")]
    log: Option<PathBuf>,
}

impl Consistency {
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        let (from, to) = (read(&self.from)?, read(&self.to)?);
        let beside = self.to.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let dir = self.log.as_deref().unwrap_or(beside);
        let proof = proof::Consistency::make(dir, &from, &to).map_err(failed)?;
        let checked = proof.check(None);
        let (a, b) =
            checked.map_err(|error| Failure::bug(format!("a proof that was made does not hold: {error}")))?;
        let mut facts = json!(proof);
        facts["verdict"] = json!("consistent");
        facts["sizes"] = json!([a.size, b.size]);
        output.facts(&facts, || {
            format!(
                "consistent  the log of {} records begins with that of {}\nkey         {}\n",
                b.size, a.size, proof.key
            )
        });
        Ok(())
    }
}
