//! A hash for keys that nobody can choose: digests made with a secret, and sets of roles that the
//! configuration names. Two multiplications instead of SipHash's rounds, which were a fortieth of an
//! exchange's instructions. Keys that a peer chooses must never come here: it could make them collide.

use std::hash::{BuildHasherDefault, Hasher};

/// For a [`std::collections::HashMap`] over such keys.
pub type Fold = BuildHasherDefault<FoldHasher>;

/// Folds eight bytes at a time.
#[derive(Clone, Copy, Default)]
pub struct FoldHasher(u64);

/// Any odd number with its bits well spread does.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

impl Hasher for FoldHasher {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.write_u64(u64::from_le_bytes(*word));
        }
        for byte in rest {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word).wrapping_mul(u128::from(FACTOR));
        self.0 = (product as u64) ^ (product >> 64) as u64 ^ FACTOR;
    }

    fn write_u16(&mut self, word: u16) {
        self.write_u64(u64::from(word));
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(u64::from(word));
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// The finalizer of splitmix64: every bit of the input turns half of the bits of the output.
pub fn mixed(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::hash::{BuildHasher, Hash};

    use super::*;

    #[test]
    fn keys_that_differ_in_a_bit_fall_apart() {
        let mut hashes = HashSet::new();
        for bit in 0..256 {
            let mut key = [0u64; 4];
            key[bit / 64] = 1 << (bit % 64);
            for server in 0..16u16 {
                // The bits that a table of 4,096 buckets looks at.
                hashes.insert(Fold::default().hash_one((server, key)) % 4096);
            }
        }
        // 4,096 keys thrown at random into 4,096 buckets hit about 2,589 of them.
        assert!(hashes.len() > 2_300, "{} buckets of 4,096", hashes.len());
        let mut hasher = FoldHasher::default();
        [1u8, 2, 3].hash(&mut hasher);
        assert_ne!(hasher.finish(), Fold::default().hash_one([1u8, 2, 4]));
    }
}
