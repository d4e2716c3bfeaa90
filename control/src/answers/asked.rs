//! What is asked about: a thing by its name, and how rules are named in an answer.

use strait_table::rules::{ArchivedEffect, ArchivedPattern, ArchivedRule};
use strait_table::{Kind, Snapshot};

use crate::{Code, Failure};

/// What is asked for.
pub struct Thing<'t> {
    pub kind: Kind,
    pub upstream: usize,
    pub name: &'t str,
}

impl<'t> Thing<'t> {
    /// By its full name, `upstream.name`.
    pub fn of(snapshot: &Snapshot, kind: Kind, full: &'t str) -> Result<Thing<'t>, Failure> {
        let Some((upstream, name)) = full.split_once('.') else {
            return Err(usage(format!("`{full}` is not written as `upstream.name`")));
        };
        let upstreams = &snapshot.rules().upstreams;
        match upstreams.iter().position(|known| known.name == upstream) {
            Some(upstream) => Ok(Thing { kind, upstream, name }),
            None => {
                let names: Vec<&str> = upstreams.iter().map(|known| known.name.as_str()).collect();
                Err(usage(format!("there is no upstream `{upstream}`; declared: {}", names.join(", "))))
            }
        }
    }

    /// The server that is asked: the one that is named, or the first whose patterns speak of it. None: it does not show it.
    pub fn server(&self, snapshot: &Snapshot, named: Option<&str>) -> Result<Option<usize>, Failure> {
        let rules = snapshot.rules();
        match named {
            None => Ok((0..rules.servers.len()).find(|index| self.is_shown_by(snapshot, *index))),
            Some(name) => match rules.servers.iter().position(|server| server.name == name) {
                Some(index) => Ok(Some(index).filter(|index| self.is_shown_by(snapshot, *index))),
                None => Err(usage(format!("there is no server `{name}`"))),
            },
        }
    }

    /// Whether a server's patterns speak of it.
    pub fn is_shown_by(&self, snapshot: &Snapshot, server: usize) -> bool {
        let rules = snapshot.rules();
        let (Some(upstream), Some(server)) = (rules.upstreams.get(self.upstream), rules.servers.get(server))
        else {
            return false;
        };
        let full = format!("{}.{}", upstream.name.as_str(), self.name);
        let shows = |patterns: &[ArchivedPattern]| {
            patterns.iter().any(|pattern| strait_table::bind::speaks(pattern, self.kind, &full, self.name))
        };
        match self.kind {
            Kind::Tool => shows(&server.tools),
            Kind::Prompt => shows(&server.prompts),
            Kind::Resource | Kind::Template => shows(&server.resources),
        }
    }
}

pub fn usage(message: String) -> Failure {
    Failure::new(Code::Usage, message)
}

pub fn effect(rule: &ArchivedRule) -> &'static str {
    match rule.effect {
        ArchivedEffect::Allow => "allow",
        ArchivedEffect::Hold => "hold",
        ArchivedEffect::Deny => "deny",
    }
}

pub fn place(snapshot: &Snapshot, rule: &ArchivedRule) -> String {
    let source = snapshot.rules().sources.get(usize::from(rule.place.source.to_native()));
    format!("{}:{}:{}", source.map_or("?", |source| source.path.as_str()), rule.place.line, rule.place.column)
}

/// Fit for a terminal, whatever somebody put into a name.
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
