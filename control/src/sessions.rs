//! What lets clients' sessions outlive the process: the key that their ids are sealed with, and which of them are over.
//!
//! Both lie beside each other in the state folder, bound to the file that is served, like the table that is kept:
//! `sessions/HASH-NAME.key` and `.ended`. Whoever ended a session must not find it alive after a restart, so when an
//! end cannot be written down the key goes: the next process makes a new one, and every session of before is unknown.

use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use strait_engine::Kept;
use strait_engine::limits::{SESSION_KEPT_MS_MAX, SESSIONS_ENDED_MAX};

use crate::limits::SESSION_KEY_AGE_MAX;
use crate::log;
use crate::state::{State, read_secret, write_private, write_secret};

/// The files of one gateway.
pub struct Sessions {
    key: PathBuf,
    ended: PathBuf,
    /// Lines of the second.
    lines: usize,
}

impl Sessions {
    /// What the last process left, or a beginning.
    pub fn open(state: &State, name: &str) -> io::Result<(Sessions, Kept)> {
        let folder = state.root().join("sessions");
        let (key, ended) = (folder.join(format!("{name}.key")), folder.join(format!("{name}.ended")));
        let mut sessions = Sessions { key, ended, lines: 0 };
        let kept = match sessions.read() {
            Some(kept) => kept,
            None => sessions.begin()?,
        };
        sessions.lines = kept.ended.len();
        Ok((sessions, kept))
    }

    /// A new key. No id of before opens, so nothing needs to be remembered of them.
    fn begin(&self) -> io::Result<Kept> {
        let mut key = [0; 32];
        rustix::rand::getrandom(&mut key, rustix::rand::GetRandomFlags::empty())?;
        write_secret(&self.key, blake3::Hash::from_bytes(key).to_hex().as_str())?;
        write_private(&self.ended, b"")?;
        Ok(Kept { key, ended: HashSet::new() })
    }

    /// `None`: there is nothing, or nothing that may be used.
    fn read(&self) -> Option<Kept> {
        let written = fs::metadata(&self.key).and_then(|file| file.modified()).ok()?;
        // Ids are sealed under random nonces, which must not come twice under one key.
        if SystemTime::now().duration_since(written).unwrap_or_default() > SESSION_KEY_AGE_MAX {
            return None;
        }
        let key = blake3::Hash::from_hex(read_secret(&self.key).ok()?).ok()?;
        let text = fs::read_to_string(&self.ended).ok()?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let mut ended = HashSet::new();
        let mut left = String::new();
        for line in text.lines() {
            let (serial, begun_unix_ms) = parse(line)?;
            // Older ones are taken up by nobody.
            if now.saturating_sub(Duration::from_millis(begun_unix_ms)).as_millis()
                < u128::from(SESSION_KEPT_MS_MAX)
            {
                ended.insert(serial);
                left.push_str(line);
                left.push('\n');
            }
        }
        if ended.len() >= SESSIONS_ENDED_MAX {
            return None;
        }
        write_private(&self.ended, left.as_bytes()).ok()?;
        Some(Kept { key: *key.as_bytes(), ended })
    }

    /// A session is over.
    pub fn ended(&mut self, serial: u128, begun_unix_ms: u64) {
        if self.lines >= SESSIONS_ENDED_MAX {
            return;
        }
        self.lines += 1;
        if let Err(error) = append(&self.ended, &format!("{serial:032x} {begun_unix_ms}\n")) {
            self.lines = SESSIONS_ENDED_MAX + 1;
            let path = self.ended.display();
            log::warn(format!("cannot write `{path}`: {error}; sessions will not outlive this process"));
        }
        if self.lines == SESSIONS_ENDED_MAX {
            log::warn(format!(
                "{SESSIONS_ENDED_MAX} sessions have ended: no more are remembered, and none of today's outlives this process"
            ));
        }
        if self.lines >= SESSIONS_ENDED_MAX
            && let Err(error) = fs::remove_file(&self.key)
            && error.kind() != io::ErrorKind::NotFound
        {
            log::error(format!(
                "cannot remove `{}`: {error}; remove it before a restart",
                self.key.display()
            ));
        }
    }
}

