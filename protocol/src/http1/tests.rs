//! Every strict rule has a case; then properties: a head is understood the same however it arrives, and a chunked
//! body however it is cut.

use proptest::prelude::*;

use super::write::{self, UnsafeHeader};
use super::*;
use crate::limits::{
    CHUNK_EXTENSION_BYTES_MAX, HEAD_BYTES_MAX, HEADERS_MAX, TARGET_BYTES_MAX, TRAILER_BYTES_MAX,
};

fn request(text: &str) -> RequestHead {
    match parse_request(text.as_bytes()) {
        Ok(Some(head)) => head,
        other => panic!("{text:?}: {other:?}"),
    }
}

fn refused(text: &str, label: &str, status: u16) {
    match parse_request(text.as_bytes()) {
        Err(fault) => {
            assert_eq!((fault.label(), fault.status()), (label, status), "{text:?}");
            let message = fault.message();
            assert!(message.contains("expected") && message.contains("found"), "{message}");
        }
        other => panic!("{text:?}: expected {label}, found {other:?}"),
    }
}

/// A request with these header lines, each without its CRLF, after a `Host`.
fn with(lines: &[&str]) -> String {
    let mut text = String::from("POST /mcp HTTP/1.1\r\nHost: gw\r\n");
    for line in lines {
        text.push_str(line);
        text.push_str("\r\n");
    }
    text + "\r\n"
}

#[test]
fn a_whole_request_is_read_into_spans() {
    let text = with(&[
        "Content-Type: application/json; charset=utf-8",
        "Accept: application/json, text/event-stream;q=0.9",
        "Content-Length: 17",
        "MCP-Protocol-Version: 2026-07-28",
        "mcp-method: tools/call",
        "MCP-NAME:\tgit_log ",
        "Mcp-Param-Region: eu",
        "Origin: http://localhost",
        "Authorization: Bearer x",
        "Mcp-Session-Id: s",
        "Last-Event-ID: 7",
        "X-Forwarded-For: 1.1.1.1",
        "X-Forwarded-For: 2.2.2.2, 3.3.3.3",
        "traceparent: 00-a-b-01",
        "Expect: 100-Continue",
        "Connection: Keep-Alive, x",
    ])
    .replace("/mcp ", "/mcp?a=b?c ");
    let head = request(&text);
    let bytes = text.as_bytes();
    let says = |span: Option<crate::Span>| span.map(|span| std::str::from_utf8(span.of(bytes)).unwrap());
    assert_eq!(head.method, Method::Post);
    assert_eq!((head.path.of(bytes), head.query.of(bytes)), (&b"/mcp"[..], &b"a=b?c"[..]));
    assert_eq!(head.head_bytes as usize, text.len());
    assert_eq!(head.framing, Framing::Length(17));
    assert_eq!((head.keep_alive, head.expect_continue, head.http10), (true, true, false));
    assert_eq!(head.content_type, ContentType::Json);
    assert_eq!(head.accept, Accept { json: true, event_stream: true, any: false, absent: false });
    assert_eq!(says(head.host), Some("gw"));
    assert_eq!(says(head.origin), Some("http://localhost"));
    assert_eq!(says(head.authorization), Some("Bearer x"));
    assert_eq!(says(head.protocol_version), Some("2026-07-28"));
    assert_eq!(says(head.mcp_method), Some("tools/call"));
    assert_eq!(says(head.mcp_name), Some("git_log"));
    assert_eq!(says(head.session_id), Some("s"));
    assert_eq!(says(head.last_event_id), Some("7"));
    assert_eq!(says(head.x_forwarded_for), Some("2.2.2.2, 3.3.3.3"));
    assert_eq!(says(head.traceparent), Some("00-a-b-01"));
    assert_eq!(head.mcp_params, 1);
    assert_eq!(head.find(bytes, "mcp-param-region"), Ok(Some(&b"eu"[..])));
    assert_eq!(head.find(bytes, "X-Api-Key"), Ok(None));
    assert_eq!(head.find(bytes, "X-Forwarded-For"), Err(HeadFault::DuplicateHeader("X-Forwarded-For")));
    assert_eq!(head.headers(bytes).count(), 17);
}

