//! A POST per batch, a record a line, signed.

use axum::body::Bytes;
use strait_engine::Secret;

use crate::fetch::Fetcher;
use crate::shipping::batch::Record;
use crate::shipping::post::{Outcome, signed};

pub async fn push(
    fetcher: &Fetcher,
    url: &str,
    secret: &Secret,
    is_json: bool,
    records: &[&Record],
) -> Outcome {
    let (Some(first), Some(last)) = (records.first(), records.last()) else {
        return Outcome::Taken { rejected: 0 };
    };
    let mut body = String::new();
    for record in records {
        body.push_str(&record.line);
        body.push('\n');
    }
    let kind = if is_json { "application/x-ndjson" } else { "text/plain; charset=utf-8" };
    // The same records are the same message, also after a restart.
    let id = if records.len() == 1 { first.id.clone() } else { format!("{}-{}", first.id, last.id) };
    signed(fetcher, url, secret, &id, (kind, Bytes::from(body))).await
}
