//! Figures of one virtual server on one worker; [`super::places`] says which.

use strait_policy::Verdict;

use super::cell::Counter;
use super::labels::{CallerKind, Decision};

/// Requests that came to it, by how their caller is known and by what policy said.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct ServerFigures([[Counter; Decision::ALL.len()]; CallerKind::ALL.len()]);

impl ServerFigures {
    pub fn requests(&self, caller: CallerKind, decision: Decision) -> &Counter {
        // One for each word, by its number.
        &self.0[caller as usize][decision as usize]
    }
}

impl Decision {
    pub fn of(verdict: Option<Verdict>) -> Decision {
        match verdict {
            Some(Verdict::Permit(_)) => Decision::Permit,
            Some(Verdict::Deny(_)) => Decision::Deny,
            Some(Verdict::Hold(_)) => Decision::Hold,
            None => Decision::None,
        }
    }
}
