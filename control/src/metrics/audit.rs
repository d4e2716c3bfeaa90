//! The audit log: what it has taken, what it has not, and how long its disk takes.

use std::sync::atomic::Ordering::Relaxed;

use strait_engine::audit::keeper::Standing;
use strait_engine::figures::histogram::Distribution;

use super::FINE;
use super::exposition::{Exposition, Kind};

pub fn write(out: &mut Exposition, audit: Option<&Standing>) {
    let Some(audit) = audit else { return };
    let figures = audit.figures();
    let help = "Records that were given to the audit log.";
    out.one(Kind::Counter, "strait_audit_records_total", help, figures.records.load(Relaxed));
    let help = "Bytes of the audit log that the disk has confirmed: records and payloads.";
    out.one(Kind::Counter, "strait_audit_written_bytes_total", help, figures.bytes.load(Relaxed));
    let help = "Records that are not in the audit log, because there was no room for them.";
    out.one(Kind::Counter, "strait_audit_records_dropped_total", help, audit.lost());
    let help = "Writes and signatures of the audit log that the disk did not take.";
    out.one(Kind::Counter, "strait_audit_failures_total", help, figures.failures.load(Relaxed));
    let help = "How often a worker woke the writer of the audit log.";
    out.one(Kind::Counter, "strait_audit_wakes_total", help, figures.wakes.load(Relaxed));
    let help = "Bytes that waited for the writer when it last looked.";
    out.one(Kind::Gauge, "strait_audit_backlog_bytes", help, figures.backlog.load(Relaxed));
    let help = "Records under the last signed checkpoint.";
    out.one(Kind::Gauge, "strait_audit_checkpoint_records", help, figures.signed.load(Relaxed));
    out.one(
        Kind::Gauge,
        "strait_audit_failing",
        "Whether the disk takes no records.",
        audit.fault().is_some(),
    );
    let help = "How long the disk took to confirm a batch of records.";
    let read = Distribution::of([&figures.commits]);
    out.family(Kind::Histogram, "strait_audit_commit_duration_seconds", help).distribution(&[], &read, FINE);
}
