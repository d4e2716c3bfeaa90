//! One birth: from an order to a running process, without copying the gateway.
//!
//! `fork` copies the page tables of the whole gateway (measured: 19 ms with 512 MiB resident) while every worker that
//! faults a page waits, and makes each page it then writes a copy. So a child is made as posix_spawn makes one:
//! `clone(CLONE_VM | CLONE_VFORK)` on a stack of its own, this thread asleep until the child has called exec.
//! posix_spawn itself, which std would use, can neither close all descriptors nor set the parent-death signal.
//!
//! Everything that allocates or may fail with a story (looking a name up in `PATH`, joining `NAME=value`) is done
//! before; the child makes system calls only, and leaves the number of a failed one in memory we share.

use std::ffi::{CStr, CString, OsString, c_char, c_int, c_void};
use std::fs::Metadata;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions};

use super::super::{files, sys};
use super::{ENVIRONMENT, Order, SpawnError};

/// Where names are looked up when neither we nor the order have a `PATH`.
const PATH_BY_DEFAULT: &str = "/usr/local/bin:/usr/bin:/bin";

/// The child's stack until exec; it needs a few hundred bytes.
const STACK_BYTES: usize = 256 * 1024;

/// What the child finds as 0, 1 and 2.
pub(super) struct Stdio {
    pub stdin: OwnedFd,
    pub stdout: OwnedFd,
    pub stderr: OwnedFd,
}

/// Starts the order's process as the leader of its own group. Call it from one thread that lives as long as the
/// gateway: the kernel kills the child when that thread ends.
pub(super) fn bring_up(order: &Order, stdio: Stdio) -> Result<Pid, SpawnError> {
    let plan = Plan::of(order).map_err(|error| explain(order, &error))?;
    // Above 2, so that putting one in place cannot overwrite another (we may have been started without a stdin).
    let above = |fd: &OwnedFd| rustix::io::fcntl_dupfd_cloexec(fd, 3);
    let fds = [above(&stdio.stdin), above(&stdio.stdout), above(&stdio.stderr)];
    let [Ok(stdin), Ok(stdout), Ok(stderr)] = fds else {
        let error = fds.into_iter().find_map(Result::err).unwrap_or(Errno::MFILE);
        return Err(explain(order, &error.into()));
    };
    plan.run([stdin.as_raw_fd(), stdout.as_raw_fd(), stderr.as_raw_fd()])
        .map_err(|error| explain(order, &error))
}

/// All strings of a child, ready for exec.
struct Plan {
    program: CString,
    args: Vec<CString>,
    env: Vec<CString>,
    cwd: Option<CString>,
}

impl Plan {
    fn of(order: &Order) -> io::Result<Plan> {
        let env = environment(order)?;
        let mut args = vec![c_string(order.command.as_bytes())?];
        for arg in &order.args {
            args.push(c_string(arg.as_bytes())?);
        }
        let path = env.iter().find(|(name, _)| name == "PATH").map(|(_, value)| value.clone());
        let program = look_up(&order.command, path.unwrap_or_else(|| PATH_BY_DEFAULT.into()))?;
        let joined = env.into_iter().map(|(name, value)| {
            let mut line = name.into_bytes();
            line.push(b'=');
            line.extend_from_slice(value.as_bytes());
            c_string(&line)
        });
        let cwd = order.cwd.as_ref().map(|cwd| c_string(cwd.as_os_str().as_bytes())).transpose()?;
        Ok(Plan {
            program: c_string(program.as_os_str().as_bytes())?,
            args,
            env: joined.collect::<Result<_, _>>()?,
            cwd,
        })
    }

    fn run(&self, fds: [RawFd; 3]) -> io::Result<Pid> {
        let (args, env) = (null_ended(&self.args), null_ended(&self.env));
        let mut stack = vec![0u128; STACK_BYTES / size_of::<u128>()];
        let mut cradle = Cradle {
            program: &self.program,
            args: args.as_ptr(),
            env: env.as_ptr(),
            cwd: self.cwd.as_deref(),
            fds,
            gateway: rustix::process::getpid(),
            failed: 0,
        };
        let cradle = &raw mut cradle;
        let flags = CLONE_VM | CLONE_VFORK | SIGCHLD;
        // No handler of ours may run in the child, which shares our memory.
        let signals = SignalsBlocked::begin();
        // SAFETY: the child runs `child` on `stack`, whose end is aligned to 16 and below which nothing else lies; the
        // stack, the cradle and all that it points to outlive it, because this thread sleeps until the child has
        // called exec or exited. `child` touches nothing that another thread may hold.
        let pid = unsafe { clone(child, stack.as_mut_ptr_range().end.cast(), flags, cradle.cast()) };
        let clone_error = io::Error::last_os_error();
        drop(signals);
        let Some(pid) = Pid::from_raw(pid).filter(|_| pid > 0) else { return Err(clone_error) };
        // SAFETY: written by the child, which has finished with it.
        let failed = unsafe { (&raw const (*cradle).failed).read_volatile() };
        if failed == 0 {
            return Ok(pid);
        }
        // It has exited without exec: take it off the list of the dead.
        while let Err(Errno::INTR) = rustix::process::waitpid(Some(pid), WaitOptions::empty()) {}
        Err(io::Error::from_raw_os_error(failed))
    }
}

