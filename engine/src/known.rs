//! What is worked out of a principal once per adopted edition: its traits, its digests, and whether it was revoked.

use std::collections::HashMap;
use std::rc::Rc;

use strait_policy::{Principal, Traits};
use strait_table::Snapshot;
use strait_table::rules::ArchivedAuthMethod;

use crate::edition::digest;
use crate::figures::labels::CallerKind;
use crate::fold::Fold;
use crate::trust::{Names, Trust, Verified};

/// A set of traits that principals of an adopted edition have; a number of that one alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraitsId(u32);

/// Each set of traits once: principals are many, and what is true of them is often the same.
#[derive(Default)]
pub(crate) struct TraitSets {
    sets: Vec<Rc<Traits>>,
    numbers: HashMap<Rc<Traits>, u32, Fold>,
}

impl TraitSets {
    pub fn number(&mut self, traits: Traits) -> TraitsId {
        let traits = Rc::new(traits);
        if let Some(known) = self.numbers.get(&traits) {
            return TraitsId(*known);
        }
        let number = self.sets.len() as u32;
        self.sets.push(traits.clone());
        self.numbers.insert(traits, number);
        TraitsId(number)
    }

    pub fn get(&self, id: TraitsId) -> Option<Rc<Traits>> {
        self.sets.get(id.0 as usize).cloned()
    }
}

/// Facts of a principal under one generation.
#[derive(Clone, Copy)]
pub struct Known {
    pub traits: TraitsId,
    pub digest: u64,
    /// Digests of who else is meant: what limits are told apart by.
    pub user: u64,
    pub agent: u64,
    pub tenant: u64,
    /// The kind of identity that lets it in.
    pub kind: CallerKind,
    /// Nobody shall believe it any more, whatever it brings.
    pub is_revoked: bool,
}

/// By what a token, or a certificate, was verified.
pub(crate) fn kind_of(verified: &Verified, trust: &Trust, snapshot: &Snapshot) -> CallerKind {
    let identity = trust.identity_of(verified).and_then(|at| snapshot.rules().identities.get(at));
    match identity.map(|identity| &identity.method) {
        Some(ArchivedAuthMethod::Jwt(_)) => CallerKind::Jwt,
        Some(ArchivedAuthMethod::Introspection(_)) => CallerKind::Introspection,
        Some(ArchivedAuthMethod::Mtls(_)) => CallerKind::Mtls,
        Some(ArchivedAuthMethod::KeyFile { .. } | ArchivedAuthMethod::Generated { .. }) => CallerKind::Key,
        None => CallerKind::Unknown,
    }
}

pub(crate) fn names(principal: &Principal, token: Option<u64>) -> Names {
    Names {
        principal: digest(&principal.id),
        user: digest(&principal.user),
        agent: digest(&principal.agent),
        token,
    }
}
