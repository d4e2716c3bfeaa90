//! Decisions: the rules of a snapshot, put to what is known.
//!
//! The decision: one function asks a rule ([`speaks`]), and everything that is ever decided goes through it: a view that is
//! worked out before any call, a call, a resource that only a template covers, and `strait explain` at the desk.

use strait_policy::authorize::Effect;
use strait_policy::{Principal, Ruling, Traits, Truth, Verdict, glob, weigh};
use strait_protocol::jsonrpc::DecodeFault;

use crate::bind::speaks as pattern_speaks;
use crate::bound::{ArchivedHeld, ArchivedItem, ArchivedShelf, Kind};
use crate::condition::evaluate::{Thing, evaluate};
use crate::condition::{Asked, Moment, NONE, Workspace};
use crate::rules::{
    ArchivedEffect, ArchivedPattern, ArchivedPatternKind, ArchivedRule, ArchivedRules, ArchivedServer,
    ArchivedTo,
};
use crate::snapshot::Snapshot;
use crate::uris::may_overlap;
use crate::view::OpenRule;
use crate::window::Windows;

/// Whether a rule speaks at this moment, leaving aside what its patterns speak of.
pub fn speaks(
    rules: &ArchivedRules,
    rule: &ArchivedRule,
    moment: &Moment<'_>,
    workspace: &mut Workspace,
) -> Result<Truth, DecodeFault> {
    let to = audience(rules, &rule.to, moment.traits);
    match (to, rule.condition.as_ref()) {
        (Truth::False, _) | (_, None) => Ok(to),
        (_, Some(condition)) => Ok(to.and(evaluate(condition, &rules.automata, moment, workspace)?)),
    }
}

/// Whether something is said to a principal.
pub fn audience(rules: &ArchivedRules, to: &ArchivedTo, traits: Option<&Traits>) -> Truth {
    let ArchivedTo::Roles(roles) = to else { return Truth::True };
    let Some(traits) = traits else { return Truth::Unknown };
    let has = |bit: u16| bit != NONE && traits.contains(usize::from(bit));
    let mut any = Truth::False;
    for role in roles.iter().filter_map(|role| rules.roles.get(usize::from(role.to_native()))) {
        any = any.or(match (has(role.yes.to_native()), has(role.error.to_native())) {
            (true, _) => return Truth::True,
            (false, true) => Truth::Error,
            (false, false) => Truth::False,
        });
    }
    any
}

pub fn effect_of(effect: &ArchivedEffect) -> Effect {
    match effect {
        ArchivedEffect::Allow => Effect::Allow,
        ArchivedEffect::Hold => Effect::Hold,
        ArchivedEffect::Deny => Effect::Deny,
    }
}

/// Decides the items of one server for one principal, before a call is known. Without windows, at whatever moment.
pub struct Decider<'s> {
    snapshot: &'s Snapshot,
    server: &'s ArchivedServer,
    number: usize,
    moment: Moment<'s>,
    /// What every rule comes to by its audience alone: with many items and rules, most of what a view costs.
    audiences: Vec<Truth>,
    workspace: Workspace,
}

impl<'s> Decider<'s> {
    pub fn new(
        snapshot: &'s Snapshot,
        server: usize,
        traits: &'s Traits,
        windows: Option<&'s Traits>,
    ) -> Option<Decider<'s>> {
        let rules = snapshot.rules();
        let moment = Moment { traits: Some(traits), windows, principal: None, thing: None, asked: None };
        snapshot.bound().servers.get(server)?;
        let audiences =
            rules.policy.rules.iter().map(|rule| audience(rules, &rule.to, Some(traits))).collect();
        let (number, server) = (server, rules.servers.get(server)?);
        Some(Decider { snapshot, server, number, moment, audiences, workspace: Workspace::default() })
    }

    pub fn shelf(&self, kind: Kind) -> &'s ArchivedShelf {
        self.snapshot.bound().servers[self.number].shelf(kind)
    }

    pub fn open_rules(&self, open: &[u32]) -> Vec<OpenRule> {
        self.snapshot.open_rules(open)
    }

    pub fn item(&mut self, item: &ArchivedItem) -> Ruling {
        let rules = self.snapshot.rules();
        let upstream = rules.upstreams.get(usize::from(item.upstream.to_native()));
        let thing = upstream.map(|upstream| Thing {
            server: &self.server.name,
            upstream: &upstream.name,
            name: item.bare.as_str(),
        });
        let moment = Moment { thing, ..self.moment };
        let (audiences, workspace) = (&self.audiences, &mut self.workspace);
        let spoken = item.rules.iter().filter_map(|index| {
            let index = index.to_native();
            let rule = rules.policy.rules.get(index as usize)?;
            let to = audiences.get(index as usize).copied().unwrap_or(Truth::Error);
            let truth = match (to, rule.condition.as_ref()) {
                (Truth::False, _) => return None,
                (_, None) => to,
                // Nothing of a call is read here, so nothing of it can be ambiguous.
                (_, Some(condition)) => {
                    let truth = evaluate(condition, &rules.automata, &moment, workspace);
                    to.and(truth.unwrap_or(Truth::Error))
                }
            };
            Some((index, effect_of(&rule.effect), truth))
        });
        weigh(self.snapshot.default_effect(), spoken)
    }
}