/// What parent and child share.
struct Cradle<'a> {
    program: &'a CStr,
    args: *const *const c_char,
    env: *const *const c_char,
    cwd: Option<&'a CStr>,
    fds: [RawFd; 3],
    gateway: Pid,
    /// The error number of the step that failed; 0 while none has.
    failed: c_int,
}

/// The child's whole life before exec.
extern "C" fn child(cradle: *mut c_void) -> c_int {
    // SAFETY: `run` passes its cradle and sleeps meanwhile.
    let cradle = unsafe { &mut *cradle.cast::<Cradle>() };
    let error = match become_order(cradle) {
        Ok(never) => match never {},
        Err(error) => error.raw_os_error().unwrap_or(EIO),
    };
    // SAFETY: an exclusive reference; volatile because the reader is another process on the same memory.
    unsafe { (&raw mut cradle.failed).write_volatile(error) };
    // SAFETY: ends this process without running anything that belongs to the gateway.
    unsafe { _exit(127) }
}

/// Only system calls: no allocation, no lock, no panic.
fn become_order(cradle: &Cradle) -> io::Result<std::convert::Infallible> {
    for signal in 1..=SIGNAL_LAST {
        // SAFETY: the table of handlers is the child's own copy. Numbers that may not be set are refused.
        unsafe { signal_default(signal) };
    }
    rustix::process::setpgid(None, None)?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // Died before the line above: nobody would send that signal.
    if rustix::process::getppid() != Some(cradle.gateway) {
        return Err(Errno::SRCH.into());
    }
    let [stdin, stdout, stderr] = cradle.fds;
    for (from, to) in [(stdin, 0), (stdout, 1), (stderr, 2)] {
        // SAFETY: the table of descriptors is the child's own copy, and nothing in the child owns 0, 1 or 2.
        if unsafe { dup2(from, to) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    if let Some(cwd) = cradle.cwd {
        rustix::process::chdir(cwd)?;
    }
    sys::close_all_on_exec()?;
    files::lower_for_child();
    unblock_all();
    // SAFETY: a path and two null-ended arrays of null-ended strings, all alive in the sleeping parent.
    unsafe { execve(cradle.program.as_ptr(), cradle.args, cradle.env) };
    Err(io::Error::last_os_error())
}

fn null_ended(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
}

fn c_string(bytes: &[u8]) -> io::Result<CString> {
    CString::new(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a zero byte in its strings"))
}

/// Ours as far as [`ENVIRONMENT`] names it, then the order's; a name appears once.
fn environment(order: &Order) -> io::Result<Vec<(String, OsString)>> {
    let ours = ENVIRONMENT.iter().filter_map(|name| Some((name.to_string(), std::env::var_os(name)?)));
    let mut all: Vec<(String, OsString)> = ours.collect();
    for (name, value) in &order.env {
        if name.is_empty() || name.contains('=') {
            let text = format!("`{name}` is no name for an environment variable");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        match all.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = value.into(),
            None => all.push((name.clone(), value.into())),
        }
    }
    Ok(all)
}

/// The file that a command means. A name with a slash is taken as it is; others are looked for in the absolute
/// directories of `PATH` (relative ones depend on where somebody stood).
fn look_up(command: &str, path: OsString) -> io::Result<PathBuf> {
    if command.contains('/') {
        return Ok(command.into());
    }
    let mut error = Errno::NOENT;
    if !command.is_empty() {
        for directory in path.into_vec().split(|byte| *byte == b':') {
            let directory = Path::new(std::ffi::OsStr::from_bytes(directory));
            let file = directory.join(command);
            match file.metadata() {
                Ok(found) if directory.is_absolute() && may_run(&found) => return Ok(file),
                Ok(found) if found.is_file() => error = Errno::ACCESS,
                _ => {}
            }
        }
    }
    Err(error.into())
}

fn may_run(file: &Metadata) -> bool {
    file.is_file() && file.permissions().mode() & 0o111 != 0
}

/// The error with its likely remedy.
pub(super) fn explain(order: &Order, error: &io::Error) -> SpawnError {
    let help = match Errno::from_io_error(error) {
        Some(Errno::NOENT | Errno::NOTDIR) => match &order.cwd {
            Some(cwd) if !cwd.is_dir() => Some(format!(
                "its working directory {} does not exist: create it or correct `cwd`",
                cwd.display()
            )),
            _ if order.command.contains('/') => {
                Some("the file, or the interpreter its first line names, does not exist".to_string())
            }
            _ => {
                let ours = std::env::var("PATH").unwrap_or_else(|_| PATH_BY_DEFAULT.into());
                let given = order.env.iter().rev().find(|(name, _)| name == "PATH");
                let path = given.map_or(ours.as_str(), |(_, value)| value.as_str());
                Some(format!("it is not in PATH ({path}): install it, or write its full path"))
            }
        },
        Some(Errno::ACCESS) => match &order.cwd {
            Some(cwd) if std::fs::read_dir(cwd).is_err() => {
                Some(format!("its working directory {} may not be entered", cwd.display()))
            }
            _ => Some(format!("it is not executable for this user: `chmod +x {}`", order.command)),
        },
        Some(Errno::NOEXEC) => {
            Some("it is neither a program nor a script with a `#!` first line".to_string())
        }
        Some(Errno::AGAIN | Errno::NOMEM) => Some(
            "the process or memory limit is reached: see `ulimit -u`, TasksMax= and the container's limits"
                .to_string(),
        ),
        Some(Errno::MFILE | Errno::NFILE) => {
            Some("no file descriptors are left: raise RLIMIT_NOFILE (`ulimit -n`, LimitNOFILE=)".to_string())
        }
        Some(Errno::TOOBIG) => Some("its arguments and environment are too large".to_string()),
        _ => None,
    };
    SpawnError { command: order.command.clone(), problem: error.to_string(), help }
}

/// All signals wait while this exists.
struct SignalsBlocked(SignalSet);

impl SignalsBlocked {
    fn begin() -> SignalsBlocked {
        let mut before = SIGNALS_NONE;
        // SAFETY: both sets are large enough for every C library's `sigset_t`.
        unsafe { pthread_sigmask(SIG_SETMASK, &SIGNALS_ALL, &mut before) };
        SignalsBlocked(before)
    }
}

impl Drop for SignalsBlocked {
    fn drop(&mut self) {
        // SAFETY: as above; a null pointer asks for nothing back.
        unsafe { pthread_sigmask(SIG_SETMASK, &self.0, std::ptr::null_mut()) };
    }
}

fn unblock_all() {
    // SAFETY: as above.
    unsafe { pthread_sigmask(SIG_SETMASK, &SIGNALS_NONE, std::ptr::null_mut()) };
}

/// `sigset_t`: 128 bytes in glibc and musl, of which the kernel reads the first 8.
type SignalSet = [u64; 16];

const SIGNALS_NONE: SignalSet = [0; 16];
const SIGNALS_ALL: SignalSet = [!0; 16];
const SIGNAL_LAST: c_int = 64;
const SIG_SETMASK: c_int = 2;
const SIGCHLD: c_int = 17;
const EIO: c_int = 5;
const CLONE_VM: c_int = 0x100;
const CLONE_VFORK: c_int = 0x4000;

/// # Safety
/// Changes a handler of the calling process.
unsafe fn signal_default(number: c_int) {
    const SIG_DFL: usize = 0;
    // SAFETY: the default action is always a valid handler.
    unsafe { signal(number, SIG_DFL) };
}

unsafe extern "C" {
    fn clone(
        run: extern "C" fn(*mut c_void) -> c_int,
        stack: *mut c_void,
        flags: c_int,
        arg: *mut c_void,
        ...
    ) -> c_int;
    fn dup2(from: c_int, to: c_int) -> c_int;
    fn execve(program: *const c_char, args: *const *const c_char, env: *const *const c_char) -> c_int;
    fn pthread_sigmask(how: c_int, set: *const SignalSet, before: *mut SignalSet) -> c_int;
    fn signal(number: c_int, handler: usize) -> usize;
    fn _exit(code: c_int) -> !;
}
