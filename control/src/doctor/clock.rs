//! Time: what reading the clock costs (an exchange does it about ten times), and how late a sleeping thread wakes.

use std::time::{Duration, Instant};

use super::Line;

pub struct Facts {
    pub source: Option<String>,
    pub read_ns: u64,
    pub slack_ns: u64,
    /// Beyond the millisecond that was asked for: the middle of several, and the worst.
    pub late_us: (u64, u64),
}

const READS: u32 = 10_000;
const SLEEPS: usize = 25;
/// A clock in user space costs 20 to 50 ns; a system call ten times as much.
const READ_NS_MAX: u64 = 150;
/// A quiet machine wakes within a fifth of this.
const LATE_US_MAX: u64 = 500;

pub fn look() -> Facts {
    let source = std::fs::read_to_string("/sys/devices/system/clocksource/clocksource0/current_clocksource");
    let batch = || {
        let began = Instant::now();
        let last = (0..READS).fold(began, |_, _| std::hint::black_box(Instant::now()));
        (last - began).as_nanos() as u64 / u64::from(READS)
    };
    let asked = Duration::from_millis(1);
    let mut late: Vec<u64> = (0..SLEEPS)
        .map(|_| {
            let began = Instant::now();
            std::thread::sleep(asked);
            began.elapsed().saturating_sub(asked).as_micros() as u64
        })
        .collect();
    late.sort_unstable();
    Facts {
        source: source.ok().map(|text| text.trim().to_owned()),
        read_ns: (0..5).map(|_| batch()).min().unwrap_or(0),
        slack_ns: rustix::thread::current_timer_slack().unwrap_or(0),
        late_us: (late[SLEEPS / 2], late[SLEEPS - 1]),
    }
}

pub fn judge(facts: &Facts) -> Vec<Line> {
    let source = facts.source.as_deref().unwrap_or("unknown");
    let found = format!("{source}, {} ns a reading", facts.read_ns);
    let clock = if facts.read_ns <= READ_NS_MAX {
        Line::ok("clock", found)
    } else {
        let fix = "use the processor's own counter (`tsc`, `kvm-clock`, `arch_sys_counter`); in a sandbox that traps \
                   the clock, each exchange pays this ten times";
        Line::warn("clock", found, fix)
    };
    let (middle, worst) = facts.late_us;
    let found = format!(
        "a sleeper wakes {middle} us late, {worst} us at worst (slack {} us)",
        facts.slack_ns / 1_000
    );
    let timers = if middle <= LATE_US_MAX {
        Line::ok("timers", found)
    } else {
        let fix = "the machine is busy or a crowded virtual one: figures measured now say more about it than about the gateway";
        Line::warn("timers", found, fix)
    };
    vec![clock, timers]
}
