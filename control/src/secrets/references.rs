//! References in a table's texts, replaced when the table is loaded: `${env:…}`, `${secret:…}`,
//! `${file:…}`. What cannot be resolved says which reference, where it was looked for and what to do,
//! and never any part of a value: it makes one upstream unreachable, not the process.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use strait_engine::Secret;
use strait_table::rules::{ArchivedText, ArchivedTextPart};
use strait_table::secret::{ArchivedSecret, ArchivedSource};
use zeroize::Zeroizing;

use super::sealed::Place;
use super::stores::Stores;
use crate::state::read_secret;

/// Where references are looked up.
pub struct References<'a> {
    /// Relative paths start here.
    pub base: &'a Path,
    /// One file per secret.
    pub secrets: &'a Path,
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// Secrets with a place of their own.
    pub declared: &'a [ArchivedSecret],
    /// The embedded vault, opened when it is first asked.
    pub sealed: Sealed,
    /// What was fetched from stores of others; `None`: nothing may come from there.
    pub stores: Option<&'a Stores>,
}

/// The embedded vault as one reader sees it.
pub struct Sealed {
    place: Option<Place>,
    opened: OnceCell<Result<BTreeMap<String, Secret>, String>>,
}

impl Sealed {
    pub fn at(place: Place) -> Sealed {
        Sealed { place: Some(place), opened: OnceCell::new() }
    }

    #[cfg(test)]
    pub fn none() -> Sealed {
        Sealed { place: None, opened: OnceCell::new() }
    }

    fn get(&self, name: &str) -> Result<Option<Secret>, String> {
        let Some(place) = &self.place else { return Ok(None) };
        let opened = self
            .opened
            .get_or_init(|| place.open().map(Option::unwrap_or_default).map_err(|error| error.to_string()));
        opened.as_ref().map(|secrets| secrets.get(name).cloned()).map_err(Clone::clone)
    }
}

#[cfg(test)]
impl<'a> References<'a> {
    /// Of this machine, and without a vault.
    pub fn local(
        base: &'a Path,
        secrets: &'a Path,
        env: &'a dyn Fn(&str) -> Option<String>,
    ) -> References<'a> {
        References { base, secrets, env, declared: &[], sealed: Sealed::none(), stores: None }
    }
}

impl References<'_> {
    /// The text with every reference replaced.
    pub fn resolve(&self, text: &ArchivedText) -> Result<Secret, String> {
        let mut whole = Zeroizing::new(String::new());
        for part in text.parts.iter() {
            let value = self.part(part)?;
            // What a growing text leaves behind is overwritten too.
            let mut longer = Zeroizing::new(String::with_capacity(whole.len() + value.len()));
            longer.push_str(&whole);
            longer.push_str(&value);
            whole = longer;
        }
        Ok(Secret::new(std::mem::take(&mut *whole)))
    }

    fn part(&self, part: &ArchivedTextPart) -> Result<Secret, String> {
        match part {
            ArchivedTextPart::Literal(text) => Ok(Secret::new(text.as_str())),
            ArchivedTextPart::Env { name, default } => {
                self.variable(name, default.as_ref().map(|text| text.as_str()))
            }
            ArchivedTextPart::Secret(name) => self.secret(name),
            ArchivedTextPart::File(path) => self.file(Path::new(path.as_str())),
        }
    }

    pub fn variable(&self, name: &str, default: Option<&str>) -> Result<Secret, String> {
        let found = (self.env)(name).filter(|value| !value.is_empty() || default.is_none());
        let found = found.or_else(|| default.map(str::to_owned));
        let found =
            found.ok_or_else(|| format!("environment variable `{name}` is not set: set it and start again"));
        found.map(Secret::new)
    }

    /// A secret by its name: where the configuration says, else in the embedded vault, a file or a variable.
    pub fn secret(&self, name: &str) -> Result<Secret, String> {
        if !Path::new(name).components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(format!("secret `{name}` is not a name: it may not leave the folder of secrets"));
        }
        if let Some(declared) = self.declared.iter().find(|declared| declared.name.as_str() == name) {
            return self.declared(declared).map_err(|why| format!("secret `{name}`: {why}"));
        }
        if let Some(value) = self.sealed.get(name).map_err(|why| format!("secret `{name}`: {why}"))? {
            return Ok(value);
        }
        let path = self.secrets.join(name);
        match read_secret(&path) {
            Ok(value) => return Ok(Secret::new(value)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(format!("cannot read secret `{name}` in `{}`: {error}", path.display()));
            }
        }
        let variable = variable(name);
        let value = (self.env)(&variable).filter(|value| !value.is_empty()).map(Secret::new);
        value.ok_or_else(|| {
            format!(
                "secret `{name}` not found: `strait vault set {name}`, write it to `{}`, or set `{variable}`",
                path.display()
            )
        })
    }

    fn declared(&self, declared: &ArchivedSecret) -> Result<Secret, String> {
        match &declared.source {
            ArchivedSource::File(path) => self.file(Path::new(path.as_str())),
            ArchivedSource::Env(name) => {
                let value = (self.env)(name).filter(|value| !value.is_empty()).map(Secret::new);
                value.ok_or_else(|| format!("environment variable `{name}` is not set"))
            }
            ArchivedSource::Systemd(name) => {
                let path = credential_of_systemd(name, self.env).ok_or_else(|| {
                    format!(
                        "systemd passed no credentials: start with `LoadCredential={name}:…` in the unit ($CREDENTIALS_DIRECTORY is not set)"
                    )
                })?;
                self.file(&path)
            }
            ArchivedSource::Vault(_) | ArchivedSource::Aws(_) => match self.stores {
                Some(stores) => stores.value(&declared.source, self.base, self.declared),
                None => {
                    Err("it is in a store itself: the way into a store cannot come out of one".to_owned())
                }
            },
        }
    }

    pub fn file(&self, path: &Path) -> Result<Secret, String> {
        let path = self.base.join(path);
        let value = read_secret(&path).map(Secret::new);
        value.map_err(|error| format!("cannot read `{}`: {error}", path.display()))
    }
}

