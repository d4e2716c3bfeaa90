//! Sockets that listened before this process began: from the process whose place it takes, or from a service manager
//! (`LISTEN_FDS`, systemd's socket activation).
//!
//! The decision: a socket is known by its address. Whoever passes one says where agents connect to, and so does the
//! table; when the two differ nobody is served on an address that the table does not name, and no socket is left
//! in whose queue agents would wait for ever: the process does not start, and says which socket and which listeners.
//! A name (`LISTEN_FDNAMES`) only tells listeners at port 0 apart.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;

use rustix::net::sockopt;
use strait_engine::DriverChoice;
use strait_engine::io::inherit;

use super::PREDECESSOR;
use super::line::Line;
use crate::failure::{Code, Failure};
use crate::limits::{HANDOVER_SAID_WITHIN, INHERITED_SOCKETS_MAX};
use crate::listen;

/// What admin's socket is called.
pub const ADMIN: &str = "admin";

/// What was passed on to this process.
#[derive(Default)]
pub struct Inherited {
    sockets: Vec<Socket>,
    /// Whose place this process takes.
    pub predecessor: Option<Predecessor>,
}

struct Socket {
    name: String,
    address: SocketAddr,
    listener: TcpListener,
}

/// The process whose place this one takes.
pub struct Predecessor {
    pub line: Line,
    /// Both must accept from the same sockets in the same way, which differs between drivers.
    pub driver: DriverChoice,
}

impl Inherited {
    /// Everything that was passed on. To be called once, before the process opens anything that listens.
    pub fn take() -> Result<Inherited, Failure> {
        let variable = |name: &str| std::env::var(name).ok();
        if variable(PREDECESSOR).is_some_and(|pid| pid == parent()) {
            return from_predecessor().map_err(|why| {
                Failure::new(Code::Unfit, format!("cannot take over from the running gateway: {why}"))
            });
        }
        let is_ours = variable("LISTEN_PID").is_some_and(|pid| pid == std::process::id().to_string());
        let Some(count) = variable("LISTEN_FDS").filter(|_| is_ours) else { return Ok(Inherited::default()) };
        from_manager(&count, &variable("LISTEN_FDNAMES").unwrap_or_default())
            .map_err(|why| Failure::new(Code::Unfit, format!("cannot use the sockets of LISTEN_FDS: {why}")))
    }

    /// Those for one address of the table. `name` is the listener's, or [`ADMIN`].
    pub fn of(&mut self, what: &str, name: &str, bind: &str) -> Result<Vec<TcpListener>, Failure> {
        if self.sockets.is_empty() {
            return Ok(Vec::new());
        }
        let wanted = listen::resolve(bind).map_err(|error| listen::failed(what, bind, &error))?;
        let fits = |socket: &Socket| match wanted.port() {
            0 => socket.address.ip() == wanted.ip() && socket.name == name,
            _ => socket.address == wanted,
        };
        let (fitting, rest) = std::mem::take(&mut self.sockets).into_iter().partition(fits);
        self.sockets = rest;
        let fitting: Vec<Socket> = fitting;
        Ok(fitting.into_iter().map(|socket| socket.listener).collect())
    }

    /// Nothing may be left over once everything of the table has been asked for; `wanted` names what was.
    pub fn finish(self, wanted: &str) -> Result<Option<Predecessor>, Failure> {
        let Some(socket) = self.sockets.first() else { return Ok(self.predecessor) };
        let message = format!(
            "the socket `{}` at {} was passed to this process, and nothing of the configuration listens there: \
             expected {wanted}",
            socket.name, socket.address
        );
        Err(Failure::new(Code::Conflict, message).help(match self.predecessor {
            Some(_) => "other addresses need a restart",
            None => "write the same address in the configuration and in the socket unit (`ListenStream=`)",
        }))
    }
}

fn parent() -> String {
    rustix::process::getppid().map(|pid| pid.as_raw_nonzero().to_string()).unwrap_or_default()
}

