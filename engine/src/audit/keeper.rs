//! The writer: one thread that takes records out of all rings, gives them to the log, and has the disk take them in one go.
//!
//! It looks every `audit.every` while records come, and writes what it finds, so that a kill takes none of it any more. The disk has
//! to confirm it (a sync, the dear part) when somebody waits for that, before a checkpoint, and before more lies unconfirmed than
//! one batch. When nothing came for a while it signs what there is and sleeps until a worker wakes it. When the disk takes nothing it says so, keeps what it has, and tries again: the rings fill, and what becomes of
//! exchanges then is `audit.when_full`. It never takes more out of the rings than one commit holds.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use strait_audit::age::Recipient;
use strait_audit::{
    Batch, Folder, Kept, Lock, Log, LogError, Payload as Stored, Piece, SigningKey, Step, Which,
};
use strait_table::audit::{ArchivedAudit, Payload};
use tokio::sync::mpsc;

use super::desk::{Common, Desk, Line};
use super::disk::{Disk, FILES_MAX, Write};
use super::redact;
use super::ring::{Part, Spool, ring};
use crate::figures::histogram::Histogram;
use crate::handle::{Event, Level};
use crate::io::moment;
use crate::limits::{
    AUDIT_ACTS_MAX, AUDIT_AGAIN_MS, AUDIT_END_MS_MAX, AUDIT_IDLE_LOOKS, AUDIT_RETIRE_MS, AUDIT_RING_BYTES,
};

/// What a process needs to keep an audit log, beside what its table says.
#[derive(Clone)]
pub struct Keeping {
    /// Signs checkpoints.
    pub key: SigningKey,
    /// What its record `start` says, as a JSON object.
    pub start: String,
}

// The key is a secret.
impl std::fmt::Debug for Keeping {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeping").field("start", &self.start).finish_non_exhaustive()
    }
}

/// What the writer has done.
#[derive(Debug, Default)]
pub struct Figures {
    pub records: AtomicU64,
    pub bytes: AtomicU64,
    /// How often a worker woke the writer.
    pub wakes: AtomicU64,
    /// Bytes that wait in rings, when it last looked.
    pub backlog: AtomicU64,
    /// Records under the last checkpoint.
    pub signed: AtomicU64,
    /// Writes that the disk did not take.
    pub failures: AtomicU64,
    /// Of commits: from the first byte written to the disk's word.
    pub commits: Histogram,
}

/// The running writer.
pub struct AuditLog {
    common: Arc<Common>,
    lines: Vec<Arc<Line>>,
    acts: SyncSender<Act>,
    thread: Option<JoinHandle<()>>,
}

/// What an administrator did, or the process.
struct Act {
    kind: &'static str,
    /// A JSON object.
    facts: String,
}

/// What others may know of the log while it is written.
#[derive(Clone)]
pub struct Standing {
    common: Arc<Common>,
    lines: Arc<[Arc<Line>]>,
}

impl Standing {
    /// Why it takes nothing now.
    pub fn fault(&self) -> Option<String> {
        self.common.why()
    }

    pub fn figures(&self) -> &Figures {
        &self.common.figures
    }

    /// Records that had no room.
    pub fn lost(&self) -> u64 {
        self.lines.iter().map(|line| line.lost.load(Ordering::Relaxed)).sum()
    }
}

