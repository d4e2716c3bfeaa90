//! What somebody asks of a running gateway, and what it answers.

use std::sync::Arc;

use serde_json::Value;
use strait_table::Snapshot;
use tokio::sync::oneshot;

use super::history::Act;
use crate::revocations::Change;
use crate::trial::Kind;

/// How a candidate comes into use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Activation {
    /// For everybody, from now on.
    #[default]
    AtOnce,
    /// For some of them, or for nobody yet, beside what is served.
    Trial(Kind),
}

pub enum Wish {
    /// What applying it would do.
    Plan {
        table: Arc<Snapshot>,
    },
    Apply {
        table: Arc<Snapshot>,
        activation: Activation,
    },
    /// To a generation that was served before; the last other one when not said.
    Rollback {
        to: Option<String>,
    },
    /// Nobody is to believe some any more, or all again.
    Revoke(Change),
    /// Refused at the door, by somebody who may ask: to be written down.
    Refused {
        act: Act,
        why: String,
        spoils: bool,
    },
}

impl Wish {
    pub fn act(&self) -> Act {
        match self {
            Wish::Plan { .. } | Wish::Apply { .. } => Act::Apply,
            Wish::Rollback { .. } => Act::Rollback,
            Wish::Revoke(Change { undo: false, .. }) => Act::Revoke,
            Wish::Revoke(_) => Act::Unrevoke,
            Wish::Refused { act, .. } => *act,
        }
    }
}

/// A wish on its way to the control loop.
pub struct Order {
    pub wish: Wish,
    /// Who wants it.
    pub by: Value,
    /// The generation that must be running: the one that its author looked at.
    pub expected: String,
    pub message: Option<String>,
    pub reply: oneshot::Sender<Answer>,
}

/// What became of an order.
#[derive(Debug)]
pub enum Answer {
    /// In use by every worker.
    Done(Value),
    /// Put into use, and some workers have not taken it up.
    Behind(Value),
    No(No),
}

/// Why an order is not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum No {
    /// Another generation is running than its author looked at.
    Moved { running: String },
    /// Too many others are waiting.
    Busy,
    /// The candidate cannot be served.
    Unfit { why: String },
    /// It makes no sense.
    Usage { why: String },
    /// There is nothing of that name to go back to, or to undo.
    Unknown { why: String },
    /// It cannot be written down, so that a restart would undo it.
    NotKept { why: String },
    /// This process serves one client.
    Private,
    /// Not open yet, or about to end.
    NotOpen,
    /// Another process is about to take this one's place, and has read already what it will serve.
    HandingOver,
}
