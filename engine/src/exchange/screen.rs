//! What passes in either direction goes through here before it leaves. No detector exists in this
//! version; `forward` asks for a [`Screened`] call and `respond` calls [`reply`] for every event, so a
//! detector added here sees everything.

use super::decode::Call;
use crate::upstream::Event;

/// A call that was looked at.
pub struct Screened<'a> {
    call: &'a Call,
}

impl<'a> Screened<'a> {
    pub fn call(&self) -> &'a Call {
        self.call
    }
}

pub fn call(call: &Call) -> Screened<'_> {
    Screened { call }
}

/// An event of a reply, before it leaves.
pub fn reply(event: Event) -> Event {
    event
}
