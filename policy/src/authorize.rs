//! The decision: deny wins over hold, hold over allow, and order never matters.
//!
//! An allow speaks when its condition is true; a deny or a hold speaks unless its condition is false, so that what cannot be
//! decided is refused. Among rules of the winning effect the first in table order is named, so that the same call is
//! always explained by the same rule.

use crate::Truth;

/// What a rule says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    Allow,
    Hold,
    Deny,
}

/// What was decided, and by which rule (`None`: by the policy's default).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Permit(Option<u32>),
    Hold(Option<u32>),
    Deny(Option<u32>),
}

impl Verdict {
    pub fn of(effect: Effect, rule: Option<u32>) -> Verdict {
        match effect {
            Effect::Allow => Verdict::Permit(rule),
            Effect::Hold => Verdict::Hold(rule),
            Effect::Deny => Verdict::Deny(rule),
        }
    }

    pub fn is_permit(self) -> bool {
        matches!(self, Verdict::Permit(_))
    }

    pub fn rule(self) -> Option<u32> {
        match self {
            Verdict::Permit(rule) | Verdict::Hold(rule) | Verdict::Deny(rule) => rule,
        }
    }

    pub fn label(self) -> &'static str {
        match self {
            Verdict::Permit(_) => "permit",
            Verdict::Hold(_) => "hold",
            Verdict::Deny(_) => "deny",
        }
    }

    fn effect(self) -> Effect {
        match self {
            Verdict::Permit(_) => Effect::Allow,
            Verdict::Hold(_) => Effect::Hold,
            Verdict::Deny(_) => Effect::Deny,
        }
    }

    /// With a rule that speaks. A default gives way to any rule.
    pub fn with(self, effect: Effect, rule: u32) -> Verdict {
        match (self.rule(), effect.weight().cmp(&self.effect().weight())) {
            (None, _) => Verdict::of(effect, Some(rule)),
            (Some(_), std::cmp::Ordering::Greater) => Verdict::of(effect, Some(rule)),
            (Some(named), std::cmp::Ordering::Equal) if rule < named => Verdict::of(effect, Some(rule)),
            _ => self,
        }
    }

    /// Whether a rule could change anything if it spoke.
    pub fn can_change_by(self, effect: Effect, rule: u32) -> bool {
        self.with(effect, rule) != self
    }
}

impl Effect {
    fn weight(self) -> u8 {
        match self {
            Effect::Allow => 0,
            Effect::Hold => 1,
            Effect::Deny => 2,
        }
    }

    /// Whether a rule of this effect speaks when its condition comes to `truth`; `None`: that cannot be known yet.
    pub fn speaks(self, truth: Truth) -> Option<bool> {
        match (self, truth) {
            (_, Truth::Unknown) => None,
            (_, Truth::True) => Some(true),
            (_, Truth::False) => Some(false),
            (Effect::Allow, Truth::Error) => Some(false),
            (Effect::Hold | Effect::Deny, Truth::Error) => Some(true),
        }
    }
}

/// What is decided before a call is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruling {
    /// By all rules that are sure to speak.
    pub verdict: Verdict,
    /// Rules that may speak and would change it, ascending.
    pub open: Vec<u32>,
    /// Whether any call can be permitted.
    pub possible: bool,
}

/// Weighs the rules that concern something: each with its number, effect, and what its condition comes to so far.
pub fn weigh(default: Effect, rules: impl IntoIterator<Item = (u32, Effect, Truth)>) -> Ruling {
    let mut verdict = Verdict::of(default, None);
    let mut open: Vec<(u32, Effect)> = Vec::new();
    for (rule, effect, truth) in rules {
        match effect.speaks(truth) {
            Some(true) => verdict = verdict.with(effect, rule),
            Some(false) => {}
            None => open.push((rule, effect)),
        }
    }
    open.retain(|(rule, effect)| verdict.can_change_by(*effect, *rule));
    let overruled = verdict.rule().is_some() && !verdict.is_permit();
    let possible =
        verdict.is_permit() || (!overruled && open.iter().any(|(_, effect)| *effect == Effect::Allow));
    let mut open: Vec<u32> = open.into_iter().map(|(rule, _)| rule).collect();
    open.sort_unstable();
    Ruling { verdict, open, possible }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Effect::*;
    use Truth::{Error, False, True, Unknown};

    #[track_caller]
    fn check(expected: Verdict, default: Effect, rules: &[(u32, Effect, Truth)]) {
        let ruling = weigh(default, rules.iter().copied());
        assert_eq!(ruling.verdict, expected);
        let backwards = weigh(default, rules.iter().rev().copied());
        assert_eq!(backwards, ruling, "order must not matter");
    }

    #[test]
    fn deny_wins_over_hold_and_hold_over_allow() {
        check(Verdict::Deny(None), Deny, &[]);
        check(Verdict::Permit(None), Allow, &[]);
        check(Verdict::Permit(Some(0)), Deny, &[(0, Allow, True)]);
        check(Verdict::Hold(Some(1)), Deny, &[(0, Allow, True), (1, Hold, True)]);
        check(
            Verdict::Deny(Some(2)),
            Allow,
            &[(0, Allow, True), (1, Hold, True), (2, Deny, True), (3, Deny, True)],
        );
    }

    #[test]
    fn what_cannot_be_decided_is_refused() {
        check(Verdict::Deny(None), Deny, &[(0, Allow, Error)]);
        check(Verdict::Deny(Some(1)), Deny, &[(0, Allow, True), (1, Deny, Error)]);
        check(Verdict::Hold(Some(1)), Deny, &[(0, Allow, True), (1, Hold, Error), (2, Deny, False)]);
    }

    #[test]
    fn what_is_not_known_yet_stays_open_where_it_matters() {
        let open = |rules: &[(u32, Effect, Truth)], expected: &[u32], possible| {
            let ruling = weigh(Deny, rules.iter().copied());
            assert_eq!((ruling.open.as_slice(), ruling.possible), (expected, possible), "{rules:?}");
        };
        open(&[(0, Allow, Unknown)], &[0], true);
        open(&[(0, Allow, True), (1, Deny, Unknown)], &[1], true);
        open(&[(0, Allow, Unknown), (1, Deny, True)], &[], false);
        open(&[(0, Allow, Unknown), (1, Hold, True), (2, Deny, Unknown)], &[2], false);
        // Another allow changes nothing but the name: the first is named.
        open(&[(0, Allow, True), (1, Allow, Unknown)], &[], true);
        open(&[(0, Allow, Unknown), (1, Allow, True)], &[0], true);
        open(&[(0, Deny, Unknown)], &[0], false);
        open(&[], &[], false);
    }
}
