//! Within limits? In this version: the caps of the core. An early 503 with Retry-After, not memory
//! growth.

use std::rc::Rc;

use super::authorize::Permit;
use super::refusal::Refusal;
use crate::core::{Core, InFlight};

/// Proof that the exchange is within limits; it holds its place until dropped.
pub struct Admission {
    place: InFlight,
}

impl Admission {
    pub(super) fn into_place(self) -> InFlight {
        self.place
    }
}

pub fn run(core: &Rc<Core>, _permit: Permit) -> Result<Admission, Refusal> {
    core.admit().map(|place| Admission { place }).map_err(Refusal::Overloaded)
}
