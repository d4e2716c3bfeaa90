//! `strait connect CLIENT`: a client's own list of servers, edited so that it reaches a gateway. The file is edited where
//! it stands and replaced whole, with its mode and owner; what was there before is kept beside it, and `--undo` puts it
//! back, byte for byte, unless somebody has changed the file since.
//!
//! | | |
//! |---|---|
//! | which file, and what is written | [`client`] |
//! | what was before, and back to it | `kept.rs` |
//! | what changes, for a person to read | `lines.rs` |

pub mod client;
mod kept;
mod lines;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use strait_config_compiler::source::jsonc::edit;
use strait_table::rules::{ArchivedAuthMethod, ArchivedServer};

use crate::keys;
use crate::private;
use crate::state::State;
use crate::whole;
use crate::{Code, Failure, Source};
pub use client::{Client, Route, Surroundings};
use kept::Kept;

/// The largest file of a client that is edited.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// What is wished.
pub struct Wish {
    pub client: Client,
    /// The client's file; its usual one when not said.
    pub file: Option<PathBuf>,
    /// Show what would be written, and write nothing.
    pub dry_run: bool,
}

/// What was done, or would be.
#[derive(Debug)]
pub struct Done {
    pub client: &'static str,
    pub file: PathBuf,
    /// `connected`, `unchanged` or `undone`.
    pub what: &'static str,
    pub dry_run: bool,
    /// Lines that change, without anything that looks like a secret.
    pub diff: String,
    pub kept: Option<PathBuf>,
    pub remark: String,
}

impl Done {
    pub fn to_json(&self) -> Value {
        json!({
            "client": self.client, "file": self.file.to_string_lossy(), "what": self.what, "dry_run": self.dry_run,
            "diff": self.diff, "kept": self.kept.as_deref().map(Path::to_string_lossy), "remark": self.remark,
        })
    }

    pub fn text(&self) -> String {
        let mut out = self.diff.clone();
        let file = self.file.display();
        out.push_str(&match (self.what, self.dry_run) {
            ("unchanged", _) => format!("{file}: nothing to change\n"),
            (what, true) => format!("{file}: would be {what}; nothing was written\n"),
            (what, false) => format!("{file}: {what}\n"),
        });
        if let Some(kept) = &self.kept {
            out.push_str(&format!(
                "what was there before is in {}; `strait connect {} --undo` puts it back\n",
                kept.display(),
                self.client
            ));
        }
        if !self.remark.is_empty() {
            out.push_str(&format!("{}\n", self.remark));
        }
        out
    }
}

/// A client's file as it is now.
struct Found {
    /// Without symbolic links.
    path: PathBuf,
    /// `None`: it is not there.
    bytes: Option<Vec<u8>>,
}

/// Writes the entry of a gateway into a client's file.
pub fn connect(wish: &Wish, route: &Route, around: &Surroundings<'_>) -> Result<Done, Failure> {
    if wish.client.starts_processes_alone() && route.needs_key && route.key_file.is_none() {
        let message =
            format!("{} cannot refer to a variable, and this server asks for a key", wish.client.name());
        return Err(Failure::new(Code::Usage, message)
            .help("write the key to a file of its own, 0600, and name that with --key-file"));
    }
    let found = find(wish, around)?;
    let before = found.text()?;
    let (mark, text) = match before.strip_prefix('\u{feff}') {
        Some(text) => ("\u{feff}", text),
        None => ("", before.as_str()),
    };
    let mut after = edit::put(text, &wish.client.changes(route)).map_err(|why| {
        let message = format!("`{}` is left as it is: {why}", found.path.display());
        Failure::new(Code::Failed, message).help("mend the file, or name another one with --file")
    })?;
    if found.bytes.is_none() {
        after.push('\n');
    }
    let after = format!("{mark}{after}");
    let diff = lines::diff(&before, &after);
    let done = |what, kept| Done {
        client: wish.client.name(),
        file: found.path.clone(),
        what,
        dry_run: wish.dry_run,
        diff,
        kept,
        remark: wish.client.remark(route),
    };
    if found.bytes.is_some() && after == before {
        return Ok(done("unchanged", None));
    }
    if wish.dry_run {
        return Ok(done("connected", None));
    }
    let kept = Kept::keep(&found, after.as_bytes()).map_err(|error| unwritten(&found.path, &error))?;
    found.replace(after.as_bytes())?;
    Ok(done("connected", Some(kept.before().to_owned())))
}

/// Puts back what was there before the first connection.
pub fn undo(wish: &Wish, around: &Surroundings<'_>) -> Result<Done, Failure> {
    let found = find(wish, around)?;
    let kept = Kept::of(&found.path)?;
    let before = kept.contents()?;
    kept.is_as_written(&found)?;
    let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let now = found.bytes.as_deref().map(shown).unwrap_or_default();
    let diff = lines::diff(&now, &before.as_deref().map(shown).unwrap_or_default());
    if !wish.dry_run {
        match &before {
            Some(bytes) => found.replace(bytes)?,
            None => fs::remove_file(&found.path).map_err(|error| unwritten(&found.path, &error))?,
        }
        kept.forget();
    }
    Ok(Done {
        client: wish.client.name(),
        file: found.path,
        what: "undone",
        dry_run: wish.dry_run,
        diff,
        kept: None,
        remark: String::new(),
    })
}

