//! What a change of policy opens and closes: for whom, and one call of each that the two policies really decide differently.
//!
//! The decision: a difference of texts is no difference yet. What both policies are sure of is compared; where a verdict waits for
//! the call, calls are searched ([`super::search`]) and decided by both, as workers settle them, before one is told. Where texts differ
//! and no call was found, that is said, with how much was tried, and counts as a difference.

mod parts;
mod subjects;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value, json};
use strait_policy::authorize::Effect;
use strait_policy::{Principal, Ruling, Traits, Truth, Verdict, weigh};
use strait_protocol::jsonrpc::Decoder;
use strait_table::condition::evaluate::Thing;
use strait_table::condition::{Asked as AskedCall, Moment, Workspace};
use strait_table::decide::{Decider, audience, effect_of};
use strait_table::rules::{ArchivedRule, Effect as RuleEffect, Rules};
use strait_table::{Kind, Snapshot};

use super::asked::place;
use super::call::{self, Call, reason};
use super::names::{KINDS, Names, Offered};
use super::search::call::Given;
use super::search::{self, Asked, STEPS_MAX, Space, Step};
use crate::Failure;
use crate::limits::DIFF_STEPS_MAX;
use crate::source::Opened;
pub use parts::{Part, parts};
pub use subjects::Who;
use subjects::{Class, classes};

/// Which way a difference goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// The second policy permits a call that the first refuses.
    Opened,
    Closed,
}

/// A call, and what both policies make of it.
pub struct Witness {
    pub principal: Principal,
    /// As its upstream calls it.
    pub name: String,
    pub call: Call,
    /// A condition asks for the time.
    pub timed: bool,
    pub before: Told,
    pub after: Told,
}

/// What one policy makes of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub verdict: &'static str,
    pub rule: Option<String>,
    pub at: Option<String>,
    pub reason: String,
}

/// Something that is decided differently for some people.
pub struct Difference {
    pub who: Vec<Who>,
    /// The server's name, of the second policy where both have it.
    pub server: String,
    pub kind: Kind,
    /// `upstream.name`, or the pattern that stands for names nobody knows.
    pub name: String,
    /// None: texts differ, and no call was found among so many that were tried.
    pub found: Result<(Way, Witness), usize>,
}

pub struct Diff {
    pub generations: [String; 2],
    /// Opened first, then closed, then what no call was found for.
    pub differences: Vec<Difference>,
    pub parts: Vec<Part>,
    pub notes: Vec<String>,
}

impl Diff {
    pub fn differs(&self) -> bool {
        !self.differences.is_empty() || !self.parts.is_empty()
    }
}

/// One of the two policies.
struct Side<'o> {
    offered: Offered,
    rules: Rules,
    opened: &'o Opened,
}

/// Something under a path of both policies.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Key {
    kind: Kind,
    upstream: String,
    name: String,
}

/// What one policy says of something before a call is known.
struct Standing<'s> {
    ruling: Ruling,
    server: &'s str,
    /// Why it is refused whatever is called.
    never: Option<&'static str>,
}

pub fn diff(before: &Opened, after: &Opened, at: i64) -> Result<Diff, Failure> {
    let names = Names::of(&[before.snapshot.rules(), after.snapshot.rules()]);
    let unsound = |error| Failure::bug(format!("a table that was opened does not unpack: {error}"));
    let side = |opened| -> Result<Side<'_>, Failure> {
        let opened: &Opened = opened;
        let rules = opened.snapshot.unpacked().map_err(unsound)?;
        Ok(Side { offered: Offered::of(&opened.snapshot, &names)?, rules, opened })
    };
    let sides = [side(before)?, side(after)?];
    let mut differ = Differ { sides: &sides, at, left: DIFF_STEPS_MAX, differences: Vec::new() };
    let mut notes = Vec::new();
    for class in classes([before, after], &mut notes) {
        differ.class(&class)?;
    }
    let mut differences = differ.differences;
    // Stable: people and things keep their order within a way.
    differences.sort_by_key(|difference| match &difference.found {
        Ok((way, _)) => (0, *way),
        Err(_) => (1, Way::Opened),
    });
    Ok(Diff {
        generations: [before, after].map(|opened| opened.snapshot.generation().to_string()),
        differences,
        parts: parts(&before.snapshot, &after.snapshot).map_err(unsound)?,
        notes,
    })
}