#[test]
fn line_ends_are_crlf_and_nothing_else() {
    refused("GET / HTTP/1.1\nHost: a\r\n\r\n", "bare_lf", 400);
    refused("GET / HTTP/1.1\r\nHost: a\n\r\n", "bare_lf", 400);
    refused("GET / HTTP/1.1\r\nHost: a\r\n\n", "bare_lf", 400);
    refused("\nGET / HTTP/1.1\r\n", "bare_lf", 400);
    refused("GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n", "bare_cr", 400);
    refused("GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", "bare_cr", 400);
    refused("\r\n\r\nGET / HTTP/1.1\r\n", "leading_empty_lines", 400);
    assert_eq!(request("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n").head_bytes, 29);
}

#[test]
fn header_lines_are_tokens_and_printable_values() {
    refused(&with(&["X-A: 1", " folded"]), "obsolete_fold", 400);
    refused(&with(&["\tfolded"]), "obsolete_fold", 400);
    refused("GET / HTTP/1.1\r\n Host: a\r\n\r\n", "obsolete_fold", 400);
    refused(&with(&["X-A : 1"]), "space_before_colon", 400);
    refused(&with(&["Content-Length\t: 1"]), "space_before_colon", 400);
    refused(&with(&["no colon"]), "header_name_invalid", 400);
    refused(&with(&[": empty"]), "header_name_invalid", 400);
    refused(&with(&["X(A): 1"]), "header_name_invalid", 400);
    refused(&with(&["X-\u{e9}: 1"]), "header_name_invalid", 400);
    refused(&with(&["X-A: \0"]), "header_value_invalid", 400);
    refused(&with(&["X-A: a\u{7f}b"]), "header_value_invalid", 400);
    refused(&with(&["X-A: a\u{1b}b"]), "header_value_invalid", 400);
    request(&with(&["X-A: caf\u{e9}\tb", "X-Empty:"]));
}

#[test]
fn a_body_has_one_length() {
    refused(
        &with(&["Content-Length: 3", "Transfer-Encoding: chunked"]),
        "length_with_transfer_encoding",
        400,
    );
    refused(
        &with(&["Transfer-Encoding: chunked", "Content-Length: 3"]),
        "length_with_transfer_encoding",
        400,
    );
    refused(&with(&["Content-Length: 3", "Content-Length: 3"]), "content_length_repeated", 400);
    for value in ["", "+3", "-3", " 3 3", "3, 3", "0x3", "3.0", "\u{663}", "18446744073709551616"] {
        refused(&with(&[&format!("Content-Length: {value}")]), "content_length_invalid", 400);
    }
    for value in ["", "gzip, chunked", "chunked, chunked", "identity", "chunked;q=1", "xchunked", "chunked,"]
    {
        refused(&with(&[&format!("Transfer-Encoding: {value}")]), "transfer_encoding_unsupported", 501);
    }
    refused(
        &with(&["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"]),
        "transfer_encoding_unsupported",
        501,
    );
    refused("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", "transfer_encoding_on_http10", 400);
    assert_eq!(request(&with(&["Transfer-Encoding: Chunked"])).framing, Framing::Chunked);
    assert_eq!(request(&with(&["Content-Length: 0"])).framing, Framing::Length(0));
    assert_eq!(request(&with(&["Content-Length: 18446744073709551615"])).framing, Framing::Length(u64::MAX));
    assert_eq!(request(&with(&[])).framing, Framing::None);
}

#[test]
fn a_header_we_read_comes_once() {
    let names = [
        "Authorization",
        "Content-Type",
        "Mcp-Method",
        "Mcp-Name",
        "MCP-Protocol-Version",
        "Origin",
        "Mcp-Session-Id",
        "Last-Event-ID",
        "Host",
    ];
    for name in names {
        let (one, two) = (format!("{name}: a"), format!("{}: a", name.to_lowercase()));
        refused(&with(&[&one, &two]), "duplicate_header", 400);
    }
    refused(&with(&["Mcp-Param-A: 1", "mcp-param-a: 1"]), "duplicate_mcp_header", 400);
    assert_eq!(request(&with(&["Mcp-Param-A: 1", "Mcp-Param-B: 1"])).mcp_params, 2);
    assert_eq!(request(&with(&["traceparent: a", "traceparent: b"])).traceparent, None);
}

