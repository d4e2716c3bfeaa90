//! `--cancel`: a share of the calls is given up after a time, as a user who loses patience does.
//!
//! How that is told is a matter of the revision: a modern server takes a stream that is closed for a cancellation; an older one must not, and is sent
//! `notifications/cancelled` on another connection, while the call's own stays open until that is accepted. The decision: a call that was
//! cancelled is neither a success nor a failure. It has a count of its own, and its answer, should it cross the cancellation, counts as an answer.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::super::connection::{Carried, Outcome};
use super::Drive;
use crate::random::Random;
use crate::target::{Cause, ID_FIRST, Template};
use crate::words::{duration_ns, shown_ns};

/// Which calls are cancelled, and when.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Cancel {
    /// 0 to 1.
    pub share: f64,
    /// After it was sent.
    pub after_ns: u64,
}

impl Cancel {
    /// `0.05:20ms`, `5%:20ms`.
    pub fn parse(text: &str) -> Result<Cancel, String> {
        let wrong =
            || format!("`{text}` is no cancellation: expected SHARE:TIME, such as 5%:20ms or 0.05:20ms");
        let (share, after) = text.split_once(':').ok_or_else(wrong)?;
        let (share, of) = match share.trim().strip_suffix('%') {
            Some(percent) => (percent, 100.0),
            None => (share.trim(), 1.0),
        };
        let share = share.parse::<f64>().map_err(|_| wrong())? / of;
        match share > 0.0 && share <= 1.0 {
            true => Ok(Cancel { share, after_ns: duration_ns(after)? }),
            false => Err(format!("the share of `{text}` is not above 0 and up to 1 (or 100%)")),
        }
    }

    pub fn shown(self) -> String {
        format!("{:.4} % of calls after {}", self.share * 100.0, shown_ns(self.after_ns as f64))
    }
}

/// Between two attempts to cancel a call.
const AGAIN_NS_MIN: u64 = 1_000_000;

/// What a run needs to cancel calls.
pub(in super::super) struct Canceller {
    cancel: Cancel,
    random: Random,
    /// Calls to be cancelled: when, on which connection, and which.
    due: VecDeque<(u64, usize, u64)>,
    /// `notifications/cancelled` for each session; none where closing the stream says it.
    notifications: Vec<Template>,
}

impl Canceller {
    pub fn new(cancel: Cancel, seed: u64, connections: usize, notifications: Vec<Template>) -> Canceller {
        Canceller {
            cancel,
            random: Random::new(seed ^ 0x0063_616e_6365_6c00),
            due: VecDeque::with_capacity(connections),
            notifications,
        }
    }

    /// Whether others are needed beside the connections that carry calls.
    pub fn notifies(&self) -> bool {
        !self.notifications.is_empty()
    }

    /// A call was sent: is it one of those?
    pub fn sent(&mut self, index: usize, carried: &Carried) {
        if self.random.unit() < self.cancel.share {
            let at = carried.sent_at.saturating_add(self.cancel.after_ns);
            self.due.push_back((at, index, carried.due.number));
        }
    }

    /// When the next call is to be cancelled.
    pub fn next(&self) -> Option<u64> {
        self.due.front().map(|(at, ..)| *at)
    }
}

impl Drive<'_> {
    /// Cancels what has had its time.
    pub(super) fn cancel_due(&mut self, now: u64) {
        loop {
            let Some(canceller) = &mut self.canceller else { return };
            let Some((at, index, number)) = canceller.due.front().copied() else { return };
            if at > now {
                return;
            }
            canceller.due.pop_front();
            let carried = self.connections[index].carried;
            if carried.is_some_and(|carried| carried.due.number == number && !carried.recorded) {
                self.cancel(index, number, now);
            }
        }
    }

    fn cancel(&mut self, index: usize, number: u64, now: u64) {
        let Some(canceller) = &mut self.canceller else { return };
        if canceller.notifications.is_empty() {
            self.cancelled(index, now);
            return;
        }
        let beside = index + self.settings.connections;
        let (session, carried) = (self.connections[index].session, self.connections[index].carried);
        let connection = &mut self.connections[beside];
        if connection.carried.is_some() {
            // The last cancellation of this one is still on its way: this call's comes later. In order, since it is as late as that of a call sent now.
            let again = now.saturating_add(canceller.cancel.after_ns.max(AGAIN_NS_MIN));
            canceller.due.push_back((again, index, number));
            return;
        }
        let Some(carried) = carried else { return };
        let bytes = canceller.notifications[session].stamp(ID_FIRST + number);
        connection.carried = Some(Carried { sent_at: now, ..carried });
        let begun = match connection.is_closed() {
            true => connection.connect(beside, self.target, &self.poll),
            false => Ok(()),
        };
        let sent = begun.and_then(|()| connection.notify(beside, bytes, &self.poll));
        if let Some(carried) = &mut self.connections[index].carried {
            carried.cancelled = true;
        }
        if let Err(cause) = sent {
            self.connections[beside].close();
            self.notified(beside, Outcome::Over(Err(cause)));
        }
    }

    /// What became of a notification.
    pub(super) fn notified(&mut self, beside: usize, outcome: Outcome) {
        let Outcome::Over(result) = outcome else { return };
        let Some(notice) = self.connections[beside].carried.take() else { return };
        let index = beside - self.settings.connections;
        let is_its = |carried: Carried| carried.due.number == notice.due.number && !carried.recorded;
        if !self.connections[index].carried.is_some_and(is_its) {
            return;
        }
        match result {
            Ok(()) => {
                let now = self.clock.now();
                self.cancelled(index, now);
            }
            Err(cause) => {
                self.connections[index].close();
                self.over(index, Err(cause));
            }
        }
    }

    /// Whether that is how a server ends a call it was told to cancel: without its answer, or with an error.
    pub(super) const fn ends_cancelled(result: Result<(), Cause>) -> bool {
        matches!(result, Err(Cause::Truncated | Cause::Transport | Cause::JsonRpc(_)))
    }

    /// A call is given up: its connection ends, and a new one is begun at once, so that the next call does not wait for it.
    fn cancelled(&mut self, index: usize, now: u64) {
        let connection = &mut self.connections[index];
        if let Some(carried) = connection.carried.as_mut() {
            carried.recorded = true;
            if carried.due.measured {
                self.driven.record.cancelled += 1;
            }
        }
        connection.close();
        if connection.connect(index, self.target, &self.poll).is_err() {
            connection.close();
        }
        self.last_answer = now;
        self.over(index, Ok(()));
    }
}

#[cfg(test)]
mod tests {
    use super::Cancel;

    #[test]
    fn a_cancellation_is_a_share_and_a_time() {
        let five = Cancel { share: 0.05, after_ns: 20_000_000 };
        assert_eq!((Cancel::parse("5%:20ms"), Cancel::parse("0.05:20ms")), (Ok(five), Ok(five)));
        for text in ["", "5%", "5%:", "0:1s", "101%:1s", "2:1s", "x:1s", "-1%:1s", "nan:1s"] {
            assert!(Cancel::parse(text).is_err(), "{text}");
        }
    }
}