/// The client that ended a session is answered without waiting for this. A line that was cut short by the end of the
/// process makes the whole file useless ([`Sessions::read`]), which ends all sessions.
fn append(path: &Path, line: &str) -> io::Result<()> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)?.write_all(line.as_bytes())
}

fn parse(line: &str) -> Option<(u128, u64)> {
    let (serial, begun_unix_ms) = line.split_once(' ')?;
    Some((u128::from_str_radix(serial, 16).ok()?, begun_unix_ms.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::test_support::Folder;

    fn now_unix_ms() -> u64 {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64
    }

    #[test]
    fn the_key_stays_and_what_ended_stays_ended() {
        let folder = Folder::new();
        let state = State::open(folder.path()).unwrap();
        let (mut sessions, first) = Sessions::open(&state, "a").unwrap();
        assert!(first.ended.is_empty());
        for file in [&sessions.key, &sessions.ended] {
            assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
        }
        sessions.ended(7, now_unix_ms());
        // Long ago: its id would not be taken up anyway.
        sessions.ended(8, now_unix_ms() - SESSION_KEPT_MS_MAX);
        let (_, again) = Sessions::open(&state, "a").unwrap();
        assert_eq!(again.key, first.key);
        assert_eq!(again.ended, HashSet::from([7]));
        let (_, other) = Sessions::open(&state, "b").unwrap();
        assert_ne!(other.key, first.key, "another gateway of the same folder");
        assert!(other.ended.is_empty());
    }

    #[test]
    fn what_cannot_be_trusted_makes_a_new_key() {
        let folder = Folder::new();
        let state = State::open(folder.path()).unwrap();
        type Spoil<'s> = (&'s str, &'s dyn Fn(&Sessions));
        let spoil: [Spoil<'_>; 6] = [
            ("no key", &|sessions| fs::remove_file(&sessions.key).unwrap()),
            ("no list", &|sessions| fs::remove_file(&sessions.ended).unwrap()),
            ("half a key", &|sessions| fs::write(&sessions.key, "0123").unwrap()),
            ("half a line", &|sessions| fs::write(&sessions.ended, "00ff").unwrap()),
            ("an old key", &|sessions| {
                let old = SystemTime::now() - SESSION_KEY_AGE_MAX - Duration::from_secs(60);
                fs::File::options().write(true).open(&sessions.key).unwrap().set_modified(old).unwrap();
            }),
            ("too many", &|sessions| {
                let line = |serial: usize| format!("{serial:032x} {}\n", now_unix_ms());
                fs::write(&sessions.ended, (0..SESSIONS_ENDED_MAX).map(line).collect::<String>()).unwrap();
            }),
        ];
        for (what, spoil) in spoil {
            let (sessions, before) = Sessions::open(&state, "a").unwrap();
            spoil(&sessions);
            let (_, after) = Sessions::open(&state, "a").unwrap();
            assert_ne!(after.key, before.key, "{what}");
            assert!(after.ended.is_empty(), "{what}");
        }
    }

    #[test]
    fn an_end_that_cannot_be_written_down_ends_all() {
        let folder = Folder::new();
        let state = State::open(folder.path()).unwrap();
        let (mut sessions, before) = Sessions::open(&state, "a").unwrap();
        fs::remove_file(&sessions.ended).unwrap();
        fs::create_dir(&sessions.ended).unwrap();
        sessions.ended(7, now_unix_ms());
        assert!(!sessions.key.exists());
        fs::remove_dir(&sessions.ended).unwrap();
        assert_ne!(Sessions::open(&state, "a").unwrap().1.key, before.key);
    }
}
