//! What a candidate would do to the running gateway, before it does: what it opens and closes and for whom, which parts differ, what
//! is open that it touches, and whether it would be served at all. Compared is with the snapshot in use, by a confined child
//! with low priority, because calls are searched for and workers must not feel it.
//!
//! A plan that was saved is one file: a line that names it, a line of JSON, and the table itself, so that what is applied later is what
//! was looked at.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use strait_table::Snapshot;

use crate::answers::diff::{Part, parts};
use crate::failure::{Code, Failure};
use crate::limits::{PLAN_HEAD_BYTES_MAX, SUMMARY_PARTS_MAX};
use crate::load::{Loader, Running, compile};
use crate::roll_call::RollCall;
use crate::source::open_regular;
use crate::state::write_private;

/// The plan of `candidate`, without what nobody but the loop knows.
pub async fn plan(
    loader: &Loader,
    running: &Running,
    candidate: &Arc<Snapshot>,
    roll: Option<RollCall>,
) -> Value {
    let (before, after) = (running.snapshot.clone(), candidate.clone());
    let parts = tokio::task::spawn_blocking(move || parts(&before, &after).unwrap_or_default()).await;
    let parts = parts.unwrap_or_default();
    let diff = diff(loader, &running.snapshot, candidate).await;
    let open = match roll {
        Some(roll) => roll.run().await,
        None => Value::Null,
    };
    loader.gather(candidate).await;
    let fit = loader.weigh(candidate, running).map_err(|refused| refused.why);
    let touches = touches(&open, &parts, &running.snapshot, candidate);
    let (from, to) = (running.snapshot.generation(), candidate.generation());
    let differs = from != to
        && !(parts.is_empty() && diff.as_ref().is_ok_and(|diff| diff["facts"]["differs"] == false));
    json!({
        "from": from.to_string(),
        "to": to.to_string(),
        "differs": differs,
        "fit": fit.is_ok(),
        "why": fit.err(),
        "summary": summary(&parts, diff.as_ref().ok().map(|diff| &diff["facts"])),
        "parts": parts.iter().map(part).collect::<Vec<_>>(),
        "touches": touches,
        "diff": diff.as_ref().ok().map(|diff| &diff["facts"]),
        "diff_failed": diff.as_ref().err(),
        "text": diff.as_ref().ok().map(|diff| &diff["text"]),
    })
}

fn part(part: &Part) -> Value {
    json!({ "block": part.block, "name": part.name, "change": part.change })
}

/// What a change comes to, in a few words for the history.
pub fn summary(parts: &[Part], diff: Option<&Value>) -> Value {
    let named = |part: &Part| format!("{} {} {}", part.change, part.block, part.name).trim_end().to_owned();
    let shown: Vec<String> = parts.iter().take(SUMMARY_PARTS_MAX).map(named).collect();
    let mut summary = json!({ "parts": shown, "more": parts.len().saturating_sub(SUMMARY_PARTS_MAX) });
    if let Some(diff) = diff {
        for way in ["opened", "closed", "unsettled"] {
            summary[way] = diff[way].as_array().map_or(0, Vec::len).into();
        }
    }
    summary
}

/// `strait diff` of both tables, in a child.
async fn diff(loader: &Loader, before: &Arc<Snapshot>, after: &Arc<Snapshot>) -> Result<Value, String> {
    let (paths, tables) = (scratch(loader), [before.clone(), after.clone()]);
    let written = {
        let paths = paths.clone();
        tokio::task::spawn_blocking(move || -> io::Result<()> {
            paths.iter().zip(&tables).try_for_each(|(path, table)| write_private(path, table.table()))
        })
    };
    let outcome = match written.await {
        Ok(Ok(())) => compile::child("comparison", |command| {
            command.args(["diff", "--confined", "--base"]).arg(&loader.base).arg("--").args(&paths);
        })
        .await
        .and_then(|(report, ended)| ended.map(|()| report)),
        Ok(Err(error)) => Err(format!("cannot write what is to be compared: {error}")),
        Err(error) => Err(format!("a bug in strait: {error}")),
    };
    for path in &paths {
        // Replaced by the next plan if it stays.
        let _ = std::fs::remove_file(path);
    }
    outcome.and_then(|report| match report.is_null() {
        false => Ok(report),
        true => Err("too much differs to be told at once: `strait diff` tells it".to_owned()),
    })
}

