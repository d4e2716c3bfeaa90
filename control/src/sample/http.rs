//! The HTTP face: Streamable HTTP without sessions, at `/mcp` of a loopback port.
//!
//! Modern requests have their headers checked against their body; what a legacy client sends is
//! answered statelessly. `track_order` answers as an event stream when the caller gave a progress
//! token: three notifications, then the result.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use base64::Engine;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::envelope::{self, Era, Fault};
use super::{Kind, Sample, shop};
use crate::host;
use crate::limits::{SAMPLE_BYTES_MAX, SAMPLE_STEP};

pub const PATH: &str = "/mcp";

/// Serves `kind` on a free loopback port as a task of this runtime, and tells where.
pub async fn start(kind: Kind) -> std::io::Result<SocketAddr> {
    let listener = tokio::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, router(kind)).await });
    Ok(address)
}

pub fn router(kind: Kind) -> Router {
    let sample = Arc::new(Sample::new(kind));
    // GET and DELETE are answered with 405 by axum: there are no sessions to listen to or to end.
    Router::new().route(PATH, post(receive)).layer(DefaultBodyLimit::max(SAMPLE_BYTES_MAX)).with_state(sample)
}

async fn receive(State(sample): State<Arc<Sample>>, headers: HeaderMap, body: Bytes) -> Response {
    if !host::is_local(&headers) {
        return (StatusCode::FORBIDDEN, "expected a loopback `Host` and no foreign `Origin`\n")
            .into_response();
    }
    if !says(&headers, header::CONTENT_TYPE, "application/json") {
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, "expected `Content-Type: application/json`\n")
            .into_response();
    }
    let accepts = |media| says(&headers, header::ACCEPT, media) || says(&headers, header::ACCEPT, "*/*");
    if !(accepts("application/json") && accepts("text/event-stream")) {
        let text = "expected `Accept: application/json, text/event-stream`\n";
        return (StatusCode::NOT_ACCEPTABLE, text).into_response();
    }
    let message: Value = match serde_json::from_slice(&body) {
        Ok(message) => message,
        Err(error) => return refuse(Fault::new(-32700, 400, format!("not JSON: {error}")), Value::Null),
    };
    match check(&headers, &message) {
        Err(fault) => refuse(fault, envelope::id_of(&message)),
        Ok(()) if message.is_array() => batch(&sample, &message),
        Ok(()) => one(sample, message),
    }
}

/// The checks that need the headers.
fn check(headers: &HeaderMap, message: &Value) -> Result<(), Fault> {
    let version = text(headers, "mcp-protocol-version");
    let is_legacy = version.is_none_or(|version| envelope::LEGACY.contains(&version));
    match envelope::era_of(message) {
        Era::Legacy if is_legacy => return Ok(()),
        // Its `_meta` is missing, or it speaks a version that nobody knows.
        Era::Legacy if version == Some(envelope::MODERN) && message["method"] == "initialize" => {
            return Err(Fault::method("initialize"));
        }
        Era::Legacy if version == Some(envelope::MODERN) => {
            return match message.get("id") {
                Some(_) => Err(Fault::meta("`params._meta` is missing")),
                None => Ok(()),
            };
        }
        Era::Legacy => return Err(Fault::version(version.unwrap_or_default())),
        Era::Modern => {}
    }
    let said = message["params"]["_meta"][envelope::VERSION].as_str();
    if said.is_some() {
        agree("MCP-Protocol-Version", version, said)?;
    }
    if message.get("id").is_none() {
        return Ok(());
    }
    agree("Mcp-Method", text(headers, "mcp-method"), message["method"].as_str())?;
    let name = match message["method"].as_str() {
        Some("tools/call" | "prompts/get") => message["params"]["name"].as_str(),
        Some("resources/read") => message["params"]["uri"].as_str(),
        _ => return Ok(()),
    };
    let sent = text(headers, "mcp-name").map(decode).transpose()?;
    agree("Mcp-Name", sent.as_deref(), name)
}

fn agree(header: &str, sent: Option<&str>, said: Option<&str>) -> Result<(), Fault> {
    match (sent, said) {
        (sent, said) if sent == said => Ok(()),
        (None, _) => Err(Fault::header(format!("header `{header}` is missing"))),
        _ => Err(Fault::header(format!("header `{header}` differs from the body"))),
    }
}

/// `=?base64?…?=` stands for what cannot be written in a header.
fn decode(value: &str) -> Result<String, Fault> {
    let Some(coded) = value.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?=")) else {
        return Ok(value.to_owned());
    };
    let bytes = base64::engine::general_purpose::STANDARD.decode(coded).ok();
    bytes
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| Fault::header("header `Mcp-Name` is not base64 of UTF-8"))
}

fn one(sample: Arc<Sample>, message: Value) -> Response {
    let Some((answer, status)) = sample.reply(&message) else { return StatusCode::ACCEPTED.into_response() };
    let token = &message["params"]["_meta"]["progressToken"];
    let streams = message["method"] == "tools/call" && message["params"]["name"] == shop::STREAMING;
    if streams && !token.is_null() && answer.get("result").is_some() {
        return stream(token.clone(), answer);
    }
    json_response(StatusCode::from_u16(status).unwrap_or(StatusCode::OK), &answer)
}

/// 2025-03-26 alone has batches.
fn batch(sample: &Sample, messages: &Value) -> Response {
    let messages = messages.as_array().map(Vec::as_slice).unwrap_or_default();
    let answers: Vec<Value> = messages.iter().filter_map(|message| sample.answer(message)).collect();
    if answers.is_empty() {
        return StatusCode::ACCEPTED.into_response();
    }
    json_response(StatusCode::OK, &Value::Array(answers))
}

fn stream(token: Value, answer: Value) -> Response {
    let (sender, receiver) = mpsc::channel::<Bytes>(4);
    tokio::spawn(async move {
        for (step, text) in ["packed", "on its way", "at the door"].iter().enumerate() {
            let notification = json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": {
                "progressToken": token, "progress": step + 1, "total": 3, "message": text,
            }});
            // A failed send: the client is gone, which cancels.
            if sender.send(event(&notification)).await.is_err() {
                return;
            }
            tokio::time::sleep(SAMPLE_STEP).await;
        }
        let _ = sender.send(event(&answer)).await;
    });
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-cache")];
    (headers, [("x-accel-buffering", "no")], Body::from_stream(Events(receiver))).into_response()
}

fn event(message: &Value) -> Bytes {
    format!("event: message\ndata: {message}\n\n").into()
}

/// A channel as the stream that axum sends.
struct Events(mpsc::Receiver<Bytes>);

impl futures_core::Stream for Events {
    type Item = Result<Bytes, std::convert::Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context).map(|bytes| bytes.map(Ok))
    }
}

fn refuse(fault: Fault, id: Value) -> Response {
    let status = StatusCode::from_u16(fault.status).unwrap_or(StatusCode::BAD_REQUEST);
    json_response(status, &fault.into_message(id))
}

fn json_response(status: StatusCode, value: &Value) -> Response {
    let media = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    (status, media, value.to_string()).into_response()
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn says(headers: &HeaderMap, name: header::HeaderName, media: &str) -> bool {
    let values = headers.get_all(name);
    values
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.to_ascii_lowercase().contains(media))
}
