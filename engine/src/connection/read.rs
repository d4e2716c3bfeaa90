//! Reading one request: head, then body, into one buffer.
//!
//! The first read of a request is the one that may end by idleness; everything after its first byte
//! runs against a deadline that ends the socket's input, so no byte is ever read and lost and the client
//! can still be told.

use std::rc::Rc;

use strait_protocol::http1::{Body, Framing, RequestHead, parse_request, worth_parsing, write};
use strait_protocol::limits::HEAD_BYTES_MAX;

use super::Connection;
use crate::core::Core;
use crate::exchange::refusal::Refusal;
use crate::io::buffer::Buf;
use crate::io::tcp::Received;
use crate::io::watch::Watch;
use crate::limits::BODY_BYTES_PER_MS_MIN;

/// What a client sent next.
pub enum Arrived {
    Request(Request),
    /// Nothing for a while.
    Idle,
    Closed,
    Refused(Refusal),
}

/// A whole request. Its bytes are at the front of the connection's buffer.
pub struct Request {
    pub head: RequestHead,
    /// Bytes of the buffer that belong to it.
    pub consumed: usize,
    /// A chunked body, put together.
    gathered: Option<Buf>,
}

impl Request {
    pub fn body<'b>(&'b self, buf: &'b Buf) -> &'b [u8] {
        match &self.gathered {
            Some(body) => body,
            None => buf.get(self.head.head_bytes as usize..self.consumed).unwrap_or_default(),
        }
    }
}

/// Reads the next request behind what `buf` holds already (pipelined bytes).
pub async fn request(core: &Rc<Core>, connection: &mut Connection, buf: &mut Buf) -> Arrived {
    let mut reader = Reader { core, connection, buf, watch: None, body_since_ms: 0, body_bytes: 0 };
    match reader.request().await {
        Ok(arrived) => arrived,
        Err(Stop::Closed) => Arrived::Closed,
        Err(Stop::Refuse(refusal)) => Arrived::Refused(refusal),
    }
}

enum Stop {
    Closed,
    Refuse(Refusal),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Stop {
        Stop::Refuse(refusal)
    }
}

struct Reader<'a> {
    core: &'a Rc<Core>,
    connection: &'a mut Connection,
    buf: &'a mut Buf,
    watch: Option<Watch>,
    /// When the body began, and how much of it has come.
    body_since_ms: u64,
    body_bytes: u64,
}

