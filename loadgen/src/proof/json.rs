//! A proof as JSON. The names are stable; `docs/PROOF.md` lists them. Times are whole nanoseconds, shares
//! are of 1, and what is unknown is `null`.

use serde_json::{Map, Value, json};

use super::bootstrap::Estimate;
use super::estimates::Row;
use super::result::{Proof, Purpose};
use super::schedule::Arm;
use super::verdict::Judged;

impl Proof {
    pub fn to_json(&self) -> Value {
        let context = &self.context;
        let per_row = |value: &dyn Fn(&Row) -> Value| -> Value {
            let pairs = self.rows.iter().map(|row| (row.percentile.to_string(), value(row)));
            Value::Object(pairs.collect::<Map<String, Value>>())
        };
        let times = |arm: Arm| per_row(&|row| json!(row.times[arm.index()]));
        let failures = self.failure_counts.iter().map(|count| {
            json!({ "arm": count.arm.name(), "layer": count.layer.name(), "count": count.count, "example": count.example })
        });
        let mut facts = json!({
            "verdict": self.verdict.name(),
            "limits": self.limits.iter().map(limit).collect::<Vec<_>>(),
            "added_ns": per_row(&|row| interval(row.added)),
            "null_ns": per_row(&|row| interval(row.null)),
            "delta_ns": per_row(&|row| interval(row.delta)),
            "null_delta_ns": per_row(&|row| interval(row.null_delta)),
            "added_quarters_ns": per_row(&|row| json!(row.added_quarters)),
            "latency_ns": {
                "direct": times(Arm::Direct), "again": times(Arm::Again), "through": times(Arm::Through),
            },
            "cpu_us_per_request": context.cpu.as_ref().map(|cpu| cpu.us_per_request),
            "cpu": context.cpu,
            "slots": self.slots,
            "slots_planned": context.slots,
            "failures": self.failures,
            "failures_by": failures.collect::<Vec<_>>(),
            "warnings": self.warnings,
            "environment": context.environment,
            "direct": context.direct,
            "through": context.through,
            "call": context.call,
            "busy_poll": context.busy_poll,
            "seed": context.seed,
            "blocks": context.blocks,
            "resamples": self.method.resamples,
            "confidence": self.method.confidence,
            "started_unix_s": context.started_unix_s,
            "reproduce": context.command,
        });
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

fn limit(judged: &Judged) -> Value {
    json!({
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
