//! The files of a load and places in them. A [`Span`] is twelve bytes and sorts in reading order; the
//! map turns it into a line and a column when somebody wants to see it. The map also remembers which
//! stretches of text are secrets, so that no rendering ever shows one.

use std::path::{Path, PathBuf};

/// Which file, in load order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub u32);

/// A stretch of one file's text, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    pub file: FileId,
    pub start: u32,
    pub end: u32,
}

impl Span {
    pub fn new(file: FileId, start: usize, end: usize) -> Span {
        Span { file, start: start as u32, end: end.max(start) as u32 }
    }

    /// From the start of this one to the end of `last`.
    pub fn to(self, last: Span) -> Span {
        Span { end: self.end.max(last.end), ..self }
    }
}

#[derive(Debug)]
pub struct SourceFile {
    /// As shown to people and kept in the table: the root's file name, or the path relative to its
    /// folder.
    pub name: String,
    /// Where it was read; empty for text given in memory.
    pub path: PathBuf,
    pub text: String,
    /// Holds credentials: never shown, only pointed into.
    pub confidential: bool,
    line_starts: Vec<u32>,
    /// Letters before each [`BLOCK`] of the text: a column is found without walking a line of megabytes.
    letters: Vec<u32>,
    masked: Vec<(u32, u32)>,
}

/// Lines and columns count from one; columns count characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub line: usize,
    pub column: usize,
}

#[derive(Debug, Default)]
pub struct SourceMap {
    files: Vec<SourceFile>,
}

impl SourceMap {
    pub fn add(&mut self, name: String, path: PathBuf, text: String) -> FileId {
        let line_starts = std::iter::once(0).chain(memchr_lines(&text)).collect();
        let mut letters = vec![0];
        for block in text.as_bytes().chunks(BLOCK) {
            letters.push(letters[letters.len() - 1] + count(block) as u32);
        }
        self.files.push(SourceFile {
            name,
            path,
            text,
            confidential: false,
            line_starts,
            letters,
            masked: Vec::new(),
        });
        FileId(self.files.len() as u32 - 1)
    }

    pub fn file(&self, id: FileId) -> &SourceFile {
        &self.files[id.0 as usize]
    }

    pub fn files(&self) -> impl ExactSizeIterator<Item = &SourceFile> {
        self.files.iter()
    }

    /// Never show any of this file's text.
    pub fn conceal(&mut self, id: FileId) {
        self.files[id.0 as usize].confidential = true;
    }

    /// Show this stretch as asterisks.
    pub fn mask(&mut self, span: Span) {
        self.files[span.file.0 as usize].masked.push((span.start, span.end));
    }

    pub fn slice(&self, span: Span) -> &str {
        self.file(span.file).text.get(span.start as usize..span.end as usize).unwrap_or("")
    }

    pub fn place(&self, span: Span) -> Place {
        let file = self.file(span.file);
        let line = file.line_starts.partition_point(|start| *start <= span.start);
        let line_start = file.line_starts[line.saturating_sub(1)];
        let column = file.letters_before(span.start) - file.letters_before(line_start) + 1;
        Place { line: line.max(1), column }
    }

    /// The span, ending no later than its first line does.
    pub fn first_line(&self, span: Span) -> Span {
        let text = self.slice(span);
        let len = text.find(['\n', '\r']).unwrap_or(text.len());
        Span { end: span.start + len as u32, ..span }
    }
}

/// Bytes of a text between two places whose letters are counted in advance.
const BLOCK: usize = 4_096;

/// Letters that begin in these bytes of a text.
fn count(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte & 0xc0 != 0x80).count()
}

fn memchr_lines(text: &str) -> impl Iterator<Item = u32> + '_ {
    text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at as u32 + 1)
}

impl SourceFile {
    fn letters_before(&self, at: u32) -> usize {
        let at = (at as usize).min(self.text.len());
        let block = at / BLOCK;
        self.letters[block] as usize + count(&self.text.as_bytes()[block * BLOCK..at])
    }

    /// The text with every secret stretch as asterisks, byte for byte as long.
    pub fn shown(&self) -> String {
        let mut bytes = self.text.clone().into_bytes();
        for &(start, end) in &self.masked {
            for byte in &mut bytes[start as usize..end as usize] {
                if *byte != b'\n' && *byte != b'\r' {
                    *byte = b'*';
                }
            }
        }
        // Masks cover whole characters, so the rest is still UTF-8.
        String::from_utf8(bytes).unwrap_or_default()
    }

    /// The folder that relative paths in this file start from.
    pub fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_letters_wherever_they_are() {
        let mut map = SourceMap::default();
        let line = "\u{e9}a".repeat(BLOCK);
        let file = map.add("f".to_owned(), PathBuf::new(), format!("x\n{line}\n{}", "y".repeat(BLOCK)));
        let text = map.file(file).text.clone();
        let places = text.char_indices().map(|(at, _)| at).chain([text.len()]).step_by(97);
        for at in places.chain([text.len()]) {
            let before = &text[..at];
            let line = before.rsplit('\n').next().unwrap_or("");
            let expected = Place { line: before.matches('\n').count() + 1, column: line.chars().count() + 1 };
            assert_eq!(map.place(Span::new(file, at, at)), expected, "{at}");
        }
    }
}