impl AuditLog {
    /// Opens the log and starts the thread; one [`Desk`] per worker.
    pub fn start(
        folder: &Path,
        audit: &ArchivedAudit,
        keeping: &Keeping,
        (workers, plain): (usize, bool),
        events: mpsc::Sender<Event>,
    ) -> Result<(AuditLog, Vec<Desk>), AuditError> {
        let options = strait_audit::Options {
            origin: ORIGIN.to_owned(),
            cores: workers as u16,
            rotate_bytes: audit.rotate_bytes.to_native(),
            start: keeping.start.clone(),
            recipients: audit.encrypt.iter().map(|key| Recipient::new(*key)).collect(),
            now_ms: moment::since_1970().as_millis() as u64,
        };
        let opened = Log::open(folder, &keeping.key, &options).map_err(AuditError::Log)?;
        if let Some(cut) = opened.cut {
            let text = format!(
                "the audit log `{}` was torn where the process before ended: {} bytes of records and {} of payloads were on \
                 their way and are cut off; the log says so",
                folder.display(),
                cut.entries_bytes,
                cut.payload_bytes,
            );
            let _ = events.try_send(Event::Notice { level: Level::Warn, text });
        }
        let common = Arc::new(Common::default());
        let (acts, told) = sync_channel(AUDIT_ACTS_MAX);
        let (mut desks, mut cores) = (Vec::new(), Vec::new());
        for _ in 0..workers {
            let (pen, spool) = ring(AUDIT_RING_BYTES);
            let (tell, news) = mpsc::unbounded_channel();
            let line = Arc::new(Line::default());
            desks.push(Desk::new(pen, line.clone(), common.clone(), news));
            cores.push(Core { spool, line, tell, added: 0, under_way: 0 });
        }
        let lines = cores.iter().map(|core| core.line.clone()).collect();
        let writer = Writer {
            path: folder.to_owned(),
            folder: opened.folder,
            _lock: opened.lock,
            whole: opened.disk,
            steps: VecDeque::new(),
            cores,
            acts: told,
            common: common.clone(),
            disk: Disk::new(plain),
            files: None,
            batch: None,
            is_awaited: false,
            aside: Vec::new(),
            redacted: (Vec::new(), Vec::new()),
            every: Duration::from_millis(audit.every_ms.to_native().into()),
            checkpoint_every: Duration::from_millis(audit.checkpoint_ms.to_native().into()),
            keep_ms: audit.keep_s.as_ref().map(|keep| keep.to_native() * 1_000),
            signed_at: Instant::now(),
            awaited: 0,
            retired_at: None,
            first: 0,
            events,
        };
        let thread = std::thread::Builder::new().name("strait-audit".into()).spawn(move || writer.run());
        let thread = thread.map_err(AuditError::Thread)?;
        let _ = common.writer.set(thread.thread().clone());
        Ok((AuditLog { common, lines, acts, thread: Some(thread) }, desks))
    }

    /// Writes down what an administrator did: `facts` is a JSON object. `false`: the log is too far behind to take it.
    pub fn act(&self, facts: String) -> bool {
        let taken = self.acts.try_send(Act { kind: "admin", facts }).is_ok();
        self.common.wake(true);
        taken
    }

    pub fn standing(&self) -> Standing {
        Standing { common: self.common.clone(), lines: self.lines.iter().cloned().collect() }
    }

    /// Writes what is left, signs it and ends the thread. Workers must be gone.
    pub fn close(mut self) {
        self.common.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

/// The name that checkpoints are signed in.
const ORIGIN: &str = "strait";

/// Why a log cannot be kept.
#[derive(Debug)]
pub enum AuditError {
    Log(LogError),
    Thread(io::Error),
}

impl std::fmt::Display for AuditError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            AuditError::Log(error) => write!(f, "{error}"),
            AuditError::Thread(error) => write!(f, "cannot start the thread of the audit log: {error}"),
        }
    }
}

impl std::error::Error for AuditError {}

/// A worker as the writer sees it.
struct Core {
    spool: Spool,
    line: Arc<Line>,
    tell: mpsc::UnboundedSender<()>,
    /// Records under this number were given to the log.
    added: u64,
    /// Those that are in the batch on its way, or on the disk.
    under_way: u64,
}

impl Core {
    /// Tells the worker that something has changed, if somebody there waits.
    fn tell(&self) {
        if self.line.waits.swap(false, Ordering::SeqCst) {
            // A worker that is gone waits for nothing.
            let _ = self.tell.send(());
        }
    }
}

/// The files that batches go to.
struct Files {
    first: u64,
    entries: File,
    payload: File,
}

impl Files {
    fn are_there(&self, folder: &Path, piece: &Piece<'_>) -> io::Result<()> {
        is_there(&self.entries, &folder.join(piece.entries_path()), piece.entries_offset)?;
        is_there(&self.payload, &folder.join(piece.payload_path()), piece.payload_offset)
    }

    fn writes<'a>(&'a self, piece: &Piece<'a>, has_payload: bool) -> Writes<'a> {
        let entries = Write { file: &self.entries, offset: piece.entries_offset, bytes: piece.entries };
        let payload = Write { file: &self.payload, offset: piece.payload_offset, bytes: piece.payload };
        // A record is never there before its payload, as far as that is ours to say.
        Writes { both: [payload, entries], has_payload }
    }
}

struct Writes<'a> {
    both: [Write<'a>; FILES_MAX],
    has_payload: bool,
}

impl<'a> Writes<'a> {
    fn as_slice(&self) -> &[Write<'a>] {
        if self.has_payload { &self.both } else { &self.both[1..] }
    }
}

