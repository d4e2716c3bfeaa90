//! Splunk's HTTP Event Collector, with acknowledgement: what an indexer has not said it has is sent again.

use std::time::Duration;

use axum::body::Bytes;
use serde_json::{Value, json};
use strait_engine::Secret;
use strait_engine::io::random;
use tokio::time::{Instant, sleep};

use crate::fetch::Fetcher;
use crate::limits::{SHIP_ACK_ASKED_MAX, SHIP_ACK_ASKED_MIN};
use crate::shipping::batch::Record;
use crate::shipping::host;
use crate::shipping::post::{Outcome, post};
use crate::telemetry::hex;

pub async fn push(
    fetcher: &Fetcher,
    url: &str,
    token: &Secret,
    ack: Duration,
    is_json: bool,
    records: &[&Record],
) -> Outcome {
    pushed(fetcher, url, token, ack, body(records, is_json)).await.unwrap_or_else(|outcome| outcome)
}

/// Numbers of acknowledgements count per channel: one of its own for each batch, and no number can be another batch's.
async fn pushed(
    fetcher: &Fetcher,
    url: &str,
    token: &Secret,
    ack: Duration,
    body: Bytes,
) -> Result<Outcome, Outcome> {
    let channel = channel();
    let token = zeroize::Zeroizing::new(format!("Splunk {}", &**token));
    let headers = [
        ("content-type", "application/json"),
        ("authorization", token.as_str()),
        ("x-splunk-request-channel", channel.as_str()),
    ];
    let said = post(fetcher, &format!("{url}/services/collector/event"), &headers, body).await?;
    let answer: Value = serde_json::from_slice(&said.body).unwrap_or_default();
    let Some(number) = answer["ackId"].as_u64() else {
        return Err(Outcome::later(
            "it took the events and gave no `ackId`: switch on indexer acknowledgement for the token",
        ));
    };
    let (by, mut pause) = (Instant::now() + ack, SHIP_ACK_ASKED_MIN);
    let question = Bytes::from(json!({ "acks": [number] }).to_string());
    let place = format!("{url}/services/collector/ack?channel={channel}");
    loop {
        sleep(pause.min(by.saturating_duration_since(Instant::now()))).await;
        // Whoever fails to answer now may have it all the same.
        let why = match post(fetcher, &place, &headers, question.clone()).await {
            Ok(said) => {
                let answer: Value = serde_json::from_slice(&said.body).unwrap_or_default();
                if answer["acks"][number.to_string()] == true {
                    return Ok(Outcome::Taken { rejected: 0 });
                }
                format!("the indexer has not acknowledged the events within {} s", ack.as_secs())
            }
            Err(Outcome::Later { why, .. } | Outcome::TooLarge { why }) => why,
            Err(taken) => return Ok(taken),
        };
        if Instant::now() >= by {
            return Err(Outcome::later(why));
        }
        pause = (pause * 2).min(SHIP_ACK_ASKED_MAX);
    }
}

fn body(records: &[&Record], is_json: bool) -> Bytes {
    let mut body = Vec::new();
    for record in records {
        let head = json!({
            "time": format!("{}.{:03}", record.ts_ms / 1_000, record.ts_ms % 1_000),
            "host": host(),
            "source": "strait",
            "sourcetype": if is_json { "strait:audit" } else { "cef" },
            "fields": { "id": record.id, "index_in_log": record.index },
        });
        let head = head.to_string();
        let event = if is_json { record.line.clone() } else { Value::from(record.line.as_str()).to_string() };
        body.extend_from_slice(head.strip_suffix('}').unwrap_or(&head).as_bytes());
        body.extend_from_slice(b",\"event\":");
        body.extend_from_slice(event.as_bytes());
        body.extend_from_slice(b"}\n");
    }
    body.into()
}

/// A GUID of chance (RFC 9562, version 4).
fn channel() -> String {
    let mut bytes = [0; 16];
    // Without chance it is a channel like another, and only shared.
    let _ = random::fill(&mut bytes);
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let text = hex(&bytes);
    format!("{}-{}-{}-{}-{}", &text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use strait_audit::export::Format;

    #[test]
    fn each_event_is_one_object() {
        let bytes = br#"{"ts":"2026-11-22T12:00:00.007Z","kind":"exchange","tool":"a.b\n}{\"x"}"#;
        for (form, is_json) in [(Format::Ndjson, true), (Format::Cef, false)] {
            let record = Record::of(7, bytes, form);
            let body = body(&[&record, &record], is_json);
            let mut read = serde_json::Deserializer::from_slice(&body).into_iter::<Value>();
            for _ in 0..2 {
                let event = read.next().unwrap().unwrap();
                assert_eq!(event["time"], "1795348800.007");
                assert_eq!(
                    (&event["fields"]["index_in_log"], &event["fields"]["id"]),
                    (&7.into(), &record.id.as_str().into())
                );
                assert_eq!(event["event"].is_object(), is_json);
            }
            assert!(read.next().is_none());
        }
        let channel = channel();
        assert_eq!((channel.len(), &channel[14..15]), (36, "4"));
    }
}
