//! What a condition comes to.
//!
//! The decision: CEL's logic, in which a false decides `&&` and a true decides `||` whatever stands beside it, errors
//! included; and a fourth value for what is asked before it can be known, so that lists and calls are decided by the same
//! program.

/// The value of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Truth {
    False = 0,
    True = 1,
    /// Something it asks for is missing, or of another type than it is compared with.
    Error = 2,
    /// Something it asks for is not known yet: maybe.
    Unknown = 3,
}

impl Truth {
    #[inline]
    pub fn of(value: bool) -> Truth {
        if value { Truth::True } else { Truth::False }
    }

    #[inline]
    pub fn and(self, other: Truth) -> Truth {
        match (self, other) {
            (Truth::False, _) | (_, Truth::False) => Truth::False,
            (Truth::Unknown, _) | (_, Truth::Unknown) => Truth::Unknown,
            (Truth::Error, _) | (_, Truth::Error) => Truth::Error,
            _ => Truth::True,
        }
    }

    #[inline]
    pub fn or(self, other: Truth) -> Truth {
        self.negated().and(other.negated()).negated()
    }

    #[inline]
    pub fn negated(self) -> Truth {
        match self {
            Truth::False => Truth::True,
            Truth::True => Truth::False,
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Truth::{self, *};

    const ALL: [Truth; 4] = [False, True, Error, Unknown];

    #[test]
    fn what_decides_decides_whatever_stands_beside_it() {
        for truth in ALL {
            assert_eq!((False.and(truth), truth.and(False)), (False, False));
            assert_eq!((True.or(truth), truth.or(True)), (True, True));
            assert_eq!((True.and(truth), truth.or(False)), (truth, truth));
            assert_eq!(truth.negated().negated(), truth);
        }
        assert_eq!((Error.and(Unknown), Error.or(Unknown)), (Unknown, Unknown));
    }

    /// Whatever an unknown turns out to be, a decision that was made without it stays.
    #[test]
    fn what_is_decided_early_is_not_decided_otherwise_later() {
        for known in ALL {
            for later in [False, True, Error] {
                for (early, late) in
                    [(known.and(Unknown), known.and(later)), (known.or(Unknown), known.or(later))]
                {
                    assert!(early == Unknown || early == late, "{known:?} {later:?}");
                }
            }
        }
    }
}
