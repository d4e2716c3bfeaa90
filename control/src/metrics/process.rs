//! What the kernel says of this process, under the names that every Prometheus client library uses. Figures that
//! cannot be read (a system without `/proc`) are left out.

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::exposition::{Exposition, Kind};

pub fn write(out: &mut Exposition) {
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    out.one(
        Kind::Counter,
        "process_cpu_seconds_total",
        "Processor time of all threads, user and system.",
        cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9,
    );
    if let Some(stat) = Stat::read() {
        out.one(Kind::Gauge, "process_resident_memory_bytes", "Memory that is in RAM.", stat.resident_bytes);
        out.one(Kind::Gauge, "process_virtual_memory_bytes", "Address space in use.", stat.virtual_bytes);
        out.one(Kind::Gauge, "process_threads", "Threads.", stat.threads);
        if let Some(start) = stat.start_s() {
            let help = "When the process started, in seconds since 1970.";
            out.one(Kind::Gauge, "process_start_time_seconds", help, start);
        }
    }
    if let Some(open) = open_files() {
        out.one(Kind::Gauge, "process_open_fds", "Files that are open.", open);
    }
    if let Some(max) = getrlimit(Resource::Nofile).current {
        out.one(Kind::Gauge, "process_max_fds", "Files that may be open.", max);
    }
}

/// From `/proc/self/stat`.
struct Stat {
    threads: u64,
    started_ticks: u64,
    virtual_bytes: u64,
    resident_bytes: u64,
}

impl Stat {
    fn read() -> Option<Stat> {
        let text = std::fs::read_to_string("/proc/self/stat").ok()?;
        // The name in parentheses may contain anything; what follows are numbers, the third of the line first.
        let rest = text.rsplit_once(')')?.1;
        let field = |number: usize| rest.split_whitespace().nth(number - 3)?.parse::<u64>().ok();
        Some(Stat {
            threads: field(20)?,
            started_ticks: field(22)?,
            virtual_bytes: field(23)?,
            resident_bytes: field(24)? * rustix::param::page_size() as u64,
        })
    }

    fn start_s(&self) -> Option<f64> {
        let kernel = std::fs::read_to_string("/proc/stat").ok()?;
        let booted: f64 = kernel.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
        Some(booted + self.started_ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
    }
}

/// Linux 6.2 tells their number as the folder's size; before, they are counted one by one.
fn open_files() -> Option<u64> {
    let told = std::fs::metadata("/proc/self/fd").ok()?.len();
    if told > 0 { Some(told) } else { Some(std::fs::read_dir("/proc/self/fd").ok()?.count() as u64) }
}
