//! The judge of replies under bytes nobody chose: however a reply is cut into pieces it is judged alike,
//! and noise is never taken for an answer.

use proptest::collection::vec;
use proptest::prelude::*;
use strait_loadgen::target::{Cause, ID_FIRST, Progress, ReplyReader};

/// A whole reply: JSON or events, with a length or in chunks of any size, and what it must come to.
fn reply() -> impl Strategy<Value = (Vec<u8>, Result<(), Cause>)> {
    let kinds = prop_oneof![
        Just((r#""result":{"content":[]}"#, Ok(()))),
        Just((r#""result":{"isError":true}"#, Err(Cause::IsError))),
        Just((r#""error":{"code":-32602,"message":"Unknown tool: \"x"}"#, Err(Cause::Denied))),
        Just((r#""error":{"code":-32000,"message":"}]"}"#, Err(Cause::JsonRpc(-32000)))),
    ];
    (kinds, any::<bool>(), 0..4usize, proptest::option::of(1..40usize)).prop_map(
        |((member, expected), streamed, events, chunk)| {
            let message = format!(r#"{{"jsonrpc":"2.0",{member},"id":{ID_FIRST}}}"#);
            let progress = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{}}"#;
            let (kind, body) = match streamed {
                true => {
                    let all = std::iter::repeat_n(progress, events).chain([message.as_str()]);
                    ("text/event-stream", all.map(|data| format!("data: {data}\n\n")).collect::<String>())
                }
                false => ("application/json", message),
            };
            let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n");
            let bytes = match chunk {
                Some(size) => {
                    let mut bytes = format!("{head}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
                    for piece in body.as_bytes().chunks(size) {
                        bytes.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
                        bytes.extend_from_slice(piece);
                        bytes.extend_from_slice(b"\r\n");
                    }
                    bytes.extend_from_slice(b"0\r\n\r\n");
                    bytes
                }
                None => format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes(),
            };
            (bytes, expected)
        },
    )
}

/// Feeds `bytes` cut where `cuts` say; the judgement, and how many bytes it took.
fn judged(reader: &mut ReplyReader, bytes: &[u8], cuts: &[usize]) -> (Result<(), Cause>, usize) {
    reader.expect(ID_FIRST);
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).chain([bytes.len()]).collect();
    ends.sort_unstable();
    let mut at = 0;
    for end in ends {
        if let Progress::Done { result, consumed, .. } = reader.feed(&bytes[at..end]) {
            return (result, at + consumed);
        }
        at = end;
    }
    (reader.end(), at)
}

proptest! {
    #[test]
    fn a_reply_is_judged_alike_however_it_is_cut(all in vec((reply(), vec(any::<usize>(), 0..6)), 1..4)) {
        // One reader for all of them: nothing of one reply is left for the next.
        let mut reader = ReplyReader::new();
        for ((bytes, expected), cuts) in &all {
            prop_assert_eq!(judged(&mut reader, bytes, cuts), (*expected, bytes.len()));
            let cut = cuts.first().map_or(0, |cut| cut % bytes.len());
            let (short, _) = judged(&mut reader, &bytes[..cut], cuts);
            // An answer may be complete before its body's last bytes; no other reply is.
            prop_assert!(short == *expected || matches!(short, Err(Cause::Truncated | Cause::Transport)), "{:?}", short);
        }
    }

    #[test]
    fn noise_is_no_answer(bytes in vec(any::<u8>(), 0..400), inside in any::<bool>()) {
        let head: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n";
        let all = if inside { [head, &bytes].concat() } else { bytes };
        let mut reader = ReplyReader::new();
        prop_assert!(judged(&mut reader, &all, &[7, 100]).0.is_err());
    }
}
