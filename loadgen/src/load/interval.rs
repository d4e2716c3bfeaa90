//! A run second by second: how many answers, how late, for files that say when something happened and for pages that draw it.
//!
//! The decision: the thread that sends only swaps one set of histograms for another at the end of a second. Compressing and
//! writing is done by a thread of its own, which gives the sets back, so that nothing is allocated per second either. When
//! that thread is behind, a set more is made; nothing that was measured is left out.
//!
//! The log is HdrHistogram's own (`#[Histogram log format version 1.3]`, V2 compressed histograms), with two tags, `latency` and `service`:
//! whatever reads such logs reads these.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use super::record::{PERCENTILES, Times};

/// One line of a log.
const INTERVAL_NS: u64 = 1_000_000_000;
/// Sets that go around: one is filled, one written, one waits.
const SETS: usize = 3;
/// The unit of the log's `Interval_Max`, as of other tools' logs: milliseconds.
const NS_PER_MS: f64 = 1e6;

/// What of a run is written down second by second.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IntervalFiles {
    pub hlog: Option<PathBuf>,
    pub csv: Option<PathBuf>,
}

impl IntervalFiles {
    pub fn is_wanted(&self) -> bool {
        self.hlog.is_some() || self.csv.is_some()
    }
}

/// What one second came to. Its requests are those that were answered in it.
#[derive(Clone)]
struct Set {
    latency: Times,
    service: Times,
    failed: u64,
    /// Since measuring began.
    began_ns: u64,
    ended_ns: u64,
}

impl Set {
    fn new() -> Set {
        Set { latency: Times::new(), service: Times::new(), failed: 0, began_ns: 0, ended_ns: 0 }
    }

    fn clear(&mut self) {
        self.latency.clear();
        self.service.clear();
        self.failed = 0;
    }
}

pub(super) struct Intervals {
    current: Set,
    /// When measuring began, once it has.
    began: Option<u64>,
    full: Sender<Set>,
    empty: Receiver<Set>,
    writer: JoinHandle<io::Result<()>>,
}

impl Intervals {
    /// Opens the files and starts the thread that writes them.
    pub fn start(files: &IntervalFiles) -> io::Result<Intervals> {
        let hlog = files.hlog.as_deref().map(create).transpose()?;
        let csv = files.csv.as_deref().map(create).transpose()?;
        let (full, filled) = channel();
        let (give_back, empty) = channel();
        for _ in 1..SETS {
            // The other end is right here.
            let _ = give_back.send(Set::new());
        }
        let writer = std::thread::Builder::new()
            .name("strait-intervals".into())
            .spawn(move || write(&filled, &give_back, hlog, csv))?;
        Ok(Intervals { current: Set::new(), began: None, full, empty, writer })
    }

    #[inline]
    pub fn answered(&mut self, latency: u64, service: u64) {
        self.current.latency.record(latency);
        self.current.service.record(service);
    }

    #[inline]
    pub fn failed(&mut self) {
        self.current.failed += 1;
    }

    /// Ends the second when it is over. Called now and then, by a thread that has other things to do: a second may be a little longer,
    /// and says so.
    pub fn look(&mut self, began: Option<u64>, now: u64) {
        self.began = self.began.or(began);
        let Some(elapsed) = self.began.map(|began| now.saturating_sub(began)) else { return };
        if elapsed >= self.current.began_ns + INTERVAL_NS {
            self.turn(elapsed);
        }
    }

    fn turn(&mut self, elapsed_ns: u64) {
        let next = self.empty.try_recv().unwrap_or_else(|_| Set::new());
        let mut over = std::mem::replace(&mut self.current, next);
        over.ended_ns = elapsed_ns;
        self.current.began_ns = elapsed_ns;
        // A writer that is gone has told its fault, and is asked for it at the end.
        let _ = self.full.send(over);
    }

    /// Writes what is left.
    pub fn finish(mut self, began: Option<u64>, now: u64) -> io::Result<()> {
        self.began = self.began.or(began);
        if let Some(elapsed) = self.began.map(|began| now.saturating_sub(began))
            && elapsed > self.current.began_ns
        {
            self.turn(elapsed);
        }
        drop(self.full);
        self.writer.join().unwrap_or_else(|_| Err(io::Error::other("the writer of intervals panicked")))
    }
}

fn create(path: &Path) -> io::Result<BufWriter<File>> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("`{}`: {error}", path.display()));
    Ok(BufWriter::new(File::create(path).map_err(named)?))
}

const CSV_HEAD: &str =
    "began_s,ended_s,succeeded,failed,p50_ns,p90_ns,p99_ns,p999_ns,max_ns,service_p50_ns,service_p99_ns\n";

