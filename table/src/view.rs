//! What one set of traits sees of one server: a bit for every item, and the verdict behind it.
//!
//! A worker makes a view once per server and set of traits, interns it, and from then on a list is "the
//! fragments whose bit is set" and a call is one array read: what a decision costs does not grow with
//! rules, roles or principals. Only where a rule asks for what a call brings with it is the verdict [`Ruled::Open`], and
//! names the rules that are left to be asked.

use strait_policy::authorize::Effect;
use strait_policy::{Ruling, Traits, Verdict};

use xxhash_rust::xxh3::Xxh3;

use crate::bound::Kind;
use crate::decide::Decider;
use crate::snapshot::Snapshot;

/// One kind's half of a [`View`].
#[derive(Debug, Default)]
pub struct KindView {
    visible: Vec<u64>,
    /// By item, each in four bytes: they are read in no order, and stay near where they are few.
    verdicts: Vec<Packed>,
    /// Items whose verdict is open, ascending, with their part of `open_rules`.
    open: Vec<OpenItem>,
    open_rules: Vec<OpenRule>,
    visible_count: usize,
    digest: u64,
}

#[derive(Debug)]
struct OpenItem {
    item: u32,
    from: u32,
    count: u32,
}

/// A rule that may still change a verdict. Its effect stands here, so that a rule that need not be asked is not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenRule {
    pub index: u32,
    pub effect: Effect,
}

/// A verdict, and whether it is open: two bits for what it is, one for open, the rest for one more than its rule's number.
#[derive(Clone, Copy, Debug)]
struct Packed(u32);

impl Packed {
    const OPEN: u32 = 4;

    fn new(verdict: Verdict, is_open: bool) -> Packed {
        let effect = match verdict {
            Verdict::Permit(_) => 0,
            Verdict::Hold(_) => 1,
            Verdict::Deny(_) => 2,
        };
        // Rules are numbered below `invariants::RULES_MAX`.
        let rule = verdict.rule().map_or(0, |rule| rule + 1);
        Packed(rule << 3 | if is_open { Packed::OPEN } else { 0 } | effect)
    }

    fn is_open(self) -> bool {
        self.0 & Packed::OPEN != 0
    }

    fn verdict(self) -> Verdict {
        let rule = (self.0 >> 3).checked_sub(1);
        match self.0 & 3 {
            0 => Verdict::Permit(rule),
            1 => Verdict::Hold(rule),
            _ => Verdict::Deny(rule),
        }
    }
}

const _: () = assert!(crate::invariants::RULES_MAX < 1 << 29);

/// The verdict on an item, as far as it is known without the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ruled<'v> {
    Settled(Verdict),
    /// Each of these rules may still change it, and is asked with the call at hand. Denies stand first: what they refuse needs no
    /// further question.
    Open {
        so_far: Verdict,
        rules: &'v [OpenRule],
    },
}

impl Ruled<'_> {
    /// What is sure already.
    pub fn so_far(self) -> Verdict {
        match self {
            Ruled::Settled(verdict) | Ruled::Open { so_far: verdict, .. } => verdict,
        }
    }
}

/// What a set of traits may do under one server.
#[derive(Debug)]
pub struct View {
    tools: KindView,
    prompts: KindView,
    resources: KindView,
    templates: KindView,
    /// A bit for every upstream of which something is visible.
    upstreams: Vec<u64>,
}

impl View {
    /// Decides every item of `server` for a principal with these traits, at a moment when these windows hold. `None` when
    /// there is no such server.
    pub fn of(snapshot: &Snapshot, server: usize, traits: &Traits, windows: &Traits) -> Option<View> {
        let mut upstreams = vec![0; snapshot.bound().upstreams.len().div_ceil(64)];
        let mut decider = Decider::new(snapshot, server, traits, Some(windows))?;
        let mut kind = |kind| KindView::of(&mut decider, kind, &mut upstreams);
        let (tools, prompts) = (kind(Kind::Tool), kind(Kind::Prompt));
        let (resources, templates) = (kind(Kind::Resource), kind(Kind::Template));
        Some(View { tools, prompts, resources, templates, upstreams })
    }

    /// Whether anything of this upstream is visible.
    pub fn shows(&self, upstream: usize) -> bool {
        self.upstreams.get(upstream / 64).is_some_and(|word| word >> (upstream % 64) & 1 == 1)
    }

    pub fn kind(&self, kind: Kind) -> &KindView {
        match kind {
            Kind::Tool => &self.tools,
            Kind::Prompt => &self.prompts,
            Kind::Resource => &self.resources,
            Kind::Template => &self.templates,
        }
    }
}

impl KindView {
    fn of(decider: &mut Decider<'_>, kind: Kind, upstreams: &mut [u64]) -> KindView {
        let items = &decider.shelf(kind).items;
        let mut view = KindView {
            visible: vec![0; items.len().div_ceil(64)],
            verdicts: Vec::with_capacity(items.len()),
            ..KindView::default()
        };
        for (index, item) in items.iter().enumerate() {
            let Ruling { verdict, open, possible } = decider.item(item);
            let is_open = possible && !open.is_empty();
            if possible {
                view.visible[index / 64] |= 1 << (index % 64);
                view.visible_count += 1;
                let upstream = usize::from(item.upstream.to_native());
                upstreams[upstream / 64] |= 1 << (upstream % 64);
            }
            if is_open {
                let (from, count) = (view.open_rules.len() as u32, open.len() as u32);
                view.open.push(OpenItem { item: index as u32, from, count });
                view.open_rules.extend(decider.open_rules(&open));
            }
            view.verdicts.push(Packed::new(verdict, is_open));
        }
        let mut hasher = Xxh3::new();
        view.visible.iter().for_each(|word| hasher.update(&word.to_le_bytes()));
        view.digest = hasher.digest();
        view
    }

    /// Tells apart views of one catalog that show different items.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// The verdict on an item. Of one that nobody is shown it is settled: no call can be permitted.
    pub fn ruled(&self, item: usize) -> Ruled<'_> {
        let Some(packed) = self.verdicts.get(item) else { return Ruled::Settled(Verdict::Deny(None)) };
        let so_far = packed.verdict();
        if !packed.is_open() {
            return Ruled::Settled(so_far);
        }
        let found = self.open.binary_search_by_key(&item, |open| open.item as usize);
        match found.ok().and_then(|at| self.open.get(at)) {
            None => Ruled::Settled(so_far),
            Some(open) => {
                let range = open.from as usize..(open.from + open.count) as usize;
                Ruled::Open { so_far, rules: self.open_rules.get(range).unwrap_or_default() }
            }
        }
    }

    /// Whether a list shows it: some call of it may be permitted.
    pub fn shows(&self, item: usize) -> bool {
        self.visible.get(item / 64).is_some_and(|word| word >> (item % 64) & 1 == 1)
    }

    pub fn visible_count(&self) -> usize {
        self.visible_count
    }

    /// The indexes of visible items from `from` on, in listing order.
    pub fn visible_from(&self, from: usize) -> impl Iterator<Item = usize> + '_ {
        let first = from / 64;
        self.visible.iter().enumerate().skip(first).flat_map(move |(at, word)| {
            let mut bits = if at == first { word & (u64::MAX << (from % 64)) } else { *word };
            std::iter::from_fn(move || {
                (bits != 0).then(|| {
                    let bit = bits.trailing_zeros() as usize;
                    bits &= bits - 1;
                    at * 64 + bit
                })
            })
        })
    }
}
