//! Processor time of the gateway, all threads of its process, by the kernel's own account.
//!
//! Three accounts, the finest that can be read: the scheduler's nanoseconds of each thread
//! (`/proc/PID/task/*/schedstat`), the ticks of the process (`/proc/PID/stat`, 10 ms each), or
//! `process_cpu_seconds_total` out of the gateway's own metrics. Threads that end between two looks are
//! missing from the first, so the second takes over when the number of threads fell.

use std::fs;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::metrics;
use crate::target::Target;

/// Where the gateway's processor time is read.
#[derive(Clone, Debug)]
pub enum Account {
    /// Processes by number: a gateway of several, such as a master and its workers, names them all.
    Processes(Vec<u32>),
    /// A page in Prometheus' text format.
    Metrics(Box<Target>),
}

/// What one look saw.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spent {
    fine: Option<Duration>,
    coarse: Option<Duration>,
    threads: usize,
}

/// Processor time of a part of the run in which only the gateway's arm sent requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cpu {
    /// Which account it is.
    pub account: String,
    pub requests: u64,
    /// Of the whole process, idle cost included, per request.
    pub us_per_request: f64,
    /// What the process spends when nobody asks for anything.
    pub idle_us_per_second: f64,
    /// How long the part took.
    pub wall_ms: u64,
}

impl Account {
    /// Time spent since the process began.
    pub fn read(&self) -> Result<Spent, String> {
        match self {
            Account::Processes(pids) => {
                let mut all = Spent { fine: Some(Duration::ZERO), coarse: Some(Duration::ZERO), threads: 0 };
                for pid in pids {
                    let one = of_process(*pid)?;
                    all.fine = all.fine.zip(one.fine).map(|(a, b)| a + b);
                    all.coarse = all.coarse.zip(one.coarse).map(|(a, b)| a + b);
                    all.threads += one.threads;
                }
                Ok(all)
            }
            Account::Metrics(target) => {
                let spent = metrics::cpu_seconds(target)?;
                Ok(Spent { fine: Some(spent), coarse: None, threads: 0 })
            }
        }
    }

    pub fn pids(&self) -> &[u32] {
        match self {
            Account::Processes(pids) => pids,
            Account::Metrics(_) => &[],
        }
    }

    pub fn name(&self) -> String {
        match self {
            Account::Processes(pids) => {
                let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
                format!("all threads of process {}", pids.join(", "))
            }
            Account::Metrics(target) => format!("{} at {}", metrics::CPU_SECONDS, target.url),
        }
    }
}

impl Spent {
    /// Time spent between two looks; nothing when they cannot be compared.
    pub fn until(&self, after: &Spent) -> Option<Duration> {
        let since = |pair: (Option<Duration>, Option<Duration>)| pair.1?.checked_sub(pair.0?);
        let fine = since((self.fine, after.fine)).filter(|_| after.threads >= self.threads);
        fine.or_else(|| since((self.coarse, after.coarse)))
    }
}

fn of_process(pid: u32) -> Result<Spent, String> {
    let missing = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => format!("there is no process {pid}"),
        _ => format!("the account of process {pid} cannot be read: {error}"),
    };
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).map_err(missing)?;
    let (mut fine, mut threads) = (Some(Duration::ZERO), 0);
    for task in fs::read_dir(format!("/proc/{pid}/task")).map_err(missing)?.flatten() {
        threads += 1;
        // A thread that ended since it was listed changes the count, and with it the account.
        let text = fs::read_to_string(task.path().join("schedstat")).ok();
        let ran = text.and_then(|text| text.split(' ').next()?.parse().ok()).map(Duration::from_nanos);
        fine = fine.zip(ran).map(|(sum, ran)| sum + ran);
    }
    Ok(Spent { fine, coarse: ticks(&stat).map(|ticks| ticks * TICK_MS).map(Duration::from_millis), threads })
}

/// Linux tells user space of ticks of 10 ms, whatever the kernel's own are.
const TICK_MS: u64 = 10;

/// utime + stime: the 14th and 15th field, counted after the name, which may hold anything.
fn ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_blanks_and_brackets_does_not_shift_fields() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 2 3 4 12 30 0 0 20 0 1 0 5";
        assert_eq!(ticks(stat), Some(42));
    }

    #[test]
    fn work_is_accounted_and_a_missing_process_named() {
        let own = Account::Processes(vec![std::process::id()]);
        let before = own.read().unwrap();
        let mut sum = 0u64;
        // Until the account moved: as long as that takes.
        while before.until(&own.read().unwrap()).is_none_or(|spent| spent.is_zero()) {
            sum = (0..100_000u64).fold(sum, |sum, n| std::hint::black_box(sum ^ n));
        }
        let none = Account::Processes(vec![u32::MAX]).read().unwrap_err();
        assert!(none.contains("there is no process 4294967295"), "{none}");
    }

    #[test]
    fn fewer_threads_make_the_fine_account_worthless() {
        let ms = Duration::from_millis;
        let before = Spent { fine: Some(ms(50)), coarse: Some(ms(40)), threads: 3 };
        let after = Spent { fine: Some(ms(70)), coarse: Some(ms(90)), threads: 3 };
        assert_eq!(before.until(&after), Some(ms(20)));
        assert_eq!(before.until(&Spent { threads: 2, ..after }), Some(ms(50)));
    }
}
