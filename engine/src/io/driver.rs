//! Which driver workers run on, and why it is not the best there is.
//!
//! The ring is asked for with `SINGLE_ISSUER | DEFER_TASKRUN | COOP_TASKRUN` (0.84 to 0.86 of the default ring's CPU
//! per request at 16 connections), then with `COOP_TASKRUN` alone, then plain; when the kernel refuses a ring
//! altogether, the same program runs on epoll and says why. A throw-away ring with our own flags decides, because
//! monoio's own probe does not try them. What runs on the chosen driver is `runtime.rs`.

use std::fmt;
use std::io;
use std::str::FromStr;

use io_uring_06::{IoUring, Probe, opcode};
use rustix::thread::{CpuSet, sched_getaffinity};

/// Operations the submission queue holds: monoio panics when it is full after a submit, so it is large.
pub const RING_ENTRIES: u32 = 4096;

/// Completions the ring holds before the kernel must keep them aside. 256 KiB beside 256 KiB of submissions.
pub const RING_COMPLETIONS: u32 = 4 * RING_ENTRIES;

/// What the operator asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DriverChoice {
    /// io_uring where the kernel allows it, else epoll.
    #[default]
    Auto,
    /// io_uring or nothing.
    IoUring,
    /// io_uring with the kernel's default flags or nothing: to measure what ours gain (`bench/side-by-side`).
    IoUringPlain,
    /// epoll.
    Epoll,
}

impl DriverChoice {
    /// The rings to try, best first.
    fn rings(self) -> &'static [RingFlags] {
        match self {
            DriverChoice::IoUringPlain => &[RingFlags::Plain],
            _ => &RingFlags::BEST_FIRST,
        }
    }
}

impl FromStr for DriverChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<DriverChoice, String> {
        match text {
            "auto" => Ok(DriverChoice::Auto),
            "io_uring" => Ok(DriverChoice::IoUring),
            "io_uring_plain" => Ok(DriverChoice::IoUringPlain),
            "epoll" => Ok(DriverChoice::Epoll),
            _ => Err(format!("unknown driver `{text}`: expected `auto`, `io_uring` or `epoll`")),
        }
    }
}

/// What a worker runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// One ring per worker.
    IoUring,
    /// Readiness and plain system calls.
    Epoll,
}

impl Driver {
    /// The word for logs and metrics.
    pub fn label(self) -> &'static str {
        match self {
            Driver::IoUring => "io_uring",
            Driver::Epoll => "epoll",
        }
    }
}

/// How the ring is set up; best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RingFlags {
    /// `SINGLE_ISSUER | DEFER_TASKRUN | COOP_TASKRUN`: Linux 6.1.
    Deferred,
    /// `COOP_TASKRUN`: Linux 5.19.
    Cooperative,
    /// None.
    Plain,
}

impl RingFlags {
    const BEST_FIRST: [RingFlags; 3] = [RingFlags::Deferred, RingFlags::Cooperative, RingFlags::Plain];

    /// The word for logs and metrics.
    pub fn label(self) -> &'static str {
        match self {
            RingFlags::Deferred => "single_issuer+defer_taskrun+coop_taskrun",
            RingFlags::Cooperative => "coop_taskrun",
            RingFlags::Plain => "default",
        }
    }

    pub(super) fn builder(self) -> io_uring_06::Builder {
        let mut builder = IoUring::builder();
        builder.setup_cqsize(RING_COMPLETIONS);
        match self {
            RingFlags::Deferred => {
                builder.setup_single_issuer().setup_defer_taskrun().setup_coop_taskrun();
            }
            RingFlags::Cooperative => {
                builder.setup_coop_taskrun();
            }
            RingFlags::Plain => {}
        }
        builder
    }
}

/// The decision of [`choose`], the same for all workers.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// What workers run on.
    pub driver: Driver,
    /// How their rings are set up; meaningless for epoll.
    pub flags: RingFlags,
    /// Why it is not the best there is: what was tried, what the kernel answered, the likely cause and remedy.
    pub note: Option<String>,
}

/// Why a worker could not start.
#[derive(Debug)]
pub enum DriverError {
    /// io_uring was demanded and the kernel refuses; the text says why and what helps.
    Refused(String),
    /// The runtime could not be built.
    Build(Driver, io::Error),
    /// The worker could not be bound to its core.
    Pin(usize, io::Error),
}

impl fmt::Display for DriverError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DriverError::Refused(why) => write!(out, "{why}"),
            DriverError::Build(driver, error) => {
                write!(out, "cannot build a worker's runtime on {}: {error}", driver.label())
            }
            DriverError::Pin(core, error) => write!(
                out,
                "cannot bind a worker to core {core}: {error}; the container's cpuset may exclude that core"
            ),
        }
    }
}

