//! What comes next for a collector, out of the log's files: read on a thread that may wait for a disk.

use std::path::PathBuf;

use strait_audit::export::Format;
use strait_audit::hash;
use strait_audit::reader::Reader;

use super::batch::Record;
use super::cursor::Mark;
use crate::limits::{SHIP_BATCH_BYTES_MAX, SHIP_BATCH_RECORDS_MAX};

pub struct Source {
    folder: PathBuf,
    form: Format,
    reader: Option<Reader>,
    /// Index of the record that the reader gives next.
    at: u64,
}

/// Records in order, and what is missing before them.
#[derive(Debug, Default)]
pub struct Batch {
    pub records: Vec<(Record, Mark)>,
    /// How many were removed from the log before they were sent.
    pub missed: u64,
}

impl Source {
    pub fn new(folder: PathBuf, form: Format) -> Source {
        Source { folder, form, reader: None, at: 0 }
    }

    /// Whether the log has the record that was sent last, with these bytes. One that was removed since cannot be asked.
    pub fn has(&self, mark: Mark, index: u64) -> Result<bool, String> {
        let mut reader = Reader::open(&self.folder, index).map_err(|error| error.to_string())?;
        let entry = reader.read().map_err(|error| error.to_string())?;
        Ok(entry.is_some_and(|entry| entry.index > index || Mark(hash::leaf(entry.bytes)) == mark))
    }

    /// What there is from `next` on, up to `size`, the records that a checkpoint covers.
    pub fn take(&mut self, next: u64, size: u64) -> Result<Batch, String> {
        let taken = self.read(next, size);
        if !taken.as_ref().is_ok_and(|batch| !batch.records.is_empty()) {
            // The segment may be gone, with more to come in another: looked for anew.
            self.reader = None;
        }
        taken
    }

    fn read(&mut self, next: u64, size: u64) -> Result<Batch, String> {
        let mut reader = match self.reader.take().filter(|_| self.at == next) {
            Some(reader) => reader,
            None => Reader::open(&self.folder, next).map_err(|error| error.to_string())?,
        };
        let (mut batch, mut bytes, mut at) = (Batch::default(), 0, next);
        while at < size && batch.records.len() < SHIP_BATCH_RECORDS_MAX && bytes < SHIP_BATCH_BYTES_MAX {
            let Some(entry) = reader.read().map_err(|error| error.to_string())? else { break };
            let mark = Mark(hash::leaf(entry.bytes));
            if entry.index > at {
                batch.missed += entry.index - at;
                let told = Record::unshipped(at, entry.index - 1, entry.bytes, self.form);
                batch.records.push((told, Mark::default()));
            }
            let record = Record::of(entry.index, entry.bytes, self.form);
            bytes += record.bytes();
            at = entry.index + 1;
            batch.records.push((record, mark));
        }
        (self.reader, self.at) = (Some(reader), at);
        Ok(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::Folder;
    use std::path::Path;
    use strait_audit::{Log, Options, SigningKey, segment};

    /// A log of so many records, in segments of a few.
    fn log(dir: &Path, records: u64) -> u64 {
        let options = Options {
            origin: "test".to_owned(),
            cores: 1,
            rotate_bytes: 2_000,
            start: "{}".to_owned(),
            recipients: Vec::new(),
            now_ms: 1_795_348_800_000,
        };
        let key = SigningKey::generate().unwrap();
        let mut opened = Log::open(dir, &key, &options).unwrap();
        for n in 0..records {
            opened.folder.add(0, n, br#"{"kind":"exchange","tool":"a.b"}"#, &[]).unwrap();
            let Some(batch) = opened.folder.batch() else { continue };
            opened.disk.write(&batch).unwrap();
            opened.folder.committed(batch);
        }
        opened.folder.committed_size()
    }

    #[test]
    fn what_was_removed_is_told_in_its_place_and_the_rest_comes() {
        let folder = Folder::new();
        let dir = folder.path().join("audit");
        let size = log(&dir, 100);
        let mut source = Source::new(dir.clone(), Format::Ndjson);
        let all = source.take(0, size).unwrap();
        let indexes: Vec<u64> = all.records.iter().map(|(record, _)| record.index).collect();
        assert_eq!(indexes, (0..size).collect::<Vec<_>>());
        assert!(source.has(all.records[7].1, 7).unwrap() && !source.has(all.records[8].1, 7).unwrap());
        assert!(!source.has(all.records[7].1, size + 7).unwrap(), "a log that is shorter is another one");
        assert!(source.take(5, 9).unwrap().records.len() == 4, "no more than is signed");
        let firsts = segment::firsts(&dir, "entries").unwrap();
        assert!(firsts.len() > 3, "{firsts:?}");
        // The reader stands in the first segment while the next two go.
        assert_eq!(source.take(0, 3).unwrap().records.len(), 3);
        for first in &firsts[..3] {
            std::fs::remove_file(dir.join(segment::entries_path(*first))).unwrap();
        }
        let mut next = 3;
        let mut missed = 0;
        while next < size {
            let batch = source.take(next, size).unwrap();
            for (record, mark) in &batch.records {
                if record.kind == "unshipped" {
                    assert_eq!((record.index, *mark), (firsts[3] - 1, Mark::default()), "{}", record.line);
                } else {
                    assert!(record.index >= next, "{} after {next}", record.index);
                }
                next = record.index + 1;
            }
            missed += batch.missed;
        }
        // What an open file still had came, too.
        assert!(missed > 0 && missed <= firsts[3] - 3, "{missed}");
    }
}
