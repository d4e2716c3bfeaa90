//! `strait audit erase DIR RECORD`.

use std::path::PathBuf;

use serde_json::json;
use strait_audit::erase::{Word, erase};
use strait_audit::{Which, moment};
use strait_control::Failure;

use super::{failed, name};
use crate::output::Output;

#[derive(clap::Args)]
pub struct Erase {
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// The record: its index, or its id (`START-CORE-N`, `CORE-N`).
    #[arg(value_name = "RECORD")]
    record: String,
    /// Only this one.
    #[arg(long, value_name = "FIELD")]
    field: Option<Field>,
    /// On whose word: the log will tell.
    #[arg(long, value_name = "TEXT")]
    why: Option<String>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Field {
    Arguments,
    Result,
}

impl Erase {
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        let only = self.field.map(|field| match field {
            Field::Arguments => Which::Arguments,
            Field::Result => Which::Result,
        });
        let word = Word { by: by(), at: moment::text(now_ms()), why: self.why };
        let done = erase(&self.dir, name(&self.record)?, only, &word).map_err(failed)?;
        let words = |which: &[Which]| which.iter().map(|which| which.word()).collect::<Vec<_>>();
        let (erased, before) = (words(&done.erased), words(&done.before));
        output.facts(&json!({ "record": done.index, "erased": erased, "erased_before": before }), || {
            let mut text = String::new();
            if !erased.is_empty() {
                text.push_str(&format!("erased   {} of record {}\n", erased.join(" and "), done.index));
            }
            if !before.is_empty() {
                text.push_str(&format!(
                    "before   {} of record {} had been erased\n",
                    before.join(" and "),
                    done.index
                ));
            }
            text
        });
        Ok(())
    }
}

/// Who runs this, as the system knows it.
fn by() -> String {
    format!("uid {}", rustix::process::getuid().as_raw())
}

fn now_ms() -> u64 {
    u64::try_from(strait_control::time::unix_s()).unwrap_or(0) * 1_000
}
