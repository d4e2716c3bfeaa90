//! One running child: lines out, lines in, answers told apart by our ids.
//!
//! The era is asked with `server/discover` before anything else and then fixed: some servers lock to
//! the era of their first message and ignore the other. What a child prints that is not a message is
//! noted and skipped.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use strait_protocol::jsonrpc::{Envelope, Scanner};
use strait_protocol::mcp::Declared;

use crate::core::Core;
use crate::handle::{Level, Reach};
use crate::io::buffer::Buf;
use crate::io::runtime;
use crate::io::signal::Queue;
use crate::io::spawn::{self, ChildReader, ChildWriter};
use crate::limits::{CHILD_GRACE_MS, CHILD_PENDING_MAX, CHILD_START_MS_MAX, LINE_BYTES_MAX};
use crate::pooled::Pooled;
use crate::upstream::channel::{Channel, Pending};
use crate::upstream::credential::Secret;
use crate::upstream::{Era, Event, Responder, Upstream, UpstreamFault, handshake};

/// Lines that wait for a child to read them.
const OUTBOX_LINES_MAX: usize = CHILD_PENDING_MAX;
/// Odd lines of one child that are told of.
const ODD_LINES_TOLD: u32 = 5;

/// A line that waits to be written, and the call it is, if it is one.
struct Line {
    call: Option<i64>,
    bytes: Buf,
}

/// A running child.
pub struct Child {
    upstream: Rc<Upstream>,
    pid: u32,
    era: Cell<Era>,
    outbox: Queue<Line>,
    pub channel: Channel,
    alive: Cell<bool>,
    ending: RefCell<String>,
    odd_lines: Cell<u32>,
}

impl Child {
    pub fn era(&self) -> Era {
        self.era.get()
    }

    pub fn is_alive(&self) -> bool {
        self.alive.get()
    }

    /// Whether a call waits for it, or somebody subscribed to what it has.
    pub fn is_busy(&self) -> bool {
        self.channel.is_busy() || self.channel.topics().is_some()
    }

    /// How it ended.
    pub fn ending(&self) -> String {
        self.ending.borrow().clone()
    }

    /// Sends a request line and waits for its answer in a queue.
    pub fn ask(&self, pending: Pending, line: Buf) -> Result<Rc<Pending>, UpstreamFault> {
        if !self.alive.get() {
            return Err(UpstreamFault::Exited(self.ending()));
        }
        if self.channel.len() >= CHILD_PENDING_MAX {
            return Err(UpstreamFault::Busy { limit: CHILD_PENDING_MAX });
        }
        self.post(Some(pending.id), line)?;
        Ok(self.channel.wait(pending))
    }

    /// Sends a line. Line breaks between tokens of the client's JSON would end it early.
    fn tell(&self, line: Buf) -> Result<(), UpstreamFault> {
        self.post(None, line)
    }

    fn post(&self, call: Option<i64>, mut line: Buf) -> Result<(), UpstreamFault> {
        for byte in line.vec().iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')) {
            *byte = b' ';
        }
        line.extend_from_slice(b"\n");
        self.outbox
            .push(Line { call, bytes: line })
            .map_err(|_| UpstreamFault::Busy { limit: OUTBOX_LINES_MAX })
    }

    /// Nobody waits for this answer any more; with a reason, the child is told so.
    pub fn forget(&self, id: i64, cancel: Option<&str>) {
        let forgotten = self.channel.forget(id);
        // A child that does not read has never heard of it: its line goes, and with it the room it took.
        let unsent = forgotten && self.outbox.take(|line| line.call == Some(id)).is_some();
        if forgotten
            && !unsent
            && let Some(reason) = cancel
        {
            let cancelled = format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id},"reason":"{reason}"}}}}"#
            );
            let _ = self.tell(Buf::from(cancelled.as_bytes()));
        }
    }

    /// Asks it to end: no more input, then signals.
    pub fn end(&self, core: &Core) {
        self.alive.set(false);
        self.outbox.close();
        core.spawner.kill(self.pid, Duration::from_millis(CHILD_GRACE_MS));
    }

    fn ended(&self, how: String) {
        self.alive.set(false);
        self.ending.replace(how);
        self.outbox.close();
        self.channel.close();
        if let Some(of) = self.channel.topics() {
            self.upstream.topics.lost(of);
        }
    }

    /// Says what waits for no answer: a notification, or the answer to a request of its own. A child that takes
    /// nothing more does not get it.
    pub fn say(&self, message: Buf) {
        let _ = self.tell(message);
    }

    /// A line that is a message goes where it belongs.
    fn heard(self: &Rc<Self>, core: &Rc<Core>, line: &[u8], envelope: &Envelope) {
        if envelope.kind().is_none() {
            self.odd(core, line, "it is neither request nor response");
            return;
        }
        self.channel.heard(core, &self.upstream, &Responder::Child(self.clone()), line, envelope);
    }

    fn odd(&self, core: &Rc<Core>, line: &[u8], why: &str) {
        let told = self.odd_lines.get();
        self.odd_lines.set(told.saturating_add(1));
        if told < ODD_LINES_TOLD {
            let start: String = String::from_utf8_lossy(line).chars().take(120).collect();
            core.notice(
                Level::Warn,
                format!(
                    "upstream `{}`: a line on stdout is not a JSON-RPC message ({why}): {start}",
                    self.upstream.name
                ),
            );
        }
    }
}

