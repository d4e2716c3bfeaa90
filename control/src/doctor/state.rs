//! The state folder: whether this user can keep keys and the last good table there. Nothing is made or changed.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use super::Line;

pub struct Facts {
    pub path: PathBuf,
    /// The folder itself, or the nearest that exists above it.
    pub nearest: PathBuf,
    pub writable: bool,
    pub mode: Option<u32>,
}

pub fn look(path: &Path) -> Facts {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let nearest = whole.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/")).to_owned();
    let is_folder = nearest.is_dir();
    Facts {
        path: path.to_owned(),
        writable: is_folder && access(&nearest, Access::WRITE_OK | Access::EXEC_OK).is_ok(),
        mode: whole.metadata().ok().map(|found| found.permissions().mode() & 0o777),
        nearest,
    }
}

pub fn judge(facts: &Facts) -> Vec<Line> {
    let path = facts.path.display();
    vec![match facts.mode {
        _ if !facts.writable => Line::fail(
            "state folder",
            format!("`{path}`: this user may not write in `{}`", facts.nearest.display()),
            "choose a folder that this user may write with `--state DIR`",
        ),
        Some(mode) if mode & 0o077 != 0 => Line::warn(
            "state folder",
            format!("`{path}`: others may enter it (mode {mode:o})"),
            format!("chmod 700 {path}"),
        ),
        Some(_) => Line::ok("state folder", format!("`{path}`")),
        None => Line::ok("state folder", format!("`{path}` can be made")),
    }]
}
