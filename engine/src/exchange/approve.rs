//! Does a person have to say yes? No approver channel exists in this version, and policy denies what
//! is held, so an admission is cleared at once. The type keeps the place.

use super::meter::Admission;
use crate::core::InFlight;

/// Proof that nothing more has to be asked.
pub struct Clearance {
    place: InFlight,
}

impl Clearance {
    pub(super) fn into_place(self) -> InFlight {
        self.place
    }
}

pub fn run(admission: Admission) -> Clearance {
    Clearance { place: admission.into_place() }
}
