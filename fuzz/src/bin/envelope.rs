//! Upstream messages: no panic; the same facts however the message is cut; and where serde finds an object too, the
//! same id, result and error. The first byte says where to cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value};
use strait_protocol::jsonrpc::{Envelope, EnvelopeFault, IdValue, Scanner};

fuzz_target!(|data: &[u8]| {
    let Some((cut, body)) = data.split_first() else { return };
    let cut = (*cut as usize).min(body.len());
    let whole = scan(&[body]);
    assert_eq!(format!("{:?}", scan(&[&body[..cut], &body[cut..]])), format!("{whole:?}"));
    assert_eq!(format!("{:?}", scan(&body.chunks(1).collect::<Vec<_>>())), format!("{whole:?}"));

    let (Ok(envelope), Ok(object)) = (whole, serde_json::from_slice::<Map<String, Value>>(body)) else {
        return;
    };
    for (span, key) in [
        (envelope.id, "id"),
        (envelope.result, "result"),
        (envelope.error, "error"),
        (envelope.method, "method"),
    ] {
        let found = span.map(|span| serde_json::from_slice::<Value>(span.of(body)).unwrap());
        assert_eq!(found.as_ref(), object.get(key));
    }
    let id = object.get("id");
    match envelope.id_value {
        IdValue::Absent => assert_eq!(id, None),
        IdValue::Null => assert!(id.unwrap().is_null()),
        IdValue::Integer(value) => assert!(id.unwrap().as_i64() == Some(value) || value == 0),
        IdValue::Text => assert!(id.unwrap().is_string()),
        IdValue::Other => assert!(!id.unwrap().is_string() && id.unwrap().as_i64().is_none()),
    }
});

fn scan(pieces: &[&[u8]]) -> Result<Envelope, EnvelopeFault> {
    let mut scanner = Scanner::new();
    for piece in pieces {
        scanner.feed(piece)?;
    }
    scanner.finish().copied()
}
