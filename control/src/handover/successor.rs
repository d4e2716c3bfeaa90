//! Another process of this program, started to take this one's place.
//!
//! It is started as this one was: the same file by name, which may be another version by now, the same arguments,
//! folder and environment. It gets all listening sockets over a line that is its standard input, and says `ready` once
//! it accepts from them. Until then nothing here has changed; one that ends before, or is not ready in time, was
//! nothing.

use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::process::Pid;
use strait_engine::Driver;
use tokio::process::{Child, Command};
use tokio::sync::oneshot;

use super::PREDECESSOR;
use super::line::{Ear, Line};
use crate::limits::{HANDOVER_SOCKETS_PER_MESSAGE_MAX, HANDOVER_WITHIN};

/// What it is given.
pub struct Estate {
    /// With the name of the listener, or of admin.
    pub sockets: Vec<(String, TcpListener)>,
    pub driver: Driver,
}

/// One that is ready.
pub struct Successor {
    pub pid: Pid,
    pub ear: Ear,
}

/// Starts one, and waits until it serves, or until `unwanted` says that nobody waits for it any more.
pub async fn start(
    program: PathBuf,
    estate: Estate,
    unwanted: oneshot::Receiver<()>,
) -> Result<Successor, String> {
    let (line, theirs) = Line::pair().map_err(|error| format!("cannot make a line to it: {error}"))?;
    let mut child = spawn(&program, theirs)?;
    let pid = child.id().and_then(|pid| Pid::from_raw(pid as i32)).ok_or("it ended at once")?;
    let why = tokio::select! {
        ready = ready(line, &estate, &mut child) => match ready {
            Ok(ear) => return Ok(Successor { pid, ear }),
            Err(why) => why,
        },
        _ = unwanted => "it is not wanted any more".to_owned(),
        () = tokio::time::sleep(HANDOVER_WITHIN) => {
            format!("it did not serve within {} s and was ended", HANDOVER_WITHIN.as_secs())
        }
    };
    // It may have ended by itself.
    let _ = child.kill().await;
    Err(why)
}

fn spawn(program: &Path, line: OwnedFd) -> Result<Child, String> {
    let mut command = Command::new(program);
    command.args(std::env::args_os().skip(1)).stdin(Stdio::from(line));
    // What a service manager said to this process is not said to that one.
    for name in ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "WATCHDOG_PID"] {
        command.env_remove(name);
    }
    command.env(PREDECESSOR, std::process::id().to_string());
    command.spawn().map_err(|error| format!("cannot start `{}`: {error}", program.display()))
}

async fn ready(line: Line, estate: &Estate, child: &mut Child) -> Result<Ear, String> {
    let lost = |error: std::io::Error| format!("the line to it failed: {error}");
    match hand_over(&line, estate) {
        // It has ended already, and how it did says more.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
        handed => handed.map_err(lost)?,
    }
    let ear = line.listen().map_err(lost)?;
    match ear.hear().await {
        Some(said) if said == "ready" => Ok(ear),
        Some(said) => Err(format!("expected `ready` of it, found `{said}`")),
        None => {
            let ended =
                child.wait().await.map_or_else(|error| error.to_string(), |status| status.to_string());
            Err(format!("it ended before it served ({ended}); its own lines above say why"))
        }
    }
}

fn hand_over(line: &Line, estate: &Estate) -> std::io::Result<()> {
    let mut names: Vec<&str> = estate.sockets.iter().map(|(name, _)| name.as_str()).collect();
    names.dedup();
    for name in names {
        let of_it = estate.sockets.iter().filter(|(of, _)| of == name);
        let sockets: Vec<BorrowedFd<'_>> = of_it.map(|(_, socket)| socket.as_fd()).collect();
        for some in sockets.chunks(HANDOVER_SOCKETS_PER_MESSAGE_MAX) {
            line.say(&format!("sockets {name}"), some)?;
        }
    }
    line.say(&format!("driver {}", estate.driver.label()), &[])?;
    line.say("end", &[])
}

/// The file that this process was started from, by the name that was used: a link on the way may lead to another
/// version later.
pub fn this_program() -> std::io::Result<PathBuf> {
    let Some(name) = std::env::args_os().next().filter(|name| !name.is_empty()) else {
        return std::env::current_exe();
    };
    let name = PathBuf::from(name);
    if name.components().count() > 1 || name.is_absolute() {
        return std::path::absolute(name);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut found =
        std::env::split_paths(&path).map(|folder| folder.join(&name)).filter(|file| file.is_file());
    found.next().map_or_else(std::env::current_exe, std::path::absolute)
}
