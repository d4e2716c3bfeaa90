//! Cases: what an author expects of a policy, written as `tests` in a configuration or in a `*.test.yaml` beside it.
//!
//! The decision: cases are no part of a table. They are read by the walker that reads everything else, so that a mistake in one is a
//! finding at its place; the names they speak of are looked up when they are run, where a name that is not there fails one case only.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use strait_policy::Principal;
use strait_table::Kind;

use crate::{
    condition::during,
    diagnostic::{Finding, Findings, codes},
    limits::{CASE_FILES_MAX, CASES_MAX},
    load::Outcome,
    lower::identity,
    source::{
        Node, Value,
        include::{self, Document},
    },
    walk::{Walk, keys},
};

/// One call, and what is expected of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// As its author calls it; else what it asks.
    pub name: String,
    /// `file:line:column`.
    pub at: String,
    pub principal: Who,
    pub kind: Kind,
    /// `upstream.name`.
    pub thing: String,
    pub server: Option<String>,
    /// The text of a JSON object.
    pub args: String,
    /// In seconds of Unix time.
    pub moment: Option<i64>,
    pub headers: Vec<(String, String)>,
    pub ip: IpAddr,
    pub expect: Expect,
    /// The rule that is expected to decide.
    pub by: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// The id of a key, or `anonymous`.
    Id(String),
    Described(Principal),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    Allow,
    Hold,
    Deny,
    /// Refused, and no list shows it.
    Hidden,
}

impl Expect {
    const WORDS: [(&'static str, Expect); 4] = [
        ("allow", Expect::Allow),
        ("deny", Expect::Deny),
        ("hold", Expect::Hold),
        ("hidden", Expect::Hidden),
    ];

    pub fn word(self) -> &'static str {
        Expect::WORDS.iter().find(|(_, expect)| *expect == self).map_or("?", |(word, _)| *word)
    }
}

/// The cases of all files of a configuration.
pub(crate) fn of_documents(walk: &mut Walk<'_>, documents: &[Document]) -> Vec<Case> {
    let lists = documents.iter().filter_map(|document| document.root.get("tests"));
    let lists: Vec<&Node> = lists.filter(|node| !node.is_nothing()).collect();
    lists.into_iter().flat_map(|node| list(walk, node)).collect()
}

/// Files of cases beside a configuration, by name.
pub fn beside(config: &Path) -> std::io::Result<Vec<PathBuf>> {
    let folder = config.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if (name.ends_with(".test.yaml") || name.ends_with(".test.yml")) && path.is_file() {
            found.push(folder.join(name));
        }
    }
    found.sort_unstable();
    match found.len() > CASE_FILES_MAX {
        true => Err(std::io::Error::other(format!("there are more than {CASE_FILES_MAX} files of cases"))),
        false => Ok(found),
    }
}

