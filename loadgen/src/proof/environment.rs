//! The machine a figure was taken on, and what it did meanwhile.
//!
//! All of it is read from `/proc` and `/sys`, once before a run and once after; what a kernel does not
//! tell is absent, never 0. The run must be made by the thread that looks, because run delay and context
//! switches are those of the calling thread.

use std::fs;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::verdict::Disturbance;

/// Counters at one moment.
pub struct Look {
    at: Instant,
    load: Option<f64>,
    pressure_us: Option<u64>,
    /// (steal, all) ticks of all processors together.
    ticks: Option<(u64, u64)>,
    run_delay_ns: Option<u64>,
    switches: Option<(u64, u64)>,
    /// (periods in which this cgroup was held back, for how long in us).
    throttled: Option<(u64, u64)>,
    /// Pages that had to be found in the middle of work.
    page_faults: Option<u64>,
}

/// What is told of a run's surroundings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    pub kernel: Option<String>,
    pub processor: Option<String>,
    pub cores: usize,
    pub clock_source: Option<String>,
    /// What asking for the time costs.
    pub clock_cost_ns: f64,
    pub load_before: Option<f64>,
    pub load_after: Option<f64>,
    pub wall_ms: u64,
    pub disturbance: Disturbance,
    pub voluntary_switches: Option<u64>,
    pub involuntary_switches: Option<u64>,
    /// The cores this tool may run on, as the kernel writes lists: `0-1`.
    pub own_cores: Option<String>,
    /// Those of each gateway process.
    pub gateway_cores: Vec<String>,
    #[serde(default)]
    pub server_cores: Vec<String>,
    /// Whether processors share cores, as the kernel says it: `on`, `off`, `notsupported`.
    #[serde(default)]
    pub smt: Option<String>,
    /// The frequency governor of the first core.
    #[serde(default)]
    pub governor: Option<String>,
    /// Whether this is a guest of a hypervisor.
    #[serde(default)]
    pub is_virtual: Option<bool>,
    /// Cores that the scheduler leaves alone.
    #[serde(default)]
    pub isolated_cores: Option<String>,
    #[serde(default)]
    pub numa_nodes: Option<String>,
    /// `cpu.max` of this cgroup: `max 100000` is no bound.
    #[serde(default)]
    pub cpu_max: Option<String>,
    #[serde(default)]
    pub throttled_periods: Option<u64>,
    #[serde(default)]
    pub throttled_us: Option<u64>,
    #[serde(default)]
    pub page_faults: Option<u64>,
    /// What io_uring offers here, as `strait doctor` tells it.
    #[serde(default)]
    pub rings: Option<String>,
}

impl Look {
    pub fn now() -> Look {
        let switches = read("/proc/thread-self/status").and_then(|status| {
            let of = |key| number(value(&status, key)?);
            Some((of("voluntary_ctxt_switches")?, of("nonvoluntary_ctxt_switches")?))
        });
        Look {
            at: Instant::now(),
            load: read("/proc/loadavg").and_then(|text| text.split(' ').next()?.parse().ok()),
            pressure_us: read("/proc/pressure/cpu").as_deref().and_then(pressure_us),
            ticks: read("/proc/stat").as_deref().and_then(ticks),
            run_delay_ns: read("/proc/thread-self/schedstat").as_deref().and_then(run_delay_ns),
            switches,
            throttled: cgroup("cpu.stat").as_deref().and_then(throttled),
            page_faults: read("/proc/thread-self/stat").as_deref().and_then(page_faults),
        }
    }

