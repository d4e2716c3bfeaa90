//! Three times as many calls as the upstream can bear: what is admitted is served as fast as before, the rest is
//! told so early. Counts are checked always; the ratios of one run want a quiet machine and are checked by
//! `tests/run --full`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use strait_tests::scripted::{Deed, echoed, json_reply};
use strait_tests::{Client, Gateway, Scripted, Setup, Step};

use crate::common::{assert_serves, at_most, call, config, reason};

const CALLS_MAX: usize = 10;
const TAKES: Duration = Duration::from_millis(20);
/// Calls per second that the upstream could answer under the cap.
const CAPACITY: usize = CALLS_MAX * 1_000 / TAKES.as_millis() as usize;
const CLIENTS: usize = 60;
const LASTS: Duration = Duration::from_secs(3);

struct Outcome {
    /// Of the capacity, how much was answered well, per cent.
    goodput: usize,
    admitted_p50: Duration,
    refused_p50: Duration,
    most_at_once: usize,
}

fn overload() -> Outcome {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (here, highest) = (now.clone(), most.clone());
    let upstream = Scripted::modern(move |request| {
        let (here, highest) = (here.clone(), highest.clone());
        highest.fetch_max(here.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        let leave = Deed::step(move |_| {
            here.fetch_sub(1, Ordering::SeqCst);
            true
        });
        [vec![Step::Wait(TAKES), leave], json_reply(&echoed(request))].concat()
    });
    let config = config(&upstream, &format!("caps: {{ calls: {CALLS_MAX} }}"));
    let gateway = Gateway::start(Setup { workers: 1, ..Setup::new(config) });
    let every = LASTS / (3 * CAPACITY * LASTS.as_secs() as usize / CLIENTS) as u32;
    let began = Instant::now() + Duration::from_millis(200);
    let times: Vec<(Vec<Duration>, Vec<Duration>)> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let address = gateway.address;
                scope.spawn(move || {
                    let mut client = Client::connect(address);
                    let (mut admitted, mut refused) = (Vec::new(), Vec::new());
                    let mut due = began + every * number as u32 / CLIENTS as u32;
                    let mut id = 0;
                    while due < began + LASTS {
                        std::thread::sleep(due.saturating_duration_since(Instant::now()));
                        let sent = Instant::now();
                        let answer = client.roundtrip(call(id, json!({"n": number})));
                        match answer.status {
                            200 => admitted.push(sent.elapsed()),
                            503 => {
                                assert_eq!(
                                    (reason(&answer).as_str(), answer.header("retry-after")),
                                    ("overloaded", Some("1"))
                                );
                                refused.push(sent.elapsed());
                            }
                            other => panic!("{other}"),
                        }
                        assert_eq!(answer.json()["id"], id);
                        (due, id) = (due + every, id + 1);
                    }
                    (admitted, refused)
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().expect("a client")).collect()
    });
    let seconds = began.elapsed().as_secs_f64();
    let p50 = |mut times: Vec<Duration>| {
        times.sort_unstable();
        times.get(times.len() / 2).copied().unwrap_or_default()
    };
    let (admitted, refused): (Vec<_>, Vec<_>) = times.into_iter().unzip();
    let (admitted, refused) = (admitted.concat(), refused.concat());
    println!("{} admitted, {} refused in {seconds:.2} s", admitted.len(), refused.len());
    assert!(!admitted.is_empty() && !refused.is_empty());
    let outcome = Outcome {
        goodput: (admitted.len() as f64 * 100.0 / (CAPACITY as f64 * seconds)) as usize,
        admitted_p50: p50(admitted),
        refused_p50: p50(refused),
        most_at_once: most.load(Ordering::SeqCst),
    };
    assert_serves(gateway.address, 10);
    println!(
        "measured: at 3 x capacity: goodput {} % of capacity, p50 admitted {:?}, refused {:?}",
        outcome.goodput, outcome.admitted_p50, outcome.refused_p50
    );
    outcome
}

#[test]
fn three_times_the_load_never_passes_the_cap() {
    let outcome = overload();
    at_most(
        "calls at 3 x capacity",
        "calls at the upstream at once",
        outcome.most_at_once as u64,
        CALLS_MAX as u64,
    );
}

#[test]
#[ignore = "ratios of time: tests/run --full"]
fn three_times_the_load_keeps_nine_tenths_of_the_goodput() {
    let outcome = overload();
    assert!(outcome.goodput >= 90, "goodput is {} % of capacity", outcome.goodput);
    assert!(
        outcome.refused_p50 <= outcome.admitted_p50,
        "a refusal takes {:?}, an admitted call {:?}",
        outcome.refused_p50,
        outcome.admitted_p50
    );
}
