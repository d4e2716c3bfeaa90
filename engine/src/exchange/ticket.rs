//! A `requestState` of ours: what a client must bring back when it makes its call again with the input that a legacy
//! server wants.
//!
//! It is sealed, and says who may use it, for which call, until when, and where the call waits. A client can neither
//! read it nor make one; every worker can open it. States that upstreams made themselves pass by untouched: ours begin
//! with [`PREFIX`].

use strait_protocol::jsonrpc::{Message, tight};

use crate::session::Seal;

/// What every state of ours begins with.
pub const PREFIX: &[u8] = b"s1.";

/// Separates these from everything else that is sealed under the same key.
const PURPOSE: &[u8] = b"strait requestState 1";

/// kind 1, worker 2, serial 16, principal 8, server 8, expiry 8, call 8
const FIXED: usize = 51;

/// What the call waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It is suspended at its worker.
    Suspended,
    /// It has ended, and is made anew once the user has done what was asked: everything needed is in the ticket.
    Replay,
}

/// What a state says when it is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    pub kind: Kind,
    pub worker: u16,
    /// Of the suspension.
    pub serial: u128,
    pub principal: u64,
    pub server: u64,
    /// On the wall clock: the process that opens it may be another one.
    pub expires_unix_ms: u64,
    /// Of method, name and arguments.
    pub call: u64,
    /// What else its kind needs.
    pub rest: Vec<u8>,
}

impl Ticket {
    pub fn seal(&self, seal: &Seal) -> std::io::Result<Vec<u8>> {
        let mut plain = Vec::with_capacity(FIXED + self.rest.len());
        plain.push(match self.kind {
            Kind::Suspended => 1,
            Kind::Replay => 2,
        });
        plain.extend_from_slice(&self.worker.to_le_bytes());
        plain.extend_from_slice(&self.serial.to_le_bytes());
        for number in [self.principal, self.server, self.expires_unix_ms, self.call] {
            plain.extend_from_slice(&number.to_le_bytes());
        }
        plain.extend_from_slice(&self.rest);
        let mut text = PREFIX.to_vec();
        seal.seal_bytes(PURPOSE, &mut plain, &mut text)?;
        Ok(text)
    }

    /// What a state says; `None` for anything that was not sealed here.
    pub fn open(seal: &Seal, text: &[u8]) -> Option<Ticket> {
        let plain = seal.open_bytes(PURPOSE, text.strip_prefix(PREFIX)?)?;
        let (fixed, rest) = plain.split_at_checked(FIXED)?;
        let number = |at: usize| Some(u64::from_le_bytes(*fixed.get(at..)?.first_chunk()?));
        Some(Ticket {
            kind: match fixed.first()? {
                1 => Kind::Suspended,
                2 => Kind::Replay,
                _ => return None,
            },
            worker: u16::from_le_bytes(*fixed.get(1..)?.first_chunk()?),
            serial: u128::from_le_bytes(*fixed.get(3..)?.first_chunk()?),
            principal: number(19)?,
            server: number(27)?,
            expires_unix_ms: number(35)?,
            call: number(43)?,
            rest: rest.to_vec(),
        })
    }
}

/// What makes a call the same call: its method, what it is for, and its arguments. White space between the arguments
/// does not count, so that a client may write them anew.
pub fn call(body: &[u8], message: &Message) -> u64 {
    let mut hasher = blake3::Hasher::new();
    let mut text = Vec::new();
    hasher.update(message.method.as_str().as_bytes());
    for named in [message.name, message.uri] {
        hasher.update(&[0]);
        if let Some(named) = named {
            hasher.update(named.read(body, &mut text));
        }
    }
    hasher.update(&[0]);
    tight(message.arguments.map_or(&b""[..], |arguments| arguments.of(body)), |piece| {
        hasher.update(piece);
    });
    hasher.finalize().as_bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use strait_protocol::jsonrpc::Decoder;

    use super::*;

    fn ticket() -> Ticket {
        Ticket {
            kind: Kind::Replay,
            worker: 3,
            serial: 1 << 99,
            principal: 5,
            server: 6,
            expires_unix_ms: u64::MAX,
            call: 8,
            rest: b"the rest".to_vec(),
        }
    }

    #[test]
    fn a_ticket_opens_to_what_was_sealed_and_nothing_else_opens() {
        let (seal, other) = (Seal::random().unwrap(), Seal::random().unwrap());
        let text = ticket().seal(&seal).unwrap();
        assert!(text.starts_with(PREFIX) && text.iter().all(|byte| (0x21..=0x7e).contains(byte)));
        assert_eq!(Ticket::open(&seal, &text), Some(ticket()));
        assert_eq!(Ticket::open(&other, &text), None);
        for at in 0..text.len() {
            let mut changed = text.clone();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(Ticket::open(&seal, &changed), None, "changed at {at}");
            assert_eq!(Ticket::open(&seal, &text[..at]), None, "cut at {at}");
        }
        assert_eq!(Ticket::open(&seal, &[&text[..], b"-TAMPERED"].concat()), None);
    }

    #[test]
    fn the_same_call_is_known_again_however_it_is_written() {
        let digest = |body: &str| call(body.as_bytes(), Decoder::new().decode(body.as_bytes()).unwrap());
        let body =
            |params: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#);
        let first = digest(&body(r#"{"name":"a","arguments":{"x":[1,2],"y":" \" "}}"#));
        let same = r#"{"arguments": {"x": [1, 2], "y": " \" "}, "requestState": "s", "name": "\u0061"}"#;
        assert_eq!(digest(&body(same)), first);
        for other in [
            r#"{"name":"b","arguments":{"x":[1,2],"y":" \" "}}"#,
            r#"{"name":"a","arguments":{"x":[1,2],"y":"\" "}}"#,
            r#"{"name":"a"}"#,
        ] {
            assert_ne!(digest(&body(other)), first, "{other}");
        }
    }
}
