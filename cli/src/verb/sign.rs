//! `strait sign TABLE --key KEY`: where the key is, which need not be where the table was compiled. `strait compile --sign KEY` does both.

use std::path::PathBuf;

use serde_json::json;
use strait_control::signing::{self, Signer};
use strait_control::{Code, Failure, Source, whole};
use strait_table::Snapshot;
use strait_table::signature::Signature;

use crate::output::Output;

#[derive(clap::Args)]
pub struct Sign {
    /// A table; it is signed in place, whole or not at all, and whoever signed it before is forgotten.
    #[arg(value_name = "TABLE")]
    table: PathBuf,
    /// An Ed25519 private key, PKCS#8 in PEM, as `strait keys signing` and `openssl genpkey -algorithm ed25519` make it.
    #[arg(long, value_name = "KEY")]
    key: PathBuf,
    /// What orders tables: a gateway takes none with a smaller one than that in use. The second of now when not said.
    #[arg(long, value_name = "N")]
    sequence: Option<u64>,
}

/// To have a table signed as it is made.
#[derive(clap::Args)]
pub struct Seal {
    /// Sign the table with this Ed25519 private key (PKCS#8 in PEM).
    #[arg(long = "sign", value_name = "KEY", conflicts_with = "confined")]
    key: Option<PathBuf>,
    /// What orders signed tables: a gateway takes none with a smaller one than that in use. The second of now when not said;
    /// with the same one, the same configuration gives the same bytes.
    #[arg(long, value_name = "N", requires = "key")]
    sequence: Option<u64>,
}

impl Seal {
    /// Signs the bytes of a table, if that is wanted.
    pub fn sign(&self, table: &mut [u8]) -> Result<Option<Signature>, Failure> {
        self.key.as_ref().map(|key| signed(table, key, self.sequence)).transpose()
    }
}

impl Sign {
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        if let Source::Config(path) = Source::detect(&self.table)? {
            let message = format!("`{}` is a configuration: expected a table", path.display());
            return Err(Failure::new(Code::Usage, message)
                .help("`strait compile CONFIG -o TABLE --sign KEY` compiles and signs"));
        }
        let opened = Source::Table(self.table.clone()).open()?;
        let mut bytes = opened.snapshot.table().to_vec();
        let signature = signed(&mut bytes, &self.key, self.sequence)?;
        let snapshot = Snapshot::from_bytes(&bytes)
            .map_err(|error| Failure::bug(format!("the signed table does not open: {error}")))?;
        let table = self.table.display().to_string();
        whole::write_like(&self.table, &bytes)
            .map_err(|error| Failure::new(Code::Unfit, format!("cannot write `{table}`: {error}")))?;
        let generation = snapshot.generation().to_string();
        let facts =
            json!({ "table": table, "generation": generation, "signature": signing::facts(&snapshot) });
        output.facts(&facts, || format!("{table}: generation {generation}{}\n", said(Some(&signature))));
        Ok(())
    }
}

fn signed(table: &mut [u8], key: &std::path::Path, sequence: Option<u64>) -> Result<Signature, Failure> {
    let signer = Signer::read(key)?;
    let signature = signer.sign(table, sequence.unwrap_or_else(signing::sequence_now));
    signature.map_err(|error| Failure::bug(format!("the table cannot be signed: {error}")))
}

/// By whom, at the end of a line.
pub fn said(signature: Option<&Signature>) -> String {
    signature.map_or_else(String::new, |signature| {
        format!(", signed by {} with sequence {}", signature.key, signature.sequence)
    })
}
