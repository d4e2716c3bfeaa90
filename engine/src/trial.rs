//! A candidate beside the live edition: a *canary* serves those whom its selector picks, a *shadow* serves nobody and decides
//! beside the live one.
//!
//! The decision: a worker holds at most two editions, and an exchange chooses one of them once, when its caller is known. The live
//! edition says who that is: a candidate opens no door to anybody whom the gateway does not know. What lasts longer than an
//! exchange (a session, a listen, a stream) remembers its [`Side`]; when the trial is over that is the live edition, promoted or
//! not, and what stands open goes on as it does after any reload.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use strait_table::condition::Request;
use strait_table::condition::evaluate::Header;

use crate::core::Adopted;
use crate::edition::{Edition, digest};
use crate::exchange::Incoming;
use crate::exchange::identify::Caller;
use crate::exchange::shadow::Shadow;
use crate::fold::mixed;

/// What control hands over. The same number again: another edition of the same candidate, as when its upstreams have told more.
#[derive(Debug)]
pub struct Trial {
    pub number: u64,
    pub edition: Arc<Edition>,
    pub mode: Mode,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    Canary(Selector),
    Shadow,
}

/// Whom a canary serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// So many principals in a million, always the same ones for one candidate; callers without a name are told apart by address.
    Share { ppm: u32 },
    /// Digests of these principals' ids.
    Principals(Box<[u64]>),
    /// Requests that have this header once, with this value.
    Header { name: Box<str>, value: Box<str> },
}

/// Which of a worker's editions something was begun under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Live,
    /// The candidate of the trial of this number; once that is over, the live one.
    Trial(u64),
}

/// A trial as one worker has it.
pub struct OnTrial {
    pub trial: Arc<Trial>,
    pub adopted: Rc<Adopted>,
    /// What a shadow has found so far.
    pub shadow: Option<Rc<Shadow>>,
    /// Of the share: another candidate gets other principals.
    salt: u64,
}

const MILLION: u64 = 1_000_000;

impl Selector {
    pub fn principals<'n>(names: impl IntoIterator<Item = &'n str>) -> Selector {
        Selector::Principals(names.into_iter().map(digest).collect())
    }

    fn picks(&self, salt: u64, caller: &Caller, incoming: &Incoming<'_>) -> bool {
        match self {
            Selector::Share { ppm } => {
                let who = if caller.is_anonymous() { by_address(incoming.peer) } else { caller.digest };
                mixed(who ^ salt) % MILLION < u64::from(*ppm)
            }
            Selector::Principals(picked) => picked.contains(&caller.digest),
            Selector::Header { name, value } => {
                matches!(incoming.header(name), Header::One(said) if said == value.as_bytes())
            }
        }
    }
}

fn by_address(peer: IpAddr) -> u64 {
    match peer {
        IpAddr::V4(v4) => mixed(u64::from(v4.to_bits())),
        IpAddr::V6(v6) => mixed((v6.to_bits() >> 64) as u64) ^ v6.to_bits() as u64,
    }
}

impl OnTrial {
    pub fn new(trial: Arc<Trial>, adopted: Rc<Adopted>, before: Option<&OnTrial>) -> OnTrial {
        let same = before.filter(|before| before.trial.number == trial.number);
        let shadow = match trial.mode {
            Mode::Canary(_) => None,
            Mode::Shadow => Some(same.and_then(|same| same.shadow.clone()).unwrap_or_default()),
        };
        let salt = trial.edition.snapshot.generation().0;
        let salt = salt.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        OnTrial { trial, adopted, shadow, salt }
    }

    /// Whether an exchange that nothing binds to a side is the candidate's.
    pub fn picks(&self, caller: &Caller, incoming: &Incoming<'_>) -> bool {
        match &self.trial.mode {
            Mode::Canary(selector) => selector.picks(self.salt, caller, incoming),
            Mode::Shadow => false,
        }
    }

    pub fn side(&self) -> Side {
        Side::Trial(self.trial.number)
    }
}
