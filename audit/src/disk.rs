//! What a log does on a disk, with `std`: for starts, for checkpoints, for tests. A gateway writes batches with its own ring.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::folder::{Batch, Step};
use crate::segment::{ENTRIES, PAYLOAD};

/// Through which a whole file comes to be. At most one is left by a crash; a start removes it.
pub const NEW: &str = ".new";
const MODE: u32 = 0o600;

/// A folder of a log.
#[derive(Clone, Debug)]
pub struct Disk {
    path: PathBuf,
}

impl Disk {
    pub fn new(path: &Path) -> Disk {
        Disk { path: path.to_owned() }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn join(&self, path: &str) -> PathBuf {
        self.path.join(path)
    }

    /// Makes the folder and those in it, for its user alone.
    pub fn make(&self) -> io::Result<()> {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        for folder in ["", ENTRIES, PAYLOAD, "tile"] {
            builder.create(self.path.join(folder))?;
        }
        sync_folder(&self.path)
    }

    /// Writes a batch to both of its files, and has the disk confirm it.
    pub fn write(&self, batch: &Batch) -> io::Result<()> {
        let files = [
            (batch.entries_path(), batch.entries_offset, &batch.entries),
            (batch.payload_path(), batch.payload_offset, &batch.payload),
        ];
        for (path, offset, bytes) in files {
            self.append(&path, offset, bytes)?;
        }
        if batch.is_new {
            sync_folder(&self.join(ENTRIES))?;
            sync_folder(&self.join(PAYLOAD))?;
        }
        Ok(())
    }

    /// Does one step; it is on the disk when this is back.
    pub fn apply(&self, step: &Step) -> io::Result<()> {
        match step {
            Step::Write { path, bytes } => self.replace(path, bytes),
            Step::Append { path, offset, bytes } => self.append(path, *offset, bytes),
            Step::Remove { path } => self.remove(path),
        }
    }

    /// Puts a whole file in its place.
    pub fn replace(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let (target, new) = (self.join(path), self.join(NEW));
        let folder = target.parent().unwrap_or(&self.path);
        if !folder.is_dir() {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(MODE).open(&new)?;
        file.write_all_at(bytes, 0)?;
        file.sync_data()?;
        fs::rename(&new, &target)?;
        sync_folder(folder)
    }

    /// A file as far as it was written, and nothing behind.
    pub fn cut(&self, path: &str, bytes: u64) -> io::Result<()> {
        let file =
            OpenOptions::new().write(true).create(true).truncate(false).mode(MODE).open(self.join(path))?;
        file.set_len(bytes)?;
        file.sync_all()
    }

    /// A file that need not be there.
    pub fn read(&self, path: &str, bytes_max: usize) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(self.join(path)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    fn append(&self, path: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let file =
            OpenOptions::new().write(true).create(true).truncate(false).mode(MODE).open(self.join(path))?;
        file.write_all_at(bytes, offset)?;
        file.sync_data()
    }

    /// What is gone already is no failure. A folder that is empty now goes, too.
    pub fn remove(&self, path: &str) -> io::Result<()> {
        let path = self.join(path);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let folder = path.parent().unwrap_or(&self.path);
        let is_of_partial_tiles = folder.extension().is_some_and(|extension| extension == "p");
        if is_of_partial_tiles && fs::remove_dir(folder).is_ok() {
            return Ok(());
        }
        sync_folder(folder)
            .or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
    }
}

/// Has the disk confirm names, not only bytes.
fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
