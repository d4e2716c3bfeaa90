//! A proof as JSON. The names are stable; `docs/PROOF.md` lists them. Times are whole nanoseconds, shares
//! are of 1, and what is unknown is `null`.

use serde_json::{Map, Value, json};

use super::bootstrap::Estimate;
use super::estimates::Row;
use super::kernel::{Kernel, KernelRow};
use super::result::{Proof, Purpose};
use super::schedule::{Arm, Interleave};
use super::verdict::Judged;

impl Proof {
    pub fn to_json(&self) -> Value {
        let context = &self.context;
        let per_row = |value: &dyn Fn(&Row) -> Value| -> Value {
            let pairs = self.rows.iter().map(|row| (row.percentile.to_string(), value(row)));
            Value::Object(pairs.collect::<Map<String, Value>>())
        };
        let times: Map<String, Value> = context
            .arms()
            .into_iter()
            .map(|arm| (arm.name().to_owned(), per_row(&|row| json!(row.times[arm.index()]))))
            .collect();
        let added = |arm| per_row(&|row| json!(row.of(arm).map(|of| interval(of.added))));
        // Within a slot of a block nothing was compared: its calls were not made together.
        let has_slots = context.interleave == Interleave::Slot;
        let delta =
            |arm| per_row(&|row| json!(row.of(arm).filter(|_| has_slots).map(|of| interval(of.delta))));
        let quarters = |arm| per_row(&|row| json!(row.of(arm).map(|of| of.quarters)));
        let failures = self.failure_counts.iter().map(|count| {
            json!({ "arm": count.arm.name(), "layer": count.layer.name(), "count": count.count, "example": count.example })
        });
        let mut facts = json!({
            "verdict": self.verdict.name(),
            "limits": self.limits.iter().map(limit).collect::<Vec<_>>(),
            "added_ns": added(Arm::Through),
            "null_ns": per_row(&|row| interval(row.null)),
            "delta_ns": delta(Arm::Through),
            "null_delta_ns": per_row(&|row| json!(has_slots.then(|| interval(row.null_delta)))),
            "added_quarters_ns": quarters(Arm::Through),
            "latency_ns": times,
            "cpu_us_per_request": context.cpu.as_ref().map(|cpu| cpu.us_per_request),
            "cpu": context.cpu,
            "residence_ns": context.residence.as_ref().map(|residence| {
                let within = per_row(&|row| json!(residence.at(row.percentile).map(|within| {
                    json!({ "over": within.over_ns, "at_most": within.at_most_ns })
                })));
                json!({ "requests": residence.count(), "percentiles": within })
            }),
            "kernel_stamps": match &self.kernel {
                Ok(kernel) => stamps(kernel),
                Err(why) => json!({ "available": false, "why": why }),
            },
            "floor_ns": context.floor.iter().map(|(percentile, ns)| (percentile.to_string(), json!(ns)))
                .collect::<Map<String, Value>>(),
            "subjects": context.subjects,
            "made_by": context.made_by,
            "slots": self.slots,
            "slots_planned": context.slots,
            "failures": self.failures,
            "failures_by": failures.collect::<Vec<_>>(),
            "warnings": self.warnings,
            "environment": context.environment,
            "direct": context.direct,
            "through": context.through,
            "call": context.call,
            "interleave": context.interleave,
            "busy_poll": context.busy_poll,
            "seed": context.seed,
            "blocks": context.blocks,
            "resamples": self.method.resamples,
            "confidence": self.method.confidence,
            "started_unix_s": context.started_unix_s,
            "reproduce": context.command,
        });
        for arm in context.arms().into_iter().filter(|arm| *arm > Arm::Through) {
            facts[arm.name()] = json!({
                "url": context.url(arm), "added_ns": added(arm), "delta_ns": delta(arm),
                "added_quarters_ns": quarters(arm),
            });
        }
        if context.rival.is_some() {
            facts["less_rival_ns"] = per_row(&|row| json!(row.less_rival.map(interval)));
        }
        if let Purpose::SelfTest { inserted_ns, clocked_ns } = context.purpose {
            facts["inserted_ns"] = inserted_ns.into();
            facts["clocked_ns"] = clocked_ns.into();
            let checks = self.checks.iter().map(
                |check| json!({ "name": check.name, "verdict": check.verdict.name(), "cause": check.cause }),
            );
            facts["checks"] = checks.collect();
        }
        facts
    }
}

/// By the kernel's clock, under the names of what it stands beside.
fn stamps(kernel: &Kernel) -> Value {
    let per_row = |value: &dyn Fn(&KernelRow) -> Value| -> Value {
        let pairs = kernel.rows.iter().map(|row| (row.percentile.to_string(), value(row)));
        Value::Object(pairs.collect::<Map<String, Value>>())
    };
    let arms = kernel.arms.iter().map(|stamped| {
        let arm = stamped.arm;
        let facts = json!({
            "both": stamped.both,
            "missing": kernel.timed - stamped.both,
            "longer": stamped.longer,
            "latency_ns": per_row(&|row| json!(row.times[arm.index()])),
            "apart_ns": per_row(&|row| json!(row.apart[arm.index()])),
            "added_ns": per_row(&|row| json!(row.added(arm).map(interval))),
            "parted_ns": per_row(&|row| json!(row.parted(arm).map(interval))),
        });
        (arm.name().to_owned(), facts)
    });
    json!({
        "available": true,
        "compared": kernel.is_complete(),
        "slots": kernel.slots,
        "arms": arms.collect::<Map<String, Value>>(),
        "null_ns": per_row(&|row| interval(row.null)),
        "null_parted_ns": per_row(&|row| interval(row.null_parted)),
    })
}

fn limit(judged: &Judged) -> Value {
    json!({
        "arm": judged.arm.name(),
        "estimand": judged.about.name(),
        "percentile": judged.limit.percentile.to_string(),
        "added_ns_max": judged.limit.added_ns_max,
        "verdict": judged.verdict.name(),
        "cause": judged.cause,
        "remedy": judged.remedy,
    })
}

fn interval(estimate: Estimate) -> Value {
    json!({ "estimate": estimate.estimate, "low": estimate.low, "high": estimate.high })
}
