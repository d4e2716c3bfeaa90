//! Raw data of a run as a text file: one line for each slot, and all else in one line above.
//!
//! ```text
//! # strait-prove-raw 1
//! # {"purpose":"prove","seed":1,…}
//! slot,block,order,direct_ns,again_ns,through_ns,failed_arm,failed_layer,message
//! 0,0,dat,35012,34900,57000,,,
//! 1,0,tad,,,,through,transport,no complete answer in time
//! ```
//!
//! `order` has the first letter of each arm in the order they went. A slot has a time for each arm or a
//! failure; further arms have columns of their own, and so has each arm's time by the kernel's stamps
//! (`direct_wire_ns`), which is empty where the exchange lacks a stamp.

use std::fmt::Write;

use super::result::Context;
use super::samples::{Fault, Layer, Samples, Slot};
use super::schedule::{Arm, BLOCKS_MAX, Stamps, Turns};

const MAGIC: &str = "# strait-prove-raw 1";
/// What a line has before its times, and behind them.
const COLUMNS_BEFORE: &str = "slot,block,order";
const COLUMNS_AFTER: &str = "failed_arm,failed_layer,message";

/// The names of all columns: times of every arm, and the kernel's where a run has them.
fn columns(arms: &[Arm], has_stamps: bool) -> String {
    let mut columns = COLUMNS_BEFORE.to_owned();
    for (suffix, _) in [("ns", true), ("wire_ns", has_stamps)].into_iter().filter(|(_, is_there)| *is_there) {
        for arm in arms {
            let _ = write!(columns, ",{}_{suffix}", arm.name());
        }
    }
    format!("{columns},{COLUMNS_AFTER}")
}

/// The whole file.
pub fn print(context: &Context, samples: &Samples) -> Result<String, serde_json::Error> {
    let (arms, has_stamps) = (context.arms(), context.kernel_stamps);
    let header = columns(&arms, has_stamps);
    let mut out = format!("{MAGIC}\n# {}\n{header}\n", serde_json::to_string(context)?);
    for (index, slot) in samples.slots.iter().enumerate() {
        let order: String = slot.order.iter().map(|arm| letter(*arm)).collect();
        // Writing to a string cannot fail.
        let _ = write!(out, "{index},{},{order}", slot.block);
        let measured = arms.iter().map(|arm| Some(slot.outcome.as_ref().ok()?[arm.index()]));
        let wire = arms.iter().map(|arm| slot.wire[arm.index()]).filter(|_| has_stamps);
        for ns in measured.chain(wire) {
            let _ = match ns {
                Some(ns) => write!(out, ",{ns}"),
                None => write!(out, ","),
            };
        }
        let _ = match &slot.outcome {
            Ok(_) => writeln!(out, ",,,"),
            Err(fault) => {
                let message = fault.message.replace(['\n', '\r'], " ");
                writeln!(out, ",{},{},{message}", fault.arm.name(), fault.layer.name())
            }
        };
    }
    Ok(out)
}

/// Reads a file back; a fault names its line.
pub fn parse(text: &str) -> Result<(Context, Samples), String> {
    let mut lines = text.lines().zip(1..);
    let mut next = |expected: &str| {
        lines.next().map(|(line, _)| line).ok_or_else(|| format!("the file ends before {expected}"))
    };
    let magic = next("its first line")?;
    if magic != MAGIC {
        return Err(format!(
            "line 1: expected `{MAGIC}`, found `{}`",
            magic.chars().take(40).collect::<String>()
        ));
    }
    let context = next("its context")?.trim_start_matches("# ");
    let context: Context = serde_json::from_str(context).map_err(|error| format!("line 2: {error}"))?;
    let arms = context.arms();
    let expected = columns(&arms, context.kernel_stamps);
    if next("its columns")? != expected {
        return Err(format!("line 3: expected the columns `{expected}`"));
    }
    let mut slots = Vec::new();
    for (line, number) in lines {
        let slot = slot(line, slots.len(), &arms, context.kernel_stamps);
        slots.push(slot.ok_or_else(|| format!("line {number}: `{line}` is no slot"))?);
    }
    Ok((context, Samples { slots }))
}

fn letter(arm: Arm) -> char {
    arm.name().chars().next().unwrap_or('?')
}

fn slot(line: &str, index: usize, arms: &[Arm], has_stamps: bool) -> Option<Slot> {
    let times = arms.len() * if has_stamps { 2 } else { 1 };
    let mut fields = line.splitn(3 + times + 3, ',');
    let mut next = || fields.next();
    let (number, block, order) = (next()?, next()?.parse().ok()?, next()?);
    if number.parse() != Ok(index) || usize::from(block) >= BLOCKS_MAX {
        return None;
    }
    let mut times = || -> Option<Stamps> {
        let mut times = Stamps::default();
        for arm in arms {
            let field = next()?;
            times[arm.index()] = if field.is_empty() { None } else { Some(field.parse().ok()?) };
        }
        Some(times)
    };
    let measured = times()?;
    let wire = if has_stamps { times()? } else { Stamps::default() };
    let (arm, layer, message) = (next()?, next()?, next()?);
    let turns: Vec<Arm> =
        order.chars().map(|l| arms.iter().copied().find(|arm| letter(*arm) == l)).collect::<Option<_>>()?;
    let is_permutation = turns.len() == arms.len() && arms.iter().all(|arm| turns.contains(arm));
    let is_whole = arms.iter().all(|arm| measured[arm.index()].is_some());
    let is_empty = measured.iter().chain(&wire).all(Option::is_none);
    let outcome = match arm {
        "" if is_whole => Ok(measured.map(Option::unwrap_or_default)),
        arm if is_empty => Err(Fault {
            arm: arms.iter().copied().find(|known| known.name() == arm)?,
            layer: Layer::ALL.into_iter().find(|known| known.name() == layer)?,
            message: message.to_owned(),
        }),
        _ => return None,
    };
    is_permutation.then(|| Slot { block, order: Turns::of(&turns), outcome, wire })
}
