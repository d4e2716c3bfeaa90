//! OTLP over HTTP, as protobuf: a log record each.

use axum::body::Bytes;
use prost::Message;
use strait_engine::Secret;

use crate::fetch::Fetcher;
use crate::shipping::batch::Record;
use crate::shipping::post::{Outcome, post};
use crate::telemetry::wire::{
    Answer, Any, Attribute, LogRecord, LogsRequest, ResourceLogs, ScopeLogs, Value,
};
use crate::telemetry::{resource, scope, unix_ns};

/// The numbers that OTLP has for them.
const INFO: i32 = 9;
const WARN: i32 = 13;

pub async fn push(
    fetcher: &Fetcher,
    endpoint: &str,
    secrets: &[(String, Secret)],
    records: &[&Record],
) -> Outcome {
    let request = LogsRequest {
        resource_logs: vec![ResourceLogs {
            resource: Some(resource()),
            scope_logs: vec![ScopeLogs {
                scope: Some(scope()),
                log_records: records.iter().map(|record| log_record(record)).collect(),
            }],
        }],
    };
    let mut headers: Vec<(&str, &str)> = vec![("content-type", "application/x-protobuf")];
    headers.extend(secrets.iter().map(|(name, value)| (name.as_str(), &**value)));
    let body = Bytes::from(request.encode_to_vec());
    match post(fetcher, &format!("{endpoint}/v1/logs"), &headers, body).await {
        Ok(said) => {
            // What it says beside may be anything; that it took it is said already.
            let answer = Answer::decode(said.body).unwrap_or_default();
            let rejected = answer.partial_success.map_or(0, |partial| partial.rejected);
            Outcome::Taken { rejected: (rejected.max(0) as u64).min(records.len() as u64) }
        }
        Err(outcome) => outcome,
    }
}

fn log_record(record: &Record) -> LogRecord {
    let mut attributes = vec![
        Attribute::text("log.record.uid", record.id.as_str()),
        Attribute::number("strait.audit.index", record.index.min(i64::MAX as u64) as i64),
    ];
    let said = [
        ("strait.audit.principal", &record.principal),
        ("strait.audit.item", &record.item),
        ("strait.audit.verdict", &record.verdict),
    ];
    let said = said.into_iter().filter_map(|(name, text)| Some(Attribute::text(name, text.as_deref()?)));
    attributes.extend(said);
    LogRecord {
        time_unix_nano: record.ts_ms.saturating_mul(1_000_000),
        severity_number: if record.is_bad { WARN } else { INFO },
        severity_text: if record.is_bad { "WARN" } else { "INFO" }.to_owned(),
        body: Some(Any { value: Some(Value::Text(record.line.clone())) }),
        attributes,
        // None is no bytes.
        trace_id: record.trace.map_or_else(Vec::new, |trace| trace.to_vec()),
        observed_time_unix_nano: unix_ns(),
        event_name: format!("strait.audit.{}", record.kind),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use strait_audit::export::Format;

    use super::*;

    #[test]
    fn a_record_of_a_trace_is_told_with_it_and_no_other() {
        let of = |trace: serde_json::Value| {
            let record = json!({ "ts": "2026-11-22T12:00:00.007Z", "kind": "exchange", "trace": trace });
            log_record(&Record::of(7, record.to_string().as_bytes(), Format::Ndjson)).trace_id
        };
        let trace: Vec<u8> = (0..16).map(|byte| byte * 17).collect();
        assert_eq!(of(json!("00112233445566778899aabbccddeeff")), trace);
        for none in
            [json!(null), json!(""), json!("+0112233445566778899aabbccddeeff"), json!("0011"), json!(7)]
        {
            assert_eq!(of(none.clone()), [0u8; 0], "{none}");
        }
    }
}
