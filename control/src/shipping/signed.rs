//! What a checkpoint covers: the part of the log that goes out.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use strait_audit::PublicKey;
use strait_audit::note::Checkpoint;
use strait_engine::audit::keeper::Standing;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::limits::SHIP_LOOKED_EVERY;

/// The newest checkpoint.
#[derive(Debug)]
pub struct Signed {
    pub size: u64,
    pub note: String,
}

/// Looks for newer ones, as long as it is let. The writer's own figure says when the file is worth reading.
pub async fn look(folder: PathBuf, figures: Standing, to: watch::Sender<Option<Arc<Signed>>>) {
    let mut seen = None;
    loop {
        let signed = figures.figures().signed.load(Ordering::Relaxed);
        if seen != Some(signed) {
            let at = folder.clone();
            // What cannot be read now is there when the next is signed; a damaged log says so itself.
            if let Ok(Some(found)) = tokio::task::spawn_blocking(move || read(&at)).await {
                seen = Some(signed);
                to.send_if_modified(|known| {
                    let is_newer = known.as_ref().is_none_or(|known| known.size < found.size);
                    if is_newer {
                        *known = Some(Arc::new(found));
                    }
                    is_newer
                });
            }
        }
        sleep(SHIP_LOOKED_EVERY).await;
    }
}

fn read(folder: &Path) -> Option<Signed> {
    let key = std::fs::read_to_string(folder.join("key.pub")).ok()?;
    let key = PublicKey::parse(key.trim_end())?;
    let note = std::fs::read_to_string(folder.join("checkpoint")).ok()?;
    let size = Checkpoint::open_own(&note, &key).ok()?.size;
    Some(Signed { size, note })
}