/// The files that a piece goes to.
fn open<'f>(files: &'f mut Option<Files>, folder: &Path, piece: &Piece<'_>) -> io::Result<&'f Files> {
    let open = |path: String, written: u64| {
        let path = folder.join(path);
        let mut options = OpenOptions::new();
        // One that has bytes of ours is not made again, empty.
        let opened = options.write(true).create(written == 0).truncate(false).mode(0o600).open(&path);
        opened.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound if written > 0 => changed(&path, GONE),
            _ => error,
        })
    };
    let made = match files.take() {
        Some(files) if files.first == piece.first => files,
        _ => Files {
            first: piece.first,
            entries: open(piece.entries_path(), piece.entries_offset)?,
            payload: open(piece.payload_path(), piece.payload_offset)?,
        },
    };
    made.are_there(folder, piece)?;
    Ok(files.insert(made))
}

/// Whether a file is where it was put, and as long as it was left: what is written to one that was removed, or behind a hole, is no
/// record. Two looks at each before a write; what else may be done to a file `strait audit verify` finds.
fn is_there(file: &File, path: &Path, written: u64) -> io::Result<()> {
    let ours = file.metadata()?;
    let found = std::fs::metadata(path);
    let is_ours = found.is_ok_and(|found| (found.dev(), found.ino()) == (ours.dev(), ours.ino()));
    match ours.len() {
        _ if !is_ours => Err(changed(path, GONE)),
        length if length < written => {
            Err(changed(path, &format!("it was cut to {length} bytes, of {written} that were written")))
        }
        _ => Ok(()),
    }
}

const GONE: &str = "it was removed or replaced while it is written";

fn changed(path: &Path, what: &str) -> io::Error {
    io::Error::other(format!("`{}`: {what}", path.display()))
}

struct Writer {
    path: PathBuf,
    folder: Folder,
    /// Nobody else writes the folder meanwhile.
    _lock: Lock,
    /// For files that are written as a whole.
    whole: strait_audit::disk::Disk,
    /// Of a checkpoint, those that are still to be done, in this order.
    steps: VecDeque<Step>,
    cores: Vec<Core>,
    acts: Receiver<Act>,
    common: Arc<Common>,
    disk: Disk,
    files: Option<Files>,
    /// On its way; after a failure, to be written again.
    batch: Option<Batch>,
    /// Somebody waits until the disk has what was gathered.
    is_awaited: bool,
    aside: Vec<u8>,
    redacted: (Vec<u8>, Vec<u8>),
    every: Duration,
    checkpoint_every: Duration,
    keep_ms: Option<u64>,
    signed_at: Instant,
    /// Records that somebody waits with, before the rings were looked into last.
    awaited: u64,
    retired_at: Option<Instant>,
    /// Whose ring is looked into first: when a batch is full, the others come first next time.
    first: usize,
    events: mpsc::Sender<Event>,
}

impl Writer {
    fn run(mut self) {
        let mut idle = 0;
        let mut stops_by = None;
        loop {
            // Before the rings are looked into: what was put in before it was said is seen.
            let stopping = self.common.stop.load(Ordering::Acquire);
            let began = Instant::now();
            self.folder.set_now(moment::since_1970().as_millis() as u64);
            self.awaited = self.common.awaited.load(Ordering::Relaxed);
            let found = self.gather();
            let signs = self.is_to_sign();
            let commits =
                self.batch.is_some() || self.is_awaited || signs || stopping || self.folder.is_batch_due();
            match commits {
                true => self.commit(),
                false => self.write_ahead(),
            }
            if signs && self.batch.is_none() {
                self.sign();
            }
            if stopping {
                let by = *stops_by.get_or_insert_with(|| began + Duration::from_millis(AUDIT_END_MS_MAX));
                if !found && self.batch.is_none() || began > by {
                    return self.end();
                }
            }
            idle = if found { 0 } else { idle + 1 };
            self.rest(began, idle);
        }
    }

