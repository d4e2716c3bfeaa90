//! What became of what a collector was to be told.

use super::Worker;
use super::exposition::{Exposition, Kind};
use crate::telemetry::{Counts, Signal};

pub fn write(out: &mut Exposition, workers: &[Worker], counts: Option<&Counts>) {
    let Some(counts) = counts else { return };
    let dropped = workers.iter().map(|worker| worker.figures.traces_dropped.get()).sum::<u64>();
    let help = "Exchanges that were to be traced, by what became of them.";
    let mut traces = out.family(Kind::Counter, "strait_telemetry_traces_total", help);
    for (result, count) in counts.traces(dropped) {
        traces.series(&[("result", result)], count);
    }
    let help = "Bytes of traces that wait for their collector.";
    out.one(Kind::Gauge, "strait_telemetry_queue_bytes", help, counts.queued());
    let help = "Times that a collector was told something.";
    let mut pushes = out.family(Kind::Counter, "strait_telemetry_pushes_total", help);
    for signal in Signal::ALL {
        let pushed = counts.pushes(signal);
        pushes.series(&[("signal", signal.label()), ("result", "taken")], pushed.0);
        pushes.series(&[("signal", signal.label()), ("result", "failed")], pushed.1);
    }
    let help = "Whether the collector took what it was told last.";
    let mut up = out.family(Kind::Gauge, "strait_telemetry_collector_up", help);
    for signal in Signal::ALL {
        if let Some(is_up) = counts.is_up(signal) {
            up.series(&[("signal", signal.label())], is_up);
        }
    }
}