fn write(
    filled: &Receiver<Set>,
    give_back: &Sender<Set>,
    hlog: Option<BufWriter<File>>,
    csv: Option<BufWriter<File>>,
) -> io::Result<()> {
    // Whoever reads a line learns when it was, to the millisecond.
    let started = SystemTime::now();
    let mut sinks = (hlog, csv);
    let mut serializer = V2DeflateSerializer::new();
    let mut log = match &mut sinks.0 {
        Some(file) => Some(
            IntervalLogWriterBuilder::new()
                .add_comment("[Histogram log format version 1.3]")
                .with_start_time(started)
                .with_base_time(started)
                .with_max_value_divisor(NS_PER_MS)
                .begin_log_with(file, &mut serializer)?,
        ),
        None => None,
    };
    if let Some(file) = &mut sinks.1 {
        file.write_all(CSV_HEAD.as_bytes())?;
    }
    while let Ok(mut set) = filled.recv() {
        if let Some(log) = &mut log {
            let (began, lasted) =
                (Duration::from_nanos(set.began_ns), Duration::from_nanos(set.ended_ns - set.began_ns));
            for (name, times) in [("latency", &set.latency), ("service", &set.service)] {
                log.write_histogram(times.histogram(), began, lasted, Tag::new(name))
                    .map_err(|error| io::Error::other(format!("the log of histograms: {error:?}")))?;
            }
        }
        if let Some(file) = &mut sinks.1 {
            file.write_all(csv_line(&set).as_bytes())?;
        }
        set.clear();
        // The run may be over.
        let _ = give_back.send(set);
    }
    drop(log);
    for file in [&mut sinks.0, &mut sinks.1].into_iter().flatten() {
        file.flush()?;
    }
    Ok(())
}

/// A percentile that too few samples of this second lie beyond has no value.
fn csv_line(set: &Set) -> String {
    let mut line = format!(
        "{:.3},{:.3},{},{}",
        set.began_ns as f64 / 1e9,
        set.ended_ns as f64 / 1e9,
        set.latency.count(),
        set.failed
    );
    let mut cell = |ns: Option<u64>| {
        line.push(',');
        line.extend(ns.map(|ns| ns.to_string()));
    };
    for (_, quantile) in PERCENTILES {
        cell(set.latency.percentile(quantile).known());
    }
    cell(set.latency.max());
    cell(set.service.percentile(0.5).known());
    cell(set.service.percentile(0.99).known());
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use hdrhistogram::Histogram;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    use super::*;

    const SECOND: u64 = INTERVAL_NS;

    /// Two seconds and a half, read back by what others read with.
    #[test]
    fn nothing_that_was_measured_is_missing_in_the_log() {
        let folder = std::env::temp_dir().join(format!("strait-intervals-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let files = IntervalFiles { hlog: Some(folder.join("run.hlog")), csv: Some(folder.join("run.csv")) };
        let mut intervals = Intervals::start(&files).unwrap();
        intervals.look(None, 5);
        let mut whole: Histogram<u64> = Times::new().histogram().clone();
        for step in 0..250u64 {
            let now = 1_000 + step * SECOND / 100;
            intervals.look(Some(1_000), now);
            intervals.answered(1_000 * (step + 2), 1_000 * (step + 1));
            whole.record(1_000 * (step + 2)).unwrap();
            if step % 50 == 0 {
                intervals.failed();
            }
        }
        intervals.finish(None, 1_000 + 5 * SECOND / 2).unwrap();
        let log = std::fs::read_to_string(files.hlog.unwrap()).unwrap();
        assert!(log.starts_with("#[Histogram log format version 1.3]\n"), "{log}");
        let (mut found, mut lines) = (Times::new().histogram().clone(), 0);
        let mut reader = Deserializer::new();
        for entry in IntervalLogIterator::new(log.as_bytes()) {
            let LogEntry::Interval(interval) = entry.unwrap() else { continue };
            lines += 1;
            if interval.tag().map(|tag| tag.as_str()) == Some("latency") {
                let bytes = STANDARD.decode(interval.encoded_histogram()).unwrap();
                found.add(reader.deserialize::<u64, _>(&mut &bytes[..]).unwrap()).unwrap();
            }
        }
        assert_eq!((lines, found), (6, whole));
        let csv = std::fs::read_to_string(files.csv.unwrap()).unwrap();
        let rows: Vec<Vec<&str>> = csv.lines().skip(1).map(|line| line.split(',').collect()).collect();
        assert_eq!(rows.len(), 3, "{csv}");
        assert!(rows.iter().all(|row| row.len() == CSV_HEAD.split(',').count()), "{csv}");
        let column = |at: usize| rows.iter().map(|row| row[at].parse::<u64>().unwrap()).sum::<u64>();
        assert_eq!((column(2), column(3)), (250, 5));
        // A p99 of a hundred is told by nobody.
        assert_eq!((rows[0][0], rows[2][1], rows[0][6]), ("0.000", "2.500", ""));
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_file_that_cannot_be_made_is_named() {
        let files = IntervalFiles { hlog: Some("/nowhere/at/all.hlog".into()), csv: None };
        let told = Intervals::start(&files).err().unwrap().to_string();
        assert!(told.contains("/nowhere/at/all.hlog"), "{told}");
    }
}