struct Differ<'o> {
    sides: &'o [Side<'o>; 2],
    at: i64,
    /// Steps that searches may still take, all together.
    left: usize,
    differences: Vec<Difference>,
}

impl Differ<'_> {
    fn class(&mut self, class: &Class) -> Result<(), Failure> {
        let sides = self.sides;
        let mut paths: BTreeMap<&str, [Option<usize>; 2]> = BTreeMap::new();
        for (side, of) in sides.iter().enumerate() {
            for (index, server) in of.offered.snapshot.rules().servers.iter().enumerate() {
                paths.entry(server.path.as_str()).or_default()[side] = Some(index);
            }
        }
        let traits: [Option<Traits>; 2] =
            [0, 1].map(|side| Some(sides[side].offered.snapshot.traits_of(class.principals[side].as_ref()?)));
        for servers in paths.into_values() {
            // Nobody is let in by either: nothing to compare.
            if (0..2).all(|side| servers[side].is_none_or(|server| !class.lets_in[side][server])) {
                continue;
            }
            let mut standings: BTreeMap<Key, [Option<Standing<'_>>; 2]> = BTreeMap::new();
            for side in 0..2 {
                Self::stand(sides, class, side, servers[side], traits[side].as_ref(), &mut standings);
            }
            for (key, both) in standings {
                self.compare(class, servers, &traits, &key, &both)?;
            }
        }
        Ok(())
    }

    /// What one policy says of everything that a server shows.
    fn stand<'s>(
        sides: &'s [Side<'_>; 2],
        class: &Class,
        side: usize,
        server: Option<usize>,
        traits: Option<&Traits>,
        into: &mut BTreeMap<Key, [Option<Standing<'s>>; 2]>,
    ) {
        let Some(server) = server else { return };
        let snapshot = &sides[side].offered.snapshot;
        let never = match (traits, class.lets_in[side][server]) {
            (None, _) => Some("there is no key of that id"),
            (_, false) => Some("the server does not let this one in"),
            _ => None,
        };
        let nobody = Traits::none(0);
        let Some(mut decider) = Decider::new(snapshot, server, traits.unwrap_or(&nobody), None) else {
            return;
        };
        let rules = snapshot.rules();
        for kind in KINDS {
            for item in decider.shelf(kind).items.iter() {
                let ruling = match never {
                    None => decider.item(item),
                    Some(_) => refused(),
                };
                let upstream =
                    rules.upstreams[usize::from(item.upstream.to_native())].name.as_str().to_owned();
                let key = Key { kind, upstream, name: item.bare.as_str().to_owned() };
                let standing = Standing { ruling, server: rules.servers[server].name.as_str(), never };
                into.entry(key).or_default()[side].get_or_insert(standing);
            }
        }
    }

    fn compare(
        &mut self,
        class: &Class,
        servers: [Option<usize>; 2],
        traits: &[Option<Traits>; 2],
        key: &Key,
        both: &[Option<Standing<'_>>; 2],
    ) -> Result<(), Failure> {
        let nothing = refused();
        let rulings = [0, 1].map(|side| both[side].as_ref().map_or(&nothing, |standing| &standing.ruling));
        let texts = [0, 1].map(|side| self.text(side, rulings[side], traits[side].as_ref()));
        if texts[0] == texts[1] {
            return Ok(());
        }
        let nobody = Principal::default();
        let principals = [0, 1].map(|side| class.principals[side].as_ref().unwrap_or(&nobody));
        let sides = self.sides;
        let server_name = both.iter().rev().flatten().next().map_or("", |standing| standing.server);
        let given = Given {
            principals: Some(principals),
            thing: Some(Thing { server: server_name, upstream: &key.upstream, name: &key.name }),
            method: call::method(key.kind),
            at: self.at,
        };
        let mut asked = Vec::new();
        // By side: what is sure, and the rules that may change it with their trees.
        let mut open: [Vec<(u32, Effect, Option<usize>)>; 2] = Default::default();
        for side in 0..2 {
            let snapshot = &sides[side].offered.snapshot;
            for index in &rulings[side].open {
                let Some(rule) = snapshot.rules().policy.rules.get(*index as usize) else { continue };
                let is_allow = effect_of(&rule.effect) == Effect::Allow;
                // Of what is permitted, another allow changes nothing; whom nobody can place in its role, it does not speak to.
                let to = audience(snapshot.rules(), &rule.to, traits[side].as_ref());
                if is_allow && (rulings[side].verdict.is_permit() || to == Truth::Error) {
                    continue;
                }
                let tree = rule.condition.as_ref().map(|condition| {
                    asked.push(Asked { condition, snapshot, side: side as u8 });
                    asked.len() - 1
                });
                open[side].push((*index, effect_of(&rule.effect), tree));
            }
        }
        let timed = asked.iter().any(|one| is_timed(one));
        let mut space = Space::of(&asked, &given);
        let mut wanted: Vec<Way> = Vec::new();
        if rulings[1].possible {
            wanted.push(Way::Opened);
        }
        if rulings[0].possible {
            wanted.push(Way::Closed);
        }
        let mut found: Vec<(Way, Vec<Option<usize>>)> = Vec::new();
        let mut judge = Judge {
            differ: self,
            key,
            both,
            rulings,
            servers,
            traits,
            principals,
            workspace: Workspace::default(),
        };
        let mut steps = STEPS_MAX.min(judge.differ.left);
        let before = steps;
        if !wanted.is_empty() {
            let mut chosen = vec![None; space.dimensions.len()];
            let mut look = |space: &mut Space<'_>, given: &Given<'_>, chosen: &[Option<usize>]| {
                let sure = [0, 1].map(|side| permits(rulings[side], &open[side], space, chosen, given));
                let [Some(one), Some(other)] = sure else { return Step::On };
                let way = match (one, other) {
                    (false, true) => Way::Opened,
                    (true, false) => Way::Closed,
                    _ => return Step::Leave,
                };
                if found.iter().any(|(known, _)| *known == way)
                    || judge.way(space, given, chosen) != Some(way)
                {
                    return Step::Leave;
                }
                found.push((way, chosen.to_vec()));
                if found.len() == wanted.len() { Step::Found } else { Step::Leave }
            };
            search::depth_first(&mut space, &given, &mut chosen, &mut steps, &mut look);
        }
        let tried = before - steps;
        let mut told = Vec::new();
        for (way, mut chosen) in found {
            // What is not needed is left out, from the last on.
            for at in (0..chosen.len()).rev() {
                let value = chosen[at].take();
                if judge.way(&space, &given, &chosen) != Some(way) {
                    chosen[at] = value;
                }
            }
            if let Some(witness) = judge.witness(&space, &given, &chosen, timed) {
                told.push(Ok((way, witness)));
            }
        }
        self.left -= tried;
        // Neither policy permits any call: it makes no difference how it is refused.
        if told.is_empty() && !wanted.is_empty() {
            told.push(Err(tried));
        }
        told.sort_by_key(|found| found.as_ref().map(|(way, _)| *way).unwrap_or(Way::Opened));
        let name = self.name(key);
        for found in told {
            let (server, name) = (server_name.to_owned(), name.clone());
            self.differences.push(Difference { who: class.who.clone(), server, kind: key.kind, name, found });
        }
        Ok(())
    }

    /// What a ruling says, without what stands for it elsewhere in its table.
    fn text(&self, side: usize, ruling: &Ruling, traits: Option<&Traits>) -> (bool, Vec<String>) {
        let of = &self.sides[side];
        let open = ruling.open.iter().filter_map(|index| of.rules.policy.rules.get(*index as usize));
        let mut open: Vec<String> = open
            // Of what is permitted, another rule that allows it changes nothing but the name.
            .filter(|rule| !ruling.verdict.is_permit() || rule.effect != RuleEffect::Allow)
            .map(|rule| {
                let condition =
                    rule.condition.as_ref().map(|condition| subjects::said(condition, &of.rules, traits));
                format!("{:?} {condition:?}", rule.effect)
            })
            .collect();
        open.sort_unstable();
        open.dedup();
        if !ruling.possible {
            open.clear();
        }
        (ruling.verdict.is_permit(), open)
    }

    fn name(&self, key: &Key) -> String {
        let pattern = self.sides.iter().rev().find_map(|side| {
            let rules = side.offered.snapshot.rules();
            let upstream =
                rules.upstreams.iter().position(|upstream| upstream.name == key.upstream.as_str())?;
            side.offered.pattern(upstream, key.kind, &key.name)
        });
        let name = pattern.unwrap_or(&key.name);
        if name.contains("://") && pattern.is_some() {
            name.to_owned()
        } else {
            format!("{}.{name}", key.upstream)
        }
    }
}

