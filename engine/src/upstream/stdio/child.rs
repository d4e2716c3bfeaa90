//! One running child: lines out, lines in, answers told apart by our ids.
//!
//! The era is asked with `server/discover` before anything else and then fixed: some servers lock to
//! the era of their first message and ignore the other. What a child prints that is not a message is
//! noted and skipped; a request of its own is answered at once, since it was told of no capability.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use strait_protocol::jsonrpc::{Envelope, IdValue, Kind, Scanner};
use strait_protocol::mcp::Method;

use crate::core::Core;
use crate::handle::{Level, Reach};
use crate::io::buffer::Buf;
use crate::io::runtime;
use crate::io::signal::Queue;
use crate::io::spawn::{self, ChildReader, ChildWriter};
use crate::limits::{CHILD_GRACE_MS, CHILD_PENDING_MAX, CHILD_QUEUE_MAX, CHILD_START_MS_MAX, LINE_BYTES_MAX};
use crate::upstream::{Era, Event, Upstream, UpstreamFault, decline, handshake};

/// Lines that wait for a child to read them.
const OUTBOX_LINES_MAX: usize = CHILD_PENDING_MAX;
/// Odd lines of one child that are told of.
const ODD_LINES_TOLD: u32 = 5;

/// A call that waits for its answer.
pub struct Pending {
    pub id: i64,
    pub queue: Queue<Event>,
    pub cancel_when_dropped: bool,
    /// Its client gave a token; progress on any other call is nobody's.
    pub wants_progress: bool,
}

impl Pending {
    pub fn new(id: i64) -> Pending {
        let queue = Queue::new(CHILD_QUEUE_MAX);
        Pending { id, queue, cancel_when_dropped: false, wants_progress: false }
    }
}

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
    pending: RefCell<HashMap<i64, Rc<Pending>>>,
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

    pub fn is_busy(&self) -> bool {
        !self.pending.borrow().is_empty()
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
        if self.pending.borrow().len() >= CHILD_PENDING_MAX {
            return Err(UpstreamFault::Busy { limit: CHILD_PENDING_MAX });
        }
        self.post(Some(pending.id), line)?;
        let pending = Rc::new(pending);
        self.pending.borrow_mut().insert(pending.id, pending.clone());
        Ok(pending)
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
        let forgotten = self.pending.borrow_mut().remove(&id).is_some();
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
        for pending in std::mem::take(&mut *self.pending.borrow_mut()).into_values() {
            pending.queue.close();
        }
    }

    /// A line that is a message goes where it belongs.
    fn heard(self: &Rc<Self>, core: &Rc<Core>, line: &[u8], envelope: Envelope) {
        match envelope.kind() {
            Some(Kind::Response) => {
                let IdValue::Integer(id) = envelope.id_value else { return };
                let waiting = self.pending.borrow_mut().remove(&id);
                if let Some(pending) = waiting {
                    let _ = pending.queue.push(message(line, envelope, true));
                    pending.queue.close();
                }
            }
            Some(Kind::Notification) => match envelope.method_known {
                Some(Method::NotifyProgress) => {
                    let IdValue::Integer(id) = envelope.progress_token_value else { return };
                    let pending = self.pending.borrow();
                    if let Some(pending) = pending.get(&id).filter(|pending| pending.wants_progress) {
                        // A client slower than its server loses progress, not the answer.
                        if pending.queue.len() + 1 < CHILD_QUEUE_MAX {
                            let _ = pending.queue.push(message(line, envelope, false));
                        }
                    }
                }
                Some(
                    Method::NotifyToolsListChanged
                    | Method::NotifyPromptsListChanged
                    | Method::NotifyResourcesListChanged,
                ) => self.upstream.relist.set(),
                // A log message names no call, and the child is shared: nobody's business.
                _ => {}
            },
            Some(Kind::Request) => {
                if let Some(id) = envelope.id {
                    let _ = self.tell(decline(line, id, envelope.method_known));
                }
            }
            None => self.odd(core, line, "it is neither request nor response"),
        }
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

fn message(line: &[u8], envelope: Envelope, last: bool) -> Event {
    Event::Message { bytes: Buf::from(line), from: 0, envelope, last }
}

/// Starts a child and learns its era; a legacy one has been initialized when this returns.
pub async fn start(
    core: &Rc<Core>,
    upstream: &Rc<Upstream>,
    reach: &Reach,
) -> Result<Rc<Child>, UpstreamFault> {
    let Reach::Stdio { command, args, env, cwd } = reach else {
        return Err(UpstreamFault::Unreachable("it is not a stdio server any more".to_owned()));
    };
    let order = spawn::Order {
        tag: upstream.id.0,
        command: command.clone(),
        args: args.clone(),
        env: env.clone(),
        cwd: cwd.clone(),
    };
    let born = core.spawner.spawn(order).await.map_err(|error| UpstreamFault::Spawn(error.to_string()))?;
    upstream.figures(core).children_started.add(1);
    let child = Rc::new(Child {
        upstream: upstream.clone(),
        pid: born.pid,
        era: Cell::new(upstream.fixed_era.unwrap_or(Era::Modern)),
        outbox: Queue::new(OUTBOX_LINES_MAX),
        pending: RefCell::default(),
        alive: Cell::new(true),
        ending: RefCell::default(),
        odd_lines: Cell::new(0),
    });
    runtime::spawn_guarded("writer of a stdio child", write(child.clone(), born.stdin));
    runtime::spawn_guarded(
        "reader of a stdio child",
        read(core.clone(), child.clone(), born.stdout, born.exited),
    );
    let greeted = runtime::timeout(Duration::from_millis(CHILD_START_MS_MAX), greet(&child)).await;
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

async fn greet(child: &Rc<Child>) -> Result<(), UpstreamFault> {
    if child.upstream.fixed_era != Some(Era::Legacy) {
        let id = child.upstream.next_id();
        let (bytes, envelope) = answered(child, id, Buf::from(handshake::discover(id).as_slice())).await?;
        let era = handshake::era(&envelope, 200);
        if era == Era::Modern || child.upstream.fixed_era.is_some() {
            child.era.set(Era::Modern);
            child.upstream.instructions.replace(handshake::instructions(&bytes, &envelope));
            return Ok(());
        }
    }
    child.era.set(Era::Legacy);
    let id = child.upstream.next_id();
    let (bytes, envelope) = answered(child, id, Buf::from(handshake::initialize(id).as_bytes())).await?;
    handshake::negotiated(&bytes, &envelope)?;
    child.upstream.instructions.replace(handshake::instructions(&bytes, &envelope));
    child.tell(Buf::from(handshake::INITIALIZED.as_bytes()))
}

async fn answered(child: &Rc<Child>, id: i64, line: Buf) -> Result<(Buf, Envelope), UpstreamFault> {
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
