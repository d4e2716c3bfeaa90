//! Requests that two readers could take apart differently: each is refused with its reason, the
//! connection ends, nothing behind it is answered or reaches an upstream. And the other side of it:
//! unusual requests that are right get their answers, in order.

use serde_json::{Value, json};
use strait_tests::client::{modern, post};
use strait_tests::scripted::{echoed, json_reply};
use strait_tests::{Client, Gateway, Scripted, Setup};

use crate::basics::config;
use crate::common::{KEY, assert_lives, call, reason, text};

fn gateway() -> (Scripted, Gateway) {
    let upstream = Scripted::modern(|request| json_reply(&echoed(request)));
    let gateway = Gateway::start(Setup::new(config(&upstream.url())));
    (upstream, gateway)
}

/// A request with these lines after its request line, `Host` included.
fn raw(request_line: &str, lines: &str, body: &[u8]) -> Vec<u8> {
    let mut out = format!("{request_line}\r\n{lines}\r\n").into_bytes();
    out.extend_from_slice(body);
    out
}

/// A POST with a good `Host` and the usual headers, and these lines (each with its CRLF).
fn posted(lines: &str, body: &[u8]) -> Vec<u8> {
    let usual = "Host: 127.0.0.1\r\nAuthorization: Bearer key-full\r\nContent-Type: application/json\r\n";
    raw("POST /mcp HTTP/1.1", &format!("{usual}{lines}"), body)
}

/// Sends `bytes` and behind them a good call, and asserts that one refusal is all that comes back.
fn assert_refused(gateway: &Gateway, what: &str, bytes: &[u8], status: u16, label: &str) {
    let mut client = Client::connect(gateway.address);
    let mut all = bytes.to_vec();
    all.extend_from_slice(&call(666, json!({"smuggled": true})));
    client.send(&all);
    client.finish();
    let answer = client.answer().unwrap_or_else(|| panic!("{what}: no answer"));
    assert_eq!((answer.status, reason(&answer).as_str()), (status, label), "{what}: {}", text(&answer));
    let (_, message) = answer.error();
    assert!(message.starts_with("request: "), "{what}: {message}");
    assert_eq!(answer.header("connection"), Some("close"), "{what}");
    assert_eq!(answer.header("content-type"), Some("application/json"), "{what}");
    client.assert_closed();
}

#[test]
fn ambiguous_framing_is_refused_and_nothing_behind_it_is_answered() {
    let (upstream, gateway) = gateway();
    let five = b"hello";
    let chunks = b"5\r\nhello\r\n0\r\n\r\n";
    let cases: &[(&str, &[u8], u16, &str)] = &[
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", chunks, 400, "length_with_transfer_encoding"),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", chunks, 400, "length_with_transfer_encoding"),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", five, 400, "content_length_repeated"),
        ("Content-Length: 5\r\nContent-Length: 6\r\n", five, 400, "content_length_repeated"),
        ("Content-Length: 5\r\ncontent-length: 5\r\n", five, 400, "content_length_repeated"),
        ("Content-Length: 5, 5\r\n", five, 400, "content_length_invalid"),
        ("Content-Length: +5\r\n", five, 400, "content_length_invalid"),
        ("Content-Length: -5\r\n", five, 400, "content_length_invalid"),
        ("Content-Length: 0x5\r\n", five, 400, "content_length_invalid"),
        ("Content-Length: 5 5\r\n", five, 400, "content_length_invalid"),
        ("Content-Length: 5.0\r\n", five, 400, "content_length_invalid"),
        ("Content-Length: five\r\n", five, 400, "content_length_invalid"),
        ("Content-Length: \u{665}\r\n", five, 400, "content_length_invalid"),
        ("Content-Length:\r\n", five, 400, "content_length_invalid"),
        ("Content-Length: 18446744073709551616\r\n", five, 400, "content_length_invalid"),
        ("Transfer-Encoding: gzip\r\n", five, 501, "transfer_encoding_unsupported"),
        ("Transfer-Encoding: gzip, chunked\r\n", chunks, 501, "transfer_encoding_unsupported"),
        ("Transfer-Encoding: chunked, chunked\r\n", chunks, 501, "transfer_encoding_unsupported"),
        ("Transfer-Encoding: chunked;q=1\r\n", chunks, 501, "transfer_encoding_unsupported"),
        ("Transfer-Encoding: identity\r\n", five, 501, "transfer_encoding_unsupported"),
        ("Transfer-Encoding: xchunked\r\n", chunks, 501, "transfer_encoding_unsupported"),
        ("Transfer-Encoding:\r\n", five, 501, "transfer_encoding_unsupported"),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            chunks,
            501,
            "transfer_encoding_unsupported",
        ),
        ("Transfer-Encoding: \x0bchunked\r\n", chunks, 400, "header_value_invalid"),
        ("Transfer-Encoding : chunked\r\n", chunks, 400, "space_before_colon"),
        ("Content-Length : 5\r\n", five, 400, "space_before_colon"),
        ("Content-Length\t: 5\r\n", five, 400, "space_before_colon"),
        ("Content-Length: 5\r\n Transfer-Encoding: chunked\r\n", five, 400, "obsolete_fold"),
        ("Content-Length: 5\r\nX: a\r\n\tb\r\n", five, 400, "obsolete_fold"),
        ("Content-Length: 5\r\nX: a\nTransfer-Encoding: chunked\r\n", five, 400, "bare_lf"),
        ("Content-Length: 5\r\nX: a\rTransfer-Encoding: chunked\r\n", five, 400, "bare_cr"),
        ("Content-Length: 5\n", five, 400, "bare_lf"),
    ];
    for (lines, body, status, label) in cases {
        assert_refused(&gateway, lines, &posted(lines, body), *status, label);
    }
    assert_eq!(upstream.arrived("tools/call").len(), 0, "nothing was smuggled");
    assert_lives(&gateway);
}

