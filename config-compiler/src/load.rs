//! One load, from a path to rules and findings. Errors anywhere mean no rules: activation is all or
//! nothing, while the findings of every file are told in one run.

use std::path::{Path, PathBuf};

use strait_table::bind::bind;
use strait_table::catalog::Catalog;
use strait_table::rules::{Rules, Source};
use strait_table::snapshot;

use crate::{
    cases::{self, Case},
    check::{
        self,
        reach::{Places, Reach},
    },
    diagnostic::{Finding, Findings, Severity, codes},
    lock::{self, Lock},
    lower,
    source::{
        Node, SourceMap, Value,
        include::{self, Gathered},
    },
    walk::Walk,
};

/// What a load gave.
pub struct Outcome {
    /// `None` when any finding is an error.
    pub rules: Option<Rules>,
    /// What the lock file pins, by upstream of the rules; `None`: what upstreams offer is learned at run time.
    pub catalog: Option<Catalog>,
    /// What its author expects of the policy.
    pub cases: Vec<Case>,
    /// In the order of the files and of the text.
    pub findings: Vec<Finding>,
    /// How many more there were.
    pub omitted: usize,
    /// The files that were read, in load order, secrets masked.
    pub sources: SourceMap,
    /// Files and folders whose change can change the result.
    pub watched: Vec<PathBuf>,
}

impl Outcome {
    /// Of a run that only looked at files.
    pub(crate) fn of_findings(findings: Findings, sources: SourceMap, watched: Vec<PathBuf>) -> Outcome {
        let (findings, omitted) = findings.finish();
        Outcome { rules: None, catalog: None, cases: Vec::new(), findings, omitted, sources, watched }
    }

    pub fn errors(&self) -> usize {
        self.count(Severity::Error)
    }

    pub fn warnings(&self) -> usize {
        self.count(Severity::Warning)
    }

    fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity() == severity).count()
    }
}

/// Reads a configuration with all it includes, and the lock file beside it. `env` answers `${env:NAME}` where the
/// compiler itself resolves references.
pub fn load(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Outcome {
    let mut findings = Findings::default();
    let mut gathered = include::gather(path, &mut findings);
    let lock = lock_of(path, &mut gathered, &mut findings);
    finish(gathered, lock, findings, env)
}

/// The same without its lock file, for whoever writes that.
pub fn load_unlocked(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Outcome {
    let mut findings = Findings::default();
    let gathered = include::gather(path, &mut findings);
    finish(gathered, None, findings, env)
}

/// The same of a text that is in no file: it can include nothing.
pub fn load_text(name: &str, text: &str, env: &dyn Fn(&str) -> Option<String>) -> Outcome {
    let mut findings = Findings::default();
    let gathered = include::gather_text(name, text, &mut findings);
    finish(gathered, None, findings, env)
}

/// The lock file is read before anything is lowered: conditions are checked against the schemas in it.
fn lock_of(config: &Path, gathered: &mut Gathered, findings: &mut Findings) -> Option<Lock> {
    let said = gathered.documents.iter().find_map(|document| document.root.get("catalog"));
    if said.and_then(word) == Some("dynamic") {
        return None;
    }
    let path = lock::beside(config);
    // One that is not there may come.
    gathered.watched.push(path.clone());
    if std::fs::symlink_metadata(&path).is_err() {
        if let Some(node) = said.filter(|node| word(node) == Some("locked")) {
            let message = format!("there is no `{}` beside the configuration", lock::FILE_NAME);
            let finding = Finding::new(&codes::LOCK_MISSING, node.span, message)
                .help("run `strait lock`: it asks the upstreams and writes down what they offer");
            findings.push(finding);
        }
        return None;
    }
    lock::read(&path, &mut gathered.files, findings)
}

fn word(node: &Node) -> Option<&str> {
    match &node.value {
        Value::Scalar(scalar) => Some(&scalar.text),
        _ => None,
    }
}

fn finish(
    gathered: Gathered,
    lock: Option<Lock>,
    mut findings: Findings,
    env: &dyn Fn(&str) -> Option<String>,
) -> Outcome {
    let Gathered { mut files, documents, whole, mut watched } = gathered;
    let mut walk = Walk::new(&files, &mut findings, env, whole);
    walk.lock = lock.as_ref();
    let mut rules = lower::lower(&mut walk, &documents);
    let cases = cases::of_documents(&mut walk, &documents);
    let (resolved, secrets) = (walk.resolved, walk.secrets);
    watched.append(&mut walk.watched);
    rules.sources = files.files().map(|file| source(&file.name, &file.text)).chain(resolved).collect();
    let (places, whole) = (std::mem::take(&mut walk.places), walk.whole);
    secrets.into_iter().for_each(|span| files.mask(span));
    let mut catalog = None;
    if let Some(lock) = &lock {
        let names = || rules.upstreams.iter().map(|upstream| upstream.name.as_str());
        (rules.pins, catalog) = (lock.pins(names()), Some(lock.catalog(names())));
        check::pinned::suspicious(&files, lock, &mut findings);
    }
    if whole && !findings.has_errors() {
        as_served(&rules, &places, lock.as_ref(), &mut findings);
    }
    let rules = Some(rules).filter(|_| !findings.has_errors());
    let (findings, omitted) = findings.finish();
    Outcome { rules, catalog, cases, findings, omitted, sources: files, watched }
}

/// What only shows when the rules are opened as a gateway opens them.
fn as_served(rules: &Rules, places: &Places, lock: Option<&Lock>, findings: &mut Findings) {
    // Rules that do not open are told by whoever opens them.
    let Ok(snapshot) = snapshot::of_rules(rules) else { return };
    let Some(lock) = lock else { return Reach::new(&snapshot, places, findings).unpinned(&snapshot) };
    // As if every upstream had just said it.
    let catalog = lock.catalog(rules.upstreams.iter().map(|upstream| upstream.name.as_str()));
    let (bound, unfit) = bind(snapshot.rules(), &catalog);
    check::pinned::exposed(&unfit, lock, findings);
    Reach::new(&snapshot, places, findings).pinned(&snapshot, &bound, &unfit, lock);
}

fn source(name: &str, text: &str) -> Source {
    Source { path: name.to_owned(), blake3: *blake3::hash(text.as_bytes()).as_bytes() }
}
