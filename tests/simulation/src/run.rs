//! One world from its beginning to its end: who is in it, what disturbs it, and what must be left.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use strait_engine::io::runtime::{sleep, spawn_guarded};
use strait_engine::io::simulated::network::{self, Blow, Climate, Door};
use strait_engine::io::simulated::{self, Census, Report, Troop, World, say};

use crate::client::Client;
use crate::gateway::Gateway;
use crate::story::{Story, Sums};
use crate::upstream::{Kind, Upstream};

/// A world that takes more turns goes in circles.
const TURNS_MAX: u64 = 3_000_000;
/// Longer than anything the gateway keeps for somebody who may come back.
const ABSENCE: Duration = Duration::from_secs(2 * 60 * 60);

/// What is left of a world.
pub struct Outcome {
    pub wrongs: Vec<String>,
    pub trace: u64,
    pub turns: u64,
    pub lasted: Duration,
    pub sums: Sums,
}

/// Runs the world of a seed, on a thread of its own.
pub fn run(seed: u64, tells: bool) -> Outcome {
    let world = move || World::run(seed, TURNS_MAX, tells, move || story(seed));
    let thread = std::thread::Builder::new().name(format!("seed {seed}")).stack_size(8 << 20).spawn(world);
    let report = thread.expect("start a thread").join();
    match report {
        Ok(report) => judged(report),
        Err(_) => Outcome {
            wrongs: vec!["the simulation itself panicked".to_owned()],
            trace: 0,
            turns: 0,
            lasted: Duration::ZERO,
            sums: Sums::new(),
        },
    }
}

fn judged(report: Report<(Vec<String>, Sums)>) -> Outcome {
    let (mut wrongs, sums) = report.outcome.unwrap_or_else(|| {
        let why = if report.turns >= TURNS_MAX { "it goes in circles" } else { "nobody can go on" };
        (vec![format!("the world did not end: {why}")], Sums::new())
    });
    wrongs.extend(report.panics.iter().map(|panic| format!("panic: {panic}")));
    Outcome { wrongs, trace: report.trace, turns: report.turns, lasted: report.lasted, sums }
}

async fn story(seed: u64) -> (Vec<String>, Sums) {
    let mut chance = simulated::Chance::new(seed, "story");
    let is_calm = chance.percent(40);
    let kinds = [(); 3].map(|()| Kind::draw(&mut chance));
    let story = Rc::new(Story::new(seed, is_calm, kinds));
    network::set_climate(Climate {
        latency_ns: 5_000..*chance.of(&[50_000, 500_000, 4_000_000]),
        jitter_ns: 0..*chance.of(&[1, 1_000_000, 80_000_000]),
        // A call has six seconds: in calm weather that is enough for anything.
        window_bytes: if story.is_calm { 32_768 } else { *chance.of(&[512, 4_096, 32_768]) }..262_144,
        crumbs_percent: *chance.of(&[0, 20, 80]),
    });
    let upstreams: Vec<Rc<Upstream>> = ["one", "two", "three"]
        .into_iter()
        .zip(kinds)
        .enumerate()
        .map(|(index, (name, kind))| {
            Upstream::start(&story, name, SocketAddr::from(([10, 1, 0, index as u8 + 1], 80)), kind)
        })
        .collect();
    let force_wrong_worker = chance.percent(30);
    say(|| {
        format!("calm: {}, wrong worker: {force_wrong_worker}, upstreams: {:?}", story.is_calm, story.kinds)
    });
    let gateway = Gateway::start(&story, force_wrong_worker).await;
    sleep(Duration::from_secs(1)).await;
    let before = (gateway.held().await, tasks_of_workers());

    let clients = chance.within(1..9) as usize;
    let left = Rc::new(Cell::new(0));
    for number in 0..clients {
        Client::start(&story, gateway.address, number, left.clone());
    }
    let weather = Rc::new(Cell::new(!story.is_calm));
    if weather.get() {
        spawn_guarded("weather", storm(story.clone(), gateway.address, upstreams.clone(), weather.clone()));
    }
    if chance.percent(40) {
        story.changed_ns.set(None);
        spawn_guarded("changes of lists", change_lists(story.clone(), upstreams.clone()));
    }
    while left.get() < clients {
        sleep(Duration::from_millis(50)).await;
    }
    weather.set(false);
    for upstream in &upstreams {
        network::set_door(upstream.address, Door::Open);
    }
    aftermath(&story, &gateway, &upstreams, before).await;
    if !gateway.drain().await {
        story.wrong("the gateway does not end".to_owned());
    }
    let left_over: Census = tasks_of_workers();
    if !left_over.is_empty() {
        story.wrong(format!("workers have ended, and their tasks live on: {left_over:?}"));
    }
    (story.wrongs(), story.tally.sums())
}

