//! One load, from a path to rules and findings. Errors anywhere mean no rules: activation is all or
//! nothing, while the findings of every file are told in one run.

use std::path::{Path, PathBuf};

use strait_table::rules::{Rules, Source};

use crate::{
    diagnostic::{Finding, Findings, Severity},
    lower,
    source::{
        SourceMap,
        include::{self, Gathered},
    },
    walk::Walk,
};

/// What a load gave.
pub struct Outcome {
    /// `None` when any finding is an error.
    pub rules: Option<Rules>,
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

/// Reads a configuration with all it includes. `env` answers `${env:NAME}` where the compiler itself
/// resolves references.
pub fn load(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Outcome {
    let mut findings = Findings::default();
    let gathered = include::gather(path, &mut findings);
    finish(gathered, findings, env)
}

/// The same of a text that is in no file: it can include nothing.
pub fn load_text(name: &str, text: &str, env: &dyn Fn(&str) -> Option<String>) -> Outcome {
    let mut findings = Findings::default();
    let gathered = include::gather_text(name, text, &mut findings);
    finish(gathered, findings, env)
}

fn finish(gathered: Gathered, mut findings: Findings, env: &dyn Fn(&str) -> Option<String>) -> Outcome {
    let Gathered { mut files, documents, whole, mut watched } = gathered;
    let mut walk = Walk::new(&files, &mut findings, env, whole);
    let mut rules = lower::lower(&mut walk, &documents);
    let (resolved, secrets) = (walk.resolved, walk.secrets);
    watched.append(&mut walk.watched);
    rules.sources = files.files().map(|file| source(&file.name, &file.text)).chain(resolved).collect();
    secrets.into_iter().for_each(|span| files.mask(span));
    let rules = Some(rules).filter(|_| !findings.has_errors());
    let (findings, omitted) = findings.finish();
    Outcome { rules, findings, omitted, sources: files, watched }
}

fn source(name: &str, text: &str) -> Source {
    Source { path: name.to_owned(), blake3: *blake3::hash(text.as_bytes()).as_bytes() }
}
