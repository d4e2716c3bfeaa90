//! Folders of tests, gone when dropped, and logs in them.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::age::Recipient;
use crate::folder::{self, Kept, Options, Payload};
use crate::frame::Which;
use crate::key::SigningKey;
use crate::log::{Log, Opened};
use crate::{LogError, hash};

pub struct Folder {
    path: PathBuf,
}

impl Folder {
    pub fn new(name: &str) -> Folder {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        // In memory where that is possible: every step is synced.
        let memory = Path::new("/dev/shm");
        let base = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let path = base.join(format!("strait-audit-{name}-{}-{count}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder { path }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// Everything in a folder, again.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
    // The key lies beside.
    let key = from.with_extension("key");
    if key.is_file() {
        std::fs::copy(key, to.with_extension("key")).unwrap();
    }
}

/// Every file below a folder, seen from there.
pub fn files(dir: &Path) -> Vec<String> {
    let (mut folders, mut files) = (vec![dir.to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            match entry.file_type().unwrap().is_dir() {
                true => folders.push(entry.path()),
                false => files.push(entry.path().strip_prefix(dir).unwrap().to_str().unwrap().to_owned()),
            }
        }
    }
    files.sort();
    files
}

/// 2026-11-22T12:00:00Z.
pub const NOON_MS: u64 = 1_795_348_800_000;

pub fn options() -> Options {
    Options {
        origin: "gateway.example/audit".to_owned(),
        cores: 2,
        rotate_bytes: 4 << 10,
        start: r#"{"version":"0.1.0"}"#.to_owned(),
        recipients: Vec::new(),
        now_ms: NOON_MS,
    }
}

/// A log that is written to a disk as it goes.
pub struct Written {
    pub opened: Opened,
    pub n: [u64; 2],
}

impl Written {
    pub fn open(dir: &Path) -> Written {
        Written::try_open(dir).unwrap_or_else(|error| panic!("{error}"))
    }

    pub fn try_open(dir: &Path) -> Result<Written, LogError> {
        Written::try_open_for(dir, &[])
    }

    /// Payloads that are kept whole are for these.
    pub fn try_open_for(dir: &Path, recipients: &[Recipient]) -> Result<Written, LogError> {
        let key = SigningKey::open_or_make(&dir.with_extension("key"))?;
        let options = Options { recipients: recipients.to_vec(), ..options() };
        let opened = Log::open(dir, &key, &options)?;
        Ok(Written { opened, n: [0; 2] })
    }

    pub fn folder(&mut self) -> &mut folder::Folder {
        &mut self.opened.folder
    }

    /// A record as workers write them, on one of the two cores; every third with payloads.
    pub fn add(&mut self, core: usize) -> u64 {
        let n = self.n[core];
        let facts = format!(
            r#"{{"ts":"2026-11-22T12:00:{:02}.000Z","kind":"exchange","id":"{core}-{n}","principal":"ann","method":"tools/call","tool":"crm.find","verdict":"permit","rule":"all","status":200}}"#,
            n % 60
        );
        let arguments = format!(r#"{{"q":"number {n}"}}"#);
        let result = format!(r#"{{"found":{n}}}"#);
        let payloads = [
            Payload {
                which: Which::Arguments,
                bytes: arguments.len() as u64,
                kept: Kept::Full(arguments.as_bytes()),
            },
            Payload {
                which: Which::Result,
                bytes: result.len() as u64,
                kept: Kept::Digest(hash::plain(result.as_bytes())),
            },
        ];
        let payloads = if n.is_multiple_of(3) { &payloads[..] } else { &[] };
        self.n[core] += 1;
        self.folder().add(core as u16, n, facts.as_bytes(), payloads).unwrap()
    }

    pub fn commit(&mut self) {
        if let Some(batch) = self.opened.folder.batch() {
            self.opened.disk.write(&batch).unwrap();
            self.opened.folder.committed(batch);
        }
    }

    /// What was added is written, and not confirmed.
    pub fn write_ahead(&mut self) {
        if let Some(piece) = self.opened.folder.ahead() {
            self.opened.disk.write_ahead(&piece).unwrap();
            self.opened.folder.written_ahead();
        }
    }

    pub fn checkpoint(&mut self) {
        for step in self.opened.folder.checkpoint().unwrap_or_default() {
            self.opened.disk.apply(&step).unwrap();
        }
        for step in self.opened.folder.removals() {
            self.opened.disk.apply(&step).unwrap();
        }
    }

    /// The gateway says that it stops, and everything is signed.
    pub fn close(&mut self) {
        self.folder().add_own("stop", "{}").unwrap();
        self.commit();
        self.checkpoint();
    }

    /// So many records, a batch every seven, a checkpoint every forty.
    pub fn fill(&mut self, records: u64) {
        for count in 1..=records {
            self.add((count % 2) as usize);
            if count % 7 == 0 {
                self.commit();
            }
            if count % 40 == 0 {
                self.checkpoint();
            }
        }
        self.commit();
        self.checkpoint();
    }
}
