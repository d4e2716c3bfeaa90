use std::collections::HashMap;

use proptest::prelude::*;
use serde_json::value::RawValue;

use super::generate::{blank, object, quote, quoted, value};
use crate::Span;
use crate::jsonrpc::{DecodeCause, DecodeFault, Decoder, Kind, Message, Text};
use crate::limits::{DEPTH_MAX, ID_BYTES_MAX};
use crate::mcp::Method;

fn decode(body: &[u8]) -> Result<Message, DecodeFault> {
    Decoder::new().decode(body).copied()
}

fn accepted(body: &str) -> Message {
    decode(body.as_bytes()).unwrap_or_else(|fault| panic!("{body}: {fault}"))
}

/// The message is refused with this label and code at the byte where `at` first occurs (or ends, when it ends in `$`).
fn refused(body: &str, label: &str, code: i64, at: &str) {
    let fault = decode(body.as_bytes()).expect_err(body);
    let place = match at.strip_suffix('$') {
        Some(at) => body.find(at).unwrap() + at.len(),
        None => body.find(at).unwrap_or_else(|| panic!("{at} is not in {body}")),
    };
    assert_eq!((fault.label(), fault.code(), fault.at as usize), (label, code, place), "{body}");
    assert!(fault.message().contains(&format!("at byte {place}")), "{}", fault.message());
}

fn says(span: Option<Span>, body: &str) -> Option<&str> {
    span.map(|span| std::str::from_utf8(span.of(body.as_bytes())).unwrap())
}

fn raw(text: Option<Text>, body: &str) -> Option<&str> {
    says(text.map(|text| text.raw), body)
}

