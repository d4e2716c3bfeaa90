//! The spawner thread: one epoll loop over a bell, the children's process descriptors and their standard errors.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitIdStatus, kill_process_group, pidfd_open, waitid,
};
use tokio::sync::oneshot;

use super::birth::{Stdio, bring_up, explain};
use super::{
    Born, CHILDREN_MAX, ChildLog, Errand, LOG_BYTES_PER_SECOND_MAX, LOG_LINE_BYTES_MAX,
    LOG_LINES_PER_SECOND_MAX, Order, SpawnError,
};

/// What children get between SIGTERM and SIGKILL when nobody says.
const LAST_GRACE: Duration = Duration::from_secs(2);

/// The epoll token of the bell; children have even tokens for their process, odd ones for their standard error.
const BELL: u64 = 0;

pub(super) struct Nursery {
    errands: Receiver<Errand>,
    waiting: Arc<AtomicUsize>,
    bell: Arc<OwnedFd>,
    epoll: OwnedFd,
    log: Box<dyn Fn(ChildLog) + Send>,
    kids: HashMap<u64, Kid>,
    next_id: u64,
    closing: bool,
    scratch: Vec<u8>,
}

struct Kid {
    pid: Pid,
    process: OwnedFd,
    stderr: Option<OwnedFd>,
    lines: Lines,
    exited: Option<oneshot::Sender<String>>,
    term_at: Option<Instant>,
    kill_at: Option<Instant>,
    /// Its standard error is not looked at until then.
    paused_until: Option<Instant>,
}

