//! Streams as the standard reads them, whole and cut anywhere.

use proptest::prelude::*;

use super::*;
use crate::limits::EVENT_BYTES_MAX;

/// Every event of a stream that arrives in these pieces, then the last id and the retry time.
type Heard = (Vec<(EventKind, String)>, String, Option<u64>);

fn hear(pieces: &[&[u8]]) -> Heard {
    let (mut reader, mut data, mut events) = (Reader::new(), Vec::new(), Vec::new());
    for piece in pieces {
        let mut piece = *piece;
        while !piece.is_empty() {
            let step = reader.push(piece, &mut data).unwrap();
            assert!(step.consumed > 0);
            if let Some(event) = step.event {
                events.push((event.kind, String::from_utf8_lossy(&data).into_owned()));
            } else {
                assert_eq!(step.consumed, piece.len());
            }
            piece = &piece[step.consumed..];
        }
    }
    (events, String::from_utf8_lossy(reader.last_event_id()).into_owned(), reader.retry_ms())
}

fn check(stream: &str, events: &[(EventKind, &str)], id: &str, retry: Option<u64>) {
    let expected: Vec<_> = events.iter().map(|(kind, data)| (*kind, (*data).to_owned())).collect();
    assert_eq!(hear(&[stream.as_bytes()]), (expected, id.to_owned(), retry), "{stream:?}");
}

#[test]
fn what_is_written_in_pieces_is_read_as_one_event() {
    let data = b"{\"a\":\n[1,\r\n2]\r}";
    for cut in 0..=data.len() {
        let mut out = Vec::new();
        append_piece(&mut out, &data[..cut], true, false);
        append_piece(&mut out, &data[cut..], false, true);
        let (events, ..) = hear(&[&out]);
        let spaced = |text: &[u8]| String::from_utf8_lossy(text).replace(['\r', '\n'], " ");
        assert_eq!(events.len(), 1, "cut at {cut}");
        assert_eq!(spaced(events[0].1.as_bytes()), spaced(data), "cut at {cut}");
    }
}

#[test]
fn streams_are_read_as_the_standard_says() {
    use EventKind::{Endpoint, Message, Other};
    check("data: a\n\n", &[(Message, "a")], "", None);
    check("data:a\n\ndata:  b\n\n", &[(Message, "a"), (Message, " b")], "", None);
    check("event: message\r\ndata: a\r\n\r\n", &[(Message, "a")], "", None);
    check("data: a\revent: endpoint\r\rdata: b\r\r", &[(Endpoint, "a"), (Message, "b")], "", None);
    check("id: 1\ndata: a\nevent: x\ndata: b\n\n", &[(Other, "a\nb")], "1", None);
    check("event: messages\ndata: a\n\n", &[(Other, "a")], "", None);
    check("event: endpointpointpoint\ndata: a\n\n", &[(Other, "a")], "", None);
    check("event: x\nevent: message\ndata: a\n\n", &[(Message, "a")], "", None);
    check("event: endpoint\n\ndata: a\n\n", &[(Message, "a")], "", None);
    check("\u{feff}data: a\n\n", &[(Message, "a")], "", None);
    check("\u{feff}\u{feff}data: a\n\n", &[], "", None);
    check(": comment\n:\ndata: a\n: more\n\n", &[(Message, "a")], "", None);
    check("data\ndata: a\n\n", &[(Message, "\na")], "", None);
    check("data\ndata\n\n", &[(Message, "\n")], "", None);
    check("Data: a\ndat: a\ndatas: a\n data: a\n\n", &[], "", None);
    check("data: unfinished\n", &[], "", None);
    check("\n\n\ndata: a\n\n", &[(Message, "a")], "", None);
}

#[test]
fn ids_and_retries_outlive_events_without_data() {
    check("id: 7\nretry: 250\ndata:\n\n", &[], "7", Some(250));
    check("id: 7\n\nid: 8\n", &[], "7", None);
    check("id: 7\n\nid\n\n", &[], "", None);
    check("id: a\0b\n\n", &[], "", None);
    check("id: 7\n\nid: \0\ndata: a\n\n", &[(EventKind::Message, "a")], "7", None);
    check("retry: 1x\n\nretry:\n\nretry: -1\n\n", &[], "", None);
    check("retry: 99999999999999999999999\n", &[], "", None);
    check("retry: 10\nretry: x\n", &[], "", Some(10));
}

#[test]
fn an_event_is_bounded() {
    let (mut reader, mut data) = (Reader::new(), Vec::new());
    let line = format!("data: {}\n", "a".repeat(EVENT_BYTES_MAX / 4));
    for _ in 0..3 {
        reader.push(line.as_bytes(), &mut data).unwrap();
    }
    assert_eq!(reader.push(line.as_bytes(), &mut data), Err(SseFault::EventTooLarge));
}

#[test]
fn a_reader_starts_over_with_what_a_resumed_stream_needs() {
    let (mut reader, mut data) = (Reader::new(), Vec::new());
    reader.push(b"id: 5\nretry: 9\n\ndata: cut o", &mut data).unwrap();
    assert!(!reader.is_between_events());
    reader.restart();
    assert!(reader.is_between_events());
    let step = reader.push(b"data: b\n\n", &mut data).unwrap();
    assert_eq!((step.event.is_some(), &data[..]), (true, &b"b"[..]));
    assert_eq!((reader.last_event_id(), reader.retry_ms()), (&b"5"[..], Some(9)));
}

#[test]
fn line_breaks_in_data_become_lines() {
    let mut out = Vec::new();
    append_event(&mut out, Some(b"3"), b"{\r\n\"a\":\n1\r}");
    assert_eq!(out, b"id: 3\nevent: message\ndata: {\ndata: \"a\":\ndata: 1\ndata: }\n\n");
    out.clear();
    append_event(&mut out, Some(b"3\ndata: injected"), b"{}");
    assert_eq!(out, b"event: message\ndata: {}\n\n");
}

proptest! {
    #[test]
    fn a_stream_means_the_same_however_it_is_cut(
        stream in "((data|event|id|retry|x|)(:| |: )?[a-z0-9 ]{0,4}(\r|\n|\r\n|\n\n)){0,8}",
        mark in any::<bool>(),
    ) {
        let stream = if mark { format!("\u{feff}{stream}") } else { stream };
        let bytes = stream.as_bytes();
        let whole = hear(&[bytes]);
        for cut in 0..=bytes.len() {
            prop_assert_eq!(&hear(&[&bytes[..cut], &bytes[cut..]]), &whole);
        }
        prop_assert_eq!(&hear(&bytes.chunks(1).collect::<Vec<_>>()), &whole);
    }

    #[test]
    fn what_is_written_is_heard(data in "[a-z {}\n\r\"]{1,40}", id in "[a-z0-9]{1,8}") {
        let mut out = Vec::new();
        append_comment(&mut out);
        append_retry(&mut out, Some(b"0"), Some(77));
        append_event(&mut out, Some(id.as_bytes()), data.as_bytes());
        let lines = data.replace("\r\n", "\n").replace('\r', "\n");
        prop_assert_eq!(hear(&[&out]), (vec![(EventKind::Message, lines)], id, Some(77)));
    }

    #[test]
    fn any_bytes_are_survived(stream in proptest::collection::vec(any::<u8>(), 0..200)) {
        hear(&[&stream]);
    }
}