/// Reads a file of cases. The outcome has no rules.
pub fn load(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Outcome {
    let mut findings = Findings::default();
    let gathered = include::gather(path, &mut findings);
    let mut walk = Walk::new(&gathered.files, &mut findings, env, gathered.whole);
    let mut cases = Vec::new();
    for document in &gathered.documents {
        let Some(mut fields) = walk.fields(&document.root, &keys::CASE_FILE) else { continue };
        let at = walk.files.first_line(document.root.span);
        let node = fields.required(
            &mut walk,
            "tests",
            at,
            "write `tests: [{ as: ann, call: crm.get, expect: allow }]`",
        );
        fields.finish();
        if let Some(node) = node.filter(|node| !node.is_nothing()) {
            cases.extend(list(&mut walk, node));
        }
    }
    let mut outcome = Outcome::of_findings(findings, gathered.files, gathered.watched);
    outcome.cases = cases;
    outcome
}

fn list(walk: &mut Walk<'_>, node: &Node) -> Vec<Case> {
    let items = walk.list(node, "cases").unwrap_or_default();
    if items.len() > CASES_MAX {
        let span = walk.files.first_line(node.span);
        let message = format!("there are more than {CASES_MAX} cases in one list");
        walk.report(Finding::new(&codes::OUT_OF_RANGE, span, message));
        return Vec::new();
    }
    items.iter().filter_map(|item| case(walk, item)).collect()
}

fn case(walk: &mut Walk<'_>, node: &Node) -> Option<Case> {
    let mut fields = walk.fields(node, &keys::CASE)?;
    let begin = walk.files.first_line(node.span);
    let name = fields.get("name").and_then(|node| walk.text(node));
    let who = fields.required(
        walk,
        "as",
        begin,
        "write who calls: the id of a key, or `{ id: ann, groups: [staff] }`",
    );
    let principal = who.and_then(|node| match &node.value {
        Value::Map(_) => described(walk, node).map(Who::Described),
        _ => walk.text(node).map(Who::Id),
    });
    let called = fields.exactly_one(walk, &["call", "prompt", "resource"], begin);
    let kind = match called.map(|entry| entry.key.as_str()) {
        Some("prompt") => Kind::Prompt,
        Some("resource") => Kind::Resource,
        _ => Kind::Tool,
    };
    let thing = called.and_then(|entry| walk.text(&entry.value));
    let server = fields.get("server").and_then(|node| walk.text(node));
    let args = match fields.get("args") {
        None => Some("{}".to_owned()),
        Some(node) => walk.json_object(node, as_written),
    };
    let moment = match fields.get("at") {
        None => Some(None),
        Some(node) => self::moment(walk, node).map(Some),
    };
    let headers = fields.get("headers").map_or(Some(Vec::new()), |node| headers(walk, node));
    let ip = match fields.get("ip") {
        None => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        Some(node) => ip(walk, node),
    };
    let expect =
        fields.required(walk, "expect", begin, "write what is expected: allow, deny, hold or hidden");
    let expect = expect.and_then(|node| walk.word(node, &Expect::WORDS));
    let by = fields.get("by").and_then(|node| walk.text(node));
    fields.finish();
    let place = walk.files.place(node.span);
    let at = format!("{}:{}:{}", walk.files.file(node.span.file).name, place.line, place.column);
    let (principal, thing, args) = (principal?, thing?, args?);
    let name = name.unwrap_or_else(|| {
        let who = match &principal {
            Who::Id(id) => id,
            Who::Described(principal) => &principal.id,
        };
        format!("{who} {thing} {args}")
    });
    let (moment, headers, ip, expect) = (moment?, headers?, ip?, expect?);
    Some(Case { name, at, principal, kind, thing, server, args, moment, headers, ip, expect, by })
}

fn described(walk: &mut Walk<'_>, node: &Node) -> Option<Principal> {
    let (key, _) = identity::described(walk, node, &keys::CASE_PRINCIPAL)?;
    let strait_table::rules::GeneratedKey { id, user, agent, tenant, groups, claims } = key;
    Some(Principal { id, user, agent, tenant, groups, claims })
}

/// Arguments are what a caller sends: nothing in them refers to anything.
fn as_written(walk: &mut Walk<'_>, node: &Node) -> Option<String> {
    walk.scalar(node, "a text").map(|scalar| scalar.text.clone())
}

fn moment(walk: &mut Walk<'_>, node: &Node) -> Option<i64> {
    const WORD: &str = "a time like `2026-11-21T06:00:00Z`";
    let scalar = walk.scalar(node, WORD)?;
    let moment = during::moment(&scalar.text).map(|(second, _)| second);
    if moment.is_none() {
        let finding = walk.wrong_type(node, WORD);
        walk.report(finding);
    }
    moment
}

fn headers(walk: &mut Walk<'_>, node: &Node) -> Option<Vec<(String, String)>> {
    let entries = walk.map(node, "a mapping like `{ x-env: prod }`")?;
    let read = |walk: &mut Walk<'_>, node| as_written(walk, node);
    entries.iter().map(|entry| Some((entry.key.clone(), read(walk, &entry.value)?))).collect()
}

fn ip(walk: &mut Walk<'_>, node: &Node) -> Option<IpAddr> {
    const WORD: &str = "an address like `10.0.0.1`";
    let ip = walk.scalar(node, WORD)?.text.parse().ok();
    if ip.is_none() {
        let finding = walk.wrong_type(node, WORD);
        walk.report(finding);
    }
    ip
}
