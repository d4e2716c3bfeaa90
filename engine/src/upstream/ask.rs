//! Questions of our own to an upstream, over the path of any call: lists, subscriptions, log levels.
//!
//! They are asked for somebody ([`Whom`]), so they reach the session or child that serves that somebody.

use std::rc::Rc;

use strait_protocol::jsonrpc::Envelope;
use strait_protocol::mcp::{Method, Revision};

use super::dialect::Client;
use super::reply::scan;
use super::{Event, Order, Upstream, UpstreamFault, Whom};
use crate::core::{Core, InFlight};
use crate::exchange::respond;
use crate::io::buffer::Buf;
use crate::limits::ASKED_BYTES_MAX;
use crate::pooled::Pooled;

/// A whole answer: a `result`, or an `error` of the upstream.
pub struct Answered {
    bytes: Buf,
    pub envelope: Pooled<Envelope>,
}

impl Answered {
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Asks; `members` are those of `params`, as JSON without braces.
pub async fn ask(
    core: &Rc<Core>,
    upstream: &Rc<Upstream>,
    whom: Whom,
    method: Method,
    members: &[u8],
) -> Result<Answered, UpstreamFault> {
    let mut body =
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{}","params":{{"#, method.as_str()).into_bytes();
    body.extend_from_slice(members);
    body.extend_from_slice(b"}}");
    let decoded = core.decoder.borrow_mut().decode(&body).copied();
    let message = decoded
        .map_err(|fault| UpstreamFault::NotMcp(format!("what it gave to ask with: {}", fault.message())))?;
    let order = Order {
        body: &body,
        message: &message,
        bare: None,
        client: Revision::LATEST_LEGACY,
        head: None,
        whom,
        client_fd: None,
        under_way: None,
    };
    let mut reply = super::call(core, upstream, &order, InFlight::uncounted()).await?;
    let client = Client { id: b"1", token: None, modern: false, method, session: None, body: b"" };
    let mut gathered = Buf::empty();
    loop {
        match respond::next(core, &mut reply, &client).await? {
            Event::Message { mut bytes, from, envelope, last: true } => {
                bytes.consume_front(from);
                return Ok(Answered { bytes, envelope });
            }
            Event::Message { .. } | Event::Paused { .. } => {}
            Event::Ready { bytes, last } | Event::Fragment { bytes, last } => {
                gathered.extend_from_slice(&bytes);
                if gathered.len() > ASKED_BYTES_MAX {
                    return Err(UpstreamFault::TooLarge { limit: ASKED_BYTES_MAX });
                }
                if last {
                    let envelope = scan(core, &gathered)?;
                    return Ok(Answered { bytes: gathered, envelope });
                }
            }
        }
    }
}
