//! Proofs: that a record is in the log, and that a later log begins with an earlier one. Whoever checks one needs no log.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::disk::Disk;
use crate::error::{Damage, LogError};
use crate::hash::{self, Hash};
use crate::key::PublicKey;
use crate::note::{Checkpoint, NoteError};
use crate::reader::{Name, find};
use crate::segment::damaged;
use crate::tile::{self, Tile, WIDTH};
use crate::verify;

/// A hash of a path is one sibling on the way from a leaf to the root: a tree that a u64 counts has no longer one.
const PATH_MAX: usize = 128;

/// One record, and everything that is needed to know that it is in the log: what `strait audit prove` prints.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// The record, byte for byte.
    pub record: String,
    pub index: u64,
    /// Hashes from the leaf to the root, in base64.
    pub path: Vec<String>,
    pub checkpoint: String,
    pub key: String,
}

/// That one checkpoint's log begins with another's.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Consistency {
    pub from: String,
    pub to: String,
    pub path: Vec<String>,
    pub key: String,
}

/// Why a proof proves nothing.
#[derive(Debug, PartialEq, Eq)]
pub enum ProofError {
    Form(String),
    /// It carries another key than the one that was asked for.
    Key {
        expected: String,
        found: String,
    },
    Note(NoteError),
    /// The checkpoint covers fewer records.
    NotCovered {
        index: u64,
        size: u64,
    },
    /// The path does not lead to the root that is signed.
    Root,
}

impl std::fmt::Display for ProofError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ProofError::Form(what) => write!(f, "it is no proof: {what}"),
            ProofError::Key { expected, found } => {
                write!(f, "it is signed by `{}`: expected `{expected}`", found.escape_debug())
            }
            ProofError::Note(error) => write!(f, "its checkpoint: {error}"),
            ProofError::NotCovered { index, size } => {
                write!(f, "its checkpoint covers {size} records, and this is record {index}")
            }
            ProofError::Root => f.write_str("its path does not lead to the root that is signed: this record, at this index, is not in that log"),
        }
    }
}

/// What a proof was found to say.
#[derive(Clone, Debug)]
pub struct Proven {
    pub checkpoint: Checkpoint,
    pub key: PublicKey,
}

impl Proof {
    /// Proves that a record is in the log, by its newest checkpoint.
    pub fn make(dir: &Path, name: Name) -> Result<Proof, LogError> {
        let key = verify::public_key(dir, None)?;
        let found = find(dir, name)?;
        let (checkpoint, note) = verify::newest(dir, &key)?;
        if found.index >= checkpoint.size {
            let (index, size) = (found.index, checkpoint.size);
            return Err(LogError::Refused(format!(
                "record {index} is not signed yet: the newest checkpoint covers {size} records; the next will cover it"
            )));
        }
        let tiles = Tiles::open(dir, checkpoint.size);
        let path = tiles.inclusion(found.index)?;
        let record = String::from_utf8(found.bytes);
        let record = record.map_err(|_| LogError::Refused(format!("record {} is no text", found.index)))?;
        let proof =
            Proof { record, index: found.index, path: encoded(&path), checkpoint: note, key: key.line() };
        // What does not hold is not given away as a proof.
        proof.check(None).map_err(|error| {
            let what = format!("record {} and the tiles do not lead to the root that is signed ({error}): `strait audit verify` tells which is wrong", found.index);
            LogError::Refused(what)
        })?;
        Ok(proof)
    }

    pub fn parse(text: &str) -> Result<Proof, ProofError> {
        serde_json::from_str(text).map_err(|error| ProofError::Form(error.to_string()))
    }

    /// Whether it holds, for the key that is trusted; without one, for the key that it carries itself.
    pub fn check(&self, key: Option<&PublicKey>) -> Result<Proven, ProofError> {
        let key = carried(&self.key, key)?;
        let checkpoint = Checkpoint::open(&self.checkpoint, &key).map_err(ProofError::Note)?;
        let size = checkpoint.size;
        if self.index >= size {
            return Err(ProofError::NotCovered { index: self.index, size });
        }
        let path = decoded(&self.path)?;
        if !is_included(&path, size, checkpoint.root, self.index, hash::leaf(self.record.as_bytes())) {
            return Err(ProofError::Root);
        }
        Ok(Proven { checkpoint, key })
    }
}

