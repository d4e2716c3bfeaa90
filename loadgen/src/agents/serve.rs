//! `strait load agent`: waits for a leader, runs one plan at a time, and says what it found.
//!
//! The decision: three threads for a run, so that the one that sends is never in the way of a word and no word in its way: one listens to the leader, one
//! speaks, and this one drives. A leader that is silent or gone ends the run: load that nobody asks for any more is not sent.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver as Words, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant, SystemTime};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::channel::{ChannelFault, Receiver, Sender, Side, open};
use super::merge::Found;
use super::message::{Asked, Refusal, RefusalKind, Said};
use super::{ALIVE, CLOCK_EXCHANGES};
use crate::clock::Clock;
use crate::load::{self, Fault, Told};
use crate::target::{Secret, TlsFiles, Unreached};
use crate::words::printable;

/// Connections talked to at once: one leader, and some that are told that it is not their turn.
const TALKS_MAX: usize = 8;
/// The longest for which a request to stop goes unheard.
const SLICE: Duration = Duration::from_millis(100);
/// Words on their way to the leader: a glance a second, and answers to its questions about the time.
const WORDS_MAX: usize = 64;
/// What the end of a run under way may take when the agent itself is stopped.
const ENDING: Duration = Duration::from_secs(2);

/// How an agent is started.
#[derive(Clone, Debug)]
pub struct AgentOptions {
    pub bind: SocketAddr,
    pub token: Option<Secret>,
    /// Targets elsewhere may be loaded hard, as far as the leader says so too.
    pub i_own_this: bool,
    pub tls: TlsFiles,
}

pub struct Agent {
    listener: TcpListener,
    shared: Arc<Shared>,
}

struct Shared {
    options: AgentOptions,
    talks: AtomicUsize,
    is_busy: AtomicBool,
    is_over: AtomicBool,
    told: Box<dyn Fn(&str) + Send + Sync>,
}

