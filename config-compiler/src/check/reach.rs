//! What the whole comes to: roles that nobody has, tools that a server shows and nobody may call, tools that write and that
//! everybody may call, servers that show nothing. Told of rules that would be served, and all of it a warning: a new key or a
//! new rule may be on its way.
//!
//! The decision: a call is decided here by the functions that workers decide with, with everything left open that is not known
//! at the desk (arguments, the hour, and who calls, where a key file cannot be read).

use std::collections::{BTreeMap, HashSet};

use strait_policy::{Principal, Ruling, Traits, Truth, weigh};
use strait_table::bind::BindFinding;
use strait_table::bound::{Bound, Item};
use strait_table::condition::{Moment, NONE, Workspace, evaluate::Thing};
use strait_table::decide::{audience, effect_of, speaks};
use strait_table::rules::{ArchivedEffect, ArchivedRules, Pattern};
use strait_table::snapshot::Snapshot;

use crate::{
    diagnostic::{Finding, Findings, codes},
    limits::REACH_WORK_MAX,
    lock::{Lock, hidden::shown},
    lower::pattern::Written,
    source::Span,
    walk::suggest,
};

/// Where things were written that findings about the whole point to, and who is known.
#[derive(Default)]
pub struct Places {
    pub servers: Vec<ServerPlaces>,
    /// By role; `None` of one that nothing speaks of, which was told already.
    pub roles: Vec<Option<Span>>,
    /// By rule.
    pub rules: Vec<Span>,
    pub default: Option<Span>,
    /// By identity: whom it knows. `None` where that cannot be read.
    pub known: Vec<Option<Vec<Principal>>>,
}

pub struct ServerPlaces {
    pub name: Span,
    pub tools: Vec<Written>,
}

/// What was worked out to look at.
pub struct Reach<'r> {
    places: &'r Places,
    rules: &'r ArchivedRules,
    findings: &'r mut Findings,
    /// Rules that may still be asked.
    left: usize,
    workspace: Workspace,
}