    /// Takes out of the rings what fits into one batch. `false`: there was nothing.
    fn gather(&mut self) -> bool {
        self.common.figures.backlog.store(self.backlog() as u64, Ordering::Relaxed);
        let mut found = false;
        while !self.folder.is_full()
            && let Ok(act) = self.acts.try_recv()
        {
            (found, self.is_awaited) = (true, true);
            self.own(act.kind, &act.facts);
        }
        let workers = self.cores.len();
        for at in (0..workers).map(|at| (at + self.first) % workers) {
            while !self.folder.is_full() {
                let core = at as u16;
                let (one, other) = (&mut self.redacted.0, &mut self.redacted.1);
                let folder = &mut self.folder;
                let taken = self.cores[at].spool.take(&mut self.aside, |header, bytes| {
                    let (facts, arguments, result) = header.parts(bytes);
                    let arguments = arguments.map(|part| stored(Which::Arguments, header.payload, part, one));
                    let result = result.map(|part| stored(Which::Result, header.payload, part, other));
                    let added = match (arguments, result) {
                        (None, None) => folder.add(core, header.n, facts, &[]),
                        (Some(one), None) | (None, Some(one)) => folder.add(core, header.n, facts, &[one]),
                        (Some(one), Some(other)) => folder.add(core, header.n, facts, &[one, other]),
                    };
                    (header, added)
                });
                let Some((header, added)) = taken else { break };
                found = true;
                self.is_awaited |= header.waits;
                self.cores[at].added = header.n + 1;
                match added {
                    Ok(_) => drop(self.common.figures.records.fetch_add(1, Ordering::Relaxed)),
                    // Its number is not given again: the log tells the gap.
                    Err(error) => {
                        self.cores[at].line.lost.fetch_add(1, Ordering::Relaxed);
                        self.notice(Level::Error, format!("the audit log: a record is lost: {error}"));
                    }
                }
            }
        }
        self.first = (self.first + 1) % workers.max(1);
        found
    }

    fn own(&mut self, kind: &str, facts: &str) {
        match self.folder.add_own(kind, facts) {
            Ok(_) => drop(self.common.figures.records.fetch_add(1, Ordering::Relaxed)),
            Err(error) => self.notice(Level::Error, format!("the audit log: a record is lost: {error}")),
        }
    }

    /// Writes what nobody waits for.
    fn write_ahead(&mut self) {
        let Some(piece) = self.folder.ahead() else { return };
        let has_payload = !piece.payload.is_empty();
        let written = open(&mut self.files, &self.path, &piece)
            .and_then(|files| Disk::write(files.writes(&piece, has_payload).as_slice()));
        match written {
            Ok(()) => self.folder.written_ahead(),
            Err(error) => {
                self.batch = self.take();
                self.ill("write", &error);
            }
        }
        self.cores.iter().for_each(Core::tell);
    }

    /// What was gathered, as one batch.
    fn take(&mut self) -> Option<Batch> {
        let batch = self.folder.batch()?;
        self.is_awaited = false;
        self.cores.iter_mut().for_each(|core| core.under_way = core.added);
        Some(batch)
    }

    /// Has the disk confirm what was gathered, and tells whoever waits for it.
    fn commit(&mut self) {
        let Some(mut batch) = self.batch.take().or_else(|| self.take()) else { return };
        let began = Instant::now();
        match self.sync(&batch) {
            Ok(()) => {
                let figures = &self.common.figures;
                figures.commits.record(began.elapsed().as_nanos() as u64);
                figures.bytes.fetch_add(batch.bytes() as u64, Ordering::Relaxed);
                self.folder.committed(batch);
                for core in &self.cores {
                    core.line.committed.store(core.under_way, Ordering::SeqCst);
                }
                // A checkpoint that cannot be written is a fault as well.
                if self.steps.is_empty() {
                    self.well();
                }
            }
            Err(error) => {
                batch.again();
                self.batch = Some(batch);
                self.ill("write", &error);
            }
        }
        self.cores.iter().for_each(Core::tell);
    }

    fn sync(&mut self, batch: &Batch) -> io::Result<()> {
        let rest = batch.rest();
        let files = open(&mut self.files, &self.path, &rest)?;
        self.disk.commit(files.writes(&rest, batch.has_payload()).as_slice())?;
        if batch.is_new {
            for folder in ["entries", "payload"] {
                File::open(self.path.join(folder))?.sync_all()?;
            }
        }
        Ok(())
    }

    /// Whether it is time for a checkpoint, or one was begun.
    fn is_to_sign(&self) -> bool {
        !self.steps.is_empty()
            || self.signed_at.elapsed() >= self.checkpoint_every
            || self.folder.is_checkpoint_due()
    }

    /// Signs what is on the disk; removes what is too old.
    fn sign(&mut self) {
        if self.steps.is_empty() {
            self.retire();
            self.steps = self.folder.checkpoint().unwrap_or_default().into();
        }
        let mut has_signed = false;
        while let Some(step) = self.steps.pop_front() {
            if let Err(error) = self.whole.apply(&step) {
                self.steps.push_front(step);
                return self.ill("sign", &error);
            }
            has_signed = true;
        }
        self.signed_at = Instant::now();
        if has_signed {
            self.common.figures.signed.store(self.folder.signed_size(), Ordering::Relaxed);
            // What says that they go is signed now.
            self.steps = self.folder.removals().into();
            self.well();
        }
    }

