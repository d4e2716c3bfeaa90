//! Whether an address can be listened on, found out before anything else starts.
//!
//! Workers share their ports with SO_REUSEPORT, which a second gateway of the same user could silently
//! join, each then answering a part of the other's agents. Binding once without it refuses that, and
//! gives the message a person needs: which address, why, and what helps.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};

use crate::failure::{Code, Failure};

/// Binds and listens. `what` names the address in a message: "listener `main`".
pub fn bind(what: &str, address: &str) -> Result<TcpListener, Failure> {
    let resolved = resolve(address).map_err(|error| failed(what, address, &error))?;
    TcpListener::bind(resolved).map_err(|error| failed(what, address, &error))
}

/// Binds and lets go again.
pub fn probe(what: &str, address: &str) -> Result<(), Failure> {
    bind(what, address).map(drop)
}

pub fn resolve(address: &str) -> io::Result<SocketAddr> {
    address.to_socket_addrs()?.next().ok_or_else(|| io::Error::new(ErrorKind::NotFound, "no such address"))
}

pub fn failed(what: &str, address: &str, error: &io::Error) -> Failure {
    let port = address.rsplit_once(':').map_or(address, |(_, port)| port);
    let message = format!("cannot listen on {address} ({what}): {error}");
    match error.kind() {
        ErrorKind::AddrInUse => Failure::new(Code::Conflict, message).help(format!(
            "another process listens there, perhaps another strait: `ss -ltnp 'sport = :{port}'` names it; stop it, \
             or write another address for {what}"
        )),
        ErrorKind::PermissionDenied => Failure::new(Code::Unfit, message).help(format!(
            "ports below 1024 need a capability: `setcap cap_net_bind_service=+ep` on the binary, or a port from 1024 \
             on for {what}"
        )),
        ErrorKind::AddrNotAvailable => Failure::new(Code::Unfit, message).help(format!(
            "no interface of this machine has that address: `ip addr` lists them; write one of them for {what}"
        )),
        _ => Failure::new(Code::Unfit, message).help(format!("expected `host:port` of this machine for {what}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_a_conflict_even_when_its_owner_would_share() {
        let held = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = held.local_addr().unwrap().to_string();
        let failure = probe("listener `main`", &address).unwrap_err();
        assert_eq!(failure.code, Code::Conflict);
        assert!(
            failure.message.contains(&address) && failure.message.contains("listener `main`"),
            "{failure}"
        );
        assert!(failure.help.unwrap().contains(&format!(":{}", held.local_addr().unwrap().port())));
        drop(held);
        probe("listener `main`", &address).unwrap();
    }

    #[test]
    fn other_refusals_name_their_remedy() {
        let check = |address: &str, contains: &str| {
            let failure = probe("admin", address).unwrap_err();
            assert_eq!(failure.code, Code::Unfit);
            assert!(failure.help.as_ref().unwrap().contains(contains), "{failure:?}");
        };
        check("203.0.113.7:8080", "ip addr");
        check("nonsense", "host:port");
    }
}
