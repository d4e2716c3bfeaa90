use std::collections::HashMap;

use proptest::prelude::*;
use serde_json::value::RawValue;

use super::generate::{blank, object, quote, quoted, scalar, value};
use crate::Span;
use crate::jsonrpc::{Envelope, EnvelopeFault, IdValue, Kind, Open, ResultType, Scanner};
use crate::limits::UPSTREAM_DEPTH_MAX;
use crate::mcp::Method;

fn scan(pieces: &[&[u8]]) -> Result<Envelope, EnvelopeFault> {
    let mut scanner = Scanner::new();
    for piece in pieces {
        scanner.feed(piece)?;
    }
    scanner.finish().copied()
}

fn scanned(body: &str) -> Envelope {
    scan(&[body.as_bytes()]).unwrap_or_else(|fault| panic!("{body}: {fault}"))
}

fn refused(body: &str, label: &str, at: usize) {
    let fault = scan(&[body.as_bytes()]).expect_err(body);
    assert_eq!((fault.label(), fault.at as usize), (label, at), "{body}");
    assert!(fault.message().contains("expected") && fault.message().contains("found"));
}

fn says(span: Option<Span>, body: &str) -> Option<&str> {
    span.map(|span| std::str::from_utf8(span.of(body.as_bytes())).unwrap())
}

#[test]
fn a_result_is_found_wherever_the_id_is() {
    let body = r#" {"result": {"resultType":"input_required","content":[{"text":"{\"id\":9}"}],"isError": true },
        "jsonrpc":"2.0", "i\u0064" : 42 } "#;
    let envelope = scanned(body);
    assert_eq!((envelope.kind(), envelope.jsonrpc_ok), (Some(Kind::Response), true));
    assert_eq!((says(envelope.id, body), envelope.id_value), (Some("42"), IdValue::Integer(42)));
    assert_eq!(envelope.result_type, ResultType::InputRequired);
    assert_eq!(says(envelope.result_type_span, body), Some("\"input_required\""));
    assert_eq!(envelope.is_error, Some(true));
    assert!(says(envelope.result, body).unwrap().ends_with("true }"));
    assert_eq!(envelope.result_open, Some(Open { after: 13, empty: false }));
    assert_eq!(envelope.end.map(|end| end as usize), Some(body.len() - 1));
}