impl Snapshot {
    /// What is true of a principal under these rules.
    pub fn traits_of(&self, principal: &Principal) -> Traits {
        let rules = self.rules();
        let mut traits = Traits::none(rules.traits.len());
        let mut workspace = Workspace::default();
        let moment =
            Moment { traits: None, windows: None, principal: Some(principal), thing: None, asked: None };
        for (bit, one) in rules.traits.iter().enumerate() {
            let truth = evaluate(&one.condition, &rules.automata, &moment, &mut workspace);
            let wanted = if one.on_error { Truth::Error } else { Truth::True };
            // Claims that can be read in two ways cannot be decided on.
            if truth.unwrap_or(Truth::Error) == wanted {
                traits.insert(bit);
            }
        }
        traits
    }

    /// The windows that hold at a second of Unix time.
    pub fn windows_at(&self, now: i64) -> Windows {
        Windows::at(&self.rules().windows, now)
    }

    pub(crate) fn default_effect(&self) -> Effect {
        effect_of(&self.rules().policy.default)
    }

    /// Whether some call of something quarantined could be permitted, were it not. To whom not, nothing is told of it.
    pub fn may_permit(&self, held: &ArchivedHeld, traits: &Traits, windows: &Traits) -> bool {
        let rules = self.rules();
        let (traits, windows) = (Some(traits), Some(windows));
        let moment = Moment { traits, windows, principal: None, thing: None, asked: None };
        let mut workspace = Workspace::default();
        let spoken = held.rules.iter().filter_map(|index| {
            let rule = rules.policy.rules.get(index.to_native() as usize)?;
            let truth = speaks(rules, rule, &moment, &mut workspace).unwrap_or(Truth::Error);
            Some((index.to_native(), effect_of(&rule.effect), truth))
        });
        weigh(self.default_effect(), spoken).possible
    }

    /// Rules that a ruling left open, as they are asked: denies first, since what they refuse needs no further question.
    pub fn open_rules(&self, open: &[u32]) -> Vec<OpenRule> {
        let rules = &self.rules().policy.rules;
        let effect = |index: u32| rules.get(index as usize).map(|rule| effect_of(&rule.effect));
        let of = |wanted| open.iter().filter(move |index| effect(**index) == Some(wanted));
        let order = [Effect::Deny, Effect::Hold, Effect::Allow];
        order
            .into_iter()
            .flat_map(|effect| of(effect).map(move |index| OpenRule { index: *index, effect }))
            .collect()
    }

    /// Settles what a view left open, with the call at hand.
    pub fn settle(
        &self,
        so_far: Verdict,
        open: &[OpenRule],
        moment: &Moment<'_>,
        workspace: &mut Workspace,
    ) -> Result<Verdict, DecodeFault> {
        let rules = self.rules();
        let mut verdict = so_far;
        for OpenRule { index, effect } in open.iter().copied() {
            if !verdict.can_change_by(effect, index) {
                continue;
            }
            let Some(rule) = rules.policy.rules.get(index as usize) else { continue };
            // Nothing may be left unknown at a call; if it is, a rule that could allow does not.
            let truth = match speaks(rules, rule, moment, workspace)? {
                Truth::Unknown => Truth::Error,
                truth => truth,
            };
            if effect.speaks(truth) == Some(true) {
                verdict = verdict.with(effect, index);
            }
        }
        Ok(verdict)
    }

    /// Of rules that would allow what nobody allows, had the caller's token the scopes that they ask for: those of the one that
    /// asks for the fewest.
    pub fn scopes_wanted(
        &self,
        concerned: impl Iterator<Item = u32>,
        moment: &Moment<'_>,
        workspace: &mut Workspace,
    ) -> Vec<&str> {
        let rules = self.rules();
        let asked = moment.asked.map(|asked| Asked { with_scopes: true, ..*asked });
        let moment = Moment { asked: asked.as_ref(), ..*moment };
        let mut fewest: Option<&ArchivedRule> = None;
        for rule in concerned.filter_map(|index| rules.policy.rules.get(index as usize)) {
            let is_fewer = fewest.is_none_or(|other| rule.scopes.len() < other.scopes.len());
            if matches!(rule.effect, ArchivedEffect::Allow)
                && !rule.scopes.is_empty()
                && is_fewer
                && speaks(rules, rule, &moment, workspace) == Ok(Truth::True)
            {
                fewest = Some(rule);
            }
        }
        fewest.into_iter().flat_map(|rule| rule.scopes.iter()).map(|scope| scope.as_str()).collect()
    }

