//! # The engine in simulated worlds
//!
//! `simulation [--seeds N] [--from K]` runs N worlds, each from one seed; `simulation --seed S` tells one of them as it
//! happens. A world has two workers of the real engine, upstreams and clients of both eras, and weather (`run.rs`). What
//! must never happen is in `story.rs` and `client.rs`. The decision that shaped it: a world asks nothing but its seed, so
//! a seed that fails is a test, and the one line printed with it repeats it.

mod client;
mod deed;
mod gateway;
mod run;
mod story;
mod upstream;
mod wire;

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use run::{Outcome, run};
use story::{Sums, Tally};

/// One in so many worlds is run twice: it must be the same world.
const REPEATED_EVERY: u64 = 20;
/// Failures told in full.
const TOLD_MAX: usize = 10;

fn main() -> ExitCode {
    let mut seeds = 1_000;
    let mut from = 1;
    let mut only = None;
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().and_then(|value| value.parse::<u64>().ok());
        match (name.as_str(), value) {
            ("--seeds", Some(value)) => seeds = value,
            ("--from", Some(value)) => from = value,
            ("--seed", Some(value)) => only = Some(value),
            _ => {
                eprintln!("usage: simulation [--seeds N] [--from SEED] | --seed SEED");
                return ExitCode::from(64);
            }
        }
    }
    // Outside of all worlds: what the first one did for the others would make it another than in a run of its own.
    gateway::table();
    match only {
        Some(seed) => tell(seed),
        None => sweep(from, seeds),
    }
}

/// One world, as it happens.
fn tell(seed: u64) -> ExitCode {
    let outcome = run(seed, true);
    println!("seed {seed}: {} turns, {:?}, trace {:016x}", outcome.turns, outcome.lasted, outcome.trace);
    println!("{}", written(&outcome.sums));
    outcome.wrongs.iter().for_each(|wrong| println!("  {wrong}"));
    if outcome.wrongs.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn written(sums: &Sums) -> String {
    sums.iter().map(|(what, count)| format!("{count} {what}")).collect::<Vec<_>>().join(", ")
}

/// Many worlds, on all cores.
fn sweep(from: u64, seeds: u64) -> ExitCode {
    let began = Instant::now();
    let next = AtomicU64::new(from);
    let turns = AtomicU64::new(0);
    let sums = Mutex::new(Tally::default().sums());
    let failed = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + seeds {
                        return;
                    }
                    let outcome = examined(seed);
                    turns.fetch_add(outcome.turns, Ordering::Relaxed);
                    {
                        let mut sums = sums.lock().unwrap_or_else(PoisonError::into_inner);
                        sums.iter_mut().zip(&outcome.sums).for_each(|((_, sum), (_, count))| *sum += count);
                    }
                    if !outcome.wrongs.is_empty() {
                        failed.lock().unwrap_or_else(PoisonError::into_inner).push((seed, outcome));
                    }
                }
            });
        }
    });
    let mut failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    failed.sort_by_key(|(seed, _)| *seed);
    for (seed, outcome) in failed.iter().take(TOLD_MAX) {
        println!("seed {seed} fails; again: tests/simulation/run --seed {seed}");
        outcome.wrongs.iter().take(5).for_each(|wrong| println!("  {wrong}"));
    }
    if failed.len() > TOLD_MAX {
        let more: Vec<String> =
            failed.iter().skip(TOLD_MAX).take(50).map(|(seed, _)| seed.to_string()).collect();
        println!("and {} more: {}", failed.len() - TOLD_MAX, more.join(" "));
    }
    println!("{}", written(&sums.into_inner().unwrap_or_else(PoisonError::into_inner)));
    println!("{seeds} worlds, {} turns, {:.1?}", turns.into_inner(), began.elapsed());
    println!("{} passed, {} failed", seeds - failed.len() as u64, failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A world, some of them twice.
fn examined(seed: u64) -> Outcome {
    let mut outcome = run(seed, false);
    if seed.is_multiple_of(REPEATED_EVERY) || !outcome.wrongs.is_empty() {
        let again = run(seed, false);
        if again.trace != outcome.trace {
            outcome
                .wrongs
                .push("the same seed gave another world: something in it is not simulated".to_owned());
        }
    }
    outcome
}
