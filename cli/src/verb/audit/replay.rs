//! `strait audit replay DIR --against FILE`: recorded calls, put to another policy.

use std::path::PathBuf;

use serde_json::{Value, json};
use strait_audit::reader::{Beside, Reader};
use strait_audit::{Mode, Which};
use strait_control::answers::asked::plain;
use strait_control::answers::replay::{self, Arguments, Group, Missing, Report, Said, Way};
use strait_control::{Code, Failure, Source};

use super::failed;
use super::show::{self, Filters, Reading, record};
use crate::output::{Output, count, hanging};

/// Changes of one way that text shows.
const SHOWN_MAX: usize = 100;

#[derive(clap::Args)]
pub struct Replay {
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// A configuration or a table.
    #[arg(long, value_name = "FILE")]
    against: PathBuf,
    #[command(flatten)]
    filters: Filters,
    #[command(flatten)]
    reading: Reading,
    /// Whom a name of the log stands for, as JSON like `{"id":"ann","groups":["staff"]}`, where the candidate has no key of it.
    #[arg(long, value_name = "PRINCIPAL")]
    who: Vec<String>,
    /// How many records to name of each change.
    #[arg(long, value_name = "N", default_value_t = 3)]
    witnesses: usize,
    /// Exit with 2 when anything would be decided otherwise, and with 0 when nothing would.
    #[arg(long)]
    detailed_exitcode: bool,
}

impl Replay {
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        let opened = Source::detect(&self.against)?.open()?;
        if let Some(outcome) = &opened.outcome {
            output.warnings(outcome);
        }
        let mut replay = replay::Replay::new(&opened, &self.who)?;
        let mut opener = self.reading.opener(&self.dir)?;
        let (filter, from) = self.filters.read()?;
        let mut reader = Reader::open(&self.dir, from).map_err(failed)?;
        let mut beside = Beside::new(&self.dir);
        let mut report = Report::new(self.witnesses);
        while let Some(entry) = reader.read().map_err(failed)? {
            let whole = record(&self.dir, &entry)?;
            if filter.takes(&whole) {
                let kept = beside.of(entry.first, entry.index).map_err(failed)?;
                let kept = kept.into_iter().find(|kept| kept.which == Which::Arguments);
                let kept = kept.map(|kept| show::opened(opener.as_mut(), &entry, kept)).transpose()?;
                let kept = kept.as_ref();
                let arguments = arguments(&whole, kept.map(|kept| (kept.mode, kept.bytes.as_slice())));
                report.add(entry.index, &whole, replay.put(&whole, &arguments));
            }
        }
        let mut facts = report.to_json();
        let generation = opened.snapshot.generation().to_string();
        facts["against"] = json!({ "file": self.against.display().to_string(), "generation": generation });
        output.facts(&facts, || text(&report));
        match self.detailed_exitcode && report.differs() {
            true => Err(Failure::silent(Code::Differs)),
            false => Ok(()),
        }
    }
}

/// What is known of a call's arguments. Of a call without any there is nothing to keep: then its result was kept.
fn arguments(record: &Value, kept: Option<(Mode, &[u8])>) -> Arguments {
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).map(str::to_owned);
    match kept {
        Some((Mode::Full, bytes)) => text(bytes).map_or(Arguments::Unknown, Arguments::Whole),
        Some((Mode::Redacted, bytes)) => text(bytes).map_or(Arguments::Unknown, Arguments::Redacted),
        Some((Mode::Hash | Mode::Erased | Mode::Sealed, _)) => Arguments::Unknown,
        None if record["arguments"].is_null() && record["result"].is_object() => {
            Arguments::Whole("{}".to_owned())
        }
        None => Arguments::Unknown,
    }
}

fn text(report: &Report) -> String {
    let number = |n: u64| n as usize;
    let mut out = String::new();
    let headings = [
        (Way::Opened, "OPENED", "would be permitted, was refused"),
        (Way::Closed, "CLOSED", "would be refused, was permitted"),
        (Way::Otherwise, "OTHERWISE", "the same for the caller, by another rule"),
    ];
    for (way, word, about) in headings {
        let of_way: Vec<_> = report.changes.iter().filter(|(change, _)| change.way == way).collect();
        if of_way.is_empty() {
            continue;
        }
        out.push_str(&format!("{word}: {about}\n"));
        for (change, group) in of_way.iter().take(SHOWN_MAX) {
            out.push_str(&head(&change.what, &change.server, group));
            out.push_str(&hanging(4, "before", &told(&change.before)));
            out.push_str(&hanging(4, "after", &told(&change.after)));
            out.push_str(&witnesses(group));
        }
        out.push_str(&more(of_way.len()));
    }
    if !report.undecided.is_empty() {
        out.push_str("UNKNOWN: the log does not hold what decides\n");
        for (undecided, group) in report.undecided.iter().take(SHOWN_MAX) {
            out.push_str(&head(&undecided.what, &undecided.server, group));
            let missing: Vec<&str> = undecided.missing.iter().copied().map(Missing::word).collect();
            out.push_str(&hanging(4, "missing", &format!(" {}", missing.join(", "))));
            if !undecided.rules.is_empty() {
                out.push_str(&hanging(4, "rules", &plain(&undecided.rules.join(", "))));
            }
            out.push_str(&witnesses(group));
        }
        out.push_str(&more(report.undecided.len()));
    }
    let calls = count(number(report.calls), "call");
    out.push_str(&format!(
        "{calls}: {} the same, {} opened, {} closed, {} otherwise, {} unknown\n",
        report.same,
        report.changed(Way::Opened),
        report.changed(Way::Closed),
        report.changed(Way::Otherwise),
        report.unknown
    ));
    if report.ungrouped > 0 {
        let calls = count(number(report.ungrouped), "call");
        out.push_str(&format!("of these, {calls} found no room above: filter by tool or time\n"));
    }
    out
}

fn head(what: &str, server: &str, group: &Group) -> String {
    let calls = count(group.records as usize, "call");
    format!("  {} through server {}: {calls}\n", plain(what), plain(server))
}

fn told(said: &Said) -> String {
    let how = match (said.reason.as_str(), &said.rule) {
        ("", Some(rule)) => format!("rule `{rule}`"),
        ("", None) => "no rule".to_owned(),
        (reason, _) => reason.to_owned(),
    };
    let at = said.at.as_ref().map(|at| format!(" ({at})")).unwrap_or_default();
    plain(&format!("{}: {how}{at}", said.verdict))
}

fn witnesses(group: &Group) -> String {
    let indexes: Vec<String> = group.witnesses.iter().map(u64::to_string).collect();
    match indexes.is_empty() {
        true => String::new(),
        false => hanging(4, "records", &indexes.join(", ")),
    }
}

fn more(groups: usize) -> String {
    match groups > SHOWN_MAX {
        true => format!("  and {} more: `--json` has all\n\n", groups - SHOWN_MAX),
        false => "\n".to_owned(),
    }
}