#[test]
fn the_request_line_is_exact() {
    refused("GET / HTTP/2.0\r\nHost: a\r\n\r\n", "version_unsupported", 505);
    refused("GET / HTTP/1.2\r\nHost: a\r\n\r\n", "version_unsupported", 505);
    refused("GET / HTTP/0.9\r\nHost: a\r\n\r\n", "version_unsupported", 505);
    for line in [
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        "GET / HTTP/1.1 ",
        " GET / HTTP/1.1",
        "GET /",
        "GET\t/ HTTP/1.1",
        "G(T / HTTP/1.1",
    ] {
        refused_somehow(&format!("{line}\r\nHost: a\r\n\r\n"));
    }
    for target in ["/a#b", "/caf\u{e9}", "a", "ftp://a/", "*", "gw:443", "http:///x", "http://u@gw/"] {
        refused(&format!("GET {target} HTTP/1.1\r\nHost: gw\r\n\r\n"), "target_invalid", 400);
    }
    refused("GET /\u{1} HTTP/1.1\r\nHost: gw\r\n\r\n", "target_invalid", 400);
    request("OPTIONS * HTTP/1.1\r\nHost: gw\r\n\r\n");
    let long = "a".repeat(TARGET_BYTES_MAX);
    refused(&format!("GET /{long} HTTP/1.1\r\nHost: gw\r\n\r\n"), "target_too_long", 414);
}

fn refused_somehow(text: &str) {
    assert!(parse_request(text.as_bytes()).is_err(), "{text:?}");
}

#[test]
fn a_target_may_name_its_host_when_both_agree() {
    let text = "GET http://gw:80?q HTTP/1.1\r\nHost: GW:80\r\n\r\n";
    let head = request(text);
    assert_eq!((head.path.of(text.as_bytes()), head.query.of(text.as_bytes())), (&b""[..], &b"q"[..]));
    let text = "GET HTTPS://gw/p HTTP/1.1\r\nHost: gw\r\n\r\n";
    assert_eq!(request(text).path.of(text.as_bytes()), b"/p");
    refused("GET http://gw/ HTTP/1.1\r\nHost: other\r\n\r\n", "authority_mismatch", 400);
    refused("GET http://gw:80/ HTTP/1.1\r\nHost: gw\r\n\r\n", "authority_mismatch", 400);
    refused("GET / HTTP/1.1\r\n\r\n", "host_missing", 400);
    for host in ["a,b", "a/b", "u@a", "a b", "a?b"] {
        refused(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"), "host_invalid", 400);
    }
    assert_eq!(request("GET / HTTP/1.0\r\n\r\n").host, None);
}

#[test]
fn a_head_is_bounded() {
    let line = format!("X-A: {}\r\n", "a".repeat(4000));
    let head = |lines: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}", line.repeat(lines));
    refused(&head(9), "head_too_large", 431);
    refused(&(head(9) + "\r\n"), "head_too_large", 431);
    refused(&format!("GET /{}", "a".repeat(HEAD_BYTES_MAX)), "target_too_long", 414);
    let headers = |count: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(count - 1));
    refused(&headers(HEADERS_MAX + 1), "too_many_headers", 431);
    request(&headers(HEADERS_MAX));
}

#[test]
fn expectations_and_connections() {
    refused(&with(&["Expect: 200-ok"]), "expectation_unknown", 417);
    let cases = [
        ("HTTP/1.1", "", true),
        ("HTTP/1.1", "Connection: close\r\n", false),
        ("HTTP/1.1", "Connection: keep-alive, CLOSE\r\n", false),
        ("HTTP/1.1", "Connection: a\r\nConnection: close\r\n", false),
        ("HTTP/1.0", "", false),
        ("HTTP/1.0", "Connection: keep-alive\r\n", true),
        ("HTTP/1.0", "Connection: keep-alive, close\r\n", false),
    ];
    for (version, connection, keep_alive) in cases {
        let head = request(&format!("GET / {version}\r\nHost: a\r\n{connection}\r\n"));
        assert_eq!(head.keep_alive, keep_alive, "{version} {connection}");
    }
    assert!(!request("GET / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n").expect_continue);
}

#[test]
fn accept_is_the_sum_of_its_lines() {
    let accepts = |lines: &[&str]| {
        let accept = request(&with(lines)).accept;
        [accept.json, accept.event_stream, accept.any, accept.absent]
    };
    assert_eq!(accepts(&[]), [false, false, false, true]);
    assert_eq!(accepts(&["Accept: */*"]), [false, false, true, false]);
    assert_eq!(
        accepts(&["Accept: text/event-stream", "accept: APPLICATION/JSON;x=y"]),
        [true, true, false, false]
    );
    assert_eq!(accepts(&["Accept: application/json;q=0, text/event-stream; Q=0.000"]), [false; 4]);
    assert_eq!(accepts(&["Accept: application/json;q=0.001, text/html"]), [true, false, false, false]);
}