fn refused() -> Ruling {
    Ruling { verdict: Verdict::Deny(None), open: Vec::new(), possible: false }
}

fn is_timed(asked: &Asked<'_>) -> bool {
    use strait_table::condition::ArchivedOp;
    asked.condition.ops.iter().any(|op| matches!(op, ArchivedOp::Window(_)))
}

/// Whether a call is permitted, as far as it is chosen. None: that is open.
fn permits<'s>(
    ruling: &Ruling,
    open: &[(u32, Effect, Option<usize>)],
    space: &mut Space<'s>,
    chosen: &[Option<usize>],
    given: &Given<'_>,
) -> Option<bool> {
    let mut spoken = Vec::with_capacity(open.len() + 1);
    if let Some(rule) = ruling.verdict.rule() {
        let effect = match ruling.verdict {
            Verdict::Permit(_) => Effect::Allow,
            Verdict::Hold(_) => Effect::Hold,
            Verdict::Deny(_) => Effect::Deny,
        };
        spoken.push((rule, effect, Truth::True));
    }
    for (rule, effect, tree) in open {
        let truth = tree.map_or(Truth::True, |tree| space.speaks(*effect, tree, chosen, given));
        spoken.push((*rule, *effect, truth));
    }
    let default = if ruling.verdict == Verdict::Permit(None) { Effect::Allow } else { Effect::Deny };
    let refusing: Vec<u32> =
        open.iter().filter(|(_, effect, _)| *effect != Effect::Allow).map(|(rule, ..)| *rule).collect();
    let now = weigh(default, spoken);
    match (now.possible, now.verdict.is_permit() && !now.open.iter().any(|rule| refusing.contains(rule))) {
        (false, _) => Some(false),
        (_, true) => Some(true),
        _ => None,
    }
}

