//! Taking out what was kept of a payload. The record stays, with what commits to it, and so does every proof: what is gone is what
//! the commitment could be tried with.
//!
//! The decision: the bytes are overwritten where they lie, by zeros, in one write that also says so; a process that is killed in
//! between leaves a frame whose checksum is wrong, and erasing it once more finishes it. That it is erased is written down before
//! (`erasures.rs`), so that nothing is gone of which nothing is said. It may be done while a gateway writes:
//! that one only appends. What a file system or a disk keeps of old blocks is theirs (`docs/AUDIT.md`).

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::erasures::{self, Erasure};
use crate::error::LogError;
use crate::frame::{Mode, PayloadHead, SALT_BYTES, Which};
use crate::reader::{Name, find, payloads};
use crate::segment::payload_path;
use crate::verify;

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Erased {
    pub index: u64,
    /// Overwritten now.
    pub erased: Vec<Which>,
    /// Nothing was left of these before.
    pub before: Vec<Which>,
}

/// On whose word something is erased, and when.
#[derive(Clone, Debug, Default)]
pub struct Word {
    pub by: String,
    /// RFC 3339.
    pub at: String,
    pub why: Option<String>,
}

/// Erases what is kept of a record's payloads, or of one of them.
pub fn erase(dir: &Path, name: Name, only: Option<Which>, word: &Word) -> Result<Erased, LogError> {
    let key = verify::public_key(dir, None)?;
    let found = find(dir, name)?;
    let (newest, _) = verify::newest(dir, &key)?;
    if found.index >= newest.size {
        // Until then a crash could make it look like a torn tail, and the record itself would be cut off with it.
        return Err(LogError::Refused(format!(
            "record {} is not signed yet: erase it once a checkpoint covers it",
            found.index
        )));
    }
    let kept = payloads(dir, found.first, found.index)?;
    let wanted: Vec<_> =
        kept.iter().filter(|payload| only.is_none_or(|only| only == payload.which)).collect();
    if wanted.is_empty() {
        let what = only.map_or("payload", Which::word);
        return Err(LogError::Refused(format!("nothing is kept of the {what} of record {}", found.index)));
    }
    let Word { by, at, why } = word.clone();
    let erased: Vec<String> = wanted
        .iter()
        .filter(|payload| payload.mode != Mode::Erased)
        .map(|payload| payload.which.word().to_owned())
        .collect();
    if !erased.is_empty() {
        erasures::note(dir, &Erasure { record: found.index, erased, by, at, why })?;
    }
    let path = dir.join(payload_path(found.first));
    let io = |error| LogError::io("overwrite", &path, error);
    let file = OpenOptions::new().write(true).open(&path).map_err(io)?;
    let mut done = Erased { index: found.index, erased: Vec::new(), before: Vec::new() };
    for payload in wanted {
        let zeros = vec![0; payload.bytes.len()];
        let head = PayloadHead::new(found.index, payload.which, Mode::Erased, [0; SALT_BYTES], &zeros);
        let mut frame = head.bytes().to_vec();
        frame.extend_from_slice(&zeros);
        file.write_all_at(&frame, payload.at).map_err(io)?;
        let list = if payload.mode == Mode::Erased { &mut done.before } else { &mut done.erased };
        list.push(payload.which);
    }
    file.sync_all().map_err(io)?;
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proof::Proof;
    use crate::testing::{Folder, Written};
    use crate::verify::{Against, verify};

    #[test]
    fn an_erased_payload_is_gone_and_its_proof_holds() {
        let folder = Folder::new("erase");
        let dir = folder.path().join("audit");
        let mut log = Written::open(&dir);
        log.fill(60);
        let name = Name::Index(7);
        let before = Proof::make(&dir, name).unwrap();
        let path = dir.join(payload_path(0));
        // Two cores, one payload each with these words.
        let found = |text: &str| {
            std::fs::read(&path).unwrap().windows(text.len()).filter(|part| *part == text.as_bytes()).count()
        };
        assert_eq!(found("number 3\""), 2);
        let done = erase(&dir, name, Some(Which::Arguments), &Word::default()).unwrap();
        assert_eq!((done.erased, done.before), (vec![Which::Arguments], vec![]));
        assert_eq!(found("number 3\""), 1);
        let report = verify(&dir, &Against::default()).unwrap();
        assert_eq!((report.erased, report.erasures_waiting, &report.unexplained[..]), (1, 1, &[][..]));
        let after = Proof::make(&dir, name).unwrap();
        assert_eq!(before.record, after.record);
        assert!(before.check(None).is_ok() && after.check(None).is_ok());
        let done = erase(&dir, name, None, &Word::default()).unwrap();
        assert_eq!((done.erased, done.before), (vec![Which::Result], vec![Which::Arguments]));
        assert!(matches!(erase(&dir, Name::Index(9), None, &Word::default()), Err(LogError::Refused(_))));
        // It goes on, and opens again.
        log.fill(60);
        drop(log);
        let mut log = Written::open(&dir);
        let index = log.add(0);
        log.commit();
        assert!(erase(&dir, Name::Index(index), None, &Word::default()).is_err(), "not signed yet");
        assert_eq!(verify(&dir, &Against::default()).unwrap().erased, 2);
    }

    #[test]
    fn erasing_that_was_interrupted_is_finished_by_doing_it_again() {
        let folder = Folder::new("erase-half");
        let dir = folder.path().join("audit");
        Written::open(&dir).fill(60);
        let path = dir.join(payload_path(0));
        let at = payloads(&dir, 0, 1).unwrap()[0].at as usize;
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[at + 9] = 0;
        bytes[at + 14..at + 30].fill(0);
        std::fs::write(&path, &bytes).unwrap();
        assert!(matches!(verify(&dir, &Against::default()), Err(LogError::Damage { .. })));
        erase(&dir, Name::Index(1), None, &Word::default()).unwrap();
        assert_eq!(verify(&dir, &Against::default()).unwrap().erased, 2);
    }
}
