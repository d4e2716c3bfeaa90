//! One push to a collector, and what its answer means: by the rules of OTLP over HTTP for what is worth another try.

use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, Method, header};
use prost::Message;
use strait_engine::Secret;

use super::counts::Signal;
use super::wire;
use crate::fetch::{Ask, Chosen, Fetcher, Said, Url};
use crate::limits::{COLLECTOR_ANSWER_BYTES_MAX, COLLECTOR_ASKED_AGAIN_MAX, COLLECTOR_WITHIN};

/// Who is told, and with which headers.
#[derive(Clone, PartialEq, Eq)]
pub struct Collector {
    pub endpoint: String,
    /// Values may be secrets.
    pub headers: Vec<(String, Secret)>,
}

/// What became of a push.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All of it but so many spans or points.
    Taken { rejected: u64 },
    /// Not now.
    Later { after: Option<Duration>, why: String },
    /// Never: the same would be refused again.
    Refused { why: String },
}

impl Collector {
    pub async fn push(&self, fetcher: &Fetcher, signal: Signal, body: Bytes) -> Outcome {
        let url = match Url::parse(&format!("{}{}", self.endpoint, signal.path())) {
            Ok(url) => url,
            Err(why) => return Outcome::Refused { why },
        };
        let mut headers: Vec<(&str, &str)> = vec![("content-type", "application/x-protobuf")];
        headers.extend(self.headers.iter().map(|(name, value)| (name.as_str(), &**value)));
        let ask = Ask {
            method: Method::POST,
            url: &url,
            chosen: Chosen::ByOperator,
            headers: &headers,
            body,
            within: COLLECTOR_WITHIN,
            answer_bytes_max: COLLECTOR_ANSWER_BYTES_MAX,
        };
        match fetcher.ask(ask).await {
            Ok(said) => judged(&url, &said),
            Err(fault) => Outcome::Later { after: None, why: fault.to_string() },
        }
    }
}

fn judged(url: &Url, said: &Said) -> Outcome {
    let why = || format!("{} answered {}", url.shown(), said.status);
    match said.status {
        // What it says beside may be anything; that it took it is said already.
        200..300 => {
            let answer = wire::Answer::decode(said.body.clone()).unwrap_or_default();
            let rejected = answer.partial_success.map_or(0, |partial| partial.rejected);
            Outcome::Taken { rejected: rejected.max(0) as u64 }
        }
        429 | 502 | 503 | 504 => Outcome::Later { after: retry_after(&said.headers), why: why() },
        _ => Outcome::Refused { why: why() },
    }
}

/// In seconds; a date is left to our own patience.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    let seconds = text.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(COLLECTOR_ASKED_AGAIN_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(status: u16, after: Option<&str>, body: &[u8]) -> Outcome {
        let mut headers = HeaderMap::new();
        if let Some(after) = after {
            headers.insert(header::RETRY_AFTER, after.parse().unwrap());
        }
        let url = Url::parse("http://127.0.0.1:4318/v1/traces").unwrap();
        judged(&url, &Said { status, headers, body: Bytes::copy_from_slice(body) })
    }

    #[test]
    fn answers_are_taken_tried_again_or_given_up() {
        assert_eq!(outcome(200, None, b""), Outcome::Taken { rejected: 0 });
        assert_eq!(outcome(200, None, b"<html>no protobuf</html>"), Outcome::Taken { rejected: 0 });
        let partial = wire::Answer {
            partial_success: Some(wire::PartialSuccess { rejected: 7, error_message: "no".into() }),
        };
        assert_eq!(outcome(200, None, &partial.encode_to_vec()), Outcome::Taken { rejected: 7 });
        let after = |text| match outcome(503, text, b"") {
            Outcome::Later { after, .. } => after,
            other => panic!("{other:?}"),
        };
        assert_eq!(after(None), None);
        assert_eq!(after(Some("3")), Some(Duration::from_secs(3)));
        assert_eq!(after(Some("999999999")), Some(COLLECTOR_ASKED_AGAIN_MAX));
        assert_eq!(after(Some("Wed, 21 Oct 2026 07:28:00 GMT")), None);
        for status in [429, 502, 504] {
            assert!(matches!(outcome(status, None, b""), Outcome::Later { .. }), "{status}");
        }
        for status in [301, 400, 401, 404, 413, 500] {
            assert!(matches!(outcome(status, None, b""), Outcome::Refused { .. }), "{status}");
        }
    }
}
