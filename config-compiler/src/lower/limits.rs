//! Limits and prices. Each measure of an entry becomes a limit of its own; they share its id, so that adding one
//! renames none.
//!
//! What was used is kept under a number made of what a limit is ([`state_of`]), so that a reload which leaves the limit
//! alone leaves the state alone.

use std::collections::HashMap;

use strait_table::limit::{Facet, Limit, Measure, Price, Unit};
use strait_table::rules::{Pattern, PatternKind, To};

use super::{blocks::Blocks, pattern, policy::audience, scope::Scope};
use crate::{
    diagnostic::{Finding, codes},
    limits::{LIMIT_CALLS_MAX, LIMITS_MAX, META_MEMBER_BYTES_MAX, PRICES_MAX},
    source::{Entry as Written, Node, Scalar, Span, Value},
    walk::{Walk, keys, limit::Per},
};

const UNITS: &[(&str, Unit)] =
    &[("s", Unit::Second), ("min", Unit::Minute), ("h", Unit::Hour), ("day", Unit::Day)];

pub fn prices(walk: &mut Walk<'_>, blocks: &Blocks<'_>, upstreams: &Scope<'_>) -> Vec<Price> {
    let mut prices = Vec::new();
    let mut seen: HashMap<&str, Span> = HashMap::new();
    for declared in &blocks.prices {
        if let Some(first) = seen.insert(declared.name, declared.name_span) {
            let message = format!("`{}` has two prices", declared.name);
            let finding = Finding::new(&codes::DECLARED_TWICE, declared.name_span, message);
            walk.report(finding.label("again here").note(first, "first here"));
            continue;
        }
        // A key that is a pattern is read like any other pattern.
        let scalar = Scalar { text: declared.name.to_owned(), style: walk.style_of(declared.name_span) };
        let key = Node { span: declared.name_span, value: Value::Scalar(scalar) };
        let on = pattern::read(walk, &key, PatternKind::Any);
        if let Some(on) = &on {
            pattern::upstreams(walk, on, upstreams, "`prices`");
        }
        let amounts = match declared.node.value {
            Value::Map(_) => amounts(walk, declared.node, declared.name_span),
            _ => walk.money(declared.node).map(|micro_usd| Amounts { micro_usd, ..Amounts::default() }),
        };
        if let (Some(on), Some(amounts)) = (on, amounts) {
            let Amounts { micro_usd, kib_micro_usd, told, up_to_micro_usd } = amounts;
            prices.push(Price { on: on.pattern, micro_usd, kib_micro_usd, told, up_to_micro_usd });
        }
    }
    if let Some(beyond) = blocks.prices.get(PRICES_MAX) {
        let message = format!("there are more than {PRICES_MAX} prices");
        walk.report(Finding::new(&codes::OUT_OF_RANGE, beyond.name_span, message));
    }
    prices
}

/// A price without what it is of.
#[derive(Default)]
struct Amounts {
    micro_usd: u64,
    kib_micro_usd: u64,
    told: Option<String>,
    up_to_micro_usd: Option<u64>,
}

fn amounts(walk: &mut Walk<'_>, node: &Node, at: Span) -> Option<Amounts> {
    let mut fields = walk.fields(node, &keys::PRICE)?;
    let [call, kib, meta, up_to] = ["call", "per_kib", "meta", "up_to"].map(|key| fields.entry(key));
    fields.finish();
    // What is wrong with each is told, before any of it counts.
    let [micro_usd, kib_micro_usd, most] = [call, kib, up_to].map(|entry: Option<&Written>| match entry {
        Some(entry) => walk.money(&entry.value).map(Some),
        None => Some(None),
    });
    let told = match meta {
        Some(entry) => member(walk, &entry.value).map(Some),
        None => Some(None),
    };
    let (micro_usd, kib_micro_usd, most, told) = (micro_usd?, kib_micro_usd?, most?, told?);
    let settles = kib_micro_usd.is_some() || told.is_some();
    let finding = match (most, settles) {
        (None, true) => Finding::new(&codes::ONE_OF, at, "what these calls may cost is without bound").help(
            "write the most that one may cost: `up_to: 1 usd`; so much is set aside until it is answered",
        ),
        (Some(_), false) => Finding::new(&codes::ONE_OF, at, "`up_to` without `per_kib` or `meta`")
            .help("what is known before the call needs no bound: leave `up_to` out"),
        (None, false) if micro_usd.is_none() => Finding::new(&codes::ONE_OF, at, "this price says nothing")
            .help("write at least one of `call`, `per_kib` and `meta`"),
        (Some(most), true) if most < micro_usd.unwrap_or(0) => {
            Finding::new(&codes::OUT_OF_RANGE, at, "`up_to` is less than `call`")
                .help("it is the most that a call may cost, all parts together")
        }
        _ => {
            let (micro_usd, kib_micro_usd) = (micro_usd.unwrap_or(0), kib_micro_usd.unwrap_or(0));
            return Some(Amounts { micro_usd, kib_micro_usd, told, up_to_micro_usd: most });
        }
    };
    walk.report(finding);
    None
}

