//! Others' verifiers over what we write: `tlog_tiles` and `signed_note` read our tiles and checkpoints by C2SP's specifications,
//! `ct-merkle` checks our proofs by RFC 6962. What was tampered with they refuse.

use std::path::{Path, PathBuf};

use ct_merkle::{ConsistencyProof, InclusionProof, RootHash};
use sha2_011::Sha256;
use signed_note::{Note, StandardVerifier, VerifierList};
use strait_audit::proof::{Consistency, Proof};
use strait_audit::reader::Name;
use strait_audit::{Log, Options, SigningKey};
use tlog_tiles::{Hash, Tile, TileHashReader, TileReader};

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A log of so many records, and the checkpoint that it had when it had a third of them.
fn log(name: &str, records: u64) -> (Folder, String) {
    let folder =
        Folder(std::env::temp_dir().join(format!("strait-independent-{name}-{}", std::process::id())));
    std::fs::create_dir_all(&folder.0).unwrap();
    let options = Options {
        origin: "gateway.example/audit".to_owned(),
        cores: 1,
        rotate_bytes: 1 << 20,
        start: "{}".to_owned(),
        recipients: Vec::new(),
        now_ms: 0,
    };
    let mut opened = Log::open(&folder.0, &SigningKey::generate().unwrap(), &options).unwrap();
    let mut early = String::new();
    for n in 0..records - 1 {
        opened.folder.add(0, n, br#"{"kind":"exchange"}"#, &[]).unwrap();
        if n == records / 3 || n == records - 2 {
            let batch = opened.folder.batch().unwrap();
            opened.disk.write(&batch).unwrap();
            opened.folder.committed(batch);
            opened.folder.checkpoint().unwrap().iter().for_each(|step| opened.disk.apply(step).unwrap());
        }
        if n == records / 3 {
            early = std::fs::read_to_string(folder.0.join("checkpoint")).unwrap();
        }
    }
    (folder, early)
}

/// Signature and text by `signed_note`, the checkpoint's three lines by `tlog_tiles`.
fn opened(note: &str, key: &str) -> Result<(u64, Hash), String> {
    let verifier = StandardVerifier::new(key.trim_end()).map_err(|error| error.to_string())?;
    let known = VerifierList::new(vec![Box::new(verifier)]);
    let note = Note::from_bytes(note.as_bytes()).map_err(|error| error.to_string())?;
    note.verify(&known).map_err(|error| error.to_string())?;
    let checkpoint = tlog_tiles::Checkpoint::from_bytes(note.text()).map_err(|error| error.to_string())?;
    assert_eq!(checkpoint.origin(), "gateway.example/audit");
    Ok((checkpoint.size(), *checkpoint.hash()))
}

struct Files<'d>(&'d Path);

impl TileReader for Files<'_> {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, tlog_tiles::Error> {
        // Theirs have the height in the path, as Go's checksum database has.
        let read = |tile: &Tile| std::fs::read(self.0.join(tile.path().replacen("tile/8/", "tile/", 1)));
        Ok(tiles
            .iter()
            .map(|tile| read(tile).unwrap_or_else(|error| panic!("{}: {error}", tile.path())))
            .collect())
    }

    fn save_tiles(&self, _: &[Tile], _: &[Vec<u8>]) {}
}

#[test]
fn tiles_and_checkpoints_are_those_of_the_specifications() {
    for size in [1, 3, 255, 256, 257, 600] {
        let (folder, _) = log(&format!("tiles-{size}"), size.max(2));
        let dir = &folder.0;
        let size = size.max(2);
        let key = std::fs::read_to_string(dir.join("key.pub")).unwrap();
        let note = std::fs::read_to_string(dir.join("checkpoint")).unwrap();
        let (signed, root) = opened(&note, &key).unwrap();
        assert_eq!(signed, size);
        assert!(opened(&note.replacen(&size.to_string(), "9", 1), &key).is_err());
        let files = Files(dir);
        let reader = TileHashReader::new(size, root, &files);
        for index in [0, size / 2, size - 1] {
            let proof = Proof::make(dir, Name::Index(index)).unwrap();
            // Their proof from our tiles, and ours, are the same.
            let theirs = tlog_tiles::prove_record(size, index, &reader).unwrap();
            let texts: Vec<String> = theirs.iter().map(ToString::to_string).collect();
            assert_eq!(texts, proof.path);
            let leaf = tlog_tiles::record_hash(proof.record.as_bytes());
            assert!(tlog_tiles::check_record(&theirs, size, root, index, leaf).is_ok());
            assert!(
                tlog_tiles::check_record(&theirs, size, root, index, tlog_tiles::record_hash(b"{}")).is_err()
            );
        }
        // Of a tile that was changed they get no proof that holds.
        let second = Proof::make(dir, Name::Index(1)).unwrap();
        let tile =
            dir.join(if size >= 256 { "tile/0/000".to_owned() } else { format!("tile/0/000.p/{size}") });
        let mut bytes = std::fs::read(&tile).unwrap();
        bytes[0] ^= 1;
        std::fs::write(&tile, bytes).unwrap();
        let theirs = tlog_tiles::prove_record(size, 1, &TileHashReader::new(size, root, &files));
        let leaf = tlog_tiles::record_hash(second.record.as_bytes());
        assert!(
            theirs.is_err() || tlog_tiles::check_record(&theirs.unwrap(), size, root, 1, leaf).is_err(),
            "{size}"
        );
    }
}

fn bytes(path: &[String]) -> Vec<u8> {
    path.iter().flat_map(|hash| Hash::parse_hash(hash).unwrap().0).collect()
}

fn root(hash: Hash, size: u64) -> RootHash<Sha256> {
    RootHash::new(hash.0.into(), size)
}

#[test]
fn proofs_are_those_of_rfc_6962() {
    let (folder, early) = log("proofs", 600);
    let dir = &folder.0;
    let key = std::fs::read_to_string(dir.join("key.pub")).unwrap();
    let late = std::fs::read_to_string(dir.join("checkpoint")).unwrap();
    let ((before, old), (after, new)) = (opened(&early, &key).unwrap(), opened(&late, &key).unwrap());
    for index in [0, 1, 255, 256, 400, 599] {
        let proof = Proof::make(dir, Name::Index(index)).unwrap();
        let path = InclusionProof::<Sha256>::try_from_bytes(bytes(&proof.path)).unwrap();
        let tree = root(new, after);
        assert!(tree.verify_inclusion(&proof.record, index, &path).is_ok(), "{index}");
        assert!(tree.verify_inclusion(&proof.record.replace('e', "E"), index, &path).is_err(), "{index}");
        assert!(tree.verify_inclusion(&proof.record, index ^ 1, &path).is_err(), "{index}");
    }
    let proof = Consistency::make(dir, &early, &late).unwrap();
    let path = |bytes| ConsistencyProof::<Sha256>::try_from_bytes(bytes).unwrap();
    let honest = path(bytes(&proof.path));
    assert!(root(new, after).verify_consistency(&root(old, before), &honest).is_ok());
    let mut forged = bytes(&proof.path);
    forged[0] ^= 1;
    assert!(root(new, after).verify_consistency(&root(old, before), &path(forged)).is_err());
    assert!(root(old, after).verify_consistency(&root(old, before), &honest).is_err());
    let theirs: Vec<Hash> = proof.path.iter().map(|hash| Hash::parse_hash(hash).unwrap()).collect();
    assert!(tlog_tiles::check_tree(&theirs, after, new, before, old).is_ok());
    assert!(tlog_tiles::check_tree(&theirs, after, new, before, new).is_err());
}