fn from_manager(count: &str, names: &str) -> Result<Inherited, String> {
    let count = count.parse().ok().filter(|count| *count <= INHERITED_SOCKETS_MAX);
    let count = count.ok_or_else(|| format!("expected a number up to {INHERITED_SOCKETS_MAX}"))?;
    let taken = inherit::listening(count).map_err(|error| error.to_string())?;
    let mut names = names.split(':');
    let sockets = taken.into_iter().map(|socket| Socket::of(names.next().unwrap_or_default(), socket));
    Ok(Inherited { sockets: sockets.collect::<Result<_, _>>()?, predecessor: None })
}

fn from_predecessor() -> Result<Inherited, String> {
    let text = |error: std::io::Error| error.to_string();
    let line = Line::of(inherit::standard_input().map_err(text)?);
    let (mut sockets, mut driver) = (Vec::new(), DriverChoice::Auto);
    loop {
        let said = line.wait(HANDOVER_SAID_WITHIN).map_err(text)?.ok_or("it is gone")?;
        let (what, rest) = said.text.split_once(' ').unwrap_or((said.text.as_str(), ""));
        match what {
            "sockets" => {
                for socket in said.sockets {
                    sockets.push(Socket::of(rest, socket)?);
                }
            }
            "driver" => driver = rest.parse()?,
            "end" => break,
            // A later version may say more.
            _ => {}
        }
    }
    Ok(Inherited { sockets, predecessor: Some(Predecessor { line, driver }) })
}

impl Socket {
    fn of(name: &str, socket: OwnedFd) -> Result<Socket, String> {
        let listens = sockopt::socket_acceptconn(&socket).unwrap_or(false);
        let address =
            rustix::net::getsockname(&socket).ok().and_then(|address| SocketAddr::try_from(address).ok());
        match address.filter(|_| listens) {
            Some(address) => Ok(Socket { name: name.to_owned(), address, listener: socket.into() }),
            None => Err(format!("`{name}` is not a TCP socket that listens (`ListenStream=ADDRESS:PORT`)")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inherited(sockets: &[(&str, &TcpListener)]) -> Inherited {
        let socket = |(name, listener): &(&str, &TcpListener)| {
            Socket::of(name, listener.try_clone().unwrap().into()).unwrap()
        };
        Inherited { sockets: sockets.iter().map(socket).collect(), predecessor: None }
    }

    fn listener() -> (TcpListener, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        (listener, address)
    }

    #[test]
    fn sockets_go_to_the_listener_with_their_address() {
        let ((a, at_a), (b, at_b)) = (listener(), listener());
        let mut all = inherited(&[("x", &a), ("x", &b), ("y", &a)]);
        assert_eq!(all.of("admin", ADMIN, "127.0.0.1:1").unwrap().len(), 0);
        let of_a = all.of("listener `main`", "main", &at_a).unwrap();
        assert_eq!(of_a.len(), 2);
        assert_eq!(of_a[0].local_addr().unwrap().to_string(), at_a);
        assert_eq!(all.of("admin", ADMIN, &at_b).unwrap().len(), 1);
        assert!(all.finish("").unwrap().is_none());
    }

    #[test]
    fn at_port_0_the_name_tells() {
        let ((a, _), (b, _)) = (listener(), listener());
        let mut all = inherited(&[("main", &a), (ADMIN, &b)]);
        let of_admin = all.of("admin", ADMIN, "127.0.0.1:0").unwrap();
        assert_eq!(of_admin[0].local_addr().unwrap(), b.local_addr().unwrap());
        assert_eq!(all.of("listener `main`", "main", "127.0.0.1:0").unwrap().len(), 1);
    }

    #[test]
    fn one_that_nobody_wants_is_refused_by_name() {
        let (a, at) = listener();
        let failure = inherited(&[("web", &a)]).finish("listener `main` at 127.0.0.1:1").err().unwrap();
        for part in ["`web`", &at, "listener `main` at 127.0.0.1:1"] {
            assert!(failure.message.contains(part), "{part}: {}", failure.message);
        }
        assert!(failure.help.unwrap().contains("ListenStream"));
    }

    #[test]
    fn what_does_not_listen_is_refused() {
        let (a, at) = listener();
        let connected = std::net::TcpStream::connect(at).unwrap();
        drop(a);
        assert!(Socket::of("web", connected.into()).is_err());
        let (_, unix) = Line::pair().unwrap();
        assert!(Socket::of("web", unix).is_err());
    }
}
