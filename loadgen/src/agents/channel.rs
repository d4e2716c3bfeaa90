//! A line between two of ours that nobody else reads or writes, over TCP.
//!
//! Both sides send a greeting of fixed length: who they are, their version, a nonce, a key of X25519 made for this line only. From the keys, the shared token
//! and a hash of both greetings HKDF makes a key for each direction; every frame is sealed with AES-256-GCM under a counter. The decision: the token goes
//! over the wire in no form, and a line that was recorded stays closed when the token is known later. Without a token, on loopback, the line is the same
//! with an empty one. TLS would have asked for certificates on every machine of a measurement; the token is all there is to share here.
//!
//! Lengths are bounded: until a frame was opened with the right key, at what a question about the time takes.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::agreement::{EphemeralPrivateKey, UnparsedPublicKey, X25519, agree_ephemeral};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use aws_lc_rs::rand::{SystemRandom, fill};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::SILENCE;
use crate::target::Secret;

const MAGIC: &[u8; 24] = b"strait load agents, 1 \r\n";
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Filled up with blanks.
const VERSION_BYTES: usize = 32;
const NONCE_BYTES: usize = 32;
const KEY_BYTES: usize = 32;
pub const GREETING_BYTES: usize = MAGIC.len() + VERSION_BYTES + NONCE_BYTES + KEY_BYTES;
/// Both greetings have to be there by then.
const GREETING: Duration = Duration::from_secs(5);
/// A report has eight histograms of up to 1.4 MB and 64 small ones; a plan may bring a trace, or arguments of 4 MiB.
pub const FRAME_BYTES_MAX: usize = 32 * 1024 * 1024;
/// A frame of somebody who has not shown the token yet.
const STRANGER_BYTES_MAX: usize = 1024;
const TAG_BYTES: usize = 16;
/// In place of a length: the token is another one.
const OTHER_TOKEN: u32 = u32::MAX;

/// Why a line cannot be used, or no longer.
#[derive(Debug)]
pub enum ChannelFault {
    Io(io::Error),
    /// The other end hung up.
    Ended,
    /// Nothing came for so long.
    Silent(Duration),
    /// It is none of ours: what it said.
    Foreign(String),
    Version(String),
    Token,
    /// A frame that is too long, or is no message.
    Damaged(String),
}

impl std::fmt::Display for ChannelFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ChannelFault::Io(error) => write!(f, "{error}"),
            ChannelFault::Ended => f.write_str("the connection ended"),
            ChannelFault::Silent(silence) => write!(f, "not a word for {:.0} s", silence.as_secs_f64()),
            ChannelFault::Foreign(found) => {
                write!(f, "expected the greeting of `strait load agent`, found {found}")
            }
            ChannelFault::Version(theirs) => {
                write!(f, "it is version {theirs}, and this is {VERSION}: one run takes one version")
            }
            ChannelFault::Token => f.write_str("it has another token, or none"),
            ChannelFault::Damaged(why) => write!(f, "expected a message, found {why}"),
        }
    }
}

impl From<io::Error> for ChannelFault {
    fn from(error: io::Error) -> ChannelFault {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ChannelFault::Silent(SILENCE),
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe => ChannelFault::Ended,
            _ => ChannelFault::Io(error),
        }
    }
}

/// Who begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    Leader,
    Agent,
}

/// Both directions of a line. They may be used by two threads.
pub fn open(
    stream: TcpStream,
    side: Side,
    token: Option<&Secret>,
) -> Result<(Sender, Receiver), ChannelFault> {
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(SILENCE))?;
    let until = Instant::now() + GREETING;
    let broken = |_| ChannelFault::Damaged("a key that is none".to_owned());
    let secret = EphemeralPrivateKey::generate(&X25519, &SystemRandom::new()).map_err(broken)?;
    let public = secret.compute_public_key().map_err(broken)?;
    let ours = greeting(public.as_ref())?;
    let mut theirs = [0; GREETING_BYTES];
    (&stream).write_all(&ours)?;
    read_by(&stream, &mut theirs, until)?;
    let their_key = check(&theirs)?;
    let both = match side {
        Side::Leader => [ours, theirs].concat(),
        Side::Agent => [theirs, ours].concat(),
    };
    let salt = Salt::new(HKDF_SHA256, digest(&SHA256, &both).as_ref());
    let peer = UnparsedPublicKey::new(&X25519, their_key);
    let token = token.map_or(&[][..], Secret::bytes);
    let unfit = ChannelFault::Damaged("a key that nothing can be made of".to_owned());
    let shared = agree_ephemeral(secret, peer, unfit, |shared| Ok([shared, token].concat()))?;
    let made = salt.extract(&shared);
    let key = |from: Side| -> Result<LessSafeKey, ChannelFault> {
        let info: &[u8] = if from == Side::Leader { b"from the leader" } else { b"from the agent" };
        let info = [info];
        let okm = made.expand(&info, &AES_256_GCM).map_err(broken)?;
        Ok(LessSafeKey::new(UnboundKey::from(okm)))
    };
    let (own, other) = match side {
        Side::Leader => (key(Side::Leader)?, key(Side::Agent)?),
        Side::Agent => (key(Side::Agent)?, key(Side::Leader)?),
    };
    stream.set_read_timeout(Some(SILENCE))?;
    let sender = Sender { stream: stream.try_clone()?, key: own, sent: 0 };
    Ok((sender, Receiver { stream, key: other, received: 0 }))
}

