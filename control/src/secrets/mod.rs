//! Secrets: where their values come from, and what of them is known.
//!
//! A table names secrets; [`references`] replaces the names when a table is loaded, and again whenever a file that a value came
//! from has changed, so that a rotated secret is in use without a restart. The embedded vault is [`sealed`].
//! Values are [`strait_engine::Secret`]s from the moment they are read: overwritten when nobody has them any more, and without a
//! `Debug`. They leave this crate as header lines and as the environment of the one upstream that gets them, and in no other way.

pub mod hygiene;
pub mod references;
pub mod sealed;
pub mod stores;

use std::path::{Path, PathBuf};

use strait_table::rules::{ArchivedAuthMethod, ArchivedRules, ArchivedText, ArchivedTextPart};
use strait_table::secret::ArchivedSource;

use crate::credentials;
use crate::state::State;
use references::{References, Sealed, credential_of_systemd};
use sealed::Place;
use stores::{Local, Stores};

/// Where a process looks for secrets.
pub struct Secrets {
    local: Local,
    stores: Stores,
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

impl Secrets {
    pub fn of(state: &State) -> Secrets {
        let local = Local { folder: state.secrets(), place: Place::of(state.root(), None, &variable) };
        Secrets { stores: Stores::new(local.clone()), local }
    }

    /// What is fetched from stores of others.
    pub fn stores(&self) -> &Stores {
        &self.stores
    }

    /// What references of this table stand for now.
    pub fn references<'a>(&'a self, base: &'a Path, rules: &'a ArchivedRules) -> References<'a> {
        References {
            base,
            secrets: &self.local.folder,
            env: &variable,
            declared: &rules.secrets,
            sealed: Sealed::at(self.local.place.clone()),
            stores: Some(&self.stores),
        }
    }

    /// Files that values of this table come from: another one there may be another secret.
    pub fn files(&self, base: &Path, rules: &ArchivedRules) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let of_identities = rules.identities.iter().filter_map(|identity| match &identity.method {
            ArchivedAuthMethod::Introspection(method) => Some(&method.secret),
            _ => None,
        });
        let of_collector =
            rules.telemetry.otlp.iter().flat_map(|otlp| &*otlp.headers).map(|line| &line.value);
        let texts = rules.upstreams.iter().flat_map(credentials::texts).chain(of_identities);
        let texts = texts.chain(of_collector);
        let of_stores = rules.secrets.iter().flat_map(|secret| match &secret.source {
            ArchivedSource::Vault(vault) => vault.login.texts(),
            _ => Vec::new(),
        });
        for part in texts.chain(of_stores).flat_map(|text| text.parts.iter()) {
            match part {
                ArchivedTextPart::File(path) => files.push(base.join(path.as_str())),
                ArchivedTextPart::Secret(name) => self.files_of(base, rules, name, &mut files),
                ArchivedTextPart::Env { .. } | ArchivedTextPart::Literal(_) => {}
            }
        }
        files.sort_unstable();
        files.dedup();
        files
    }

    fn files_of(&self, base: &Path, rules: &ArchivedRules, name: &str, files: &mut Vec<PathBuf>) {
        let declared = rules.secrets.iter().find(|declared| declared.name.as_str() == name);
        match declared.map(|declared| &declared.source) {
            Some(ArchivedSource::File(path)) => files.push(base.join(path.as_str())),
            Some(ArchivedSource::Systemd(name)) => files.extend(credential_of_systemd(name, &variable)),
            Some(_) => {}
            None => {
                files.push(self.local.folder.join(name));
                files.push(self.local.place.file.clone());
                files.push(self.local.place.kek.clone());
            }
        }
    }
}

/// Whether a text is more than what its author wrote.
pub fn has_references(text: &ArchivedText) -> bool {
    text.parts.iter().any(|part| !matches!(part, ArchivedTextPart::Literal(_)))
}
