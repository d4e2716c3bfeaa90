//! Memory: what the process and its control group may use, against what the caps allow.

use strait_engine::caps::{Caps, Room};
use strait_engine::limits;
use strait_table::Snapshot;

use super::Line;

pub fn look() -> Room {
    // Files have a line of their own.
    Room { files: None, ..Room::look() }
}

pub fn judge(room: &Room, workers: usize, table: Option<&Snapshot>) -> Vec<Line> {
    let configured = table.map_or(
        Caps {
            connections: limits::CONNECTIONS_PER_CORE_MAX,
            calls: limits::INFLIGHT_PER_CORE_MAX,
            bytes: limits::BUFFERED_BYTES_PER_CORE,
            body_bytes: 4 << 20,
        },
        |snapshot| Caps::configured(snapshot.rules()),
    );
    let found = match room.memory_bytes {
        Some(bytes) => format!("{} MiB can be had", bytes >> 20),
        None => "no limit".to_owned(),
    };
    let need = (workers * configured.bytes * 2) >> 20;
    vec![match configured.within(room, workers).note(&configured) {
        None => Line::ok("memory", found),
        Some(note) => Line::warn(
            "memory",
            format!("{found}: {note}"),
            format!(
                "give it {need} MiB (MemoryMax=, `--memory`), or lower `caps.bytes` of the configuration"
            ),
        ),
    }]
}
