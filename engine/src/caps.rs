//! What one core takes on at once: the table's caps, lowered to what the process may have.
//!
//! A cap that the operating system cannot honour is no cap: past the limit of open files `accept`
//! fails for everyone, and past the limit of memory the process ends. So both limits are looked at once,
//! at the start, and each core gets its share; what is lowered is told.

use rustix::process::{Resource, getrlimit};
use strait_protocol::limits::MESSAGE_BYTES_MAX;
use strait_table::rules::ArchivedRules;

use crate::limits::{
    CONNECTIONS_PER_CORE_MAX, DECODE_FACTOR, FILES_OF_PROCESS, FILES_PER_CORE_MAX, TURNED_AWAY_MAX,
};

/// The caps in force on one core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    pub connections: usize,
    pub calls: usize,
    pub bytes: usize,
    /// The largest body that this core has the memory to parse.
    pub body_bytes: usize,
}

/// What the process may use, as found at its start. `None`: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    pub files: Option<u64>,
    /// Beyond what it uses already.
    pub memory_bytes: Option<u64>,
}

impl Room {
    /// Looks at the limits of this process and of the control group it is in.
    pub fn look() -> Room {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let left = |resource, used: &str| {
            getrlimit(resource).current.map(|limit| limit.saturating_sub(kib(&status, used).unwrap_or(0)))
        };
        let memory =
            [left(Resource::As, "VmSize:"), left(Resource::Data, "VmData:"), control_group(), machine()];
        Room { files: getrlimit(Resource::Nofile).current, memory_bytes: memory.into_iter().flatten().min() }
    }
}

impl Caps {
    /// As the author wrote them.
    pub fn configured(rules: &ArchivedRules) -> Caps {
        Caps {
            connections: rules.caps.connections.to_native() as usize,
            calls: rules.caps.calls.to_native() as usize,
            bytes: usize::try_from(rules.caps.bytes.to_native()).unwrap_or(usize::MAX),
            body_bytes: rules.body_bytes_max.to_native() as usize,
        }
    }

    /// What of them is left when each of `workers` cores gets an equal share of the room.
    pub fn within(self, room: &Room, workers: usize) -> Caps {
        let mut caps = self;
        if let Some(files) = room.files {
            let files = usize::try_from(files).unwrap_or(usize::MAX);
            let share = (files - FILES_OF_PROCESS.min(files / 4)) / workers;
            let share = share - TURNED_AWAY_MAX.min(share / 8);
            // The rest is for connections to upstreams, so that who is let in can also be served.
            let clients = share / FILES_PER_CORE_MAX * CONNECTIONS_PER_CORE_MAX
                + share % FILES_PER_CORE_MAX * CONNECTIONS_PER_CORE_MAX / FILES_PER_CORE_MAX;
            caps.connections = caps.connections.min(clients.max(1));
        }
        if let Some(memory_bytes) = room.memory_bytes {
            let share = usize::try_from(memory_bytes).unwrap_or(usize::MAX) / workers;
            // Half for what is kept, half for the parsing of one body, which costs many times its size.
            caps.bytes = caps.bytes.min(share / 2);
            let parsed = share / 2 / DECODE_FACTOR;
            // Longer than this is nothing that would be parsed.
            if parsed < MESSAGE_BYTES_MAX {
                caps.body_bytes = caps.body_bytes.min(parsed);
            }
        }
        caps
    }

    /// What was lowered and why, for the operator.
    pub fn note(&self, configured: &Caps) -> Option<String> {
        let mut lowered = Vec::new();
        if self.connections < configured.connections {
            lowered.push(format!(
                "{} connections instead of {}: raise the limit of open files (`ulimit -n`, LimitNOFILE=)",
                self.connections, configured.connections
            ));
        }
        if self.bytes < configured.bytes {
            lowered.push(format!("{} MiB of buffers: there is no memory for more", self.bytes >> 20));
        }
        if self.body_bytes < configured.body_bytes {
            lowered.push(format!("bodies of {} KiB: larger ones cannot be parsed", self.body_bytes >> 10));
        }
        let lowered = (!lowered.is_empty()).then(|| lowered.join("; "))?;
        Some(format!("this process may not use what its caps allow; a core takes {lowered}"))
    }
}

/// What is left of the control group's memory, version 2 or 1.
fn control_group() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let left = |limit: &str, used: &str| {
        let read = |path: &str| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
        Some(read(limit)?.saturating_sub(read(used).unwrap_or(0)))
    };
    let of = |line: &str| {
        let mut parts = line.splitn(3, ':');
        let (controllers, path) = (parts.nth(1)?, parts.next()?.trim_end_matches('/'));
        match controllers {
            "" => {
                let folder = format!("/sys/fs/cgroup{path}");
                left(&format!("{folder}/memory.max"), &format!("{folder}/memory.current"))
            }
            _ if controllers.split(',').any(|controller| controller == "memory") => {
                let folder = format!("/sys/fs/cgroup/memory{path}");
                left(&format!("{folder}/memory.limit_in_bytes"), &format!("{folder}/memory.usage_in_bytes"))
            }
            _ => None,
        }
    };
    groups.lines().filter_map(of).min()
}

/// What the machine could still give.
fn machine() -> Option<u64> {
    kib(&std::fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:")
}

/// A line such as `VmSize:  1234 kB`, in bytes.
fn kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caps_fit_the_room() {
        let configured = Caps { connections: 16_384, calls: 4_096, bytes: 512 << 20, body_bytes: 4 << 20 };
        let within = |files, memory_bytes, workers| {
            let caps = configured.within(&Room { files, memory_bytes }, workers);
            (caps.connections, caps.bytes >> 20, caps.body_bytes >> 10)
        };
        assert_eq!(within(None, None, 2), (16_384, 512, 4_096));
        assert_eq!(within(Some(1 << 20), Some(64 << 30), 8), (16_384, 512, 4_096));
        assert_eq!(within(Some(u64::MAX), Some(u64::MAX), 1), (16_384, 512, 4_096));
        // Four fifths of what is left after the process's own are for clients.
        assert_eq!(within(Some(20_000), None, 2), (7_385, 512, 4_096));
        assert_eq!(within(Some(1_024), None, 2), (268, 512, 4_096));
        assert_eq!(within(Some(0), None, 2).0, 1);
        assert_eq!(within(None, Some(256 << 20), 2), (16_384, 64, 2_048));
        assert_eq!(within(None, Some(0), 1), (16_384, 0, 0));
        let caps = configured.within(&Room { files: Some(64), memory_bytes: Some(8 << 20) }, 1);
        let note = caps.note(&configured).expect("a note");
        assert!(
            note.contains("33 connections instead of 16384") && note.contains("4 MiB of buffers"),
            "{note}"
        );
        assert!(note.contains("bodies of 128 KiB"), "{note}");
        assert_eq!(configured.note(&configured), None);
    }
}
