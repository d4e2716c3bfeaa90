//! How far a collector has come: a file per collector in the state folder, replaced whole.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use strait_audit::hash::Hash;

use crate::state::{file_name, write_private};

/// The hash of the last record's leaf: tells whether a log is the one that was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark(pub Hash);

/// Everything before `next` was taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    pub next: u64,
    /// Of record `next - 1`; empty where nothing was sent yet, or where that record had been removed.
    pub mark: Option<Mark>,
}

/// As it is written.
#[derive(Serialize, Deserialize)]
struct Written {
    next: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last: Option<String>,
}

pub fn path(folder: &Path, id: &str) -> PathBuf {
    folder.join(format!("{}.cursor", file_name(id)))
}

/// `None`: there is none yet.
pub fn read(path: &Path) -> Result<Option<Cursor>, String> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("cannot read `{}`: {error}", path.display())),
    };
    let broken = || format!("`{}` is no cursor: remove it to begin with the oldest record", path.display());
    let written: Written = serde_json::from_str(&text).map_err(|_| broken())?;
    let mark = match written.last {
        None => None,
        Some(text) => Some(Mark(of_hex(&text).ok_or_else(broken)?)),
    };
    Ok(Some(Cursor { next: written.next, mark }))
}

pub fn write(path: &Path, cursor: &Cursor) -> std::io::Result<()> {
    let last = cursor.mark.map(|mark| crate::telemetry::hex(&mark.0));
    let text = serde_json::to_string(&Written { next: cursor.next, last }).map_err(std::io::Error::other)?;
    write_private(path, format!("{text}\n").as_bytes())
}

fn of_hex(text: &str) -> Option<Hash> {
    let mut hash = Hash::default();
    if text.len() != 2 * hash.len() || !text.is_ascii() {
        return None;
    }
    for (at, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::Folder;

    #[test]
    fn a_cursor_is_read_as_it_was_written_and_nothing_else_is_one() {
        let folder = Folder::new();
        let path = path(&folder.path().join("ship"), "a.b");
        assert_eq!(read(&path), Ok(None));
        for mark in [None, Some(Mark([0xa7; 32]))] {
            let cursor = Cursor { next: 77, mark };
            write(&path, &cursor).unwrap();
            assert_eq!(read(&path), Ok(Some(cursor)));
        }
        for text in
            ["", "{}", "{\"next\":-1}", "{\"next\":1,\"last\":\"xy\"}", "{\"next\":1,\"last\":\"+1\"}"]
        {
            std::fs::write(&path, text).unwrap();
            assert!(read(&path).unwrap_err().contains("is no cursor"), "{text}");
        }
    }
}
