//! What one set of roles sees of one server: a bit for every item, and the verdict behind it.
//!
//! A worker makes a view once per server and role set, interns it, and from then on a list is "the
//! fragments whose bit is set" and a call is one array read: what a decision costs does not grow with
//! rules, roles or principals.

use strait_policy::{RoleSet, RuleView, Verdict, decide};

use xxhash_rust::xxh3::Xxh3;

use crate::bound::Kind;
use crate::snapshot::Snapshot;

/// One kind's half of a [`View`].
#[derive(Debug, Default)]
pub struct KindView {
    visible: Vec<u64>,
    verdicts: Vec<Verdict>,
    visible_count: usize,
    digest: u64,
}

/// What a set of roles may do under one server.
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
    /// Decides every item of `server` for `roles`. `None` when there is no such server.
    pub fn of(snapshot: &Snapshot, server: usize, roles: &RoleSet) -> Option<View> {
        // Unpacked once for all items: with many items and rules this is most of what a view costs.
        let rules: Vec<RuleView> = snapshot.policy_rules().collect();
        let mut upstreams = vec![0; snapshot.bound().upstreams.len().div_ceil(64)];
        let mut kind = |kind| KindView::of(snapshot, server, kind, &rules, roles, &mut upstreams);
        Some(View {
            tools: kind(Kind::Tool)?,
            prompts: kind(Kind::Prompt)?,
            resources: kind(Kind::Resource)?,
            templates: kind(Kind::Template)?,
            upstreams,
        })
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
    fn of(
        snapshot: &Snapshot,
        server: usize,
        kind: Kind,
        rules: &[RuleView],
        roles: &RoleSet,
        upstreams: &mut [u64],
    ) -> Option<KindView> {
        let items = &snapshot.bound().servers.get(server)?.shelf(kind).items;
        let mut view = KindView {
            visible: vec![0; items.len().div_ceil(64)],
            verdicts: Vec::with_capacity(items.len()),
            visible_count: 0,
            digest: 0,
        };
        for (index, item) in items.iter().enumerate() {
            let rules =
                item.rules.iter().filter_map(|rule| rules.get(usize::from(rule.to_native())).copied());
            let verdict = decide(snapshot.default_effect(), rules, roles);
            if verdict.is_permit() {
                view.visible[index / 64] |= 1 << (index % 64);
                view.visible_count += 1;
                let upstream = usize::from(item.upstream.to_native());
                upstreams[upstream / 64] |= 1 << (upstream % 64);
            }
            view.verdicts.push(verdict);
        }
        let mut hasher = Xxh3::new();
        view.visible.iter().for_each(|word| hasher.update(&word.to_le_bytes()));
        view.digest = hasher.digest();
        Some(view)
    }

    /// Tells apart views of one catalog that show different items.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    pub fn verdict(&self, item: usize) -> Verdict {
        self.verdicts.get(item).copied().unwrap_or(Verdict::Deny(None))
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

/// The rule as policy wants to see it.
pub(crate) fn rule_view(index: u16, rule: &crate::rules::ArchivedRule) -> RuleView {
    use crate::rules::{ArchivedEffect, ArchivedTo};
    use strait_policy::authorize::{Audience, Effect};
    RuleView {
        index,
        effect: match rule.effect {
            ArchivedEffect::Allow => Effect::Allow,
            ArchivedEffect::Hold => Effect::Hold,
            ArchivedEffect::Deny => Effect::Deny,
        },
        to: match &rule.to {
            ArchivedTo::Everyone => Audience::Everyone,
            ArchivedTo::Roles(roles) => {
                let mut set = RoleSet::default();
                roles.iter().for_each(|role| set.insert(role.to_native() as usize));
                Audience::Roles(set)
            }
        },
    }
}
