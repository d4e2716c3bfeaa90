//! The last good table, kept in the state folder: what a restart serves when the file it is given is bad.
//!
//! It is bound to the path of the file it came from, by its name: `kept/HASH-NAME.table`. A gateway that
//! is started with another file never finds it. It is written whole or not at all, and a reader checks it
//! like any other table.

use std::path::{Path, PathBuf};

use strait_table::Snapshot;

use crate::state::{State, file_name, write_private};

/// Where the table of `file` is kept in the state folder `root`.
pub fn path(root: &Path, file: &Path) -> PathBuf {
    root.join("kept").join(format!("{}.table", name(file)))
}

/// What is kept for the gateway of `file` bears this name.
pub fn name(file: &Path) -> String {
    // The path as named, not where links lead: a release that is switched by a link stays the same file.
    let whole = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let hash = blake3::hash(whole.as_os_str().as_encoded_bytes()).to_hex();
    let name = whole.file_name().unwrap_or_default().to_string_lossy();
    let short: String = file_name(&name).chars().take(100).collect();
    format!("{}-{short}", &hash[..16])
}

/// A process that was killed while it wrote left a file that nobody will finish.
fn forget_unfinished(path: &Path) {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return };
    let begins = format!("{}.new-", name.to_string_lossy());
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(&begins) {
            // Only untidy if it stays.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Keeps `snapshot` as the last good table of `file`, unless it is kept already.
pub fn keep(state: &State, file: &Path, snapshot: &Snapshot) -> std::io::Result<()> {
    let path = path(state.root(), file);
    forget_unfinished(&path);
    // Byte by byte: the same generation may have been signed anew, by a key that is trusted longer.
    if std::fs::read(&path).is_ok_and(|kept| kept == snapshot.table()) {
        return Ok(());
    }
    write_private(&path, snapshot.table())
}
