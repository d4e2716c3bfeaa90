//! Neither the generator nor the echo server allocates per request: a run five times as long allocates
//! as often. Both sit in this process under a counting allocator.

mod common;

use std::alloc::System;

use common::{open, options, run};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use strait_loadgen::echo::{Options, Running};
use strait_loadgen::load::plan::{Length, Loop};
use strait_loadgen::load::think::Think;
use strait_loadgen::load::threshold::Threshold;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Requests of the short run; the long one has five times as many.
const SHORT: u64 = 4_000;
const LONG: u64 = 20_000;
const TRIES: usize = 3;

#[test]
fn a_request_allocates_nothing_in_steady_state() {
    let log = std::env::temp_dir().join(format!("strait-allocations-{}.hlog", std::process::id()));
    for (what, kind, events, hlog) in [
        ("closed", Loop::Closed, 0, None),
        ("closed, events", Loop::Closed, 2, None),
        ("open", open(20_000.0), 0, None),
        ("open, every second written down", open(20_000.0), 0, Some(log.clone())),
        ("closed, with thinking and demands that end it", Loop::Closed, 0, None),
    ] {
        let mut served = Options::new("127.0.0.1:0".parse().unwrap());
        served.events = events;
        let server = Running::start(served).unwrap();
        let allocations = |requests: u64| {
            let before = ALLOCATOR.stats();
            let mut asked = options(&server.url(), kind.clone(), Length::Requests(requests));
            asked.files.hlog = hlog.clone();
            if what.contains("thinking") {
                asked.think = Some(Think::Uniform { from_ns: 0, to_ns: 50_000 });
                asked.thresholds = vec![Threshold::parse("p99<1m").unwrap()];
                asked.abort = true;
            }
            let report = run(&asked);
            assert_eq!(report.record.succeeded(), requests);
            let after = ALLOCATOR.stats();
            (after.allocations - before.allocations) + (after.reallocations - before.reallocations)
        };
        // The server's own buffers meet their longest request here.
        allocations(SHORT);
        // A machine that is busy with other things is asked again: the writer of seconds allocates when it falls behind.
        let mut found = (0, 0, u64::MAX);
        for _ in 0..TRIES {
            let (short, long) = (allocations(SHORT), allocations(LONG));
            println!("{what}: {short} allocations in {SHORT} requests, {long} in {LONG}");
            found = (short, long, long.saturating_sub(short) as u64);
            if found.2 < (LONG - SHORT) / 1_000 {
                break;
            }
        }
        let (short, _, more) = found;
        assert!(short > 10, "the counter does not count");
        assert!(
            more < (LONG - SHORT) / 1_000,
            "{what}: {more} more allocations for {} more requests",
            LONG - SHORT
        );
    }
    let _ = std::fs::remove_file(log);
}
