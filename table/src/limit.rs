//! Limits and prices as a table holds them, what they concern, and how they are told to people.
//!
//! Which limits speak of an item is worked out when the catalog is bound, like rules; names that are open-ended (a URI
//! under a template, a method of an upstream's own) are matched when they are asked for, as their decisions are.

use std::fmt::Write as _;

use rkyv::{Archive, Deserialize, Serialize};
use strait_policy::limit::{Measure as Measured, Period, Rate, Window};
use strait_policy::{Traits, Truth, glob};
use xxhash_rust::xxh3::xxh3_64;

use crate::Snapshot;
use crate::bind::speaks;
use crate::bound::{ArchivedItem, Kind};
use crate::decide::audience;
use crate::rules::{ArchivedPattern, ArchivedPatternKind, ArchivedRules, Pattern, To};
use crate::uris::may_overlap;

/// One measure of one entry of `limits`.
#[derive(Archive, Deserialize, Serialize, Debug)]
pub struct Limit {
    /// Of the entry: several measures share it.
    pub id: String,
    /// Names what was used, across reloads: the same number, the same state.
    pub state: u64,
    /// Callers and things that differ in these have allowances of their own; empty: all share one.
    pub per: Vec<Facet>,
    /// Empty: everything.
    pub on: Vec<Pattern>,
    pub to: To,
    pub measure: Measure,
}

#[derive(Archive, Deserialize, Serialize, Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Facet {
    Principal,
    Agent,
    User,
    Tenant,
    /// The tool, prompt or resource.
    Tool,
    Upstream,
    Server,
}

#[derive(Archive, Deserialize, Serialize, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    Rate {
        count: u64,
        per: Unit,
        burst: u64,
    },
    Calls {
        max: u64,
        per: Unit,
    },
    Cost {
        max_micro_usd: u64,
        per: Unit,
    },
    /// Calls under way.
    Concurrency {
        max: u64,
    },
}

#[derive(Archive, Deserialize, Serialize, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Second,
    Minute,
    Hour,
    Day,
}

/// What calls cost. Where several speak of a thing, the one counts under which a call may cost the most.
#[derive(Archive, Deserialize, Serialize, Debug)]
pub struct Price {
    pub on: Pattern,
    /// Of each call.
    pub micro_usd: u64,
    /// Of each KiB that its answer begins.
    pub kib_micro_usd: u64,
    /// Which member of the `_meta` of its result says what it cost besides, in US dollars.
    pub told: Option<String>,
    /// The most that it may cost; there where some of it is known only afterwards.
    pub up_to_micro_usd: Option<u64>,
}

impl ArchivedPrice {
    /// The most that a call may cost.
    pub fn most(&self) -> u64 {
        self.up_to_micro_usd.as_ref().map_or(self.micro_usd.to_native(), |most| most.to_native())
    }

    /// As it was written, for people.
    pub fn describe(&self) -> String {
        let mut parts = Vec::new();
        if self.micro_usd > 0 || self.up_to_micro_usd.is_none() {
            parts.push(usd(self.micro_usd.to_native()));
        }
        if self.kib_micro_usd > 0 {
            parts.push(format!("{} per KiB", usd(self.kib_micro_usd.to_native())));
        }
        parts.extend(self.told.as_ref().map(|member| format!("what `_meta` says in `{}`", member.as_str())));
        let parts = parts.join(" and ");
        match self.up_to_micro_usd.as_ref() {
            Some(most) => format!("{parts}, up to {}", usd(most.to_native())),
            None => parts,
        }
    }
}

impl Facet {
    pub const ALL: [(&'static str, Facet); 7] = [
        ("principal", Facet::Principal),
        ("agent", Facet::Agent),
        ("user", Facet::User),
        ("tenant", Facet::Tenant),
        ("tool", Facet::Tool),
        ("upstream", Facet::Upstream),
        ("server", Facet::Server),
    ];
}

impl ArchivedFacet {
    pub fn facet(&self) -> Facet {
        match self {
            ArchivedFacet::Principal => Facet::Principal,
            ArchivedFacet::Agent => Facet::Agent,
            ArchivedFacet::User => Facet::User,
            ArchivedFacet::Tenant => Facet::Tenant,
            ArchivedFacet::Tool => Facet::Tool,
            ArchivedFacet::Upstream => Facet::Upstream,
            ArchivedFacet::Server => Facet::Server,
        }
    }
}

impl Unit {
    pub const fn ns(self) -> u64 {
        let seconds = match self {
            Unit::Second => 1,
            Unit::Minute => 60,
            Unit::Hour => 3_600,
            Unit::Day => 86_400,
        };
        seconds * 1_000_000_000
    }