impl Reader<'_> {
    async fn request(&mut self) -> Result<Arrived, Stop> {
        if self.buf.is_empty() && !self.first_bytes().await? {
            return Ok(Arrived::Idle);
        }
        let head = self.head().await?;
        let body_bytes_max = self.core.caps().body_bytes;
        let head_bytes = head.head_bytes as usize;
        let request = match head.framing {
            Framing::None => Request { head, consumed: head_bytes, gathered: None },
            Framing::Length(length) => {
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                if length > body_bytes_max {
                    return Err(Refusal::TooLarge { limit: body_bytes_max }.into());
                }
                self.invite(&head, self.buf.len() < head_bytes + length).await?;
                self.fill_to(head_bytes + length).await?;
                Request { head, consumed: head_bytes + length, gathered: None }
            }
            Framing::Chunked => {
                self.invite(&head, self.buf.len() == head_bytes).await?;
                self.chunks(head, body_bytes_max).await?
            }
        };
        Ok(Arrived::Request(request))
    }

    /// Waits for a request to begin; `false` when the connection has been idle.
    async fn first_bytes(&mut self) -> Result<bool, Stop> {
        let idle = self.connection.seat.idle.clone();
        let now_ms = self.core.clock.coarse_ms();
        self.connection.seat.waits_since_ms.set(now_ms.max(1));
        let watch =
            self.core.watches.cancel_idle_at(now_ms + self.core.deadlines.park_after_ms, idle.clone());
        let (received, buf) = self.connection.stream.recv_idle(std::mem::take(self.buf), &idle).await;
        drop(watch);
        *self.buf = buf;
        match received {
            Received::Idle if self.core.draining.get() => Err(Stop::Closed),
            Received::Idle => Ok(false),
            Received::End | Received::Failed(_) => Err(Stop::Closed),
            Received::Bytes(_) => {
                self.connection.seat.waits_since_ms.set(0);
                Ok(true)
            }
        }
    }

    async fn head(&mut self) -> Result<RequestHead, Stop> {
        let mut seen = 0;
        loop {
            if worth_parsing(self.buf, seen)
                && let Some(head) = parse_request(self.buf).map_err(Refusal::Head)?
            {
                return Ok(head);
            }
            seen = self.buf.len();
            if self.buf.len() == self.buf.capacity() {
                self.grow(self.buf.capacity() * 2)?;
            }
            self.more(Deadline::Head).await?;
        }
    }

    /// Tells a client that asked with `Expect: 100-continue` to go on.
    async fn invite(&mut self, head: &RequestHead, incomplete: bool) -> Result<(), Stop> {
        if !head.expect_continue || !incomplete {
            return Ok(());
        }
        let mut invitation = Buf::new();
        invitation.vec().extend_from_slice(write::CONTINUE);
        let (sent, _) = self.connection.stream.send_all(invitation).await;
        sent.map_err(|_| Stop::Closed)
    }

    /// The buffer grows with what arrives: announcing a length alone takes no room from others.
    async fn fill_to(&mut self, length: usize) -> Result<(), Stop> {
        self.begin_body();
        while self.buf.len() < length {
            if self.buf.room() == 0 {
                self.grow(length.min(GROWTH_BYTES_MIN.max(self.buf.capacity() * 2)))?;
            }
            self.more(Deadline::Body).await?;
        }
        Ok(())
    }

    async fn chunks(&mut self, head: RequestHead, body_bytes_max: usize) -> Result<Request, Stop> {
        let mut body = Body::of_request(head.framing);
        let mut gathered = Buf::new();
        let mut consumed = head.head_bytes as usize;
        let keep = consumed;
        self.begin_body();
        loop {
            let input = self.buf.get(consumed..).unwrap_or_default();
            let step = body.next(input).map_err(|fault| Refusal::Chunks(fault.label()))?;
            if gathered.room() < step.data.len() && self.core.is_full_with(0) {
                return Err(Refusal::Overloaded(TOO_MANY_BYTES).into());
            }
            gathered.extend_from_slice(input.get(step.data.clone()).unwrap_or_default());
            consumed += step.consumed;
            if gathered.len() > body_bytes_max {
                return Err(Refusal::TooLarge { limit: body_bytes_max }.into());
            }
            if step.done {
                return Ok(Request { head, consumed, gathered: Some(gathered) });
            }
            if consumed == self.buf.len() {
                // The framing behind us is done with: only the head must stay.
                self.buf.vec().truncate(keep);
                consumed = keep;
            }
            if self.buf.len() == self.buf.capacity() {
                self.grow(self.buf.capacity() + HEAD_BYTES_MAX)?;
            }
            if step.consumed == 0 || consumed == self.buf.len() {
                self.more(Deadline::Body).await?;
            }
        }
    }

    /// A larger buffer, unless the core holds too much already: what is refused here has not been read.
    fn grow(&mut self, capacity: usize) -> Result<(), Stop> {
        if self.core.is_full_with(capacity) {
            return Err(Refusal::Overloaded(TOO_MANY_BYTES).into());
        }
        let mut larger = Buf::with_capacity(capacity);
        larger.vec().extend_from_slice(self.buf);
        *self.buf = larger;
        Ok(())
    }

    fn begin_body(&mut self) {
        self.watch = None;
        self.body_since_ms = self.core.clock.coarse_ms();
        self.body_bytes = 0;
    }

    /// When to give up waiting for more.
    fn deadline_ms(&self, part: Deadline) -> u64 {
        let now_ms = self.core.clock.coarse_ms();
        match part {
            Deadline::Head => now_ms + self.core.deadlines.head_ms,
            Deadline::Body => {
                let earned_ms = self.body_bytes / BODY_BYTES_PER_MS_MIN;
                now_ms.min(self.body_since_ms + earned_ms) + self.core.deadlines.body_stall_ms
            }
        }
    }

    /// Receives behind what is there.
    async fn more(&mut self, part: Deadline) -> Result<(), Stop> {
        match (&self.watch, part) {
            (Some(watch), Deadline::Body) => watch.extend(self.deadline_ms(part)),
            (Some(_), Deadline::Head) => {}
            (None, _) => {
                let watch =
                    self.core.watches.end_input_at(self.deadline_ms(part), self.connection.stream.fd());
                self.watch = Some(watch);
            }
        }
        let (received, buf) = self.connection.stream.recv(std::mem::take(self.buf)).await;
        *self.buf = buf;
        match received {
            Ok(0) | Err(_) if self.watch.as_ref().is_some_and(Watch::fired) => Err(Refusal::Slow.into()),
            Ok(0) | Err(_) => Err(Stop::Closed),
            Ok(bytes) => {
                self.body_bytes += bytes as u64;
                Ok(())
            }
        }
    }
}

/// A body that does not fit the first buffer gets at least this.
const GROWTH_BYTES_MIN: usize = 256 * 1024;
const TOO_MANY_BYTES: &str = "too many bytes on their way";

#[derive(Clone, Copy)]
enum Deadline {
    /// All of it must be there in time.
    Head,
    /// What comes moves it.
    Body,
}
