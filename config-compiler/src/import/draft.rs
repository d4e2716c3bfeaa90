//! What an import has understood, before it is written: upstreams, what of them is shown where, and rules. Texts are in
//! our spelling already. A thing that could not be carried whole is not in it: half a server may be more open than the
//! whole one.

use std::collections::{BTreeSet, HashSet};

use crate::limits::{NAME_BYTES_MAX, UPSTREAMS_MAX};

#[derive(Debug, Default)]
pub struct Draft {
    /// `ip:port`, where it is not ours.
    pub bind: Option<String>,
    pub upstreams: Vec<Upstream>,
    pub servers: Vec<Server>,
    pub rules: Vec<Rule>,
    pub limits: Vec<Limit>,
    pub left_out: Vec<LeftOut>,
    /// Variables that must be set when the configuration is compiled.
    pub variables: BTreeSet<String>,
    names: HashSet<String>,
    rule_ids: HashSet<String>,
}

#[derive(Debug, Default)]
pub struct Upstream {
    pub name: String,
    pub reach: Reach,
    pub is_sse: bool,
    pub credential: Option<Credential>,
    /// Deadline of a whole call.
    pub call_ms: Option<u64>,
    /// What of it is shown: patterns after its name. `None`: everything.
    pub tools: Option<Vec<String>>,
    pub prompts: Option<Vec<String>>,
    pub resources: Option<Vec<String>>,
}

#[derive(Debug)]
pub enum Reach {
    Http(String),
    Stdio { command: String, args: Vec<String>, env: Vec<(String, String)>, cwd: Option<String> },
}

impl Default for Reach {
    fn default() -> Reach {
        Reach::Http(String::new())
    }
}

#[derive(Debug)]
pub enum Credential {
    Bearer(String),
    Header { name: String, value: String },
}

#[derive(Debug)]
pub struct Server {
    pub name: String,
    pub path: String,
    /// Callers must show a key.
    pub auth: bool,
    pub upstreams: Vec<String>,
}

#[derive(Debug)]
pub struct Rule {
    pub id: String,
    pub effect: &'static str,
    pub patterns: Vec<String>,
    pub when: Option<String>,
    pub unless: Option<String>,
}

#[derive(Debug)]
pub struct Limit {
    pub id: String,
    pub on: Vec<String>,
    /// `rate`, `calls` or `concurrency`, and its value.
    pub what: &'static str,
    pub value: String,
    pub burst: Option<u64>,
}

/// A server that is not in the configuration.
#[derive(Debug)]
pub struct LeftOut {
    pub name: String,
    pub at: String,
    pub why: String,
}

impl Upstream {
    /// What is shown of it, as patterns of a rule.
    pub fn patterns(&self) -> Vec<String> {
        let lists = [("tool", &self.tools), ("prompt", &self.prompts), ("resource", &self.resources)];
        if lists.iter().all(|(_, only)| only.is_none()) {
            return vec![format!("{}.*", self.name)];
        }
        let of = |(kind, only): (&str, &Option<Vec<String>>)| -> Vec<String> {
            let rests =
                only.as_deref().map_or_else(|| vec!["*"], |only| only.iter().map(String::as_str).collect());
            rests.into_iter().map(|rest| format!("{kind}:{}.{rest}", self.name)).collect()
        };
        lists.into_iter().flat_map(of).collect()
    }
}

impl Draft {
    /// A name of ours for a name of theirs, which nothing else has. `None`: there are too many.
    pub fn name(&mut self, theirs: &str) -> Option<String> {
        if self.names.len() >= UPSTREAMS_MAX {
            return None;
        }
        let folded = folded(theirs);
        Some(unique(&mut self.names, folded))
    }

    pub fn rule_id(&mut self, wanted: &str) -> String {
        let folded = folded(wanted);
        unique(&mut self.rule_ids, folded)
    }

    /// Of these upstreams, everything that is shown of them.
    pub fn allow_all(&mut self, id: &str, upstreams: &[String]) {
        let is_meant = |upstream: &&Upstream| upstreams.contains(&upstream.name);
        let patterns: Vec<String> =
            self.upstreams.iter().filter(is_meant).flat_map(Upstream::patterns).collect();
        if !patterns.is_empty() {
            let id = self.rule_id(id);
            self.rules.push(Rule { id, effect: "allow", patterns, when: None, unless: None });
        }
    }

    pub fn deny_tools(&mut self, upstream: &str, tools: &[String]) {
        if !tools.is_empty() {
            let id = self.rule_id(&format!("{upstream}-disabled"));
            let patterns = tools.iter().map(|tool| format!("tool:{upstream}.{tool}")).collect();
            self.rules.push(Rule { id, effect: "deny", patterns, when: None, unless: None });
        }
    }
}

fn unique(taken: &mut HashSet<String>, wanted: String) -> String {
    let mut name = wanted.clone();
    let mut next = 2;
    while !taken.insert(name.clone()) {
        let suffix = format!("-{next}");
        let keep = wanted.len().min(NAME_BYTES_MAX - suffix.len());
        name = format!("{}{suffix}", &wanted[..keep]);
        next += 1;
    }
    name
}

/// Names elsewhere are free text; ours are letters, digits, `_` and `-`, and `__` separates an upstream from its tools.
pub fn folded(theirs: &str) -> String {
    let mut name = String::new();
    for c in theirs.chars().take(NAME_BYTES_MAX) {
        let c = if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
        if !(c == '_' && name.ends_with('_')) {
            name.push(c);
        }
    }
    if name.is_empty() { "server".to_owned() } else { name }
}

/// A name of a tool that can stand in a pattern for itself alone.
pub fn is_literal(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 256
        && !name.contains('*')
        && !name.chars().any(|c| c.is_control() || c == ' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_fold_to_one_stay_two() {
        let mut draft = Draft::default();
        let names: Vec<String> =
            ["a b", "a_b", "a__b", "", "\u{e9}"].iter().map(|name| draft.name(name).unwrap()).collect();
        assert_eq!(names, ["a_b", "a_b-2", "a_b-3", "server", "_"]);
        let long = "x".repeat(200);
        assert_eq!(draft.name(&long).unwrap().len(), NAME_BYTES_MAX);
        assert_eq!(draft.name(&long).unwrap(), format!("{}-2", "x".repeat(NAME_BYTES_MAX - 2)));
    }
}
