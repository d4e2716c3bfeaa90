//! Files that are written whole or not at all: a reader of the path sees the old file or the new one, also after a
//! power cut.

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replaced(path, bytes, |temporary| File::create(temporary))
}

/// The same with the mode and owner of the file that is there; a new one is for its user alone.
pub fn write_like(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_as(path, bytes, path)
}

/// The same with the mode and owner of another file.
pub fn write_as(path: &Path, bytes: &[u8], like: &Path) -> io::Result<()> {
    let about = match fs::metadata(like) {
        Ok(about) => Some(about),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    replaced(path, bytes, |temporary| {
        // Nobody reads it before it has its mode.
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(temporary)?;
        about.as_ref().map_or(Ok(()), |about| dress(&file, about))?;
        Ok(file)
    })
}

/// The owner first: to change it may clear bits of the mode.
fn dress(file: &File, about: &Metadata) -> io::Result<()> {
    let own = file.metadata()?;
    if (own.uid(), own.gid()) != (about.uid(), about.gid()) {
        std::os::unix::fs::fchown(file, Some(about.uid()), Some(about.gid()))?;
    }
    file.set_permissions(Permissions::from_mode(about.mode() & 0o7777))
}

fn replaced(path: &Path, bytes: &[u8], open: impl FnOnce(&Path) -> io::Result<File>) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::IsADirectory)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut temporary = name.to_owned();
    temporary.push(format!(".new-{}", std::process::id()));
    let temporary = folder.join(temporary);
    let written = || -> io::Result<()> {
        let mut file = open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        File::open(folder)?.sync_all()
    };
    written().inspect_err(|_| {
        // Best effort: the error that matters is the caller's.
        let _ = fs::remove_file(&temporary);
    })
}