impl Consistency {
    /// Proves from the tiles of a log that one of two checkpoints of it continues the other.
    pub fn make(dir: &Path, from: &str, to: &str) -> Result<Consistency, LogError> {
        let key = verify::public_key(dir, None)?;
        let open = |note: &str, which: &str| {
            let refused =
                |error| LogError::Refused(format!("the {which} checkpoint is none of this log: {error}"));
            Checkpoint::open(note, &key).map_err(refused)
        };
        let (before, after) = (open(from, "first")?, open(to, "second")?);
        let (newest, _) = verify::newest(dir, &key)?;
        if before.size > after.size || after.size > newest.size {
            return Err(LogError::Refused(format!(
                "the checkpoints cover {} and {} records, and the log has signed {}: expected them in this order",
                before.size, after.size, newest.size
            )));
        }
        let tiles = Tiles::open(dir, newest.size);
        let path = tiles.consistency(before.size, after.size)?;
        let proof =
            Consistency { from: from.to_owned(), to: to.to_owned(), path: encoded(&path), key: key.line() };
        proof.check(None).map_err(|error| {
            LogError::Refused(format!("the second log does not begin with the first: {error}"))
        })?;
        Ok(proof)
    }

    pub fn check(&self, key: Option<&PublicKey>) -> Result<(Checkpoint, Checkpoint), ProofError> {
        let key = carried(&self.key, key)?;
        let open = |note| Checkpoint::open(note, &key).map_err(ProofError::Note);
        let (from, to) = (open(&self.from)?, open(&self.to)?);
        let path = decoded(&self.path)?;
        if !is_consistent(&path, from.size, from.root, to.size, to.root) {
            return Err(ProofError::Root);
        }
        Ok((from, to))
    }
}

fn carried(line: &str, expected: Option<&PublicKey>) -> Result<PublicKey, ProofError> {
    let key = PublicKey::parse(line).ok_or_else(|| ProofError::Form("`key` is no key".to_owned()))?;
    match expected.filter(|expected| **expected != key) {
        None => Ok(key),
        Some(expected) => Err(ProofError::Key { expected: expected.line(), found: line.to_owned() }),
    }
}

fn encoded(path: &[Hash]) -> Vec<String> {
    path.iter().map(|hash| STANDARD.encode(hash)).collect()
}

fn decoded(path: &[String]) -> Result<Vec<Hash>, ProofError> {
    if path.len() > PATH_MAX {
        return Err(ProofError::Form(format!("its path has {} hashes", path.len())));
    }
    let hash = |text: &String| STANDARD.decode(text).ok()?.try_into().ok();
    let hashes: Option<Vec<Hash>> = path.iter().map(hash).collect();
    hashes.ok_or_else(|| ProofError::Form("its path consists of hashes of 32 bytes, in base64".to_owned()))
}

/// RFC 9162, 2.1.3.2.
pub fn is_included(path: &[Hash], size: u64, root: Hash, index: u64, leaf: Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut place, mut last, mut hash) = (index, size - 1, leaf);
    for sibling in path {
        if last == 0 {
            return false;
        }
        if place % 2 == 1 || place == last {
            hash = hash::node(sibling, &hash);
            while place.is_multiple_of(2) && place > 0 {
                place /= 2;
                last /= 2;
            }
        } else {
            hash = hash::node(&hash, sibling);
        }
        place /= 2;
        last /= 2;
    }
    last == 0 && hash == root
}

/// RFC 9162, 2.1.4.2.
pub fn is_consistent(path: &[Hash], before: u64, old: Hash, after: u64, new: Hash) -> bool {
    if before == after {
        return path.is_empty() && old == new;
    }
    if before == 0 || before > after {
        return before == 0 && path.is_empty() && old == hash::EMPTY;
    }
    // The old tree is a whole subtree of the new one: its root is not said again.
    let (first, rest) = match path.split_first() {
        _ if before.is_power_of_two() => (old, path),
        Some((first, rest)) => (*first, rest),
        None => return false,
    };
    let (mut place, mut last) = (before - 1, after - 1);
    while place % 2 == 1 {
        place /= 2;
        last /= 2;
    }
    let (mut was, mut is) = (first, first);
    for hash in rest {
        if last == 0 {
            return false;
        }
        if place % 2 == 1 || place == last {
            was = hash::node(hash, &was);
            is = hash::node(hash, &is);
            while place.is_multiple_of(2) && place > 0 {
                place /= 2;
                last /= 2;
            }
        } else {
            is = hash::node(&is, hash);
        }
        place /= 2;
        last /= 2;
    }
    last == 0 && was == old && is == new
}

