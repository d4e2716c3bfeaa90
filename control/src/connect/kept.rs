//! What a client's file was before it was connected: its bytes in a file beside it, and a record that says what was
//! written since, by its hash. A file that is connected again keeps the first of them, so that `--undo` leads back to
//! where its owner was.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::Found;
use crate::whole;
use crate::{Code, Failure};

pub struct Kept {
    record: PathBuf,
    before: PathBuf,
    /// There was no file.
    was_absent: bool,
    /// The hash of what was written.
    written: String,
}

impl Kept {
    /// Keeps what is there now, and notes what is about to be written.
    pub fn keep(found: &Found, written: &[u8]) -> io::Result<Kept> {
        if found.path.to_str().is_none() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "its name is no UTF-8, so that no record can name it",
            ));
        }
        let earlier = Kept::of(&found.path)
            .ok()
            .filter(|kept| kept.written == hash(found.bytes.as_deref().unwrap_or_default()));
        let (before, was_absent) = match &earlier {
            // Nobody has touched it since: what was before that is what counts.
            Some(kept) => (kept.before.clone(), kept.was_absent),
            None => (free(&found.path), found.bytes.is_none()),
        };
        if earlier.is_none() {
            match &found.bytes {
                Some(bytes) => whole::write_as(&before, bytes, &found.path)?,
                None => whole::write_as(&before, b"", &found.path)?,
            }
        }
        let kept =
            Kept { record: beside(&found.path, ".strait-undo"), before, was_absent, written: hash(written) };
        let record = json!({ "before": kept.before, "was_absent": kept.was_absent, "written": kept.written });
        whole::write_as(&kept.record, format!("{record:#}\n").as_bytes(), &found.path)?;
        Ok(kept)
    }

    /// The record beside a client's file.
    pub fn of(path: &Path) -> Result<Kept, Failure> {
        let record = beside(path, ".strait-undo");
        let nothing = |why: &str| {
            let message = format!("there is nothing to undo in `{}`: {why}", path.display());
            Failure::new(Code::Usage, message)
                .help("`strait connect` keeps what was before, from the first time on")
        };
        let text = fs::read_to_string(&record).map_err(|_| nothing("it was not connected by strait"))?;
        let facts: Value = serde_json::from_str(&text).map_err(|_| nothing("its record is damaged"))?;
        let (Some(before), Some(was_absent), Some(written)) =
            (facts["before"].as_str(), facts["was_absent"].as_bool(), facts["written"].as_str())
        else {
            return Err(nothing("its record is damaged"));
        };
        let before = PathBuf::from(before);
        // The record says what is restored over the client's file: it names a file beside it and no other.
        if before.parent() != path.parent() {
            return Err(nothing("its record is damaged"));
        }
        Ok(Kept { record, before, was_absent, written: written.to_owned() })
    }

    pub fn before(&self) -> &Path {
        &self.before
    }

    /// What is to be put back; `None`: there was no file.
    pub fn contents(&self) -> Result<Option<Vec<u8>>, Failure> {
        if self.was_absent {
            return Ok(None);
        }
        fs::read(&self.before).map(Some).map_err(|error| {
            let message = format!("cannot read `{}`: {error}", self.before.display());
            Failure::new(Code::Unfit, message)
                .help("without it, take the entry out of the client's file by hand")
        })
    }

    /// Nobody has changed the file since.
    pub fn is_as_written(&self, found: &Found) -> Result<(), Failure> {
        if found.bytes.as_deref().is_some_and(|bytes| hash(bytes) == self.written) {
            return Ok(());
        }
        let message =
            format!("`{}` was changed since it was connected: it is left as it is", found.path.display());
        let help = format!(
            "take the entry out by hand, or copy `{}` over it and lose what was changed since",
            self.before.display()
        );
        Err(Failure::new(Code::Conflict, message).help(help))
    }

    pub fn forget(&self) {
        // Best effort: what is left over does no harm.
        let _ = fs::remove_file(&self.record);
        let _ = fs::remove_file(&self.before);
    }
}

fn hash(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(end);
    path.with_file_name(name)
}

/// A name that nothing has yet: an older copy may be somebody's last.
fn free(path: &Path) -> PathBuf {
    let first = beside(path, ".before-strait");
    let later = (2..).map(|number| beside(path, &format!(".before-strait-{number}")));
    std::iter::once(first)
        .chain(later)
        .find(|name| fs::symlink_metadata(name).is_err())
        .unwrap_or_else(|| beside(path, ".before-strait"))
}
