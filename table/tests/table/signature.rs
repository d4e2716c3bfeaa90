//! The place of a signature: what it covers, and that it changes nothing else. Cryptography is not here: a "signature" is the
//! hash of what is signed.

use strait_table::Snapshot;
use strait_table::file::{HEADER_BYTES, Header, write};
use strait_table::signature::{DOMAIN, KeyId, SIGNED_BYTES, sign};

use crate::support::*;

const KEY: KeyId = KeyId(*b"the  key");

fn hashed(bytes: &[u8]) -> [u8; 64] {
    let mut out = [0; 64];
    out[..32].copy_from_slice(blake3::hash(bytes).as_bytes());
    out
}

fn signed(sequence: u64) -> Vec<u8> {
    let mut table = write(&rules(), None);
    sign(&mut table, KEY, sequence, hashed).unwrap();
    table
}

#[test]
fn a_signature_is_read_as_it_was_made_and_changes_no_name() {
    let plain = Snapshot::from_bytes(&write(&rules(), None)).unwrap();
    assert_eq!(plain.signature(), None);
    let table = signed(7);
    let snapshot = Snapshot::from_bytes(&table).unwrap();
    let signature = snapshot.signature().unwrap();
    assert_eq!((signature.key, signature.sequence), (KEY, 7));
    assert_eq!(signature.bytes, hashed(&snapshot.signed()));
    assert_eq!(snapshot.generation(), plain.generation());
    assert_eq!(snapshot.table()[HEADER_BYTES..], plain.table()[HEADER_BYTES..]);
    // Bound to what upstreams say it is the same table, with the same signature.
    let bound = strait_table::bind(snapshot.rules(), &catalog()).0;
    assert_eq!(snapshot.with_bound(&bound).unwrap().signature(), Some(signature));
    // Other rules are another table, which nobody signed.
    assert_eq!(
        snapshot.with_rules(|rules| rules.admin_bind = "127.0.0.1:1".into()).unwrap().signature(),
        None
    );
}

#[test]
fn signing_again_is_deterministic_and_takes_the_place_of_the_first() {
    let mut table = signed(7);
    assert_eq!(table, signed(7));
    assert_ne!(table, signed(8));
    sign(&mut table, KEY, 8, hashed).unwrap();
    assert_eq!(table, signed(8));
    assert!(sign(&mut table[..100], KEY, 8, hashed).is_err());
}

/// Of the 256 bytes all are in what is signed, but for the signature and the checksum.
#[test]
fn every_byte_of_the_header_is_signed() {
    let table = signed(7);
    let header = Header::parse(&table).unwrap();
    let message = header.signed();
    assert_eq!((&message[..DOMAIN.len()], message.len()), (&DOMAIN[..], SIGNED_BYTES));
    let covered = &message[DOMAIN.len()..];
    assert_eq!((&covered[..136], &covered[200..]), (&table[..136], &table[200..224]));
    assert!(covered[136..200].iter().all(|byte| *byte == 0));
}

#[test]
fn what_is_reserved_is_zero() {
    let mut table = signed(7);
    table[210] = 1;
    let checksum = blake3::hash(&table[..HEADER_BYTES - 32]);
    table[HEADER_BYTES - 32..HEADER_BYTES].copy_from_slice(checksum.as_bytes());
    let error = Snapshot::from_bytes(&table).unwrap_err().to_string();
    assert_eq!(error, "table damaged: what is reserved in its header is not zero");
}
