//! The file of revocations: read whole, written whole by renaming, changed by one process at a time.
//!
//! A verb without a gateway changes it as well as a gateway does, and gateways that share a state folder share it. Whoever changes it
//! holds a lock file meanwhile; whoever reads it needs none, since a rename shows the old list or the new one.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use serde_json::Value;

use super::{Change, Changed, Fault, List};
use crate::limits::{REVOCATIONS_BYTES_MAX, REVOCATIONS_LOCK_TRIES, REVOCATIONS_LOCK_TRY};
use crate::state::write_private;
use crate::time::unix_s;

/// The file as one process knows it.
pub struct File {
    path: PathBuf,
    /// The file as it was when it was read; `None`: there was none.
    mark: Option<[i128; 4]>,
    pub list: List,
}

impl File {
    /// Reads it; nobody is revoked where there is none.
    pub fn open(root: &Path) -> Result<File, String> {
        let path = path(root);
        let mark = mark(&path);
        let list = read(&path)?.unwrap_or_default();
        Ok(File { path, mark, list })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads it again if somebody has changed it; whether the list is another one. What cannot be read leaves the list as it is, and
    /// is told once.
    pub fn look(&mut self) -> Result<bool, String> {
        let mark = mark(&self.path);
        if mark == self.mark {
            return Ok(false);
        }
        self.mark = mark;
        match read(&self.path)? {
            None if self.list.revoked.is_empty() => Ok(false),
            None => Err(format!("`{}` is gone", self.path.display())),
            Some(list) => {
                let is_another = list != self.list;
                self.list = list;
                Ok(is_another)
            }
        }
    }

    /// Takes up what this process has written.
    pub fn wrote(&mut self, list: List) {
        self.mark = mark(&self.path);
        self.list = list;
    }
}

fn path(root: &Path) -> PathBuf {
    root.join("revoked.json")
}

/// Changes the file of a state folder, which must be there; gives the list as it is from now on.
pub fn change(root: &Path, change: &Change, by: &Value) -> Result<(List, Changed), Fault> {
    change_at(root, change, by, unix_s())
}

pub fn change_at(
    root: &Path,
    change: &Change,
    by: &Value,
    now_unix_s: i64,
) -> Result<(List, Changed), Fault> {
    change.check()?;
    let path = path(root);
    let unfit = |what: &str, why: String| Fault::Unfit(format!("cannot {what} `{}`: {why}", path.display()));
    let _lock = lock(root).map_err(|error| unfit("lock", error.to_string()))?;
    let mut list = read(&path).map_err(Fault::Unfit)?.unwrap_or_default();
    let changed = list.change(change, by, now_unix_s)?;
    let text = serde_json::to_vec(&list).map_err(|error| unfit("write", error.to_string()))?;
    if text.len() as u64 > REVOCATIONS_BYTES_MAX {
        let why = format!("that would be {} bytes, at most {REVOCATIONS_BYTES_MAX} are kept", text.len());
        return Err(Fault::Usage(format!("the list is full: {why}")));
    }
    write_private(&path, &text).map_err(|error| unfit("write", error.to_string()))?;
    Ok((list, changed))
}

/// Until dropped. Whoever holds it does so for as long as a small file takes to be written; one that does not come back is not
/// waited for.
fn lock(root: &Path) -> io::Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    let file =
        options.create(true).truncate(false).write(true).mode(0o600).open(root.join("revoked.lock"))?;
    for _ in 0..REVOCATIONS_LOCK_TRIES {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) => std::thread::sleep(REVOCATIONS_LOCK_TRY),
            Err(error) => return Err(error.into()),
        }
    }
    let waited: Duration = REVOCATIONS_LOCK_TRY * REVOCATIONS_LOCK_TRIES;
    let why = format!("another process has been changing it for {} ms", waited.as_millis());
    Err(io::Error::new(io::ErrorKind::WouldBlock, why))
}

fn read(path: &Path) -> Result<Option<List>, String> {
    let bad =
        |why: String| format!("`{}` cannot be used as the list of who is revoked: {why}", path.display());
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(bad(error.to_string())),
    };
    let mut bytes = Vec::new();
    file.take(REVOCATIONS_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| bad(error.to_string()))?;
    if bytes.len() as u64 > REVOCATIONS_BYTES_MAX {
        return Err(bad(format!("it has more than {REVOCATIONS_BYTES_MAX} bytes")));
    }
    let list: List = serde_json::from_slice(&bytes).map_err(|error| bad(error.to_string()))?;
    list.check().map_err(bad)?;
    Ok(Some(list))
}

fn mark(path: &Path) -> Option<[i128; 4]> {
    let found = fs::metadata(path).ok()?;
    let changed = i128::from(found.mtime()) * 1_000_000_000 + i128::from(found.mtime_nsec());
    Some([found.dev().into(), found.ino().into(), found.size().into(), changed])
}