/// Decides calls by both policies, as workers do.
struct Judge<'d, 'o, 'c> {
    differ: &'d Differ<'o>,
    key: &'c Key,
    both: &'c [Option<Standing<'c>>; 2],
    rulings: [&'c Ruling; 2],
    servers: [Option<usize>; 2],
    traits: &'c [Option<Traits>; 2],
    principals: [&'c Principal; 2],
    workspace: Workspace,
}

impl Judge<'_, '_, '_> {
    /// Which way both differ on the call that is chosen.
    fn way(&mut self, space: &Space<'_>, given: &Given<'_>, chosen: &[Option<usize>]) -> Option<Way> {
        let call = given.call(&space.chosen(chosen));
        match [0, 1].map(|side| self.decide(side, &call).is_some_and(Verdict::is_permit)) {
            [false, true] => Some(Way::Opened),
            [true, false] => Some(Way::Closed),
            _ => None,
        }
    }

    /// None: the call is refused before any rule is asked.
    fn decide(&mut self, side: usize, call: &Call) -> Option<Verdict> {
        let (Some(traits), Some(server)) = (&self.traits[side], self.servers[side]) else {
            return Some(Verdict::Deny(None));
        };
        let snapshot = &self.differ.sides[side].offered.snapshot;
        let windows = snapshot.windows_at(call.at).bits;
        let before = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":"#;
        let body = format!("{before}{}}}}}", call.args);
        let arguments = Decoder::new().decode(body.as_bytes()).ok()?.arguments;
        let asked = AskedCall {
            method: call::method(self.key.kind),
            body: body.as_bytes(),
            arguments,
            request: &call.from,
            with_scopes: false,
        };
        let rules = snapshot.rules();
        let thing = Thing {
            server: rules.servers.get(server)?.name.as_str(),
            upstream: &self.key.upstream,
            name: &self.key.name,
        };
        let moment = Moment {
            traits: Some(traits),
            windows: Some(&windows),
            principal: Some(self.principals[side]),
            thing: Some(thing),
            asked: Some(&asked),
        };
        let ruling = self.rulings[side];
        let open = snapshot.open_rules(&ruling.open);
        snapshot.settle(ruling.verdict, &open, &moment, &mut self.workspace).ok()
    }

    fn witness(
        &mut self,
        space: &Space<'_>,
        given: &Given<'_>,
        chosen: &[Option<usize>],
        timed: bool,
    ) -> Option<Witness> {
        let call = given.call(&space.chosen(chosen));
        let mut told = [0, 1].map(|side| self.told(side, &call));
        let (after, before) = (told[1].take()?, told[0].take()?);
        // Whoever has no key in one policy has one in the other.
        let principal =
            self.traits.iter().zip(self.principals).rev().find(|(traits, _)| traits.is_some())?.1.clone();
        Some(Witness { principal, name: self.key.name.clone(), call, timed, before, after })
    }

    fn told(&mut self, side: usize, call: &Call) -> Option<Told> {
        let verdict = self.decide(side, call)?;
        let snapshot: &Snapshot = &self.differ.sides[side].opened.snapshot;
        let rule: Option<&ArchivedRule> =
            verdict.rule().and_then(|rule| snapshot.rules().policy.rules.get(rule as usize));
        let never = match (&self.traits[side], self.servers[side], &self.both[side]) {
            (None, _, _) => Some("there is no key of that id"),
            (_, None, _) => Some("there is no such server"),
            (_, _, None) => Some("the server does not show it"),
            (_, _, Some(standing)) => standing.never,
        };
        Some(Told {
            verdict: verdict.label(),
            rule: rule.map(|rule| rule.id.as_str().to_owned()),
            at: rule.map(|rule| place(snapshot, rule)),
            reason: never.map_or_else(|| reason(snapshot, verdict), str::to_owned),
        })
    }
}

