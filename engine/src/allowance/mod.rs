//! What callers may still use of their limits: shared [`cells`], and what this worker holds of them.
//!
//! The decision: a worker that asks a cell takes more than the one call needs, a *lease*, and spends it without looking at
//! anything another worker writes. A lease comes out of the allowance, so nobody can use it twice; it is small (a sixteenth
//! of what is left, shared among the workers), and what is not used for a tick goes back. docs/LIMITS.md has the bounds
//! that follow. Calls under way are counted in the cell itself, exactly: they end somewhere.

pub mod cells;

use std::cell::{Cell, OnceCell, RefCell};
use std::sync::Arc;

use strait_policy::Traits;
use strait_policy::limit::{Measure, Moment};
use strait_table::Snapshot;
use strait_table::limit::Facet;
use strait_table::rules::ArchivedTo;

use crate::edition::digest;
use crate::figures::places::{Book, Place};
use crate::fold::mixed;
use crate::io::clock::Clock;
use crate::limits::{HOLDS_MAX, LEASES_MAX};
use cells::{Cells, Denial, Key};

/// The limits of an edition as workers use them, made once for all of them.
#[derive(Debug)]
pub struct Metering {
    pub limits: Box<[Limit]>,
    /// By upstream of the table: digests of their names.
    pub upstreams: Box<[u64]>,
    pub cells: Arc<Cells>,
}

#[derive(Debug)]
pub struct Limit {
    state: u64,
    per: Box<[Facet]>,
    /// `None`: everyone.
    /// Traits of which one is enough; none: it is for everyone.
    to: Option<Box<[u16]>>,
    pub measure: Measure,
    /// Where workers count what it does.
    pub place: Place,
}

/// What allowances are told apart by.
pub struct Whose {
    pub principal: u64,
    pub agent: u64,
    pub user: u64,
    pub tenant: u64,
    pub tool: u64,
    pub upstream: u64,
    pub server: u64,
}

impl Metering {
    /// Of a table; `None` when it has no limits. `cells` are those of the editions before.
    pub fn of(snapshot: &Snapshot, cells: &Arc<OnceCells>, book: &Book) -> Option<Metering> {
        let rules = snapshot.rules();
        if rules.limits.is_empty() {
            return None;
        }
        let limits = rules.limits.iter().filter_map(|limit| {
            let measure = limit.policy()?;
            let to = match &limit.to {
                ArchivedTo::Everyone => None,
                ArchivedTo::Roles(roles) => {
                    // Whoever cannot be told apart from its role is limited with it.
                    let roles =
                        roles.iter().filter_map(|role| rules.roles.get(usize::from(role.to_native())));
                    Some(roles.flat_map(|role| [role.yes.to_native(), role.error.to_native()]).collect())
                }
            };
            Some(Limit {
                state: limit.state.to_native(),
                per: limit.per.iter().map(|facet| facet.facet()).collect(),
                to,
                measure,
                place: book.place_of(&format!("{}/{}", limit.id.as_str(), measure.label())),
            })
        });
        Some(Metering {
            limits: limits.collect(),
            upstreams: rules.upstreams.iter().map(|upstream| digest(&upstream.name)).collect(),
            cells: cells.get_or_init(Arc::default).clone(),
        })
    }
}

/// Cells, once a table has limits; they stay for as long as the process lives.
pub type OnceCells = std::sync::OnceLock<Arc<Cells>>;

impl Limit {
    pub fn is_for(&self, traits: &Traits) -> bool {
        self.to.as_ref().is_none_or(|to| to.iter().any(|bit| traits.contains(usize::from(*bit))))
    }

    pub fn key(&self, whose: &Whose) -> Key {
        let hash = self.per.iter().fold(mixed(self.state), |hash, facet| {
            mixed(hash.wrapping_add(match facet {
                Facet::Principal => whose.principal,
                Facet::Agent => whose.agent,
                Facet::User => whose.user,
                Facet::Tenant => whose.tenant,
                Facet::Tool => whose.tool,
                Facet::Upstream => whose.upstream,
                Facet::Server => whose.server,
            }))
        });
        Key::new(hash, self.measure.class())
    }
}

