//! A proof for a person: the verdict first, then why, then the table, then what to know before believing
//! it, then how to repeat it.

use std::fmt::Write;

use super::bootstrap::Estimate;
use super::result::{Proof, Purpose};
use super::schedule::{ARMS, Arm, Interleave};
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
            writeln!(out, "  {:<12}  {}: {}", judged.verdict.name(), judged.name(), judged.cause)?;
            if let Some(remedy) = &judged.remedy {
                writeln!(out, "  {:<12}  what would settle it: {remedy}", "")?;
            }
        }
        for check in &self.checks {
            writeln!(out, "  {:<12}  {}: {}", check.verdict.name(), check.name, check.cause)?;
        }
        if !self.context.floor.is_empty() {
            let floor = self.context.floor.iter();
            let floor: Vec<String> =
                floor.map(|(percentile, ns)| format!("added {percentile} >= {}", micros(*ns))).collect();
            writeln!(out, "\nthis host, just before, could prove: {}", floor.join(", "))?;
        }
        self.table(out)?;
        self.by_kernel(out)?;
        self.costs(out)?;
        for warning in &self.warnings {
            writeln!(out, "warning: {warning}")?;
        }
        self.host(out)?;
        for subject in &self.context.subjects {
            let (what, name, sha256) = (printable(&subject.what), printable(&subject.name), &subject.sha256);
            writeln!(out, "{what}: {name}, {} bytes, sha256 {}", subject.bytes, printable(sha256))?;
        }
        writeln!(out, "repeat: {}", self.context.command)
    }

    pub(super) fn headline(&self) -> String {
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
            let [direct, again, through, ..] = row.times.map(plain);
            let name = row.percentile.to_string();
            let added = row.of(Arm::Through).map_or(String::new(), |of| interval(of.added));
            let null = interval(row.null);
            writeln!(out, "{name:<8}{direct:>12}{again:>12}{through:>12}   {added:<32}{null}")?;
        }
        for arm in self.context.arms().into_iter().filter(|arm| *arm > Arm::Through) {
            self.further(arm, out)?;
        }
        // Requests of one slot were not sent one after the other where arms took turns by the block.
        if !self.rows.is_empty() && self.context.interleave == Interleave::Slot {
            writeln!(out, "\nwithin a slot: through - direct{:>18}again - direct", "")?;
            for row in &self.rows {
                let delta = row.of(Arm::Through).map_or(String::new(), |of| interval(of.delta));
                let name = row.percentile.to_string();
                writeln!(out, "{name:<8}{delta:<40}{}", interval(row.null_delta))?;
            }
        }
        writeln!(out)
    }

    /// The same by the kernel's stamps, and how far the two clocks are apart.
    fn by_kernel(&self, out: &mut String) -> std::fmt::Result {
        let kernel = match &self.kernel {
            Ok(kernel) => kernel,
            Err(why) => return writeln!(out, "kernel's stamps: not available: {}\n", printable(why)),
        };
        writeln!(out, "kernel's stamps: {}", kernel.told())?;
        let line =
            |out: &mut String, name: &str, times: [i64; ARMS], added: Option<Estimate>, null: Estimate| {
                let [direct, again, through, ..] = times.map(plain);
                let (added, null) = (added.map_or(String::new(), interval), interval(null));
                writeln!(out, "{name:<8}{direct:>12}{again:>12}{through:>12}   {added:<32}{null}")
            };
        writeln!(out, "{:<8}{:>12}{:>12}{:>12}   added{:>31}", "us", "direct", "again", "through", "null")?;
        for row in &kernel.rows {
            line(out, &row.percentile.to_string(), row.times, row.added(Arm::Through), row.null)?;
        }
        writeln!(
            out,
            "this tool's clock minus the kernel's, of one exchange; more of it in one arm than in direct"
        )?;
        for row in &kernel.rows {
            line(out, &row.percentile.to_string(), row.apart, row.parted(Arm::Through), row.null_parted)?;
        }
        for stamped in kernel.arms.iter().filter(|stamped| stamped.arm > Arm::Through) {
            let (arm, name) = (stamped.arm, stamped.arm.name());
            for row in &kernel.rows {
                let (Some(added), Some(parted)) = (row.added(arm), row.parted(arm)) else { continue };
                let (percentile, time) = (row.percentile, plain(row.times[arm.index()]));
                writeln!(
                    out,
                    "{name} {percentile}: {time}, added {}, more apart {}",
                    interval(added),
                    interval(parted)
                )?;
            }
        }
        writeln!(out)
    }

    /// What one more arm adds; beside a rival's, how much less ours does.
    fn further(&self, arm: Arm, out: &mut String) -> std::fmt::Result {
        let url = printable(self.context.url(arm).unwrap_or_default());
        writeln!(out, "\n{:<8}{:>12}   added by {url}", "us", arm.name())?;
        for row in &self.rows {
            let Some(of) = row.of(arm) else { continue };
            let (name, time) = (row.percentile.to_string(), plain(row.times[arm.index()]));
            let less = row.less_rival.filter(|_| arm == Arm::Rival);
            let less = less.map_or(String::new(), |less| format!("   through - rival {}", interval(less)));
            writeln!(out, "{name:<8}{time:>12}   {}{less}", interval(of.added))?;
        }
        Ok(())
    }

    /// Where its percentiles lie, if the gateway tells.
    pub(super) fn residence(&self) -> Option<String> {
        let residence = self.context.residence.as_ref()?;
        let within = self.rows.iter().filter_map(|row| Some((row.percentile, residence.at(row.percentile)?)));
        let told: Vec<String> =
            within.map(|(percentile, within)| format!("{percentile} {}", within.told())).collect();
        Some(format!("{} ({} requests)", told.join(", "), residence.count()))
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
        if let Some(told) = self.residence() {
            writeln!(out, "gateway: residence by its own clock: {told}")?;
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
        let told = self.context.environment.told().into_iter().map(|(name, value)| format!("{name} {value}"));
        writeln!(out, "host: {}", told.collect::<Vec<_>>().join(", "))
    }
}

fn plain(ns: i64) -> String {
    micros(ns).trim_end_matches(" us").to_owned()
}

fn interval(estimate: Estimate) -> String {
    format!("{} [{}, {}]", plain(estimate.estimate), plain(estimate.low), plain(estimate.high))
}