#[test]
fn replies_say_how_their_body_ends() {
    let cases = [
        ("200 OK\r\nContent-Length: 5\r\n", ReplyFraming::Length(5), true),
        ("200 OK\r\nTransfer-Encoding: chunked\r\n", ReplyFraming::Chunked, true),
        ("200 OK\r\n", ReplyFraming::UntilClose, false),
        ("204 No Content\r\n", ReplyFraming::None, true),
        ("304 Not Modified\r\nContent-Length: 5\r\n", ReplyFraming::None, true),
        ("100 Continue\r\n", ReplyFraming::None, true),
        ("202 Accepted\r\nContent-Length: 0\r\nConnection: close\r\n", ReplyFraming::Length(0), false),
    ];
    for (text, framing, keep_alive) in cases {
        let text = format!("HTTP/1.1 {text}\r\n");
        let head = parse_reply(text.as_bytes()).unwrap().unwrap();
        assert_eq!((head.framing, head.keep_alive), (framing, keep_alive), "{text}");
        assert_eq!(head.head_bytes as usize, text.len());
    }
    let text = b"HTTP/1.1 401 \r\nWWW-Authenticate: Basic x\r\nWWW-Authenticate: bearer y\r\nRetry-After: 9\r\n\
                 Mcp-Session-Id: s\r\nLocation: /x\r\nContent-Type: text/event-stream\r\nContent-Encoding: gzip\r\n\r\n";
    let head = parse_reply(text).unwrap().unwrap();
    assert_eq!(head.status, 401);
    assert_eq!(head.www_authenticate.unwrap().of(text), b"bearer y");
    assert_eq!(head.session_id.unwrap().of(text), b"s");
    assert_eq!(head.location.unwrap().of(text), b"/x");
    assert_eq!((head.retry_after_s, head.encoded), (Some(9), true));
    assert_eq!(head.content_type, ContentType::EventStream);
}

#[test]
fn replies_are_judged_as_strictly_as_requests() {
    let cases = [
        ("HTTP/1.1 200 OK\n\r\n", "bare_lf"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", "content_length_repeated"),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "length_with_transfer_encoding",
        ),
        (
            "HTTP/1.1 204 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "length_with_transfer_encoding",
        ),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "transfer_encoding_unsupported"),
        ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "transfer_encoding_on_http10"),
        ("HTTP/1.1 200 OK\r\nX : y\r\n\r\n", "space_before_colon"),
        ("HTTP/1.1 200 OK\r\nX: y\r\n z\r\n\r\n", "obsolete_fold"),
        ("HTTP/1.1 200 OK\r\nMcp-Session-Id: a\r\nMcp-Session-Id: b\r\n\r\n", "duplicate_header"),
        ("HTTP/1.1 099 OK\r\n\r\n", "status_line_invalid"),
        ("HTTP/1.1 600 OK\r\n\r\n", "status_line_invalid"),
        ("HTTP/1.1 20 OK\r\n\r\n", "status_line_invalid"),
        ("HTTP/2 200 OK\r\n\r\n", "version_unsupported"),
        ("ICY 200 OK\r\n\r\n", "version_unsupported"),
    ];
    for (text, label) in cases {
        assert_eq!(parse_reply(text.as_bytes()).map_err(HeadFault::label).err(), Some(label), "{text:?}");
    }
}

/// Decodes a chunked body that arrives in these pieces: payload, and bytes left over, or why not.
fn dechunk(pieces: &[&[u8]]) -> Result<(Vec<u8>, Vec<u8>, bool), ChunkFault> {
    let (mut body, mut data, mut rest) = (Body::Chunked(Chunked::new()), Vec::new(), Vec::new());
    for piece in pieces {
        let mut piece = *piece;
        while !piece.is_empty() && !body.is_done() {
            let step = body.next(piece)?;
            data.extend_from_slice(&piece[step.data.clone()]);
            assert!(step.consumed > 0 && step.data.end <= step.consumed);
            assert_eq!(step.done, body.is_done());
            piece = &piece[step.consumed..];
        }
        rest.extend_from_slice(piece);
    }
    Ok((data, rest, body.is_done()))
}

