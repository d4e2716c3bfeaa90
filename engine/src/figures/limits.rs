//! Figures of one limit on one worker; [`super::places`] says which.

use super::cell::Counter;

#[derive(Debug, Default)]
#[repr(align(128))]
pub struct LimitFigures {
    /// Calls that it concerned, and that were within all limits.
    pub admitted: Counter,
    /// Calls that it stood against.
    pub refused: Counter,
}
