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
//! `order` has the first letter of each arm in the order they went. A slot has three times or a failure.

use std::fmt::Write;

use super::result::Context;
use super::samples::{Fault, Layer, Samples, Slot};
use super::schedule::Arm;

const MAGIC: &str = "# strait-prove-raw 1";
const COLUMNS: &str = "slot,block,order,direct_ns,again_ns,through_ns,failed_arm,failed_layer,message";

/// The whole file.
pub fn print(context: &Context, samples: &Samples) -> Result<String, serde_json::Error> {
    let mut out = format!("{MAGIC}\n# {}\n{COLUMNS}\n", serde_json::to_string(context)?);
    for (index, slot) in samples.slots.iter().enumerate() {
        let order: String = slot.order.iter().map(|arm| arm.name().chars().next().unwrap_or('?')).collect();
        // Writing to a string cannot fail.
        let _ = match &slot.outcome {
            Ok([direct, again, through]) => {
                writeln!(out, "{index},{},{order},{direct},{again},{through},,,", slot.block)
            }
            Err(fault) => {
                let message = fault.message.replace(['\n', '\r'], " ");
                let (arm, layer) = (fault.arm.name(), fault.layer.name());
                writeln!(out, "{index},{},{order},,,,{arm},{layer},{message}", slot.block)
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
    let columns = next("its columns")?;
    if columns != COLUMNS {
        return Err(format!("line 3: expected the columns `{COLUMNS}`"));
    }
    let slots: Result<Vec<Slot>, String> = lines
        .map(|(line, number)| slot(line).ok_or_else(|| format!("line {number}: `{line}` is no slot")))
        .collect();
    Ok((context, Samples { slots: slots? }))
}

fn slot(line: &str) -> Option<Slot> {
    let mut fields = line.splitn(9, ',');
    let mut next = || fields.next();
    let (_, block, order) = (next()?, next()?.parse().ok()?, next()?);
    let times = [next()?, next()?, next()?];
    let (arm, layer, message) = (next()?, next()?, next()?);
    let mut letters =
        order.chars().map(|letter| Arm::ALL.into_iter().find(|arm| arm.name().starts_with(letter)));
    let order = [letters.next()??, letters.next()??, letters.next()??];
    let outcome = match arm {
        "" => {
            let [direct, again, through] = times.map(|time| time.parse().ok());
            Ok([direct?, again?, through?])
        }
        arm => Err(Fault {
            arm: Arm::ALL.into_iter().find(|known| known.name() == arm)?,
            layer: Layer::ALL.into_iter().find(|known| known.name() == layer)?,
            message: message.to_owned(),
        }),
    };
    Some(Slot { block, order, outcome })
}
