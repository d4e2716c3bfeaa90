//! The state folder: what a gateway keeps between runs and nobody else may read. Generated keys, the
//! admin token and secrets live here, each file 0600 in a folder 0700, written whole or not at all.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;

use crate::failure::{Code, Failure};
use crate::limits::SECRET_BYTES_MAX;
use crate::log;

pub struct State {
    root: PathBuf,
}

impl State {
    /// Makes the folder where it is missing.
    pub fn open(root: &Path) -> Result<State, Failure> {
        let failed = |doing: &str, error: io::Error| {
            let message = format!("cannot {doing} the state folder `{}`: {error}", root.display());
            Failure::new(Code::Unfit, message)
                .help("choose a folder that this user may write with `--state DIR`")
        };
        let is_new = !root.exists();
        make_folder(root).map_err(|error| failed("make", error))?;
        if is_new {
            // Keys must not be committed by `git add .`.
            fs::write(root.join(".gitignore"), "*\n").map_err(|error| failed("write to", error))?;
        }
        let mode = fs::metadata(root).map_err(|error| failed("look at", error))?.permissions().mode();
        if mode & 0o077 != 0 {
            let path = root.display();
            log::warn(format!(
                "others may enter the state folder `{path}` (mode {:o}): chmod 700 {path}",
                mode & 0o777
            ));
        }
        let state = State { root: root.to_owned() };
        make_folder(&state.keys()).map_err(|error| failed("make a folder in", error))?;
        make_folder(&state.secrets()).map_err(|error| failed("make a folder in", error))?;
        Ok(state)
    }

    /// The folder as it would be, made by nobody yet.
    pub fn at(root: &Path) -> State {
        State { root: root.to_owned() }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn keys(&self) -> PathBuf {
        self.root.join("keys")
    }

    pub fn secrets(&self) -> PathBuf {
        self.root.join("secrets")
    }

    /// The token of operators, made when there is none yet; gives its path.
    pub fn admin_token(&self) -> io::Result<PathBuf> {
        self.token("admin")
    }

    /// The token of whoever may look and change nothing.
    pub fn viewer_token(&self) -> io::Result<PathBuf> {
        self.token("viewer")
    }

    fn token(&self, role: &str) -> io::Result<PathBuf> {
        let path = self.root.join(format!("{role}.token"));
        if read_secret(&path).is_err() {
            let mut random = [0; 32];
            rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
            let coded = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(random);
            write_secret(&path, &format!("strait-{role}-{coded}"))?;
        }
        Ok(path)
    }
}

pub fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Writes one line, 0600, by renaming a finished file into place.
pub fn write_secret(path: &Path, secret: &str) -> io::Result<()> {
    write_private(path, format!("{secret}\n").as_bytes())
}

/// Writes a file, 0600, in a folder 0700: a reader sees the old one or the new one, also after a power cut.
pub fn write_private(path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".new-{}", std::process::id()));
    let temporary = PathBuf::from(temporary);
    let written = || -> io::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("."));
        make_folder(folder)?;
        let _ = fs::remove_file(&temporary);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(contents)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        fs::File::open(folder)?.sync_all()
    };
    written().inspect_err(|_| {
        // Best effort: the error that matters is the caller's.
        let _ = fs::remove_file(&temporary);
    })
}

/// Reads a secret, without the line break at its end.
pub fn read_secret(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let read = fs::File::open(path)?.take(SECRET_BYTES_MAX + 1).read_to_string(&mut text)?;
    if read as u64 > SECRET_BYTES_MAX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("longer than {SECRET_BYTES_MAX} bytes"),
        ));
    }
    text.truncate(text.trim_end_matches(['\r', '\n']).len());
    match text.is_empty() {
        true => Err(io::Error::new(io::ErrorKind::InvalidData, "it is empty")),
        false => Ok(text),
    }
}

/// `text` as one file name: anything but letters, digits, `_`, `-`, `@` and inner dots is written as
/// `%hex`, so that no id names another folder or collides with another id.
pub fn file_name(text: &str) -> String {
    let mut name = String::with_capacity(text.len());
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' | b'@' => name.push(byte.into()),
            b'.' if at > 0 => name.push('.'),
            other => name.push_str(&format!("%{other:02x}")),
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::Folder;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn everything_is_for_one_user() {
        let folder = Folder::new();
        let root = folder.path().join("a/state");
        let state = State::open(&root).unwrap();
        let token = state.admin_token().unwrap();
        assert_eq!((mode(&root), mode(&state.keys()), mode(&state.secrets())), (0o700, 0o700, 0o700));
        assert_eq!(mode(&token), 0o600);
        let first = read_secret(&token).unwrap();
        assert!(first.len() > 40);
        State::open(&root).unwrap().admin_token().unwrap();
        assert_eq!(read_secret(&token).unwrap(), first);
    }

    #[test]
    fn a_folder_that_cannot_be_made_says_what_to_do() {
        let folder = Folder::new();
        fs::write(folder.path().join("file"), "").unwrap();
        let Err(failure) = State::open(&folder.path().join("file/state")) else { panic!("made") };
        assert_eq!(failure.code, Code::Unfit);
        assert!(failure.help.unwrap().contains("--state"));
    }

    #[test]
    fn ids_become_file_names() {
        let check = |id, name| assert_eq!(file_name(id), name);
        check("you", "you");
        check("ada@example.org", "ada@example.org");
        check("../x/y z", "%2e.%2fx%2fy%20z");
        check("ü%", "%c3%bc%25");
    }

    #[test]
    fn secrets_lose_their_last_line_break_only() {
        let folder = Folder::new();
        let check = |text: &str, expected: Option<&str>| {
            let path = folder.path().join("s");
            fs::write(&path, text).unwrap();
            assert_eq!(read_secret(&path).ok().as_deref(), expected, "{text:?}");
        };
        check("abc\n", Some("abc"));
        check(" a b \r\n", Some(" a b "));
        check("\n", None);
        check(&"x".repeat(SECRET_BYTES_MAX as usize + 1), None);
    }
}
