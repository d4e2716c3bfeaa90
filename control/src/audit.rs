//! The audit log as control sees it: the key that signs it, what a reload cannot change of it, and what administrators did.

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::{Value, json};
use strait_audit::age::Recipient;
use strait_audit::{LogError, SigningKey, erasures, record};
use strait_engine::Handle;
use strait_engine::audit::keeper::Keeping;
use strait_table::Snapshot;
use strait_table::audit::ArchivedAudit;

use crate::failure::{Code, Failure};
use crate::limits::{ACT_BYTES_MAX, ERASURES_AT_ONCE_MAX, ERASURES_SETTLE};
use crate::log;
use crate::rollout::history::Entry;
use crate::state::State;

/// In the state folder, never in the log's.
const KEY: &str = "audit.key";

/// What the log of this table is kept with; `None`: it has none.
pub fn keeping(
    snapshot: &Snapshot,
    state: &State,
    workers: usize,
    has_predecessor: bool,
) -> Result<Option<Keeping>, Failure> {
    if snapshot.rules().audit.is_none() {
        return Ok(None);
    }
    if has_predecessor {
        let message = "an audit log is written by one process, and the one before this still writes it";
        return Err(Failure::new(Code::Unfit, message).help("stop the gateway and start it again"));
    }
    let path = state.root().join(KEY);
    let key =
        SigningKey::open_or_make(&path).map_err(|error| Failure::new(Code::Unfit, error.to_string()))?;
    let start = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "workers": workers,
        "generation": snapshot.generation().to_string(),
    });
    Ok(Some(Keeping { key, start: start.to_string() }))
}

/// What of the log is opened once. What is kept of a call, and what waits for it, changes with every table.
pub fn needs_a_restart(running: &Snapshot, candidate: &Snapshot) -> Vec<String> {
    let said = |snapshot: &Snapshot| -> Vec<(&'static str, String)> {
        let Some(audit) = snapshot.rules().audit.as_ref() else { return vec![("path", "off".to_owned())] };
        let ArchivedAudit { path, every_ms, checkpoint_ms, rotate_bytes, keep_s, encrypt, .. } = audit;
        let recipients: Vec<String> = encrypt.iter().map(|key| Recipient::new(*key).to_string()).collect();
        vec![
            ("path", path.as_str().to_owned()),
            ("every", format!("{every_ms} ms")),
            ("checkpoint", format!("{checkpoint_ms} ms")),
            ("rotate", format!("{rotate_bytes} bytes")),
            (
                "encrypt",
                if recipients.is_empty() {
                    "for nobody".to_owned()
                } else {
                    format!("for {}", recipients.join(", "))
                },
            ),
            ("keep", keep_s.as_ref().map_or("for ever".to_owned(), |keep| format!("{keep} s"))),
        ]
    };
    let (before, after) = (said(running), said(candidate));
    let of = |all: &[(&str, String)], key: &str| {
        all.iter().find(|(known, _)| *known == key).map_or("off".to_owned(), |(_, value)| value.clone())
    };
    // Of a log that comes or goes its folder says it all.
    let keys = after.iter().take(before.len()).map(|(key, _)| *key);
    keys.filter(|key| of(&before, key) != of(&after, key))
        .map(|key| format!("`audit.{key}` is {} instead of {}", of(&after, key), of(&before, key)))
        .collect()
}

/// Has the log tell what was done; a log that is too far behind is told of in the other one.
pub fn tell(handle: &Handle, facts: Value) {
    let mut text = facts.to_string();
    if text.len() > ACT_BYTES_MAX {
        // It is in the history, whole.
        let mut short = facts;
        short["summary"] = "too long to be repeated here".into();
        text = short.to_string();
    }
    if !handle.act(text) {
        log::error("the audit log is too far behind to take an administrative act");
    }
}

/// What `strait audit erase` has erased, taken into the log from where it waits.
pub struct Erasures {
    folder: PathBuf,
    /// So many bytes of what waits were told, and when.
    told: Option<(u64, Instant)>,
    is_unreadable: bool,
}

impl Erasures {
    /// `None`: there is no log.
    pub fn of(snapshot: &Snapshot, base: &Path) -> Option<Erasures> {
        let audit = snapshot.rules().audit.as_ref()?;
        Some(Erasures { folder: base.join(audit.path.as_str()), told: None, is_unreadable: false })
    }

    /// Tells what waits; takes it away once the disk has had time to take it.
    pub fn look(&mut self, handle: &Handle, now: Instant) {
        match self.step(handle, now) {
            Ok(()) => self.is_unreadable = false,
            Err(error) if !self.is_unreadable => {
                self.is_unreadable = true;
                log::error(format!("erasures do not come into the audit log: {error}"));
            }
            Err(_) => {}
        }
    }

    fn step(&mut self, handle: &Handle, now: Instant) -> Result<(), LogError> {
        if let Some((bytes, at)) = self.told {
            let is_failing = handle.audit().is_none_or(|standing| standing.fault().is_some());
            if now.saturating_duration_since(at) >= ERASURES_SETTLE && !is_failing {
                erasures::told(&self.folder, bytes)?;
                self.told = None;
            }
            return Ok(());
        }
        let (waiting, bytes) = erasures::waiting(&self.folder, ERASURES_AT_ONCE_MAX)?;
        for erasure in &waiting {
            let facts = match erasure {
                Ok(of) => json!({
                    "act": record::ERASED,
                    "by": of.by,
                    "at": of.at,
                    "record": of.record,
                    "erased": of.erased,
                    "why": of.why,
                }),
                // Somebody else wrote there; that is told as well.
                Err(line) => json!({ "act": "erasure_unread", "line": line }),
            };
            tell(handle, facts);
        }
        self.told = (bytes > 0).then_some((bytes, now));
        Ok(())
    }
}

/// A line of the history, as an act.
pub fn of_history(entry: &Entry) -> Value {
    let mut facts = json!({
        "act": entry.act.word(),
        "outcome": entry.outcome,
        "by": entry.by,
        "from": entry.from,
        "to": entry.to,
        "history": entry.n,
    });
    for (name, value) in [("why", &entry.why), ("message", &entry.message)] {
        if let Some(value) = value {
            facts[name] = value.as_str().into();
        }
    }
    if !entry.summary.is_null() {
        facts["summary"] = entry.summary.clone();
    }
    facts
}