    /// What happened between two looks.
    pub fn until(&self, after: &Look, gateway_pids: &[u32], server_pids: &[u32]) -> Environment {
        let wall = after.at.duration_since(self.at);
        let share_of_wall = |ns: u64| ns as f64 / wall.as_nanos().max(1) as f64;
        let since = |before: Option<u64>, after: Option<u64>| Some(after?.saturating_sub(before?));
        let steal = self.ticks.zip(after.ticks).map(|((steal, all), (steal_after, all_after))| {
            steal_after.saturating_sub(steal) as f64 / all_after.saturating_sub(all).max(1) as f64
        });
        let switches = |pick: fn((u64, u64)) -> u64| since(self.switches.map(pick), after.switches.map(pick));
        Environment {
            kernel: read("/proc/sys/kernel/osrelease"),
            processor: read("/proc/cpuinfo").and_then(|text| Some(value(&text, "model name")?.to_owned())),
            cores: read("/sys/devices/system/cpu/online").map_or(1, |list| core_set(&list).len()),
            clock_source: read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
            clock_cost_ns: clock_cost_ns(),
            load_before: self.load,
            load_after: after.load,
            wall_ms: u64::try_from(wall.as_millis()).unwrap_or(u64::MAX),
            disturbance: Disturbance {
                pressure: since(self.pressure_us, after.pressure_us).map(|us| share_of_wall(us * 1_000)),
                steal,
                run_delay: since(self.run_delay_ns, after.run_delay_ns).map(share_of_wall),
            },
            voluntary_switches: switches(|both| both.0),
            involuntary_switches: switches(|both| both.1),
            own_cores: cores_of("/proc/thread-self/status"),
            gateway_cores: gateway_pids
                .iter()
                .filter_map(|pid| cores_of(&format!("/proc/{pid}/status")))
                .collect(),
            server_cores: server_pids
                .iter()
                .filter_map(|pid| cores_of(&format!("/proc/{pid}/status")))
                .collect(),
            smt: read("/sys/devices/system/cpu/smt/control"),
            governor: read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            is_virtual: read("/proc/cpuinfo")
                .and_then(|text| Some(value(&text, "flags")?.split(' ').any(|flag| flag == "hypervisor"))),
            isolated_cores: read("/sys/devices/system/cpu/isolated"),
            numa_nodes: read("/sys/devices/system/node/online"),
            cpu_max: cgroup("cpu.max"),
            throttled_periods: since(self.throttled.map(|both| both.0), after.throttled.map(|both| both.0)),
            throttled_us: since(self.throttled.map(|both| both.1), after.throttled.map(|both| both.1)),
            page_faults: since(self.page_faults, after.page_faults),
            rings: None,
        }
    }
}

impl Environment {
    /// All of it for a person, name by name; what the kernel does not tell is said to be unknown.
    pub fn told(&self) -> Vec<(&'static str, String)> {
        let share = |share: Option<f64>| {
            share.map_or("unknown".to_owned(), |share| format!("{:.1} %", share * 100.0))
        };
        let word = |word: &Option<String>| word.clone().unwrap_or_else(|| "unknown".to_owned());
        let load = |load: Option<f64>| load.map_or("unknown".to_owned(), |load| load.to_string());
        vec![
            ("cores", self.cores.to_string()),
            ("processor", word(&self.processor)),
            ("Linux", word(&self.kernel)),
            ("load", format!("{} to {}", load(self.load_before), load(self.load_after))),
            ("pressure", share(self.disturbance.pressure)),
            ("steal", share(self.disturbance.steal)),
            ("own run delay", share(self.disturbance.run_delay)),
            ("clock", format!("{} at {:.0} ns", word(&self.clock_source), self.clock_cost_ns)),
            ("virtual", self.is_virtual.map_or("unknown", |is| if is { "yes" } else { "no" }).to_owned()),
            ("SMT", word(&self.smt)),
            ("governor", word(&self.governor)),
            ("isolated cores", word(&self.isolated_cores.clone().map(|list| format!("[{list}]")))),
            ("NUMA nodes", word(&self.numa_nodes)),
            ("cgroup cpu.max", word(&self.cpu_max)),
            ("throttled", word(&self.throttled_us.map(|us| format!("{us} us")))),
            ("page faults", word(&self.page_faults.map(|faults| faults.to_string()))),
            ("involuntary switches", word(&self.involuntary_switches.map(|switches| switches.to_string()))),
            ("io_uring", word(&self.rings)),
        ]
    }

    /// What a reader should know before believing a figure.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if let Some(complaint) = self.disturbance.complaint() {
            warnings.push(format!("the host was disturbed: {complaint}"));
        }
        if let Some(clock) = self.clock_source.as_deref().filter(|clock| *clock != "tsc") {
            warnings.push(format!(
                "the clock is `{clock}`, not `tsc`: asking for the time may be slow or coarse"
            ));
        }
        let pinned = self.own_cores.as_deref().is_some_and(|own| core_set(own).len() == 1);
        if self.cores < 3 && !pinned {
            let few = "the tool, the gateway and the server share them";
            warnings.push(format!("{} cores: {few}, so that each waits for the others", self.cores));
        }
        if let Some(own) = &self.own_cores {
            let shared = |theirs: &&String| core_set(own).iter().any(|core| core_set(theirs).contains(core));
            if let Some(theirs) = self.gateway_cores.iter().find(shared) {
                warnings.push(format!(
                    "the tool may run on cores {own} and the gateway on {theirs}: pin them apart"
                ));
            }
        }
        if let Some(us) = self.throttled_us.filter(|us| *us > 0) {
            warnings.push(format!("the cgroup was throttled for {us} us: lift its `cpu.max`"));
        }
        let ours = self.gateway_cores.iter().map(|cores| ("gateway", cores));
        for (who, own) in ours.chain(self.own_cores.iter().map(|cores| ("tool", cores))) {
            let shared = |theirs: &&String| core_set(own).iter().any(|core| core_set(theirs).contains(core));
            if let Some(theirs) = self.server_cores.iter().find(shared) {
                warnings.push(format!(
                    "the {who} may run on cores {own} and the server on {theirs}: pin them apart"
                ));
            }
        }
        if let Some(governor) = self.governor.as_deref().filter(|governor| *governor != "performance") {
            warnings.push(format!(
                "the frequency governor is `{governor}`: cores change their speed as they like"
            ));
        }
        warnings
    }
}