/// What one worker holds.
pub struct Allowances {
    workers: u64,
    cells: OnceCell<Arc<Cells>>,
    leases: RefCell<Box<[Lease]>>,
    /// Leases with units left.
    held: Cell<usize>,
    holds: RefCell<Holds>,
}

/// Units of one key that this worker may spend.
#[derive(Clone, Copy)]
struct Lease {
    key: Key,
    measure: Measure,
    slot: u32,
    taken_as: u64,
    units: u64,
    /// On the clock since 1970.
    until_ms: u64,
    /// Since the last tick.
    was_used: bool,
}

impl Allowances {
    pub fn new(workers: usize) -> Allowances {
        Allowances {
            workers: workers as u64,
            cells: OnceCell::new(),
            leases: RefCell::default(),
            held: Cell::new(0),
            holds: RefCell::new(Holds { nodes: Vec::new(), free: NONE }),
        }
    }

    /// Before the first call under limits.
    pub fn prepare(&self, metering: &Metering) {
        self.cells.get_or_init(|| metering.cells.clone());
        let mut leases = self.leases.borrow_mut();
        if leases.is_empty() {
            let none = Lease {
                key: Key::new(0, strait_policy::limit::Class::Rate),
                measure: Measure::Concurrency(0),
                slot: 0,
                taken_as: 0,
                units: 0,
                until_ms: 0,
                was_used: false,
            };
            *leases = vec![none; LEASES_MAX].into();
        }
    }

    /// Takes `units` of a key.
    pub fn take(&self, clock: &Clock, key: Key, measure: &Measure, units: u64) -> Result<(), Denial> {
        let mut leases = self.leases.borrow_mut();
        let Some(lease) = lease_of(&mut leases, key) else { return Err(Denial::Full) };
        if lease.key == key && lease.units >= units && clock.coarse_unix_ms() < lease.until_ms {
            lease.units -= units;
            lease.was_used = true;
            if lease.units == 0 {
                self.held.set(self.held.get() - 1);
            }
            return Ok(());
        }
        let Some(cells) = self.cells.get() else { return Err(Denial::Full) };
        let now = moment(clock);
        self.let_go(cells, lease, &now);
        let grant = cells.take(key, measure, &now, units, self.workers)?;
        *lease = Lease {
            key,
            measure: *measure,
            slot: grant.slot,
            taken_as: grant.cell,
            units: grant.units.saturating_sub(units),
            until_ms: measure.good_until_ms(grant.cell, &now),
            was_used: true,
        };
        self.held.set(self.held.get() + usize::from(lease.units > 0));
        Ok(())
    }

    /// Whether `units` of a key could be taken. Nothing is.
    pub fn foresee(&self, clock: &Clock, key: Key, measure: &Measure, units: u64) -> Result<(), Denial> {
        let mut leases = self.leases.borrow_mut();
        let lease = lease_of(&mut leases, key).filter(|lease| lease.key == key && lease.units > 0);
        if lease.as_ref().is_some_and(|l| l.units >= units && clock.coarse_unix_ms() < l.until_ms) {
            return Ok(());
        }
        let Some(cells) = self.cells.get() else { return Err(Denial::Full) };
        let back = lease.map_or((0, 0), |lease| (lease.taken_as, lease.units));
        cells.foresee(key, measure, &moment(clock), units, back)
    }

    /// Units that were just taken and are not used: another limit stood against the call.
    pub fn put_back(&self, clock: &Clock, key: Key, units: u64) {
        let Some(cells) = self.cells.get() else { return };
        let mut leases = self.leases.borrow_mut();
        // Another key may have taken the place: then they are lost, and the caller has a little less.
        if let Some(lease) = lease_of(&mut leases, key).filter(|lease| lease.key == key) {
            self.held.set(self.held.get() + usize::from(lease.units == 0 && units > 0));
            lease.units += units;
            // No lease, but the one call's units: others may have more use for them.
            if lease.units == units {
                self.let_go(cells, lease, &moment(clock));
            }
        }
    }