#[test]
fn chunks_are_exact() {
    let sound: [(&str, &str, &str); 5] = [
        ("0\r\n\r\n", "", ""),
        ("3\r\nabc\r\n0\r\n\r\nGET", "abc", "GET"),
        ("3;a=b;c=\"d\"\r\nabc\r\n00000\r\n\r\n", "abc", ""),
        ("A\r\n0123456789\r\na\r\n0123456789\r\n0\r\nX-T: y\r\nZ:\r\n\r\n", "01234567890123456789", ""),
        ("0000000000000001\r\n\n\r\n0\r\n\r\n", "\n", ""),
    ];
    for (text, data, rest) in sound {
        let outcome = dechunk(&[text.as_bytes()]);
        assert_eq!(outcome, Ok((data.into(), rest.into(), true)), "{text:?}");
    }
    let long_extension = format!("1;{}\r\n", "a".repeat(CHUNK_EXTENSION_BYTES_MAX as usize));
    let long_trailer = format!("0\r\nX: {}\r\n\r\n", "a".repeat(TRAILER_BYTES_MAX as usize));
    let broken = [
        ("\r\n", ChunkFault::SizeInvalid),
        ("g\r\n", ChunkFault::SizeInvalid),
        ("-1\r\n", ChunkFault::SizeInvalid),
        ("+1\r\n", ChunkFault::SizeInvalid),
        ("0x1\r\n", ChunkFault::SizeInvalid),
        (" 1\r\n", ChunkFault::SizeInvalid),
        ("1 \r\n", ChunkFault::SizeInvalid),
        ("1\n", ChunkFault::SizeInvalid),
        (";a\r\n", ChunkFault::SizeInvalid),
        ("00000000000000001\r\n", ChunkFault::SizeTooLong),
        ("1\rx", ChunkFault::LineEndInvalid),
        ("1;a\nb\r\n", ChunkFault::ExtensionInvalid),
        (&long_extension, ChunkFault::ExtensionTooLong),
        ("1\r\nab\r\n", ChunkFault::DataEndInvalid),
        ("1\r\na\n", ChunkFault::DataEndInvalid),
        ("1\r\na\rb", ChunkFault::DataEndInvalid),
        ("0\r\n\rx", ChunkFault::LineEndInvalid),
        ("0\r\n\n", ChunkFault::TrailerInvalid),
        ("0\r\nX : y\r\n\r\n", ChunkFault::TrailerInvalid),
        ("0\r\n: y\r\n\r\n", ChunkFault::TrailerInvalid),
        ("0\r\nX: y\n\r\n", ChunkFault::TrailerInvalid),
        ("0\r\nX: y\r\n folded\r\n\r\n", ChunkFault::TrailerInvalid),
        (&long_trailer, ChunkFault::TrailerTooLong),
    ];
    for (text, fault) in broken {
        assert_eq!(dechunk(&[text.as_bytes()]), Err(fault), "{text:?}");
        assert!(fault.message().contains("expected"));
    }
    assert_eq!(dechunk(&[b"FFFFFFFFFFFFFFFF\r\nabc"]), Ok((b"abc".to_vec(), Vec::new(), false)));
}

#[test]
fn what_is_written_reads_back() {
    let mut out = b"kept".to_vec();
    let head =
        write::request(&mut out, b"POST", b"/mcp?x=1").header("Host", b"up:1").header_if("Accept", None);
    head.named(b"Mcp-Param-A", b"v").content_length(12).finish().unwrap();
    let parsed = parse_request(&out[4..]).unwrap().unwrap();
    assert_eq!(parsed.framing, Framing::Length(12));
    assert_eq!(parsed.find(&out[4..], "mcp-param-a"), Ok(Some(&b"v"[..])));

    let mut out = Vec::new();
    write::reply(&mut out, 200)
        .header("Content-Type", b"application/json")
        .chunked()
        .connection_close()
        .finish()
        .unwrap();
    let head_bytes = out.len();
    write::chunk(&mut out, b"{}");
    write::chunk(&mut out, b"");
    write::last_chunk(&mut out);
    let parsed = parse_reply(&out).unwrap().unwrap();
    assert_eq!((parsed.framing, parsed.content_type), (ReplyFraming::Chunked, ContentType::Json));
    assert_eq!(parsed.head_bytes as usize, head_bytes);
    assert_eq!(dechunk(&[&out[head_bytes..]]), Ok((b"{}".to_vec(), Vec::new(), true)));
}

#[test]
fn a_value_that_would_split_the_head_is_not_written() {
    for (name, value) in
        [("X", "a\r\nY: b"), ("X", "a\nb"), ("X", "a\0"), ("X Y", "a"), ("X:", "a"), ("", "a")]
    {
        let mut out = b"kept".to_vec();
        let outcome =
            write::reply(&mut out, 200).named(name.as_bytes(), value.as_bytes()).header("Z", b"z").finish();
        assert_eq!((outcome, &out[..]), (Err(UnsafeHeader), &b"kept"[..]), "{name:?} {value:?}");
    }
    for target in ["/a b", "", "/a\r\n"] {
        let mut out = Vec::new();
        assert_eq!(write::request(&mut out, b"GET", target.as_bytes()).finish(), Err(UnsafeHeader));
        assert!(out.is_empty());
    }
}

