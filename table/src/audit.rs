//! What a table says of the audit log: where it lies, what is kept of a call, and what waits for the disk.
//!
//! Where it lies and how its files are cut belongs to the process that writes it, and changes with a restart. What is kept and
//! what waits belongs to the table: an exchange is written down as the table says under which it was decided.

use rkyv::{Archive, Deserialize, Serialize};

use crate::ship::{Anchor, Ship};

/// The audit log, where there is one.
#[derive(Archive, Deserialize, Serialize, Debug)]
#[rkyv(derive(Debug))]
pub struct Audit {
    /// Its folder. Relative paths are resolved against the file that names them.
    pub path: String,
    pub payload: Payload,
    pub durability: Durability,
    pub when_full: WhenFull,
    /// What comes within this is written in one go.
    pub every_ms: u32,
    /// How often the tree is signed.
    pub checkpoint_ms: u32,
    /// A segment ends at this size.
    pub rotate_bytes: u64,
    /// Older segments are removed; `None`: none are.
    pub keep_s: Option<u64>,
    /// Whom payloads that are kept whole are encrypted for, as keys of X25519; nobody: they are not.
    pub encrypt: Vec<[u8; 32]>,
    /// Who gets every record.
    pub ship: Vec<Ship>,
    /// Who gets checkpoints, so that the log can be held against what somebody else has.
    pub anchors: Vec<Anchor>,
}

/// What a rule says instead.
#[derive(Archive, Deserialize, Serialize, Debug, Clone, Copy, Default, PartialEq, Eq)]
#[rkyv(derive(Debug))]
pub struct AuditOfRule {
    pub payload: Option<Payload>,
    pub durability: Option<Durability>,
}

/// What is kept of arguments and results.
#[derive(Archive, Deserialize, Serialize, Debug, Clone, Copy, PartialEq, Eq)]
#[rkyv(derive(Debug, Clone, Copy, PartialEq, Eq))]
pub enum Payload {
    None,
    /// A salted hash: whoever has the payload can show that it is this one.
    Hash,
    /// Keys and shape; texts become their lengths.
    Redacted,
    Full,
}

/// What waits until the disk has the record.
#[derive(Archive, Deserialize, Serialize, Debug, Clone, Copy, PartialEq, Eq)]
#[rkyv(derive(Debug, Clone, Copy, PartialEq, Eq))]
pub enum Durability {
    /// Nothing.
    Async,
    /// The answer.
    Durable,
    /// The call as well, for a record that says it is about to be made.
    Intent,
}

/// What becomes of exchanges that the log has no room for.
#[derive(Archive, Deserialize, Serialize, Debug, Clone, Copy, PartialEq, Eq)]
#[rkyv(derive(Debug, Clone, Copy, PartialEq, Eq))]
pub enum WhenFull {
    /// They wait.
    Block,
    /// They go on, and their records are counted.
    Drop,
    /// They are refused.
    Refuse,
}

impl Audit {
    pub const EVERY_MS: u32 = 2;
    pub const CHECKPOINT_MS: u32 = 1_000;
    pub const ROTATE_BYTES: u64 = 256 << 20;
    /// Each has its part in every record that says a key.
    pub const RECIPIENTS_MAX: usize = 16;
}

impl From<ArchivedPayload> for Payload {
    fn from(archived: ArchivedPayload) -> Payload {
        match archived {
            ArchivedPayload::None => Payload::None,
            ArchivedPayload::Hash => Payload::Hash,
            ArchivedPayload::Redacted => Payload::Redacted,
            ArchivedPayload::Full => Payload::Full,
        }
    }
}

impl From<ArchivedDurability> for Durability {
    fn from(archived: ArchivedDurability) -> Durability {
        match archived {
            ArchivedDurability::Async => Durability::Async,
            ArchivedDurability::Durable => Durability::Durable,
            ArchivedDurability::Intent => Durability::Intent,
        }
    }
}

impl From<ArchivedWhenFull> for WhenFull {
    fn from(archived: ArchivedWhenFull) -> WhenFull {
        match archived {
            ArchivedWhenFull::Block => WhenFull::Block,
            ArchivedWhenFull::Drop => WhenFull::Drop,
            ArchivedWhenFull::Refuse => WhenFull::Refuse,
        }
    }
}

impl ArchivedAudit {
    /// What is kept of an exchange that this rule decided, and what waits for it.
    pub fn terms(&self, rule: Option<&ArchivedAuditOfRule>) -> (Payload, Durability) {
        let payload = rule.and_then(|rule| rule.payload.as_ref()).unwrap_or(&self.payload);
        let durability = rule.and_then(|rule| rule.durability.as_ref()).unwrap_or(&self.durability);
        ((*payload).into(), (*durability).into())
    }
}
