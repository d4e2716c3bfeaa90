//! The keys of what a gateway tells others of itself.

use super::{Block, Shape, key, required};

pub static TELEMETRY: Block = Block {
    name: "`telemetry`",
    expected: "a mapping like `{ otlp: { endpoint: http://127.0.0.1:4318 }, traces: { sample: 1% } }`",
    about: "Figures and traces for a collector, and times for clients.",
    keys: &[
        key("otlp", Shape::Block(&OTLP), "The collector that is told, by OTLP over HTTP. Default: none."),
        key("traces", Shape::Block(&TRACES), "Which exchanges become traces. Default: none."),
        key(
            "server_timing",
            Shape::Words(&["never", "asked", "always"]),
            "Whether answers say in `Server-Timing` how long their parts took; asked: where a request has the header `Strait-Server-Timing`. Default: never.",
        ),
    ],
    later: &["logs", "exporters"],
    foreign: false,
};

pub static OTLP: Block = Block {
    name: "`otlp`",
    expected: "a collector like `{ endpoint: http://127.0.0.1:4318 }`",
    about: "A collector that takes OTLP over HTTP, as protobuf.",
    keys: &[
        required(
            "endpoint",
            Shape::Text,
            "Its URL; `/v1/traces` and `/v1/metrics` are below it. Clear text on this machine only.",
        ),
        key("headers", Shape::Names(&Shape::Secret), "Headers sent with everything, for example its key."),
        key("every", Shape::Duration, "How often figures are told, from 1s to 1h. Default: 10s."),
        key("metrics", Shape::Flag, "Whether it gets the figures of `/metrics`. Default: true."),
    ],
    later: &["protocol", "compression", "timeout", "ca", "cert", "key", "resource"],
    foreign: false,
};

pub static TRACES: Block = Block {
    name: "`traces`",
    expected: "a mapping like `{ sample: 1%, slower_than: 250ms, errors: true }`",
    about: "Which exchanges become traces; each is decided when it is over.",
    keys: &[
        key(
            "sample",
            Shape::Share,
            "Share of traces that begin here. One that began elsewhere says itself whether it is sampled. Default: 1%.",
        ),
        key("slower_than", Shape::Duration, "And every exchange that took longer, up to 1h. Default: none."),
        key("errors", Shape::Flag, "And every one that failed or was refused. Default: true."),
    ],
    later: &["sampler", "attributes", "arguments", "results"],
    foreign: false,
};
