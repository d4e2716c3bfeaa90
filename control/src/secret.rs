//! References in a table's texts, replaced when the table is loaded: `${env:…}`, `${secret:…}`,
//! `${file:…}`. What cannot be resolved says which reference, where it was looked for and what to do,
//! and never any part of a value: it makes one upstream unreachable, not the process.

use std::path::{Component, Path};

use strait_table::rules::{ArchivedText, ArchivedTextPart};

use crate::state::read_secret;

/// Where references are looked up.
pub struct References<'a> {
    /// Relative paths start here.
    pub base: &'a Path,
    /// One file per secret.
    pub secrets: &'a Path,
    pub env: &'a dyn Fn(&str) -> Option<String>,
}

impl References<'_> {
    /// The text with every reference replaced.
    pub fn resolve(&self, text: &ArchivedText) -> Result<String, String> {
        text.parts.iter().map(|part| self.part(part)).collect()
    }

    fn part(&self, part: &ArchivedTextPart) -> Result<String, String> {
        match part {
            ArchivedTextPart::Literal(text) => Ok(text.as_str().to_owned()),
            ArchivedTextPart::Env { name, default } => {
                let found = (self.env)(name).filter(|value| !value.is_empty() || default.is_none());
                let found = found.or_else(|| default.as_ref().map(|text| text.as_str().to_owned()));
                found.ok_or_else(|| {
                    format!("environment variable `{name}` is not set: set it and start again")
                })
            }
            ArchivedTextPart::Secret(name) => self.secret(name),
            ArchivedTextPart::File(path) => {
                let path = self.base.join(path.as_str());
                read_secret(&path).map_err(|error| format!("cannot read `{}`: {error}", path.display()))
            }
        }
    }

    fn secret(&self, name: &str) -> Result<String, String> {
        if !Path::new(name).components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(format!("secret `{name}` is not a name: it may not leave the folder of secrets"));
        }
        let path = self.secrets.join(name);
        match read_secret(&path) {
            Ok(value) => return Ok(value),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(format!("cannot read secret `{name}` in `{}`: {error}", path.display()));
            }
        }
        let variable = variable(name);
        (self.env)(&variable).filter(|value| !value.is_empty()).ok_or_else(|| {
            format!("secret `{name}` not found: write it to `{}`, or set `{variable}`", path.display())
        })
    }
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
        let references =
            References { base: folder.path(), secrets: &folder.path().join("secrets"), env: &env };
        let Some(strait_table::rules::ArchivedCredential::Bearer(text)) =
            snapshot.rules().upstreams[0].credential.as_ref()
        else {
            panic!("no credential")
        };
        references.resolve(text)
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
            &["secret `crm` not found", "secrets/crm", "STRAIT_SECRET_CRM"],
        );
        check(TextPart::Secret("../here".into()), &["may not leave"]);
        check(TextPart::File("none".into()), &["cannot read", "none"]);
    }
}
