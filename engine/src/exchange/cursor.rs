//! Where a list goes on: the next item's place, with a code over everything it belongs to.
//!
//! A cursor grants nothing, since the view decides on every page; but one of another catalog, server, kind or view
//! would skip or repeat items, so it is not understood anywhere else.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use strait_table::Kind;

use crate::session::Seal;

/// What a cursor is good for.
pub struct List<'a> {
    /// The bound catalog's hash.
    pub catalog: &'a [u8; 32],
    /// Digest of the server's name.
    pub server: u64,
    pub kind: Kind,
    /// Digest of what the caller sees of it.
    pub view: u64,
}

const PLACE: usize = 4;
const CODE: usize = 16;
/// Visible characters of a cursor: 27.
const CHARS: usize = ((PLACE + CODE) * 4).div_ceil(3);

impl List<'_> {
    fn code(&self, seal: &Seal, place: [u8; PLACE]) -> [u8; CODE] {
        let mut hasher = seal.code();
        hasher.update(self.catalog);
        hasher.update(&self.server.to_le_bytes());
        hasher.update(&[self.kind as u8]);
        hasher.update(&self.view.to_le_bytes());
        hasher.update(&place);
        hasher.finalize().as_bytes().first_chunk().copied().unwrap_or_default()
    }

    /// The cursor that goes on with the item at `index`, appended to `out`.
    pub fn append_cursor(&self, seal: &Seal, index: usize, out: &mut Vec<u8>) {
        let place = (index as u32).to_le_bytes();
        let mut bytes = [0; PLACE + CODE];
        bytes[..PLACE].copy_from_slice(&place);
        bytes[PLACE..].copy_from_slice(&self.code(seal, place));
        let mut text = [0; CHARS];
        let written = BASE64_URL_SAFE_NO_PAD.encode_slice(bytes, &mut text).unwrap_or(0);
        out.extend_from_slice(&text[..written]);
    }

    /// Where a cursor of this list goes on; `None` for any other.
    pub fn read_cursor(&self, seal: &Seal, text: &[u8]) -> Option<usize> {
        let mut bytes = [0; PLACE + CODE];
        if text.len() != CHARS || BASE64_URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) != Ok(PLACE + CODE) {
            return None;
        }
        let (place, code) = bytes.split_first_chunk::<PLACE>()?;
        // Nothing is won by guessing it, so it need not be compared in constant time.
        (code == self.code(seal, *place)).then_some(u32::from_le_bytes(*place) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_understood_by_its_list_and_by_no_other() {
        let (seal, other_seal) = (Seal::random().unwrap(), Seal::random().unwrap());
        let list = |catalog, server, kind, view| List { catalog, server, kind, view };
        let (one, two) = ([1; 32], [2; 32]);
        let ours = list(&one, 1, Kind::Tool, 1);
        for index in [0, 1, 1_000, u32::MAX as usize] {
            let mut text = Vec::new();
            ours.append_cursor(&seal, index, &mut text);
            assert_eq!(text.len(), CHARS);
            assert_eq!(ours.read_cursor(&seal, &text), Some(index));
            assert_eq!(ours.read_cursor(&other_seal, &text), None);
            let others = [
                list(&two, 1, Kind::Tool, 1),
                list(&one, 2, Kind::Tool, 1),
                list(&one, 1, Kind::Prompt, 1),
                list(&one, 1, Kind::Tool, 2),
            ];
            assert!(others.iter().all(|other| other.read_cursor(&seal, &text).is_none()));
            for at in 0..text.len() {
                let mut changed = text.clone();
                changed[at] = if changed[at] == b'A' { b'Q' } else { b'A' };
                assert_eq!(ours.read_cursor(&seal, &changed), None, "changed at {at}");
            }
            assert_eq!(ours.read_cursor(&seal, &text[1..]), None);
            assert_eq!(ours.read_cursor(&seal, b""), None);
        }
    }
}
