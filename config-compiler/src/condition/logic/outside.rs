//! Questions that are not about a value: windows of time, the caller's address, groups.

use strait_table::condition::{Network, TextTest};
use strait_table::window::{Hours, MINUTES_PER_WEEK, Window};

use super::{Logic, clause::Wanted};
use crate::condition::tree::{Asks, Value};

pub fn can_be(wanted: &[Wanted<'_>], logic: &Logic<'_>) -> bool {
    windows_can_be(wanted, logic) && networks_can_be(wanted) && groups_can_be(wanted)
}

/// There is a second within all, and outside of those that shall not hold; and for the windows of one zone a minute of the week.
fn windows_can_be(wanted: &[Wanted<'_>], logic: &Logic<'_>) -> bool {
    let mut all: Vec<(&Window, bool)> = Vec::new();
    for one in wanted {
        if let Some(Asks::Window(number)) = one.asks()
            && let Some(window) = logic.windows.get(usize::from(*number))
        {
            all.extend(one.goal.only().map(|holds| (window, holds)));
        }
    }
    if all.len() < 2 {
        return true;
    }
    let is_always =
        |window: &Window| matches!(window.week.as_slice(), [Hours { from: 0, until: MINUTES_PER_WEEK }]);
    let is_for_ever = |window: &Window| window.from == i64::MIN && window.until == i64::MAX;
    // Between two neighbouring bounds nothing changes: each is looked at once.
    let mut seconds = vec![i64::MIN];
    seconds.extend(all.iter().flat_map(|(window, _)| [window.from, window.until]));
    let second = seconds.into_iter().any(|second| {
        all.iter().all(|(window, holds)| {
            let within = window.from <= second && second < window.until;
            // One that does not hold all week may hold or not within its bounds.
            match holds {
                true => within,
                false => !within || !is_always(window),
            }
        })
    });
    second
        && all.iter().all(|(zone, _)| {
            let same: Vec<&(&Window, bool)> = all
                .iter()
                .filter(|(window, _)| window.offsets == zone.offsets && is_for_ever(window))
                .collect();
            let mut minutes = vec![0];
            minutes.extend(
                same.iter()
                    .flat_map(|(window, _)| window.week.iter().flat_map(|hours| [hours.from, hours.until])),
            );
            minutes.into_iter().filter(|minute| *minute < MINUTES_PER_WEEK).any(|minute| {
                same.iter().all(|(window, holds)| {
                    let within = window.week.iter().any(|hours| hours.from <= minute && minute < hours.until);
                    within == *holds
                })
            })
        })
}

/// There is an address in all, and in none of those that shall not hold.
fn networks_can_be(wanted: &[Wanted<'_>]) -> bool {
    let mut all: Vec<(&[Network], bool)> = Vec::new();
    for one in wanted {
        if let Some(Asks::Network(networks)) = one.asks() {
            all.extend(one.goal.only().map(|holds| (networks.as_slice(), holds)));
        }
    }
    // Networks hold each other or are apart: between neighbouring bounds nothing changes.
    let bounds = all.iter().flat_map(|(networks, _)| {
        networks.iter().flat_map(|network| {
            let (first, last) = ends(network);
            [Some(first), last.checked_add(1)]
        })
    });
    let mut addresses: Vec<u128> = bounds.flatten().collect();
    addresses.push(0);
    addresses.into_iter().any(|address| {
        all.iter().all(|(networks, holds)| {
            let within = networks.iter().any(|network| {
                let (first, last) = ends(network);
                first <= address && address <= last
            });
            within == *holds
        })
    })
}

fn ends(network: &Network) -> (u128, u128) {
    let first = u128::from_be_bytes(network.address);
    let rest = u128::MAX.checked_shr(u32::from(network.bits)).unwrap_or(0);
    (first & !rest, first | rest)
}

/// Nobody is in a group `eu-x` and in none that begins with `eu-`.
fn groups_can_be(wanted: &[Wanted<'_>]) -> bool {
    let groups = wanted.iter().filter_map(|one| match one.asks() {
        Some(Asks::InGroups(Value::Text(group))) if one.goal.only() == Some(true) => Some(group),
        _ => None,
    });
    groups.into_iter().all(|group| {
        wanted.iter().all(|one| match one.asks() {
            Some(Asks::AnyGroup { test, text }) if one.goal.only() == Some(false) => {
                !is_true_of(*test, group, text)
            }
            _ => true,
        })
    })
}

pub fn is_true_of(test: TextTest, of: &str, text: &str) -> bool {
    match test {
        TextTest::StartsWith => of.starts_with(text),
        TextTest::EndsWith => of.ends_with(text),
        TextTest::Contains => of.contains(text),
    }
}
