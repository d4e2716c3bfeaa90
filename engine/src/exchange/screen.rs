//! What passes in either direction goes through here before it leaves. No detector exists in this
//! version; `forward` asks for a [`Screened`] call and `respond` calls [`reply`] for every event, so a
//! detector added here sees everything.

use super::decode::Call;
use super::shape::Shaped;
use crate::upstream::Event;

/// A call that was looked at.
pub struct Screened<'a> {
    call: &'a Call,
    is_edited: bool,
}

impl<'a> Screened<'a> {
    pub fn call(&self) -> &'a Call {
        self.call
    }

    /// Whether the upstream gets something else than the client sent.
    pub fn is_edited(&self) -> bool {
        self.is_edited
    }
}

/// The call as the upstream is to have it.
pub fn call<'a>(call: &'a Call, shaped: &'a Shaped) -> Screened<'a> {
    match shaped.edited() {
        None => Screened { call, is_edited: false },
        Some(edited) => Screened { call: edited.call(), is_edited: true },
    }
}

/// An event of a reply, before it leaves.
pub fn reply(event: Event) -> Event {
    event
}
