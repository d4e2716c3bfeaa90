//! Random bytes for what commits to payloads, asked for many at a time: the generator's own work is the same for one salt and for
//! hundreds.

use aws_lc_rs::rand;

use crate::frame::SALT_BYTES;

type Salt = [u8; SALT_BYTES];

/// Salts that are asked for at once: 4 KiB.
const MANY: usize = 256;

/// Each is given once.
pub struct Salts {
    ready: Box<[Salt; MANY]>,
    left: usize,
}

impl Default for Salts {
    fn default() -> Salts {
        Salts { ready: Box::new([[0; SALT_BYTES]; MANY]), left: 0 }
    }
}

impl Salts {
    /// `None`: the system gives no random bytes.
    pub fn next(&mut self) -> Option<Salt> {
        if self.left == 0 {
            rand::fill(self.ready.as_flattened_mut()).ok()?;
            self.left = MANY;
        }
        self.left -= 1;
        // Whoever reads this memory later finds none that was given.
        self.ready.get_mut(self.left).map(std::mem::take)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_salt_is_given_twice_or_kept() {
        let mut salts = Salts::default();
        let given: HashSet<Salt> = (0..3 * MANY).map(|_| salts.next().unwrap()).collect();
        assert_eq!(given.len(), 3 * MANY);
        assert!(salts.ready.iter().all(|left| *left == [0; SALT_BYTES]));
    }
}
