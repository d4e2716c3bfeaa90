//! Roles: names for conditions over a principal.
//!
//! A condition is a short postfix program over a stack of bits, evaluated without recursion or
//! allocation; its length and depth are known when it is compiled. A principal's roles are worked out
//! once per generation and are a fixed-size set afterwards, so that what a decision costs does not grow
//! with their number.

use crate::Principal;

/// Roles a table may declare; the compiler refuses more.
pub const ROLES_MAX: usize = 256;
/// Values a condition may have on its stack at once.
pub const CONDITION_DEPTH_MAX: usize = 64;

/// Which of a table's roles a principal has, by index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RoleSet([u64; ROLES_MAX / 64]);

impl RoleSet {
    pub fn insert(&mut self, role: usize) {
        if let Some(word) = self.0.get_mut(role / 64) {
            *word |= 1 << (role % 64);
        }
    }

    pub fn contains(&self, role: usize) -> bool {
        self.0.get(role / 64).is_some_and(|word| word >> (role % 64) & 1 == 1)
    }

    pub fn intersects(&self, other: &RoleSet) -> bool {
        self.0.iter().zip(&other.0).any(|(a, b)| a & b != 0)
    }
}

/// One step of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op<'t> {
    Const(bool),
    IdIs(&'t str),
    IdStartsWith(&'t str),
    IdEndsWith(&'t str),
    InGroup(&'t str),
    Not,
    And,
    Or,
}

/// Is the condition true of this principal? A malformed program (which a validated table cannot hold)
/// is false: a role nobody has.
pub fn holds<'t>(program: impl IntoIterator<Item = Op<'t>>, principal: &Principal) -> bool {
    let mut stack: u64 = 0;
    let mut depth = 0usize;
    for op in program {
        let value = match op {
            Op::Const(value) => value,
            Op::IdIs(id) => principal.id == id,
            Op::IdStartsWith(prefix) => principal.id.starts_with(prefix),
            Op::IdEndsWith(suffix) => principal.id.ends_with(suffix),
            Op::InGroup(group) => principal.groups.iter().any(|g| g == group),
            Op::Not if depth >= 1 => {
                stack ^= 1;
                continue;
            }
            Op::And | Op::Or if depth >= 2 => {
                let top = stack & 1;
                stack >>= 1;
                depth -= 1;
                match op {
                    Op::And => stack &= top | !1,
                    _ => stack |= top,
                }
                continue;
            }
            Op::Not | Op::And | Op::Or => return false,
        };
        if depth == CONDITION_DEPTH_MAX {
            return false;
        }
        stack = stack << 1 | u64::from(value);
        depth += 1;
    }
    depth == 1 && stack & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::{Op::*, *};

    fn check(expected: bool, program: &[Op<'_>]) {
        let principal = Principal {
            id: "ann@corp".into(),
            groups: vec!["support".into(), "eu".into()],
            ..Principal::default()
        };
        assert_eq!(holds(program.iter().copied(), &principal), expected, "{program:?}");
    }

    #[test]
    fn conditions_are_true_of_whom_they_describe() {
        check(true, &[InGroup("support")]);
        check(false, &[InGroup("admins")]);
        check(true, &[IdIs("ann@corp"), InGroup("eu"), And]);
        check(false, &[IdIs("ann@corp"), InGroup("us"), And]);
        check(true, &[IdIs("bob"), InGroup("eu"), Or]);
        check(true, &[InGroup("us"), Not]);
        check(true, &[IdStartsWith("ann"), IdEndsWith("@corp"), And, InGroup("us"), Not, And]);
    }

    #[test]
    fn a_malformed_program_is_a_role_nobody_has() {
        check(false, &[]);
        check(false, &[And]);
        check(false, &[Not]);
        check(false, &[Const(true), And]);
        check(false, &[Const(true), Const(true)]);
        check(false, &[Const(true); CONDITION_DEPTH_MAX + 1]);
    }

    #[test]
    fn a_role_set_holds_every_role_a_table_may_declare() {
        let mut set = RoleSet::default();
        for role in [0, 63, 64, ROLES_MAX - 1] {
            assert!(!set.contains(role));
            set.insert(role);
            assert!(set.contains(role));
        }
        set.insert(ROLES_MAX);
        assert!(!set.contains(ROLES_MAX));
        let mut other = RoleSet::default();
        other.insert(62);
        assert!(!set.intersects(&other));
        other.insert(64);
        assert!(set.intersects(&other));
    }
}
