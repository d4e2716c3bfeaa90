//! The connection to an upstream while the body of an answer is read from it.
//!
//! Payload is given as ranges of the buffer it was received into, so that what needs no copy gets none. A stream
//! that stands for hours holds no buffer while nothing comes: it waits for the socket to be readable first.

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::os::fd::RawFd;
use std::rc::Rc;

use strait_protocol::http1::Body;

use super::pool;
use crate::core::Core;
use crate::io::buffer::Buf;
use crate::io::clock::Waited;
use crate::io::tcp::Stream;
use crate::io::watch::{Cause, Watch};
use crate::upstream::{Upstream, UpstreamFault};

pub(super) struct Wire {
    pub stream: Stream,
    pub buf: Buf,
    /// Bytes of `buf` that are dealt with.
    pub at: usize,
    pub body: Body,
    pub watch: Watch,
    /// The client's socket, for as long as its leaving ends the call.
    pub client_fd: Option<RawFd>,
    /// When the call ends, whatever has come by then.
    pub until_ms: u64,
    pub call_ms: u32,
    pub keep: bool,
    /// It may say nothing for hours.
    pub stands: bool,
    /// By which somebody else may end the connection.
    pub grip: Option<Rc<Grip>>,
    pub upstream: Rc<Upstream>,
    pub replica: usize,
    /// For more of the body.
    pub waited: Waited,
}

impl Wire {
    /// Where in `buf` the next payload is, receiving when there is none; `None` at the body's end.
    pub async fn pull(&mut self) -> Result<Option<Range<usize>>, UpstreamFault> {
        loop {
            if self.body.is_done() {
                return Ok(None);
            }
            let input = self.buf.get(self.at..).unwrap_or_default();
            if !input.is_empty() {
                let step =
                    self.body.next(input).map_err(|fault| UpstreamFault::Http(fault.label().to_owned()))?;
                let data = self.at + step.data.start..self.at + step.data.end;
                self.at += step.consumed;
                if !data.is_empty() {
                    return Ok(Some(data));
                }
                if step.consumed > 0 {
                    continue;
                }
            }
            self.buf.consume_front(self.at);
            self.at = 0;
            if self.buf.is_empty() && self.stands {
                self.buf = Buf::empty();
                self.waited.on(self.stream.readable()).await.map_err(|_| self.broken())?;
            }
            if self.buf.room() == 0 {
                self.buf.reserve(self.buf.len().max(1));
            }
            if !self.receive().await? {
                return Ok(None);
            }
        }
    }

    /// Receives until the buffer holds so many bytes.
    pub async fn fill_to(&mut self, bytes: usize) -> Result<(), UpstreamFault> {
        while self.buf.len() < bytes {
            self.buf.reserve(bytes - self.buf.len());
            if !self.receive().await? {
                return Err(UpstreamFault::Closed { after_bytes: true });
            }
        }
        Ok(())
    }

    /// Receives behind what is there; `false` at the end of the stream, when the body may end there.
    async fn receive(&mut self) -> Result<bool, UpstreamFault> {
        let receive = self.stream.recv(std::mem::take(&mut self.buf));
        let (received, buf) = self.waited.on(receive).await;
        self.buf = buf;
        match received {
            Ok(0) if self.body.may_end_here() => Ok(false),
            // A socket that was shut down goes on giving what its peer goes on sending.
            Ok(1..) if !self.watch.fired() => Ok(true),
            Ok(_) | Err(_) => Err(self.broken()),
        }
    }

    fn broken(&self) -> UpstreamFault {
        self.stream.abandon();
        match (self.watch.fired(), self.watch.cause()) {
            (true, Cause::Deadline) => UpstreamFault::CallTimeout { ms: self.call_ms },
            (true, Cause::ClientGone) => UpstreamFault::ClientGone,
            (false, _) => {
                pool::distrust(&self.upstream, self.replica);
                UpstreamFault::Closed { after_bytes: true }
            }
        }
    }

    pub fn give_back(self, core: &Rc<Core>) {
        // The task may go on without it, and what ends the task must not end the next one's connection.
        let is_ours = self.grip.as_ref().is_none_or(|grip| grip.let_go());
        // Bytes behind the answer belong to nothing we asked.
        let is_clean = self.keep && self.body.is_done() && self.buf.len() == self.at;
        if is_ours && is_clean && !self.watch.fired() {
            drop(self.watch);
            pool::give_back(core, &self.upstream, self.replica, self.stream);
        }
    }
}

/// Ends the connections of a task from elsewhere: of a call that is given up, of a session that is over.
#[derive(Default)]
pub struct Grip {
    is_over: Cell<bool>,
    watch: RefCell<Option<Watch>>,
}

impl Grip {
    /// The task goes on with this connection.
    pub(super) fn hold(&self, core: &Rc<Core>, stream: &Stream) {
        let deadline_ms = if self.is_over() { 0 } else { u64::MAX };
        self.watch.replace(Some(core.watches.shutdown_at(deadline_ms, stream.fd())));
    }

    /// The task is done with this connection; `false` when it was ended.
    fn let_go(&self) -> bool {
        self.watch.take().is_none_or(|watch| !watch.fired())
    }

    /// The task has until then.
    pub fn end_at(&self, at_ms: u64) {
        if let Some(watch) = &*self.watch.borrow() {
            watch.extend(at_ms);
        }
    }

    /// The task is to end: its connection closes with the next tick, and it takes no other.
    pub fn end(&self) {
        self.is_over.set(true);
        self.end_at(0);
    }

    pub fn is_over(&self) -> bool {
        self.is_over.get()
    }
}
