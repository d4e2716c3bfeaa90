//! Syslog: messages of RFC 5424, a count of octets before each (RFC 6587), over TCP or TLS (RFC 5425).
//!
//! Syslog acknowledges nothing. What was written to a socket may be in some buffer when a receiver dies, and nobody would know. So
//! each batch has a connection of its own, which we end: a receiver that has read to that end closes it in order, and one that
//! has not resets it, or says nothing. Only the first counts as taken.

use strait_audit::view::plain;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::fetch::Fetcher;
use crate::limits::SHIP_WITHIN;
use crate::shipping::batch::Record;
use crate::shipping::host;
use crate::shipping::post::Outcome;

/// Log audit.
const FACILITY: u8 = 13;
const WARNING: u8 = 4;
const INFORMATIONAL: u8 = 6;

pub async fn push(fetcher: &Fetcher, (host, port, tls): (&str, u16, bool), records: &[&Record]) -> Outcome {
    let mut bytes = Vec::new();
    for record in records {
        let message = message(record);
        bytes.extend_from_slice(format!("{} ", message.len()).as_bytes());
        bytes.extend_from_slice(message.as_bytes());
    }
    let why = match timeout(SHIP_WITHIN, sent(fetcher, (host, port, tls), &bytes)).await {
        Ok(Ok(())) => return Outcome::Taken { rejected: 0 },
        Ok(Err(why)) => why,
        Err(_) => format!("did not take the messages and close within {} s", SHIP_WITHIN.as_secs()),
    };
    Outcome::later(format!("{host}:{port} {why}"))
}

async fn sent(fetcher: &Fetcher, (host, port, tls): (&str, u16, bool), bytes: &[u8]) -> Result<(), String> {
    let mut stream = fetcher.dial(host, port, tls).await?;
    stream.write_all(bytes).await.map_err(|error| format!("broke off: {error}"))?;
    stream.shutdown().await.map_err(|error| format!("broke off: {error}"))?;
    let mut said = [0; 256];
    loop {
        match stream.read(&mut said).await {
            Ok(0) => return Ok(()),
            // Some say hello.
            Ok(_) => {}
            // Many end TLS without a word.
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(format!("did not take all of it: {error}")),
        }
    }
}

fn message(record: &Record) -> String {
    let severity = if record.is_bad { WARNING } else { INFORMATIONAL };
    let mut message = format!(
        "<{}>1 {} {} strait {} {} [strait@32473 id=\"{}\" index=\"{}\"",
        FACILITY * 8 + severity,
        record.ts.as_deref().unwrap_or("-"),
        word(host(), 255),
        std::process::id(),
        word(&record.kind, 32),
        value(&record.id),
        record.index,
    );
    let said = [("principal", &record.principal), ("item", &record.item), ("verdict", &record.verdict)];
    for (name, text) in said {
        if let Some(text) = text {
            message.push_str(&format!(" {name}=\"{}\"", value(text)));
        }
    }
    message.push_str("] ");
    message.push_str(&record.line);
    message
}

/// A field of the header: printable ASCII, or `-`.
fn word(text: &str, most: usize) -> String {
    let word: String = text.chars().filter(char::is_ascii_graphic).take(most).collect();
    if word.is_empty() { "-".to_owned() } else { word }
}

/// The value of a parameter: what would end it has a backslash before it, what acts on a terminal is shown as its code point.
fn value(text: &str) -> String {
    let mut value = String::with_capacity(text.len());
    for c in plain(text).chars() {
        if matches!(c, '"' | '\\' | ']') {
            value.push('\\');
        }
        value.push(c);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use strait_audit::export::Format;

    #[test]
    fn a_message_is_one_line_whatever_is_in_a_record() {
        let hostile = "x\"]\n<13>1 - - - - - - forged\r\u{0}\\\u{1b}[2J";
        let record = json!({
            "ts": "2026-11-22T12:00:00.007Z", "kind": hostile, "principal": hostile, "tool": hostile, "verdict": "deny",
        });
        let record = Record::of(7, record.to_string().as_bytes(), Format::Ndjson);
        let message = message(&record);
        assert!(message.starts_with("<108>1 2026-11-22T12:00:00.007Z "), "{message}");
        assert!(!message.chars().any(char::is_control), "{message:?}");
        let fields: Vec<&str> = message.splitn(7, ' ').collect();
        assert!(fields[6].starts_with("[strait@32473 id=\""), "{message}");
        let data = &fields[6][..fields[6].find(" verdict=\"deny\"] {").unwrap()];
        let bare = data.replace("\\\\", "").replace("\\\"", "").replace("\\]", "");
        assert!(!bare.contains(']') && bare.matches('"').count() == 8, "{data}");
    }

    #[test]
    fn what_has_no_time_says_so() {
        let record = Record::of(0, br#"{"ts":"yesterday"}"#, Format::Cef);
        let message = message(&record);
        assert!(message.starts_with("<110>1 - "), "{message}");
        assert!(message.contains(" - [strait@32473 id="), "{message}");
    }
}
