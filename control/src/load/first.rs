//! What a process starts with: the file, what an operator put in its place, or the last good table that was kept of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use strait_table::{OpenError, Snapshot};
use tokio::signal::unix::{SignalKind, signal};

use super::{Refused, kept};
use crate::failure::{Code, Failure};
use crate::log;
use crate::rollout::Rollout;
use crate::signing::{Trust, takes};
use crate::source::{Opened, Source};
use crate::watch::{Group, Marks};

/// What a process starts with.
pub struct Start {
    pub opened: Opened,
    pub file: PathBuf,
    pub sources: Vec<PathBuf>,
    /// Taken before the file was read, as far as it was known what would be.
    pub marks: Marks,
    /// The file is bad, and what is served was kept from an earlier run: why, for everybody to see.
    pub fallen_back: Option<Refused>,
    /// What operators have put into use; a private gateway has none.
    pub rollout: Option<Rollout>,
    pub trust: Trust,
}

/// Opens the file for a process that starts. A bad one is replaced by the last good table that was kept
/// of the same file, loudly, unless `strict`.
///
/// With `rollout`, what was put in the place of the file is served for as long as the file says what it said then.
pub fn first(
    file: &Path,
    state: &Path,
    strict: bool,
    rollout: Option<Rollout>,
    trust: Trust,
) -> Result<Start, Failure> {
    let mut rollout = rollout;
    outlive_signals();
    let marks = Marks::of(vec![(Group::Source, file.to_owned())]);
    let mut failure = match open(file, state, &mut rollout, &trust) {
        Ok(opened) => {
            let sources = sources(file, opened.outcome.as_ref());
            return Ok(Start {
                opened,
                file: file.to_owned(),
                sources,
                marks,
                fallen_back: None,
                rollout,
                trust,
            });
        }
        Err(failure) => failure,
    };
    if strict || failure.code == Code::Bug {
        return Err(failure);
    }
    let snapshot = match last_good(file, state, rollout.as_ref(), &trust) {
        Ok(Some(snapshot)) => snapshot,
        Ok(None) => return Err(failure),
        Err(why) => {
            failure.message.push_str(&format!("; the table kept of it cannot be used either: {why}"));
            return Err(failure);
        }
    };
    let refused = Refused { why: failure.told(), candidate: None, not_kept: false };
    log::error(format!(
        "serving the last good generation {}, kept from an earlier run: {}",
        snapshot.generation(),
        refused.why
    ));
    let sources = sources(file, failure.outcome.as_deref());
    let base = Source::Table(file.to_owned()).base();
    let opened = Opened { snapshot, base, outcome: None };
    Ok(Start { opened, file: file.to_owned(), sources, marks, fallen_back: Some(refused), rollout, trust })
}

/// What the file says, or what was put in its place.
fn open(file: &Path, state: &Path, rollout: &mut Option<Rollout>, trust: &Trust) -> Result<Opened, Failure> {
    let source = Source::detect(file)?;
    takes(trust, &source)?;
    let mut opened = source.open()?;
    let untrusted = |why: String| Failure::new(Code::Failed, format!("`{}`: {why}", file.display()));
    trust.verify(&opened.snapshot).map_err(untrusted)?;
    let says = opened.snapshot.generation();
    if let Some(table) = rollout.as_mut().and_then(|rollout| rollout.instead_of(says, trust)) {
        opened.snapshot = table;
    } else if trust.is_required() {
        // Whoever wrote it while nobody served could not have done so while somebody did.
        let last = last_good(file, state, rollout.as_ref(), trust).ok().flatten();
        let floor = last.and_then(|last| Some(last.signature()?.sequence));
        trust.follows(floor, &opened.snapshot).map_err(untrusted)?;
    }
    Ok(opened)
}

/// The table that was served last; `None`: nobody kept one.
fn last_good(
    file: &Path,
    state: &Path,
    rollout: Option<&Rollout>,
    trust: &Trust,
) -> Result<Option<Arc<Snapshot>>, String> {
    // An apply is in the history before it is kept.
    if let Some(snapshot) = rollout.and_then(|rollout| rollout.last_table(trust)) {
        return Ok(Some(snapshot));
    }
    match Snapshot::open(&kept::path(state, file)) {
        Ok(snapshot) => trust.verify(&snapshot).map(|()| Some(Arc::new(snapshot))),
        Err(OpenError::Io { error, .. }) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

/// From the first moment a hangup asks for a reload and does not end the process; nor does a wish for a successor.
/// Nobody listens yet, and nothing is lost: what is read from now on is as new as the hangup, and changes after that
/// are seen.
fn outlive_signals() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    if let Ok(runtime) = runtime {
        for kind in [SignalKind::hangup(), SignalKind::user_defined2()] {
            // The handler stays when the listener goes.
            let _ = runtime.block_on(async { signal(kind) });
        }
    }
}

fn sources(file: &Path, outcome: Option<&strait_config_compiler::Outcome>) -> Vec<PathBuf> {
    outcome.map_or_else(|| vec![file.to_owned()], |outcome| outcome.watched.clone())
}
