//! Cores: how many the process may run on, how much of them its control group gives, and how many workers that makes.

use super::Line;

pub struct Facts {
    pub cores: usize,
    /// What the control group allows, in hundredths of a core.
    pub quota_percent: Option<u64>,
    pub workers: usize,
}

pub fn look(workers: Option<usize>) -> Facts {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Facts {
        cores: strait_engine::io::driver::cores().len(),
        quota_percent: quota(),
        workers: workers.unwrap_or(cores),
    }
}

/// The least of its group and all groups above it, version 2.
fn quota() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::"))?.to_owned();
    let above = std::path::Path::new(&path).ancestors();
    let percent = above.filter_map(|group| {
        let group = group.to_str()?.trim_end_matches('/');
        let text = std::fs::read_to_string(format!("/sys/fs/cgroup{group}/cpu.max")).ok()?;
        let mut numbers = text.split_whitespace().map(|number| number.parse::<u64>().ok());
        let (quota, period) = (numbers.next()??, numbers.next()??);
        Some(quota * 100 / period.max(1))
    });
    percent.min()
}

pub fn judge(facts: &Facts) -> Vec<Line> {
    let Facts { cores, workers, .. } = *facts;
    let pinned = if cores >= 3 {
        "each bound to its own"
    } else {
        "not bound: with fewer than three they would be in each other's way"
    };
    let found = format!("{workers} workers on {cores} cores, {pinned}");
    let mut lines = vec![if workers > cores {
        let fix = format!("--workers {cores}");
        Line::warn("cores", format!("{workers} workers on {cores} cores wait for each other"), fix)
    } else {
        Line::ok("cores", found)
    }];
    lines.push(match facts.quota_percent {
        Some(percent) if percent < workers as u64 * 100 => Line::warn(
            "cpu quota",
            format!("{percent} % of a core for {workers} workers: at the end of it all of them stand still together"),
            format!("--workers {}, or a larger quota (CPUQuota=, `--cpus`)", (percent / 100).max(1)),
        ),
        Some(percent) => Line::ok("cpu quota", format!("{percent} % of a core")),
        None => Line::ok("cpu quota", "none"),
    });
    lines
}
