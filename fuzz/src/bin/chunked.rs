//! The chunked coding: no panic, no standstill, and the same payload or the same refusal however the body is cut. The
//! first byte says where.
#![no_main]

use libfuzzer_sys::fuzz_target;
use strait_protocol::http1::{ChunkFault, Chunked};

fuzz_target!(|data: &[u8]| {
    let Some((cut, body)) = data.split_first() else { return };
    let cut = (*cut as usize).min(body.len());
    let whole = decode(&[body]);
    assert_eq!(decode(&[&body[..cut], &body[cut..]]), whole);
    assert_eq!(decode(&body.chunks(1).collect::<Vec<_>>()), whole);
});

/// Payload, bytes of the body that were consumed, and whether it ended.
fn decode(pieces: &[&[u8]]) -> Result<(Vec<u8>, usize, bool), ChunkFault> {
    let (mut chunked, mut payload, mut consumed) = (Chunked::new(), Vec::new(), 0);
    for piece in pieces {
        let mut rest = *piece;
        while !rest.is_empty() && !chunked.is_done() {
            let step = chunked.next(rest)?;
            assert!(step.consumed > 0 && step.data.end <= step.consumed);
            payload.extend_from_slice(&rest[step.data]);
            consumed += step.consumed;
            rest = &rest[step.consumed..];
        }
    }
    Ok((payload, consumed, chunked.is_done()))
}