impl Agent {
    /// `told` is given a line about each plan.
    pub fn bind(options: AgentOptions, told: Box<dyn Fn(&str) + Send + Sync>) -> io::Result<Agent> {
        let listener = TcpListener::bind(options.bind)?;
        listener.set_nonblocking(true)?;
        let shared = Shared {
            options,
            talks: AtomicUsize::new(0),
            is_busy: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            told,
        };
        Ok(Agent { listener, shared: Arc::new(shared) })
    }

    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves leaders until `stop`.
    pub fn run(self, stop: &AtomicBool) -> io::Result<()> {
        let slice = Timespec { tv_sec: 0, tv_nsec: SLICE.as_nanos() as i64 };
        while !stop.load(Ordering::Relaxed) {
            match poll(&mut [PollFd::new(&self.listener, PollFlags::IN)], Some(&slice)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            match self.listener.accept() {
                Ok((stream, peer)) => self.talk_to(stream, peer),
                // Whoever hung up while waiting is nobody to talk to; and descriptors come back.
                Err(_) => std::thread::sleep(Duration::from_millis(1)),
            }
        }
        self.shared.is_over.store(true, Ordering::Relaxed);
        let until = Instant::now() + ENDING;
        while self.shared.talks.load(Ordering::Relaxed) > 0 && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    fn talk_to(&self, stream: TcpStream, peer: SocketAddr) {
        if self.shared.talks.fetch_add(1, Ordering::Relaxed) >= TALKS_MAX {
            self.shared.talks.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        let counted = Counted(self.shared.clone());
        let begun = std::thread::Builder::new().name("strait-agent".into()).spawn(move || {
            let shared = &counted.0;
            if let Err(fault) = talk(stream, peer, shared) {
                (shared.told)(&printable(&format!("{peer}: {fault}")));
            }
        });
        if let Err(error) = begun {
            (self.shared.told)(&format!("{peer}: no thread for it: {error}"));
        }
    }
}

struct Counted(Arc<Shared>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.talks.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The one plan at a time.
struct Slot<'a>(&'a AtomicBool);

impl<'a> Slot<'a> {
    fn take(is_busy: &'a AtomicBool) -> Option<Slot<'a>> {
        let taken = is_busy.compare_exchange(false, true, Ordering::AcqRel, Ordering::Relaxed);
        taken.is_ok().then_some(Slot(is_busy))
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

fn talk(stream: TcpStream, peer: SocketAddr, shared: &Shared) -> Result<(), ChannelFault> {
    stream.set_nonblocking(false)?;
    let (mut sender, mut receiver) = open(stream, Side::Agent, shared.options.token.as_ref())?;
    let clock = Clock::new();
    let mut slot = None;
    let mut plan = None;
    // What comes before a plan: questions about the time, and nothing without end.
    for _ in 0..=2 * CLOCK_EXCHANGES {
        let asked = receiver.receive().inspect_err(|fault| {
            if matches!(fault, ChannelFault::Token) {
                sender.refuse_token();
            }
        })?;
        if slot.is_none() {
            slot = Slot::take(&shared.is_busy);
        }
        match asked {
            _ if slot.is_none() => {
                let message = "it runs the plan of somebody else".to_owned();
                sender.send(&Said::Refused(Refusal { kind: RefusalKind::Busy, message, help: None }))?;
                // Read to the end, or what was said would be lost with the connection.
                while receiver.receive::<Asked>().is_ok() {}
                return Ok(());
            }
            Asked::Clock => sender.send(&time(clock))?,
            Asked::Plan(form) => {
                plan = Some(form);
                break;
            }
            Asked::Alive => {}
            Asked::Start { .. } | Asked::Stop => {
                return Err(ChannelFault::Damaged("a start without a plan".to_owned()));
            }
        }
    }
    let Some(form) = plan else {
        return Err(ChannelFault::Damaged("questions about the time, and no plan".to_owned()));
    };
    let stop = AtomicBool::new(false);
    let (say, said) = sync_channel(WORDS_MAX);
    let (starts, start) = sync_channel(1);
    std::thread::scope(|threads| {
        threads.spawn(|| speak(sender, said, &stop));
        let answers = say.clone();
        let heard = threads.spawn(|| listen(receiver, clock, answers, starts, &stop));
        let outcome = form.options(&shared.options.tls, shared.options.i_own_this).and_then(|options| {
            Driving { clock, say: &say, start: &start, stop: &stop, shared, peer }.run(&options)
        });
        let words = match outcome {
            Ok(found) => Said::Over(Box::new(found)),
            Err(refusal) => {
                let refusal = Refusal::of(refusal);
                (shared.told)(&printable(&format!("{peer}: {}", refusal.message)));
                Said::Refused(refusal)
            }
        };
        // A leader that is gone needs no answer.
        let _ = say.send(words);
        // It asks for the time once more, and hangs up.
        let _ = heard.join();
        drop(say);
    });
    Ok(())
}

fn time(clock: Clock) -> Said {
    let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Said::Clock { ns: clock.now(), wall_ns: wall.as_nanos() as i64 }
}

/// Says what there is to say, and else that it is there.
fn speak(mut sender: Sender, said: Words<Said>, stop: &AtomicBool) {
    loop {
        let words = match said.recv_timeout(ALIVE) {
            Ok(words) => words,
            Err(RecvTimeoutError::Timeout) => Said::Alive,
            Err(RecvTimeoutError::Disconnected) => return sender.close(),
        };
        if sender.send(&words).is_err() {
            stop.store(true, Ordering::Relaxed);
            return sender.close();
        }
    }
}

/// Hears the leader until it is gone.
fn listen(
    mut receiver: Receiver,
    clock: Clock,
    say: SyncSender<Said>,
    starts: SyncSender<u64>,
    stop: &AtomicBool,
) {
    while let Ok(asked) = receiver.receive() {
        match asked {
            Asked::Clock if say.send(time(clock)).is_ok() => {}
            Asked::Start { at_ns } if starts.try_send(at_ns).is_ok() => {}
            Asked::Stop => stop.store(true, Ordering::Relaxed),
            Asked::Alive => {}
            // A second plan, a second start, or nobody to answer.
            _ => break,
        }
    }
    stop.store(true, Ordering::Relaxed);
}

/// What the one that drives has of the conversation.
struct Driving<'a> {
    clock: Clock,
    say: &'a SyncSender<Said>,
    start: &'a Words<u64>,
    stop: &'a AtomicBool,
    shared: &'a Shared,
    peer: SocketAddr,
}

impl Driving<'_> {
    fn run(&self, options: &load::Options) -> Result<Found, Fault> {
        let Driving { clock, say, start, stop, shared, peer } = self;
        (shared.told)(&printable(&format!(
            "{peer}: a plan for {}, {} connections, portion {} of {}",
            options.target.url,
            options.connections,
            options.portion.index + 1,
            options.portion.of
        )));
        let prepared = load::prepare(options, *clock, stop, &mut |_| {})?;
        let interrupted = || Fault::Unreached(Unreached::Interrupted);
        say.send(Said::Ready).map_err(|_| interrupted())?;
        let is_stopped = || stop.load(Ordering::Relaxed) || shared.is_over.load(Ordering::Relaxed);
        let at = loop {
            match start.recv_timeout(SLICE) {
                Ok(at) => break at,
                Err(RecvTimeoutError::Timeout) if !is_stopped() => {}
                Err(_) => return Err(interrupted()),
            }
        };
        let now = clock.now();
        if now >= at {
            let late = Duration::from_nanos(now - at);
            let why = format!("its start was {late:?} ago when it heard of it");
            return Err(Fault::Machine(io::Error::other(why)));
        }
        (shared.told)(&format!("{peer}: the start is in {:?}", Duration::from_nanos(at - now)));
        let report = prepared.run(Some(at), stop, &mut |told| {
            if let Told::Glance(glance) = told {
                // The one that sends waits for nobody; the next second has another.
                let _ = say.try_send(Said::Glance(glance));
                if shared.is_over.load(Ordering::Relaxed) {
                    stop.store(true, Ordering::Relaxed);
                }
            }
        })?;
        (shared.told)(&printable(&format!("{peer}: over, {} measured", report.measured())));
        Ok(Found::of(report))
    }
}