#[test]
fn lengths_are_counted_down() {
    let mut body = Body::of_request(Framing::Length(3));
    assert_eq!(body.next(b"ab"), Ok(BodyStep { consumed: 2, data: 0..2, done: false }));
    assert!(!body.may_end_here());
    assert_eq!(body.next(b"cd"), Ok(BodyStep { consumed: 1, data: 0..1, done: true }));
    assert_eq!(body.next(b"d"), Ok(BodyStep { consumed: 0, data: 0..0, done: true }));
    assert!(Body::of_request(Framing::None).is_done());
    assert!(Body::of_reply(ReplyFraming::UntilClose).may_end_here());
}

/// Requests, sound and broken, that share many prefixes.
fn head_text() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        Just("Host: gw\r\n"),
        Just("Content-Length: 3\r\n"),
        Just("Transfer-Encoding: chunked\r\n"),
        Just("Mcp-Name: a\r\n"),
        Just("X: y\n"),
        Just("X: y\r"),
        Just(" z\r\n"),
        Just("X : y\r\n"),
        Just("\r\n"),
        Just("\0"),
    ];
    proptest::collection::vec(line, 0..8).prop_map(|lines| {
        let mut text = b"POST /mcp HTTP/1.1\r\n".to_vec();
        lines.iter().for_each(|line| text.extend_from_slice(line.as_bytes()));
        text
    })
}

proptest! {
    /// The prefix of a head is incomplete or refused for what the whole is refused for, and asking `worth_parsing`
    /// first changes nothing about the outcome.
    #[test]
    fn a_head_means_the_same_however_it_arrives(text in head_text()) {
        let whole = parse_request(&text);
        let mut seen = 0;
        let mut dribbled = Ok(None);
        for end in 1..=text.len() {
            if worth_parsing(&text[..end], seen) {
                dribbled = parse_request(&text[..end]);
                if !matches!(dribbled, Ok(None)) {
                    break;
                }
            }
            seen = end;
        }
        match (&whole, &dribbled) {
            (Ok(Some(whole)), Ok(Some(dribbled))) => {
                prop_assert_eq!(format!("{whole:?}"), format!("{dribbled:?}"));
                prop_assert!(text[..whole.head_bytes as usize].ends_with(b"\r\n\r\n"));
            }
            (Ok(None), Ok(None)) => {}
            (Err(whole), Err(dribbled)) => prop_assert_eq!(whole, dribbled),
            // A bare CR is only noticed with the byte after it, which may hold no line feed.
            (Err(HeadFault::BareCr), Ok(None)) => {}
            _ => prop_assert!(false, "{:?} {:?}", whole, dribbled),
        }
    }

    #[test]
    fn a_chunked_body_means_the_same_however_it_is_cut(
        chunks in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 1..40), "(;[a-z]{0,5})?"), 0..5),
        trailer in "(X: [a-z]{0,5}\r\n){0,2}",
        damage in proptest::option::of((0usize..200, any::<u8>())),
    ) {
        let mut text = Vec::new();
        let mut payload = Vec::new();
        for (data, extension) in &chunks {
            text.extend_from_slice(format!("{:x}{extension}\r\n", data.len()).as_bytes());
            text.extend_from_slice(data);
            text.extend_from_slice(b"\r\n");
            payload.extend_from_slice(data);
        }
        text.extend_from_slice(format!("0\r\n{trailer}\r\nnext").as_bytes());
        if let Some((at, byte)) = damage {
            let at = at % text.len();
            text[at] = byte;
        }
        let whole = dechunk(&[&text]);
        if damage.is_none() {
            prop_assert_eq!(&whole, &Ok((payload, b"next".to_vec(), true)));
        }
        for cut in 0..=text.len() {
            prop_assert_eq!(&dechunk(&[&text[..cut], &text[cut..]]), &whole);
        }
        prop_assert_eq!(&dechunk(&text.chunks(1).collect::<Vec<_>>()), &whole);
    }

    #[test]
    fn any_bytes_are_survived(text in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse_request(&text);
        let _ = parse_reply(&text);
        let _ = dechunk(&[&text]);
    }
}
