//! A proof for a person: the verdict first, then why, then the table, then what to know before believing
//! it, then how to repeat it.

use std::fmt::Write;

use super::bootstrap::Estimate;
use super::estimates::Row;
use super::result::{Proof, Purpose};
use super::verdict::micros;
use crate::words::printable;

impl Proof {
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "{}  {}", self.verdict.name(), self.headline())?;
        for judged in &self.limits {
            writeln!(out, "  {:<12}  {}: {}", judged.verdict.name(), judged.limit, judged.cause)?;
            if let Some(remedy) = &judged.remedy {
                writeln!(out, "  {:<12}  what would settle it: {remedy}", "")?;
            }
        }
        for check in &self.checks {
            writeln!(out, "  {:<12}  {}: {}", check.verdict.name(), check.name, check.cause)?;
        }
        self.table(out)?;
        self.costs(out)?;
        for warning in &self.warnings {
            writeln!(out, "warning: {warning}")?;
        }
        self.host(out)?;
        writeln!(out, "repeat: {}", self.context.command)
    }

    fn headline(&self) -> String {
        let context = &self.context;
        let what = match context.purpose {
            Purpose::Prove => format!("added by {} to {}", context.through, context.direct),
            Purpose::SelfTest { inserted_ns, clocked_ns } => {
                let [inserted, clocked] = [inserted_ns, clocked_ns].map(|ns| ns as f64 / 1_000.0);
                format!(
                    "self-test: {inserted} us put into one of three equal arms ({clocked:.2} us by its own clock)"
                )
            }
        };
        format!("{what}, {} slots of {}", self.slots, printable(&context.call))
    }

    fn table(&self, out: &mut String) -> std::fmt::Result {
        let confidence = format!("{} % interval", self.method.confidence * 100.0);
        writeln!(
            out,
            "\n{:<8}{:>12}{:>12}{:>12}   added ({confidence}){:>10}null",
            "us", "direct", "again", "through", ""
        )?;
        for row in &self.rows {
            let [direct, again, through] = row.times.map(plain);
            let name = row.percentile.to_string();
            let (added, null) = (interval(row.added), interval(row.null));
            writeln!(out, "{name:<8}{direct:>12}{again:>12}{through:>12}   {added:<32}{null}")?;
        }
        if !self.rows.is_empty() {
            writeln!(out, "\nwithin a slot: through - direct{:>18}again - direct", "")?;
        }
        for Row { percentile, delta, null_delta, .. } in &self.rows {
            writeln!(out, "{:<8}{:<40}{}", percentile.to_string(), interval(*delta), interval(*null_delta))?;
        }
        writeln!(out)
    }

    fn costs(&self, out: &mut String) -> std::fmt::Result {
        if let Some(cpu) = &self.context.cpu {
            let (per_request, idle) = (cpu.us_per_request, cpu.idle_us_per_second);
            writeln!(
                out,
                "gateway: {per_request:.1} us of processor time per request, over {} requests one at a time; \
                 idle {idle:.0} us per second, included ({})",
                cpu.requests, cpu.account
            )?;
        }
        match self.failures {
            0 => writeln!(out, "failures: none in {} slots", self.slots)?,
            failures => {
                writeln!(out, "failures: {failures} of {} slots, none of them in the table", self.slots)?
            }
        }
        for count in &self.failure_counts {
            let (arm, layer) = (count.arm.name(), count.layer.name());
            writeln!(out, "  {:>8}  arm {arm}, layer {layer}: {}", count.count, printable(&count.example))?;
        }
        Ok(())
    }

    fn host(&self, out: &mut String) -> std::fmt::Result {
        let host = &self.context.environment;
        let share = |share: Option<f64>| {
            share.map_or("unknown".to_owned(), |share| format!("{:.1} %", share * 100.0))
        };
        let word = |word: &Option<String>| word.clone().unwrap_or_else(|| "unknown".to_owned());
        let load = |load: Option<f64>| load.map_or("unknown".to_owned(), |load| load.to_string());
        writeln!(
            out,
            "host: {} cores, {}, Linux {}, load {} to {}, pressure {}, steal {}, own run delay {}, clock {} at {:.0} ns",
            host.cores,
            word(&host.processor),
            word(&host.kernel),
            load(host.load_before),
            load(host.load_after),
            share(host.disturbance.pressure),
            share(host.disturbance.steal),
            share(host.disturbance.run_delay),
            word(&host.clock_source),
            host.clock_cost_ns,
        )
    }
}

fn plain(ns: i64) -> String {
    micros(ns).trim_end_matches(" us").to_owned()
}

fn interval(estimate: Estimate) -> String {
    format!("{} [{}, {}]", plain(estimate.estimate), plain(estimate.low), plain(estimate.high))
}
