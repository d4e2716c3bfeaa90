//! Whether files have changed, by looking.
//!
//! Each file's identity (device, inode, size, both times) is compared with the one taken before the file
//! was last read, twice a second. Looking follows links and sees every way of replacing a file: written in
//! place, renamed over, a link or a folder above it switched; and it works on every file system. inotify
//! would answer some hundred milliseconds sooner, needs a watch on every folder of the path, and sees
//! nothing on network file systems, so that looking would be needed beside it.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::limits::{LOOK_EVERY, SETTLE, SETTLE_WITHIN};

/// What a watched file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// The table or the configuration, with all it was made from.
    Source,
    /// A file of key digests.
    Keys,
    /// A file that the value of a secret came from.
    Secrets,
}

/// A file's identity; `None`: there is no such file.
type Mark = Option<[i128; 5]>;

/// Files with the identity they had when they were looked at.
#[derive(Clone, Debug, Default)]
pub struct Marks(Vec<(Group, PathBuf, Mark)>);

impl Marks {
    pub fn of(files: Vec<(Group, PathBuf)>) -> Marks {
        let mut marks = Marks::default();
        marks.add(files);
        marks
    }

    /// Adds files that are not in it yet.
    pub fn add(&mut self, files: Vec<(Group, PathBuf)>) {
        for (group, path) in files {
            if !self.0.iter().any(|(known_as, known, _)| (*known_as, known) == (group, &path)) {
                let mark = look(&path);
                self.0.push((group, path, mark));
            }
        }
    }

    pub fn have_changed(&self) -> bool {
        !self.changed().is_empty()
    }

    fn changed(&self) -> Vec<Group> {
        let mut groups: Vec<Group> =
            self.0.iter().filter(|(_, path, mark)| look(path) != *mark).map(|(group, ..)| *group).collect();
        groups.sort_unstable();
        groups.dedup();
        groups
    }

    /// Whether the files of a group are the same, and unchanged between both looks.
    pub fn same(&self, group: Group, other: &Marks) -> bool {
        let holds = |all: &Marks, one: &Marks| {
            one.0.iter().filter(|(of, ..)| *of == group).all(|entry| all.0.contains(entry))
        };
        holds(self, other) && holds(other, self)
    }

    /// Takes the marks of a group anew.
    pub fn renew(&mut self, group: Group) {
        for (known_as, path, mark) in &mut self.0 {
            if *known_as == group {
                *mark = look(path);
            }
        }
    }

    /// Takes the marks of files anew that this process wrote itself: that is no change.
    pub fn wrote(&mut self, files: &[PathBuf]) {
        for (_, path, mark) in &mut self.0 {
            if files.contains(path) {
                *mark = look(path);
            }
        }
    }

    fn renewed(&self) -> Marks {
        Marks(self.0.iter().map(|(group, path, _)| (*group, path.clone(), look(path))).collect())
    }
}

fn look(path: &Path) -> Mark {
    let found = std::fs::metadata(path).ok()?;
    let ns = |seconds: i64, ns: i64| i128::from(seconds) * 1_000_000_000 + i128::from(ns);
    Some([
        found.dev().into(),
        found.ino().into(),
        found.size().into(),
        ns(found.mtime(), found.mtime_nsec()),
        ns(found.ctime(), found.ctime_nsec()),
    ])
}

/// Looks for as long as it lives, on a thread of its own: a file system that hangs holds up nothing else, and between two looks
/// nobody is woken but that thread, by its timer.
pub struct Watch {
    is_over: Arc<AtomicBool>,
    thread: Thread,
}

impl Watch {
    /// Tells once, when something differs from `marks` and holds still again.
    pub fn start(marks: Marks, changes: mpsc::UnboundedSender<Group>) -> io::Result<Watch> {
        let is_over = Arc::new(AtomicBool::new(false));
        let looks = Looks { is_over: is_over.clone() };
        let started = thread::Builder::new().name("strait-watch".into()).spawn(move || {
            for group in looks.until_changed(&marks).unwrap_or_default() {
                // Nobody listens any more: the process is ending.
                let _ = changes.send(group);
            }
        })?;
        Ok(Watch { is_over, thread: started.thread().clone() })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

struct Looks {
    is_over: Arc<AtomicBool>,
}

impl Looks {
    /// What has changed; `None`: nobody wants to know any more.
    fn until_changed(&self, marks: &Marks) -> Option<Vec<Group>> {
        loop {
            self.pause(LOOK_EVERY)?;
            if !marks.have_changed() {
                continue;
            }
            let began = Instant::now();
            let mut last = marks.renewed();
            while began.elapsed() < SETTLE_WITHIN {
                self.pause(SETTLE)?;
                if !last.have_changed() {
                    break;
                }
                last = last.renewed();
            }
            return Some(marks.changed());
        }
    }

    fn pause(&self, long: Duration) -> Option<()> {
        let until = Instant::now() + long;
        loop {
            if self.is_over.load(Ordering::Acquire) {
                return None;
            }
            match until.checked_duration_since(Instant::now()) {
                Some(left) if !left.is_zero() => thread::park_timeout(left),
                _ => return Some(()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_that_is_dropped_tells_nothing_and_lets_go() {
        let file = std::env::temp_dir().join(format!("strait-test-watch-{}", std::process::id()));
        std::fs::write(&file, b"one").unwrap();
        let marks = Marks::of(vec![(Group::Keys, file.clone())]);
        let (sender, mut told) = mpsc::unbounded_channel();
        let watch = Watch::start(marks, sender.clone()).unwrap();
        std::fs::write(&file, b"another").unwrap();
        assert_eq!(told.blocking_recv(), Some(Group::Keys));
        drop(watch);
        let marks = Marks::of(vec![(Group::Keys, file.clone())]);
        drop(Watch::start(marks, sender).unwrap());
        // Its thread had the last sender, and is over.
        assert_eq!(told.blocking_recv(), None);
        std::fs::remove_file(file).unwrap();
    }
}
