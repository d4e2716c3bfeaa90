//! One core's worker: accepts, serves, ticks, and adopts what control hands over.
//!
//! Everything of a worker runs as tasks on one thread. This file starts them and says in which order a
//! worker lives: bind, learn, open, serve, drain, stop.

mod accept;

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::changes;
use crate::connection::{dismiss_idle, standing};
use crate::core::{Core, Parts};
use crate::edition::Wiring;
use crate::exchange::{hand_over, suspend, tasks};
use crate::handle::{Command, To};
use crate::io::mailbox::Inbox;
use crate::io::runtime::{self, sleep};
use crate::io::tcp::{Bound, Listener};
use crate::io::vigil;
use crate::limits::TICK_MS;
use crate::roll::Roll;
use crate::session;
use crate::upstream::{learn, stdio, subscribe};

/// What workers send each other.
pub enum Parcel {
    /// A request whose session the receiver owns.
    Exchange(Box<hand_over::Parcelled>),
    /// A call to a child that the receiver owns.
    Order(Box<stdio::elsewhere::Parcelled>),
    /// Lists of an upstream changed that the receiver asks for.
    ListsChanged(Arc<Wiring>),
    /// A resource that the sender wants to hear of, from a conversation that the receiver owns.
    Wanted(Box<subscribe::Wanted>),
    /// A line for a child that the receiver owns.
    Line(Box<stdio::elsewhere::Line>),
}

/// After a drain began: connections that are being made are still accepted for this long, so that a
/// load balancer which has not noticed yet loses nothing. An idle connection may send as long as this.
const LAST_ACCEPTS_MS: u64 = 200;
/// Beside a successor an idle connection may send as long as this: closing it earlier could meet a request that is on its
/// way, and nobody waits for this process to end. Whoever sends within it is told to close with the answer.
const IDLE_BESIDE_SUCCESSOR_MS: u64 = 5_000;

/// Runs a worker to its end. Called on the worker's own thread, inside the runtime.
pub async fn run(mut parts: Parts, listeners: Vec<(u16, Bound)>, commands: mpsc::UnboundedReceiver<Command>) {
    let inboxes = parts.post.take_inboxes();
    let core = Core::new(parts);
    for inbox in inboxes {
        runtime::spawn_guarded("mailbox", receive(core.clone(), inbox));
    }
    runtime::spawn_guarded("tick", tick(core.clone()));
    if core.audit.is_on() {
        let core = core.clone();
        runtime::spawn_guarded("news of the audit log", async move { core.audit.listen().await });
    }
    runtime::spawn_guarded("changes of lists", changes::keep(core.clone()));
    keep_lists(&core);
    obey(&core, listeners, commands).await;
    for upstream in core.upstreams.all() {
        upstream.stdio.end(&core);
    }
    core.log.flush();
}

/// Begins to ask what upstreams offer that came with this edition.
fn keep_lists(core: &Rc<Core>) {
    for upstream in core.upstreams.unkept() {
        upstream.is_kept.set(true);
        if learn::is_asker(core, &upstream) {
            runtime::spawn_guarded("learning of an upstream", learn::keep(core.clone(), upstream));
        }
    }
}

/// Carries out commands until the drain is over.
async fn obey(
    core: &Rc<Core>,
    mut listeners: Vec<(u16, Bound)>,
    mut commands: mpsc::UnboundedReceiver<Command>,
) {
    while let Some(command) = commands.recv().await {
        match command {
            Command::Adopt(edition) => {
                core.adopt(edition);
                keep_lists(core);
            }
            Command::Open => {
                for (index, listener) in std::mem::take(&mut listeners) {
                    if let Ok(listener) = Listener::take_up(listener) {
                        runtime::spawn_guarded("accept", accept::run(core.clone(), listener, index));
                    }
                }
            }
            Command::Try { trial, serial } => {
                core.attempt(trial, serial);
                keep_lists(core);
            }
            Command::Differences(asked) => {
                let found = core
                    .trial()
                    .and_then(|on_trial| Some(on_trial.shadow.as_ref()?.read(on_trial.trial.number)));
                // Room was made for one of each worker.
                found.into_iter().for_each(|found| drop(asked.try_send(found)));
            }
            // Room was made for one of each worker.
            Command::Roll(asked) => drop(asked.try_send(Roll::call(core))),
            Command::LookAgain => core.stop.look_again(),
            Command::SessionEnded { serial, principal } => {
                session::end_known_elsewhere(core, serial, principal)
            }
            Command::Drain { deadline, to } => return drain(core, deadline, to, commands).await,
        }
    }
}

