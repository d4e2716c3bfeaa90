//! The other direction: what a server says of its own accord while a call is under way.
//!
//! attribute -> authorize -> screen -> deliver. Attribution happened where the event was received: an
//! event of a reply belongs to that reply's call. Notifications about the call are delivered. A server's
//! request goes to the client if it declared that it can answer; else it is declined here.

use std::rc::Rc;

use strait_protocol::jsonrpc::Kind;
use strait_protocol::mcp::Method;

use crate::core::Core;
use crate::upstream::dialect::Client;
use crate::upstream::{Event, Reply, decline};

/// What becomes of an event.
#[allow(clippy::large_enum_variant)] // the large one is the usual one, and a box would be an allocation per exchange
pub enum Direction {
    Deliver(Event),
    Drop,
}

pub fn run(core: &Rc<Core>, reply: &Reply, client: &Client<'_>, event: Event) -> Direction {
    let Event::Message { envelope, .. } = &event else { return Direction::Deliver(event) };
    match envelope.kind() {
        Some(Kind::Response) => Direction::Deliver(event),
        Some(Kind::Notification) => match envelope.method_known {
            Some(Method::NotifyProgress | Method::NotifyMessage) => Direction::Deliver(event),
            _ => Direction::Drop,
        },
        Some(Kind::Request) => ask(core, reply, client, &event),
        None => Direction::Drop,
    }
}

fn ask(core: &Rc<Core>, reply: &Reply, client: &Client<'_>, event: &Event) -> Direction {
    let Event::Message { envelope, .. } = event else { return Direction::Drop };
    let (Some(responder), Some(id)) = (reply.responder(), envelope.id) else { return Direction::Drop };
    let asked = client.session.and_then(|session| session.ask(core, &responder, event.bytes(), envelope));
    match asked {
        Some(bytes) => Direction::Deliver(Event::Ready { bytes, last: false }),
        None => {
            responder.send(core, decline(event.bytes(), id, envelope.method_known));
            Direction::Drop
        }
    }
}
