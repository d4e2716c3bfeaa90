//! Heads, both roles: no panic; a head that is accepted ends in an empty line, holds no bare line end, and its spans
//! lie inside it; a byte more or less never turns one accepted head into another.
#![no_main]

use libfuzzer_sys::fuzz_target;
use strait_protocol::http1::{parse_reply, parse_request, worth_parsing};

fuzz_target!(|data: &[u8]| {
    if let Ok(Some(head)) = parse_request(data) {
        let end = head.head_bytes as usize;
        check_lines(&data[..end]);
        let singles = [head.host, head.origin, head.authorization, head.mcp_name, head.session_id];
        for span in [head.path, head.query].into_iter().chain(singles.into_iter().flatten()) {
            assert!(span.end() as usize <= end);
            assert!(!span.of(data).iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)));
        }
        assert!(head.headers(data).count() <= 64);
        // The same head again, whatever follows it, and nothing before it is complete.
        let again = parse_request(&data[..end]).unwrap().unwrap();
        assert_eq!(format!("{again:?}"), format!("{head:?}"));
        assert!(parse_request(&data[..end - 1]).unwrap().is_none());
        assert!(worth_parsing(data, end - 1));
    }
    if let Ok(Some(head)) = parse_reply(data) {
        check_lines(&data[..head.head_bytes as usize]);
        assert!((100..600).contains(&head.status));
    }
});

fn check_lines(head: &[u8]) {
    assert!(head.ends_with(b"\r\n\r\n") && head.len() <= 32 * 1024 + 2);
    for (at, byte) in head.iter().enumerate() {
        match byte {
            b'\n' => assert_eq!(head[at - 1], b'\r'),
            b'\r' => assert_eq!(head[at + 1], b'\n'),
            _ => {}
        }
    }
}