/// A file of this process's cgroup, version 2.
fn cgroup(name: &str) -> Option<String> {
    let all = read("/proc/self/cgroup")?;
    let path = all.lines().find_map(|line| line.strip_prefix("0::/"))?;
    read(&format!("/sys/fs/cgroup/{path}/{name}"))
}

/// `nr_throttled` and `throttled_usec`.
fn throttled(text: &str) -> Option<(u64, u64)> {
    let of = |key| text.lines().find_map(|line| number(line.strip_prefix(key)?.trim()));
    Some((of("nr_throttled ")?, of("throttled_usec ")?))
}

/// Minor and major ones: the 10th and 12th field, counted after the name, which may hold anything.
fn page_faults(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(7);
    let mut next = || number(fields.next()?);
    let (minor, _of_children, major) = (next()?, next()?, next()?);
    Some(minor + major)
}

fn read(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim_end().to_owned())
}

/// The value after `key` and a colon, in files of such lines.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let mut pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs.find(|(found, _)| found.trim_end() == key).map(|(_, value)| value.trim())
}

fn number(text: &str) -> Option<u64> {
    text.parse().ok()
}

fn cores_of(status: &str) -> Option<String> {
    Some(value(&read(status)?, "Cpus_allowed_list")?.to_owned())
}

/// `total=` of the line `some`.
fn pressure_us(text: &str) -> Option<u64> {
    let some = text.lines().find(|line| line.starts_with("some "))?;
    number(some.split("total=").nth(1)?)
}

/// The first line of `/proc/stat`: steal is the eighth number; guest time is counted in user already.
fn ticks(text: &str) -> Option<(u64, u64)> {
    let first = text.lines().next()?.strip_prefix("cpu ")?;
    let numbers: Vec<u64> = first.split_whitespace().filter_map(number).take(8).collect();
    Some((*numbers.get(7)?, numbers.iter().sum()))
}

/// `running waiting slices`.
fn run_delay_ns(text: &str) -> Option<u64> {
    number(text.split(' ').nth(1)?)
}

/// `0-2,5` as numbers; what cannot be read as such is left out.
fn core_set(list: &str) -> Vec<u32> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse::<u32>().ok()?..=last.parse().ok()?)
    };
    list.split(',').filter_map(range).flatten().collect()
}

/// The mean over a few thousand askings, about a tenth of a millisecond.
fn clock_cost_ns() -> f64 {
    const ASKINGS: u32 = 2_000;
    let start = Instant::now();
    let mut last = Duration::ZERO;
    for _ in 0..ASKINGS {
        last = std::hint::black_box(start.elapsed());
    }
    last.as_nanos() as f64 / f64::from(ASKINGS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_files_are_read() {
        assert_eq!(
            pressure_us("some avg10=1.03 avg60=1.08 avg300=3.39 total=374\nfull avg10=0 total=0"),
            Some(374)
        );
        assert_eq!(ticks("cpu  10 1 5 100 2 0 3 7 0 0\ncpu0 1"), Some((7, 128)));
        assert_eq!(run_delay_ns("998770 3577146 2"), Some(3_577_146));
        assert_eq!(throttled("usage_usec 5\nnr_throttled 3\nthrottled_usec 70"), Some((3, 70)));
        assert_eq!(page_faults("7 (a) b) S 1 7 7 0 -1 4194560 11 2 3 4 12"), Some(14));
        assert_eq!(core_set("0-2,5"), [0, 1, 2, 5]);
        assert_eq!(value("model name\t: A B\nx: y", "model name"), Some("A B"));
    }

    #[test]
    fn a_look_around_sees_this_machine() {
        let before = Look::now();
        let environment = before.until(&Look::now(), &[std::process::id()], &[]);
        assert!(environment.kernel.is_some() && environment.cores > 0 && environment.clock_cost_ns > 0.0);
        // The gateway is this process here, so its cores are ours.
        assert!(environment.warnings().iter().any(|warning| warning.contains("pin them apart")));
    }

    #[test]
    fn what_the_kernel_does_not_tell_is_no_clean_bill() {
        assert!(Disturbance::default().complaint().is_some());
        let clean = Disturbance { run_delay: Some(0.001), ..Disturbance::default() };
        assert_eq!(clean.complaint(), None);
        let stolen = Disturbance { steal: Some(0.02), ..clean };
        assert!(stolen.complaint().unwrap().contains("steal 2.0 %"));
    }
}