impl Nursery {
    pub(super) fn open(
        errands: Receiver<Errand>,
        bell: Arc<OwnedFd>,
        waiting: Arc<AtomicUsize>,
        log: Box<dyn Fn(ChildLog) + Send>,
    ) -> io::Result<Nursery> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &*bell, epoll::EventData::new_u64(BELL), epoll::EventFlags::IN)?;
        let scratch = Vec::with_capacity(64 * 1024);
        Ok(Nursery {
            errands,
            waiting,
            bell,
            epoll,
            log,
            kids: HashMap::new(),
            next_id: 1,
            closing: false,
            scratch,
        })
    }

    /// Until shutdown: wait, serve, repeat. Ends with no child left.
    pub(super) fn run(&mut self) {
        let mut events = Vec::with_capacity(256);
        loop {
            if self.closing && self.kids.is_empty() {
                return;
            }
            events.clear();
            let timeout = self.next_moment().map(|moment| {
                let left = moment.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
                Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() }
            });
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), timeout.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    eprintln!("strait: bug: the spawner cannot wait: {error}");
                    std::thread::sleep(Duration::from_millis(100));
                }
            }
            // A child's last words before its end: standard errors first.
            for event in events.iter().filter(|event| event.data.u64() & 1 == 1) {
                self.read_stderr(event.data.u64() >> 1);
            }
            for event in events.iter().filter(|event| event.data.u64() & 1 == 0) {
                match event.data.u64() {
                    BELL => self.answer_bell(),
                    token => self.reap(token >> 1),
                }
            }
            self.keep_moments();
        }
    }

    fn answer_bell(&mut self) {
        let mut count = [0u8; 8];
        let _ = rustix::io::read(&*self.bell, &mut count);
        loop {
            match self.errands.try_recv() {
                Ok(Errand::Spawn(order, answer)) => {
                    self.waiting.fetch_sub(1, Ordering::Relaxed);
                    self.serve(&order, answer);
                }
                Ok(Errand::Kill { pid, at, grace }) => self.sentence(pid, at, grace),
                Ok(Errand::Shutdown { deadline }) => self.close(deadline),
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => return self.close(Instant::now() + LAST_GRACE),
            }
        }
    }

    fn serve(&mut self, order: &Order, answer: oneshot::Sender<Result<Born, SpawnError>>) {
        if answer.is_closed() {
            return;
        }
        let refuse = |problem: &str| {
            Err(SpawnError { command: order.command.clone(), problem: problem.into(), help: None })
        };
        let result = if self.closing {
            refuse("the gateway is shutting down")
        } else if self.kids.len() >= CHILDREN_MAX {
            refuse(&format!("{CHILDREN_MAX} children are running, which is the most allowed"))
        } else {
            self.start(order)
        };
        // Nobody waits any more: the child must not live on without an owner.
        if let Err(Ok(unwanted)) = answer.send(result) {
            self.sentence(unwanted.pid, Instant::now(), Duration::ZERO);
        }
    }

    fn start(&mut self, order: &Order) -> Result<Born, SpawnError> {
        let failed = |error: io::Error| explain(order, &error);
        let (stdin, child_stdin) = UnixStream::pair().map_err(failed)?;
        let (stdout, child_stdout) = UnixStream::pair().map_err(failed)?;
        let (stderr, child_stderr) = pipe_with(PipeFlags::CLOEXEC).map_err(|error| failed(error.into()))?;
        let stdio = Stdio { stdin: child_stdin.into(), stdout: child_stdout.into(), stderr: child_stderr };
        // Our copies of the child's ends are closed in there, so that their end is seen.
        let pid = bring_up(order, stdio)?;
        let (tell, exited) = oneshot::channel();
        let id = self.next_id;
        match self.enrol(id, pid, order.tag, stderr, tell) {
            Ok(kid) => {
                self.next_id += 1;
                self.kids.insert(id, kid);
                Ok(Born { pid: pid.as_raw_nonzero().get() as u32, stdin, stdout, exited })
            }
            Err(error) => {
                let _ = kill_process_group(pid, Signal::KILL);
                let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED);
                Err(failed(error))
            }
        }
    }

    fn enrol(
        &self,
        id: u64,
        pid: Pid,
        tag: u32,
        stderr: OwnedFd,
        tell: oneshot::Sender<String>,
    ) -> io::Result<Kid> {
        let process = pidfd_open(pid, PidfdFlags::empty())?;
        rustix::io::ioctl_fionbio(&stderr, true)?;
        watch_stderr(&self.epoll, &stderr, id, true)?;
        epoll::add(&self.epoll, &process, epoll::EventData::new_u64(id << 1), epoll::EventFlags::IN)?;
        Ok(Kid {
            pid,
            process,
            stderr: Some(stderr),
            lines: Lines::new(tag, pid),
            exited: Some(tell),
            term_at: None,
            kill_at: None,
            paused_until: None,
        })
    }

    fn read_stderr(&mut self, id: u64) {
        let Some(kid) = self.kids.get_mut(&id) else { return };
        let Some(stderr) = &kid.stderr else { return };
        self.scratch.clear();
        match rustix::io::read(stderr, rustix::buffer::spare_capacity(&mut self.scratch)) {
            Ok(0) => {
                let _ = epoll::delete(&self.epoll, stderr);
                kid.stderr = None;
            }
            Ok(_) => {
                if kid.lines.take(&self.scratch, &self.log) {
                    let _ = watch_stderr(&self.epoll, stderr, id, false);
                    kid.paused_until = Some(kid.lines.window_end());
                }
            }
            Err(_) => {}
        }
    }

    /// The process has ended: last words, then the rest of its group, then its number is given back to the kernel.
    fn reap(&mut self, id: u64) {
        let Some(kid) = self.kids.get(&id) else { return };
        let ended = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        match waitid(WaitId::PidFd(kid.process.as_fd()), ended | WaitIdOptions::NOWAIT) {
            Ok(Some(_)) => {}
            Ok(None) | Err(rustix::io::Errno::INTR) => return,
            Err(_) => {}
        }
        let Some(mut kid) = self.kids.remove(&id) else { return };
        // Not yet reaped, so the number is still its own and the group cannot be somebody else's.
        let _ = kill_process_group(kid.pid, Signal::KILL);
        let status = waitid(WaitId::PidFd(kid.process.as_fd()), ended);
        let _ = epoll::delete(&self.epoll, &kid.process);
        if let Some(stderr) = kid.stderr.take() {
            let _ = epoll::delete(&self.epoll, &stderr);
            let mut left = LOG_BYTES_PER_SECOND_MAX;
            self.scratch.clear();
            while let Ok(bytes @ 1..) =
                rustix::io::read(&stderr, rustix::buffer::spare_capacity(&mut self.scratch))
            {
                kid.lines.take(&self.scratch, &self.log);
                self.scratch.clear();
                left = left.saturating_sub(bytes);
                if left == 0 {
                    break;
                }
            }
        }
        kid.lines.finish(&self.log);
        if let Some(tell) = kid.exited.take() {
            let _ = tell.send(in_words(status.ok().flatten()));
        }
    }

    fn sentence(&mut self, pid: u32, at: Instant, grace: Duration) {
        let found = self.kids.values_mut().find(|kid| kid.pid.as_raw_nonzero().get() as u32 == pid);
        if let Some(kid) = found {
            kid.term_at = Some(at + grace);
            kid.kill_at = Some(at + 2 * grace);
        }
    }

    fn close(&mut self, deadline: Instant) {
        let first = !self.closing;
        self.closing = true;
        let now = Instant::now();
        for kid in self.kids.values_mut() {
            if first {
                kid.term_at = Some(now);
            }
            kid.kill_at = Some(kid.kill_at.map_or(deadline, |at| at.min(deadline)));
        }
    }

    fn next_moment(&self) -> Option<Instant> {
        let moments = self.kids.values().flat_map(|kid| [kid.term_at, kid.kill_at, kid.paused_until]);
        moments.flatten().min()
    }

    fn keep_moments(&mut self) {
        let now = Instant::now();
        for (id, kid) in &mut self.kids {
            if kid.term_at.is_some_and(|at| at <= now) {
                kid.term_at = None;
                let _ = kill_process_group(kid.pid, Signal::TERM);
            }
            if kid.kill_at.is_some_and(|at| at <= now) {
                kid.kill_at = None;
                let _ = kill_process_group(kid.pid, Signal::KILL);
            }
            if kid.paused_until.is_some_and(|at| at <= now) {
                kid.paused_until = None;
                if let Some(stderr) = &kid.stderr {
                    let _ = watch_stderr(&self.epoll, stderr, *id, true);
                }
            }
        }
    }
}

