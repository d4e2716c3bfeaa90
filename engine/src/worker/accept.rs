//! Taking connections off one listener.

use std::rc::Rc;
use std::time::Duration;

use crate::connection;
use crate::core::Core;
use crate::handle::Level;
use crate::io::runtime::{self, sleep};
use crate::io::tcp::Listener;
use crate::limits::TURNED_AWAY_MAX;

/// After an error such as too many open files: time for some to be closed.
const BACK_OFF: Duration = Duration::from_millis(50);

pub async fn run(core: Rc<Core>, listener: Listener, index: u16) {
    let mut told = false;
    while let Some(accepted) = listener.accept(&core.stop).await {
        match accepted {
            Ok(_) if core.turning_away.get() >= TURNED_AWAY_MAX => core.figures.turned_away.add(1),
            Ok((stream, peer)) if core.connections.get() >= core.caps().connections => {
                core.figures.turned_away.add(1);
                let refused = connection::turn_away(core.clone(), stream, index, peer.ip());
                runtime::spawn_guarded("connection turned away", refused);
            }
            Ok((stream, peer)) => {
                core.figures.accepted.add(1);
                runtime::spawn_guarded(
                    "connection",
                    connection::serve(core.clone(), stream, index, peer.ip()),
                );
            }
            Err(error) => {
                core.figures.accept_errors.add(1);
                if !std::mem::replace(&mut told, true) {
                    core.notice(
                        Level::Error,
                        format!("accept failed: {error}; raise the limit of open files (ulimit -n)"),
                    );
                }
                sleep(BACK_OFF).await;
            }
        }
    }
}
