//! What a gateway tells a collector of itself, and what it tells clients of how long it took.

use rkyv::{Archive, Deserialize, Serialize};

use crate::rules::Text;

/// The block `telemetry`. Its default is what a configuration without one says: nothing.
#[derive(Archive, Deserialize, Serialize, Debug, Default)]
pub struct Telemetry {
    /// Who is told; `None`: nobody.
    pub otlp: Option<Otlp>,
    /// `None`: nothing is traced, and what clients say of their traces passes as it is.
    pub traces: Option<Traces>,
    pub server_timing: ServerTiming,
}

/// A collector that takes OTLP over HTTP.
#[derive(Archive, Deserialize, Serialize, Debug)]
pub struct Otlp {
    /// A URL without a slash at its end; `/v1/traces` and `/v1/metrics` are below it.
    pub endpoint: String,
    /// Sent with everything. Values may be secrets.
    pub headers: Vec<HeaderLine>,
    /// How often figures are told, and how long a trace waits at most for others to go with it.
    pub every_ms: u32,
    /// Whether it gets the figures of `/metrics`.
    pub metrics: bool,
}

#[derive(Archive, Deserialize, Serialize, Debug)]
#[rkyv(derive(Debug))]
pub struct HeaderLine {
    pub name: String,
    pub value: Text,
}

/// Which exchanges are told of. Each is decided when it is over.
#[derive(Archive, Deserialize, Serialize, Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traces {
    /// Of traces that begin here; a trace that began elsewhere says itself whether it is sampled.
    pub sample_ppm: u32,
    /// And every exchange that took longer.
    pub slower_than_ms: Option<u32>,
    /// And every one that failed or was refused.
    pub errors: bool,
}

/// Whether answers say how long their parts took.
#[derive(Archive, Deserialize, Serialize, Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ServerTiming {
    #[default]
    Never,
    /// Where the request asks for it.
    Asked,
    Always,
}
