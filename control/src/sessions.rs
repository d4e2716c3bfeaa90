//! What lets clients' sessions outlive the process: the key that their ids are sealed with, and which of them are over.
//!
//! Both lie beside each other in the state folder, bound to the file that is served, like the table that is kept:
//! `sessions/HASH-NAME.key` and `.ended`. Whoever ended a session must not find it alive after a restart, so when an
//! end cannot be written down the key goes: the next process makes a new one, and every session of before is unknown.
//! Of a principal that ends very many only the moment is kept, before which all of its sessions are over.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use strait_engine::Kept;
use strait_engine::limits::{SESSION_KEPT_MS_MAX, SESSIONS_ENDED_MAX, SESSIONS_ENDED_PER_PRINCIPAL_MAX};

use crate::limits::SESSION_KEY_AGE_MAX;
use crate::log;
use crate::state::{State, read_secret, write_private, write_secret};

/// The files of one gateway.
pub struct Sessions {
    key: PathBuf,
    ended: PathBuf,
    /// Lines of the second, in all and of each principal.
    lines: usize,
    lines_of: HashMap<u64, usize>,
}

/// A line of the second file.
#[derive(Clone, Copy)]
enum Line {
    /// `SERIAL BEGUN PRINCIPAL`: this session is over.
    Session { serial: u128, begun_unix_ms: u64, principal: u64 },
    /// `* MOMENT PRINCIPAL`: so are all of this principal that began until then.
    Principal { until_unix_ms: u64, principal: u64 },
}

impl Line {
    fn parse(line: &str) -> Option<Line> {
        let mut words = line.split(' ');
        let (what, moment, principal) = (words.next()?, words.next()?.parse().ok()?, words.next()?);
        let principal = u64::from_str_radix(principal, 16).ok()?;
        let parsed = match what {
            "*" => Line::Principal { until_unix_ms: moment, principal },
            _ => Line::Session {
                serial: u128::from_str_radix(what, 16).ok()?,
                begun_unix_ms: moment,
                principal,
            },
        };
        words.next().is_none().then_some(parsed)
    }

    /// Whether a session that it speaks of could still be taken up.
    fn matters(self, now_unix_ms: u64) -> bool {
        let (Line::Session { begun_unix_ms: moment, .. } | Line::Principal { until_unix_ms: moment, .. }) =
            self;
        now_unix_ms.saturating_sub(moment) < SESSION_KEPT_MS_MAX
    }

    fn principal(self) -> u64 {
        let (Line::Session { principal, .. } | Line::Principal { principal, .. }) = self;
        principal
    }
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Line::Session { serial, begun_unix_ms, principal } => {
                writeln!(f, "{serial:032x} {begun_unix_ms} {principal:016x}")
            }
            Line::Principal { until_unix_ms, principal } => writeln!(f, "* {until_unix_ms} {principal:016x}"),
        }
    }
}

impl Sessions {
    /// What the last process left, or a beginning.
    pub fn open(state: &State, name: &str) -> io::Result<(Sessions, Kept)> {
        let folder = state.root().join("sessions");
        let (key, ended) = (folder.join(format!("{name}.key")), folder.join(format!("{name}.ended")));
        let mut sessions = Sessions { key, ended, lines: 0, lines_of: HashMap::new() };
        let kept = match sessions.read() {
            Some(kept) => kept,
            None => sessions.begin()?,
        };
        Ok((sessions, kept))
    }

    /// A new key. No id of before opens, so nothing needs to be remembered of them.
    fn begin(&mut self) -> io::Result<Kept> {
        (self.lines, self.lines_of) = (0, HashMap::new());
        let mut key = [0; 32];
        rustix::rand::getrandom(&mut key, rustix::rand::GetRandomFlags::empty())?;
        write_secret(&self.key, blake3::Hash::from_bytes(key).to_hex().as_str())?;
        write_private(&self.ended, b"")?;
        Ok(Kept { key, ..Kept::default() })
    }

    /// `None`: there is nothing, or nothing that may be used.
    fn read(&mut self) -> Option<Kept> {
        let written = fs::metadata(&self.key).and_then(|file| file.modified()).ok()?;
        // Ids are sealed under random nonces, which must not come twice under one key.
        if SystemTime::now().duration_since(written).unwrap_or_default() > SESSION_KEY_AGE_MAX {
            return None;
        }
        let key = blake3::Hash::from_hex(read_secret(&self.key).ok()?).ok()?;
        let mut kept = Kept { key: *key.as_bytes(), ..Kept::default() };
        let lines = self.rewrite(|_| true, None).ok()?;
        for line in lines {
            match line {
                Line::Session { serial, .. } => {
                    kept.ended.insert(serial);
                }
                Line::Principal { until_unix_ms, principal } => {
                    kept.over.insert(principal, until_unix_ms);
                }
            }
        }
        (self.lines < SESSIONS_ENDED_MAX).then_some(kept)
    }

