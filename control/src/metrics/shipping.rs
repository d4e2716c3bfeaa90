//! The audit log on its way to collectors and anchors: how far each has come, and whether it takes anything.

use std::sync::atomic::Ordering::Relaxed;

use super::exposition::{Exposition, Kind};
use crate::shipping::{Shown, Standing};

/// Name, help, and what is counted.
type Counter = (&'static str, &'static str, fn(&Standing) -> u64);

pub fn write(out: &mut Exposition, shown: &Shown) {
    let counters: [Counter; 4] = [
        ("strait_audit_shipped_records_total", "Records that a collector has taken.", |of| {
            of.shipped.load(Relaxed)
        }),
        ("strait_audit_ship_failures_total", "How often a collector did not take what it was sent.", |of| {
            of.failures.load(Relaxed)
        }),
        ("strait_audit_ship_rejected_records_total", "Records that a collector does not want.", |of| {
            of.rejected.load(Relaxed)
        }),
        (
            "strait_audit_ship_missed_records_total",
            "Records that `audit.keep` removed before a collector was sent them.",
            |of| of.missed.load(Relaxed),
        ),
    ];
    for (name, help, count) in counters {
        let mut family = out.family(Kind::Counter, name, help);
        for (id, standing) in &shown.collectors {
            family.series(&[("collector", id)], count(standing));
        }
    }
    let help = "Signed records that a collector has not taken yet.";
    let mut family = out.family(Kind::Gauge, "strait_audit_ship_lag_records", help);
    for (id, standing) in &shown.collectors {
        family.series(&[("collector", id)], standing.lag());
    }
    let help = "How long the oldest of them has waited.";
    let mut family = out.family(Kind::Gauge, "strait_audit_ship_lag_seconds", help);
    for (id, standing) in &shown.collectors {
        family.series(&[("collector", id)], standing.lag_s());
    }
    let help = "Whether a collector took what it was sent last.";
    let mut family = out.family(Kind::Gauge, "strait_audit_ship_up", help);
    for (id, standing) in &shown.collectors {
        if let Some(is_up) = standing.is_up() {
            family.series(&[("collector", id)], is_up);
        }
    }
    let help = "Records under the newest checkpoint that an anchor has.";
    let mut family = out.family(Kind::Gauge, "strait_audit_anchored_records", help);
    for standing in &shown.anchors {
        family.series(&[("anchor", &standing.name)], standing.size.load(Relaxed));
    }
    let help = "How often an anchor did not take a checkpoint.";
    let mut family = out.family(Kind::Counter, "strait_audit_anchor_failures_total", help);
    for standing in &shown.anchors {
        family.series(&[("anchor", &standing.name)], standing.failures.load(Relaxed));
    }
    let help = "Whether an anchor took the checkpoint that it was sent last.";
    let mut family = out.family(Kind::Gauge, "strait_audit_anchor_up", help);
    for standing in &shown.anchors {
        if let Some(is_up) = standing.is_up() {
            family.series(&[("anchor", &standing.name)], is_up);
        }
    }
}
