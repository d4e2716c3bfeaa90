//! `${…}` of other tools, as references of ours. Where a value may be a secret (environment, headers) a reference stays
//! one until the gateway loads it; where it may not (commands, arguments, URLs) what it stands for becomes part of the
//! table, so that anything that looks like a secret there is refused, with the reason.

use std::collections::BTreeMap;

use super::secret;

/// What the source's tool replaces in texts.
#[derive(Default)]
pub struct Variables {
    /// By id: what an editor asks its user for.
    pub inputs: BTreeMap<String, Input>,
    /// Variables that stand for secrets of ours.
    pub secrets: BTreeMap<String, String>,
    /// What `${workspaceFolder}` stands for, where the file's place tells.
    pub workspace: Option<String>,
}

pub struct Input {
    /// What it is called here, when it is one.
    pub secret: Option<String>,
    pub default: Option<String>,
}

/// A text in our spelling.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Spoken {
    pub text: String,
    /// What of it is not a reference.
    pub literal: String,
    /// Variables of the environment that it names without a default.
    pub names: Vec<String>,
    pub has_reference: bool,
}

/// Where a text stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Its references are resolved when the table is loaded.
    Secret,
    /// Its references are resolved by the compiler.
    Plain,
}

impl Variables {
    /// Why not, when it cannot be said.
    pub fn spoken(&self, written: &str, place: Place) -> Result<Spoken, String> {
        if written.contains('\0') {
            return Err("the text holds a zero byte".to_owned());
        }
        let mut spoken = Spoken::default();
        let mut rest = written;
        while let Some(start) = rest.find("${") {
            spoken.literal(&rest[..start]);
            let inner = &rest[start + 2..];
            let Some(end) = inner.find('}') else {
                return Err("a `${` is never closed".to_owned());
            };
            self.reference(&inner[..end], place, &mut spoken)?;
            rest = &inner[end + 1..];
        }
        spoken.literal(rest);
        if place == Place::Plain && secret::looks_like_one(&spoken.literal) {
            return Err(SECRET_HERE.to_owned());
        }
        Ok(spoken)
    }

    fn reference(&self, inner: &str, place: Place, spoken: &mut Spoken) -> Result<(), String> {
        // Ours reads `$${` as the two characters `${`.
        if spoken.text.ends_with('$') {
            return Err("a `$` stands before a reference".to_owned());
        }
        match inner {
            "userHome" => return spoken.variable("HOME", None, Place::Secret),
            "pathSeparator" | "/" => {
                spoken.literal("/");
                return Ok(());
            }
            "workspaceFolder" => {
                let folder = self.workspace.as_deref();
                let folder =
                    folder.ok_or("`${workspaceFolder}` is known to the editor alone: write the path")?;
                spoken.literal(folder);
                return Ok(());
            }
            _ => {}
        }
        if let Some(id) = inner.strip_prefix("input:") {
            let Some(input) = self.inputs.get(id) else {
                return Err("it names an input that the file does not describe".to_owned());
            };
            if let Some(secret) = &input.secret {
                if place == Place::Plain {
                    return Err(SECRET_HERE.to_owned());
                }
                spoken.secret(secret);
                return Ok(());
            }
            return spoken.variable(&variable_of(id), input.default.as_deref(), place);
        }
        let variable = inner.strip_prefix("env:").unwrap_or(inner);
        let (name, default) = match variable.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (variable, None),
        };
        if !is_variable(name) {
            let shown: String = name.chars().take_while(char::is_ascii_alphabetic).take(24).collect();
            return Err(format!("`${{{shown}…}}` means nothing outside of its tool"));
        }
        if let Some(secret) = self.secrets.get(name) {
            if place == Place::Plain {
                return Err(SECRET_HERE.to_owned());
            }
            spoken.secret(secret);
            return Ok(());
        }
        spoken.variable(name, default, place)
    }
}

const SECRET_HERE: &str = "a secret in a command, argument or URL would be written into the table: hand it to the \
                           server in its environment";

impl Spoken {
    fn literal(&mut self, text: &str) {
        self.literal.push_str(text);
        if self.text.ends_with('$') && text.starts_with('{') {
            self.text.push('$');
        }
        self.text.push_str(&text.replace("${", "$${"));
    }

    pub fn secret(&mut self, name: &str) {
        self.text.push_str(&format!("${{secret:{name}}}"));
        self.has_reference = true;
    }

    fn variable(&mut self, name: &str, default: Option<&str>, place: Place) -> Result<(), String> {
        if place == Place::Plain && secret::is_named_like_one(name) {
            return Err(SECRET_HERE.to_owned());
        }
        // One that must not be repeated is not repeated as a default either.
        let default = default.filter(|default| {
            let is_secret = secret::is_named_like_one(name) || secret::looks_like_one(default);
            !default.contains(['}', '{']) && (default.is_empty() || !is_secret)
        });
        match default {
            Some(default) => self.text.push_str(&format!("${{env:{name}:-{default}}}")),
            None => {
                self.text.push_str(&format!("${{env:{name}}}"));
                self.names.push(name.to_owned());
            }
        }
        self.has_reference = true;
        Ok(())
    }
}

/// The variable that stands for an input: `api-host` is `API_HOST`.
pub fn variable_of(id: &str) -> String {
    let name: String =
        id.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
    if is_variable(&name) { name } else { format!("INPUT_{name}") }
}

pub fn is_variable(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables() -> Variables {
        let mut variables = Variables { workspace: Some("/srv/project".to_owned()), ..Variables::default() };
        variables.inputs.insert("key".to_owned(), Input { secret: Some("key".to_owned()), default: None });
        variables.inputs.insert("host".to_owned(), Input { secret: None, default: Some("here".to_owned()) });
        variables
    }

    #[track_caller]
    fn check(written: &str, place: Place, expected: Option<&str>) {
        let spoken = variables().spoken(written, place).ok().map(|spoken| spoken.text);
        assert_eq!(spoken.as_deref(), expected, "{written}");
    }

    #[test]
    fn references_are_spoken_in_our_words() {
        check("a${B}c", Place::Plain, Some("a${env:B}c"));
        check("${B:-x}${env:C}", Place::Plain, Some("${env:B:-x}${env:C}"));
        check("${workspaceFolder}/a", Place::Plain, Some("/srv/project/a"));
        check("${userHome}${/}a", Place::Plain, Some("${env:HOME}/a"));
        check("${input:host}", Place::Plain, Some("${env:HOST:-here}"));
        check("Bearer ${input:key}", Place::Secret, Some("Bearer ${secret:key}"));
        check("$B {x} $", Place::Plain, Some("$B {x} $"));
        check("$${B}", Place::Plain, None);
    }

    #[test]
    fn what_cannot_be_said_is_not() {
        for written in
            ["${B", "${input:none}", "${command:x}", "${file:/etc/shadow}", "${secret:x}", "${A:-${B}}x}"]
        {
            let spoken = variables().spoken(written, Place::Secret);
            assert!(spoken.is_err() || !spoken.unwrap().text.contains("file:"), "{written}");
        }
        check("${secret:x}", Place::Secret, None);
        check("${file:/etc/shadow}", Place::Secret, None);
        check("${input:key}", Place::Plain, None);
        check("${API_TOKEN}", Place::Plain, None);
        check("--token=abc", Place::Plain, None);
    }

    #[test]
    fn a_default_that_is_a_secret_is_not_repeated() {
        check("${TOKEN:-hunter2}", Place::Secret, Some("${env:TOKEN}"));
        check("${X:-ghp_0123456789abcdefghij}", Place::Secret, Some("${env:X}"));
    }
}
