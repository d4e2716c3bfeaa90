//! Whom the audit log is sent to: collectors get its records, anchors its signed checkpoints.
//!
//! Both are read by control alone and change with the table; how far a collector has come is kept under its `id`.

use rkyv::{Archive, Deserialize, Serialize};

use crate::rules::Text;
use crate::telemetry::HeaderLine;

/// A collector that gets every record.
#[derive(Archive, Deserialize, Serialize, Debug)]
#[rkyv(derive(Debug))]
pub struct Ship {
    /// Unique; names its cursor in the state folder.
    pub id: String,
    pub to: Collector,
    pub format: Form,
    pub begin: Begin,
}

/// How it is spoken to.
#[derive(Archive, Deserialize, Serialize, Debug)]
#[rkyv(derive(Debug))]
pub enum Collector {
    /// RFC 5424 over TCP, a count of octets before each message (RFC 6587); over TLS as RFC 5425 has it.
    Syslog { tls: bool, host: String, port: u16 },
    /// Splunk's HTTP Event Collector; paths are below the URL.
    Hec {
        url: String,
        token: Text,
        /// What is not acknowledged by then is sent again.
        ack_ms: u32,
    },
    /// OTLP over HTTP; `/v1/logs` is below the endpoint.
    Otlp { endpoint: String, headers: Vec<HeaderLine> },
    /// A POST per batch, signed as Standard Webhooks are.
    Webhook { url: String, secret: Text },
}

/// What form records have on the way.
#[derive(Archive, Deserialize, Serialize, Debug, Clone, Copy, PartialEq, Eq)]
#[rkyv(derive(Debug, Clone, Copy, PartialEq, Eq))]
pub enum Form {
    Ndjson,
    Ocsf,
    Ecs,
    Cef,
}

/// Where a collector begins that was never sent anything.
#[derive(Archive, Deserialize, Serialize, Debug, Clone, Copy, PartialEq, Eq)]
#[rkyv(derive(Debug, Clone, Copy, PartialEq, Eq))]
pub enum Begin {
    /// With the oldest record that is there.
    Oldest,
    /// With what comes after it is first seen.
    Now,
}

/// Somebody outside who keeps checkpoints.
#[derive(Archive, Deserialize, Serialize, Debug)]
#[rkyv(derive(Debug))]
pub struct Anchor {
    pub to: Keeper,
    /// The newest goes out, no oftener than this.
    pub every_ms: u32,
}

/// Where checkpoints go.
#[derive(Archive, Deserialize, Serialize, Debug)]
#[rkyv(derive(Debug))]
pub enum Keeper {
    Stdout,
    /// Appended to. Relative paths are resolved against the file that names them.
    File(String),
    /// A POST, signed as Standard Webhooks are.
    Webhook {
        url: String,
        secret: Text,
    },
}

impl Ship {
    pub const ACK_MS: u32 = 300_000;
}

impl Anchor {
    pub const EVERY_MS: u32 = 10_000;
}