    fn let_go(&self, cells: &Cells, lease: &mut Lease, now: &Moment) {
        let units = std::mem::take(&mut lease.units);
        if units > 0 {
            self.held.set(self.held.get() - 1);
            cells.give_back(lease.slot, lease.key, &lease.measure, lease.taken_as, units, now);
        }
    }

    /// Gives back what was not used since the last tick.
    pub fn tick(&self, clock: &Clock) {
        let Some(cells) = self.cells.get().filter(|_| self.held.get() > 0) else { return };
        let now = moment(clock);
        for lease in self.leases.borrow_mut().iter_mut().filter(|lease| lease.units > 0) {
            if !std::mem::take(&mut lease.was_used) {
                self.let_go(cells, lease, &now);
            }
        }
    }

    /// Takes a place among the calls under way of a key, in front of those that `held` has.
    pub fn hold(&self, clock: &Clock, key: Key, measure: &Measure, held: &mut Held) -> Result<(), Denial> {
        let Some(cells) = self.cells.get() else { return Err(Denial::Full) };
        let mut holds = self.holds.borrow_mut();
        let at = holds.make_room().ok_or(Denial::Full)?;
        let grant = cells.take(key, measure, &moment(clock), 1, 1)?;
        if let Some(node) = holds.nodes.get_mut(at as usize) {
            let next_free = node.next;
            // How many are allowed is no matter when one is given back.
            let (measure, slot) = (Measure::Concurrency(0), grant.slot);
            *node = Hold { key, measure, slot, taken_as: 0, units: 1, next: held.0 };
            holds.free = next_free;
            held.0 = at;
        }
        Ok(())
    }

    /// Takes `units` of a key that may turn out to be too many, in front of what `held` has: [`Allowances::settle`] puts back the rest.
    pub fn set_aside(
        &self,
        clock: &Clock,
        key: Key,
        measure: &Measure,
        units: u64,
        held: &mut Held,
    ) -> Result<(), Denial> {
        let at = self.holds.borrow_mut().make_room().ok_or(Denial::Full)?;
        self.take(clock, key, measure, units)?;
        let (slot, taken_as) = match lease_of(&mut self.leases.borrow_mut(), key) {
            Some(lease) => (lease.slot, lease.taken_as),
            None => return Err(Denial::Full),
        };
        let mut holds = self.holds.borrow_mut();
        if let Some(node) = holds.nodes.get_mut(at as usize) {
            let next_free = node.next;
            *node = Hold { key, measure: *measure, slot, taken_as, units, next: held.0 };
            holds.free = next_free;
            held.0 = at;
        }
        Ok(())
    }

    /// Gives every place back.
    pub fn release(&self, clock: &Clock, held: &mut Held) {
        self.settle(clock, held, 0);
    }

    /// Gives back what is beyond `spent`, of everything that `held` has.
    pub fn settle(&self, clock: &Clock, held: &mut Held, spent: u64) {
        if held.0 == NONE {
            return;
        }
        let Some(cells) = self.cells.get() else { return };
        let (mut holds, now) = (self.holds.borrow_mut(), moment(clock));
        while let Some(node) = holds.nodes.get(held.0 as usize).copied() {
            let units = node.units.saturating_sub(spent);
            if units > 0 {
                cells.give_back(node.slot, node.key, &node.measure, node.taken_as, units, &now);
            }
            let free = holds.free;
            if let Some(freed) = holds.nodes.get_mut(held.0 as usize) {
                freed.next = free;
            }
            holds.free = held.0;
            held.0 = node.next;
        }
    }
}

fn lease_of(leases: &mut [Lease], key: Key) -> Option<&mut Lease> {
    let place = key.hash() as usize % leases.len().max(1);
    leases.get_mut(place)
}

fn moment(clock: &Clock) -> Moment {
    Moment { steady_ns: clock.now_ns(), unix_ms: clock.coarse_unix_ms() }
}

