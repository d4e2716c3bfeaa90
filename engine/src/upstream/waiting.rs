//! A call whose answer somebody else reads: it waits at a queue, with the deadlines of a call.

use std::future::poll_fn;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::task::Poll;

use super::channel::Pending;
use super::{Event, UpstreamFault};
use crate::core::Core;
use crate::edition::Timeouts;
use crate::io::clock::Waited;
use crate::io::signal::Signal;
use crate::io::watch::{Cause, Watch};

pub struct Waiting {
    pub pending: Rc<Pending>,
    expired: Rc<Signal>,
    watch: Watch,
    client_fd: Option<RawFd>,
    until_ms: u64,
    timeouts: Timeouts,
    /// The deadline is that of the whole call already.
    is_under_way: bool,
    waited: Waited,
}

/// Why no event came.
pub enum Missed {
    /// We gave up, for this reason.
    GaveUp(UpstreamFault),
    /// Nothing more will come; the fault is whoever's that read the answer, if it told one.
    Over(Option<UpstreamFault>),
}

impl Waiting {
    pub fn begin(
        core: &Rc<Core>,
        timeouts: Timeouts,
        pending: Rc<Pending>,
        client_fd: Option<RawFd>,
    ) -> Waiting {
        let now_ms = core.clock.coarse_ms();
        let until_ms = now_ms + u64::from(timeouts.call_ms);
        let expired = Rc::new(Signal::new());
        let first_ms = now_ms + u64::from(timeouts.first_byte_ms.min(timeouts.call_ms));
        let watch = watch(core, first_ms, &expired, client_fd);
        let waited = Waited::default();
        Waiting { pending, expired, watch, client_fd, until_ms, timeouts, is_under_way: false, waited }
    }

    /// How long it has waited so far.
    pub fn waited_ns(&self) -> u64 {
        self.waited.ns
    }

    /// When the call ends, whatever has come by then.
    pub fn until_ms(&self) -> u64 {
        self.until_ms
    }

    /// Its client may leave without ending it.
    pub fn detach_client(&mut self, core: &Rc<Core>) {
        self.client_fd = None;
        self.go_on(core);
    }

    /// The call may take until then.
    pub fn extend_deadline(&mut self, at_ms: u64) {
        (self.until_ms, self.is_under_way) = (at_ms, true);
        self.watch.extend(at_ms);
    }

    /// The deadline is that of the whole call from now on.
    fn go_on(&mut self, core: &Rc<Core>) {
        self.is_under_way = true;
        self.watch = watch(core, self.until_ms, &self.expired, self.client_fd);
    }

    pub async fn next(&mut self, core: &Rc<Core>) -> Result<Event, Missed> {
        loop {
            let arrival = poll_fn(|context| {
                if let Poll::Ready(event) = self.pending.queue.poll_pop(context) {
                    return Poll::Ready(Some(event));
                }
                self.expired.poll_wait(context).map(|()| None)
            });
            match self.waited.on(arrival).await {
                Some(Some(event)) => {
                    self.pending.is_answered.set(true);
                    self.pending.taken.set();
                    if !self.is_under_way {
                        self.is_under_way = true;
                        self.watch.extend(self.until_ms);
                    }
                    return Ok(event);
                }
                Some(None) => return Err(Missed::Over(self.pending.fault.take())),
                // A leftover of a watch that was replaced.
                None if !self.watch.fired() => {}
                None if self.watch.cause() == Cause::ClientGone => {
                    return Err(Missed::GaveUp(UpstreamFault::ClientGone));
                }
                // Its first byte has come, though no event.
                None if !self.is_under_way && self.pending.is_answered.get() => {
                    self.go_on(core);
                }
                None => {
                    return Err(Missed::GaveUp(if self.is_under_way {
                        UpstreamFault::CallTimeout { ms: self.timeouts.call_ms }
                    } else {
                        UpstreamFault::FirstByteTimeout { ms: self.timeouts.first_byte_ms }
                    }));
                }
            }
        }
    }
}

fn watch(core: &Rc<Core>, at_ms: u64, expired: &Rc<Signal>, client_fd: Option<RawFd>) -> Watch {
    let watch = core.watches.wake_at(at_ms, expired.clone());
    match client_fd {
        Some(client) => watch.also_client(client),
        None => watch,
    }
}
