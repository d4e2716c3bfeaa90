//! Figures by generation, and of candidates on trial.

use super::Seen;
use super::exposition::{Exposition, Kind};
use super::{COARSE, Worker};
use strait_engine::figures::histogram::Distribution;
use strait_engine::figures::labels::Difference;

pub fn write(out: &mut Exposition, seen: &Seen<'_>) {
    let help = "What the generations in use are; always 1.";
    let mut roles = out.family(Kind::Gauge, "strait_generation_info", help);
    for (role, generation) in seen.generations.roles() {
        roles.series(&[("generation", &generation), ("role", role)], true);
    }
    let read = seen.generations.read();
    let help = "Requests told to their end, by the generation that told them: the served one, the one on trial, or an earlier one.";
    let mut requests = out.family(Kind::Counter, "strait_generation_requests_total", help);
    for (generation, figures) in &read {
        for (outcome, count) in figures.outcomes() {
            requests.series(&[("generation", generation), ("outcome", outcome)], count);
        }
    }
    let help = "From the whole request to the last byte of its answer, by generation.";
    let mut duration = out.family(Kind::Histogram, "strait_generation_request_duration_seconds", help);
    for (generation, figures) in &read {
        duration.distribution(&[("generation", generation)], &figures.duration, COARSE);
    }
    let help = "Of answered calls to upstreams: their duration less what was spent waiting for the upstream, by generation.";
    let mut added = out.family(Kind::Histogram, "strait_generation_added_seconds", help);
    for (generation, figures) in &read {
        added.distribution(&[("generation", generation)], &figures.added, COARSE);
    }
    let help = "Candidates that were tried beside what is served, by what became of them; those that were begun include one that is on trial.";
    let mut trials = out.family(Kind::Counter, "strait_trials_total", help);
    let counts = seen.trials;
    for (result, count) in
        [("begun", counts.begun), ("promoted", counts.promoted), ("rolled_back", counts.rolled_back)]
    {
        trials.series(&[("result", result)], count);
    }
    shadows(out, &seen.workers);
}

fn shadows(out: &mut Exposition, workers: &[Worker]) {
    let help = "Decisions of a shadow, by what they are beside the live ones.";
    let mut decisions = out.family(Kind::Counter, "strait_shadow_decisions_total", help);
    for difference in Difference::ALL {
        let counts = workers.iter().filter_map(|worker| worker.figures.shadow.get(*difference as usize));
        decisions.series(&[("difference", difference.label())], counts.map(|count| count.get()).sum::<u64>());
    }
    let help = "What a decision of a shadow took: the live call waits for it.";
    let mut took = out.family(Kind::Histogram, "strait_shadow_decision_seconds", help);
    took.distribution(
        &[],
        &Distribution::of(workers.iter().map(|worker| &worker.figures.shadow_decision)),
        COARSE,
    );
}
