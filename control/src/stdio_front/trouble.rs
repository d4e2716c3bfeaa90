//! Why a request of a stdio client has no answer of a server, as the JSON-RPC error that its client reads: with
//! its id, and with the layer that failed. `strait stdio` is this process, `gateway` the one it speaks to.

use hyper::StatusCode;
use hyper::header::RETRY_AFTER;
use serde_json::{Value, json};
use strait_protocol::jsonrpc::{ErrorId, Scanner, append_error};
use strait_protocol::mcp::codes;

use super::link::{Answer, Media};

#[derive(Debug)]
pub enum Trouble {
    /// No connection.
    Unreachable {
        endpoint: String,
        why: String,
    },
    /// The connection ended before the answer did.
    Broken {
        endpoint: String,
        why: String,
    },
    /// A stream ended before the answer, and cannot be asked for again.
    Cut,
    /// An HTTP status, with the JSON-RPC error of its body if it had one.
    Refused {
        status: StatusCode,
        retry_after: Option<String>,
        error: Option<Vec<u8>>,
        text: String,
    },
    /// The session was lost, and another one could not be begun.
    SessionLost(String),
    /// Answered 2xx, but with nothing that MCP knows.
    NotMcp(String),
    AnswerTooLarge,
    Full(&'static str),
    /// The client's id is that of a request under way.
    IdInUse,
}

/// What is shown of a body that is no JSON-RPC.
const TEXT_BYTES_MAX: usize = 200;

impl Trouble {
    /// Reads why the gateway refused.
    pub async fn refused(answer: Answer) -> Trouble {
        let (status, media) = (answer.status, answer.media());
        let retry_after = answer.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = retry_after.map(str::to_owned);
        let body = match answer.whole().await {
            Ok((body, _held)) => body,
            // The status says enough.
            Err(_) => Vec::new(),
        };
        let error = (media == Media::Json).then(|| error_of(&body)).flatten();
        let text = String::from_utf8_lossy(body.get(..body.len().min(TEXT_BYTES_MAX)).unwrap_or_default());
        let text = text.lines().next().unwrap_or_default().trim().to_owned();
        Trouble::Refused { status, retry_after, error, text }
    }

    /// The code of a JSON-RPC error that came with a refusal.
    pub fn code(&self) -> Option<i64> {
        match self {
            Trouble::Refused { error: Some(error), .. } => {
                let error: Value = serde_json::from_slice(error).ok()?;
                error["code"].as_i64()
            }
            _ => None,
        }
    }

    /// Appends the error, for a request with this id.
    pub fn append(&self, out: &mut Vec<u8>, id: &[u8]) {
        match self {
            // The gateway's own words; it knows why better than its status does.
            Trouble::Refused { error: Some(error), status, .. } if *status != StatusCode::UNAUTHORIZED => {
                out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
                out.extend_from_slice(id);
                out.extend_from_slice(b",\"error\":");
                out.extend_from_slice(error);
                out.push(b'}');
            }
            _ => {
                let data = self.data().to_string();
                append_error(
                    out,
                    ErrorId::Raw(id),
                    self.own_code(),
                    &self.to_string(),
                    Some(data.as_bytes()),
                );
            }
        }
    }

    fn own_code(&self) -> i64 {
        match self {
            Trouble::IdInUse => codes::INVALID_REQUEST,
            _ => codes::INTERNAL_ERROR,
        }
    }

