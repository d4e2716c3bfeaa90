//! What calls with a price have cost, by whom and for what.

use std::collections::BTreeMap;

use strait_engine::figures::costs::By;

use super::Worker;
use super::exposition::{Exposition, Kind};

pub fn write(out: &mut Exposition, workers: &[Worker]) {
    let help = "What calls with a price have cost, in millionths of a US dollar: each by agent, user, tenant and tool.";
    let mut family = out.family(Kind::Counter, "strait_cost_micro_usd_total", help);
    for by in By::ALL {
        let mut spent: BTreeMap<&str, u64> = BTreeMap::new();
        for (name, micro_usd) in workers.iter().flat_map(|worker| worker.figures.costs.iter(by)) {
            *spent.entry(name).or_default() += micro_usd;
        }
        for (name, micro_usd) in spent {
            family.series(&[("by", by.label()), ("name", name)], micro_usd);
        }
    }
}