/// Differences that are told together.
pub struct Together<'d> {
    pub who: Vec<&'d Who>,
    pub kinds: Vec<Kind>,
    pub one: &'d Difference,
}

/// The same call for different people, and for a tool and a prompt of one name, stands together.
pub fn together(differences: &[Difference]) -> Vec<Together<'_>> {
    let said = |difference: &Difference| match &difference.found {
        Ok((way, w)) => format!("{way:?} {} {:?} {:?} {:?}", w.name, w.call, w.before, w.after),
        Err(tried) => format!("{tried}"),
    };
    let mut by_kind: Vec<Together<'_>> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for one in differences {
        let same = format!("{} {:?} {} {}", one.server, one.kind, one.name, said(one));
        let at = *places.entry(same).or_insert_with(|| {
            by_kind.push(Together { who: Vec::new(), kinds: vec![one.kind], one });
            by_kind.len() - 1
        });
        by_kind[at].who.extend(&one.who);
    }
    let mut all: Vec<Together<'_>> = Vec::new();
    places.clear();
    for group in by_kind {
        let same = format!("{} {} {} {:?}", group.one.server, group.one.name, said(group.one), group.who);
        match places.get(&same) {
            Some(at) => all[*at].kinds.extend(group.kinds),
            None => {
                places.insert(same, all.len());
                all.push(group);
            }
        }
    }
    all
}

impl Difference {
    pub fn to_json(&self) -> Value {
        let who: Vec<Value> = self.who.iter().map(Who::to_json).collect();
        let mut out =
            json!({ "who": who, "server": self.server, "kind": self.kind.word(), "name": self.name });
        match &self.found {
            Ok((_, witness)) => out["witness"] = witness.to_json(),
            Err(tried) => out["tried"] = (*tried).into(),
        }
        out
    }
}

impl Witness {
    fn to_json(&self) -> Value {
        let headers: serde_json::Map<String, Value> = self
            .call
            .from
            .headers
            .iter()
            .map(|(name, value)| (name.clone(), value.as_str().into()))
            .collect();
        let told = |told: &Told| json!({ "verdict": told.verdict, "rule": told.rule, "at": told.at, "reason": told.reason });
        json!({
            "as": super::people::described(&self.principal),
            "name": self.name,
            "args": serde_json::from_str::<Value>(&self.call.args).unwrap_or_default(),
            "args_text": self.call.args,
            "at": crate::time::rfc3339(self.call.at),
            "headers": headers,
            "ip": self.call.from.ip.to_string(),
            "before": told(&self.before),
            "after": told(&self.after),
        })
    }
}