    /// Decides by the rules whose patterns `concern` the thing, with all that is known.
    fn decide_by(
        &self,
        moment: &Moment<'_>,
        workspace: &mut Workspace,
        concerns: impl Fn(&ArchivedRule) -> bool,
    ) -> Result<Verdict, DecodeFault> {
        let rules = self.rules();
        let mut spoken = Vec::new();
        for (index, rule) in rules.policy.rules.iter().enumerate().filter(|(_, rule)| concerns(rule)) {
            let truth = match speaks(rules, rule, moment, workspace)? {
                Truth::Unknown => Truth::Error,
                truth => truth,
            };
            spoken.push((index as u32, effect_of(&rule.effect), truth));
        }
        Ok(weigh(self.default_effect(), spoken).verdict)
    }

    /// Decides a method that this gateway does not know, of a server's only upstream. Nobody can say what it reaches, so
    /// it must be allowed by a pattern over everything of that name, to someone to whom nothing of the upstream is denied.
    pub fn decide_method(
        &self,
        server: usize,
        upstream: usize,
        method: &str,
        moment: &Moment<'_>,
        workspace: &mut Workspace,
    ) -> Result<Verdict, DecodeFault> {
        let (Some(server), Some(upstream)) =
            (self.rules().servers.get(server), self.rules().upstreams.get(upstream))
        else {
            return Ok(Verdict::Deny(None));
        };
        let (full, all) =
            (format!("{}.{method}", upstream.name.as_str()), format!("{}.*", upstream.name.as_str()));
        if !server.tools.iter().any(|pattern| glob::matches(&pattern.glob, &full)) {
            return Ok(Verdict::Deny(None));
        }
        let concerns = |effect: &ArchivedEffect, pattern: &ArchivedPattern| match (effect, &pattern.kind) {
            (ArchivedEffect::Allow, ArchivedPatternKind::Any) => glob::matches(&pattern.glob, &full),
            (ArchivedEffect::Allow, _) => false,
            // Over bare URIs, too.
            (_, ArchivedPatternKind::Resource) => true,
            (_, _) => may_overlap(&pattern.glob, &all),
        };
        let thing = Thing { server: &server.name, upstream: &upstream.name, name: method };
        let moment = Moment { thing: Some(thing), ..*moment };
        self.decide_by(&moment, workspace, |rule| {
            rule.patterns.iter().any(|pattern| concerns(&rule.effect, pattern))
        })
    }

    /// Decides a resource URI that only a template covers: such names are open-ended, so their
    /// patterns are matched now. `upstream` is the template's.
    pub fn decide_uri(
        &self,
        server: usize,
        upstream: usize,
        uri: &str,
        moment: &Moment<'_>,
        workspace: &mut Workspace,
    ) -> Result<Verdict, DecodeFault> {
        let Some(named) = self.named(server, upstream, Kind::Resource, uri) else {
            return Ok(Verdict::Deny(None));
        };
        let moment = Moment { thing: Some(named.thing), ..*moment };
        self.decide_by(&moment, workspace, |rule| named.concerned_by(rule))
    }

    /// How every rule stands to a thing by its name, whether or not a catalog has it, and what they come to together.
    pub fn explain(
        &self,
        server: usize,
        upstream: usize,
        kind: Kind,
        name: &str,
        moment: &Moment<'_>,
        workspace: &mut Workspace,
    ) -> Result<Option<(Ruling, Vec<Standing>)>, DecodeFault> {
        let Some(named) = self.named(server, upstream, kind, name) else { return Ok(None) };
        let moment = Moment { thing: Some(named.thing), ..*moment };
        let rules = self.rules();
        let mut standings = Vec::with_capacity(rules.policy.rules.len());
        for rule in rules.policy.rules.iter() {
            standings.push(Standing {
                concerns: named.concerned_by(rule),
                to: audience(rules, &rule.to, moment.traits),
                speaks: speaks(rules, rule, &moment, workspace)?,
            });
        }
        let concerned = rules.policy.rules.iter().zip(&standings).enumerate();
        let concerned = concerned.filter(|(_, (_, standing))| standing.concerns);
        let spoken = concerned
            .map(|(index, (rule, standing))| (index as u32, effect_of(&rule.effect), standing.speaks));
        Ok(Some((weigh(self.default_effect(), spoken), standings)))
    }

    fn named<'n>(&'n self, server: usize, upstream: usize, kind: Kind, name: &'n str) -> Option<Named<'n>> {
        let (server, upstream) = (self.rules().servers.get(server)?, self.rules().upstreams.get(upstream)?);
        let thing = Thing { server: &server.name, upstream: &upstream.name, name };
        Some(Named { kind, full: format!("{}.{name}", upstream.name.as_str()), thing })
    }
}

/// Something by its name.
struct Named<'n> {
    kind: Kind,
    full: String,
    thing: Thing<'n>,
}

impl Named<'_> {
    fn concerned_by(&self, rule: &ArchivedRule) -> bool {
        rule.patterns.iter().any(|pattern| pattern_speaks(pattern, self.kind, &self.full, self.thing.name))
    }
}

/// How a rule stands to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// One of its patterns speaks of the thing.
    pub concerns: bool,
    /// It speaks to the principal.
    pub to: Truth,
    /// It speaks to the principal, and its condition is true.
    pub speaks: Truth,
}
