//! One server of a client's file: how it is reached, with what environment and header, and what of it may be used. The
//! keys are those of Claude Desktop, Claude Code, Cursor, Windsurf, VS Code and those that took them over; each means
//! the same wherever it stands. What cannot be carried leaves the whole server out.

use super::{
    draft::{self, Credential, Draft, LeftOut, Reach, Upstream},
    report::{Reader, UNTIL},
    secret,
    variables::{Place, Spoken, Variables},
};
use crate::{
    lower::credential::header_refused,
    source::{Entry, Node, Value},
    walk::scalar::split_url,
};

/// A server while it is read.
pub struct Candidate {
    /// Its name here.
    pub name: String,
    pub upstream: Upstream,
    pub disabled_tools: Vec<String>,
    /// Why it cannot be carried.
    pub why: Vec<String>,
    /// Variables that must be set when it is compiled.
    variables: Vec<String>,
}

impl Candidate {
    pub fn new(name: String) -> Candidate {
        let upstream = Upstream { name: name.clone(), ..Upstream::default() };
        Candidate { name, upstream, disabled_tools: Vec::new(), why: Vec::new(), variables: Vec::new() }
    }

    /// A question, without whose answer the server stays out.
    pub fn blocked(&mut self, reader: &mut Reader<'_>, entry: &Entry, why: impl Into<String>) {
        let why = why.into();
        reader.asked(entry, format!("{UNTIL}{why}"));
        self.why.push(why);
    }

    /// The same of everything beneath.
    pub fn blocked_whole(&mut self, reader: &mut Reader<'_>, entry: &Entry, why: impl Into<String>) {
        let why = why.into();
        reader.asked_whole(entry, format!("{UNTIL}{why}"));
        self.why.push(why);
    }

    /// To the draft, or to what is left out. Whether it is in.
    pub fn settle(self, draft: &mut Draft, reader: &mut Reader<'_>, entry: &Entry) -> bool {
        if self.why.is_empty() {
            reader.mapped(entry, format!("upstreams.{}", self.name));
            draft.deny_tools(&self.name, &self.disabled_tools);
            draft.variables.extend(self.variables);
            draft.upstreams.push(self.upstream);
            return true;
        }
        let why = self.why.join("; ");
        reader.asked(entry, format!("left out: {why}"));
        reader.left_out(entry);
        draft.left_out.push(LeftOut { name: self.name, at: reader.at(entry.key_span), why });
        false
    }

    pub fn url(&mut self, reader: &mut Reader<'_>, entry: &Entry, variables: &Variables) {
        match reader.text(entry) {
            Some(text) => self.address(reader, entry, text, variables),
            None => self.why.push("its URL is no text".to_owned()),
        }
    }

    /// A URL that was put together from what stands at an entry.
    pub fn address(&mut self, reader: &mut Reader<'_>, entry: &Entry, text: &str, variables: &Variables) {
        let spoken = variables.spoken(text, Place::Plain);
        match spoken.and_then(|spoken| Ok((address(&spoken)?, spoken.names))) {
            Ok((url, names)) => {
                self.variables.extend(names);
                reader.mapped(entry, format!("upstreams.{}.http", self.name));
                self.upstream.reach = Reach::Http(url);
            }
            Err(why) => self.blocked(reader, entry, why),
        }
    }

    pub fn env(
        &mut self,
        reader: &mut Reader<'_>,
        entry: &Entry,
        variables: &Variables,
    ) -> Vec<(String, String)> {
        let mut env = Vec::new();
        let Some(entries) = reader.map(entry) else {
            self.why.push("its environment is no mapping".to_owned());
            return env;
        };
        reader.mapped(entry, format!("upstreams.{}.stdio.env", self.name));
        for variable in entries {
            if variable.value.is_nothing() {
                reader.ignored(variable, "it has no value");
                continue;
            }
            if let Some(value) = self.variable(reader, variable, variables) {
                env.push((variable.key.clone(), value));
            }
        }
        env
    }

    fn variable(&mut self, reader: &mut Reader<'_>, entry: &Entry, variables: &Variables) -> Option<String> {
        let Some(text) = reader.text(entry) else {
            self.why.push("a variable of its environment is no text".to_owned());
            return None;
        };
        if entry.key.is_empty() || entry.key.contains(['=', '\0']) {
            self.blocked(reader, entry, "this cannot name a variable");
            return None;
        }
        let spoken = match variables.spoken(text, Place::Secret) {
            Ok(spoken) => spoken,
            Err(why) => {
                self.blocked(reader, entry, why);
                return None;
            }
        };
        let named =
            secret::is_named_like_one(&entry.key) && !spoken.has_reference && !is_harmless(&spoken.literal);
        if named || secret::looks_like_one(&spoken.literal) {
            let name = reader.secret(&self.name, &entry.key);
            reader.mapped(entry, kept_secret(&name));
            return Some(format!("${{secret:{name}}}"));
        }
        reader.mapped(entry, format!("upstreams.{}.stdio.env", self.name));
        Some(spoken.text)
    }

