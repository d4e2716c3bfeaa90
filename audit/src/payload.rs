//! Whether what is kept of a payload is what its record commits to.

use std::collections::BTreeSet;

use crate::frame::{Mode, Which};
use crate::hash;
use crate::record::{Committed, Known};
use crate::segment::{Kept, Next, Payloads};

/// What the payloads of a record were found to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub kept: u64,
    /// Of which record, and which of its two.
    pub erased: BTreeSet<(u64, Which)>,
}

/// Why they are not what it commits to, and where in the file.
#[derive(Debug)]
pub struct Mismatch {
    pub at: u64,
    pub what: String,
}

/// Reads the payloads of the record, which come next, and holds them against it.
pub fn check(
    payloads: &mut Payloads,
    index: u64,
    known: &Known<'_>,
    tally: &mut Tally,
) -> std::io::Result<Result<(), Mismatch>> {
    for (which, committed) in known.committed() {
        let at = payloads.at();
        let what = match payloads.read()? {
            Next::Frame(kept) => {
                let is_erased = kept.head.mode == Mode::Erased;
                match is_committed(&kept, index, which, committed) {
                    Ok(()) => {
                        match is_erased {
                            true => drop(tally.erased.insert((index, which))),
                            false => tally.kept += 1,
                        }
                        continue;
                    }
                    Err(what) => what,
                }
            }
            Next::End => format!("the file ends: expected the {} of record {index}", which.word()),
            Next::Bad(fault) => format!("{fault} (expected the {} of record {index})", which.word()),
        };
        return Ok(Err(Mismatch { at, what }));
    }
    Ok(Ok(()))
}

fn is_committed(kept: &Kept<'_>, index: u64, which: Which, committed: &Committed<'_>) -> Result<(), String> {
    let head = &kept.head;
    let (is, of) = (head.which.word(), head.index);
    if (of, head.which) != (index, which) {
        return Err(format!(
            "expected the {} of record {index}, found the {is} of record {of}",
            which.word()
        ));
    }
    if head.length as u64 != committed.kept {
        return Err(format!("the record says that {} bytes are kept, found {}", committed.kept, head.length));
    }
    if head.mode == Mode::Erased {
        return Ok(());
    }
    if head.mode.word() != committed.mode {
        let (expected, found) = (committed.mode.escape_debug(), head.mode.word());
        return Err(format!("the record says that it is kept as `{expected}`, found `{found}`"));
    }
    if Some(hash::commitment(&head.salt, kept.bytes)) != committed.hash() {
        return Err(format!("the {is} of record {of} are not what the record commits to"));
    }
    Ok(())
}
