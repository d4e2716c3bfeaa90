//! Erasures that the log does not tell of yet. Whoever erases a payload has not the key that signs, and must not need a gateway; so it
//! is written down beside the log first, and the gateway that writes the log, or the next that does, makes a record of it.
//!
//! The decision: a line lies here until the log has its record on the disk, and no longer. Nothing vouches for it until then, but what was
//! erased and stands neither here nor in a record was erased by somebody who did not want to be seen: `verify` says so.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::error::LogError;
use crate::limits;
use crate::segment::{self, ENTRIES, PAYLOAD, entries_path, payload_path};

/// One JSON object a line.
pub const ERASURES: &str = "erasures";

/// What was erased, and on whose word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Erasure {
    pub record: u64,
    /// Words of [`crate::Which`].
    pub erased: Vec<String>,
    pub by: String,
    /// RFC 3339.
    pub at: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// Writes down what is about to be erased; on the disk when this comes back.
pub fn note(dir: &Path, erasure: &Erasure) -> Result<(), LogError> {
    let path = dir.join(ERASURES);
    let io = |error| LogError::io("write", &path, error);
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path).map_err(io)?;
    locked(&file, FlockOperation::LockExclusive).map_err(io)?;
    let mut line = serde_json::to_string(erasure)
        .map_err(|error| LogError::Refused(format!("the erasure cannot be written down: {error}")))?;
    line.push('\n');
    if line.len() > limits::ERASURE_BYTES_MAX {
        return Err(LogError::Refused(format!(
            "the reason is too long: expected at most {} bytes for all of an erasure",
            limits::ERASURE_BYTES_MAX
        )));
    }
    let waiting = file.metadata().map_err(io)?.len();
    if waiting + line.len() as u64 > limits::ERASURES_BYTES_MAX {
        return Err(LogError::Refused(format!(
            "{waiting} bytes of erasures wait for a gateway to take them into the log: start it, and erase again"
        )));
    }
    (&file).write_all(line.as_bytes()).and_then(|()| file.sync_all()).map_err(io)
}

/// The first of those that wait, at most so many, and the bytes that they take. What is no erasure is told as it stands.
pub fn waiting(dir: &Path, most: usize) -> Result<(Vec<Result<Erasure, String>>, u64), LogError> {
    let path = dir.join(ERASURES);
    let io = |error| LogError::io("read", &path, error);
    let file = match File::open(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok((Vec::new(), 0)),
        file => file.map_err(io)?,
    };
    if file.metadata().map_err(io)?.len() == 0 {
        return Ok((Vec::new(), 0));
    }
    locked(&file, FlockOperation::LockShared).map_err(io)?;
    let text = read(&file).map_err(io)?;
    let (mut found, mut bytes) = (Vec::new(), 0);
    for line in text.split_inclusive(|byte| *byte == b'\n').take(most) {
        bytes += line.len() as u64;
        found.push(serde_json::from_slice(line).map_err(|_| {
            String::from_utf8_lossy(line.get(..limits::ERASURE_BYTES_MAX).unwrap_or(line))
                .trim_end()
                .to_owned()
        }));
    }
    Ok((found, bytes))
}

/// Takes away so many bytes of the beginning: the log has them, and after this the disk has that part of the log.
pub fn told(dir: &Path, bytes: u64) -> Result<(), LogError> {
    // What nobody waits for, a gateway writes and leaves to its next checkpoint. Segments before the last are synced.
    for (kind, path) in [(ENTRIES, entries_path as fn(u64) -> String), (PAYLOAD, payload_path)] {
        if let Some(last) = segment::firsts(dir, kind)?.last() {
            let path = dir.join(path(*last));
            let synced = File::open(&path).and_then(|file| file.sync_all());
            synced.map_err(|error| LogError::io("sync", &path, error))?;
        }
    }
    let path = dir.join(ERASURES);
    let io = |error| LogError::io("write", &path, error);
    let file = OpenOptions::new().read(true).write(true).open(&path).map_err(io)?;
    locked(&file, FlockOperation::LockExclusive).map_err(io)?;
    let text = read(&file).map_err(io)?;
    let rest = text.get(bytes as usize..).unwrap_or_default();
    // Cut in between, lines are told twice.
    file.write_all_at(rest, 0).and_then(|()| file.set_len(rest.len() as u64)).map_err(io)?;
    file.sync_all().map_err(io)
}

fn read(file: &File) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    file.take(limits::ERASURES_BYTES_MAX).read_to_end(&mut text)?;
    Ok(text)
}

fn locked(file: &File, how: FlockOperation) -> std::io::Result<()> {
    flock(file, how).map_err(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Folder, Written};

    fn erasure(record: u64) -> Erasure {
        let erased = vec!["arguments".to_owned()];
        Erasure {
            record,
            erased,
            by: "uid 0".to_owned(),
            at: "2026-11-22T12:00:00.000Z".to_owned(),
            why: None,
        }
    }

    #[test]
    fn what_is_noted_waits_until_it_is_told() {
        let folder = Folder::new("erasures");
        let dir = &folder.path().join("audit");
        Written::open(dir).close();
        assert_eq!(waiting(dir, 9).unwrap(), (Vec::new(), 0));
        (1..=3).for_each(|record| note(dir, &erasure(record)).unwrap());
        let (two, bytes) = waiting(dir, 2).unwrap();
        assert_eq!(two, [Ok(erasure(1)), Ok(erasure(2))]);
        // One more comes before they are told.
        note(dir, &erasure(4)).unwrap();
        told(dir, bytes).unwrap();
        let (rest, bytes) = waiting(dir, 9).unwrap();
        assert_eq!(rest, [Ok(erasure(3)), Ok(erasure(4))]);
        told(dir, bytes).unwrap();
        assert_eq!(waiting(dir, 9).unwrap(), (Vec::new(), 0));
        std::fs::write(dir.join(ERASURES), "nonsense\n").unwrap();
        assert_eq!(waiting(dir, 9).unwrap(), (vec![Err("nonsense".to_owned())], 9));
        let long = Erasure { why: Some("x".repeat(limits::ERASURE_BYTES_MAX)), ..erasure(5) };
        assert!(matches!(note(dir, &long), Err(LogError::Refused(_))));
    }
}
