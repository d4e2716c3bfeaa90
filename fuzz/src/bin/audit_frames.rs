//! Frames of a log, records and payloads: no panic, the same from memory and from a file, and whatever is taken for a frame is written
//! as the same bytes.
#![no_main]

use std::path::PathBuf;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use strait_audit::frame::{self, PAYLOAD_HEAD_BYTES, PayloadHead};
use strait_audit::record::Known;
use strait_audit::segment::{Next, Payloads, Segment, entries_path, payload_path};

fuzz_target!(|data: &[u8]| {
    let folder = folder();
    std::fs::write(folder.join(entries_path(0)), data).unwrap();
    std::fs::write(folder.join(payload_path(0)), data).unwrap();
    entries(data, Segment::open(folder, 0).unwrap());
    payloads(data, Payloads::open(folder, 0).unwrap());
});

fn entries(mut data: &[u8], mut segment: Segment) {
    loop {
        let at = segment.at();
        let fault = match (frame::read(data), segment.read().unwrap()) {
            (Ok((record, taken)), Next::Frame(found)) => {
                assert_eq!(record, found);
                let mut written = Vec::new();
                frame::append(&mut written, record);
                assert_eq!(written, data[..taken]);
                let _ = Known::read(record);
                data = &data[taken..];
                continue;
            }
            (Err(_), Next::End) => return assert!(data.is_empty()),
            (Err(fault), Next::Bad(found)) => {
                // A file tells how much of a frame there is, bytes in memory how much of all.
                assert_eq!(std::mem::discriminant(&fault), std::mem::discriminant(&found));
                found
            }
            (of_bytes, of_file) => panic!("{of_bytes:?} {of_file:?}"),
        };
        assert!(!fault.to_string().is_empty());
        // It stays there, and says the same again.
        assert_eq!(segment.at(), at);
        match segment.read().unwrap() {
            Next::Bad(again) => return assert_eq!(again, fault),
            other => panic!("{other:?} after {fault:?}"),
        }
    }
}

fn payloads(data: &[u8], mut payloads: Payloads) {
    loop {
        let before = payloads.at() as usize;
        match payloads.read().unwrap() {
            Next::Frame(kept) => {
                let head = &kept.head;
                let head = PayloadHead::new(head.index, head.which, head.mode, head.salt, kept.bytes);
                let mut written = head.bytes().to_vec();
                assert_eq!(written.len(), PAYLOAD_HEAD_BYTES);
                written.extend_from_slice(kept.bytes);
                assert_eq!(written, data[before..before + written.len()]);
            }
            Next::End => return assert_eq!(before, data.len()),
            Next::Bad(_) => return assert_eq!(payloads.at() as usize, before),
        }
    }
}

/// One for all inputs of a process, in memory where that is possible.
fn folder() -> &'static PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let memory = PathBuf::from("/dev/shm");
        let base = if memory.is_dir() { memory } else { std::env::temp_dir() };
        let folder = base.join(format!("strait-fuzz-frames-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("entries")).unwrap();
        std::fs::create_dir_all(folder.join("payload")).unwrap();
        folder
    })
}