/// Where systemd puts a credential of this name.
pub fn credential_of_systemd(name: &str, env: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    env("CREDENTIALS_DIRECTORY")
        .filter(|folder| !folder.is_empty())
        .map(|folder| Path::new(&folder).join(name))
}

/// `crm/api-key` is `STRAIT_SECRET_CRM_API_KEY`.
fn variable(name: &str) -> String {
    let tail = name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' });
    "STRAIT_SECRET_".chars().chain(tail).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::Folder;
    use strait_table::rules::{
        Credential, Endpoint, Era, Rules, Text, TextPart, Timeouts, Transport, Upstream,
    };

    /// What one part resolves to, with a file `here`, a secret `there` and variables `SET` and `EMPTY`.
    fn resolve(part: TextPart) -> Result<String, String> {
        let folder = Folder::new();
        std::fs::write(folder.path().join("here"), "from a file\n").unwrap();
        std::fs::create_dir(folder.path().join("secrets")).unwrap();
        std::fs::write(folder.path().join("secrets/there"), "from a secret").unwrap();
        let text = Text { parts: vec![TextPart::Literal("<".into()), part, TextPart::Literal(">".into())] };
        let endpoint = Endpoint { host: "h".into(), port: 1, path: "/".into(), https: false };
        let upstream = Upstream {
            name: "u".into(),
            transport: Transport::Http { endpoints: vec![endpoint] },
            era: Era::Auto,
            credential: Some(Credential::Bearer(text)),
            identity_header: None,
            timeout: Timeouts::default(),
            list_ttl_ms: 0,
            tls: Default::default(),
        };
        let rules = Rules { upstreams: vec![upstream], ..crate::test_support::rules() };
        let snapshot = strait_table::snapshot::of_rules(&rules).unwrap();
        let env = |name: &str| match name {
            "SET" => Some("from env".to_owned()),
            "EMPTY" => Some(String::new()),
            "STRAIT_SECRET_CRM_API_KEY" => Some("from a secret's variable".to_owned()),
            _ => None,
        };
        let secrets = folder.path().join("secrets");
        let references = References::local(folder.path(), &secrets, &env);
        let Some(strait_table::rules::ArchivedCredential::Bearer(text)) =
            snapshot.rules().upstreams[0].credential.as_ref()
        else {
            panic!("no credential")
        };
        references.resolve(text).map(|secret| secret.to_string())
    }

    #[test]
    fn references_are_replaced() {
        let check = |part, expected: &str| assert_eq!(resolve(part).as_deref(), Ok(expected));
        let env = |name: &str, default: Option<&str>| TextPart::Env {
            name: name.into(),
            default: default.map(Into::into),
        };
        check(env("SET", None), "<from env>");
        check(env("SET", Some("x")), "<from env>");
        check(env("EMPTY", None), "<>");
        check(env("EMPTY", Some("x")), "<x>");
        check(env("NONE", Some("")), "<>");
        check(TextPart::Secret("there".into()), "<from a secret>");
        check(TextPart::Secret("crm/api-key".into()), "<from a secret's variable>");
        check(TextPart::File("here".into()), "<from a file>");
    }

    #[test]
    fn what_is_missing_says_where_it_was_looked_for() {
        let check = |part, contains: &[&str]| {
            let error = resolve(part).unwrap_err();
            assert!(contains.iter().all(|text| error.contains(text)), "{error}");
        };
        check(TextPart::Env { name: "NONE".into(), default: None }, &["`NONE` is not set"]);
        check(
            TextPart::Secret("crm".into()),
            &["secret `crm` not found", "strait vault set crm", "secrets/crm", "STRAIT_SECRET_CRM"],
        );
        check(TextPart::Secret("../here".into()), &["may not leave"]);
        check(TextPart::File("none".into()), &["cannot read", "none"]);
    }
}
