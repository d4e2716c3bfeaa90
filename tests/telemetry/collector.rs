//! A collector that keeps what it is sent, and answers as a test wants.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use strait_tests::gateway::wait_for;

use crate::process::config;

/// How a push is answered.
#[derive(Clone, Debug)]
pub enum Script {
    /// Status, further header lines, body.
    Says(u16, String, Vec<u8>),
    /// Nothing, until the other side gives up.
    Hangs,
    /// The connection ends.
    Leaves,
}

impl Script {
    pub fn takes() -> Script {
        Script::Says(200, String::new(), Vec::new())
    }

    pub fn status(status: u16) -> Script {
        Script::Says(status, String::new(), Vec::new())
    }
}

#[derive(Default)]
struct Kept {
    spans: Vec<Span>,
    /// The last push of them.
    metrics: Vec<Metric>,
    heads: Vec<String>,
    bodies: Vec<Vec<u8>>,
    /// For pushes of traces, one each; then they are taken.
    scripts: VecDeque<Script>,
    /// How all are answered when there is none.
    usual: Option<Script>,
}

pub struct Collector {
    address: SocketAddr,
    kept: Arc<Mutex<Kept>>,
}

impl Collector {
    pub fn start() -> Collector {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let (address, kept) = (listener.local_addr().expect("an address"), Arc::<Mutex<Kept>>::default());
        let of_thread = kept.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = of_thread.clone();
                std::thread::spawn(move || serve(stream, &kept));
            }
        });
        Collector { address, kept }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next pushes of traces are answered so, one after the other.
    pub fn will(&self, scripts: impl IntoIterator<Item = Script>) {
        self.kept.lock().unwrap().scripts.extend(scripts);
    }

    /// All pushes are, from now on.
    pub fn always(&self, script: Script) {
        self.kept.lock().unwrap().usual = Some(script);
    }

    /// Spans that it took.
    pub fn spans(&self) -> Vec<Span> {
        self.kept.lock().unwrap().spans.clone()
    }

    /// Those of exchanges, once there are so many.
    pub fn exchanges(&self, count: usize) -> Vec<Span> {
        let mut found = Vec::new();
        wait_for(&format!("{count} exchanges at the collector"), || {
            found = self.spans().into_iter().filter(|span| span.kind == SERVER).collect();
            found.len() >= count
        });
        assert_eq!(found.len(), count, "{found:#?}");
        found
    }

    pub fn metrics(&self) -> Vec<Metric> {
        self.kept.lock().unwrap().metrics.clone()
    }

    pub fn heads(&self) -> Vec<String> {
        self.kept.lock().unwrap().heads.clone()
    }

    /// Everything that was sent, as bytes.
    pub fn bodies(&self) -> Vec<Vec<u8>> {
        self.kept.lock().unwrap().bodies.clone()
    }
}

pub const INTERNAL: i32 = 1;
pub const SERVER: i32 = 2;
pub const CLIENT: i32 = 3;

fn serve(mut stream: TcpStream, kept: &Mutex<Kept>) {
    let Some((head, body)) = request(&mut stream) else { return };
    let is_traces = head.starts_with("POST /v1/traces ");
    let script = {
        let mut kept = kept.lock().unwrap();
        kept.heads.push(head);
        let next = if is_traces { kept.scripts.pop_front() } else { None };
        let script = next.or_else(|| kept.usual.clone()).unwrap_or_else(Script::takes);
        if matches!(script, Script::Says(200, ..)) {
            kept.take(is_traces, &body);
        }
        kept.bodies.push(body);
        script
    };
    match script {
        Script::Says(status, lines, body) => {
            let head = format!("HTTP/1.1 {status} X\r\n{lines}Content-Length: {}\r\n\r\n", body.len());
            let _ = stream.write_all(&[head.as_bytes(), &body].concat());
        }
        Script::Hangs => drop(stream.read(&mut [0; 1])),
        Script::Leaves => {}
    }
}

impl Kept {
    fn take(&mut self, is_traces: bool, body: &[u8]) {
        if is_traces {
            let request = ExportTraceServiceRequest::decode(body).expect("a request of traces");
            let scopes = request.resource_spans.into_iter().flat_map(|of| of.scope_spans);
            self.spans.extend(scopes.flat_map(|of| of.spans));
        } else {
            let request = ExportMetricsServiceRequest::decode(body).expect("a request of metrics");
            let scopes = request.resource_metrics.into_iter().flat_map(|of| of.scope_metrics);
            self.metrics = scopes.flat_map(|of| of.metrics).collect();
        }
    }
}

fn request(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 64 * 1024];
    loop {
        let count = stream.read(&mut chunk).ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&chunk[..count]);
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let length = head
            .lines()
            .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
        let length: usize = length.unwrap_or(0);
        if bytes.len() >= end + 4 + length {
            return Some((head, bytes[end + 4..end + 4 + length].to_vec()));
        }
    }
}

/// An attribute as text; empty: it has none.
pub fn attribute(attributes: &[KeyValue], key: &str) -> String {
    let found = attributes.iter().find(|one| one.key == key);
    match found.and_then(|one| one.value.as_ref()?.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        other => other.map(|other| format!("{other:?}")).unwrap_or_default(),
    }
}

/// A gateway that tells `collector`, of one upstream `up` at `url`, open to everybody.
pub fn told(collector: &Collector, url: &str, traces: &str) -> String {
    let telemetry = format!(
        "telemetry: {{ otlp: {{ endpoint: \"{}\", every: 1s, headers: {{ X-Key: \"${{env:OTLP_KEY:-unset}}\" }} }}{traces} }}\n",
        collector.url()
    );
    config(&format!(
        "{telemetry}upstreams:\n  up: {{ http: \"{url}\" }}\nservers:\n  default: {{ path: /mcp, tools: [\"*\"] }}\n\
         policy:\n  default: deny\n  rules:\n    - {{ id: most, allow: [\"up.echo\", \"up.slow\"] }}\n    \
         - {{ id: never, deny: [\"up.secret\"], when: 'args.word == \"no\"' }}\n    - {{ id: rest, allow: [\"up.secret\"] }}\n"
    ))
}
