use std::sync::atomic::{AtomicBool, Ordering};

use super::histogram::{Distribution, PARTS};
use super::*;

/// Two writers, each on its own figures, and a reader that merges them meanwhile: nothing it sees ever
/// falls, a histogram's count is that of its buckets, and in the end nothing is missing.
#[test]
fn a_reader_sees_figures_grow_and_never_fall() {
    const RECORDS: u64 = 300_000;
    let figures = [WorkerFigures::default(), WorkerFigures::default()];
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writers: Vec<_> = figures
            .iter()
            .map(|figures| {
                scope.spawn(|| {
                    for n in 0..RECORDS {
                        figures.added.record(n * 37 % 5_000_000);
                        figures.requests(MethodClass::ToolsCall, Outcome::Ok).add(1);
                    }
                })
            })
            .collect();
        let reader = scope.spawn(|| {
            let mut before: Vec<u64> = Vec::new();
            let mut scrapes = 0;
            while !done.load(Ordering::Relaxed) {
                let read = Distribution::of(figures.iter().map(|figures| &figures.added));
                let mut now: Vec<u64> = read.cumulative(PARTS).map(|(_, count)| count).collect();
                assert!(now.is_sorted(), "cumulative");
                now.push(read.count());
                now.push(read.sum_ns);
                now.push(figures.iter().map(WorkerFigures::exchanges).sum());
                assert!(
                    before.iter().zip(&now).all(|(before, now)| before <= now),
                    "{before:?} then {now:?}"
                );
                before = now;
                scrapes += 1;
            }
            scrapes
        });
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        done.store(true, Ordering::Relaxed);
        assert!(reader.join().unwrap() > 1);
    });
    let read = Distribution::of(figures.iter().map(|figures| &figures.added));
    assert_eq!(read.count(), 2 * RECORDS);
    assert_eq!(figures.iter().map(WorkerFigures::exchanges).sum::<u64>(), 2 * RECORDS);
    assert_eq!(figures[0].refused(), 0);
}
