//! One POST to somebody who keeps records, and what its answer means.

use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, Method};
use strait_engine::Secret;

use super::hook;
use crate::fetch::{Ask, Chosen, Fetcher, Said, Url};
use crate::limits::{SHIP_ANSWER_BYTES_MAX, SHIP_WITHIN};
use crate::telemetry::retry_after;

/// What became of what was sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All of it but so many.
    Taken { rejected: u64 },
    /// Less of it might be.
    TooLarge { why: String },
    /// Not now.
    Later { after: Option<Duration>, why: String },
}

impl Outcome {
    pub fn later(why: impl Into<String>) -> Outcome {
        Outcome::Later { after: None, why: why.into() }
    }
}

/// The answer, if it is one of 2xx.
pub async fn post(
    fetcher: &Fetcher,
    url: &str,
    headers: &[(&str, &str)],
    body: Bytes,
) -> Result<Said, Outcome> {
    let url = Url::parse(url).map_err(Outcome::later)?;
    let ask = Ask {
        method: Method::POST,
        url: &url,
        chosen: Chosen::ByOperator,
        headers,
        body,
        within: SHIP_WITHIN,
        answer_bytes_max: SHIP_ANSWER_BYTES_MAX,
    };
    let said = fetcher.ask(ask).await.map_err(|fault| Outcome::later(fault.to_string()))?;
    match judged(said.status, &said.headers, &url) {
        Some(outcome) => Err(outcome),
        None => Ok(said),
    }
}

/// `None`: it was taken. Whatever else is said is said to be tried again: what is wrong with a collector's configuration may be
/// mended, and no record is given up for it.
fn judged(status: u16, headers: &HeaderMap, url: &Url) -> Option<Outcome> {
    let why = format!("{} answered {status}", url.shown());
    match status {
        200..300 => None,
        413 => Some(Outcome::TooLarge { why }),
        _ => Some(Outcome::Later { after: retry_after(headers), why }),
    }
}

/// A POST that is signed; `id` is the same whenever the same is sent.
pub async fn signed(
    fetcher: &Fetcher,
    url: &str,
    secret: &Secret,
    id: &str,
    (kind, body): (&str, Bytes),
) -> Outcome {
    let signature = match hook::sign(secret, id, crate::time::unix_s(), &body) {
        Ok(signature) => signature,
        Err(why) => return Outcome::later(why),
    };
    let headers = [
        ("content-type", kind),
        ("webhook-id", signature.id.as_str()),
        ("webhook-timestamp", signature.timestamp.as_str()),
        ("webhook-signature", signature.signature.as_str()),
    ];
    match post(fetcher, url, &headers, body).await {
        Ok(_) => Outcome::Taken { rejected: 0 },
        Err(outcome) => outcome,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_answer_means() {
        let url = Url::parse("https://a.example/in?key=kanarie").unwrap();
        let of = |status| judged(status, &HeaderMap::new(), &url);
        assert!(of(200).is_none() && of(204).is_none());
        assert!(matches!(of(413), Some(Outcome::TooLarge { .. })));
        for status in [301, 400, 401, 403, 404, 429, 500, 503] {
            let outcome = of(status);
            assert!(matches!(outcome, Some(Outcome::Later { .. })), "{status}");
            assert!(!format!("{outcome:?}").contains("kanarie"), "a query is nobody's business");
        }
    }
}
