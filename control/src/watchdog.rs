//! Looks after the workers: each counts a beat with every tick, and one whose beats stand still has stalled. Something
//! in it blocks or spins, and every connection of that core waits. It is named once when it stalls and once when it
//! moves again; nothing is done about it, since a thread cannot be mended from outside.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use strait_engine::{Level, WorkerFigures};

use crate::limits::STALL_TOLD_AFTER;
use crate::{log, time};

#[derive(Default)]
pub struct Watchdog {
    workers: Vec<Pulse>,
    last: Option<Instant>,
}

/// One worker, as it was when last looked at.
struct Pulse {
    figures: Arc<WorkerFigures>,
    beats: u64,
    /// It has not moved since.
    since: Instant,
    told: bool,
    stalls: u64,
}

/// What there is to say.
#[derive(Debug, PartialEq, Eq)]
pub enum Told {
    Stalled { worker: usize, still: Duration },
    Recovered { worker: usize, lasted: Duration },
}

impl Watchdog {
    pub fn new(workers: &[Arc<WorkerFigures>], now: Instant) -> Watchdog {
        let pulse = |figures: &Arc<WorkerFigures>| Pulse {
            figures: figures.clone(),
            beats: 0,
            since: now,
            told: false,
            stalls: 0,
        };
        Watchdog { workers: workers.iter().map(pulse).collect(), last: None }
    }

    /// Takes every worker's pulse; to be called several times a second.
    pub fn pulse(&mut self, now: Instant) -> Vec<Told> {
        let away = self.last.replace(now).map_or(Duration::ZERO, |last| now.saturating_duration_since(last));
        let mut told = Vec::new();
        for (worker, pulse) in self.workers.iter_mut().enumerate() {
            let beats = pulse.figures.beats.get();
            let still = now.saturating_duration_since(pulse.since);
            if beats != pulse.beats {
                if std::mem::take(&mut pulse.told) {
                    told.push(Told::Recovered { worker, lasted: still });
                }
                (pulse.beats, pulse.since) = (beats, now);
            } else if !pulse.told && away >= STALL_TOLD_AFTER {
                // Whoever looks did not move either: the process or the whole machine stood still.
                pulse.since = now;
            } else if !pulse.told && still >= STALL_TOLD_AFTER {
                (pulse.told, pulse.stalls) = (true, pulse.stalls + 1);
                told.push(Told::Stalled { worker, still });
            }
        }
        told
    }

    /// How long each worker has not moved.
    pub fn still(&self, now: Instant) -> impl Iterator<Item = Duration> {
        self.workers.iter().map(move |pulse| now.saturating_duration_since(pulse.since))
    }

    /// Of each worker: its figures, whether it has been named as stalled and not moved since, and how often it was.
    pub fn workers(&self) -> impl Iterator<Item = (&Arc<WorkerFigures>, bool, u64)> {
        self.workers.iter().map(|pulse| (&pulse.figures, pulse.told, pulse.stalls))
    }
}

impl Told {
    pub fn log(&self) {
        let (level, text) = self.text(SystemTime::now());
        log::at(level, &text);
    }

    fn text(&self, now: SystemTime) -> (Level, String) {
        let since = |long: Duration| now.checked_sub(long).map(time::text).unwrap_or_default();
        match *self {
            Told::Stalled { worker, still } => {
                let text = format!(
                    "worker {worker} has stalled: it has not moved for {} ms, since {}; its connections wait",
                    still.as_millis(),
                    since(still)
                );
                (Level::Error, text)
            }
            Told::Recovered { worker, lasted } => {
                let text = format!(
                    "worker {worker} moves again: it stood still for {} ms, since {}",
                    lasted.as_millis(),
                    since(lasted)
                );
                (Level::Warn, text)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::PULSE_EVERY;

    #[test]
    fn a_stall_is_told_once_and_its_end_once() {
        let figures = [Arc::new(WorkerFigures::default()), Arc::default()];
        let began = Instant::now();
        let mut dog = Watchdog::new(&figures, began);
        let mut told = Vec::new();
        for pulse in 1..=20 {
            figures[0].beats.add(1);
            if !(5..15).contains(&pulse) {
                figures[1].beats.add(1);
            }
            told.extend(dog.pulse(began + PULSE_EVERY * pulse));
        }
        let lasted = PULSE_EVERY * 11;
        let still = STALL_TOLD_AFTER;
        assert_eq!(told, [Told::Stalled { worker: 1, still }, Told::Recovered { worker: 1, lasted }]);
        assert_eq!(
            dog.workers().map(|(_, told, stalls)| (told, stalls)).collect::<Vec<_>>(),
            [(false, 0), (false, 1)]
        );
    }

    #[test]
    fn a_process_that_stood_still_as_a_whole_blames_nobody() {
        let figures = [Arc::new(WorkerFigures::default())];
        let began = Instant::now();
        let mut dog = Watchdog::new(&figures, began);
        assert_eq!(dog.pulse(began + PULSE_EVERY), []);
        assert_eq!(dog.pulse(began + Duration::from_secs(60)), []);
        assert_eq!(dog.pulse(began + Duration::from_secs(60) + PULSE_EVERY), []);
    }

    #[test]
    fn the_line_says_who_how_long_and_since_when() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_238_521);
        let (level, text) = Told::Stalled { worker: 3, still: Duration::from_millis(1_500) }.text(now);
        assert_eq!(level, Level::Error);
        assert!(
            text.contains("worker 3") && text.contains("1500 ms, since 2026-11-21T05:21:59.500Z"),
            "{text}"
        );
    }
}