    fn retire(&mut self) {
        let Some(keep_ms) = self.keep_ms else { return };
        let is_due = self.retired_at.is_none_or(|at| at.elapsed() >= Duration::from_millis(AUDIT_RETIRE_MS));
        if is_due {
            self.retired_at = Some(Instant::now());
            if let Err(error) = self.folder.retire(keep_ms) {
                self.notice(Level::Error, format!("the audit log: old segments stay: {error}"));
            }
        }
    }

    /// Until there may be something to do.
    fn rest(&mut self, began: Instant, idle: u32) {
        if self.batch.is_some() {
            return std::thread::park_timeout(Duration::from_millis(AUDIT_AGAIN_MS));
        }
        if self.folder.is_full() {
            return;
        }
        if idle < AUDIT_IDLE_LOOKS {
            self.common.rests.store(true, Ordering::SeqCst);
            fence(Ordering::SeqCst);
            // Either whoever waits for the disk sees that we rest, or we see that there is more that is waited for.
            if self.common.awaited.load(Ordering::Relaxed) == self.awaited {
                std::thread::park_timeout(self.every.saturating_sub(began.elapsed()));
            }
            return self.common.rests.store(false, Ordering::SeqCst);
        }
        self.common.asleep.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        // Either a worker sees that we sleep, or we see what it has put in.
        if self.backlog() == 0 && !self.common.stop.load(Ordering::SeqCst) {
            let is_signed = self.folder.signed_size() == self.folder.size() && self.steps.is_empty();
            std::thread::park_timeout(match is_signed {
                true => Duration::from_millis(AUDIT_RETIRE_MS),
                false if self.steps.is_empty() => {
                    self.checkpoint_every.saturating_sub(self.signed_at.elapsed())
                }
                // A checkpoint could not be written.
                false => Duration::from_millis(AUDIT_AGAIN_MS),
            });
        }
        self.common.asleep.store(false, Ordering::SeqCst);
    }

    fn backlog(&self) -> usize {
        self.cores.iter().map(|core| core.spool.waiting()).sum()
    }

    /// The last words of this start.
    fn end(mut self) {
        // What is lost and was followed by nothing.
        for (at, core) in self.cores.iter().enumerate() {
            let lost_to = core.line.lost_to.load(Ordering::Relaxed);
            if lost_to > core.added {
                let _ = self.folder.lost(at as u16, lost_to);
            }
        }
        self.own("stop", "{}");
        // One batch may be left from before.
        self.commit();
        self.commit();
        self.sign();
        if let Some(why) = self.common.why() {
            eprintln!("strait: the audit log ends without its last records: {why}");
        }
    }

    fn well(&self) {
        if self.common.at_fault(None) {
            self.notice(Level::Info, "the audit log: the disk takes records again".to_owned());
        }
    }

    fn ill(&self, doing: &str, error: &io::Error) {
        self.common.figures.failures.fetch_add(1, Ordering::Relaxed);
        let why = format!("cannot {doing} the audit log `{}`: {error}", self.path.display());
        if self.common.at_fault(Some(why.clone())) {
            self.notice(Level::Error, why);
        }
    }

    fn notice(&self, level: Level, text: String) {
        let _ = self.events.try_send(Event::Notice { level, text });
    }
}

/// What of a payload the log keeps.
fn stored<'a>(which: Which, payload: Payload, part: Part<'a>, redacted: &'a mut Vec<u8>) -> Stored<'a> {
    let bytes = match part {
        Part::Digest(bytes, sha256) => return Stored { which, bytes, kept: Kept::Digest(*sha256) },
        Part::Whole(bytes) => bytes,
    };
    // Of an answer, what it says: not the id that a client gave its request.
    let said = match which {
        Which::Arguments => bytes,
        Which::Result => {
            redact::member(bytes, b"result").or_else(|| redact::member(bytes, b"error")).unwrap_or(bytes)
        }
    };
    let kept = match payload {
        Payload::Full => Kept::Full(said),
        Payload::Redacted => {
            redacted.clear();
            redact::redact(said, redacted);
            Kept::Redacted(redacted)
        }
        Payload::None | Payload::Hash => Kept::Digest(strait_audit::hash::plain(said)),
    };
    Stored { which, bytes: said.len() as u64, kept }
}
