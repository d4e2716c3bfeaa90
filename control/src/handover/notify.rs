//! What a service manager is told of this process (sd_notify(3)): that it serves, that it reads its configuration again,
//! that it stops, which process to look after, that it is alive. Nothing is told where `NOTIFY_SOCKET` names nobody.
//!
//! By hand, since it is one datagram; nothing that the manager does or does not do with it may hold up the gateway.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::log;

/// The manager, as far as there is one.
#[derive(Default)]
pub struct Manager {
    to: Option<(UnixDatagram, SocketAddr)>,
    /// How often it wants to hear that the process is alive.
    alive_every: Option<Duration>,
    told_alive: Option<Instant>,
    /// It was told that this process serves; before, another one may be looked after.
    knows: bool,
    /// It did not take something, which was said once.
    is_deaf: bool,
}

impl Manager {
    /// As the environment says. `is_successor`: the manager knew another process when it wrote the environment.
    pub fn of_environment(is_successor: bool) -> Manager {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let Some(path) = variable("NOTIFY_SOCKET") else { return Manager::default() };
        let ours = std::process::id().to_string();
        let is_ours = is_successor || variable("WATCHDOG_PID").is_none_or(|pid| pid == ours);
        let period = variable("WATCHDOG_USEC").filter(|_| is_ours).and_then(|usec| usec.parse().ok());
        match Manager::at(&path, period.map(Duration::from_micros)) {
            Ok(manager) => manager,
            Err(error) => {
                log::warn(format!("cannot tell the service manager anything (`{path}`): {error}"));
                Manager::default()
            }
        }
    }

    /// `watched`: it ends a process that was not heard of for so long.
    fn at(path: &str, watched: Option<Duration>) -> std::io::Result<Manager> {
        let address = match path.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(path)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        // Half of it is what sd_watchdog_enabled(3) advises; half of that leaves one to be lost.
        let alive_every = watched.map(|period| period / 4);
        Ok(Manager { to: Some((socket, address)), alive_every, ..Manager::default() })
    }

    /// It serves, or serves again after [`Manager::reloading`].
    pub fn ready(&mut self, status: &str) {
        self.knows = true;
        self.tell(&format!("READY=1\nSTATUS={}", status.replace('\n', " ")));
    }

    pub fn reloading(&mut self) {
        let now = clock_gettime(ClockId::Monotonic);
        let usec = now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1_000;
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={usec}"));
    }

    pub fn stopping(&mut self, status: &str) {
        self.tell(&format!("STOPPING=1\nSTATUS={status}"));
    }

    /// Another process is to be looked after from now on.
    pub fn main_process(&mut self, pid: i32) {
        self.tell(&format!("MAINPID={pid}"));
        // Whoever is not looked after says no more.
        self.to = None;
    }

    /// The process is well. Tells it as often as the manager wants to hear it.
    pub fn alive(&mut self, now: Instant) {
        let Some(every) = self.alive_every.filter(|_| self.knows) else { return };
        if self.told_alive.is_none_or(|last| now.saturating_duration_since(last) >= every) {
            self.told_alive = Some(now);
            self.tell("WATCHDOG=1");
        }
    }

    fn tell(&mut self, text: &str) {
        let Some((socket, address)) = &self.to else { return };
        if let Err(error) = socket.send_to_addr(text.as_bytes(), address)
            && !std::mem::replace(&mut self.is_deaf, true)
        {
            log::warn(format!("the service manager does not hear this process: {error}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::Folder;

    fn heard(socket: &UnixDatagram) -> Vec<String> {
        socket.set_nonblocking(true).unwrap();
        let mut all = Vec::new();
        let mut bytes = [0; 512];
        while let Ok(length) = socket.recv(&mut bytes) {
            all.push(String::from_utf8(bytes[..length].to_vec()).unwrap());
        }
        all
    }

    #[test]
    fn a_manager_hears_each_thing_as_it_expects_it() {
        let folder = Folder::new();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let mut manager = Manager::at(path.to_str().unwrap(), Some(Duration::from_secs(4))).unwrap();
        manager.ready("open:\ngeneration 1");
        manager.reloading();
        let began = Instant::now();
        for tenth in 0..20 {
            manager.alive(began + Duration::from_millis(100 * tenth));
        }
        manager.stopping("bye");
        manager.main_process(7);
        manager.ready("never said");
        let all = heard(&socket);
        assert_eq!(all[0], "READY=1\nSTATUS=open: generation 1");
        let usec = all[1].strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect("a time");
        assert!(usec.parse::<u64>().unwrap() > 0);
        assert_eq!(all[2..], ["WATCHDOG=1", "WATCHDOG=1", "STOPPING=1\nSTATUS=bye", "MAINPID=7"]);
    }

    #[test]
    fn an_abstract_name_is_an_address_too() {
        let name = format!("strait-test-{}", std::process::id());
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        Manager::at(&format!("@{name}"), None).unwrap().ready("open");
        assert_eq!(heard(&socket), ["READY=1\nSTATUS=open"]);
    }

    #[test]
    fn a_manager_that_is_gone_harms_nobody() {
        let mut manager = Manager::at("/nonexistent/notify", None).unwrap();
        manager.ready("open");
        manager.ready("open");
    }
}