#[test]
fn malformed_heads_are_refused() {
    let (upstream, gateway) = gateway();
    let host = "Host: 127.0.0.1\r\n";
    let many = |count: usize| (0..count).map(|n| format!("X-{n}: v\r\n")).collect::<String>();
    let long = |bytes: usize| format!("X: {}\r\n", "a".repeat(bytes));
    let target = |bytes: usize| format!("POST /{} HTTP/1.1", "a".repeat(bytes));
    let cases: Vec<(&str, Vec<u8>, u16, &str)> = vec![
        ("no Host", raw("POST /mcp HTTP/1.1", "", b""), 400, "host_missing"),
        ("two Hosts", raw("POST /mcp HTTP/1.1", &format!("{host}{host}"), b""), 400, "duplicate_header"),
        ("two names", raw("POST /mcp HTTP/1.1", "Host: 127.0.0.1,evil\r\n", b""), 400, "host_invalid"),
        ("user", raw("POST /mcp HTTP/1.1", "Host: evil@127.0.0.1\r\n", b""), 400, "host_invalid"),
        ("path in Host", raw("POST /mcp HTTP/1.1", "Host: 127.0.0.1/x\r\n", b""), 400, "host_invalid"),
        ("other authority", raw("POST http://evil/mcp HTTP/1.1", host, b""), 400, "authority_mismatch"),
        ("no authority", raw("POST http:///mcp HTTP/1.1", host, b""), 400, "target_invalid"),
        ("tunnel", raw("CONNECT 127.0.0.1:80 HTTP/1.1", host, b""), 400, "target_invalid"),
        ("relative", raw("POST mcp HTTP/1.1", host, b""), 400, "target_invalid"),
        ("fragment", raw("POST /mcp#x HTTP/1.1", host, b""), 400, "target_invalid"),
        ("not ASCII", raw("POST /mc\u{e9} HTTP/1.1", host, b""), 400, "target_invalid"),
        ("asterisk", raw("POST * HTTP/1.1", host, b""), 400, "target_invalid"),
        ("8 KiB target", raw(&target(8 * 1024), host, b""), 414, "target_too_long"),
        ("endless target", target(100 * 1024).into_bytes(), 414, "target_too_long"),
        (
            "32 KiB head",
            raw("POST /mcp HTTP/1.1", &format!("{host}{}", long(32 * 1024)), b""),
            431,
            "head_too_large",
        ),
        (
            "endless head",
            format!("POST /mcp HTTP/1.1\r\n{host}X: {}", "a".repeat(33 * 1024)).into(),
            431,
            "head_too_large",
        ),
        (
            "65 headers",
            raw("POST /mcp HTTP/1.1", &format!("{host}{}", many(64)), b""),
            431,
            "too_many_headers",
        ),
        ("NUL in a value", posted("X: a\0b\r\n", b""), 400, "header_value_invalid"),
        ("control in a value", posted("X: a\x01b\r\n", b""), 400, "header_value_invalid"),
        ("DEL in a value", posted("X: a\x7fb\r\n", b""), 400, "header_value_invalid"),
        ("NUL in a name", posted("X\0: a\r\n", b""), 400, "header_name_invalid"),
        ("space in a name", posted("X Y: a\r\n", b""), 400, "header_name_invalid"),
        ("no name", posted(": a\r\n", b""), 400, "header_name_invalid"),
        ("no colon", posted("Authorization\r\n", b""), 400, "header_name_invalid"),
        ("two spaces", raw("POST  /mcp HTTP/1.1", host, b""), 400, "request_line_invalid"),
        ("lower case version", raw("POST /mcp http/1.1", host, b""), 505, "version_unsupported"),
        ("HTTP/0.9", b"GET /mcp\r\n\r\n".to_vec(), 400, "request_line_invalid"),
        ("HTTP/1.2", raw("POST /mcp HTTP/1.2", host, b""), 505, "version_unsupported"),
        ("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), 505, "version_unsupported"),
        ("two empty lines", b"\r\n\r\n".to_vec(), 400, "leading_empty_lines"),
        ("bare LF alone", b"\n".to_vec(), 400, "bare_lf"),
        ("all LF", b"POST /mcp HTTP/1.1\nHost: 127.0.0.1\n\n".to_vec(), 400, "bare_lf"),
        ("unknown expectation", posted("Expect: 200-maybe\r\n", b""), 417, "expectation_unknown"),
        ("two Mcp-Name", posted("Mcp-Name: a\r\nMcp-Name: a\r\n", b""), 400, "duplicate_header"),
        ("two sessions", posted("Mcp-Session-Id: a\r\nMcp-Session-Id: b\r\n", b""), 400, "duplicate_header"),
        ("two keys", posted("Authorization: Bearer x\r\n", b""), 400, "duplicate_header"),
        ("two Origins", posted("Origin: null\r\nOrigin: null\r\n", b""), 400, "duplicate_header"),
        ("two Mcp-Param-A", posted("Mcp-Param-A: 1\r\nmcp-param-a: 1\r\n", b""), 400, "duplicate_mcp_header"),
    ];
    for (what, bytes, status, label) in &cases {
        assert_refused(&gateway, what, bytes, *status, label);
    }
    assert_eq!(upstream.arrived("tools/call").len(), 0);
    assert_lives(&gateway);
}

/// What is no HTTP at all is told so at once, not after the deadline of a head.
#[test]
fn other_protocols_are_refused_at_their_first_byte() {
    let (_upstream, gateway) = gateway();
    // A ClientHello without any byte that ends a line.
    let mut hello = b"\x16\x03\x01\x00\xf8\x01\x00\x00\xf4\x03\x03".to_vec();
    hello.extend((0..200u8).map(|n| n | 0x80));
    for (what, bytes) in [("TLS", &hello[..]), ("SSH", b"\x00\x00\x00\x14"), ("JSON", b"{\"jsonrpc\"")] {
        let mut client = Client::connect(gateway.address);
        client.send(bytes);
        let answer = client.answer().unwrap_or_else(|| panic!("{what}: no answer"));
        assert_eq!((answer.status, reason(&answer).as_str()), (400, "request_line_invalid"), "{what}");
        client.assert_closed();
    }
    assert_lives(&gateway);
}

#[test]
fn malformed_chunks_are_refused() {
    let (upstream, gateway) = gateway();
    let extension = |bytes: usize| format!("5;{}\r\nhello\r\n0\r\n\r\n", "e".repeat(bytes));
    let trailer = format!("0\r\nX: {}\r\n\r\n", "t".repeat(5000));
    let cases: &[(&str, &str)] = &[
        ("FFFFFFFFFFFFFFFFF\r\n", "chunk_size_too_long"),
        ("00000000000000005\r\nhello\r\n0\r\n\r\n", "chunk_size_too_long"),
        ("+5\r\nhello\r\n0\r\n\r\n", "chunk_size_invalid"),
        ("-5\r\nhello\r\n0\r\n\r\n", "chunk_size_invalid"),
        ("0x5\r\nhello\r\n0\r\n\r\n", "chunk_size_invalid"),
        (" 5\r\nhello\r\n0\r\n\r\n", "chunk_size_invalid"),
        ("5 \r\nhello\r\n0\r\n\r\n", "chunk_size_invalid"),
        ("g\r\n", "chunk_size_invalid"),
        ("\r\nhello\r\n0\r\n\r\n", "chunk_size_invalid"),
        (";x\r\nhello\r\n0\r\n\r\n", "chunk_size_invalid"),
        ("5\nhello\r\n0\r\n\r\n", "chunk_size_invalid"),
        ("5\rXhello\r\n0\r\n\r\n", "chunk_line_end_invalid"),
        (&extension(300), "chunk_extension_too_long"),
        ("5;a\x01b\r\nhello\r\n0\r\n\r\n", "chunk_extension_invalid"),
        ("5;a\nb\r\nhello\r\n0\r\n\r\n", "chunk_extension_invalid"),
        ("5\r\nhelloX\r\n0\r\n\r\n", "chunk_data_end_invalid"),
        ("5\r\nhello\n0\r\n\r\n", "chunk_data_end_invalid"),
        ("5\r\nhello\r0\r\n\r\n", "chunk_data_end_invalid"),
        ("0\r\nno colon\r\n\r\n", "trailer_invalid"),
        ("0\r\nX: a\r\n b\r\n\r\n", "trailer_invalid"),
        ("0\r\nX : a\r\n\r\n", "trailer_invalid"),
        ("0\r\nX: a\n\r\n", "trailer_invalid"),
        (&trailer, "trailer_too_long"),
        ("0\r\n\rX", "chunk_line_end_invalid"),
    ];
    for (chunks, label) in cases {
        let bytes = posted("Transfer-Encoding: chunked\r\n", chunks.as_bytes());
        let mut client = Client::connect(gateway.address);
        client.send(&bytes);
        client.send(call(666, json!({"smuggled": true})));
        client.finish();
        let answer = client.answer().unwrap_or_else(|| panic!("{chunks:?}: no answer"));
        assert_eq!(
            (answer.status, reason(&answer).as_str()),
            (400, "chunks"),
            "{chunks:?}: {}",
            text(&answer)
        );
        assert_eq!(answer.error(), (-32600, format!("request: chunked body: {label}")), "{chunks:?}");
        client.assert_closed();
    }
    // The largest size there is, and then more than the limit.
    let mut client = Client::connect(gateway.address);
    client.send(posted("Transfer-Encoding: chunked\r\n", b"FFFFFFFFFFFFFFFF\r\n"));
    client.send(vec![b'x'; 5 << 20]);
    let answer = client.answer().expect("an answer");
    assert_eq!((answer.status, reason(&answer).as_str()), (413, "body_too_large"));
    assert_eq!(upstream.arrived("tools/call").len(), 0);
    assert_lives(&gateway);
}

#[test]
fn a_chunked_body_means_the_same_wherever_it_is_split() {
    let (_upstream, gateway) = gateway();
    let body = br#"{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":"echo","arguments":{"a":1},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}"#;
    let mut request = posted(
        "Transfer-Encoding: chunked\r\nAccept: */*\r\nMCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: echo\r\n",
        b"",
    );
    let head_bytes = request.len();
    for (index, piece) in body.chunks(50).enumerate() {
        let extension = [";name=value", "", ";q=\"x\""][index % 3];
        request.extend_from_slice(format!("{:X}{extension}\r\n", piece.len()).as_bytes());
        request.extend_from_slice(piece);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"000\r\nTrailer: ignored\r\n\r\n");
    let mut client = Client::connect(gateway.address);
    for at in head_bytes - 4..request.len() {
        client.send(&request[..at]);
        client.send(&request[at..]);
        let answer = client.answer().unwrap_or_else(|| panic!("split at {at}: no answer"));
        assert_eq!(answer.status, 200, "split at {at}: {}", text(&answer));
        assert_eq!(answer.json()["result"]["content"][0]["text"], "{\"a\":1}");
    }
    client.dribble(&request);
    assert_eq!(client.answer().expect("an answer").status, 200);
    assert_lives(&gateway);
}

#[test]
fn pipelined_requests_are_answered_in_order_refusals_among_them() {
    let (upstream, gateway) = gateway();
    let mut client = Client::connect(gateway.address);
    let mut all = Vec::new();
    all.extend(call(1, json!({"n": 1})));
    all.extend(modern(KEY, 2, "tools/call", json!({"name": "nothing", "arguments": {}})));
    all.extend(modern("key-wrong", 3, "tools/list", json!({})));
    all.extend(b"\r\n");
    all.extend(modern(KEY, 4, "tools/list", json!({})));
    all.extend(b"GET /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    all.extend(post(&[("Authorization", "Bearer key-full")], b"{"));
    all.extend(call(5, json!({"n": 5})));
    all.extend(b"POST /mcp HTTP/1.1\r\nBad Header: x\r\n\r\n");
    all.extend(call(6, json!({"n": 6})));
    client.send(&all);
    let statuses: Vec<u16> = (0..8).map(|_| client.answer().expect("an answer").status).collect();
    assert_eq!(statuses, [200, 200, 401, 200, 405, 400, 200, 400]);
    client.assert_closed();
    let seen: Vec<_> = upstream
        .arrived("tools/call")
        .iter()
        .map(|call| call.body["params"]["arguments"]["n"].clone())
        .collect();
    assert_eq!(seen, [json!(1), json!(5)], "what follows a malformed head is not a request");
    // Many at once, byte-exact ids, one connection.
    let mut client = Client::connect(gateway.address);
    let all: Vec<u8> = (0..200).flat_map(|id| call(id, json!({"n": id}))).collect();
    client.send(&all);
    for id in 0..200 {
        assert_eq!(client.answer().expect("an answer").json()["id"], id);
    }
    assert_lives(&gateway);
}

#[test]
fn a_request_may_come_byte_by_byte() {
    let (_upstream, gateway) = gateway();
    let mut client = Client::connect(gateway.address);
    for id in 0..2 {
        client.dribble(call(id, json!({"slowly": "é"})));
        let answer = client.answer().expect("an answer");
        assert_eq!((answer.status, answer.json()["id"].clone()), (200, json!(id)));
    }
    assert_lives(&gateway);
}

#[test]
fn a_client_that_expects_an_invitation_gets_one_unless_it_is_refused() {
    let (_upstream, gateway) = gateway();
    let request = call(1, json!({}));
    let head_end = request.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let mut expecting = request[..head_end].to_vec();
    expecting.extend_from_slice(b"\r\nExpect: 100-continue\r\n\r\n");
    let body = &request[head_end + 4..];
    // Head first, body only once invited.
    let mut client = Client::connect(gateway.address);
    client.send(&expecting);
    let invited = client.until_unread(b"\r\n\r\n");
    assert_eq!(invited, b"HTTP/1.1 100 Continue\r\n\r\n");
    client.send(body);
    assert_eq!(client.answer().expect("an answer").status, 200);
    // A body that is already here needs no invitation.
    let mut together = expecting.clone();
    together.extend_from_slice(body);
    client.send(&together);
    assert_eq!(client.answer().expect("an answer").status, 200);
    assert_eq!(client.invitations, 0, "the first one was read above");
    // Too large: refused without invitation.
    let mut client = Client::connect(gateway.address);
    client.send(posted("Expect: 100-continue\r\nContent-Length: 999999999\r\n", b""));
    let answer = client.answer().expect("an answer");
    assert_eq!((answer.status, client.invitations), (413, 0));
    client.assert_closed();
    assert_lives(&gateway);
}

#[test]
fn http_1_0_is_answered_and_closed() {
    let (_upstream, gateway) = gateway();
    let request = |extra: &str| {
        let text = String::from_utf8(call(1, json!({}))).unwrap();
        text.replace("HTTP/1.1", "HTTP/1.0").replace("Host: 127.0.0.1\r\n", extra)
    };
    let mut client = Client::connect(gateway.address);
    let answer = client.roundtrip(request(""));
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    client.assert_closed();
    let chunked = raw("POST /mcp HTTP/1.0", "Transfer-Encoding: chunked\r\n", b"0\r\n\r\n");
    assert_refused(&gateway, "chunks in 1.0", &chunked, 400, "transfer_encoding_on_http10");
    // A Host that is there must still be one of ours.
    let answer = Client::connect(gateway.address).roundtrip(request("Host: evil\r\n"));
    assert_eq!((answer.status, reason(&answer).as_str()), (403, "host"));
    assert_lives(&gateway);
}

#[test]
fn other_methods_are_refused_without_losing_the_connection() {
    let (_upstream, gateway) = gateway();
    let mut client = Client::connect(gateway.address);
    for method in ["GET", "HEAD", "PUT", "PATCH", "OPTIONS", "TRACE", "DELETE", "QUERY"] {
        client.send(format!(
            "{method} /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer key-full\r\n\r\n"
        ));
        let answer = client.answer_to(method).expect("an answer");
        assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, POST, DELETE")), "{method}");
        let said = match method {
            "HEAD" => None,
            "GET" | "DELETE" => Some(
                "request: GET and DELETE are about a session of an older client, and need its Mcp-Session-Id; \
                 without one, expected POST",
            ),
            _ => Some("request: method not allowed, expected GET, POST, DELETE"),
        };
        if let Some(said) = said {
            assert_eq!(answer.error(), (-32600, said.to_owned()));
        }
        // The next answer begins where this one ended.
        assert_eq!(client.roundtrip(call(1, json!({}))).status, 200, "after {method}");
    }
    client.send("DELETE /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nMCP-Protocol-Version: 2026-07-28\r\nMcp-Session-Id: x\r\n\r\n");
    let answer = client.answer().expect("an answer");
    assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")));
    client.send("GET /nowhere HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    assert_eq!(client.answer().expect("an answer").status, 404);
    let unknown = modern("key-full", 1, "tools/call", json!({"name": "unknown", "arguments": {}}));
    assert_eq!(client.roundtrip(unknown).error().0, -32602);
    assert_lives(&gateway);
    // Each line says what was asked: the method of MCP, or else that of HTTP.
    let lines = gateway.stop();
    let asked: Vec<Value> = lines
        .iter()
        .filter(|line| line["refused"].is_string())
        .map(|line| json!([line["http"], line["method"], line["refused"]]))
        .collect();
    let http = ["GET", "HEAD", "other", "other", "OPTIONS", "other", "DELETE", "other", "DELETE"];
    let mut expected: Vec<Value> = http.iter().map(|method| json!([method, null, "method"])).collect();
    expected.push(json!(["GET", null, "no_such_path"]));
    expected.push(json!([null, "tools/call", "unknown_tool"]));
    assert_eq!(asked, expected);
}

#[test]
fn an_answer_survives_what_is_sent_behind_a_close() {
    let (upstream, gateway) = gateway();
    let closing =
        String::from_utf8(call(1, json!({}))).unwrap().replace("Host:", "Connection: close\r\nHost:");
    let mut client = Client::connect(gateway.address);
    let answer = client.roundtrip(&closing);
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    client.assert_closed();
    // Bytes that nobody will read must not reset the connection under the answer.
    for _ in 0..20 {
        let mut client = Client::connect(gateway.address);
        let mut all = closing.clone().into_bytes();
        all.extend(call(2, json!({"pad": "x".repeat(300_000)})));
        client.send(&all);
        let answer = client.answer().expect("an answer");
        assert_eq!((answer.status, answer.json()["id"].clone()), (200, json!(1)));
        client.assert_closed();
        assert!(!client.reset);
    }
    assert!(
        upstream.arrived("tools/call").iter().all(|call| call.body["params"]["arguments"]["pad"].is_null())
    );
    assert_lives(&gateway);
}

#[test]
fn an_absolute_target_that_agrees_with_host_is_served() {
    let (_upstream, gateway) = gateway();
    let text = String::from_utf8(call(1, json!({}))).unwrap();
    let absolute = text.replace("POST /mcp", "POST http://127.0.0.1/mcp");
    let with_query = text.replace("POST /mcp", "POST /mcp?x=1");
    for request in [absolute, with_query] {
        assert_eq!(Client::connect(gateway.address).roundtrip(request).status, 200);
    }
    assert_lives(&gateway);
}