/// Starts a child and learns its era; a legacy one has been initialized when this returns.
pub async fn start(
    core: &Rc<Core>,
    upstream: &Rc<Upstream>,
    reach: &Reach,
    (declared, variable): (Declared, Option<(String, Secret)>),
) -> Result<Rc<Child>, UpstreamFault> {
    let Reach::Stdio { command, args, env, cwd, .. } = reach else {
        return Err(UpstreamFault::Unreachable("it is not a stdio server any more".to_owned()));
    };
    let order = spawn::Order {
        tag: upstream.id.0,
        command: command.clone(),
        args: args.clone(),
        env: env.iter().chain(&variable).map(|(name, value)| (name.clone(), value.to_string())).collect(),
        cwd: cwd.clone(),
    };
    let born = core.spawner.spawn(order).await.map_err(|error| UpstreamFault::Spawn(error.to_string()))?;
    upstream.figures(core).children_started.add(1);
    let child = Rc::new(Child {
        upstream: upstream.clone(),
        pid: born.pid,
        era: Cell::new(upstream.fixed_era.unwrap_or(Era::Modern)),
        outbox: Queue::new(OUTBOX_LINES_MAX),
        channel: Channel::default(),
        alive: Cell::new(true),
        ending: RefCell::default(),
        odd_lines: Cell::new(0),
    });
    runtime::spawn_guarded("writer of a stdio child", write(child.clone(), born.stdin));
    runtime::spawn_guarded(
        "reader of a stdio child",
        read(core.clone(), child.clone(), born.stdout, born.exited),
    );
    let greeted = runtime::timeout(Duration::from_millis(CHILD_START_MS_MAX), greet(&child, declared)).await;
    let greeted = greeted.unwrap_or_else(|_| {
        Err(UpstreamFault::Handshake(format!(
            "no answer to the first message within {CHILD_START_MS_MAX} ms"
        )))
    });
    if let Err(fault) = greeted {
        child.end(core);
        return Err(fault);
    }
    upstream.era.set(Some(child.era()));
    Ok(child)
}

async fn greet(child: &Rc<Child>, declared: Declared) -> Result<(), UpstreamFault> {
    if child.upstream.fixed_era != Some(Era::Legacy) {
        let id = child.upstream.next_id();
        let (bytes, envelope) = answered(child, id, Buf::from(handshake::discover(id).as_slice())).await?;
        let era = handshake::era(&bytes, &envelope, 200);
        if era == Era::Modern || child.upstream.fixed_era.is_some() {
            child.era.set(Era::Modern);
            child.upstream.said.replace(handshake::said(&bytes, &envelope));
            return Ok(());
        }
    }
    child.era.set(Era::Legacy);
    let id = child.upstream.next_id();
    let (bytes, envelope) =
        answered(child, id, Buf::from(handshake::initialize(id, declared).as_slice())).await?;
    handshake::negotiated(&bytes, &envelope)?;
    child.upstream.said.replace(handshake::said(&bytes, &envelope));
    child.tell(Buf::from(handshake::INITIALIZED.as_bytes()))
}

async fn answered(child: &Rc<Child>, id: i64, line: Buf) -> Result<(Buf, Pooled<Envelope>), UpstreamFault> {
    let pending = child.ask(Pending::new(id), line)?;
    loop {
        match pending.queue.pop().await {
            Some(Event::Message { bytes, envelope, last: true, .. }) => return Ok((bytes, envelope)),
            Some(_) => {}
            None => return Err(UpstreamFault::Exited(child.ending())),
        }
    }
}

async fn write(child: Rc<Child>, mut stdin: ChildWriter) {
    while let Some(line) = child.outbox.pop().await {
        let (sent, _) = stdin.send_all(line.bytes).await;
        if sent.is_err() {
            // The reader learns how it ended.
            return;
        }
    }
}

async fn read(
    core: Rc<Core>,
    child: Rc<Child>,
    mut stdout: ChildReader,
    exited: tokio::sync::oneshot::Receiver<String>,
) {
    let mut scanner = Scanner::new();
    let mut buf = Buf::new();
    let mut searched = 0;
    loop {
        let (received, returned) = stdout.recv(buf).await;
        buf = returned;
        if !matches!(received, Ok(1..)) {
            break;
        }
        let mut done = 0;
        while let Some(end) = newline(&buf, searched) {
            let line = buf.get(done..end).unwrap_or_default().trim_ascii();
            if !line.is_empty() {
                scanner.reset();
                match scanner.feed(line).and_then(|()| scanner.finish()) {
                    Ok(envelope) => child.heard(&core, line, envelope),
                    Err(fault) => child.odd(&core, line, &fault.message()),
                }
            }
            done = end + 1;
            searched = done;
        }
        buf.consume_front(done);
        searched = buf.len();
        if buf.room() == 0 {
            if buf.len() >= LINE_BYTES_MAX {
                core.notice(
                    Level::Error,
                    format!(
                        "upstream `{}`: a line over {LINE_BYTES_MAX} bytes; ending the child",
                        child.upstream.name
                    ),
                );
                break;
            }
            buf.reserve(buf.len());
        }
    }
    let unexpected = child.is_alive();
    child.end(&core);
    let how = runtime::timeout(Duration::from_millis(3 * CHILD_GRACE_MS), exited).await;
    let how = match how {
        Ok(Ok(how)) => how,
        Ok(Err(_)) | Err(_) => "it closed its stdout".to_owned(),
    };
    child.ended(how);
    child.upstream.figures(&core).children_ended.add(1);
    if unexpected {
        // Its successor may offer other things; asking also starts it.
        child.upstream.relist.set();
    }
}

fn newline(buf: &[u8], from: usize) -> Option<usize> {
    let rest = buf.get(from..)?;
    rest.iter().position(|byte| *byte == b'\n').map(|at| from + at)
}
