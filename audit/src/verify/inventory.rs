//! What lies in the folder, and must: every file is one of the log's, and nothing else is there.

use std::path::Path;

use crate::disk::{Disk, NEW};
use crate::erasures::ERASURES;
use crate::error::{Damage, LogError};
use crate::log::{CHECKPOINT, KEY, LOCK, lock_is_empty};
use crate::segment::{CHECKPOINTS, ENTRIES, PAYLOAD, damaged, first_of};
use crate::tile::{self, Tile, WIDTH};

/// Looks at every file. `firsts`: the segments; `signed`: the size of the newest checkpoint.
pub fn check(
    dir: &Path,
    firsts: &[u64],
    retired: u64,
    signed: u64,
    live: bool,
    unfinished: &mut Vec<String>,
) -> Result<(), LogError> {
    lock_is_empty(&Disk::new(dir))?;
    let log = Log { dir, firsts, retired, signed, live };
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        let path = dir.join(&folder);
        let entries = match std::fs::read_dir(&path) {
            // Of a partial tile that has become full in the meantime.
            Err(error) if live && error.kind() == std::io::ErrorKind::NotFound => continue,
            entries => entries.map_err(|error| LogError::io("list", &path, error))?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| LogError::io("list", &path, error))?;
            let kind = entry.file_type().map_err(|error| LogError::io("look at", &entry.path(), error))?;
            names.push((entry.file_name().to_string_lossy().into_owned(), kind));
        }
        names.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (name, kind) in names {
            let file = if folder.is_empty() { name } else { format!("{folder}/{name}") };
            match log.place(&file) {
                _ if kind.is_dir() && is_folder(&file) => folders.push(file),
                Place::Known if kind.is_file() => {}
                Place::Ahead if kind.is_file() && live => {}
                Place::Ahead if kind.is_file() => {
                    unfinished.push(format!(
                        "`{file}` is of no checkpoint (a crash leaves that; the next start removes it)"
                    ));
                }
                _ => return Err(damaged(dir, Damage::of(file, "it is no part of the log"))),
            }
        }
    }
    Ok(())
}

struct Log<'d> {
    dir: &'d Path,
    firsts: &'d [u64],
    retired: u64,
    signed: u64,
    live: bool,
}

enum Place {
    Known,
    /// A start or the next checkpoint will know what to do with it.
    Ahead,
    Unknown,
}

impl Log<'_> {
    fn place(&self, file: &str) -> Place {
        match file {
            KEY | LOCK | CHECKPOINT | ERASURES => return Place::Known,
            NEW => return Place::Ahead,
            _ => {}
        }
        match file.split_once('/') {
            Some((CHECKPOINTS, name)) => match first_of(name) {
                Some(first) if self.firsts.contains(&first) => Place::Known,
                // Before there is a record.
                Some(0) if self.firsts.is_empty() => Place::Known,
                Some(first) if first < self.retired => Place::Ahead,
                Some(first) if self.live && self.firsts.last().is_none_or(|last| first > *last) => {
                    Place::Ahead
                }
                _ => Place::Unknown,
            },
            Some((ENTRIES | PAYLOAD, name)) => match first_of(name) {
                Some(first) if self.firsts.contains(&first) => Place::Known,
                // Its segment is gone already, or comes next.
                Some(first) if first < self.retired => Place::Ahead,
                Some(first) if self.firsts.last().is_none_or(|last| first > *last) => Place::Ahead,
                _ => Place::Unknown,
            },
            Some(("tile", _)) => Tile::parse(file).map_or(Place::Unknown, |tile| self.tile(tile)),
            _ => Place::Unknown,
        }
    }

    fn tile(&self, tile: Tile) -> Place {
        let hashes = tile::hashes_at(tile.level, self.signed);
        let is_known = match tile.is_full() {
            true => tile.index < hashes / WIDTH,
            false => Tile::partial(tile.level, self.signed) == Some(tile),
        };
        if is_known {
            return Place::Known;
        }
        // What it would have to say is known only of whole tiles and of the newest checkpoint: of others, that they could be.
        let bytes = std::fs::metadata(self.dir.join(tile.path())).map_or(0, |file| file.len());
        let is_possible = bytes == tile.bytes() as u64 && (!tile.is_full() || tile.index >= hashes / WIDTH);
        if is_possible { Place::Ahead } else { Place::Unknown }
    }
}

fn is_folder(file: &str) -> bool {
    let is_of_tiles = || {
        let rest = file.strip_prefix("tile/").unwrap_or_default();
        !rest.is_empty()
            && rest.split('/').all(|part| {
                part.trim_end_matches(".p").trim_start_matches('x').bytes().all(|b| b.is_ascii_digit())
            })
    };
    matches!(file, ENTRIES | PAYLOAD | CHECKPOINTS | "tile") || is_of_tiles()
}