#[test]
fn a_modern_call_is_read_into_places() {
    let body = r#" { "method":"tools\/call", "params" : {"name":"git\u005flog", "arguments": {"a":[1,{"b":"}"}]} ,
        "inputResponses":{}, "requestState":"s", "_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28",
        "io.modelcontextprotocol/clientCapabilities":{ }, "progressToken": 7 ,
        "io.modelcontextprotocol/clientInfo":{"name":"x"},"io.modelcontextprotocol/logLevel":"info","traceparent":5}},
        "jsonrpc":"2.0","id": -0 } "#;
    let mut decoder = Decoder::new();
    let message = *decoder.decode(body.as_bytes()).unwrap();
    assert_eq!((message.kind, message.method), (Kind::Request, Method::ToolsCall));
    assert_eq!(says(message.id, body), Some("-0"));
    assert_eq!(raw(message.name, body), Some(r#""git\u005flog""#));
    assert_eq!(decoder.text(message.name.unwrap()), b"git_log");
    assert_eq!(message.name.unwrap().read(body.as_bytes(), &mut Vec::new()), b"git_log");
    assert_eq!(decoder.text(message.method_text.unwrap()), b"tools/call");
    assert_eq!(message.mirrored_name(), message.name);
    assert_eq!(says(message.arguments, body), Some(r#"{"a":[1,{"b":"}"}]}"#));
    assert_eq!(raw(message.protocol_version, body), Some("\"2026-07-28\""));
    assert_eq!(says(message.client_capabilities, body), Some("{ }"));
    assert_eq!(says(message.client_info, body), Some(r#"{"name":"x"}"#));
    assert_eq!(raw(message.log_level, body), Some("\"info\""));
    assert_eq!(says(message.progress_token, body), Some("7"));
    assert_eq!(says(message.input_responses, body), Some("{}"));
    assert_eq!(raw(message.request_state, body), Some("\"s\""));
    assert_eq!(message.traceparent, None);
    assert_eq!((message.params_empty, message.meta_empty), (false, false));
    assert!(says(message.params, body).unwrap().ends_with("5}}"));
    assert_eq!(&body[..message.open as usize], " {");
}

#[test]
fn every_method_finds_its_own_parameters() {
    let request = |method: &str, params: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":"i","method":"{method}","params":{params}}}"#)
    };
    let body = request("resources/read", r#"{"uri":"a:b","name":5}"#);
    let message = accepted(&body);
    assert_eq!((raw(message.uri, &body), message.name), (Some("\"a:b\""), None));
    let body = request("tasks/get", r#"{"taskId":"t"}"#);
    assert_eq!(raw(accepted(&body).task_id, &body), Some("\"t\""));
    let body = request("completion/complete", r#"{"ref":{"type":"ref/prompt","name":"p"},"argument":{}}"#);
    assert_eq!(raw(accepted(&body).reference_name, &body), Some("\"p\""));
    let body = request("completion/complete", r#"{"ref":{"uri":"u"}}"#);
    assert_eq!(raw(accepted(&body).reference_uri, &body), Some("\"u\""));
    let body = request("logging/setLevel", r#"{"level":"error"}"#);
    assert_eq!(raw(accepted(&body).level, &body), Some("\"error\""));
    let body = request("tools/list", r#"{"cursor":""}"#);
    assert_eq!(raw(accepted(&body).cursor, &body), Some("\"\""));
    let body =
        request("initialize", r#"{"protocolVersion":"1","capabilities":{"roots":{}},"clientInfo":{}}"#);
    let message = accepted(&body);
    assert_eq!(raw(message.initialize_version, &body), Some("\"1\""));
    assert_eq!(says(message.capabilities, &body), Some(r#"{"roots":{}}"#));
    assert_eq!(says(message.initialize_info, &body), Some("{}"));
    let body = request("subscriptions/listen", r#"{"notifications":{"toolsListChanged":true}}"#);
    assert_eq!(says(accepted(&body).subscriptions, &body), Some(r#"{"toolsListChanged":true}"#));
    let body =
        request("vendor/own", r#"{"name":{"any":1},"uri":[],"cursor":4,"arguments":"x","requestId":null}"#);
    let message = accepted(&body);
    assert_eq!((message.method, message.name, message.arguments), (Method::Unknown, None, None));
    let body =
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"r","reason":"x"}}"#;
    let message = accepted(body);
    assert_eq!((message.kind, says(message.request_id, body)), (Kind::Notification, Some("\"r\"")));
    let body = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":3}}"#;
    assert_eq!(says(accepted(body).reported_token, body), Some("3"));
}

#[test]
fn null_parameters_that_may_be_left_out_count_as_left_out() {
    let message =
        accepted(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":null,"arguments":null}}"#);
    assert_eq!((message.name, message.arguments), (None, None));
    let message =
        accepted(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"cursor":null,"_meta":{}}}"#);
    assert_eq!((message.cursor, message.meta_empty), (None, true));
}

#[test]
fn responses_have_one_outcome_and_an_id() {
    let body = r#"{"jsonrpc":"2.0","id":"a","result":[1, 2] }"#;
    let message = accepted(body);
    assert_eq!((message.kind, says(message.result, body)), (Kind::Response, Some("[1, 2]")));
    let body = r#"{"jsonrpc":"2.0","id":2,"error":{"code":-1}}"#;
    assert_eq!(says(accepted(body).error, body), Some(r#"{"code":-1}"#));
    refused(r#"{"jsonrpc":"2.0","id":2,"result":1,"error":{}}"#, "result_with_error", -32600, r#"error"#);
    refused(r#"{"jsonrpc":"2.0","id":2,"result":1,"method":"ping"}"#, "method_with_result", -32600, "result");
    refused(r#"{"jsonrpc":"2.0","id":2,"error":{},"method":"ping"}"#, "method_with_result", -32600, "error");
    refused(r#"{"jsonrpc":"2.0","result":1}"#, "response_without_id", -32600, "}");
    refused(r#"{"jsonrpc":"2.0","id":null,"error":{}}"#, "id_invalid", -32600, "null");
    refused(r#"{"jsonrpc":"2.0","id":1,"error":"x"}"#, "error_invalid", -32600, "\"x\"");
    refused(r#"{"jsonrpc":"2.0","id":1}"#, "shapeless", -32600, "}");
}

#[test]
fn what_is_not_json_is_named() {
    refused("", "json_empty", -32700, "");
    refused(" \n ", "json_empty", -32700, " \n $");
    refused("{", "json_syntax", -32700, "{$");
    refused("nul", "json_syntax", -32700, "nul");
    refused(r#"{"a":}"#, "json_syntax", -32700, "}");
    refused(r#"{"a" 1}"#, "json_syntax", -32700, "1");
    refused(r#"{"a":1,}"#, "json_syntax", -32700, "}");
    refused(r#"{"a":[1,]}"#, "json_syntax", -32700, "]");
    refused("{\"a\":\"b\nc\"}", "json_syntax", -32700, "\n");
    refused(r#"{"a":"b}"#, "json_syntax", -32700, r#"{"a":"b}$"#);
    refused(r#"{"a":"\x"}"#, "json_syntax", -32700, r"\x");
    refused("\u{feff}{}", "json_syntax", -32700, "\u{feff}");
    for number in ["01", "+1", "1.", ".5", "-", "0x1", "1e", "NaN", "Infinity", "1_0"] {
        let fault = decode(format!(r#"{{"a":{number}}}"#).as_bytes()).unwrap_err();
        assert_eq!((fault.label(), fault.code()), ("json_syntax", -32700), "{number}");
    }
    for comment in ["{}//x", "/**/{}", "{/**/}"] {
        assert_eq!(decode(comment.as_bytes()).unwrap_err().code(), -32700, "{comment}");
    }
}

#[test]
fn what_parsers_read_differently_is_named() {
    for number in
        ["18446744073709551616", "-9223372036854775809", "123456789012345678901234567890", "1e400", "-1e400"]
    {
        refused(&format!(r#"{{"a":{number}}}"#), "json_number_range", -32700, number);
    }
    refused(r#"{"a":"\ud83d"}"#, "json_surrogate", -32700, r"\ud83d");
    refused(r#"{"a":"\udc00"}"#, "json_surrogate", -32700, r"\udc00");
    refused(r#"{"a":"\ud83d\u0041"}"#, "json_surrogate", -32700, r"\ud83d");
    for bad in [&b"\xff"[..], b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82"] {
        let body = [&b"{\"a\":\""[..], bad, b"\"}"].concat();
        let fault = decode(&body).unwrap_err();
        assert_eq!((fault.label(), fault.at), ("json_utf8", 6), "{bad:?}");
    }
    let sound = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    for after in ["x", "{}", ",", "]", "}", "\0", "\"a\"", "1"] {
        let fault = decode(format!("{sound} {after}").as_bytes()).unwrap_err();
        assert_eq!((fault.label(), fault.at as usize), ("json_trailing", sound.len() + 1), "{after}");
    }
    accepted(&format!("\t{sound}\r\n "));
}

#[test]
fn nesting_is_bounded() {
    let nested = |depth: usize| {
        // The message, its params and arguments are three levels.
        let (open, close) = ("[".repeat(depth - 3), "]".repeat(depth - 3));
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"arguments":{{"a":{open}{close}}}}}}}"#
        )
    };
    accepted(&nested(DEPTH_MAX));
    let fault = decode(nested(DEPTH_MAX + 1).as_bytes()).unwrap_err();
    assert_eq!((fault.label(), fault.code()), ("json_depth", -32700));
    assert_eq!(decode("[".repeat(100_000).as_bytes()).unwrap_err().label(), "json_depth");
}

#[test]
fn one_object_is_one_message() {
    refused(r#" [{"jsonrpc":"2.0","id":1,"method":"ping"}]"#, "batch", -32600, "[");
    refused("[]", "batch", -32600, "[");
    for scalar in ["1", "\"a\"", "null", "true"] {
        refused(scalar, "not_an_object", -32600, scalar);
    }
    refused(r#"{"id":1,"method":"ping"}"#, "jsonrpc_version", -32600, "}");
    refused(r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#, "jsonrpc_version", -32600, "\"1.0\"");
    refused(r#"{"jsonrpc":2.0,"id":1,"method":"ping"}"#, "jsonrpc_version", -32600, "2.0");
    refused("{}", "jsonrpc_version", -32600, "}");
    refused(r#"{"jsonrpc":"2.0","id":1,"method":5}"#, "method_invalid", -32600, "5");
    accepted(r#"{"jsonrpc":"\u0032.0","id":1,"method":"ping"}"#);
}

#[test]
fn an_id_is_a_string_or_an_integer_of_bounded_size() {
    let with_id = |id: &str| format!(r#"{{"jsonrpc":"2.0","method":"ping","id":{id}}}"#);
    for id in ["0", "-1", "18446744073709551615", "-9223372036854775808", r#""""#, r#""a\"b""#, "-0"] {
        let body = with_id(id);
        assert_eq!(says(accepted(&body).id, &body), Some(id));
    }
    for id in ["null", "1.0", "1e2", "{}", "[]", "true"] {
        refused(&with_id(id), "id_invalid", -32600, id);
    }
    accepted(&with_id(&format!("\"{}\"", "a".repeat(ID_BYTES_MAX - 2))));
    refused(&with_id(&format!("\"{}\"", "a".repeat(ID_BYTES_MAX - 1))), "id_too_long", -32600, "\"aaa");
}

#[test]
fn keys_come_once_and_in_their_exact_spelling() {
    let call = |top: &str, params: &str, meta: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call",{top}"params":{{"name":"n",{params}"_meta":{{{meta}"progressToken":1}}}}}}"#
        )
    };
    accepted(&call(r#""x":1,"X":2,"#, r#""y":1,"#, r#""z":1,"#));
    let twice = [(r#""x":1,"\u0078":2,"#, r"\u0078"), (r#""x":1,"x":2,"#, r#"x":2"#)];
    for (members, at) in twice {
        for body in [call(members, "", ""), call("", members, ""), call("", "", members)] {
            refused(&body, "key_repeated", -32600, at);
        }
    }
    refused(&call(r#""method":"ping","#, "", ""), "key_repeated", -32600, r#"method":"ping"#);
    refused(&call("", r#""name":"m","#, ""), "key_repeated", -32600, r#"name":"m""#);
    refused(&call("", "", r#""progressToken":2,"#), "key_repeated", -32600, r#"progressToken":1"#);
    for (key, known) in [
        ("Method", 0),
        ("ID", 0),
        ("PARAMS", 0),
        ("Name", 1),
        ("Arguments", 1),
        ("_META", 1),
        ("para\u{17f}", 9),
    ] {
        let member = format!("\"{key}\":1,");
        let body = match known {
            0 => call(&member, "", ""),
            1 => call("", &member, ""),
            _ => call(&format!("\"{key}\":1,").replace("para\u{17f}", "param\u{17f}"), "", ""),
        };
        let fault = decode(body.as_bytes()).unwrap_err();
        assert_eq!((fault.label(), fault.code()), ("key_case_variant", -32600), "{body}");
    }
    refused(&call("", r#""ta\u017f\u212aId":1,"#, ""), "key_case_variant", -32600, r"ta\u017f");
    refused(
        &call("", "", r#""io.modelcontextprotocol/ProtocolVersion":1,"#),
        "key_case_variant",
        -32600,
        "io.model",
    );
    refused(
        &call("", "", r#""io.modelcontextprotocol/clientInfo":1,"#),
        "member_invalid",
        -32602,
        "1,\"progressToken",
    );
    refused(&call(r#""a\u0000":1,"#, "", ""), "nul_in_key", -32600, r"a\u0000");
    refused(&call("", r#""\u0000":1,"#, ""), "nul_in_key", -32600, r"\u0000");
    accepted(&call("", r#""arguments":{"a":1,"a":2,"Name":1},"#, ""));
}

#[test]
fn many_keys_are_compared_without_comparing_each_with_each() {
    let message = |extra: &str| {
        let mut keys: Vec<String> = (0..50_000).map(|index| format!("\"k{index}\":0")).collect();
        keys.push(extra.to_owned());
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping",{}}}"#, keys.join(","))
    };
    accepted(&message("\"other\":1"));
    refused(&message("\"k7\":1"), "key_repeated", -32600, "k7\":1");
    refused(&message(r#""k\u0037":1"#), "key_repeated", -32600, r"k\u0037");
}

#[test]
fn names_hold_no_nul_and_have_their_type() {
    let with = |method: &str, params: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#)
    };
    refused(&with("tools/call", r#"{"name":"a\u0000"}"#), "nul_in_name", -32600, r#""a\u0000""#);
    refused(&with("resources/read", r#"{"uri":"\u0000"}"#), "nul_in_name", -32600, r#""\u0000""#);
    refused(&with(r"tools/call\u0000", "{}"), "nul_in_name", -32600, "\"tools");
    refused(
        &with("completion/complete", r#"{"ref":{"name":"\u0000"}}"#),
        "nul_in_name",
        -32600,
        r#""\u0000""#,
    );
    refused(&with("tools/call", r#"{"name":5}"#), "member_invalid", -32602, "5");
    refused(&with("tools/call", r#"{"name":"a","arguments":[]}"#), "member_invalid", -32602, "[]");
    refused(&with("tools/list", r#"{"cursor":7}"#), "member_invalid", -32602, "7");
    refused(&with("completion/complete", r#"{"ref":7}"#), "member_invalid", -32602, "7");
    refused(
        &with("completion/complete", r#"{"ref":{"uri":"a","uri":"b"}}"#),
        "key_repeated",
        -32600,
        r#"uri":"b"#,
    );
    refused(&with("tools/list", r#"{"_meta":[]}"#), "meta_invalid", -32602, "[]");
    refused(&with("tools/list", r#"{"_meta":{"progressToken":1.5}}"#), "member_invalid", -32602, "1.5");
    for params in ["[]", "null", "1", "\"x\""] {
        refused(&with("vendor/own", params), "params_invalid", -32602, &format!("{params}}}"));
    }
}

#[test]
fn a_refusal_echoes_the_id_when_exactly_one_was_readable() {
    let id_of = |body: &str| says(decode(body.as_bytes()).unwrap_err().id, body).map(str::to_owned);
    assert_eq!(id_of(r#"{"jsonrpc":"1","id":"x","method":"ping"}"#).as_deref(), Some("\"x\""));
    assert_eq!(id_of(r#"{"jsonrpc":"2.0","id":7,"method":"ping","a":1,"a":2}"#).as_deref(), Some("7"));
    assert_eq!(id_of(r#"{"jsonrpc":"2.0","id":7,"method":"ping","params":[]}"#).as_deref(), Some("7"));
    assert_eq!(id_of(r#"{"jsonrpc":"2.0","id":7,"id":7,"method":"ping"}"#), None);
    assert_eq!(id_of(r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#), None);
    assert_eq!(id_of(r#"{"id":7"#), None);
}

#[test]
fn members_deeper_down_are_read_under_the_same_guard() {
    let body = br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"arguments":{"a":{"b":[1]},"\u0063":2,"A2":1}}}"#;
    let mut decoder = Decoder::new();
    let arguments = decoder.decode(body).unwrap().arguments.unwrap();
    let a = decoder.member(body, arguments, "a").unwrap().unwrap();
    assert_eq!(a.of(body), br#"{"b":[1]}"#);
    assert_eq!(decoder.member(body, a, "b").unwrap().unwrap().of(body), b"[1]");
    assert_eq!(decoder.member(body, arguments, "c").unwrap().unwrap().of(body), b"2");
    assert_eq!(decoder.member(body, arguments, "x"), Ok(None));
    let cause = |body: &[u8], key: &str, decoder: &mut Decoder| {
        let whole = Span::between(0, body.len());
        decoder.member(body, whole, key).map_err(|fault| (fault.cause, fault.at))
    };
    assert_eq!(cause(br#"{"a":1,"b":1,"b":2}"#, "a", &mut decoder), Err((DecodeCause::KeyRepeated, 14)));
    assert_eq!(cause(br#"{"a":1,"A":1}"#, "a", &mut decoder), Err((DecodeCause::KeyCaseVariant, 8)));
}

#[test]
fn a_decoder_forgets_the_message_before() {
    let mut decoder = Decoder::new();
    let long =
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"x":"{}"}}}}"#, "a".repeat(300_000));
    decoder.decode(long.as_bytes()).unwrap();
    decoder.trim();
    let short = r#"{"jsonrpc":"2.0","id":2,"method":"ping"}"#;
    assert_eq!(says(decoder.decode(short.as_bytes()).unwrap().id, short), Some("2"));
    assert!(decoder.decode(b"{\"a").is_err());
    assert_eq!(says(decoder.decode(short.as_bytes()).unwrap().id, short), Some("2"));
}

/// A member of an object the decoder reads: its key as said, key and value as written, white space around them.
type Written = (String, String, String, String);

fn member(
    key: &'static str,
    value: impl Strategy<Value = String> + 'static,
) -> BoxedStrategy<Option<Written>> {
    let written = (Just(key.to_owned()), any::<u64>(), value, blank())
        .prop_map(|(key, escapes, value, blank)| (key.clone(), quote(&key, escapes), value, blank));
    proptest::option::weighted(0.8, written).boxed()
}

fn shuffled(members: Vec<Option<Written>>) -> impl Strategy<Value = Vec<Written>> {
    Just(members.into_iter().flatten().collect::<Vec<_>>()).prop_shuffle()
}

fn write(members: Vec<Written>, inside: &str) -> String {
    object(members.into_iter().map(|(_, key, value, blank)| (key, value, blank)).collect(), inside)
}

fn meta() -> BoxedStrategy<String> {
    let members = (
        member("io.modelcontextprotocol/protocolVersion", quoted("[0-9-]{0,10}")),
        member("io.modelcontextprotocol/clientCapabilities", Just("{\"roots\": {}}".to_owned())),
        member(
            "progressToken",
            prop_oneof![quoted("[a-z]{0,3}"), any::<i64>().prop_map(|token| token.to_string())],
        ),
        member("other", value()),
    );
    let members = members.prop_flat_map(|(a, b, c, d)| shuffled(vec![a, b, c, d]));
    (members, blank()).prop_map(|(members, inside)| write(members, &inside)).boxed()
}

fn params() -> BoxedStrategy<String> {
    let arguments = (value(), blank()).prop_map(|(value, blank)| format!("{{{blank}\"k\":{value}{blank}}}"));
    let members = (
        member("name", quoted("[a-z_é\"]{0,8}")),
        member("arguments", arguments),
        member("_meta", meta()),
        member("other", value()),
        member("more", value()),
    );
    let members = members.prop_flat_map(|(a, b, c, d, e)| shuffled(vec![a, b, c, d, e]));
    (members, blank()).prop_map(|(members, inside)| write(members, &inside)).boxed()
}

fn message() -> BoxedStrategy<String> {
    let fixed = |key: &'static str, value: &'static str| {
        member(key, Just(value.to_owned())).prop_filter("needed", Option::is_some)
    };
    let members = (
        fixed("jsonrpc", "\"2.0\""),
        fixed("method", "\"tools/call\""),
        fixed("id", "\"\\u0061\\\"}\""),
        member("params", params()),
        member("other", value()),
    );
    let members = members.prop_flat_map(|(a, b, c, d, e)| shuffled(vec![a, b, c, d, e]));
    (members, blank(), blank())
        .prop_map(|(members, inside, around)| format!("{around}{}{around}", write(members, &inside)))
        .boxed()
}

type Raws<'a> = HashMap<String, &'a RawValue>;

fn oracle(text: Option<&str>) -> Raws<'_> {
    text.map(|text| serde_json::from_str(text).unwrap()).unwrap_or_default()
}

proptest! {
    #[test]
    fn spans_are_where_serde_finds_the_values(body in message()) {
        let mut decoder = Decoder::new();
        let message = decoder.decode(body.as_bytes()).map_err(|fault| TestCaseError::fail(format!("{body}: {fault}")))?;
        let top = oracle(Some(&body));
        let params = oracle(top.get("params").map(|raw| raw.get()));
        let meta = oracle(params.get("_meta").map(|raw| raw.get()));
        let is = |found: Option<Span>, object: &Raws<'_>, key: &str| {
            let expected = object.get(key).map(|raw| raw.get());
            prop_assert_eq!(says(found, &body), expected, "{} in {}", key, body);
            // A slice with the right text could still lie at the wrong place.
            if let (Some(found), Some(expected)) = (found, object.get(key)) {
                let place = expected.get().as_ptr() as usize - body.as_ptr() as usize;
                prop_assert_eq!(found.start as usize, place);
            }
            Ok(())
        };
        is(message.id, &top, "id")?;
        is(message.method_text.map(|text| text.raw), &top, "method")?;
        is(message.params, &top, "params")?;
        is(message.name.map(|text| text.raw), &params, "name")?;
        is(message.arguments, &params, "arguments")?;
        is(message.meta, &params, "_meta")?;
        is(message.protocol_version.map(|text| text.raw), &meta, "io.modelcontextprotocol/protocolVersion")?;
        is(message.client_capabilities, &meta, "io.modelcontextprotocol/clientCapabilities")?;
        is(message.progress_token, &meta, "progressToken")?;
        prop_assert_eq!(message.params_empty, message.params.is_some() && params.is_empty());
        prop_assert_eq!(message.meta_empty, message.meta.is_some() && meta.is_empty());
        for text in [message.method_text, message.name, message.protocol_version].into_iter().flatten() {
            let expected: String = serde_json::from_slice(text.raw.of(body.as_bytes())).unwrap();
            let mut scratch = Vec::new();
            prop_assert_eq!(decoder.text(text), expected.as_bytes());
            prop_assert_eq!(text.read(body.as_bytes(), &mut scratch), expected.as_bytes());
        }
    }

    /// Whatever one flipped byte makes of a message: what we accept serde accepts too, and ids agree.
    #[test]
    fn what_is_accepted_is_json_to_others(body in message(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = body.into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(message) = decode(&bytes) {
            let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
            let id = message.id.map(|id| serde_json::from_slice::<serde_json::Value>(id.of(&bytes)).unwrap());
            prop_assert_eq!(id.as_ref(), value.get("id"));
        }
    }

    #[test]
    fn any_bytes_are_survived(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&body);
    }
}