fn scratch(loader: &Loader) -> [PathBuf; 2] {
    let name = crate::load::kept::name(&loader.file);
    ["before", "after"]
        .map(|side| loader.state.root().join(format!("plan-{}-{side}-{name}.table", std::process::id())))
}

/// What is open now and would not go on as it is.
fn touches(open: &Value, parts: &[Part], before: &Snapshot, after: &Snapshot) -> Value {
    let names = |snapshot: &Snapshot| -> Vec<String> {
        snapshot.rules().servers.iter().map(|server| server.name.as_str().to_owned()).collect()
    };
    let (old, new) = (names(before), names(after));
    let gone: Vec<&String> = old.iter().filter(|name| !new.contains(name)).collect();
    let of = |kind: &str| {
        let shown = open[kind]["shown"].as_array().map(Vec::as_slice).unwrap_or_default();
        let ends = shown.iter().filter(|one| gone.iter().any(|name| one["server"] == name.as_str())).count();
        json!({ "open": open[kind]["total"], "of_removed_servers": ends, "looked_at": shown.len() })
    };
    let upstreams = parts.iter().filter(|part| part.block == "upstreams").map(|part| {
        let all = open["upstreams"].as_array().into_iter().flatten();
        let known = all.into_iter().find(|upstream| upstream["name"] == part.name.as_str());
        let count = |what: &str| known.map_or(Value::from(0), |known| known[what].clone());
        let waiting = open["suspended"]["shown"].as_array().into_iter().flatten();
        let waiting = waiting.filter(|call| call["upstream"] == part.name.as_str()).count();
        json!({
            "name": part.name,
            "change": part.change,
            "calls": count("calls"),
            "sessions": count("sessions"),
            "children": count("children"),
            "suspended": waiting,
        })
    });
    json!({
        "servers_removed": gone,
        "sessions": of("sessions"),
        "listens": of("listens"),
        "suspended": of("suspended"),
        "upstreams": upstreams.collect::<Vec<_>>(),
    })
}

const MAGIC: &str = "STRAIT-PLAN 1\n";

/// A plan that was saved.
pub struct Saved {
    pub plan: Value,
    pub table: Vec<u8>,
}

impl Saved {
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = format!("{MAGIC}{}\n", self.plan).into_bytes();
        bytes.extend_from_slice(&self.table);
        bytes
    }

    /// `None`: it is no saved plan.
    pub fn open(path: &Path) -> Result<Option<Saved>, Failure> {
        let bad = |what: &str| Failure::new(Code::Failed, format!("the plan `{}` {what}", path.display()));
        let mut start = Vec::new();
        let file = open_regular(path).map_err(|error| {
            Failure::new(Code::Usage, format!("cannot read `{}`: {error}", path.display()))
        })?;
        let unread = |error: io::Error| {
            Failure::new(Code::Usage, format!("cannot read `{}`: {error}", path.display()))
        };
        use io::Read;
        let mut file = file;
        file.by_ref().take(MAGIC.len() as u64).read_to_end(&mut start).map_err(unread)?;
        if start != MAGIC.as_bytes() {
            return Ok(None);
        }
        let mut rest = Vec::new();
        let most = PLAN_HEAD_BYTES_MAX + strait_table::file::TABLE_BYTES_MAX;
        file.take(most).read_to_end(&mut rest).map_err(unread)?;
        let end = rest.iter().position(|byte| *byte == b'\n').ok_or_else(|| bad("is cut short"))?;
        let plan: Value = serde_json::from_slice(&rest[..end])
            .map_err(|_| bad("is damaged: its second line is no JSON"))?;
        let table = rest.split_off(end + 1);
        let opened = Snapshot::from_bytes(&table)
            .map_err(|error| bad(&format!("holds a table that does not open: {error}")))?;
        if plan["to"] != opened.generation().to_string() {
            return Err(bad("holds another table than it speaks of"));
        }
        Ok(Some(Saved { plan, table }))
    }
}