/// A member of `_meta`.
fn member(walk: &mut Walk<'_>, node: &Node) -> Option<String> {
    let name = walk.text(node)?;
    if (1..=META_MEMBER_BYTES_MAX).contains(&name.len()) {
        return Some(name);
    }
    let message = format!("a member of `_meta` has a name of 1 to {META_MEMBER_BYTES_MAX} bytes");
    walk.report(Finding::new(&codes::OUT_OF_RANGE, node.span, message));
    None
}

pub fn lower(
    walk: &mut Walk<'_>,
    blocks: &Blocks<'_>,
    upstreams: &Scope<'_>,
    roles: &mut Scope<'_>,
    prices: &[Price],
) -> Vec<Limit> {
    let mut limits = Vec::new();
    let mut ids: HashMap<String, Span> = HashMap::new();
    let mut place = 0;
    for list in &blocks.limits {
        for node in walk.list(list, "limits").unwrap_or_default() {
            place += 1;
            let Some(mut entry) = entry(walk, node, place, upstreams, roles) else { continue };
            let at = entry.id_span;
            if let Some(first) = ids.insert(entry.id.clone(), at) {
                let message = format!("two limits have the id `{}`", entry.id);
                let finding = Finding::new(&codes::DECLARED_TWICE, at, message);
                walk.report(finding.label("again here").note(first, "first here"));
            }
            for (measure, at) in std::mem::take(&mut entry.measures) {
                if matches!(measure, Measure::Cost { .. }) && prices.is_empty() && walk.whole {
                    let message = format!("`{}` limits the cost of calls, and nothing has a price", entry.id);
                    let finding = Finding::new(&codes::NO_PRICE, at, message).label("never reached");
                    walk.report(finding.help("say what calls cost: `prices: { \"crm.*\": 0.002 usd }`"));
                }
                limits.push(entry.limit(measure));
            }
            if limits.len() > LIMITS_MAX {
                let message = format!("there are more than {LIMITS_MAX} limits");
                walk.report(Finding::new(&codes::OUT_OF_RANGE, at, message));
                return Vec::new();
            }
        }
    }
    limits
}

/// One entry of the list.
struct Entry {
    id: String,
    id_span: Span,
    is_named: bool,
    per: Vec<Facet>,
    on: Vec<Pattern>,
    to: To,
    measures: Vec<(Measure, Span)>,
}

impl Entry {
    fn limit(&self, measure: Measure) -> Limit {
        let to = match &self.to {
            To::Everyone => To::Everyone,
            To::Roles(roles) => To::Roles(roles.clone()),
        };
        Limit {
            id: self.id.clone(),
            state: self.state_of(measure),
            per: self.per.clone(),
            on: self.on.clone(),
            to,
            measure,
        }
    }

    /// What a limit is, as a number. Of windows and of calls at once how many there may be is no part of it: what was
    /// used counts on when that is changed. A rate's state means nothing at another rate. An id that only says a place
    /// in a list may be another limit's tomorrow, so there everything counts.
    fn state_of(&self, measure: Measure) -> u64 {
        let what = match (self.is_named, measure) {
            (true, Measure::Calls { per, .. }) => format!("calls {}", per.label()),
            (true, Measure::Cost { per, .. }) => format!("cost {}", per.label()),
            (true, Measure::Concurrency { .. }) => "concurrency".to_owned(),
            (true, Measure::Rate { .. }) => format!("{measure:?}"),
            (false, _) => format!("{measure:?} {:?}", self.on),
        };
        let hash = blake3::hash(format!("{} {:?} {what}", self.id, self.per).as_bytes());
        hash.as_bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }
}