fn find(wish: &Wish, around: &Surroundings<'_>) -> Result<Found, Failure> {
    let path = wish.file.clone().or_else(|| wish.client.file(around)).ok_or_else(|| {
        let message = format!("where {} keeps its file cannot be told: HOME is not set", wish.client.name());
        Failure::new(Code::Usage, message).help("name it with --file")
    })?;
    let unreadable = |error: &std::io::Error| {
        let message = format!("cannot read `{}`: {error}", path.display());
        Failure::new(Code::Usage, message).help("name another file with --file")
    };
    match fs::symlink_metadata(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let folder =
                path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let real = folder.canonicalize().map_err(|_| {
                let message = format!("there is no folder `{}`", folder.display());
                Failure::new(Code::Usage, message).help(format!(
                    "is {} installed here? Its file may be elsewhere: name it with --file",
                    wish.client.name()
                ))
            })?;
            let name = path.file_name().ok_or_else(|| Failure::new(Code::Usage, "--file names no file"))?;
            Ok(Found { path: real.join(name), bytes: None })
        }
        Err(error) => Err(unreadable(&error)),
        // A link to nothing is an error of its own.
        Ok(_) => {
            let real = path.canonicalize().map_err(|error| unreadable(&error))?;
            let about = fs::metadata(&real).map_err(|error| unreadable(&error))?;
            if !about.is_file() || about.len() > FILE_BYTES_MAX {
                let message = format!("`{}` is no file of at most {FILE_BYTES_MAX} bytes", real.display());
                return Err(Failure::new(Code::Usage, message));
            }
            let bytes = fs::read(&real).map_err(|error| unreadable(&error))?;
            Ok(Found { path: real, bytes: Some(bytes) })
        }
    }
}

impl Found {
    fn text(&self) -> Result<String, Failure> {
        let bytes = self.bytes.clone().unwrap_or_default();
        String::from_utf8(bytes).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            Failure::new(Code::Failed, format!("`{}` is not UTF-8 text, at byte {at}", self.path.display()))
        })
    }

    /// The client may have written it in the meantime: then it is left alone.
    fn replace(&self, bytes: &[u8]) -> Result<(), Failure> {
        let now = match fs::read(&self.path) {
            Ok(now) => Some(now),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(unwritten(&self.path, &error)),
        };
        if now != self.bytes {
            let message = format!("`{}` was changed while it was being edited", self.path.display());
            return Err(Failure::new(Code::Conflict, message).help("run it again"));
        }
        whole::write_like(&self.path, bytes).map_err(|error| unwritten(&self.path, &error))
    }
}

fn unwritten(path: &Path, error: &std::io::Error) -> Failure {
    let message = format!("cannot write `{}`: {error}", path.display());
    Failure::new(Code::Unfit, message).help("the folder must be one that this user may write")
}

/// What a configuration or table says of the way to one of its servers.
pub struct Told {
    pub url: String,
    pub needs_key: bool,
    /// Where `strait up` keeps the first key that it makes for the server.
    pub key_file: Option<PathBuf>,
}

/// The way to a server of a configuration or table.
pub fn told(file: &Path, server: Option<&str>) -> Result<Told, Failure> {
    let source = Source::detect(file)?;
    let opened = source.open()?;
    let rules = opened.snapshot.rules();
    let server = private::server_of(&opened.snapshot, server)?;
    let listener = rules.listeners.first();
    let path = server.path.as_str();
    let public = listener.and_then(|listener| listener.public.as_ref());
    let url = match (public, listener) {
        (Some(public), _) => format!("{}{path}", public.as_str().trim_end_matches('/')),
        (None, Some(listener)) => format!("http://{}{path}", reachable(listener.bind.as_str())),
        (None, None) => return Err(Failure::new(Code::Failed, "the configuration has no listener")),
    };
    let base = opened.base.canonicalize().unwrap_or_else(|_| opened.base.clone());
    let state = State::at(&base.join(".strait"));
    let generated = identities(server).filter_map(|at| rules.identities.get(at)).find_map(|identity| {
        match &identity.method {
            ArchivedAuthMethod::Generated { keys: generated } => {
                Some(keys::key_file_of(identity, generated.first()?.id.as_str(), &state))
            }
            _ => None,
        }
    });
    Ok(Told { url, needs_key: !server.auth.is_empty(), key_file: generated })
}

fn identities(server: &ArchivedServer) -> impl Iterator<Item = usize> {
    server.auth.iter().map(|identity| usize::from(identity.to_native()))
}

/// An address that a client of this machine can connect to.
fn reachable(bind: &str) -> String {
    match bind.parse::<std::net::SocketAddr>() {
        Ok(mut address) if address.ip().is_unspecified() => {
            address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
            address.to_string()
        }
        _ => bind.to_owned(),
    }
}
