//! The tree of the records, and what it must agree with: tiles, and every checkpoint at its size.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::Against;
use super::chain::{At, Fault};
use super::history::{History, Signed};
use crate::disk::Disk;
use crate::error::{Damage, LogError};
use crate::hash::Hash;
use crate::key::PublicKey;
use crate::log::CHECKPOINT;
use crate::note::Checkpoint;
use crate::segment::{self, CHECKPOINTS, ENTRIES, checkpoints_path, damaged, entries_path};
use crate::tile::{self, HASH_BYTES, Tile, WIDTH};
use crate::tree::{Edge, FullTile};

/// How often the newest checkpoint and its tiles are read anew, while a gateway goes on.
const TRIES: usize = 100;

pub struct Tree<'k> {
    disk: Disk,
    segments: Vec<u64>,
    edge: Edge,
    full: Vec<FullTile>,
    /// What the folder's newest checkpoint signs.
    newest: Checkpoint,
    note: String,
    /// The tiles at its right edge.
    partials: BTreeMap<Tile, Vec<u8>>,
    history: History<'k>,
    next: Option<Signed>,
    is_newest_met: bool,
    /// Kept elsewhere, by size.
    outside: Vec<(String, Checkpoint)>,
    /// Of the records in the tile that is being filled; nothing of those that were removed.
    places: Vec<Option<At>>,
    suspect: Option<Suspect>,
    /// The last size at which all was well.
    good: u64,
}

/// A tile does not say what the records below it come to. If the next checkpoint does, the tile was changed; else what it speaks of.
struct Suspect {
    tile: Damage,
    below: Damage,
}

