//! Event streams: no panic, no standstill, and the same events however the stream is cut; what we write is heard as
//! it was meant. The first byte says where to cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use strait_protocol::sse::{EventKind, Reader, append_event};

fuzz_target!(|data: &[u8]| {
    let Some((cut, stream)) = data.split_first() else { return };
    let cut = (*cut as usize).min(stream.len());
    let whole = hear(&[stream]);
    assert_eq!(hear(&[&stream[..cut], &stream[cut..]]), whole);
    assert_eq!(hear(&stream.chunks(1).collect::<Vec<_>>()), whole);

    let mut written = Vec::new();
    append_event(&mut written, None, stream);
    let (events, _) = hear(&[&written]);
    if !stream.is_empty() {
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].0, EventKind::Message);
        assert_eq!(lines(&events[0].1), lines(stream));
    }
});

type Heard = (Vec<(EventKind, Vec<u8>)>, Vec<u8>);

fn hear(pieces: &[&[u8]]) -> Heard {
    let (mut reader, mut data, mut events) = (Reader::new(), Vec::new(), Vec::new());
    for piece in pieces {
        let mut rest = *piece;
        while !rest.is_empty() {
            let step = reader.push(rest, &mut data).unwrap();
            assert!(step.consumed > 0);
            events.extend(step.event.map(|event| (event.kind, data.clone())));
            rest = &rest[step.consumed..];
        }
    }
    (events, reader.last_event_id().to_vec())
}

/// Line ends of any kind are the same line end.
fn lines(text: &[u8]) -> String {
    String::from_utf8_lossy(text).replace("\r\n", "\n").replace('\r', "\n")
}