#[test]
fn the_other_shapes_of_a_message() {
    let body = r#"{"jsonrpc":"2.0","id":"7","result":{ }}"#;
    let envelope = scanned(body);
    assert_eq!((envelope.id_value, says(envelope.result, body)), (IdValue::Text, Some("{ }")));
    assert!(envelope.result_open.unwrap().empty);
    assert_eq!((envelope.result_type, envelope.is_error), (ResultType::Absent, None));

    let envelope =
        scanned(r#"{"id":null,"error":{"message":"x","data":{"code":1},"code":-32601},"jsonrpc":"2.0"}"#);
    assert_eq!((envelope.error_code, envelope.id_value), (Some(-32601), IdValue::Null));
    assert!(envelope.has_error && !envelope.has_result);

    let body =
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":12,"progress":0.5}}"#;
    let envelope = scanned(body);
    assert_eq!(envelope.kind(), Some(Kind::Notification));
    assert_eq!(envelope.method_known, Some(Method::NotifyProgress));
    assert_eq!(
        (says(envelope.progress_token, body), envelope.progress_token_value),
        (Some("12"), IdValue::Integer(12))
    );

    let body = r#"{"jsonrpc":"2.0","method":"sampling\/createMessage","id":0,"params":{"uri":"u","level":"l","requestId":"r"}}"#;
    let envelope = scanned(body);
    assert_eq!(envelope.kind(), Some(Kind::Request));
    assert_eq!(envelope.method_known, Some(Method::SamplingCreateMessage));
    assert_eq!((says(envelope.uri, body), says(envelope.level, body)), (Some("\"u\""), Some("\"l\"")));
    assert_eq!((says(envelope.request_id, body), envelope.request_id_value), (Some("\"r\""), IdValue::Text));

    let envelope = scanned(r#"{"result":[{"isError":true}],"id":1}"#);
    assert_eq!((envelope.result_open, envelope.is_error, envelope.jsonrpc_ok), (None, None, false));
    assert_eq!(scanned(r#"{"method":"vendor/x","jsonrpc":"2.0"}"#).method_known, Some(Method::Unknown));
    assert_eq!(scanned(r#"{"result":{"resultType":"odd"}}"#).result_type, ResultType::Other);
    assert_eq!(scanned(r#"{"result":{"resultType":{"a":1}}}"#).result_type, ResultType::Other);
    for (id, expected) in [
        ("1.5", IdValue::Other),
        ("{\"a\":\"b\"}", IdValue::Other),
        ("[1]", IdValue::Other),
        ("true", IdValue::Other),
        ("99999999999999999999", IdValue::Other),
        ("-3", IdValue::Integer(-3)),
    ] {
        assert_eq!(scanned(&format!(r#"{{"result":{{}},"id":{id}}}"#)).id_value, expected, "{id}");
    }
    let long = format!(r#"{{"result":{{}},"id":"{}"}}"#, "a".repeat(1000));
    assert_eq!(scanned(&long).id_value, IdValue::Text);
}

#[test]
fn what_is_no_message_is_named() {
    refused("[]", "reply_not_an_object", 0);
    refused("null", "reply_not_an_object", 0);
    refused("", "reply_truncated", 0);
    refused(r#"{"result":{}"#, "reply_truncated", 12);
    refused(r#"{"a":1}"#, "reply_shapeless", 7);
    refused(r#"{"result":1,"error":{}}"#, "reply_result_with_error", 23);
    refused(r#"{"method":"a","error":{}}"#, "reply_method_with_result", 25);
    refused(r#"{"method":"a","result":{}}"#, "reply_method_with_result", 26);
    refused(r#"{"id":1,"id":1,"result":{}}"#, "reply_key_repeated", 11);
    refused(r#"{"id":1,"\u0069d":1,"result":{}}"#, "reply_key_repeated", 16);
    refused(r#"{"result":{},"result":{}}"#, "reply_key_repeated", 20);
    refused(r#"{"result":{"isError":true,"isError":false}}"#, "reply_key_repeated", 34);
    refused(r#"{"result":{}} x"#, "reply_trailing", 14);
    refused(r#"{"result":{}}{"#, "reply_trailing", 13);
    for (body, at) in [
        (r#"{"a" 1}"#, 5),
        (r#"{"a":1 "b":2}"#, 7),
        (r#"{"a":1,}"#, 7),
        (r#"{"a":[1,]}"#, 8),
        (r#"{"a":[1}"#, 7),
        (r#"{"a":[1,[]}"#, 10),
        (r#"{"a":[{"b":1]"#, 12),
        (r#"{"a":{]"#, 6),
        (r#"{"a":}"#, 5),
        (r#"{a:1}"#, 1),
        (r#"{,}"#, 1),
        (r#"{"a":tru}"#, 8),
        (r#"{"a":truex}"#, 9),
        (r#"{"a":nul"#, 99),
        (r#"{"a":'b'}"#, 5),
        (r#"{"a":1:2}"#, 6),
        (r#"{"a":"b""c"}"#, 8),
    ] {
        // As a message, and as a value that no fact lies in.
        for above in ["", r#"{"result":{"x":"#, r#"{"result":{"x":[{"y":"#] {
            let within = format!("{above}{body}");
            if at == 99 {
                refused(&within, "reply_truncated", within.len());
            } else {
                refused(&within, "reply_syntax", above.len() + at);
            }
        }
    }
    let nested = |depth: usize| format!("{{\"result\":{}{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1));
    scanned(&nested(UPSTREAM_DEPTH_MAX));
    refused(&nested(UPSTREAM_DEPTH_MAX + 1), "reply_depth", 10 + UPSTREAM_DEPTH_MAX - 1);
}

#[test]
fn a_fault_stays_and_a_reset_forgets() {
    let mut scanner = Scanner::new();
    let fault = scanner.feed(b"{]").unwrap_err();
    assert_eq!(scanner.feed(b"{}"), Err(fault));
    assert_eq!(scanner.finish().unwrap_err(), fault);
    scanner.reset();
    scanner.feed(b"{\"result\":{}}").unwrap();
    assert!(scanner.is_complete());
    scanner.feed(b"\n").unwrap();
    assert!(scanner.finish().is_ok());
}

#[test]
fn facts_are_there_before_the_message_is() {
    let mut scanner = Scanner::new();
    scanner.feed(br#"{"jsonrpc":"2.0","id":5,"result":{"content":[{"ty"#).unwrap();
    let envelope = scanner.envelope();
    assert_eq!(envelope.id_value, IdValue::Integer(5));
    assert_eq!((envelope.has_result, envelope.result), (true, None));
    assert_eq!(envelope.result_open, Some(Open { after: 34, empty: false }));
    assert!(!scanner.is_complete());
}

fn reply() -> BoxedStrategy<String> {
    let key = |key: &'static str| any::<u64>().prop_map(move |escapes| quote(key, escapes));
    let result = prop_oneof![
        value(),
        (
            (key("isError"), scalar(), blank()),
            (key("resultType"), quoted("task|complete|x"), blank()),
            (key("x"), value(), blank())
        )
            .prop_map(|(a, b, c)| object(vec![a, b, c], "")),
    ];
    let members =
        ((key("id"), scalar(), blank()), (key("result"), result, blank()), (key("y"), value(), blank()))
            .prop_map(|(a, b, c)| vec![a, b, c])
            .prop_shuffle();
    (members, blank())
        .prop_map(|(members, around)| format!("{around}{}{around}", object(members, "")))
        .boxed()
}

proptest! {
    #[test]
    fn places_are_where_serde_finds_the_values(body in reply()) {
        let envelope = scan(&[body.as_bytes()]).map_err(|fault| TestCaseError::fail(format!("{body}: {fault}")))?;
        let top: HashMap<String, &RawValue> = serde_json::from_str(&body).unwrap();
        prop_assert_eq!(says(envelope.id, &body), top.get("id").map(|raw| raw.get()));
        prop_assert_eq!(says(envelope.result, &body), top.get("result").map(|raw| raw.get()));
        let result: serde_json::Value = serde_json::from_str(top["result"].get()).unwrap();
        let object = result.as_object();
        prop_assert_eq!(envelope.result_open.map(|open| open.empty), object.map(|object| object.is_empty()));
        prop_assert_eq!(envelope.is_error, object.and_then(|object| object.get("isError")?.as_bool()));
        let known = object.and_then(|object| object.get("resultType")).map(|word| match word.as_str() {
            Some("task") => ResultType::Task,
            Some("complete") => ResultType::Complete,
            _ => ResultType::Other,
        });
        prop_assert_eq!(envelope.result_type, known.unwrap_or_default());
    }

    #[test]
    fn a_message_means_the_same_however_it_is_cut(
        body in reply(),
        damage in proptest::option::of((any::<prop::sample::Index>(), any::<u8>())),
    ) {
        let mut bytes = body.into_bytes();
        if let Some((at, byte)) = damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let show = |outcome| format!("{outcome:?}");
        let whole = show(scan(&[&bytes]));
        for cut in 0..=bytes.len() {
            prop_assert_eq!(&show(scan(&[&bytes[..cut], &bytes[cut..]])), &whole);
        }
        prop_assert_eq!(&show(scan(&bytes.chunks(1).collect::<Vec<_>>())), &whole);
    }

    /// What serde reads as an object is accepted by the scanner, unless it is refused on purpose.
    #[test]
    fn structure_is_judged_as_serde_judges_it(body in reply(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = body.into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let serde = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&bytes).is_ok();
        match scan(&[&bytes]) {
            Err(fault) if serde => prop_assert!(!matches!(fault.label(), "reply_syntax" | "reply_truncated" | "reply_trailing"), "{}", fault),
            _ => {}
        }
    }

    #[test]
    fn any_bytes_are_survived(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = scan(&[&body]);
    }
}