fn watch_stderr(epoll: &OwnedFd, stderr: &OwnedFd, id: u64, on: bool) -> rustix::io::Result<()> {
    let data = epoll::EventData::new_u64(id << 1 | 1);
    if on {
        epoll::add(epoll, stderr, data, epoll::EventFlags::IN)
    } else {
        // Taken out altogether: a hang-up is reported even to those who ask for nothing.
        epoll::delete(epoll, stderr)
    }
}

/// Cuts bytes into lines, bounded in length and rate.
struct Lines {
    tag: u32,
    pid: u32,
    partial: Vec<u8>,
    /// The rest of an over-long line is being passed over.
    passing: bool,
    window_began: Instant,
    window_lines: u32,
    window_bytes: usize,
    skipped: u64,
}

impl Lines {
    fn new(tag: u32, pid: Pid) -> Lines {
        Lines {
            tag,
            pid: pid.as_raw_nonzero().get() as u32,
            partial: Vec::new(),
            passing: false,
            window_began: Instant::now(),
            window_lines: 0,
            window_bytes: 0,
            skipped: 0,
        }
    }

    /// Hands on whole lines; true when this second's bytes are used up.
    fn take(&mut self, bytes: &[u8], log: &dyn Fn(ChildLog)) -> bool {
        if self.window_began.elapsed() >= Duration::from_secs(1) {
            (self.window_began, self.window_lines, self.window_bytes) = (Instant::now(), 0, 0);
        }
        self.window_bytes += bytes.len();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ended) = match piece.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (piece, false),
            };
            if !self.passing {
                let room = LOG_LINE_BYTES_MAX - self.partial.len();
                self.partial.extend_from_slice(&text[..text.len().min(room)]);
                if text.len() > room {
                    self.hand_on(true, log);
                    self.passing = true;
                } else if ended {
                    self.hand_on(false, log);
                }
            }
            if ended {
                self.passing = false;
            }
        }
        self.window_bytes >= LOG_BYTES_PER_SECOND_MAX
    }

    /// The stream has ended: what is left is a line, and skipped lines are told.
    fn finish(&mut self, log: &dyn Fn(ChildLog)) {
        self.window_lines = 0;
        if !self.partial.is_empty() || self.skipped > 0 {
            self.hand_on(false, log);
        }
    }

    fn window_end(&self) -> Instant {
        self.window_began + Duration::from_secs(1)
    }

    fn hand_on(&mut self, cut: bool, log: &dyn Fn(ChildLog)) {
        if self.window_lines >= LOG_LINES_PER_SECOND_MAX {
            self.skipped += 1;
        } else {
            self.window_lines += 1;
            let text = self.partial.strip_suffix(b"\r").unwrap_or(&self.partial);
            let line = String::from_utf8_lossy(text).into_owned();
            let skipped = std::mem::take(&mut self.skipped);
            log(ChildLog { tag: self.tag, pid: self.pid, line, cut, skipped });
        }
        self.partial.clear();
    }
}

fn in_words(status: Option<WaitIdStatus>) -> String {
    match status {
        Some(status) => match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => format!("exit code {code}"),
            (_, Some(signal)) => format!("killed by signal {signal}"),
            _ => "ended".to_string(),
        },
        None => "ended; nobody knows how".to_string(),
    }
}