    /// Headers as a mapping, as `[{name, value}]` or as `["Name: value"]`.
    pub fn headers(&mut self, reader: &mut Reader<'_>, entry: &Entry, variables: &Variables) {
        let mut sent: Vec<(&Entry, String, &Node)> = Vec::new();
        match &entry.value.value {
            Value::Map(entries) => {
                sent.extend(entries.iter().map(|header| (header, header.key.clone(), &header.value)));
            }
            Value::List(items) => {
                for item in items {
                    let Value::Map(entries) = &item.value else {
                        self.blocked_whole(
                            reader,
                            entry,
                            "a header of this list is no mapping of name and value",
                        );
                        return;
                    };
                    let of = |key: &str| entries.iter().find(|entry| entry.key == key);
                    let name = of("name").and_then(|name| super::report::text_of(&name.value));
                    let (Some(name), Some(value)) = (name, of("value")) else {
                        self.blocked_whole(reader, entry, "a header of this list has no name or no value");
                        return;
                    };
                    of("name").into_iter().for_each(|said| reader.mapped(said, "the name of a header"));
                    sent.push((value, name.to_owned(), &value.value));
                }
            }
            _ if entry.value.is_nothing() => {}
            _ => {
                self.blocked_whole(reader, entry, "expected headers, found text");
                return;
            }
        }
        reader.mapped(entry, format!("upstreams.{}.credential", self.name));
        let mut carried: Option<Credential> = None;
        for (at, name, value) in sent {
            let lower = name.to_ascii_lowercase();
            if matches!(lower.as_str(), "accept" | "content-type" | "mcp-protocol-version" | "user-agent") {
                reader.ignored(at, "Strait writes this header itself");
                continue;
            }
            if let Some(why) = header_refused(&name) {
                self.blocked(reader, at, format!("this header cannot be sent: {why}"));
                continue;
            }
            if carried.is_some() {
                self.blocked(reader, at, "this version sends one header to an upstream, and this is another");
                continue;
            }
            carried = self.header(reader, at, &name, value, variables);
        }
        self.upstream.credential = carried;
    }

    fn header(
        &mut self,
        reader: &mut Reader<'_>,
        at: &Entry,
        name: &str,
        value: &Node,
        variables: &Variables,
    ) -> Option<Credential> {
        let Some(text) = super::report::text_of(value) else {
            self.blocked_whole(reader, at, "its value is no text");
            return None;
        };
        let is_authorization = name.eq_ignore_ascii_case("authorization");
        let token = text.strip_prefix("Bearer ").filter(|_| is_authorization);
        let spoken = match variables.spoken(token.unwrap_or(text), Place::Secret) {
            Ok(spoken) if spoken.literal.chars().any(char::is_control) => {
                Err("it holds a control character".to_owned())
            }
            spoken => spoken,
        };
        let spoken = match spoken {
            Ok(spoken) => spoken,
            Err(why) => {
                self.blocked(reader, at, why);
                return None;
            }
        };
        // A literal in a header is a credential until somebody says otherwise.
        let is_literal = !spoken.has_reference || secret::looks_like_one(&spoken.literal);
        let value = match is_literal {
            true => {
                let secret = reader.secret(&self.name, name);
                reader.mapped(at, kept_secret(&secret));
                format!("${{secret:{secret}}}")
            }
            false => {
                reader.mapped(at, format!("upstreams.{}.credential", self.name));
                spoken.text
            }
        };
        Some(match token {
            Some(_) => Credential::Bearer(value),
            None => Credential::Header { name: name.to_owned(), value },
        })
    }

    /// Variables that must be set when it is compiled.
    pub fn needs(&mut self, names: Vec<String>) {
        self.variables.extend(names);
    }

    /// The one header of these, in our spelling, that is sent.
    pub fn credential_of(&mut self, reader: &mut Reader<'_>, entry: &Entry, sent: Vec<(String, String)>) {
        for (name, value) in sent {
            if let Some(why) = header_refused(&name) {
                self.blocked_whole(reader, entry, format!("a header of it cannot be sent: {why}"));
            } else if self.upstream.credential.is_some() {
                self.blocked_whole(
                    reader,
                    entry,
                    "this version sends one header to an upstream, and here are more",
                );
            } else if value.chars().any(char::is_control) {
                self.blocked_whole(reader, entry, "a header of it holds a control character");
            } else {
                self.upstream.credential = Some(Credential::Header { name, value });
            }
        }
    }