/// The hashes of a signed tree, from its tiles, each read once.
pub struct Tiles {
    disk: Disk,
    size: u64,
    read: RefCell<BTreeMap<(u8, u64), Vec<Hash>>>,
}

impl Tiles {
    pub fn open(dir: &Path, size: u64) -> Tiles {
        Tiles { disk: Disk::new(dir), size, read: RefCell::default() }
    }

    /// How many tiles were read.
    pub fn count(&self) -> usize {
        self.read.borrow().len()
    }

    /// From a leaf to the root: the other half at every fork.
    pub fn inclusion(&self, index: u64) -> Result<Vec<Hash>, LogError> {
        let (mut path, mut low, mut high) = (Vec::new(), 0, self.size);
        while high - low > 1 {
            let middle = low + split(high - low);
            if index < middle {
                path.push(self.range(middle, high)?);
                high = middle;
            } else {
                path.push(self.range(low, middle)?);
                low = middle;
            }
        }
        path.reverse();
        Ok(path)
    }

    /// RFC 6962, 2.1.2.
    pub fn consistency(&self, before: u64, after: u64) -> Result<Vec<Hash>, LogError> {
        let (mut path, mut low, mut high, mut is_old) = (Vec::new(), 0, after, true);
        if before == 0 || before == after {
            return Ok(path);
        }
        while high != before {
            let middle = low + split(high - low);
            if before <= middle {
                path.push(self.range(middle, high)?);
                high = middle;
            } else {
                path.push(self.range(low, middle)?);
                (low, is_old) = (middle, false);
            }
        }
        if !is_old {
            path.push(self.range(low, high)?);
        }
        path.reverse();
        Ok(path)
    }

    /// The hash of a part of the tree.
    fn range(&self, low: u64, high: u64) -> Result<Hash, LogError> {
        let leaves = high - low;
        if leaves.is_power_of_two() && low.is_multiple_of(leaves) {
            return self.subtree(leaves.ilog2(), low / leaves);
        }
        let middle = low + split(leaves);
        Ok(hash::node(&self.range(low, middle)?, &self.range(middle, high)?))
    }

    /// The hash of the `index`th whole subtree with 2^height leaves.
    fn subtree(&self, height: u32, index: u64) -> Result<Hash, LogError> {
        let level = (height / 8) as u8;
        let hashes = 1_u64 << (height % 8);
        let first = index * hashes;
        let tile = self.tile(level, first / WIDTH)?;
        let begin = (first % WIDTH) as usize;
        let part = tile.get(begin..begin + hashes as usize);
        part.map(hash::subtree).ok_or_else(|| {
            let what = format!("expected {} hashes, found {}", begin + hashes as usize, tile.len());
            damaged(self.disk.path(), Damage::of(Tile::full(level, first / WIDTH).path(), what))
        })
    }

    fn tile(&self, level: u8, index: u64) -> Result<Vec<Hash>, LogError> {
        if let Some(tile) = self.read.borrow().get(&(level, index)) {
            return Ok(tile.clone());
        }
        // While a gateway writes, a partial tile may be gone and the full one there.
        let partial = Tile::partial(level, self.size).filter(|tile| tile.index == index);
        let candidates = partial.into_iter().chain([Tile::full(level, index)]);
        for tile in candidates {
            let path = tile.path();
            let bytes = self
                .disk
                .read(&path, tile.bytes())
                .map_err(|error| LogError::io("read", &self.disk.join(&path), error))?;
            if let Some(hashes) = bytes.as_deref().and_then(tile::hashes) {
                self.read.borrow_mut().insert((level, index), hashes.clone());
                return Ok(hashes);
            }
        }
        let path = partial.unwrap_or(Tile::full(level, index)).path();
        Err(damaged(self.disk.path(), Damage::of(path, "it is missing, or does not consist of whole hashes")))
    }
}

/// Leaves on the left side of the root: the largest power of two below their count.
fn split(leaves: u64) -> u64 {
    1 << (leaves - 1).ilog2()
}

#[cfg(test)]
mod tests;