impl<'k> Tree<'k> {
    pub fn open(dir: &Path, key: &'k PublicKey, against: &Against) -> Result<Tree<'k>, LogError> {
        let disk = Disk::new(dir);
        // What is listed after it has all that it covers.
        let (newest, note, partials) = newest(&disk, key)?;
        let firsts = segment::firsts(dir, ENTRIES).map_err(|error| super::missing(dir, ENTRIES, error))?;
        // Whose records are missing is told where they are looked for.
        let oldest = firsts.first().copied().unwrap_or(0);
        let signed =
            segment::firsts(dir, CHECKPOINTS).map_err(|error| super::missing(dir, CHECKPOINTS, error))?;
        let all: BTreeSet<u64> =
            signed.into_iter().filter(|first| *first >= oldest).chain(firsts.clone()).collect();
        let mut history = History::new(dir, key, all.into_iter().collect());
        let mut outside = Vec::new();
        for (name, note) in &against.checkpoints {
            let checkpoint = Checkpoint::open(note, key).map_err(|error| {
                LogError::Refused(format!("`{name}` says nothing about this log: {error}"))
            })?;
            outside.push((name.clone(), checkpoint));
        }
        outside.sort_by_key(|(_, checkpoint)| std::cmp::Reverse(checkpoint.size));
        let next = history.read()?;
        let mut tree = Tree {
            disk,
            segments: firsts,
            edge: Edge::default(),
            full: Vec::new(),
            newest,
            note,
            partials,
            history,
            next,
            is_newest_met: false,
            outside,
            places: Vec::new(),
            suspect: None,
            good: 0,
        };
        tree.meet()?;
        Ok(tree)
    }

    pub fn signed(&self) -> u64 {
        self.newest.size
    }

    /// Those that there are, by their first records.
    pub fn segments(&self) -> &[u64] {
        &self.segments
    }

    /// Takes the hashes of records that are not there any more from their tiles.
    pub fn retired(&mut self, first: u64) -> Result<(), LogError> {
        while self.edge.size() < first {
            let index = self.edge.size() / WIDTH;
            let hashes = self.hashes(0, index)?;
            let wanted = (first - index * WIDTH).min(WIDTH);
            let Some(hashes) = hashes.get(..wanted as usize) else {
                let what = format!("the hash of record {} is missing", index * WIDTH + hashes.len() as u64);
                return Err(self.damaged(Damage::of(Tile::full(0, index).path(), what)));
            };
            for hash in hashes {
                self.add(*hash, None)?;
            }
        }
        Ok(())
    }

    pub fn push(&mut self, leaf: Hash, at: At) -> Result<(), LogError> {
        self.add(leaf, Some(at))
    }

    fn add(&mut self, leaf: Hash, at: Option<At>) -> Result<(), LogError> {
        self.places.push(at);
        self.edge.push(leaf, &mut self.full);
        for full in std::mem::take(&mut self.full) {
            self.compare(full.tile, &full.bytes)?;
            if full.tile.level == 0 {
                self.places.clear();
            }
        }
        self.meet()
    }

    /// Holds the tree against every checkpoint of the size that it has now.
    fn meet(&mut self) -> Result<(), LogError> {
        let size = self.edge.size();
        let is_newest = size == self.newest.size && !self.is_newest_met;
        let is_wanted = |signed: &Signed| signed.checkpoint.size == size;
        if !is_newest
            && !self.next.as_ref().is_some_and(is_wanted)
            && self.outside.last().is_none_or(|(_, o)| o.size != size)
        {
            return Ok(());
        }
        if is_newest {
            let partials: Vec<_> =
                self.edge.partials().map(|(tile, hashes)| (tile, hashes.as_flattened().to_vec())).collect();
            partials.iter().try_for_each(|(tile, bytes)| self.compare(*tile, bytes))?;
        }
        let root = self.edge.root();
        while let Some(signed) = self.next.take_if(|signed| signed.checkpoint.size == size) {
            self.agree(root, signed.checkpoint.root, &checkpoints_path(signed.file), Some(signed.offset))?;
            // What follows may be half written; the newest is known from its own file.
            let is_last = signed.note == self.note;
            self.is_newest_met |= is_last;
            self.next = if is_last { None } else { self.history.read()? };
        }
        if is_newest {
            self.agree(root, self.newest.root, CHECKPOINT, None)?;
            if !self.is_newest_met {
                let file = checkpoints_path(self.history.file_of(size));
                return Err(self.damaged(Damage::of(file, "what `checkpoint` says is not among them")));
            }
        }
        while let Some((name, checkpoint)) = self.outside.pop_if(|(_, checkpoint)| checkpoint.size == size) {
            self.agree(root, checkpoint.root, &name, None)?;
        }
        self.good = size;
        Ok(())
    }

    /// What a checkpoint signs must be what the records come to.
    fn agree(&mut self, root: Hash, signed: Hash, file: &str, offset: Option<u64>) -> Result<(), LogError> {
        if root != signed && self.suspect.is_none() {
            self.suspect = self.changed();
        }
        let damage = match (self.suspect.take(), root == signed) {
            (None, true) => return Ok(()),
            (Some(suspect), true) => suspect.tile,
            (Some(suspect), false) => suspect.below,
            (None, false) => {
                let what = format!(
                    "it signs other records than these: one from {} to {} was changed, and the tiles with it",
                    self.good,
                    self.edge.size().saturating_sub(1)
                );
                Damage { offset, ..Damage::of(file, what).record(self.good) }
            }
        };
        Err(self.damaged(damage))
    }

    /// What was changed, when the records do not come to what is signed: by the tiles, which still know it.
    fn changed(&self) -> Option<Suspect> {
        let size = self.edge.size();
        let mut removed = None;
        for level in tile::levels(size) {
            let index = tile::hashes_at(level, size) / WIDTH;
            let Ok(stored) = self.hashes(level, index) else { continue };
            let hashes = self.edge.level(level);
            let place = hashes.iter().zip(&stored).take_while(|(is, stored)| is == stored).count();
            let tile =
                Damage::of(self.present(level, index).path(), "its hashes are not those that were signed");
            if place < hashes.len().min(stored.len()) {
                return Some(Suspect { tile, below: self.below(level, index * WIDTH + place as u64, place) });
            }
            // Of records that were removed only their hashes are there, and nothing to hold those against.
            if level == 0 && self.places.contains(&None) {
                removed = Some(Suspect { below: tile.clone(), tile });
            }
        }
        removed
    }

    /// Holds a tile's file against what it must be.
    fn compare(&mut self, tile: Tile, expected: &[u8]) -> Result<(), LogError> {
        // Written with the checkpoint that covers it.
        let is_covered =
            (tile.index * WIDTH + u64::from(tile.width)) <= tile::hashes_at(tile.level, self.newest.size);
        let Some(found) = self.read(tile)? else {
            if is_covered {
                return Err(self.damaged(Damage::of(tile.path(), "it is missing")));
            }
            return Ok(());
        };
        if found == expected {
            return Ok(());
        }
        if found.len() != expected.len() {
            let what = format!("expected {} bytes, found {}", expected.len(), found.len());
            return Err(self.damaged(Damage::of(tile.path(), what)));
        }
        let pairs = found.chunks(HASH_BYTES).zip(expected.chunks(HASH_BYTES));
        let place = pairs.take_while(|(found, expected)| found == expected).count();
        let below = tile.index * WIDTH + place as u64;
        let offset = (place * HASH_BYTES) as u64;
        let damage = Damage::of(
            tile.path(),
            format!("hash {place} is not that of {}", below_words(tile.level, below)),
        );
        let suspect = Suspect { tile: damage.at(offset), below: self.below(tile.level, below, place) };
        if is_covered {
            self.suspect.get_or_insert(suspect);
            return Ok(());
        }
        Err(self.damaged(suspect.tile))
    }

    /// What a hash of a tile speaks of.
    fn below(&self, level: u8, index: u64, place: usize) -> Damage {
        match self.places.get(place).copied().flatten().filter(|_| level == 0) {
            Some(at) => {
                let what = "the record is not the one that was signed";
                Damage::of(entries_path(at.first), what).at(at.offset).record(index)
            }
            None => {
                let tile = Tile::full(level.saturating_sub(1), index);
                Damage::of(tile.path(), "its hashes are not those that were signed")
            }
        }
    }

    /// A record that does not follow the one before it: which of the two was changed, by what the tiles have of them.
    pub fn blame(&self, fault: Fault, at: At, leaf: &Hash) -> Damage {
        let here = Damage::of(entries_path(at.first), fault.what.clone()).at(at.offset).record(at.index);
        let is_as_stored = self.stored(at.index).is_none_or(|stored| stored == *leaf);
        let Some((before, by)) = fault.before.filter(|_| is_as_stored) else {
            return here;
        };
        let what = format!("the record is not the one that record {by} follows");
        Damage::of(entries_path(before.first), what).at(before.offset).record(before.index)
    }

    /// What the tiles have of a record.
    fn stored(&self, index: u64) -> Option<Hash> {
        let hashes = self.hashes(0, index / WIDTH).ok()?;
        hashes.get((index % WIDTH) as usize).copied()
    }

    /// The tile that is there for a place in the tree: the partial one of the newest checkpoint, or the full one.
    fn present(&self, level: u8, index: u64) -> Tile {
        let partial = Tile::partial(level, self.newest.size).filter(|tile| tile.index == index);
        partial.unwrap_or(Tile::full(level, index))
    }

    fn hashes(&self, level: u8, index: u64) -> Result<Vec<Hash>, LogError> {
        let tile = self.present(level, index);
        let bytes = self.read(tile)?.ok_or_else(|| self.damaged(Damage::of(tile.path(), "it is missing")))?;
        tile::hashes(&bytes)
            .ok_or_else(|| self.damaged(Damage::of(tile.path(), "it does not consist of whole hashes")))
    }

    fn read(&self, tile: Tile) -> Result<Option<Vec<u8>>, LogError> {
        if let Some(bytes) = self.partials.get(&tile) {
            return Ok(Some(bytes.clone()));
        }
        read(&self.disk, tile)
    }

    /// The end of the log. Gives how many checkpoints there are.
    pub fn finish(&mut self, unfinished: &mut Vec<String>, live: bool) -> Result<u64, LogError> {
        if let Some(suspect) = self.suspect.take() {
            return Err(self.damaged(suspect.tile));
        }
        if let Some((name, checkpoint)) = self.outside.last() {
            let (signed, size) = (checkpoint.size, self.edge.size());
            let what = format!("`{name}` signs {signed} records, and the log has {size}: its end is missing");
            return Err(self.damaged(Damage::of("entries", what).record(size)));
        }
        if let Some(signed) = &self.next {
            let what =
                format!("it signs {} records, and the log has {}", signed.checkpoint.size, self.edge.size());
            return Err(self.damaged(Damage::of(checkpoints_path(signed.file), what).at(signed.offset)));
        }
        let count = self.history.count;
        match self.history.read() {
            _ if live => {}
            Ok(None) => {}
            // Signed, and the process ended before it was put into `checkpoint`; or not all of it was written.
            Ok(Some(signed))
                if signed.checkpoint.size > self.newest.size
                    && signed.checkpoint.size <= self.edge.size() =>
            {
                unfinished.push("the history has one more than `checkpoint` (a crash leaves that; the next start mends it)".to_owned());
            }
            Ok(Some(signed)) => {
                let what = format!("behind the newest there is one of {} records", signed.checkpoint.size);
                return Err(self.damaged(Damage::of(checkpoints_path(signed.file), what).at(signed.offset)));
            }
            Err(error) => unfinished.push(format!("{error} (a crash leaves that; the next start mends it)")),
        }
        Ok(count)
    }

    fn damaged(&self, damage: Damage) -> LogError {
        damaged(self.disk.path(), damage)
    }
}

fn below_words(level: u8, index: u64) -> String {
    match level {
        0 => format!("record {index}"),
        level => format!("`{}`", Tile::full(level - 1, index).path()),
    }
}

fn read(disk: &Disk, tile: Tile) -> Result<Option<Vec<u8>>, LogError> {
    let path = tile.path();
    disk.read(&path, tile.bytes()).map_err(|error| LogError::io("read", &disk.join(&path), error))
}

type Newest = (Checkpoint, String, BTreeMap<Tile, Vec<u8>>);

/// The newest checkpoint with its partial tiles, which are gone when the next is there.
fn newest(disk: &Disk, key: &PublicKey) -> Result<Newest, LogError> {
    let mut tries = 0;
    loop {
        let (checkpoint, note) = super::newest(disk.path(), key)?;
        let mut partials = BTreeMap::new();
        for tile in tile::levels(checkpoint.size).filter_map(|level| Tile::partial(level, checkpoint.size)) {
            partials.extend(read(disk, tile)?.map(|bytes| (tile, bytes)));
        }
        let (_, now) = super::newest(disk.path(), key)?;
        tries += 1;
        if now == note || tries == TRIES {
            return Ok((checkpoint, note, partials));
        }
    }
}
