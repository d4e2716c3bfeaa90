//! The decision: deny wins over hold, hold over allow, and order never matters.
//!
//! Among rules of the winning effect the first in table order is named, so that the same call is
//! always explained by the same rule.

use crate::RoleSet;

/// What a rule says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    Allow,
    Hold,
    Deny,
}

/// A rule that speaks of the thing being decided, as the table shows it.
#[derive(Clone, Copy, Debug)]
pub struct RuleView {
    /// Its index in the table.
    pub index: u16,
    pub effect: Effect,
    pub to: Audience,
}

/// Of whom a rule speaks.
#[derive(Clone, Copy, Debug)]
pub enum Audience {
    Everyone,
    Roles(RoleSet),
}

/// What was decided, and by which rule (`None`: by the policy's default).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Permit(Option<u16>),
    Hold(Option<u16>),
    Deny(Option<u16>),
}

impl Verdict {
    pub fn is_permit(self) -> bool {
        matches!(self, Verdict::Permit(_))
    }

    pub fn rule(self) -> Option<u16> {
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
}

/// Decides by the rules that speak of a thing, for a principal with these roles.
pub fn decide(default: Effect, rules: impl IntoIterator<Item = RuleView>, roles: &RoleSet) -> Verdict {
    let mut winner: Option<RuleView> = None;
    for rule in rules {
        let speaks = match rule.to {
            Audience::Everyone => true,
            Audience::Roles(to) => to.intersects(roles),
        };
        if speaks && winner.is_none_or(|w| weight(rule.effect) > weight(w.effect)) {
            winner = Some(rule);
        }
    }
    let (effect, rule) = winner.map_or((default, None), |w| (w.effect, Some(w.index)));
    match effect {
        Effect::Allow => Verdict::Permit(rule),
        Effect::Hold => Verdict::Hold(rule),
        Effect::Deny => Verdict::Deny(rule),
    }
}

fn weight(effect: Effect) -> u8 {
    match effect {
        Effect::Allow => 0,
        Effect::Hold => 1,
        Effect::Deny => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(roles: &[usize]) -> Audience {
        let mut set = RoleSet::default();
        roles.iter().for_each(|role| set.insert(*role));
        Audience::Roles(set)
    }

    fn rule(index: u16, effect: Effect, to: Audience) -> RuleView {
        RuleView { index, effect, to }
    }

    #[track_caller]
    fn check(expected: Verdict, default: Effect, rules: &[RuleView]) {
        let mut roles = RoleSet::default();
        roles.insert(1);
        roles.insert(200);
        assert_eq!(decide(default, rules.iter().copied(), &roles), expected);
        let backwards = decide(default, rules.iter().rev().copied(), &roles);
        assert_eq!(
            std::mem::discriminant(&backwards),
            std::mem::discriminant(&expected),
            "order must not matter"
        );
    }

    #[test]
    fn deny_wins_over_hold_and_hold_over_allow() {
        use {Audience::Everyone, Effect::*};
        check(Verdict::Deny(None), Deny, &[]);
        check(Verdict::Permit(None), Allow, &[]);
        check(Verdict::Permit(Some(0)), Deny, &[rule(0, Allow, Everyone)]);
        check(Verdict::Hold(Some(1)), Deny, &[rule(0, Allow, Everyone), rule(1, Hold, Everyone)]);
        check(
            Verdict::Deny(Some(2)),
            Allow,
            &[rule(0, Allow, Everyone), rule(1, Hold, Everyone), rule(2, Deny, Everyone)],
        );
    }

    #[test]
    fn a_rule_speaks_only_of_its_audience() {
        use Effect::*;
        check(Verdict::Permit(Some(0)), Deny, &[rule(0, Allow, to(&[1])), rule(1, Deny, to(&[2]))]);
        check(Verdict::Deny(Some(1)), Allow, &[rule(0, Allow, to(&[1])), rule(1, Deny, to(&[200]))]);
        check(Verdict::Deny(None), Deny, &[rule(0, Allow, to(&[]))]);
    }
}
