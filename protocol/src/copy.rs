//! Copies of long bodies. HOT.
//!
//! The C library copies more than some 8 KiB with one instruction of the processor's (`rep movsb`), which on some (AMD's
//! Zen 3 and 4 among them) goes several times slower where source and destination lie alike within a page, as a body does
//! that moves by the few bytes by which one head is longer than another. In pieces it takes its own loop, which does not.

/// Below what any build of the C library gives to that instruction by default, above what makes a loop worth while.
pub const PIECE_BYTES: usize = 2_048;

/// Appends all of `bytes`.
#[inline]
pub fn append(out: &mut Vec<u8>, bytes: &[u8]) {
    if bytes.len() <= PIECE_BYTES {
        return out.extend_from_slice(bytes);
    }
    in_pieces(out, bytes);
}

#[inline(never)]
fn in_pieces(out: &mut Vec<u8>, bytes: &[u8]) {
    out.reserve(bytes.len());
    for piece in bytes.chunks(PIECE_BYTES) {
        out.extend_from_slice(piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_its_length_all_of_it_is_there_and_room_is_made_once() {
        for length in [0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 5 * PIECE_BYTES + 7] {
            let bytes: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            let mut out = b"head".to_vec();
            append(&mut out, &bytes);
            assert_eq!((&out[..4], &out[4..]), (&b"head"[..], &bytes[..]), "{length}");
        }
    }
}
