//! What a store is shown: texts of a table, replaced at every login, so that a renewed `role.secret` or token is shown without a
//! reload.

use std::path::{Path, PathBuf};

use strait_engine::Secret;
use strait_table::rules::{ArchivedText, ArchivedTextPart};
use strait_table::secret::{ArchivedSecret, ArchivedSource};
use zeroize::Zeroizing;

use super::super::references::{References, Sealed, credential_of_systemd};
use super::super::sealed::Place;
use super::super::variable;

/// What this machine itself keeps.
#[derive(Clone)]
pub struct Local {
    pub folder: PathBuf,
    pub place: Place,
}

/// A text with references, which holds no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown(Vec<Part>);

#[derive(Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    Env { name: String, default: Option<String> },
    Secret(String),
    File(PathBuf),
}

impl std::fmt::Debug for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Part::Literal(_) => "(text)",
            Part::Env { .. } => "${env}",
            Part::Secret(_) => "${secret}",
            Part::File(_) => "${file}",
        })
    }
}

impl Shown {
    /// Secrets that this table declares are replaced by where it says they are: one of another name may stand for something else
    /// in the next table.
    pub fn of(text: &ArchivedText, base: &Path, declared: &[ArchivedSecret]) -> Shown {
        let part = |part: &ArchivedTextPart| match part {
            ArchivedTextPart::Literal(text) => Part::Literal(text.as_str().to_owned()),
            ArchivedTextPart::Env { name, default } => Part::Env {
                name: name.as_str().to_owned(),
                default: default.as_ref().map(|text| text.as_str().to_owned()),
            },
            ArchivedTextPart::File(path) => Part::File(base.join(path.as_str())),
            ArchivedTextPart::Secret(name) => {
                let known = declared.iter().find(|secret| secret.name == *name);
                known
                    .and_then(|secret| declared_part(&secret.source, base))
                    .unwrap_or_else(|| Part::Secret(name.as_str().to_owned()))
            }
        };
        Shown(text.parts.iter().map(part).collect())
    }

    pub fn resolve(&self, local: &Local) -> Result<Secret, String> {
        let references = References {
            // Paths were joined with it before.
            base: Path::new(""),
            secrets: &local.folder,
            env: &variable,
            declared: &[],
            sealed: Sealed::at(local.place.clone()),
            stores: None,
        };
        let mut whole = Zeroizing::new(String::new());
        for part in &self.0 {
            let value = match part {
                Part::Literal(text) => Secret::new(text.as_str()),
                Part::Env { name, default } => references.variable(name, default.as_deref())?,
                Part::Secret(name) => references.secret(name)?,
                Part::File(path) => references.file(path)?,
            };
            let mut longer = Zeroizing::new(String::with_capacity(whole.len() + value.len()));
            longer.push_str(&whole);
            longer.push_str(&value);
            whole = longer;
        }
        match whole.is_empty() {
            true => Err("it is empty".to_owned()),
            false => Ok(Secret::new(std::mem::take(&mut *whole))),
        }
    }
}

/// `None`: it is in a store, which the compiler refuses; nothing resolves it.
fn declared_part(source: &ArchivedSource, base: &Path) -> Option<Part> {
    match source {
        ArchivedSource::File(path) => Some(Part::File(base.join(path.as_str()))),
        ArchivedSource::Env(name) => Some(Part::Env { name: name.as_str().to_owned(), default: None }),
        ArchivedSource::Systemd(name) => {
            let path = credential_of_systemd(name, &variable);
            Some(Part::File(path.unwrap_or_else(|| Path::new("/$CREDENTIALS_DIRECTORY").join(name.as_str()))))
        }
        ArchivedSource::Vault(_) | ArchivedSource::Aws(_) => None,
    }
}
