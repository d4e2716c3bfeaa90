//! Bodies: too large, not JSON, JSON that parsers read differently, no message. Each is refused with
//! its reason, its place, and the id when one could be read; and a refusal reaches a client that is
//! still sending.

use std::io::Write;

use serde_json::{Value, json};
use strait_tests::client::post;
use strait_tests::scripted::{echoed, json_reply};
use strait_tests::{Answer, Client, Gateway, Scripted, Setup};

use crate::basics::config;
use crate::common::{assert_lives, call, reason, text};

fn gateway() -> (Scripted, Gateway) {
    let upstream = Scripted::modern(|request| json_reply(&echoed(request)));
    let gateway = Gateway::start(Setup::new(config(&upstream.url())));
    (upstream, gateway)
}

const HEADERS: [(&str, &str); 4] = [
    ("Authorization", "Bearer key-full"),
    ("MCP-Protocol-Version", "2026-07-28"),
    ("Mcp-Method", "tools/call"),
    ("Mcp-Name", "echo"),
];

fn send(client: &mut Client, body: &[u8]) -> Answer {
    client.roundtrip(post(&HEADERS, body))
}

/// A call of `echo` as raw text, with further members at each level.
fn message(top: &str, params: &str, meta: &str, arguments: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{{"name":"echo","arguments":{{{arguments}}},"_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{{}}{meta}}}{params}}}{top}}}"#
    )
}

#[test]
fn a_client_that_is_still_sending_can_read_that_its_body_is_too_large() {
    let (_upstream, gateway) = gateway();
    let heads = [
        ("Content-Length: 8388608\r\n", false),
        ("Transfer-Encoding: chunked\r\n", true),
        ("Content-Length: 18446744073709551615\r\n", false),
    ];
    for (framing, chunked) in heads {
        let mut client = Client::connect(gateway.address);
        let head = format!(
            "POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer key-full\r\nContent-Type: application/json\r\n{framing}\r\n"
        );
        client.send(head);
        let mut sender = client.stream().try_clone().expect("clone");
        let sending = std::thread::spawn(move || {
            let piece = vec![b' '; 64 * 1024];
            for _ in 0..128 {
                let framed =
                    if chunked { [b"10000\r\n", &piece[..], b"\r\n"].concat() } else { piece.clone() };
                if sender.write_all(&framed).is_err() {
                    return false;
                }
            }
            true
        });
        let answer = client.answer().unwrap_or_else(|| panic!("{framing}: no answer"));
        assert_eq!((answer.status, reason(&answer).as_str()), (413, "body_too_large"), "{framing}");
        let (code, message) = answer.error();
        assert_eq!(
            (code, message.as_str()),
            (-32600, "request: the body is over the limit of 4194304 bytes")
        );
        assert_eq!(answer.header("connection"), Some("close"));
        assert!(sending.join().unwrap(), "{framing}: all of it could be sent");
        client.finish();
        client.assert_closed();
        assert!(!client.reset, "{framing}");
    }
    assert_lives(&gateway);
}

#[test]
fn the_limit_is_the_configured_one_to_the_byte() {
    let upstream = Scripted::modern(|request| json_reply(&echoed(request)));
    let gateway = Gateway::start(Setup::new(format!("body_max: 8KiB\n{}", config(&upstream.url()))));
    let empty = message("", "", "", "").len();
    for (bytes, status) in [(8192, 200), (8193, 413)] {
        let padded = format!("{}{}", message("", "", "", ""), " ".repeat(bytes - empty));
        let answer = send(&mut Client::connect(gateway.address), padded.as_bytes());
        assert_eq!(answer.status, status, "{bytes}: {}", text(&answer));
        let mut client = Client::connect(gateway.address);
        let head: String = HEADERS.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        client.send(format!("POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n{head}\r\n"));
        for piece in padded.as_bytes().chunks(1000) {
            client.send(format!("{:x}\r\n{}\r\n", piece.len(), std::str::from_utf8(piece).unwrap()));
        }
        client.send("0\r\n\r\n");
        assert_eq!(client.answer().expect("an answer").status, status, "{bytes} in chunks");
    }
    assert_lives(&gateway);
}

/// One case: what it is, the body, code, reason, the byte that decided, the id that is echoed.
type Case = (&'static str, Vec<u8>, i64, &'static str, Option<usize>, Value);

fn assert_refused(gateway: &Gateway, cases: Vec<Case>) {
    let mut client = Client::connect(gateway.address);
    for (what, body, code, label, at, id) in cases {
        let answer = send(&mut client, &body);
        assert_eq!((answer.status, reason(&answer).as_str()), (400, label), "{what}: {}", text(&answer));
        let (found, message) = answer.error();
        assert_eq!(found, code, "{what}");
        assert!(message.starts_with("request: expected"), "{what}: {message}");
        let place = message.rsplit(' ').next().and_then(|word| word.parse::<usize>().ok());
        assert!(message.contains(" at byte ") && place.is_some(), "{what}: {message}");
        if let Some(at) = at {
            assert_eq!(place, Some(at), "{what}: {message}");
        }
        assert_eq!(answer.json().get("id").cloned().unwrap_or(Value::Null), id, "{what}");
        assert_ne!(answer.header("connection"), Some("close"), "{what}: the next request is unaffected");
    }
    assert_eq!(client.roundtrip(call(1, json!({}))).status, 200);
}

#[test]
fn what_is_not_json_is_refused_at_its_byte() {
    let (upstream, gateway) = gateway();
    let good = message("", "", "", "");
    let at = |arguments: &str, offset: usize| {
        let body = message("", "", "", arguments);
        let start = body.find("\"arguments\":{").unwrap() + 13;
        (body.into_bytes(), Some(start + offset))
    };
    let place =
        |what, (body, at): (Vec<u8>, Option<usize>), label| (what, body, -32700, label, at, Value::Null);
    let mut bad_utf8 = at(r#""a":"?""#, 5);
    let byte = bad_utf8.1.unwrap();
    bad_utf8.0[byte] = 0xff;
    let mut overlong = at(r#""a":"??""#, 5);
    let byte = overlong.1.unwrap();
    overlong.0.splice(byte..byte + 2, [0xc0, 0xaf]);
    let mut surrogate = at(r#""a":"???""#, 5);
    let byte = surrogate.1.unwrap();
    surrogate.0.splice(byte..byte + 3, [0xed, 0xa0, 0x80]);
    let nul = [good.as_bytes(), b"\0"].concat();
    let mark = ["\u{feff}".as_bytes(), good.as_bytes()].concat();
    let utf16: Vec<u8> = good.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let deep = |levels: usize| {
        let inner = format!("\"a\":{}{}", "[".repeat(levels), "]".repeat(levels));
        message("", "", "", &inner).into_bytes()
    };
    assert_refused(
        &gateway,
        vec![
            ("empty", Vec::new(), -32700, "json_empty", Some(0), Value::Null),
            ("blank", b" \r\n\t ".to_vec(), -32700, "json_empty", None, Value::Null),
            (
                "cut",
                good.as_bytes()[..good.len() - 1].to_vec(),
                -32700,
                "json_syntax",
                Some(good.len() - 1),
                Value::Null,
            ),
            place("invalid UTF-8", bad_utf8, "json_utf8"),
            place("overlong", overlong, "json_utf8"),
            place("encoded surrogate", surrogate, "json_utf8"),
            place("high surrogate", at(r#""a":"\ud800""#, 5), "json_surrogate"),
            place("low surrogate", at(r#""a":"\udc00""#, 5), "json_surrogate"),
            place("surrogate and another", at(r#""a":"\ud800A""#, 5), "json_surrogate"),
            place("wrong order", at(r#""a":"\udc00\ud800""#, 5), "json_surrogate"),
            place("surrogate in a key", at(r#""\ud800":1"#, 1), "json_surrogate"),
            place("over u64", at(r#""a":18446744073709551616"#, 4), "json_number_range"),
            place("under i64", at(r#""a":-9223372036854775809"#, 4), "json_number_range"),
            place("over f64", at(r#""a":1e999"#, 4), "json_number_range"),
            place("leading zero", at(r#""a":01"#, 5), "json_syntax"),
            place("plus", at(r#""a":+1"#, 4), "json_syntax"),
            place("NaN", at(r#""a":NaN"#, 4), "json_syntax"),
            place("single quotes", at("'a':1", 0), "json_syntax"),
            place("comment", at("/*x*/\"a\":1", 0), "json_syntax"),
            place("trailing comma", at("\"a\":1,", 6), "json_syntax"),
            place("raw NUL in text", at("\"a\":\"\0\"", 5), "json_syntax"),
            place("raw line end in text", at("\"a\":\"\n\"", 5), "json_syntax"),
            (
                "garbage behind",
                [good.as_bytes(), b"x"].concat(),
                -32700,
                "json_trailing",
                Some(good.len()),
                Value::Null,
            ),
            (
                "two messages",
                [good.as_bytes(), good.as_bytes()].concat(),
                -32700,
                "json_trailing",
                Some(good.len()),
                Value::Null,
            ),
            (
                "two lines",
                [good.as_bytes(), b"\n", good.as_bytes()].concat(),
                -32700,
                "json_trailing",
                Some(good.len() + 1),
                Value::Null,
            ),
            ("NUL behind", nul, -32700, "json_trailing", Some(good.len()), Value::Null),
            ("byte order mark", mark, -32700, "json_syntax", Some(0), Value::Null),
            ("UTF-16", utf16, -32700, "json_syntax", None, Value::Null),
            ("65 levels", deep(62), -32700, "json_depth", None, Value::Null),
            ("a million levels", "[".repeat(1_000_000).into_bytes(), -32700, "json_depth", None, Value::Null),
            (
                "a million objects",
                "{\"a\":".repeat(500_000).into_bytes(),
                -32700,
                "json_depth",
                None,
                Value::Null,
            ),
        ],
    );
    assert_eq!(upstream.arrived("tools/call").len(), 1, "only the good one");
    let answer = send(&mut Client::connect(gateway.address), &deep(61));
    assert_eq!(answer.status, 200, "64 levels are served: {}", text(&answer));
    assert_lives(&gateway);
}

#[test]
fn json_that_is_no_message_is_refused_with_its_id() {
    let (upstream, gateway) = gateway();
    let with_id =
        |id: &str| message("", "", "", "").replace("\"id\":7", &format!("\"id\":{id}")).into_bytes();
    let edit = |from: &str, to: &str| message("", "", "", "").replace(from, to).into_bytes();
    let invalid = |what, body: Vec<u8>, label, id: Value| (what, body, -32600, label, None, id);
    let null = || Value::Null;
    let long = format!("\"{}\"", "i".repeat(255));
    assert_refused(
        &gateway,
        vec![
            invalid("batch", format!("[{}]", message("", "", "", "")).into_bytes(), "batch", null()),
            invalid("empty batch", b"[]".to_vec(), "batch", null()),
            invalid("text", b"\"tools/call\"".to_vec(), "not_an_object", null()),
            invalid("number", b"7".to_vec(), "not_an_object", null()),
            invalid("null", b"null".to_vec(), "not_an_object", null()),
            invalid("no jsonrpc", edit("\"jsonrpc\":\"2.0\",", ""), "jsonrpc_version", json!(7)),
            invalid("1.0", edit("2.0", "1.0"), "jsonrpc_version", json!(7)),
            invalid("number 2.0", edit("\"2.0\"", "2.0"), "jsonrpc_version", json!(7)),
            invalid("id null", with_id("null"), "id_invalid", null()),
            invalid("id fraction", with_id("1.5"), "id_invalid", null()),
            invalid("id 1.0", with_id("1.0"), "id_invalid", null()),
            invalid("id 1e2", with_id("1e2"), "id_invalid", null()),
            invalid("id object", with_id("{}"), "id_invalid", null()),
            invalid("id array", with_id("[7]"), "id_invalid", null()),
            invalid("id bool", with_id("true"), "id_invalid", null()),
            invalid("id long", with_id(&long), "id_too_long", null()),
            invalid("method number", edit("\"tools/call\"", "7"), "method_invalid", json!(7)),
            invalid("method null", edit("\"tools/call\"", "null"), "method_invalid", json!(7)),
            invalid("no method", edit("\"method\":\"tools/call\",", ""), "shapeless", json!(7)),
            invalid(
                "request and result",
                message(",\"result\":{}", "", "", "").into(),
                "method_with_result",
                json!(7),
            ),
            invalid(
                "request and error",
                message(",\"error\":{}", "", "", "").into(),
                "method_with_result",
                json!(7),
            ),
            invalid(
                "result and error",
                br#"{"jsonrpc":"2.0","id":7,"result":{},"error":{}}"#.to_vec(),
                "result_with_error",
                json!(7),
            ),
            invalid(
                "response without id",
                br#"{"jsonrpc":"2.0","result":{}}"#.to_vec(),
                "response_without_id",
                null(),
            ),
            invalid("NUL in a name", edit("\"echo\"", "\"echo\\u0000x\""), "nul_in_name", json!(7)),
            invalid("NUL in the method", edit("tools/call", "tools/call\\u0000"), "nul_in_name", json!(7)),
            (
                "params array",
                br#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":[]}"#.to_vec(),
                -32602,
                "params_invalid",
                None,
                json!(7),
            ),
            (
                "params text",
                br#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":"x"}"#.to_vec(),
                -32602,
                "params_invalid",
                None,
                json!(7),
            ),
            (
                "_meta array",
                br#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"_meta":[]}}"#.to_vec(),
                -32602,
                "meta_invalid",
                None,
                json!(7),
            ),
            ("name number", edit("\"echo\"", "7"), -32602, "member_invalid", None, json!(7)),
            (
                "arguments array",
                edit("\"arguments\":{}", "\"arguments\":[]"),
                -32602,
                "member_invalid",
                None,
                json!(7),
            ),
            (
                "token fraction",
                message("", "", ",\"progressToken\":1.5", "").into(),
                -32602,
                "member_invalid",
                None,
                json!(7),
            ),
        ],
    );
    assert_eq!(upstream.arrived("tools/call").len(), 1);
    // The longest id there may be.
    let longest = format!("\"{}\"", "i".repeat(254));
    let answer = send(&mut Client::connect(gateway.address), &with_id(&longest));
    assert_eq!((answer.status, answer.json()["id"].as_str().map(str::len)), (200, Some(254)));
    assert_lives(&gateway);
}

/// Every key we read, at its place: again, again with an escape in its spelling, with other letters'
/// case, and with letters that fold to its own.
#[test]
fn repeated_and_look_alike_keys_are_refused_wherever_we_read() {
    let (upstream, gateway) = gateway();
    const NS: &str = "io.modelcontextprotocol/";
    let top = ["jsonrpc", "id", "method", "params", "result", "error"];
    let params = ["name", "arguments", "_meta", "uri", "cursor", "requestState", "inputResponses", "task"];
    let version = format!("{NS}protocolVersion");
    let capabilities = format!("{NS}clientCapabilities");
    let meta = [version.as_str(), &capabilities, "progressToken", "traceparent"];
    let there = ["jsonrpc", "id", "method", "params", "name", "arguments", "_meta", &version, &capabilities];
    let mut client = Client::connect(gateway.address);
    let mut tried = 0;
    for (place, keys) in [("top", &top[..]), ("params", &params[..]), ("meta", &meta[..])] {
        for key in keys {
            let escaped = format!("\\u{:04x}{}", key.as_bytes()[0], &key[1..]);
            let upper = key.to_uppercase();
            let mut variants = vec![(upper, "key_case_variant")];
            if let Some(at) = key.find(|c: char| c.is_ascii_lowercase()) {
                let mut mixed = (*key).to_owned();
                mixed.replace_range(at..at + 1, &key[at..at + 1].to_uppercase());
                variants.push((mixed.clone(), "key_case_variant"));
                let letter = mixed.as_bytes()[at];
                variants.push((
                    mixed.replacen(letter as char, &format!("\\u{letter:04x}"), 1),
                    "key_case_variant",
                ));
            }
            if key.contains('s') {
                variants.push((key.replacen('s', "\u{17f}", 1), "key_case_variant"));
                variants.push((key.replacen('s', "\\u017f", 1), "key_case_variant"));
            }
            if key.contains('k') {
                variants.push((key.replacen('k', "\u{212a}", 1), "key_case_variant"));
            }
            if there.contains(key) {
                variants.push(((*key).to_owned(), "key_repeated"));
                variants.push((escaped, "key_repeated"));
            }
            for (written, label) in variants {
                let member = format!(",\"{written}\":null");
                let (t, p, m) = match place {
                    "top" => (member.as_str(), "", ""),
                    "params" => ("", member.as_str(), ""),
                    _ => ("", "", member.as_str()),
                };
                let body = message(t, p, m, "");
                let answer = send(&mut client, body.as_bytes());
                let what = format!("{written:?} in {place}");
                // An id that comes twice is no id.
                let twice = *key == "id" && label == "key_repeated";
                assert_eq!(
                    (answer.status, reason(&answer).as_str()),
                    (400, label),
                    "{what}: {}",
                    text(&answer)
                );
                assert_eq!(answer.error().0, -32600, "{what}");
                let id = answer.json().get("id").cloned().unwrap_or(Value::Null);
                assert_eq!(id, if twice { Value::Null } else { json!(7) }, "{what}");
                let (_, message) = answer.error();
                let at: usize = message.rsplit(' ').next().unwrap().parse().expect("an offset");
                assert_eq!(&body.as_bytes()[at..at + written.len()], written.as_bytes(), "{what}: {message}");
                tried += 1;
            }
        }
    }
    assert!(tried > 80, "{tried}");
    // In first place as well: the order decides nothing.
    let first = message("", "", "", "").replacen('{', "{\"ID\":8,", 1);
    assert_eq!(reason(&send(&mut client, first.as_bytes())), "key_case_variant");
    let nul = message(",\"x\\u0000\":1", "", "", "");
    assert_eq!(reason(&send(&mut client, nul.as_bytes())), "nul_in_key");
    // Seventeen and more keys take another path.
    let many: String = (0..40).map(|n| format!(",\"k{n}\":{n}")).collect();
    for (more, label) in [
        (",\"k3\":0", "key_repeated"),
        (",\"\\u006b3\":0", "key_repeated"),
        (",\"Name\":0", "key_case_variant"),
    ] {
        let body = message("", &format!("{many}{more}"), "", "");
        assert_eq!(reason(&send(&mut client, body.as_bytes())), label, "{more}");
    }
    assert_eq!(upstream.arrived("tools/call").len(), 0);
    // Where nobody reads, keys are the tool's own business, and its bytes stay as they are.
    let free = message(
        "",
        &many,
        ",\"other\":1",
        r#""id":1,"ID":2,"a":1,"\u0061":2,"n":1.50,"b":18446744073709551615"#,
    );
    let answer = send(&mut client, free.as_bytes());
    assert_eq!(answer.status, 200, "{}", text(&answer));
    let seen = String::from_utf8(upstream.arrived("tools/call")[0].raw.clone()).unwrap();
    assert!(seen.contains(r#"{"id":1,"ID":2,"a":1,"\u0061":2,"n":1.50,"b":18446744073709551615}"#), "{seen}");
    assert!(seen.contains(&many), "{seen}");
    assert_lives(&gateway);
}
