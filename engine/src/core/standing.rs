//! A worker's answers that stand open: how many there may be, and the place that each has.

use std::rc::Rc;

use super::Core;
use crate::limits::STANDING_EIGHTHS;

impl Core {
    /// Takes a place among the answers that stand open, or says what is full.
    pub fn stand(self: &Rc<Self>) -> Result<StandingPlace, &'static str> {
        if self.standing.get() >= self.caps.get().connections * STANDING_EIGHTHS / 8 {
            return Err("too many event streams stand open");
        }
        self.standing.set(self.standing.get() + 1);
        Ok(StandingPlace { core: self.clone() })
    }
}

/// A place among the answers that stand open; given back when dropped. It is none among the exchanges under way.
pub struct StandingPlace {
    core: Rc<Core>,
}

impl StandingPlace {
    pub fn core(&self) -> &Rc<Core> {
        &self.core
    }
}

impl Drop for StandingPlace {
    fn drop(&mut self) {
        self.core.standing.set(self.core.standing.get() - 1);
    }
}