fn greeting(key: &[u8]) -> Result<[u8; GREETING_BYTES], ChannelFault> {
    let mut nonce = [0; NONCE_BYTES];
    fill(&mut nonce).map_err(|_| ChannelFault::Damaged("no random numbers".to_owned()))?;
    let version = format!("{VERSION:<VERSION_BYTES$}");
    let whole = [&MAGIC[..], version.as_bytes(), &nonce, key].concat();
    whole.try_into().map_err(|_| ChannelFault::Damaged("a version that is too long".to_owned()))
}

/// The other side's key.
fn check(theirs: &[u8; GREETING_BYTES]) -> Result<&[u8], ChannelFault> {
    let (magic, rest) = theirs.split_at(MAGIC.len());
    if magic != MAGIC {
        return Err(ChannelFault::Foreign(format!("`{}`", String::from_utf8_lossy(magic).escape_debug())));
    }
    let (version, rest) = rest.split_at(VERSION_BYTES);
    let version = String::from_utf8_lossy(version);
    match version.trim_end() {
        VERSION => Ok(rest.split_at(NONCE_BYTES).1),
        theirs => Err(ChannelFault::Version(theirs.escape_debug().to_string())),
    }
}

/// Reads all of it, by then: a peer that sends a byte now and then holds nobody up.
fn read_by(stream: &TcpStream, into: &mut [u8], until: Instant) -> Result<(), ChannelFault> {
    let mut read = 0;
    while read < into.len() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ChannelFault::Silent(GREETING));
        }
        stream.set_read_timeout(Some(left))?;
        match (&*stream).read(&mut into[read..]) {
            // Whoever hangs up in mid-greeting never wanted to talk to us.
            Ok(0) => return Err(ChannelFault::Ended),
            Ok(bytes) => read += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn nonce(count: u64) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    bytes[NONCE_LEN - 8..].copy_from_slice(&count.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}

pub struct Sender {
    stream: TcpStream,
    key: LessSafeKey,
    sent: u64,
}

impl Sender {
    pub fn send(&mut self, message: &impl Serialize) -> Result<(), ChannelFault> {
        let mut sealed =
            serde_json::to_vec(message).map_err(|error| ChannelFault::Damaged(error.to_string()))?;
        if sealed.len() + TAG_BYTES > FRAME_BYTES_MAX {
            let why = format!("{} bytes, and a message has {FRAME_BYTES_MAX} at most", sealed.len());
            return Err(ChannelFault::Damaged(why));
        }
        let unsealed = |_| ChannelFault::Damaged("what cannot be sealed".to_owned());
        self.key.seal_in_place_append_tag(nonce(self.sent), Aad::empty(), &mut sealed).map_err(unsealed)?;
        self.sent += 1;
        let mut frame = (sealed.len() as u32).to_be_bytes().to_vec();
        frame.append(&mut sealed);
        Ok(self.stream.write_all(&frame)?)
    }

    /// Tells, in the clear, that what came was sealed with another token.
    pub fn refuse_token(&mut self) {
        // Whoever does not hear it sees the end of the connection.
        let _ = self.stream.write_all(&OTHER_TOKEN.to_be_bytes());
    }

    /// Ends both directions.
    pub fn close(&self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

pub struct Receiver {
    stream: TcpStream,
    key: LessSafeKey,
    received: u64,
}

impl Receiver {
    /// The next message.
    pub fn receive<T: DeserializeOwned>(&mut self) -> Result<T, ChannelFault> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length);
        let is_first = self.received == 0;
        if is_first && length == OTHER_TOKEN {
            return Err(ChannelFault::Token);
        }
        let most = if is_first { STRANGER_BYTES_MAX } else { FRAME_BYTES_MAX };
        if length as usize > most || (length as usize) < TAG_BYTES {
            return Err(ChannelFault::Damaged(format!("one of {length} bytes")));
        }
        let mut sealed = vec![0; length as usize];
        self.stream.read_exact(&mut sealed)?;
        let opened = self.key.open_in_place(nonce(self.received), Aad::empty(), &mut sealed);
        let opened = opened.map_err(|_| match is_first {
            true => ChannelFault::Token,
            false => ChannelFault::Damaged("one that was changed on its way".to_owned()),
        })?;
        self.received += 1;
        serde_json::from_slice(opened).map_err(|error| ChannelFault::Damaged(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn pair(leader: Option<&str>, agent: Option<&str>) -> [(Sender, Receiver); 2] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let token = |word: Option<&str>| word.map(Secret::new);
        let agent = token(agent);
        let other = std::thread::spawn(move || {
            open(listener.accept().unwrap().0, Side::Agent, agent.as_ref()).unwrap()
        });
        let leader =
            open(TcpStream::connect(address).unwrap(), Side::Leader, token(leader).as_ref()).unwrap();
        [leader, other.join().unwrap()]
    }

    #[test]
    fn what_is_sealed_here_is_opened_there_and_nowhere_else() {
        let [mut leader, mut agent] = pair(Some("one and the same"), Some("one and the same"));
        for text in ["a", "b", "b"] {
            leader.0.send(&text).unwrap();
            assert_eq!(agent.1.receive::<String>().unwrap(), text);
            agent.0.send(&text).unwrap();
            assert_eq!(leader.1.receive::<String>().unwrap(), text);
        }
        for (one, other) in [(Some("one"), Some("another")), (Some("one"), None), (None, Some("another"))] {
            let [mut leader, mut agent] = pair(one, other);
            leader.0.send(&"hello").unwrap();
            assert!(matches!(agent.1.receive::<String>(), Err(ChannelFault::Token)), "{one:?} {other:?}");
            agent.0.refuse_token();
            assert!(matches!(leader.1.receive::<String>(), Err(ChannelFault::Token)), "{one:?} {other:?}");
        }
    }

    /// What is cut, repeated, changed or too long is no message.
    #[test]
    fn frames_are_bounded_and_in_order() {
        let [mut leader, mut agent] = pair(None, None);
        leader.0.stream.write_all(&(STRANGER_BYTES_MAX as u32 + 1).to_be_bytes()).unwrap();
        assert!(matches!(agent.1.receive::<String>(), Err(ChannelFault::Damaged(_))));
        let [mut leader, mut agent] = pair(None, None);
        leader.0.send(&"hello").unwrap();
        agent.1.receive::<String>().unwrap();
        leader.0.sent = 0;
        leader.0.send(&"hello").unwrap();
        assert!(matches!(agent.1.receive::<String>(), Err(ChannelFault::Damaged(_))), "the same one again");
        let [mut leader, mut agent] = pair(None, None);
        leader.0.stream.write_all(&[0, 0, 0, 99, 1, 2, 3]).unwrap();
        leader.0.close();
        assert!(matches!(agent.1.receive::<String>(), Err(ChannelFault::Ended)));
        let long = "x".repeat(FRAME_BYTES_MAX);
        assert!(matches!(pair(None, None)[0].0.send(&long), Err(ChannelFault::Damaged(_))));
    }

    #[test]
    fn others_and_other_versions_are_told() {
        let with = |change: fn(&mut [u8; GREETING_BYTES])| {
            let mut greeting = greeting(&[7; KEY_BYTES]).unwrap();
            change(&mut greeting);
            check(&greeting).map(<[u8]>::to_vec)
        };
        assert_eq!(with(|_| {}).unwrap(), [7; KEY_BYTES]);
        let other = with(|greeting| greeting[..4].copy_from_slice(b"HTTP")).unwrap_err().to_string();
        assert!(other.contains("`HTTP"), "{other}");
        let older = with(|greeting| greeting[MAGIC.len()] = b'9').unwrap_err().to_string();
        assert!(older.contains("it is version 9.") && older.contains(VERSION), "{older}");
    }
}