/// Accepts what is on its way, then nothing more; ends when the last exchange has and the last
/// connection was told or let go. A worker that ended earlier would leave its clients talking to nobody
/// for as long as the others have work.
async fn drain(core: &Rc<Core>, deadline: Duration, to: To, mut commands: mpsc::UnboundedReceiver<Command>) {
    core.draining.set(true);
    let began_ms = core.clock.coarse_ms();
    let idle_ms = match to {
        To::Nobody => {
            sleep(Duration::from_millis(LAST_ACCEPTS_MS)).await;
            LAST_ACCEPTS_MS + TICK_MS
        }
        To::Successor => IDLE_BESIDE_SUCCESSOR_MS,
    };
    core.stop.stop();
    let ends_ms = core.clock.coarse_ms() + deadline.as_millis() as u64;
    let mut quiet = 0;
    // Twice nothing in a row: a request that had arrived but was not yet read shows by then.
    while quiet < 2 && core.clock.coarse_ms() < ends_ms {
        sleep(Duration::from_millis(TICK_MS)).await;
        while let Ok(command) = commands.try_recv() {
            // Nothing else matters to a worker that ends.
            if let Command::SessionEnded { serial, principal } = command {
                session::end_known_elsewhere(core, serial, principal);
            }
        }
        let now_ms = core.clock.coarse_ms();
        for seat in core.seats.borrow().values() {
            // The coarse clock may be a tick behind.
            seat.dismiss(now_ms, began_ms, idle_ms);
            seat.nudge_standing();
        }
        let over = core.inflight.get() == 0 && core.connections.get() <= core.lingering.get();
        quiet = if over { quiet + 1 } else { 0 };
    }
}

async fn receive(core: Rc<Core>, mut inbox: Inbox<Parcel>) {
    while let Some(parcel) = inbox.recv().await {
        match parcel {
            Parcel::Exchange(parcel) => {
                runtime::spawn_guarded("exchange handed over", hand_over::receive(core.clone(), parcel));
            }
            Parcel::Order(parcel) => {
                runtime::spawn_guarded("call handed over", stdio::elsewhere::receive(core.clone(), parcel));
            }
            Parcel::ListsChanged(upstream) => core.upstreams.open(&upstream).relist.set(),
            Parcel::Wanted(wanted) => {
                runtime::spawn_guarded("subscription handed over", subscribe::receive(core.clone(), wanted));
            }
            Parcel::Line(line) => stdio::elsewhere::say(&core, *line),
        }
    }
}

/// Looks at deadlines, hands over access lines, publishes figures.
async fn tick(core: Rc<Core>) {
    let mut ticks: u64 = 0;
    // Looking at every session takes milliseconds when there are many, and an idle one is unknown to its client already:
    // once a minute, as long as it may be idle for an hour.
    let session_sweep_ticks = (core.deadlines.session_idle_ms / 60 / 1_000).max(1) * SWEEP_TICKS;
    loop {
        let due_ns = core.clock.now_ns() + TICK_MS * 1_000_000;
        sleep(Duration::from_millis(TICK_MS)).await;
        core.figures.lag.record(core.clock.now_ns().saturating_sub(due_ns));
        let now_ms = core.clock.tick();
        core.watches.tick(now_ms);
        core.allowances.tick(&core.clock);
        core.log.flush();
        publish(&core);
        ticks += 1;
        if ticks.is_multiple_of(SWEEP_TICKS) {
            core.look_at_windows();
            core.upstreams.sweep(&core);
            dismiss_idle(&core);
            session::give_up_overdue(&core);
            core.past.pay(&core);
            core.over.sweep(core.clock.coarse_ms());
            core.audience.end_overdue(&core.clock);
            suspend::end_overdue(&core);
            tasks::older::end_overdue(&core);
            if ticks.is_multiple_of(session_sweep_ticks) {
                session::end_idle(&core);
            }
            standing::keep_alive(&core);
            crate::io::buffer::trim();
            core.decoder.borrow_mut().trim();
        }
    }
}

/// What the worker knows anyway, put where others can read it.
fn publish(core: &Core) {
    let figures = &core.figures;
    figures.beats.add(1);
    figures.connections.set(core.connections.get() as u64);
    figures.inflight.set(core.inflight.get() as u64);
    figures.sessions.set(core.sessions.borrow().count() as u64);
    figures.suspended.set(core.suspended.count() as u64);
    figures.listens.set(core.listens.count() as u64);
    figures.standing.set(core.standing.get() as u64);
    figures.held_bytes.set(crate::io::buffer::held_bytes() as u64);
    figures.pooled_bytes.set(crate::io::buffer::pooled_bytes() as u64);
    figures.mailbox_trips.publish(core.post.trips());
    figures.mailbox_full.publish(core.post.refused());
    figures.log_lines_dropped.publish(core.log.dropped());
    figures.panics.publish(runtime::panics());
    figures.busy_polls.publish(vigil::turns());
}

const SWEEP_TICKS: u64 = 1_000 / TICK_MS;

/// The addresses of listeners, resolved from the table.
pub fn addresses(rules: &strait_table::rules::ArchivedRules) -> Result<Vec<SocketAddr>, String> {
    let parse = |listener: &strait_table::rules::ArchivedListener| {
        let bind = listener.bind.as_str();
        bind.parse()
            .map_err(|_| format!("listener `{}`: expected ip:port, found `{bind}`", listener.name.as_str()))
    };
    rules.listeners.iter().map(parse).collect()
}