/// Places among calls under way, or what was set aside of budgets, of one exchange: a chain in the worker's [`Holds`]. They are given
/// back by [`Allowances::release`] and [`Allowances::settle`], when the exchange's own place, or its cost, is dropped.
#[derive(Debug, PartialEq, Eq)]
pub struct Held(u32);

const NONE: u32 = u32::MAX;

impl Default for Held {
    fn default() -> Held {
        Held(NONE)
    }
}

#[derive(Clone, Copy)]
struct Hold {
    key: Key,
    measure: Measure,
    slot: u32,
    taken_as: u64,
    units: u64,
    /// The next of the same exchange, or the next that is free.
    next: u32,
}

/// All places that this worker holds; grows to the most that were ever held at once.
struct Holds {
    nodes: Vec<Hold>,
    free: u32,
}

impl Holds {
    /// A free node, which stays first among the free ones until it is taken.
    fn make_room(&mut self) -> Option<u32> {
        if self.free == NONE {
            if self.nodes.len() >= HOLDS_MAX {
                return None;
            }
            let key = Key::new(0, strait_policy::limit::Class::Concurrency);
            let measure = Measure::Concurrency(0);
            self.nodes.push(Hold { key, measure, slot: 0, taken_as: 0, units: 0, next: NONE });
            self.free = (self.nodes.len() - 1) as u32;
        }
        Some(self.free)
    }
}

#[cfg(test)]
mod tests {
    use strait_policy::limit::{Period, Window};

    use super::*;

    fn metering() -> Metering {
        Metering { limits: Box::default(), upstreams: Box::default(), cells: Arc::default() }
    }

    fn workers(count: usize, metering: &Metering) -> Vec<Allowances> {
        let workers = (0..count).map(|_| Allowances::new(count));
        workers.inspect(|worker| worker.prepare(metering)).collect()
    }

    const DAY: Measure = Measure::Calls(Window { period: Period::Day, max: 320 });

    fn key(number: u64, measure: &Measure) -> Key {
        Key::new(number << 3, measure.class())
    }

    #[test]
    fn what_a_worker_does_not_use_for_a_tick_is_there_for_others() {
        let (clock, metering) = (Clock::new(), metering());
        let [one, two] = &workers(2, &metering)[..] else { panic!("two workers") };
        let key = key(1, &DAY);
        one.take(&clock, key, &DAY, 1).unwrap();
        let mut spent = 1;
        while two.take(&clock, key, &DAY, 1).is_ok() {
            spent += 1;
        }
        // The first holds a sixteenth of a half, less the one it used.
        assert_eq!(spent, 320 - 9);
        one.tick(&clock);
        assert!(two.take(&clock, key, &DAY, 1).is_err(), "used since the last tick");
        one.tick(&clock);
        for _ in 0..9 {
            two.take(&clock, key, &DAY, 1).unwrap();
        }
        assert!(two.take(&clock, key, &DAY, 1).is_err());
        assert!(one.take(&clock, key, &DAY, 1).is_err());
        assert_eq!((one.held.get(), two.held.get()), (0, 0));
    }

    #[test]
    fn keys_that_meet_in_one_place_lose_nothing() {
        let (clock, metering) = (Clock::new(), metering());
        let all = workers(2, &metering);
        let (a, b) = (key(1, &DAY), key(1 + LEASES_MAX as u64, &DAY));
        for _ in 0..320 {
            all[0].take(&clock, a, &DAY, 1).unwrap();
            all[0].take(&clock, b, &DAY, 1).unwrap();
        }
        for key in [a, b] {
            assert!(all[0].take(&clock, key, &DAY, 1).is_err());
        }
        assert_eq!(all[0].held.get(), 0);
    }