    /// Writes the list anew with the lines that still matter and are to stay, and one more.
    fn rewrite(&mut self, stays: impl Fn(Line) -> bool, more: Option<Line>) -> io::Result<Vec<Line>> {
        let text = fs::read_to_string(&self.ended)?;
        let parsed: Option<Vec<Line>> = text.lines().map(Line::parse).collect();
        let parsed =
            parsed.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a line is none of ours"))?;
        let now = now_unix_ms();
        // Older ones are taken up by nobody.
        let left = parsed.into_iter().filter(|line| line.matters(now) && stays(*line)).chain(more);
        let left: Vec<Line> = left.collect();
        write_private(&self.ended, left.iter().map(Line::to_string).collect::<String>().as_bytes())?;
        (self.lines, self.lines_of) = (left.len(), HashMap::new());
        for line in &left {
            *self.lines_of.entry(line.principal()).or_default() += 1;
        }
        Ok(left)
    }

    /// A session is over.
    pub fn ended(&mut self, serial: u128, begun_unix_ms: u64, principal: u64) {
        if self.lines >= SESSIONS_ENDED_MAX {
            return;
        }
        if let Err(error) = self.write(Line::Session { serial, begun_unix_ms, principal }) {
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

    /// Of a principal that ended too many only the moment stays.
    fn write(&mut self, line: Line) -> io::Result<()> {
        let principal = line.principal();
        let its = self.lines_of.get(&principal).copied().unwrap_or_default();
        if its < SESSIONS_ENDED_PER_PRINCIPAL_MAX {
            append(&self.ended, &line.to_string())?;
            self.lines += 1;
            self.lines_of.insert(principal, its + 1);
            return Ok(());
        }
        log::warn(format!(
            "one principal has ended {its} sessions within a day: none that it has until now outlives this process"
        ));
        let over = Line::Principal { until_unix_ms: now_unix_ms(), principal };
        self.rewrite(|line| line.principal() != principal, Some(over)).map(drop)
    }
}

fn now_unix_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

/// The client that ended a session is answered without waiting for this: docs/LIFE_OF_AN_EXCHANGE.md says why that may
/// be. A line that was cut short by the end of the
/// process makes the whole file useless ([`Sessions::read`]), which ends all sessions.
fn append(path: &Path, line: &str) -> io::Result<()> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)?.write_all(line.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    use super::*;
    use crate::test_support::Folder;

    #[test]
    fn the_key_stays_and_what_ended_stays_ended() {
        let folder = Folder::new();
        let state = State::open(folder.path()).unwrap();
        let (mut sessions, first) = Sessions::open(&state, "a").unwrap();
        assert!(first.ended.is_empty());
        for file in [&sessions.key, &sessions.ended] {
            assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
        }
        sessions.ended(7, now_unix_ms(), 1);
        // Long ago: its id would not be taken up anyway.
        sessions.ended(8, now_unix_ms() - SESSION_KEPT_MS_MAX, 1);
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
        let spoil: [Spoil<'_>; 7] = [
            ("no key", &|sessions| fs::remove_file(&sessions.key).unwrap()),
            ("no list", &|sessions| fs::remove_file(&sessions.ended).unwrap()),
            ("half a key", &|sessions| fs::write(&sessions.key, "0123").unwrap()),
            ("half a line", &|sessions| fs::write(&sessions.ended, "00ff").unwrap()),
            ("a line of another form", &|sessions| fs::write(&sessions.ended, "00ff 1\n").unwrap()),
            ("an old key", &|sessions| {
                let old = SystemTime::now() - SESSION_KEY_AGE_MAX - Duration::from_secs(60);
                fs::File::options().write(true).open(&sessions.key).unwrap().set_modified(old).unwrap();
            }),
            ("too many", &|sessions| {
                let line = |serial: usize| format!("{serial:032x} {} {:016x}\n", now_unix_ms(), serial % 100);
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
    fn a_principal_that_ends_very_many_ends_no_others() {
        let folder = Folder::new();
        let state = State::open(folder.path()).unwrap();
        let (mut sessions, first) = Sessions::open(&state, "a").unwrap();
        let began = now_unix_ms();
        sessions.ended(7, began, 1);
        for serial in 0..2 * SESSIONS_ENDED_PER_PRINCIPAL_MAX as u128 + 10 {
            sessions.ended(1_000 + serial, began, 2);
        }
        assert!(sessions.lines < SESSIONS_ENDED_PER_PRINCIPAL_MAX, "{}", sessions.lines);
        let (mut again, kept) = Sessions::open(&state, "a").unwrap();
        assert_eq!(kept.key, first.key, "everybody else's go on");
        assert!(kept.ended.contains(&7));
        assert_eq!(kept.over.keys().collect::<Vec<_>>(), [&2]);
        assert!(kept.over[&2] >= began);
        // Those that it ended since are remembered one by one.
        let since = kept.ended.len() - 1;
        assert!(since < SESSIONS_ENDED_PER_PRINCIPAL_MAX, "{since}");
        again.ended(9, now_unix_ms(), 2);
        let (_, later) = Sessions::open(&state, "a").unwrap();
        assert!(later.ended.contains(&9) && later.over == kept.over);
    }

    #[test]
    fn an_end_that_cannot_be_written_down_ends_all() {
        let folder = Folder::new();
        let state = State::open(folder.path()).unwrap();
        let (mut sessions, before) = Sessions::open(&state, "a").unwrap();
        fs::remove_file(&sessions.ended).unwrap();
        fs::create_dir(&sessions.ended).unwrap();
        sessions.ended(7, now_unix_ms(), 1);
        assert!(!sessions.key.exists());
        fs::remove_dir(&sessions.ended).unwrap();
        assert_ne!(Sessions::open(&state, "a").unwrap().1.key, before.key);
    }
}