    pub fn args(&mut self, reader: &mut Reader<'_>, entry: &Entry, variables: &Variables) -> Vec<String> {
        let Some(items) = reader.list(entry) else {
            self.why.push("its arguments are no list".to_owned());
            return Vec::new();
        };
        let mut args = Vec::new();
        let (mut after_secret_option, mut after_header_option) = (false, false);
        for item in items {
            let Some(text) = super::report::text_of(item) else {
                self.blocked_whole(reader, entry, "an argument is no text");
                return Vec::new();
            };
            let spoken = match variables.spoken(text, Place::Plain) {
                // `--token`, and what follows.
                Ok(_) if after_secret_option && !text.starts_with('-') => {
                    Err("an argument after an option for a secret would be written into the table: hand it to the \
                         server in its environment"
                        .to_owned())
                }
                // Whatever the header is called: what is told in one is rarely meant for everybody.
                Ok(_) if after_header_option && !is_harmless_header(text) => {
                    Err("a header given as an argument would be written into the table: give the server's own URL as `http`, \
                         and the header as its credential"
                        .to_owned())
                }
                spoken => spoken,
            };
            match spoken {
                Ok(spoken) => {
                    self.variables.extend(spoken.names);
                    args.push(spoken.text);
                }
                Err(why) => {
                    self.blocked(reader, entry, why);
                    return Vec::new();
                }
            }
            after_secret_option = text.starts_with('-')
                && !text.contains('=')
                && secret::is_named_like_one(text.trim_start_matches('-'));
            after_header_option = matches!(text, "-H" | "--header" | "--headers");
        }
        reader.mapped(entry, format!("upstreams.{}.stdio.args", self.name));
        args
    }

    pub fn plain(
        &mut self,
        reader: &mut Reader<'_>,
        entry: &Entry,
        variables: &Variables,
        to: &str,
    ) -> Option<String> {
        let Some(text) = reader.text(entry).filter(|text| !text.is_empty()) else {
            self.blocked(reader, entry, "it says nothing");
            return None;
        };
        match variables.spoken(text, Place::Plain) {
            Ok(spoken) => {
                reader.mapped(entry, format!("upstreams.{}.{to}", self.name));
                self.variables.extend(spoken.names);
                Some(spoken.text)
            }
            Err(why) => {
                self.blocked(reader, entry, why);
                None
            }
        }
    }

    /// Names of tools, each for itself.
    pub fn tool_names(&mut self, reader: &mut Reader<'_>, entry: &Entry) -> Option<Vec<String>> {
        let Some(names) = reader.texts(entry) else {
            self.why.push("its list of tools cannot be read".to_owned());
            return None;
        };
        if names.iter().any(|name| !draft::is_literal(name)) {
            self.blocked(reader, entry, "a name in it cannot be written as a pattern for itself alone");
            return None;
        }
        Some(names.into_iter().map(str::to_owned).collect())
    }
}

/// A key's own switch is no secret.
fn is_harmless(text: &str) -> bool {
    text.is_empty()
        || matches!(text.to_ascii_lowercase().as_str(), "true" | "false" | "0" | "1" | "none" | "yes" | "no")
}

/// `Name: value` of a header that says what is spoken, not who speaks.
fn is_harmless_header(text: &str) -> bool {
    let name = text.split(':').next().unwrap_or_default().trim().to_ascii_lowercase();
    matches!(
        name.as_str(),
        "accept" | "accept-language" | "content-type" | "user-agent" | "mcp-protocol-version"
    )
}

pub fn kept_secret(name: &str) -> String {
    format!("as `${{secret:{name}}}`: write its value to .strait/secrets/{name}")
}

/// A URL that this version can reach.
pub fn address(spoken: &Spoken) -> Result<String, String> {
    let rest = ["http://", "https://"].iter().find_map(|scheme| spoken.text.strip_prefix(scheme));
    if let Some(rest) = rest {
        // With a reference in it only the compiler knows.
        if !spoken.has_reference {
            split_url(rest, spoken.text.starts_with("https://"))?;
        }
        return Ok(spoken.text.clone());
    }
    if spoken.text.starts_with("${env:") {
        return Ok(spoken.text.clone());
    }
    Err("it begins with neither `http://` nor `https://`".to_owned())
}
