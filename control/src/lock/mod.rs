//! `strait lock`: asks every upstream of a configuration what it offers, as a gateway that starts would (`ask.rs`), and
//! holds that against the lock file beside it, or writes it there.
//!
//! The decision: a lock file is written whole or not at all. An upstream that does not answer leaves the old file as it is,
//! since a file without it would take everything of it away. What did not change keeps the text that it has in the old
//! file, so that a server which writes its keys in another order at every start makes no noise in reviews.

mod ask;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use strait_config_compiler::lock::diff::{self, Difference};
use strait_config_compiler::lock::hidden::shown;
use strait_config_compiler::lock::{self, Pinned, Unfit};
use strait_config_compiler::{Outcome, to_json};
use strait_table::bound::Kind;
use strait_table::{pins, snapshot};

use crate::failure::{Code, Failure};
use crate::source::{self, Source};
use crate::whole;

/// What is wanted.
pub struct Wish {
    pub config: PathBuf,
    /// The lock file; `strait.lock` beside the configuration when not said.
    pub lock: Option<PathBuf>,
    pub state: PathBuf,
    /// Only these upstreams; empty: all.
    pub only: Vec<String>,
    /// Write nothing.
    pub check: bool,
    /// How long an upstream may take.
    pub within: Duration,
}

/// What came of it.
pub struct Report {
    pub path: PathBuf,
    /// The new text is in the file now; else it was there already, or was not to be written.
    pub written: bool,
    pub differences: Vec<Difference>,
    pub unfit: Vec<Unfit>,
    pub pinned: Vec<Pinned>,
    /// What the compiler says of the configuration with this lock file; not while only checking.
    pub outcome: Option<Outcome>,
}

/// Writes the lock file, or with `check` tells what differs.
pub fn run(wish: &Wish) -> Result<Report, Failure> {
    if let Source::Table(path) = Source::detect(&wish.config)? {
        let message =
            format!("`{}` is a table: expected the configuration that it was made of", path.display());
        return Err(Failure::new(Code::Usage, message));
    }
    let path = wish.lock.clone().unwrap_or_else(|| lock::beside(&wish.config));
    let outcome = source::compile_unlocked(&wish.config);
    let Some(rules) = &outcome.rules else { return Err(source::findings(&wish.config, outcome)) };
    let opened = snapshot::of_rules(rules)
        .map_err(|error| Failure::bug(format!("the compiled table does not open: {error}")))?;
    let names: Vec<&str> = rules.upstreams.iter().map(|upstream| upstream.name.as_str()).collect();
    if let Some(unknown) = wish.only.iter().find(|name| !names.contains(&name.as_str())) {
        let message = format!("`{}` has no upstream `{unknown}`", wish.config.display());
        return Err(Failure::new(Code::Usage, message).help(format!("it has {}", names.join(", "))));
    }
    // What is there decides nothing when all of it is written anew: that is how a spoiled file is mended.
    let old = match existing(&path) {
        Ok(old) => old,
        Err(_) if !wish.check && wish.only.is_empty() => None,
        Err(failure) => return Err(failure),
    };
    let old: Option<Vec<Pinned>> =
        old.map(|lock| lock.upstreams.into_iter().map(|locked| locked.pinned).collect());
    let base = Source::Config(wish.config.clone()).base();
    let offered = ask::all(&opened, &base, wish)?;

    let (mut pinned, mut unfit) = (Vec::new(), Vec::new());
    for (name, lists) in &offered {
        let (mut one, mut left) = Pinned::of(name, lists);
        keep_texts(&mut one, old.as_deref().unwrap_or_default());
        pinned.push(one);
        unfit.append(&mut left);
    }
    let others = old.iter().flatten().filter(|one| !wish.only.is_empty() && !wish.only.contains(&one.name));
    pinned.extend(others.cloned());
    pinned.sort_by(|one, other| one.name.cmp(&other.name));
    let differences = diff::differences(old.as_deref().unwrap_or_default(), &pinned);
    let mut report = Report { path, written: false, differences, unfit, pinned, outcome: None };
    if wish.check {
        return match old {
            Some(_) => Ok(report),
            None => {
                let message = format!("there is no lock file `{}`", report.path.display());
                Err(Failure::new(Code::Failed, message).help("write it with `strait lock`, and commit it"))
            }
        };
    }
    let text = lock::write(&report.pinned);
    // Written again it would be read again by a gateway that watches it.
    if std::fs::read(&report.path).ok().as_deref() != Some(text.as_bytes()) {
        whole::write(&report.path, text.as_bytes()).map_err(|error| {
            Failure::new(Code::Unfit, format!("cannot write `{}`: {error}", report.path.display()))
        })?;
        report.written = true;
    }
    report.outcome = Some(source::compile(&wish.config));
    Ok(report)
}

