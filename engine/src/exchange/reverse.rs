//! The other direction: what a server says of its own accord while a call is under way.
//!
//! attribute -> authorize -> screen -> deliver. Attribution happened where the event was received: an
//! event of a reply belongs to that reply's call. Notifications about the call are delivered; a
//! server's requests are not, in this version, since no client was declared able to answer them: the
//! upstream side has answered them already.

use strait_protocol::jsonrpc::Kind;
use strait_protocol::mcp::Method;

use crate::upstream::Event;

/// What becomes of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Deliver,
    Drop,
}

pub fn run(event: &Event) -> Direction {
    let Event::Message { envelope, .. } = event else { return Direction::Deliver };
    match envelope.kind() {
        Some(Kind::Response) => Direction::Deliver,
        Some(Kind::Notification) => match envelope.method_known {
            Some(Method::NotifyProgress | Method::NotifyMessage) => Direction::Deliver,
            _ => Direction::Drop,
        },
        Some(Kind::Request) | None => Direction::Drop,
    }
}
