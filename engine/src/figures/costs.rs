//! What calls with a price have cost, by whom and for what: the first names of each kind that a worker meets, the rest together, as
//! with other names that traffic brings ([`super::callers`]).

use std::sync::OnceLock;

use super::cell::Counter;
use super::places::OTHER;
use crate::limits::NAMED_MAX;

/// What a cost is put down to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// By id.
    Principal,
    Agent,
    User,
    Tenant,
    /// Or prompt or resource: `upstream.name`.
    Tool,
}

impl By {
    pub const ALL: [By; 5] = [By::Principal, By::Agent, By::User, By::Tenant, By::Tool];

    pub fn label(self) -> &'static str {
        match self {
            By::Principal => "principal",
            By::Agent => "agent",
            By::User => "user",
            By::Tenant => "tenant",
            By::Tool => "tool",
        }
    }
}

#[derive(Debug)]
pub struct Costs([Named; By::ALL.len()]);

#[derive(Debug)]
struct Named([OnceLock<(Box<str>, Counter)>; NAMED_MAX + 1]);

impl Default for Costs {
    fn default() -> Costs {
        Costs(std::array::from_fn(|_| Named(std::array::from_fn(|_| OnceLock::new()))))
    }
}

impl Costs {
    /// By the one thread that owns it. An empty name is nobody's.
    pub(crate) fn add(&self, by: By, name: &str, micro_usd: u64) {
        if !name.is_empty() {
            self.0[by as usize].add(|known| known == name, || name.into(), micro_usd);
        }
    }

    /// The same of `first.second`.
    pub(crate) fn add_joined(&self, by: By, (first, second): (&str, &str), micro_usd: u64) {
        let is_it = |known: &str| {
            let rest = known.strip_prefix(first).and_then(|rest| rest.strip_prefix('.'));
            rest == Some(second)
        };
        self.0[by as usize].add(is_it, || format!("{first}.{second}").into(), micro_usd);
    }

    /// Every name that was met, and what its calls have cost in micro-USD.
    pub fn iter(&self, by: By) -> impl Iterator<Item = (&str, u64)> {
        self.0[by as usize].0.iter().filter_map(OnceLock::get).map(|(name, spent)| (&**name, spent.get()))
    }
}

impl Named {
    fn add(&self, is_it: impl Fn(&str) -> bool, name: impl Fn() -> Box<str>, micro_usd: u64) {
        let named = self.0.get(..NAMED_MAX).unwrap_or_default();
        // The first free place is this name's from now on.
        let found = named.iter().map(|place| place.get_or_init(|| (name(), Counter::default())));
        let found = found.into_iter().find(|(known, _)| is_it(known));
        let (_, spent) =
            found.unwrap_or_else(|| self.0[NAMED_MAX].get_or_init(|| (OTHER.into(), Counter::default())));
        spent.add(micro_usd);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_put_down_to_names_and_to_never_too_many() {
        let costs = Costs::default();
        for n in 0..2 * NAMED_MAX {
            costs.add(By::User, &format!("user{n}"), 3);
            costs.add_joined(By::Tool, ("crm", &format!("tool{n}")), 5);
            costs.add_joined(By::Tool, ("crm", "tool0"), 1);
        }
        costs.add(By::Tenant, "", 7);
        let of = |by, name: &str| costs.iter(by).find(|(known, _)| *known == name).map(|(_, spent)| spent);
        assert_eq!(costs.iter(By::User).count(), NAMED_MAX + 1);
        assert_eq!((of(By::User, "user0"), of(By::User, OTHER)), (Some(3), Some(3 * NAMED_MAX as u64)));
        assert_eq!(of(By::Tool, "crm.tool0"), Some(5 + 2 * NAMED_MAX as u64));
        assert_eq!(costs.iter(By::Tool).map(|(_, spent)| spent).sum::<u64>(), 12 * NAMED_MAX as u64);
        assert_eq!((costs.iter(By::Tenant).count(), costs.iter(By::Agent).count()), (0, 0));
    }
}
