//! The tables that a gateway served last, so that one of them can be served again: `tables/GENERATION.table` in its folder.
//!
//! A table is here before the history says that it is served, and it is written whole or not at all. What is taken out of
//! here is checked like a table from anywhere.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use strait_table::Snapshot;

use crate::limits::{TABLES_KEPT_BYTES_MAX, TABLES_KEPT_MAX};
use crate::state::write_private;

pub struct Store {
    folder: PathBuf,
}

impl Store {
    pub fn at(folder: &Path) -> Store {
        Store { folder: folder.join("tables") }
    }

    fn path(&self, generation: &str) -> PathBuf {
        self.folder.join(format!("{generation}.table"))
    }

    /// Puts a table in, unless it is there. A table that is there and was damaged is written again.
    pub fn put(&self, snapshot: &Snapshot) -> io::Result<()> {
        let path = self.path(&super::whole(snapshot.generation()));
        if fs::read(&path).is_ok_and(|bytes| bytes == snapshot.table()) {
            return Ok(());
        }
        write_private(&path, snapshot.table())
    }

    /// Takes a table out, by its whole hash.
    pub fn take(&self, generation: &str) -> Result<Arc<Snapshot>, String> {
        let path = self.path(generation);
        let named = |why: String| format!("`{}`: {why}", path.display());
        let snapshot = Snapshot::open(&path).map_err(|error| named(error.to_string()))?;
        match super::whole(snapshot.generation()) == generation {
            true => Ok(Arc::new(snapshot)),
            false => Err(named(format!("it is generation {}", snapshot.generation()))),
        }
    }

    pub fn has(&self, generation: &str) -> bool {
        self.path(generation).exists()
    }

    /// Keeps the tables named, the ones to keep longest first, as far as they fit; and the first two whatever their size.
    pub fn keep_only(&self, generations: &[String]) {
        let mut bytes = 0;
        let fits = |(at, generation): &(usize, &String)| {
            bytes += fs::metadata(self.path(generation)).map_or(0, |found| found.len());
            *at < 2 || (*at < TABLES_KEPT_MAX && bytes <= TABLES_KEPT_BYTES_MAX)
        };
        let kept: Vec<PathBuf> = generations
            .iter()
            .enumerate()
            .filter(fits)
            .map(|(_, generation)| self.path(generation))
            .collect();
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            // What a process that was killed left unfinished goes too.
            if !kept.contains(&entry.path()) {
                // Only untidy if it stays.
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}
