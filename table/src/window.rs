//! Windows of time: what `during` and comparisons of `now` become. A bit that holds of a moment, and when it turns.
//!
//! The decision: a window keeps its hours as its author wrote them, in minutes of a local week, and beside them the zone's
//! offsets from UTC with the moments at which they change. A moment is mapped to local time, which is always one time, never
//! the other way round, which is none or two where a clock is put forward or back.

use rkyv::{Archive, Deserialize, Serialize};
use strait_policy::Traits;

pub const MINUTES_PER_WEEK: u32 = 7 * 24 * 60;
/// How far after a moment its next turn is looked for: two weeks hold every change of a weekly plan.
const HORIZON_S: i64 = 14 * 24 * 3600;

#[derive(Archive, Deserialize, Serialize, Debug, Clone, PartialEq, Eq, Hash)]
pub struct Window {
    /// As the author wrote it.
    pub text: String,
    /// Local time it holds at, in minutes since Monday 00:00; ascending, apart from each other.
    pub week: Vec<Hours>,
    /// The zone's offsets, ascending; the first holds from ever.
    pub offsets: Vec<Offset>,
    /// It holds from this second of Unix time on.
    pub from: i64,
    /// And before this one.
    pub until: i64,
}

#[derive(Archive, Deserialize, Serialize, Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hours {
    pub from: u32,
    /// Not included.
    pub until: u32,
}

#[derive(Archive, Deserialize, Serialize, Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Offset {
    /// In seconds of Unix time.
    pub from: i64,
    /// East of Greenwich.
    pub seconds: i32,
}

/// The windows that hold at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Windows {
    pub bits: Traits,
    /// The second of Unix time at which to look again; `i64::MAX` when nothing will ever change.
    pub until: i64,
}

impl Windows {
    pub fn at(windows: &[ArchivedWindow], now: i64) -> Windows {
        let mut bits = Traits::none(windows.len());
        let mut until = i64::MAX;
        for (bit, window) in windows.iter().enumerate() {
            let (holds, turns) = window.at(now);
            if holds {
                bits.insert(bit);
            }
            until = until.min(turns);
        }
        Windows { bits, until }
    }
}

impl ArchivedWindow {
    /// Whether it holds, and until when that is sure.
    pub fn at(&self, now: i64) -> (bool, i64) {
        let (from, until) = (self.from.to_native(), self.until.to_native());
        if now < from {
            return (false, from);
        }
        if now >= until {
            return (false, i64::MAX);
        }
        if matches!(self.week.as_slice(), [all] if all.from == 0 && all.until == MINUTES_PER_WEEK) {
            return (true, until);
        }
        let next = self
            .offsets
            .iter()
            .position(|offset| offset.from.to_native() > now)
            .unwrap_or(self.offsets.len());
        let offset = next.checked_sub(1).and_then(|at| self.offsets.get(at)).or(self.offsets.first());
        let offset = offset.map_or(0, |offset| i64::from(offset.seconds.to_native()));
        let changes = self.offsets.get(next).map_or(i64::MAX, |offset| offset.from.to_native());
        // The first day of Unix time was a Thursday.
        let local = now.saturating_add(offset).saturating_add(3 * 24 * 3600);
        let second = local.rem_euclid(i64::from(MINUTES_PER_WEEK) * 60);
        let minute = (second / 60) as u32;
        let holds = self.week.iter().any(|hours| hours.from <= minute && minute < hours.until.to_native());
        let bounds = self.week.iter().flat_map(|hours| [hours.from.to_native(), hours.until.to_native()]);
        let next = bounds.filter(|bound| *bound > minute).min().unwrap_or(MINUTES_PER_WEEK);
        let turns = now.saturating_add(i64::from(next) * 60 - second);
        (holds, turns.min(changes).min(until).min(now.saturating_add(HORIZON_S)))
    }

    pub(crate) fn is_sound(&self) -> bool {
        let hours = self.week.iter().all(|hours| hours.from < hours.until && hours.until <= MINUTES_PER_WEEK);
        hours
            && self.week.is_sorted_by(|a, b| a.until <= b.from)
            && self.offsets.is_sorted_by(|a, b| a.from < b.from)
            && self.offsets.iter().all(|offset| offset.seconds.to_native().abs() <= 24 * 3600)
    }
}
