//! `strait diff BEFORE AFTER`: what a change of policy opens and closes, for whom, with one call of each that is really decided
//! differently; and which other parts differ.

use std::path::PathBuf;

use serde_json::{Value, json};
use strait_control::answers::asked::plain;
use strait_control::answers::call::moment;
use strait_control::answers::diff::{self, Difference, Together, Told, Way, Who, Witness, together};
use strait_control::answers::people::described;
use strait_control::load::compile;
use strait_control::source::Opened;
use strait_control::{Code, Failure, Source, time};

use crate::output::{Output, count, hanging, print};

/// Differences of one way that text shows.
const SHOWN_MAX: usize = 100;
/// People named of one difference.
const PEOPLE_SHOWN_MAX: usize = 8;

#[derive(clap::Args)]
pub struct Diff {
    /// A configuration or a table.
    #[arg(value_name = "BEFORE")]
    before: PathBuf,
    /// The one that may replace it.
    #[arg(value_name = "AFTER")]
    after: PathBuf,
    /// From when on calls are tried, as RFC 3339; it matters where rules ask for the time. Default: now.
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// Exit with 2 when anything differs, and with 0 when nothing does.
    #[arg(long)]
    detailed_exitcode: bool,
    /// Compare beside a gateway that serves: within limits, with facts and text as one JSON on stdout.
    #[arg(long, hide = true)]
    confined: bool,
    /// Where relative paths of both tables start.
    #[arg(long, hide = true, value_name = "DIR")]
    base: Option<PathBuf>,
}

impl Diff {
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        if self.confined {
            compile::confine().map_err(|error| {
                Failure::new(Code::Unfit, format!("cannot take the limits of a comparison: {error}"))
            })?;
        }
        let at = self.at.as_deref().map_or_else(|| Ok(time::unix_s()), moment)?;
        let (mut before, mut after) = (open(&self.before)?, open(&self.after)?);
        if let Some(base) = &self.base {
            (before.base, after.base) = (base.clone(), base.clone());
        }
        let diff = diff::diff(&before, &after, at)?;
        if self.confined {
            print(&json!({ "facts": self.facts(&diff), "text": text(&diff) }).to_string());
            return Ok(());
        }
        let facts = if output.json { self.facts(&diff) } else { Value::Null };
        output.facts(&facts, || text(&diff));
        match self.detailed_exitcode && diff.differs() {
            true => Err(Failure::silent(Code::Differs)),
            false => Ok(()),
        }
    }

    fn facts(&self, diff: &diff::Diff) -> Value {
        let of = |way: Option<Way>| {
            let of_way =
                diff.differences.iter().filter(|one| one.found.as_ref().ok().map(|(way, _)| *way) == way);
            of_way.map(Difference::to_json).collect::<Vec<Value>>()
        };
        let parts = diff
            .parts
            .iter()
            .map(|part| json!({ "block": part.block, "name": part.name, "change": part.change }));
        json!({
            "before": { "file": self.before.display().to_string(), "generation": diff.generations[0] },
            "after": { "file": self.after.display().to_string(), "generation": diff.generations[1] },
            "differs": diff.differs(),
            "opened": of(Some(Way::Opened)),
            "closed": of(Some(Way::Closed)),
            "unsettled": of(None),
            "parts": parts.collect::<Vec<_>>(),
            "notes": diff.notes,
        })
    }
}

fn open(path: &std::path::Path) -> Result<Opened, Failure> {
    Source::detect(path)?.open()
}

fn text(diff: &diff::Diff) -> String {
    let mut out = String::new();
    diff.notes.iter().for_each(|note| out.push_str(&format!("not known: {}\n", plain(note))));
    if !diff.differs() {
        out.push_str("nothing differs\n");
        return out;
    }
    let all = together(&diff.differences);
    let headings = [
        (Some(Way::Opened), "OPENED", "permitted now, refused before"),
        (Some(Way::Closed), "CLOSED", "refused now, permitted before"),
        (None, "UNSETTLED", "rules differ, and no call was found that is decided differently"),
    ];
    for (way, word, about) in headings {
        let of_way = |one: &Difference| one.found.as_ref().ok().map(|(way, _)| *way) == way;
        let of_way: Vec<_> = all.iter().filter(|group| of_way(group.one)).collect();
        if of_way.is_empty() {
            continue;
        }
        out.push_str(&format!("{word}: {about}\n"));
        for Together { who, kinds, one } in of_way.iter().take(SHOWN_MAX) {
            let kinds: Vec<&str> = kinds.iter().map(|kind| kind.word()).collect();
            let thing = format!("{} {}", kinds.join(", "), plain(&one.name));
            out.push_str(&format!("  {thing} through server {}\n", plain(&one.server)));
            out.push_str(&hanging(4, "for", &people(who)));
            match &one.found {
                Ok((_, witness)) => out.push_str(&shown(one, witness)),
                Err(0) => out.push_str(&hanging(4, "tried", "nothing: too much else was searched before")),
                Err(tried) => out.push_str(&hanging(4, "tried", &count(*tried, "step"))),
            }
        }
        if of_way.len() > SHOWN_MAX {
            out.push_str(&format!("  and {} more: `--json` has all\n", of_way.len() - SHOWN_MAX));
        }
        out.push('\n');
    }
    if all.is_empty() {
        out.push_str("No call is decided differently.\n\n");
    }
    out.push_str(if diff.parts.is_empty() { "" } else { "Parts that differ:\n" });
    for change in ["added", "removed", "changed"] {
        let parts = diff.parts.iter().filter(|part| part.change == change);
        let names: Vec<String> =
            parts.map(|part| plain(format!("{} {}", part.block, part.name).trim_end())).collect();
        if !names.is_empty() {
            out.push_str(&hanging(4, change, &names.join(", ")));
        }
    }
    out
}

fn people(who: &[&Who]) -> String {
    let shown: Vec<String> = who.iter().take(PEOPLE_SHOWN_MAX).map(|one| plain(&one.words())).collect();
    match who.len() - shown.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// A call and what both policies make of it.
fn shown(difference: &Difference, witness: &Witness) -> String {
    let upstream = difference.name.split_once('.').map_or("", |(upstream, _)| upstream);
    let mut with = Vec::new();
    if witness.timed {
        with.push(format!("at {}", time::rfc3339(witness.call.at)));
    }
    for (name, value) in &witness.call.from.headers {
        with.push(format!("header {}", plain(&format!("{name}: {value}"))));
    }
    if !witness.call.from.ip.is_loopback() {
        with.push(format!("from {}", witness.call.from.ip));
    }
    let mut out = hanging(4, "call", &plain(&format!("{upstream}.{} {}", witness.name, witness.call.args)));
    out.push_str(&hanging(4, "as", &plain(&described(&witness.principal).to_string())));
    if !with.is_empty() {
        out.push_str(&hanging(4, "with", &with.join(", ")));
    }
    out + &hanging(4, "before", &told(&witness.before)) + &hanging(4, "after", &told(&witness.after))
}

fn told(told: &Told) -> String {
    let at = told.at.as_ref().map(|at| format!(" ({})", plain(at))).unwrap_or_default();
    format!("{}: {}{at}", told.verdict, plain(&told.reason))
}
