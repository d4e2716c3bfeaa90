//! Who presents bad tokens, and how often: a token that this worker does not know costs control's time, and nobody shall buy that
//! with noise. Only tokens that turned out bad count, so a client that comes with a new one for each call is not held up.

use std::cell::Cell;
use std::net::IpAddr;

use super::cache::Hash;
use crate::limits::{BAD_TOKEN_EVERY_MS, BAD_TOKEN_PEERS, BAD_TOKENS_AT_ONCE};

/// Peers that are looked at together; of more the quietest is forgotten.
const WAYS: usize = 4;

pub struct Flood {
    hash: Hash,
    /// Whose, and until when what it presented is not forgiven.
    peers: Box<[Cell<(u64, u64)>]>,
}

impl Flood {
    pub fn new() -> Flood {
        Flood { hash: Hash::new(), peers: vec![Cell::new((0, 0)); BAD_TOKEN_PEERS].into() }
    }

    /// Whether nothing of this peer is looked at for now, and for how many seconds.
    pub fn holds_up(&self, peer: IpAddr, now_ms: u64) -> Option<u64> {
        let name = self.name(peer);
        let (_, until_ms) = self.bucket(name).iter().map(Cell::get).find(|(who, _)| *who == name)?;
        let over_ms = until_ms.checked_sub(now_ms + BAD_TOKENS_AT_ONCE * BAD_TOKEN_EVERY_MS)?;
        Some(over_ms / 1_000 + 1)
    }

    pub fn count(&self, peer: IpAddr, now_ms: u64) {
        let name = self.name(peer);
        let bucket = self.bucket(name);
        let own = bucket.iter().find(|slot| slot.get().0 == name);
        let Some(slot) = own.or_else(|| bucket.iter().min_by_key(|slot| slot.get().1)) else { return };
        let (who, until_ms) = slot.get();
        let since_ms = if who == name { until_ms.max(now_ms) } else { now_ms };
        slot.set((name, since_ms + BAD_TOKEN_EVERY_MS));
    }

    fn bucket(&self, name: u64) -> &[Cell<(u64, u64)>] {
        let at = (name as usize % (BAD_TOKEN_PEERS / WAYS)) * WAYS;
        self.peers.get(at..at + WAYS).unwrap_or_default()
    }

    /// A network of IPv6 is one peer: whoever has an address there has them all.
    fn name(&self, peer: IpAddr) -> u64 {
        match peer.to_canonical() {
            IpAddr::V4(address) => self.hash.of(4, &address.octets()),
            IpAddr::V6(address) => self.hash.of(6, address.octets().get(..8).unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_bad_tokens_are_forgiven_and_many_are_not() {
        let flood = Flood::new();
        let (peer, other) = ("2001:db8::1".parse().unwrap(), "2001:db8:0:1::1".parse().unwrap());
        for _ in 0..BAD_TOKENS_AT_ONCE {
            flood.count(peer, 1_000);
            assert_eq!(flood.holds_up(peer, 1_000 + BAD_TOKEN_EVERY_MS), None);
        }
        flood.count(peer, 1_000);
        assert_eq!(flood.holds_up(peer, 1_000), Some(1));
        assert_eq!(flood.holds_up("2001:db8::2".parse().unwrap(), 1_000), Some(1), "the same network");
        assert_eq!(flood.holds_up(other, 1_000), None);
        assert_eq!(flood.holds_up(peer, 1_000 + 2 * BAD_TOKEN_EVERY_MS), None, "it passes");
    }

    #[test]
    fn a_crowd_makes_it_forget_and_grow_no_further() {
        let flood = Flood::new();
        for n in 0..100_000u32 {
            flood.count(IpAddr::V4(n.into()), 1_000);
        }
        let peer: IpAddr = "10.0.0.1".parse().unwrap();
        (0..2 * BAD_TOKENS_AT_ONCE).for_each(|_| flood.count(peer, 1_000));
        assert!(flood.holds_up(peer, 1_000).is_some());
    }
}
