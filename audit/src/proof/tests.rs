//! Proofs of every kind over trees of every small size, and how much is read for one.

use super::*;
use crate::testing::{Folder, Written};
use crate::tree::Edge;
use crate::tree::tests::{leaves, mth};

/// The tiles of a tree, on a disk.
fn tiles(dir: &Path, leaves: &[Hash]) -> Edge {
    let disk = Disk::new(dir);
    let (mut edge, mut full) = (Edge::default(), Vec::new());
    leaves.iter().for_each(|leaf| edge.push(*leaf, &mut full));
    full.iter().for_each(|full| disk.replace(&full.tile.path(), &full.bytes).unwrap());
    edge.partials().for_each(|(tile, hashes)| disk.replace(&tile.path(), hashes.as_flattened()).unwrap());
    edge
}

#[test]
fn every_record_of_small_trees_is_proven_and_no_other_is() {
    for size in [1, 2, 3, 4, 5, 7, 8, 9, 255, 256, 257, 300, 513] {
        let folder = Folder::new("inclusion");
        let leaves = leaves(size);
        let root = tiles(folder.path(), &leaves).root();
        let tiles = Tiles::open(folder.path(), size);
        for index in 0..size {
            let path = tiles.inclusion(index).unwrap();
            let leaf = leaves[index as usize];
            assert!(is_included(&path, size, root, index, leaf), "{index} of {size}");
            assert!(!is_included(&path, size, root, index ^ 1, leaf), "{index} of {size}");
            assert!(!is_included(&path, size, root, index, [9; 32]), "{index} of {size}");
            assert!(
                !is_included(&path[..path.len().saturating_sub(1)], size, root, index, leaf)
                    || path.is_empty()
            );
        }
    }
}

#[test]
fn every_earlier_tree_is_a_beginning_and_no_other_is() {
    let folder = Folder::new("consistency");
    let size = 300;
    let leaves = leaves(size);
    tiles(folder.path(), &leaves);
    let tiles = Tiles::open(folder.path(), size);
    for after in [1, 2, 5, 8, 255, 256, 257, 300] {
        let new = mth(&leaves[..after as usize]);
        for before in 0..=after {
            let old = mth(&leaves[..before as usize]);
            let path = tiles.consistency(before, after).unwrap();
            assert!(is_consistent(&path, before, old, after, new), "{before} {after}");
            assert!(!is_consistent(&path, before, [9; 32], after, new), "{before} {after}");
            assert!(before == 0 || !is_consistent(&path, before, old, after, [9; 32]), "{before} {after}");
        }
    }
}

#[test]
fn a_proof_reads_as_many_tiles_as_the_tree_has_levels_and_those_at_its_edge() {
    let folder = Folder::new("reads");
    // Two whole levels and a third.
    let size = 140_000;
    let leaves = leaves(size);
    let root = tiles(folder.path(), &leaves).root();
    for index in [0, 70_001, 139_999] {
        let tiles = Tiles::open(folder.path(), size);
        let path = tiles.inclusion(index).unwrap();
        assert!(is_included(&path, size, root, index, leaves[index as usize]));
        // One per level on the way, one per level at the right edge.
        assert!(tiles.count() <= 2 * tile::levels(size).count(), "{}", tiles.count());
    }
}

#[test]
fn a_proof_says_one_thing() {
    let folder = Folder::new("proof");
    let dir = folder.path().join("audit");
    Written::open(&dir).fill(300);
    let proof = Proof::make(&dir, Name::Index(150)).unwrap();
    let text = serde_json::to_string(&proof).unwrap();
    assert_eq!(Proof::parse(&text).unwrap().check(None).unwrap().checkpoint.size, 301);
    let changed = |change: &dyn Fn(&mut Proof)| {
        let mut proof = proof.clone();
        change(&mut proof);
        proof.check(None).err()
    };
    assert_eq!(
        changed(&|proof| proof.record = proof.record.replace("permit", "deny")),
        Some(ProofError::Root)
    );
    assert_eq!(changed(&|proof| proof.index = 151), Some(ProofError::Root));
    assert_eq!(changed(&|proof| proof.index = 301), Some(ProofError::NotCovered { index: 301, size: 301 }));
    assert_eq!(changed(&|proof| drop(proof.path.pop())), Some(ProofError::Root));
    assert!(matches!(changed(&|proof| proof.path.push("AA".to_owned())), Some(ProofError::Form(_))));
    assert!(matches!(
        changed(&|proof| proof.checkpoint = proof.checkpoint.replace("301", "302")),
        Some(ProofError::Note(_))
    ));
    let other = crate::SigningKey::generate().unwrap().signer("gateway.example/audit").unwrap();
    assert!(matches!(proof.check(Some(other.public())), Err(ProofError::Key { .. })));
    assert!(matches!(changed(&|proof| proof.key = other.public().line()), Some(ProofError::Note(_))));
    assert!(matches!(Proof::parse("{}"), Err(ProofError::Form(_))));
}

#[test]
fn a_checkpoint_continues_another() {
    let folder = Folder::new("continues");
    let dir = folder.path().join("audit");
    let mut log = Written::open(&dir);
    log.fill(90);
    let first = std::fs::read_to_string(dir.join("checkpoint")).unwrap();
    log.fill(300);
    let second = std::fs::read_to_string(dir.join("checkpoint")).unwrap();
    let proof = Consistency::make(&dir, &first, &second).unwrap();
    assert_eq!(proof.check(None).map(|(from, to)| (from.size, to.size)), Ok((91, 391)));
    assert!(Consistency::make(&dir, &second, &first).is_err());
    let mut turned = proof.clone();
    turned.path.swap(0, 1);
    assert_eq!(turned.check(None).err(), Some(ProofError::Root));
}
