//! io_uring: every way of setting up a ring is tried, and a refusal told apart from an absence.

use strait_engine::io::driver;

use super::Line;

pub struct Facts {
    pub kernel: String,
    /// Flags, and why they were refused; best first.
    pub tried: Vec<(&'static str, Option<String>)>,
    /// What `kernel.io_uring_disabled` says, where it exists.
    pub disabled: Option<u8>,
    pub memlock_bytes: Option<u64>,
}

pub fn look() -> Facts {
    let tried = driver::try_all().into_iter();
    let disabled = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok();
    Facts {
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        tried: tried
            .map(|(flags, outcome)| (flags.label(), outcome.err().map(|error| driver::explain(&error))))
            .collect(),
        disabled: disabled.and_then(|text| text.trim().parse().ok()),
        memlock_bytes: rustix::process::getrlimit(rustix::process::Resource::Memlock).current,
    }
}

pub fn judge(facts: &Facts) -> Vec<Line> {
    let mut lines = Vec::new();
    let works = facts.tried.iter().position(|(_, refused)| refused.is_none());
    lines.push(match works.and_then(|at| Some((at, facts.tried.get(at)?.0))) {
        Some((0, flags)) => Line::ok("io_uring", format!("Linux {}: {flags}", facts.kernel)),
        Some((_, flags)) => Line::warn(
            "io_uring",
            format!("Linux {}: only with {flags}", facts.kernel),
            "Linux 6.1 or newer allows deferred task work, which costs less at many connections",
        ),
        None => {
            let why = facts.tried.first().and_then(|(_, why)| why.clone()).unwrap_or_default();
            let (what, fix) = why.split_once(": ").unwrap_or((&why, "see the kernel's log"));
            Line::warn(
                "io_uring",
                format!(
                    "Linux {}: {what}; the gateway runs on epoll instead, which costs more per request",
                    facts.kernel
                ),
                fix.to_owned(),
            )
        }
    });
    if let Some(level @ 1..) = facts.disabled {
        let who = if level == 1 { "all but privileged processes" } else { "everybody" };
        lines.push(Line::warn(
            "io_uring sysctl",
            format!("kernel.io_uring_disabled = {level}: refused to {who}"),
            "sysctl -w kernel.io_uring_disabled=0",
        ));
    }
    lines.push(memlock(facts));
    lines
}

/// A ring of ours is about 0.6 MiB. Since Linux 5.12 it is charged to the control group instead.
fn memlock(facts: &Facts) -> Line {
    const RING_BYTES: u64 = 1 << 20;
    let told = facts.memlock_bytes.map_or_else(|| "no limit".into(), |bytes| format!("{} KiB", bytes >> 10));
    let mut numbers = facts.kernel.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    let charged = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) < (5, 12);
    match facts.memlock_bytes {
        Some(bytes) if charged && bytes < 8 * RING_BYTES => Line::warn(
            "locked memory",
            format!("{told}, and this kernel charges every ring to it"),
            "LimitMEMLOCK=64M in the unit, or `ulimit -l 65536`",
        ),
        _ if charged => Line::ok("locked memory", told),
        _ => Line::ok("locked memory", format!("{told}; rings are not charged to it since Linux 5.12")),
    }
}
