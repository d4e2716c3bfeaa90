//! `strait load compare A.json B.json`: two results of `--json`, read and held against each other.

use std::path::{Path, PathBuf};

use strait_control::{Code, Failure};
use strait_loadgen::load::compare::{Refused, compare};
use strait_loadgen::words;

use super::ended;
use crate::output::Output;

#[derive(clap::Args)]
pub struct Compare {
    /// What `strait load --json` printed: the one that the other is held against.
    #[arg(value_name = "A.json")]
    a: PathBuf,
    /// The other.
    #[arg(value_name = "B.json")]
    b: PathBuf,
}

/// The longest result that is read: with 64 windows it is some 100 KB.
const RESULT_BYTES_MAX: u64 = 64 * 1024 * 1024;

impl Compare {
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        let (a, b) = (read_result(&self.a)?, read_result(&self.b)?);
        let compared = compare(&a, &b).map_err(|refused| match refused {
            Refused::NoResult { which, why } => {
                let path = if which == "A" { &self.a } else { &self.b };
                let message = format!("`{}` is no result to compare: {why}", path.display());
                Failure::new(Code::Usage, message).help("`strait load URL --json > FILE` writes one")
            }
            Refused::Unlike(what) => {
                let message = format!("the two were not asked for the same: {}", what.join("; "));
                Failure::new(Code::Usage, words::printable(&message))
                    .help("run both with the same options: then a difference is the target's")
            }
        })?;
        output.facts(&compared.to_json(), || compared.text());
        ended(compared.verdict())
    }
}

fn read_result(path: &Path) -> Result<serde_json::Value, Failure> {
    let unfit = |why: String| {
        Failure::new(Code::Usage, format!("cannot read `{}`: {why}", path.display()))
            .help("`strait load URL --json > FILE` writes a result")
    };
    let length = std::fs::metadata(path).map_err(|error| unfit(error.to_string()))?.len();
    if length > RESULT_BYTES_MAX {
        return Err(unfit(format!("{length} bytes, and a result has {RESULT_BYTES_MAX} at most")));
    }
    let text = std::fs::read(path).map_err(|error| unfit(error.to_string()))?;
    serde_json::from_slice(&text).map_err(|error| unfit(format!("no JSON: {error}")))
}