    pub const fn label(self) -> &'static str {
        match self {
            Unit::Second => "second",
            Unit::Minute => "minute",
            Unit::Hour => "hour",
            Unit::Day => "day",
        }
    }

    /// Windows begin with a minute at least.
    fn period(self) -> Option<Period> {
        match self {
            Unit::Second => None,
            Unit::Minute => Some(Period::Minute),
            Unit::Hour => Some(Period::Hour),
            Unit::Day => Some(Period::Day),
        }
    }
}

impl ArchivedUnit {
    fn unit(&self) -> Unit {
        match self {
            ArchivedUnit::Second => Unit::Second,
            ArchivedUnit::Minute => Unit::Minute,
            ArchivedUnit::Hour => Unit::Hour,
            ArchivedUnit::Day => Unit::Day,
        }
    }
}

impl ArchivedMeasure {
    fn native(&self) -> Measure {
        match self {
            ArchivedMeasure::Rate { count, per, burst } => {
                Measure::Rate { count: count.to_native(), per: per.unit(), burst: burst.to_native() }
            }
            ArchivedMeasure::Calls { max, per } => Measure::Calls { max: max.to_native(), per: per.unit() },
            ArchivedMeasure::Cost { max_micro_usd, per } => {
                Measure::Cost { max_micro_usd: max_micro_usd.to_native(), per: per.unit() }
            }
            ArchivedMeasure::Concurrency { max } => Measure::Concurrency { max: max.to_native() },
        }
    }
}

impl Measure {
    /// As policy takes it; `None`: numbers that come to nothing, which no opened table has.
    pub fn policy(self) -> Option<Measured> {
        Some(match self {
            Measure::Rate { count, per, burst } => Measured::Rate(Rate::new(count, per.ns(), burst)?),
            Measure::Calls { max, per } => Measured::Calls(Window { period: per.period()?, max }),
            Measure::Cost { max_micro_usd, per } => {
                Measured::Cost(Window { period: per.period()?, max: max_micro_usd })
            }
            Measure::Concurrency { max } => Measured::Concurrency(max),
        })
    }

    /// What it allows, for a person: `20 calls per second and 40 at once`.
    pub fn describe(self) -> String {
        match self {
            Measure::Rate { count, per, burst } => {
                format!("{} per {} and {burst} at once", calls(count), per.label())
            }
            Measure::Calls { max, per } => format!("{} per {}", calls(max), per.label()),
            Measure::Cost { max_micro_usd, per } => format!("{} per {}", usd(max_micro_usd), per.label()),
            Measure::Concurrency { max } => format!("{} at once", calls(max)),
        }
    }
}

fn calls(count: u64) -> String {
    format!("{count} call{}", if count == 1 { "" } else { "s" })
}

/// An amount as it is written: `0.002 usd`.
pub fn usd(micro_usd: u64) -> String {
    let mut text = format!("{}.{:06}", micro_usd / 1_000_000, micro_usd % 1_000_000);
    text.truncate(text.trim_end_matches('0').trim_end_matches('.').len());
    text + " usd"
}

impl ArchivedLimit {
    /// As [`Measure::policy`]; an opened table has one.
    pub fn policy(&self) -> Option<Measured> {
        self.measure.native().policy()
    }

    /// What it allows and to whom: `20 calls per second and 40 at once, for each principal and tool`.
    pub fn describe(&self) -> String {
        let mut text = self.measure.native().describe();
        let names = self.per.iter().map(|facet| {
            let of = facet.facet();
            Facet::ALL.iter().find(|(_, facet)| *facet == of).map_or("?", |(name, _)| *name)
        });
        let names: Vec<&str> = names.collect();
        // Writing into a string cannot fail.
        let _ = match names.as_slice() {
            [] => write!(text, ", for everybody together"),
            names => write!(text, ", for each {}", names.join(" and ")),
        };
        text
    }

    /// Whether it is for a caller with these traits. Whoever cannot be told apart from its role is limited with it.
    pub fn is_for(&self, rules: &ArchivedRules, traits: &Traits) -> bool {
        audience(rules, &self.to, Some(traits)) != Truth::False
    }

    fn speaks_of(&self, kind: Kind, full: &str, bare: &str) -> bool {
        self.on.is_empty() || self.on.iter().any(|pattern| speaks(pattern, kind, full, bare))
    }
}

