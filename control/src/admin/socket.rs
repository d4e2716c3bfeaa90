//! The admin endpoints on a Unix socket, `admin.sock` in the state folder: whoever may open it needs no token.
//!
//! It is made in a folder of one user and only then renamed into place, so that it is never open to others, not for a
//! moment. Gateways may share a state folder: the first one has the socket, and the others say how they are reached.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use super::bounded::Bounded;
use super::caller::Local;
use super::{Desk, router};
use crate::state::make_folder;

/// Where it is in a state folder.
pub fn path(root: &Path) -> PathBuf {
    root.join("admin.sock")
}

/// Serves on the socket as a task of this runtime. The error says why there is none. A process that takes another one's place
/// takes this socket too.
pub fn start(desk: Desk, takes_over: bool) -> io::Result<()> {
    let path = path(&desk.root);
    if !takes_over && UnixStream::connect(&path).is_ok() {
        return Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "another gateway with this state folder has it",
        ));
    }
    let folder = desk.root.join("rollout");
    make_folder(&folder)?;
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))?;
    let made = folder.join(format!("sock-{}", std::process::id()));
    let _ = fs::remove_file(&made);
    let listener = UnixListener::bind(&made)?;
    fs::set_permissions(&made, fs::Permissions::from_mode(0o600))?;
    fs::rename(&made, &path)?;
    listener.set_nonblocking(true)?;
    let listener = tokio::net::UnixListener::from_std(listener)?;
    let service = router(desk, Vec::new()).into_make_service_with_connect_info::<Local>();
    tokio::spawn(async move { axum::serve(Bounded::new(listener), service).await });
    Ok(())
}
