//! `strait plan FILE`: what applying it to the running gateway would do. Nothing is changed.

use std::path::{Path, PathBuf};

use serde_json::Value;
use strait_control::answers::asked::plain;
use strait_control::rollout::plan::Saved;
use strait_control::source::{Candidate, settled};
use strait_control::{Code, Failure, whole};

use super::running::Running;
use crate::output::{Output, count};

#[derive(clap::Args)]
pub struct Plan {
    /// A configuration or a table.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    running: Running,
    /// Save the plan, with the table and the generation it was made against, for `strait apply`.
    #[arg(short, long, value_name = "PLAN")]
    output: Option<PathBuf>,
    /// Exit with 2 when anything differs, and with 0 when nothing does.
    #[arg(long)]
    detailed_exitcode: bool,
}

impl Plan {
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        let gateway = self.running.gateway()?;
        let expected = generation(&gateway.get("/admin/rollout")?)?;
        let Candidate { table, outcome } = settled(&self.file)?;
        if let Some(outcome) = &outcome {
            output.warnings(outcome);
        }
        let plan = gateway.apply(table.clone(), &expected, None, true)?;
        if let Some(path) = &self.output {
            save(path, Saved { plan: plan.clone(), table })?;
        }
        output.facts(&plan, || text(&plan));
        if plan["fit"] == false {
            let why = plain(plan["why"].as_str().unwrap_or_default());
            return Err(Failure::new(Code::Failed, format!("the gateway would refuse it: {why}")));
        }
        match self.detailed_exitcode && plan["differs"] == true {
            true => Err(Failure::silent(Code::Differs)),
            false => Ok(()),
        }
    }
}

fn save(path: &Path, saved: Saved) -> Result<(), Failure> {
    whole::write(path, &saved.bytes()).map_err(|error| {
        Failure::new(Code::Unfit, format!("cannot write `{}`: {error}", path.display()))
            .help("name a file in a folder that this user may write")
    })
}

/// The generation that a gateway runs.
pub fn generation(rollout: &Value) -> Result<String, Failure> {
    let found = rollout["generation"].as_str().map(str::to_owned);
    found.ok_or_else(|| {
        Failure::new(Code::Unreachable, "the gateway is not open yet, or takes no other configuration")
    })
}

pub fn text(plan: &Value) -> String {
    let word = |value: &Value| plain(value.as_str().unwrap_or("-"));
    let mut out = format!("generation {} -> {}\n", word(&plan["from"]), word(&plan["to"]));
    match (plan["text"].as_str(), plan["diff_failed"].as_str()) {
        (Some(text), _) => out.push_str(&format!("\n{text}")),
        (None, Some(why)) => {
            out.push_str(&format!("what it opens and closes is not known: {}\n", plain(why)))
        }
        _ => {}
    }
    out.push_str(&touches(&plan["touches"]));
    out
}

/// What is open and would not go on as it is.
fn touches(touches: &Value) -> String {
    let n = |value: &Value| value.as_u64().unwrap_or_default() as usize;
    let mut out = String::from("\nOpen now:\n");
    for (kind, word) in [("sessions", "session"), ("listens", "listen"), ("suspended", "suspended call")] {
        let of = &touches[kind];
        let ends = match n(&of["of_removed_servers"]) {
            0 => "all go on, authorised anew".to_owned(),
            ends => format!("{ends} on servers that are removed"),
        };
        out.push_str(&format!("  {}: {ends}\n", count(n(&of["open"]), word)));
    }
    for upstream in touches["upstreams"].as_array().into_iter().flatten() {
        let of = |what: &str, word: &str| count(n(&upstream[what]), word);
        out.push_str(&format!(
            "  upstream {} is {}: {}, {}, {} of before end on it\n",
            plain(upstream["name"].as_str().unwrap_or_default()),
            upstream["change"].as_str().unwrap_or_default(),
            of("calls", "call"),
            of("sessions", "session"),
            of("children", "child process")
        ));
    }
    out
}
