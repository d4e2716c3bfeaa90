//! Takes one file in: regular, within the size limit, UTF-8. The size is asked before anything is
//! read, so that a 100 MB file costs one system call; devices and pipes are refused, since reading
//! them may never end.

use std::{fs::File, io::Read, path::Path};

use super::Span;
use crate::{
    diagnostic::{Finding, codes},
    limits::{FILE_BYTES_MAX, TOTAL_BYTES_MAX},
};

/// Why a file could not be taken in.
#[derive(Debug)]
pub enum ReadError {
    Io(String),
    NotAFile(&'static str),
    TooLarge { bytes: u64, max: u64 },
    NotText { offset: usize, why: &'static str },
}

impl ReadError {
    pub fn finding(&self, name: &str, at: Span) -> Finding {
        let unreadable =
            |why: &str| Finding::new(&codes::UNREADABLE, at, format!("cannot read `{name}`: {why}"));
        match self {
            ReadError::Io(why) => unreadable(why),
            ReadError::NotAFile(what) => unreadable(&format!("it is {what}")),
            ReadError::TooLarge { bytes, max } => {
                let message = format!("`{name}` has {bytes} bytes; {max} are left for it");
                let help =
                    format!("one file may have {FILE_BYTES_MAX} bytes, all together {TOTAL_BYTES_MAX}");
                Finding::new(&codes::TOO_LARGE, at, message).help(help)
            }
            ReadError::NotText { offset, why } => {
                let message = format!("`{name}` is not UTF-8 text: {why}, at byte {offset}");
                Finding::new(&codes::NOT_TEXT, at, message).help("save it as UTF-8")
            }
        }
    }
}

/// The text, without a byte order mark.
pub fn read(path: &Path, bytes_max: u64) -> Result<String, ReadError> {
    let io = |error: std::io::Error| ReadError::Io(lower_first(&error));
    let meta = std::fs::metadata(path).map_err(io)?;
    if meta.is_dir() {
        return Err(ReadError::NotAFile("a folder"));
    }
    if !meta.is_file() {
        return Err(ReadError::NotAFile("not a regular file"));
    }
    if meta.len() > bytes_max {
        return Err(ReadError::TooLarge { bytes: meta.len(), max: bytes_max });
    }
    let mut bytes = Vec::with_capacity(meta.len() as usize);
    // It may have grown since it was asked.
    File::open(path).map_err(io)?.take(bytes_max + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > bytes_max {
        return Err(ReadError::TooLarge { bytes: bytes.len() as u64, max: bytes_max });
    }
    text(bytes)
}

/// Bytes as text, without a byte order mark.
pub fn text(bytes: Vec<u8>) -> Result<String, ReadError> {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(ReadError::NotText { offset: 0, why: "it is UTF-16" });
    }
    if let Some(offset) = bytes.iter().position(|byte| *byte == 0) {
        return Err(ReadError::NotText { offset, why: "it holds a zero byte" });
    }
    let text = String::from_utf8(bytes).map_err(|error| ReadError::NotText {
        offset: error.utf8_error().valid_up_to(),
        why: "a byte is not UTF-8",
    })?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    })
}

/// The kernel's own words, without Rust's "(os error 2)".
fn lower_first(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    chars.next().map(|c| c.to_lowercase().chain(chars).collect()).unwrap_or_default()
}