    #[test]
    fn what_is_put_back_can_be_taken_again() {
        let (clock, metering) = (Clock::new(), metering());
        let all = workers(2, &metering);
        let key = key(1, &DAY);
        for _ in 0..1_000 {
            all[0].take(&clock, key, &DAY, 1).unwrap();
            all[0].put_back(&clock, key, 1);
        }
        for _ in 0..320 {
            all[0].take(&clock, key, &DAY, 1).unwrap();
        }
        assert!(all[0].take(&clock, key, &DAY, 1).is_err());
    }

    #[test]
    fn places_come_back_and_their_nodes_are_used_again() {
        let (clock, metering) = (Clock::new(), metering());
        let all = workers(2, &metering);
        let two = Measure::Concurrency(2);
        for _ in 0..100 {
            let (mut first, mut second, mut third) = (Held::default(), Held::default(), Held::default());
            for number in 1..4 {
                all[0].hold(&clock, key(number, &two), &two, &mut first).unwrap();
                all[1].hold(&clock, key(number, &two), &two, &mut second).unwrap();
            }
            assert!(all[0].hold(&clock, key(1, &two), &two, &mut third).is_err());
            all[0].release(&clock, &mut first);
            all[1].release(&clock, &mut second);
            assert_eq!(first, Held::default());
        }
        assert_eq!(all[0].holds.borrow().nodes.len(), 4, "one that was not granted, among them");
    }

    #[test]
    fn what_was_set_aside_comes_to_what_was_spent() {
        let (clock, metering) = (Clock::new(), metering());
        let all = workers(2, &metering);
        let budget = Measure::Cost(Window { period: Period::Day, max: 1_000 });
        let key = key(1, &budget);
        // So often that nothing would be left if any of it were lost, and with several under way at once.
        for round in 0..50 {
            let (mut one, mut two) = (Held::default(), Held::default());
            all[round % 2].set_aside(&clock, key, &budget, 100, &mut one).unwrap();
            all[0].set_aside(&clock, key, &budget, 100, &mut two).unwrap();
            all[0].settle(&clock, &mut two, 0);
            all[round % 2].settle(&clock, &mut one, 10);
            assert_eq!((one, two), (Held::default(), Held::default()));
        }
        all.iter().for_each(|worker| (0..2).for_each(|_| worker.tick(&clock)));
        // 500 are spent: so much is left, to the last.
        let mut rest = Held::default();
        for _ in 0..5 {
            all[1].set_aside(&clock, key, &budget, 100, &mut rest).unwrap();
        }
        assert!(all[1].take(&clock, key, &budget, 1).is_err());
        // What cost more than was set aside overdraws nothing.
        all[1].settle(&clock, &mut rest, u64::MAX);
        assert!(all[0].take(&clock, key, &budget, 1).is_err());
        assert!(matches!(all[0].set_aside(&clock, key, &budget, 1, &mut rest), Err(Denial::Reached { .. })));
        assert_eq!(rest, Held::default());
    }

    #[test]
    fn allowances_are_told_apart_by_what_the_limit_says_and_nothing_else() {
        let limit = |per: &[Facet]| Limit {
            state: 5,
            per: per.into(),
            to: None,
            measure: DAY,
            place: Book::default().place_of("l/calls"),
        };
        let whose = |principal, user, tool| Whose {
            principal,
            agent: 0,
            user,
            tenant: 0,
            tool,
            upstream: 0,
            server: 0,
        };
        let by_user = limit(&[Facet::User]);
        assert_eq!(by_user.key(&whose(1, 9, 1)), by_user.key(&whose(2, 9, 2)));
        assert_ne!(by_user.key(&whose(1, 9, 1)), by_user.key(&whose(1, 8, 1)));
        let by_both = limit(&[Facet::Principal, Facet::Tool]);
        assert_ne!(by_both.key(&whose(1, 9, 2)), by_both.key(&whose(2, 9, 1)));
        assert_eq!(limit(&[]).key(&whose(1, 2, 3)), limit(&[]).key(&whose(4, 5, 6)));
        assert_ne!(limit(&[]).key(&whose(1, 2, 3)), Limit { state: 6, ..limit(&[]) }.key(&whose(1, 2, 3)));
    }
}
