//! A request on its way to an upstream: the body is written first, because its length stands in the head,
//! and the head is put before it into the same buffer. What leaves is one piece: one operation, one packet
//! where that is possible, and no copy of the body.

use crate::io::buffer::Buf;
use crate::io::tcp::Stream;

/// Room kept before the body. A head of ours has 300 to 500 bytes; a longer one moves the body once.
const HEAD_ROOM_BYTES: usize = 1024;

/// A body, and its head once there is one.
pub struct Outgoing {
    buf: Buf,
    /// Where the head begins; the body begins at [`Outgoing::body_at`].
    from: usize,
    body_at: usize,
}

impl Outgoing {
    /// Room for a body of so many bytes.
    pub fn with_room(body_bytes: usize) -> Outgoing {
        let mut buf = Buf::with_capacity(HEAD_ROOM_BYTES + body_bytes);
        buf.vec().resize(HEAD_ROOM_BYTES, 0);
        Outgoing { buf, from: HEAD_ROOM_BYTES, body_at: HEAD_ROOM_BYTES }
    }

    /// To append the body to.
    pub fn body(&mut self) -> &mut Buf {
        &mut self.buf
    }

    pub fn body_bytes(&self) -> usize {
        self.buf.len() - self.body_at
    }

    /// Puts the head before the body.
    pub fn put_head(&mut self, head: &[u8]) {
        if head.len() > self.body_at {
            let mut larger = Buf::with_capacity(head.len() + self.body_bytes());
            larger.vec().resize(head.len(), 0);
            larger.extend_from_slice(self.buf.get(self.body_at..).unwrap_or_default());
            (self.buf, self.body_at) = (larger, head.len());
        }
        self.from = self.body_at - head.len();
        if let Some(place) = self.buf.vec().get_mut(self.from..self.body_at) {
            place.copy_from_slice(head);
        }
    }

    /// Sends head and body, and keeps them for another try.
    pub async fn send(&mut self, stream: &mut Stream) -> std::io::Result<()> {
        let (sent, buf) = stream.send_from(std::mem::take(&mut self.buf), self.from).await;
        self.buf = buf;
        sent
    }
}

impl From<&[u8]> for Outgoing {
    fn from(body: &[u8]) -> Outgoing {
        let mut outgoing = Outgoing::with_room(body.len());
        outgoing.body().extend_from_slice(body);
        outgoing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &[u8], heads: &[&[u8]]) {
        let mut outgoing = Outgoing::from(body);
        for head in heads {
            outgoing.put_head(head);
            assert_eq!(outgoing.body_bytes(), body.len());
            assert_eq!(outgoing.buf.get(outgoing.from..), Some([*head, body].concat().as_slice()));
        }
    }

    #[test]
    fn the_head_stands_before_the_body_whatever_their_lengths() {
        check(b"{}", &[b"POST / HTTP/1.1\r\n\r\n"]);
        check(b"", &[b"POST / HTTP/1.1\r\n\r\n"]);
        check(&[b'x'; 100_000], &[&[b'h'; HEAD_ROOM_BYTES], &[b'h'; HEAD_ROOM_BYTES + 1], b"short"]);
    }
}
