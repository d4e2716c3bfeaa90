//! Whether files have changed, by looking.
//!
//! Each file's identity (device, inode, size, both times) is compared with the one taken before the file
//! was last read, twice a second. Looking follows links and sees every way of replacing a file: written in
//! place, renamed over, a link or a folder above it switched; and it works on every file system. inotify
//! would answer some hundred milliseconds sooner, needs a watch on every folder of the path, and sees
//! nothing on network file systems, so that looking would be needed beside it.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tokio::sync::mpsc;
use tokio::task::AbortHandle;

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

/// Looks for as long as it lives.
pub struct Watch {
    task: AbortHandle,
}

impl Watch {
    /// Tells once, when something differs from `marks` and holds still again.
    pub fn start(marks: Marks, changes: mpsc::UnboundedSender<Group>) -> Watch {
        let task = tokio::spawn(async move {
            let groups = wait(marks).await;
            for group in groups {
                // Nobody listens any more: the process is ending.
                let _ = changes.send(group);
            }
        });
        Watch { task: task.abort_handle() }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn wait(marks: Marks) -> Vec<Group> {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        // A file system that hangs holds up a thread of the pool, never this one.
        let (looked, again) = (marks.clone(), marks.clone());
        let changed = tokio::task::spawn_blocking(move || looked.changed()).await.unwrap_or_default();
        if changed.is_empty() {
            continue;
        }
        let mut waited = std::time::Duration::ZERO;
        let mut last = again.renewed();
        while waited < SETTLE_WITHIN {
            tokio::time::sleep(SETTLE).await;
            waited += SETTLE;
            if !last.have_changed() {
                break;
            }
            last = last.renewed();
        }
        return marks.changed();
    }
}