    fn data(&self) -> Value {
        let layer = match self {
            Trouble::Unreachable { .. } | Trouble::Broken { .. } => "connection",
            Trouble::Full(_) | Trouble::AnswerTooLarge | Trouble::IdInUse => "strait stdio",
            _ => "gateway",
        };
        let mut data = json!({ "layer": layer });
        if let Trouble::Refused { status, retry_after, .. } = self {
            data["status"] = status.as_u16().into();
            if let Some(after) = retry_after {
                data["retryAfter"] = after.as_str().into();
            }
        }
        data
    }
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Trouble::Unreachable { endpoint, why } => {
                write!(f, "strait stdio: cannot reach the gateway at {endpoint}: {why}; is it running?")
            }
            Trouble::Broken { endpoint, why } => {
                write!(f, "strait stdio: the connection to the gateway at {endpoint} broke: {why}")
            }
            Trouble::Cut => {
                f.write_str("gateway: its stream ended before the answer, and cannot be asked for again")
            }
            Trouble::Refused { status: StatusCode::UNAUTHORIZED, .. } => f.write_str(
                "gateway: it does not take this key (401): put a valid one in STRAIT_KEY or --key-file",
            ),
            Trouble::Refused { status, error: Some(_), .. } => {
                write!(f, "gateway: refused: {status}, in its own words")
            }
            Trouble::Refused { status, text, .. } if text.is_empty() => {
                write!(f, "gateway: refused: {status}")
            }
            Trouble::Refused { status, text, .. } => write!(f, "gateway: refused: {status}: {text}"),
            Trouble::SessionLost(why) => {
                write!(f, "gateway: the session was lost, and no other could be begun: {why}")
            }
            Trouble::NotMcp(why) => write!(f, "gateway: its answer is no MCP: {why}"),
            Trouble::AnswerTooLarge => write!(
                f,
                "strait stdio: the answer is over the limit of {} bytes",
                crate::limits::FRONT_LINE_BYTES_MAX
            ),
            Trouble::Full(what) => write!(f, "strait stdio: too many {what}; wait for answers and ask again"),
            Trouble::IdInUse => f.write_str("request: its `id` is that of another request under way"),
        }
    }
}

/// The `error` of a JSON-RPC message, on one line.
fn error_of(body: &[u8]) -> Option<Vec<u8>> {
    std::str::from_utf8(body).ok()?;
    let mut scanner = Scanner::new();
    scanner.feed(body).ok()?;
    let envelope = scanner.finish().ok()?;
    let mut error = envelope.error?.of(body).to_vec();
    serde_json::from_slice::<serde_json::Map<String, Value>>(&error).ok()?;
    super::outbox::flatten(&mut error);
    Some(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, error: Option<&[u8]>, text: &str) -> Trouble {
        let status = StatusCode::from_u16(status).unwrap();
        Trouble::Refused {
            status,
            retry_after: Some("1".into()),
            error: error.map(<[u8]>::to_vec),
            text: text.into(),
        }
    }

    fn said(trouble: &Trouble) -> Value {
        let mut out = Vec::new();
        trouble.append(&mut out, b"\"a\"");
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn the_gateways_own_words_reach_the_client_with_its_id() {
        let error = error_of(
            b"{\"jsonrpc\":\"2.0\",\"id\":null,\n\"error\":{\"code\":-32001,\n\"message\":\"gone\"}}",
        );
        let said = said(&refused(404, error.as_deref(), ""));
        assert_eq!((&said["id"], &said["error"]["code"]), (&"a".into(), &(-32001).into()));
        assert_eq!(said["error"]["message"], "gone");
        assert!(!error.unwrap().contains(&b'\n'));
    }

    #[test]
    fn every_trouble_names_its_layer() {
        let endpoint = || "http://127.0.0.1:1/mcp".to_owned();
        let cases = [
            (
                Trouble::Unreachable { endpoint: endpoint(), why: "refused".into() },
                "connection",
                "is it running",
            ),
            (Trouble::Broken { endpoint: endpoint(), why: "reset".into() }, "connection", "broke: reset"),
            (refused(401, Some(b"{\"code\":-32600,\"message\":\"\"}"), ""), "gateway", "STRAIT_KEY"),
            (refused(503, None, "busy"), "gateway", "503 Service Unavailable: busy"),
            (Trouble::Full("requests at once"), "strait stdio", "too many requests"),
        ];
        for (trouble, layer, text) in cases {
            let said = said(&trouble);
            assert_eq!(said["error"]["data"]["layer"], layer, "{said}");
            assert!(said["error"]["message"].as_str().unwrap().contains(text), "{said}");
        }
        assert_eq!(said(&refused(503, None, ""))["error"]["data"]["retryAfter"], "1");
    }

    #[test]
    fn what_is_no_error_is_not_passed_on() {
        for body in [&b"<html>"[..], b"{}", b"{\"error\":3}", b"{\"error\":{\"code\":}}", b"\xff"] {
            assert_eq!(error_of(body), None, "{}", String::from_utf8_lossy(body));
        }
    }
}