/// Everybody has left: what the gateway held for them goes, at once or when its time has come.
async fn aftermath(story: &Story, gateway: &Gateway, upstreams: &[Rc<Upstream>], before: (Held, Census)) {
    // The longest that a call without a client may run: its own deadline.
    sleep(Duration::from_secs(15)).await;
    simulated::leap(ABSENCE);
    // What was due meanwhile is done, lists are asked for again, and idle sessions and connections are swept.
    sleep(Duration::from_secs(65)).await;
    simulated::leap(Duration::from_secs(60));
    sleep(Duration::from_secs(5)).await;
    for (what, held) in gateway.held().await {
        let held_before = before.0.get(what).copied().unwrap_or(0);
        if held > held_before {
            story.wrong(format!(
                "everybody has left, and there are {held} {what}; before there were {held_before}"
            ));
        }
    }
    for ((troop, what), count) in tasks_of_workers() {
        let count_before = before.1.get(&(troop, what)).copied().unwrap_or(0);
        if count > count_before {
            story.wrong(format!(
                "everybody has left, and {troop:?} has {count} tasks `{what}`; before it had {count_before}"
            ));
        }
    }
    for upstream in upstreams.iter().filter(|_| story.is_calm) {
        let left = upstream.sessions_of_clients();
        if left > 0 {
            story.wrong(format!("everybody has left, and {} has {left} sessions of theirs", upstream.name));
        }
    }
}

type Held = BTreeMap<&'static str, u64>;

fn tasks_of_workers() -> Census {
    let mut census = simulated::tasks();
    census.retain(|(troop, _), _| matches!(troop, Troop::Worker(_)));
    census
}

/// Changes what upstreams offer, a few times.
async fn change_lists(story: Rc<Story>, upstreams: Vec<Rc<Upstream>>) {
    let mut chance = story.chance("changes of lists");
    for _ in 0..chance.within(1..5) {
        sleep(Duration::from_millis(chance.magnitude(100..4_000))).await;
        chance.of(&upstreams).change_lists();
    }
    story.changed_ns.set(Some(simulated::now_ns()));
}

/// Disturbs everything now and then, until it is told to stop.
async fn storm(story: Rc<Story>, gateway: SocketAddr, upstreams: Vec<Rc<Upstream>>, goes_on: Rc<Cell<bool>>) {
    let mut chance = story.chance("storm");
    while goes_on.get() {
        sleep(Duration::from_millis(chance.magnitude(5..3_000))).await;
        let upstream = chance.of(&upstreams).clone();
        match chance.within(0..6) {
            0 | 1 => {
                let to = if chance.percent(50) { gateway } else { upstream.address };
                let connections = network::connections_to(to);
                if !connections.is_empty() {
                    let blow = if chance.percent(60) {
                        Blow::Reset
                    } else {
                        Blow::Freeze { ns: chance.magnitude(1_000_000..8_000_000_000) }
                    };
                    network::strike(*chance.of(&connections), blow);
                }
            }
            2 => upstream.forget_sessions(),
            3 => {
                let door = *chance.of(&[Door::Refuses, Door::Silent]);
                network::set_door(upstream.address, door);
                sleep(Duration::from_millis(chance.magnitude(10..4_000))).await;
                network::set_door(upstream.address, Door::Open);
            }
            4 => {
                upstream.forget_sessions();
                for connection in network::connections_to(upstream.address) {
                    network::strike(connection, Blow::Reset);
                }
            }
            _ => {}
        }
    }
}
