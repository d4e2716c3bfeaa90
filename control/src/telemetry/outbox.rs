//! Traces on their way to a collector, already written: what waits has a bound in bytes, and the oldest give way.

use std::collections::VecDeque;

use axum::body::Bytes;

use crate::limits::{SPANS_WAITING_BYTES_MAX, TRACES_PER_PUSH_MAX};

/// One push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parcel {
    pub body: Bytes,
    /// Exchanges that it tells of.
    pub exchanges: u64,
}

#[derive(Debug, Default)]
pub struct Outbox {
    waiting: VecDeque<Parcel>,
    bytes: usize,
}

impl Outbox {
    /// Gives how many exchanges gave way.
    pub fn put(&mut self, parcel: Parcel) -> u64 {
        self.bytes += parcel.body.len();
        self.waiting.push_back(parcel);
        let mut lost = 0;
        while self.bytes > SPANS_WAITING_BYTES_MAX {
            lost += self.take().map_or(0, |oldest| oldest.exchanges);
        }
        lost
    }

    /// The oldest.
    pub fn take(&mut self) -> Option<Parcel> {
        let parcel = self.waiting.pop_front()?;
        self.bytes -= parcel.body.len();
        Some(parcel)
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Nobody wants it any more; gives how many exchanges that is.
    pub fn clear(&mut self) -> u64 {
        let lost = self.waiting.iter().map(|parcel| parcel.exchanges).sum();
        *self = Outbox::default();
        lost
    }
}

// One push fits, or nothing would ever be told.
const _: () = assert!(TRACES_PER_PUSH_MAX * 16 * 1024 <= SPANS_WAITING_BYTES_MAX);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_give_way_and_are_counted() {
        let mut outbox = Outbox::default();
        let parcel =
            |n: usize| Parcel { body: vec![n as u8; SPANS_WAITING_BYTES_MAX / 4].into(), exchanges: 10 };
        let lost: u64 = (0..6).map(|n| outbox.put(parcel(n))).sum();
        assert_eq!((lost, outbox.bytes()), (20, SPANS_WAITING_BYTES_MAX));
        assert_eq!(outbox.take(), Some(parcel(2)));
        assert_eq!((outbox.clear(), outbox.bytes()), (30, 0));
        assert_eq!(outbox.take(), None);
    }
}
