//! What was set in a conversation and holds until its end: the log level, and the resources that are subscribed to.
//!
//! A conversation may be lost while those it serves go on: a server forgets a session, a child ends. Its successor is
//! told the same again before it is used.

use std::cell::RefCell;
use std::collections::BTreeSet;

use strait_protocol::jsonrpc::append_string;
use strait_protocol::mcp::{LogLevel, Method};

use super::Order;
use crate::limits::SETTINGS_MAX;

#[derive(Default)]
pub struct Settings {
    /// As written, with its quotes.
    level: RefCell<Option<Box<[u8]>>>,
    /// As JSON strings.
    subscribed: RefCell<BTreeSet<Box<[u8]>>>,
}

impl Settings {
    /// Whether such a call sets something that holds on.
    pub fn keep(method: Method) -> bool {
        matches!(method, Method::LoggingSetLevel | Method::ResourcesSubscribe | Method::ResourcesUnsubscribe)
    }

    /// Takes note of a call that its server has taken.
    pub fn note(&self, order: &Order<'_>) {
        let message = order.message;
        match message.method {
            Method::LoggingSetLevel => {
                self.level.replace(message.level.map(|level| level.raw.of(order.body).into()));
            }
            Method::ResourcesSubscribe | Method::ResourcesUnsubscribe => {
                let uri = match (order.bare, message.uri) {
                    (Some(bare), _) => {
                        let mut text = Vec::new();
                        append_string(&mut text, bare);
                        text.into_boxed_slice()
                    }
                    (None, Some(uri)) => uri.raw.of(order.body).into(),
                    (None, None) => return,
                };
                let mut subscribed = self.subscribed.borrow_mut();
                if message.method == Method::ResourcesUnsubscribe {
                    subscribed.remove(&uri);
                } else if subscribed.len() < SETTINGS_MAX {
                    subscribed.insert(uri);
                }
            }
            _ => {}
        }
    }

    /// Whether a call that wants messages from `level` on would miss some. The server counts as told from now on.
    pub fn raise(&self, level: LogLevel) -> bool {
        let set = self
            .level
            .borrow()
            .as_deref()
            .and_then(|set| LogLevel::parse(set.strip_prefix(b"\"")?.strip_suffix(b"\"")?));
        let quieter = set.is_none_or(|set| level < set);
        if quieter {
            self.level.replace(Some(format!("\"{}\"", level.as_str()).into_bytes().into()));
        }
        quieter
    }

    /// What to ask a successor: methods, each with the members of its `params`.
    pub fn again(&self) -> Vec<(Method, Vec<u8>)> {
        let level = self.level.borrow();
        let level = level.iter().map(|level| (Method::LoggingSetLevel, member(b"\"level\":", level)));
        let subscribed = self.subscribed.borrow();
        let subscribed = subscribed.iter().map(|uri| (Method::ResourcesSubscribe, member(b"\"uri\":", uri)));
        level.chain(subscribed).collect()
    }
}

fn member(key: &[u8], value: &[u8]) -> Vec<u8> {
    [key, value].concat()
}