impl<'r> Reach<'r> {
    pub fn new(snapshot: &'r Snapshot, places: &'r Places, findings: &'r mut Findings) -> Reach<'r> {
        let rules = snapshot.rules();
        Reach { places, rules, findings, left: REACH_WORK_MAX, workspace: Workspace::default() }
    }

    /// Without a lock file: whatever upstreams offer.
    pub fn unpinned(&mut self, snapshot: &Snapshot) {
        self.people(snapshot);
        for (server, places) in self.rules.servers.iter().zip(&self.places.servers) {
            if server.tools.is_empty() && server.prompts.is_empty() && server.resources.is_empty() {
                let message = format!(
                    "server `{}` shows nothing: its lists of patterns are empty",
                    server.name.as_str()
                );
                self.findings.push(empty(places, message));
            }
        }
    }

    /// With what is pinned, bound.
    pub fn pinned(&mut self, snapshot: &Snapshot, bound: &Bound, unfit: &[BindFinding], lock: &Lock) {
        let traits = self.people(snapshot);
        let anonymous = snapshot.traits_of(&Principal::anonymous());
        // By what lets everybody: a rule, or the default.
        let mut by_all: BTreeMap<Option<u32>, Vec<String>> = BTreeMap::new();
        for (number, (server, places)) in bound.servers.iter().zip(&self.places.servers).enumerate() {
            let Some(said) = self.rules.servers.get(number) else { continue };
            let name = said.name.as_str();
            let upstreams =
                server.upstreams.iter().filter_map(|at| self.rules.upstreams.get(usize::from(*at)));
            let mut upstreams = upstreams.map(|upstream| lock.find(&upstream.name));
            let shelves = [&server.tools, &server.prompts, &server.resources, &server.templates];
            if shelves.iter().all(|shelf| shelf.items.is_empty()) {
                // What cannot be exposed was told, and that nothing is exposed of one that is not pinned.
                let told = unfit.iter().any(|unfit| unfit.server == name);
                if !told && upstreams.all(|locked| locked.is_some()) {
                    let message =
                        format!("server `{name}` shows nothing: nothing that is pinned matches its patterns");
                    self.findings.push(empty(places, message));
                }
                continue;
            }
            let callers = self.callers(number, &traits, &anonymous);
            let mut by_nobody = Vec::new();
            for item in &server.tools.items {
                let Some(upstream) = self.rules.upstreams.get(usize::from(item.upstream)) else { continue };
                let full = format!("{}.{}", upstream.name.as_str(), item.bare);
                let thing = Thing { server: name, upstream: &upstream.name, name: &item.bare };
                let mut rulings = callers.iter().map(|traits| self.ruling(item, thing, traits.as_ref()));
                // What could not be asked counts as possible.
                if !rulings.any(|ruling| ruling.is_none_or(|ruling| ruling.possible)) {
                    by_nobody.push(full);
                    continue;
                }
                if let Some(ruling) = self.ruling(item, thing, None)
                    && self.is_for_all(&ruling)
                    && writes(lock, &upstream.name, &item.bare)
                {
                    by_all.entry(ruling.verdict.rule()).or_default().push(full);
                }
            }
            self.called_by_nobody(name, places, &by_nobody);
        }
        for (rule, mut tools) in by_all {
            tools.sort_unstable();
            tools.dedup();
            self.written_by_all(rule, &tools);
        }
    }

    /// Tells of roles that nobody has, and gives what is true of the people of each identity; `None`: of people who are not known.
    fn people(&mut self, snapshot: &Snapshot) -> Vec<Option<HashSet<Traits>>> {
        let mut of_identities = Vec::new();
        let cost = self.rules.traits.len().max(1);
        for known in &self.places.known {
            let people = known.as_ref().filter(|people| people.len().saturating_mul(cost) <= self.left);
            self.left -= people.map_or(0, |people| people.len() * cost);
            of_identities
                .push(people.map(|people| people.iter().map(|one| snapshot.traits_of(one)).collect()));
        }
        let anonymous = snapshot.traits_of(&Principal::anonymous());
        let whole: Option<Vec<&HashSet<Traits>>> = of_identities.iter().map(Option::as_ref).collect();
        if let Some(whole) = whole {
            for (role, at) in self.rules.roles.iter().zip(&self.places.roles) {
                let (yes, error) = (role.yes.to_native(), role.error.to_native());
                let has = |traits: &Traits| {
                    [yes, error].iter().any(|bit| *bit != NONE && traits.contains(usize::from(*bit)))
                };
                let is_open = self.rules.servers.iter().any(|server| server.auth.is_empty());
                if whole.iter().any(|people| people.iter().any(has)) || (is_open && has(&anonymous)) {
                    continue;
                }
                let Some(at) = at else { continue };
                let message = format!("nobody who is known has the role `{}`", role.name.as_str());
                let help = "give a key what the role asks for, or correct its condition";
                let finding = Finding::new(&codes::ROLE_OF_NOBODY, *at, message)
                    .label("no key and no identity gives it");
                self.findings.push(finding.help(help));
            }
        }
        of_identities
    }

    /// What is true of those who come to a server, each different thing once. `None` among them: it is not known.
    fn callers(
        &self,
        server: usize,
        people: &[Option<HashSet<Traits>>],
        anonymous: &Traits,
    ) -> Vec<Option<Traits>> {
        let Some(server) = self.rules.servers.get(server).filter(|server| !server.auth.is_empty()) else {
            return vec![Some(anonymous.clone())];
        };
        let mut callers = HashSet::new();
        for identity in server.auth.iter() {
            match people.get(usize::from(identity.to_native())) {
                Some(Some(people)) if !people.is_empty() => callers.extend(people),
                _ => return vec![None],
            }
        }
        callers.into_iter().cloned().map(Some).collect()
    }

    /// What the policy says of a tool before a call is known. `None`: too much was asked already.
    fn ruling(&mut self, item: &Item, thing: Thing<'_>, traits: Option<&Traits>) -> Option<Ruling> {
        self.left = self.left.checked_sub(item.rules.len() + 1)?;
        let moment = Moment { traits, windows: None, principal: None, thing: Some(thing), asked: None };
        let mut spoken = Vec::with_capacity(item.rules.len());
        for number in &item.rules {
            let rule = self.rules.policy.rules.get(*number as usize)?;
            let truth = match audience(self.rules, &rule.to, traits) {
                Truth::False => continue,
                _ => speaks(self.rules, rule, &moment, &mut self.workspace).ok()?,
            };
            spoken.push((*number, effect_of(&rule.effect), truth));
        }
        Some(weigh(effect_of(&self.rules.policy.default), spoken))
    }

    /// Whoever calls, with whatever, whenever.
    fn is_for_all(&self, ruling: &Ruling) -> bool {
        let only_allows = ruling.open.iter().all(|rule| {
            let rule = self.rules.policy.rules.get(*rule as usize);
            rule.is_some_and(|rule| matches!(rule.effect, ArchivedEffect::Allow))
        });
        ruling.verdict.is_permit() && only_allows
    }

    fn called_by_nobody(&mut self, server: &str, places: &ServerPlaces, tools: &[String]) {
        let shows = |written: &Written, tool: &str| {
            let Pattern { glob, .. } = &written.pattern;
            strait_policy::glob::matches(glob, tool)
        };
        // Each is told at the first pattern that shows it.
        let mut left: Vec<&str> = tools.iter().map(String::as_str).collect();
        for written in &places.tools {
            let (here, elsewhere): (Vec<&str>, Vec<&str>) =
                left.iter().partition(|tool| shows(written, tool));
            left = elsewhere;
            if here.is_empty() {
                continue;
            }
            let message = format!("server `{server}` shows what nobody may call: {}", listed(&here));
            let finding = Finding::new(&codes::CALLED_BY_NOBODY, written.span, message).label("shown here");
            self.findings.push(finding.help("allow it to somebody, or show only what is used"));
        }
    }

    fn written_by_all(&mut self, rule: Option<u32>, tools: &[String]) {
        let names: Vec<&str> = tools.iter().map(String::as_str).collect();
        let names = listed(&names);
        let at = match rule {
            Some(rule) => self.places.rules.get(rule as usize).copied(),
            None => self.places.default,
        };
        let Some(at) = at else { return };
        let by = rule.and_then(|rule| self.rules.policy.rules.get(rule as usize));
        let by = by.map_or("the default".to_owned(), |rule| format!("rule `{}`", rule.id.as_str()));
        let message = format!("{by} lets everyone call what may write: {names}");
        let finding = Finding::new(&codes::WRITTEN_BY_ALL, at, message).label("whoever comes in");
        let help = "say to whom: `to: [role]`; a tool that only reads says so itself: `readOnlyHint`";
        self.findings.push(finding.help(help));
    }
}

/// Whatever an upstream put into a name, it is fit to be printed.
fn listed(tools: &[&str]) -> String {
    let shown: Vec<String> = tools.iter().map(|tool| shown(tool)).collect();
    suggest::listed(&shown.iter().map(String::as_str).collect::<Vec<_>>())
}

fn empty(places: &ServerPlaces, message: String) -> Finding {
    Finding::new(&codes::SERVER_EMPTY, places.name, message)
        .help("name what agents shall see, or leave the server out")
}

/// By its own words: whatever does not say that it only reads may write.
fn writes(lock: &Lock, upstream: &str, tool: &str) -> bool {
    let definition = lock.find(upstream).and_then(|locked| {
        let at = locked.index(strait_table::bound::Kind::Tool, tool)?;
        locked.pinned.lists.tools.get(at)
    });
    let definition = definition.and_then(|tool| serde_json::from_str::<serde_json::Value>(&tool.json).ok());
    let hint = |name: &str| definition.as_ref().is_some_and(|tool| tool["annotations"][name] == true);
    !hint("readOnlyHint") || hint("destructiveHint")
}