/// The lock file at `path`; `None`: there is none.
fn existing(path: &Path) -> Result<Option<lock::Lock>, Failure> {
    if std::fs::symlink_metadata(path).is_err() {
        return Ok(None);
    }
    match lock::read_alone(path) {
        (Some(lock), _) => Ok(Some(lock)),
        (None, outcome) => Err(source::findings(path, outcome)),
    }
}

fn keep_texts(fresh: &mut Pinned, old: &[Pinned]) {
    let Some(old) = old.iter().find(|old| old.name == fresh.name) else { return };
    for kind in Kind::ALL {
        for definition in fresh.lists.of_mut(kind) {
            let before = old.lists.of(kind).iter().find(|before| before.name == definition.name);
            if let Some(before) = before
                && pins::hash(&before.json) == pins::hash(&definition.json)
            {
                definition.json.clone_from(&before.json);
            }
        }
    }
}

impl Report {
    /// Whether what upstreams offer is what the lock file says.
    pub fn is_same(&self) -> bool {
        self.differences.is_empty()
    }

    pub fn to_json(&self) -> Value {
        let differences = self.differences.iter().map(|one| {
            json!({ "upstream": one.upstream, "part": one.part, "name": one.name, "change": one.change.word(),
                    "lines": one.lines })
        });
        let unfit = self.unfit.iter().map(|one| {
            json!({ "upstream": one.upstream, "part": one.kind.word(), "name": one.name, "why": one.why })
        });
        let upstreams = self.pinned.iter().map(|one| {
            let count = |kind| one.lists.of(kind).len();
            json!({ "name": one.name, "tools": count(Kind::Tool), "prompts": count(Kind::Prompt),
                    "resources": count(Kind::Resource), "templates": count(Kind::Template) })
        });
        let findings = self.outcome.as_ref().map(|outcome| to_json(outcome)["findings"].take());
        json!({
            "lock": self.path.display().to_string(),
            "written": self.written,
            "same": self.is_same(),
            "upstreams": upstreams.collect::<Vec<_>>(),
            "differences": differences.collect::<Vec<_>>(),
            "unfit": unfit.collect::<Vec<_>>(),
            "findings": findings,
        })
    }

    pub fn text(&self) -> String {
        let mut out: String = self.differences.iter().map(diff::text).collect();
        for one in &self.unfit {
            let (kind, name) = (one.kind.word(), shown(&one.name));
            out.push_str(&format!("! {kind} {}.{name} cannot be pinned: {}\n", one.upstream, one.why));
        }
        let path = self.path.display();
        let items: usize =
            self.pinned.iter().flat_map(|one| Kind::ALL.map(|kind| one.lists.of(kind).len())).sum();
        let what = match (self.outcome.is_some(), self.written, self.is_same()) {
            (false, _, true) => "upstreams offer what it pins",
            (false, _, false) => "upstreams offer something else than it pins",
            (true, true, _) => "written",
            (true, false, _) => "as before",
        };
        out.push_str(&format!("{path}: {what} ({} upstreams, {items} items)\n", self.pinned.len()));
        out
    }
}
