//! `strait audit verify DIR`.

use std::path::PathBuf;

use serde_json::json;
use strait_audit::LogError;
use strait_audit::verify::{Against, Report, verify};
use strait_control::{Code, Failure};

use super::{failed, key, read};
use crate::output::{Output, count};

#[derive(clap::Args)]
pub struct Verify {
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// A checkpoint of this log that was kept elsewhere; the log must go on from it. May be given several times.
    #[arg(long, value_name = "FILE")]
    checkpoint: Vec<PathBuf>,
    /// The key that must have signed it: `key.pub`, kept elsewhere.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

impl Verify {
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        let mut against = Against { checkpoints: Vec::new(), key: key(self.key.as_ref())? };
        for path in &self.checkpoint {
            against.checkpoints.push((path.display().to_string(), read(path)?));
        }
        match verify(&self.dir, &against) {
            Ok(report) => {
                let mut facts = json!(report);
                facts["verdict"] = json!("intact");
                facts["against"] = json!(self.checkpoint);
                output.facts(&facts, || told(&report, self.checkpoint.len()));
                Ok(())
            }
            Err(LogError::Damage { damage, .. }) => {
                let facts = json!({
                    "verdict": "damaged",
                    "file": damage.file,
                    "offset": damage.offset,
                    "record": damage.index,
                    "what": damage.what,
                });
                output.facts(&facts, || format!("DAMAGED  {damage}\n"));
                Err(Failure::silent(Code::Failed))
            }
            Err(error) => Err(failed(error)),
        }
    }
}

fn told(report: &Report, outside: usize) -> String {
    let mut text = format!(
        "intact   {} in {} ({} bytes), {} of them signed by {}\n",
        count(report.records as usize, "record"),
        count(report.segments as usize, "segment"),
        report.bytes,
        report.signed,
        count(report.checkpoints as usize, "checkpoint"),
    );
    text.push_str(&format!("key      {}\n", report.key));
    if report.first > 0 {
        text.push_str(&format!("retired  the records before {}, as the log says itself\n", report.first));
    }
    if report.lost > 0 {
        text.push_str(&format!(
            "lost     {}, as the log says itself\n",
            count(report.lost as usize, "record")
        ));
    }
    let (kept, erased) = (report.payloads, report.erased);
    text.push_str(&format!("kept     {}, {erased} erased\n", count(kept as usize, "payload")));
    if report.erasures_waiting > 0 {
        let waiting = count(report.erasures_waiting as usize, "erasure");
        text.push_str(&format!(
            "waiting  {waiting}: the gateway that writes the log, or the next, makes a record of each\n"
        ));
    }
    if !report.unexplained.is_empty() {
        let indexes: Vec<String> = report.unexplained.iter().map(u64::to_string).collect();
        text.push_str(&format!(
            "UNSAID   nobody said that something of these records was erased: {}\n",
            indexes.join(", ")
        ));
    }
    if report.live {
        text.push_str("live     a gateway writes it: what came after the check began is not checked\n");
    }
    report.unfinished.iter().for_each(|what| text.push_str(&format!("crash    {what}\n")));
    match outside {
        0 => text.push_str("alone    nothing from outside was held against it: `--checkpoint FILE` does, with a checkpoint kept elsewhere\n"),
        _ => text.push_str(&format!("outside  it goes on from {}\n", count(outside, "checkpoint"))),
    }
    text
}