impl std::error::Error for DriverError {}

/// Finds out what this kernel allows, with a throw-away ring.
pub fn choose(choice: DriverChoice) -> Result<Chosen, DriverError> {
    if choice == DriverChoice::Epoll {
        return Ok(Chosen { driver: Driver::Epoll, flags: RingFlags::Plain, note: None });
    }
    let mut first_error = None;
    for flags in choice.rings().iter().copied() {
        match try_ring(flags) {
            Ok(()) => {
                let note = first_error.map(|error| {
                    format!(
                        "io_uring runs with {} only: {} was refused ({error}); Linux 6.1 or newer allows it",
                        flags.label(),
                        RingFlags::Deferred.label(),
                    )
                });
                return Ok(Chosen { driver: Driver::IoUring, flags, note });
            }
            Err(error) => {
                first_error.get_or_insert(error);
            }
        }
    }
    let why = first_error.as_ref().map_or_else(|| "no ring was tried".to_owned(), explain);
    match choice {
        DriverChoice::IoUring | DriverChoice::IoUringPlain => Err(DriverError::Refused(why)),
        _ => Ok(Chosen {
            driver: Driver::Epoll,
            flags: RingFlags::Plain,
            note: Some(format!("{why}; running on epoll instead")),
        }),
    }
}

/// Every way of setting up a ring, best first, and whether this kernel allows it: each is really tried.
pub fn try_all() -> Vec<(RingFlags, io::Result<()>)> {
    RingFlags::BEST_FIRST.iter().map(|flags| (*flags, try_ring(*flags))).collect()
}

/// Cores this process may use, in order.
pub fn cores() -> Vec<usize> {
    match sched_getaffinity(None) {
        Ok(set) => (0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect(),
        Err(_) => vec![0],
    }
}

/// A ring of our size and flags that knows our operations and completes one.
fn try_ring(flags: RingFlags) -> io::Result<()> {
    let mut ring = flags.builder().build(RING_ENTRIES)?;
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe)?;
    let needed = [
        opcode::Accept::CODE,
        opcode::Connect::CODE,
        opcode::Recv::CODE,
        opcode::Send::CODE,
        opcode::Read::CODE,
        opcode::Close::CODE,
        opcode::PollAdd::CODE,
        opcode::AsyncCancel::CODE,
    ];
    if needed.iter().any(|code| !probe.is_supported(*code)) {
        return Err(io::Error::other("the kernel's io_uring lacks operations we need (Linux 5.6 has them)"));
    }
    let nop = opcode::Nop::new().build();
    // SAFETY: a no-op refers to no memory.
    unsafe { ring.submission().push(&nop) }.map_err(io::Error::other)?;
    ring.submit_and_wait(1)?;
    match ring.completion().next() {
        Some(done) if done.result() == 0 => Ok(()),
        _ => Err(io::Error::other("a no-op did not complete")),
    }
}

/// The likely cause of a refused ring, and what helps.
pub fn explain(error: &io::Error) -> String {
    let sysctl = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let seccomp = status.lines().any(|line| line.starts_with("Seccomp:") && line.ends_with('2'));
    let errno = rustix::io::Errno::from_io_error(error);
    let cause = match errno {
        Some(rustix::io::Errno::PERM | rustix::io::Errno::ACCESS) if matches!(sysctl.trim(), "1" | "2") => {
            "the sysctl kernel.io_uring_disabled forbids it: `sysctl -w kernel.io_uring_disabled=0`"
        }
        Some(rustix::io::Errno::PERM | rustix::io::Errno::ACCESS | rustix::io::Errno::NOSYS) if seccomp => {
            "a seccomp filter forbids it, as container engines do by default: allow io_uring_setup, io_uring_enter \
             and io_uring_register in the container's seccomp profile"
        }
        Some(rustix::io::Errno::NOSYS) => "this kernel has no io_uring: Linux 5.6 or newer does",
        Some(rustix::io::Errno::NOMEM) => {
            "the ring does not fit into the locked-memory limit: raise RLIMIT_MEMLOCK (`ulimit -l`, LimitMEMLOCK=)"
        }
        Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE) => {
            "no file descriptors are left: raise RLIMIT_NOFILE (`ulimit -n`, LimitNOFILE=)"
        }
        _ => "the kernel is too old or a security policy forbids it",
    };
    format!("io_uring is not available ({error}): {cause}")
}
