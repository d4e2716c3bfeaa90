//! Checkpoints, keys, tiles' names and proofs: no panic; what is taken is written as the same text; a checkpoint that we signed is read
//! back whatever its origin, size and root; and nothing is proven that nobody signed.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use strait_audit::key::Signer;
use strait_audit::note::{Checkpoint, notes};
use strait_audit::proof::{Consistency, Proof, is_consistent, is_included};
use strait_audit::tile::{self, Tile};
use strait_audit::{PublicKey, SigningKey, moment, reader};

fuzz_target!(|data: &[u8]| {
    signed(data);
    for hash in tile::hashes(data).unwrap_or_default() {
        let size = u64::from(hash[0]);
        assert!(!is_included(&[hash], size, hash, u64::from(hash[1]), hash) || size < 3);
        let _ = is_consistent(&[hash], u64::from(hash[1]), hash, size, hash);
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    let key = signer().public();
    // Nobody else has the key.
    assert!(Checkpoint::open(text, key).is_err() && Checkpoint::open_own(text, key).is_err());
    let (mut at, mut whole) = (0, String::new());
    for (offset, note) in notes(text) {
        assert_eq!(offset, at);
        at += note.len();
        whole.push_str(note);
    }
    assert_eq!(whole, text);
    if let Some(tile) = Tile::parse(text) {
        assert_eq!(tile.path(), text);
        assert!(tile.bytes() <= 256 * 32 && tile.bytes() > 0);
    }
    if let Some(key) = PublicKey::parse(text) {
        assert_eq!(key.line(), text);
        let _ = Checkpoint::open(text, &key);
    }
    if let Ok(proof) = Proof::parse(text) {
        assert!(proof.check(Some(key)).is_err());
        let _ = proof.check(None);
    }
    if let Ok(proof) = serde_json::from_str::<Consistency>(text) {
        assert!(proof.check(Some(key)).is_err());
        let _ = proof.check(None);
    }
    let _ = (reader::Name::parse(text), moment::parse(text));
});

/// A size and a root of the input, signed by us; and not with one byte changed.
fn signed(data: &[u8]) {
    let Some((head, rest)) = data.split_first_chunk::<40>() else { return };
    let (size, root) = head.split_at(8);
    let checkpoint = Checkpoint {
        origin: ORIGIN.to_owned(),
        size: u64::from_le_bytes(size.try_into().unwrap()),
        root: root.try_into().unwrap(),
    };
    let (key, note) = (signer().public(), checkpoint.sign(signer()));
    assert_eq!(Checkpoint::open_own(&note, key), Ok(checkpoint.clone()));
    let [at, bit, ..] = rest else { return };
    let mut changed = note.clone().into_bytes();
    let at = usize::from(*at) % changed.len();
    changed[at] ^= 1 << (bit % 8);
    let Ok(changed) = String::from_utf8(changed) else { return };
    // The last bits of a base64 text may say nothing; then it says the same.
    assert!(Checkpoint::open(&changed, key).map_or(true, |found| found == checkpoint), "{changed}");
}

const ORIGIN: &str = "gateway.example/audit";

fn signer() -> &'static Signer {
    static SIGNER: OnceLock<Signer> = OnceLock::new();
    SIGNER.get_or_init(|| SigningKey::generate().unwrap().signer(ORIGIN).unwrap())
}
