//! What a log does on a disk, with `std`: for starts, for checkpoints, for tests. A gateway writes batches with its own ring.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::folder::{Batch, Piece, Step};
use crate::segment::{CHECKPOINTS, ENTRIES, PAYLOAD};

/// Through which a whole file comes to be. At most one is left by a crash; a start removes it.
pub const NEW: &str = ".new";
const MODE: u32 = 0o600;
/// Files that are open at once until they are synced.
const TOGETHER: usize = 64;

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
        for folder in ["", ENTRIES, PAYLOAD, CHECKPOINTS, "tile"] {
            builder.create(self.path.join(folder))?;
        }
        sync_folder(&self.path)
    }

    /// Writes a batch to both of its files, and has the disk confirm it.
    pub fn write(&self, batch: &Batch) -> io::Result<()> {
        for file in self.put(&batch.rest())? {
            file.sync_data()?;
        }
        if batch.is_new {
            sync_folder(&self.join(ENTRIES))?;
            sync_folder(&self.join(PAYLOAD))?;
        }
        Ok(())
    }

    /// Writes what is ahead of a batch, unconfirmed.
    pub fn write_ahead(&self, piece: &Piece<'_>) -> io::Result<()> {
        self.put(piece).map(|_| ())
    }

    fn put(&self, piece: &Piece<'_>) -> io::Result<[File; 2]> {
        let payload = self.place(&piece.payload_path(), piece.payload_offset, piece.payload)?;
        Ok([self.place(&piece.entries_path(), piece.entries_offset, piece.entries)?, payload])
    }

    /// Does one step; it is on the disk when this is back.
    pub fn apply(&self, step: &Step) -> io::Result<()> {
        match step {
            Step::Write { path, bytes } => self.replace(path, bytes),
            Step::WriteAll { files } => self.replace_all(files),
            Step::Append { path, offset, bytes } => self.append(path, *offset, bytes),
            Step::Remove { path } => self.remove(path),
        }
    }

    /// Puts a whole file in its place.
    pub fn replace(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let target = self.join(path);
        let folder = target.parent().unwrap_or(&self.path);
        let file = self.write_new(folder, bytes)?;
        file.sync_data()?;
        fs::rename(self.join(NEW), &target)?;
        sync_folder(folder)
    }

    /// Puts whole files in their places. After a crash of the machine amid it, any of them may be torn.
    fn replace_all(&self, files: &[(String, Vec<u8>)]) -> io::Result<()> {
        for files in files.chunks(TOGETHER) {
            let (mut written, mut folders) = (Vec::with_capacity(files.len()), BTreeSet::new());
            for (path, bytes) in files {
                let target = self.join(path);
                let folder = target.parent().unwrap_or(&self.path);
                written.push(self.write_new(folder, bytes)?);
                fs::rename(self.join(NEW), &target)?;
                folders.insert(folder.to_owned());
            }
            written.iter().try_for_each(File::sync_data)?;
            folders.iter().try_for_each(|folder| sync_folder(folder))?;
        }
        Ok(())
    }

    /// Writes what is to be renamed into that folder.
    fn write_new(&self, folder: &Path, bytes: &[u8]) -> io::Result<File> {
        if !folder.is_dir() {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let new = self.join(NEW);
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(MODE).open(new)?;
        file.write_all_at(bytes, 0)?;
        Ok(file)
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
        let length = fs::metadata(self.join(path)).map_or(0, |file| file.len());
        if length < offset {
            let what = format!(
                "`{path}` ends at byte {length}, of {offset} that were written: it was cut or removed"
            );
            return Err(io::Error::other(what));
        }
        self.place(path, offset, bytes)?.sync_data()?;
        match (offset, self.join(path).parent()) {
            // It is made by this.
            (0, Some(folder)) => sync_folder(folder),
            _ => Ok(()),
        }
    }

    fn place(&self, path: &str, offset: u64, bytes: &[u8]) -> io::Result<File> {
        let file =
            OpenOptions::new().write(true).create(true).truncate(false).mode(MODE).open(self.join(path))?;
        file.write_all_at(bytes, offset)?;
        Ok(file)
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
