//! What is refused because its upstream offers something else than `strait.lock` pins.
//!
//! The decision: a quarantined item is on no shelf, so that no list, listen or completion can show it by mistake; a call
//! to it fails like one to something unknown, and only here, on the way to that refusal, it is found out that there is
//! more to say. To whom policy would not show it, nothing more is said.

use strait_policy::glob;
use strait_table::bound::ArchivedHeld;
use strait_table::{Kind, uris};

use super::identify::Caller;
use super::refusal::Refusal;
use crate::core::Adopted;

/// The refusal of something quarantined that this caller might have used otherwise.
pub fn held(adopted: &Adopted, server: usize, caller: &Caller, kind: Kind, name: &[u8]) -> Option<Refusal> {
    let bound = adopted.snapshot.bound().servers.get(server)?;
    let uri = std::str::from_utf8(name).ok()?;
    let held = match kind {
        Kind::Tool | Kind::Prompt => bound.held(kind, name)?,
        Kind::Resource | Kind::Template => {
            let exact = [Kind::Resource, Kind::Template].into_iter().find_map(|kind| bound.held(kind, name));
            let covers = |held: &&ArchivedHeld| {
                Kind::from(&held.kind) == Kind::Template
                    && glob::matches(&uris::template_glob(held.exposed.as_str()), uri)
            };
            exact.or_else(|| bound.held.iter().find(covers))?
        }
    };
    if !shown(adopted, held, caller) {
        return None;
    }
    let upstream = adopted.snapshot.rules().upstreams.get(usize::from(held.upstream.to_native()))?;
    Some(Refusal::Quarantined {
        kind: Kind::from(&held.kind),
        name: uri.chars().take(256).collect(),
        upstream: upstream.name.as_str().to_owned(),
        gone: held.gone,
    })
}

fn shown(adopted: &Adopted, held: &ArchivedHeld, caller: &Caller) -> bool {
    let traits = adopted.traits(caller.traits);
    traits.is_some_and(|traits| adopted.snapshot.may_permit(held, &traits, &adopted.windows.bits))
}