/// Which price a thing has.
pub fn price(prices: &[ArchivedPrice], kind: Kind, full: &str, bare: &str) -> Option<u16> {
    highest(prices, |price| speaks(&price.on, kind, full, bare))
}

/// Of the prices that speak; of several that may cost as much, by their patterns, since the order of a file says nothing.
fn highest(prices: &[ArchivedPrice], speaks: impl Fn(&ArchivedPrice) -> bool) -> Option<u16> {
    let speaking = prices.iter().enumerate().filter(|(_, price)| speaks(price));
    let highest = speaking.max_by_key(|(_, price)| (price.most(), price.on.glob.as_str()));
    highest.map(|(index, _)| index as u16)
}

/// The limits that speak of a thing, by index.
pub fn speaking(limits: &[ArchivedLimit], kind: Kind, full: &str, bare: &str) -> Vec<u16> {
    let limits = limits.iter().enumerate().filter(|(_, limit)| limit.speaks_of(kind, full, bare));
    limits.map(|(index, _)| index as u16).collect()
}

/// A number for a thing of an upstream, the same in every table and catalog.
pub fn print_of(kind: Kind, full: &str) -> u64 {
    xxh3_64(format!("{kind:?} {full}").as_bytes())
}

/// What limits want to know of something whose name is open-ended.
pub struct OpenEnded {
    pub limits: Vec<u16>,
    /// Which price of the table it has.
    pub price: Option<u16>,
    pub print: u64,
}

impl Snapshot {
    /// The limits that a caller with these traits meets at an item: what the engine counts, for whoever explains it.
    pub fn limits_met<'s>(
        &'s self,
        item: &'s ArchivedItem,
        traits: &'s Traits,
    ) -> impl Iterator<Item = &'s ArchivedLimit> {
        let limits =
            item.limits.iter().filter_map(|limit| self.rules().limits.get(usize::from(limit.to_native())));
        limits.filter(|limit| limit.is_for(self.rules(), traits))
    }

    /// Of a resource URI that only a template covers; `upstream` is the template's.
    pub fn limits_of_uri(&self, upstream: usize, uri: &str) -> Option<OpenEnded> {
        let rules = self.rules();
        let full = format!("{}.{uri}", rules.upstreams.get(upstream)?.name.as_str());
        Some(OpenEnded {
            limits: speaking(&rules.limits, Kind::Resource, &full, uri),
            price: price(&rules.prices, Kind::Resource, &full, uri),
            print: print_of(Kind::Resource, &full),
        })
    }

    /// Of a method that this gateway does not know. Nobody can say what it reaches, so every limit that speaks of
    /// anything of its upstream concerns it.
    pub fn limits_of_method(&self, upstream: usize, method: &str) -> Option<OpenEnded> {
        let rules = self.rules();
        let name = rules.upstreams.get(upstream)?.name.as_str();
        let (full, all) = (format!("{name}.{method}"), format!("{name}.*"));
        let may_speak = |pattern: &ArchivedPattern| {
            matches!(pattern.kind, ArchivedPatternKind::Resource) || may_overlap(&pattern.glob, &all)
        };
        let limits = rules.limits.iter().enumerate();
        let limits = limits.filter(|(_, limit)| limit.on.is_empty() || limit.on.iter().any(may_speak));
        Some(OpenEnded {
            limits: limits.map(|(index, _)| index as u16).collect(),
            price: highest(&rules.prices, |price| glob::matches(&price.on.glob, &full)),
            print: xxh3_64(format!("Method {full}").as_bytes()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_told_in_words() {
        let check = |measure: Measure, text: &str| assert_eq!(measure.describe(), text);
        check(
            Measure::Rate { count: 20, per: Unit::Second, burst: 40 },
            "20 calls per second and 40 at once",
        );
        check(Measure::Calls { max: 1, per: Unit::Day }, "1 call per day");
        check(Measure::Cost { max_micro_usd: 25_000_000, per: Unit::Hour }, "25 usd per hour");
        check(Measure::Cost { max_micro_usd: 1, per: Unit::Minute }, "0.000001 usd per minute");
        check(Measure::Concurrency { max: 8 }, "8 calls at once");
        assert_eq!(usd(2_500), "0.0025 usd");
        assert_eq!(usd(0), "0 usd");
        assert_eq!(usd(100_000_000), "100 usd");
    }
}