fn entry(
    walk: &mut Walk<'_>,
    node: &Node,
    place: usize,
    upstreams: &Scope<'_>,
    roles: &mut Scope<'_>,
) -> Option<Entry> {
    let mut fields = walk.fields(node, &keys::LIMIT)?;
    let id_node = fields.get("id");
    let written = id_node.and_then(|node| walk.text(node));
    if let (Some(id), Some(node)) = (&written, id_node) {
        walk.name(id, node.span, "a limit", true);
    }
    let id_span = id_node.map_or(walk.files.first_line(node.span), |node| node.span);
    let is_named = written.is_some();
    let id = written.unwrap_or_else(|| format!("limit-{place}"));
    let by = format!("limit `{id}`");
    let help = "write whose calls are counted together: `per: [principal]`, or `per: []` for everybody's";
    let per = fields.required(walk, "per", id_span, help).map(|node| facets(walk, node)).unwrap_or_default();
    let on = fields.entry("on").map(|entry| super::policy::patterns(walk, entry, upstreams, &by));
    let to = match fields.entry("to") {
        Some(entry) => To::Roles(audience(walk, entry, roles, &by)),
        None => To::Everyone,
    };
    let mut measures = Vec::new();
    let burst_entry = fields.entry("burst");
    let burst = burst_entry.and_then(|entry| walk.integer(&entry.value, 1..=LIMIT_CALLS_MAX));
    let written = ["rate", "calls", "cost", "concurrency"].map(|key| fields.entry(key));
    fields.finish();
    let [rate, calls, cost, concurrency] = written;
    if let Some(entry) = rate
        && let Some(Per { amount, unit }) = walk.calls_per(&entry.value, UNITS)
    {
        let measure = Measure::Rate { count: amount, per: unit, burst: burst.unwrap_or(amount) };
        if measure.policy().is_none() {
            let at = burst_entry.map_or(entry.value.span, |entry| entry.value.span);
            let message = "at this rate such a burst would last longer than a year";
            walk.report(Finding::new(&codes::OUT_OF_RANGE, at, message));
        }
        measures.push((measure, entry.key_span));
    }
    if let (Some(burst), None) = (burst_entry, rate) {
        let message = format!("{by} has a `burst` and no `rate`");
        let finding = Finding::new(&codes::ONE_OF, burst.key_span, message);
        walk.report(finding.help("a burst is how much of a rate may come at once"));
    }
    let windows = &UNITS[1..];
    if let Some(entry) = calls
        && let Some(Per { amount, unit }) = walk.calls_per(&entry.value, windows)
    {
        measures.push((Measure::Calls { max: amount, per: unit }, entry.key_span));
    }
    if let Some(entry) = cost
        && let Some(Per { amount, unit }) = walk.money_per(&entry.value, windows)
    {
        measures.push((Measure::Cost { max_micro_usd: amount, per: unit }, entry.key_span));
    }
    if let Some(entry) = concurrency
        && let Some(max) = walk.integer(&entry.value, 1..=LIMIT_CALLS_MAX)
    {
        measures.push((Measure::Concurrency { max }, entry.key_span));
    }
    if rate.or(calls).or(cost).or(concurrency).is_none() {
        let message = format!("{by} limits nothing");
        let finding = Finding::new(&codes::ONE_OF, id_span, message);
        walk.report(finding.help("write at least one of `rate`, `calls`, `cost` and `concurrency`"));
    }
    let on = on.unwrap_or_default().into_iter().map(|written| written.pattern).collect();
    Some(Entry { id, id_span, is_named, per, on, to, measures })
}

fn facets(walk: &mut Walk<'_>, node: &Node) -> Vec<Facet> {
    let mut facets: Vec<Facet> = Vec::new();
    for item in walk.list(node, "facets").unwrap_or_default() {
        let Some(facet) = walk.word(item, &Facet::ALL) else { continue };
        if facets.contains(&facet) {
            let message = "this is in the list already";
            walk.report(Finding::new(&codes::DECLARED_TWICE, item.span, message));
        }
        facets.push(facet);
    }
    // The order says nothing, and what is counted must not depend on it.
    facets.sort_unstable();
    facets.dedup();
    facets
}
