//! `/metrics`: the figures of all workers, merged when somebody asks, with what control and the kernel know.
//!
//! This file is the list of what is shown; docs/METRICS.md explains each line of it, and a test compares the two.
//! Reading costs the workers nothing: they are not asked, their counters are looked at.

mod audit;
mod by_name;
mod costs;
pub mod exemplars;
pub mod exposition;
mod generations;
mod process;
mod reloads;
mod secrets;
mod shipping;
mod telemetry;
mod text;
mod tls;
mod tokens;
pub mod tools;

use std::sync::Arc;

use crate::certificates::Expiry;
use crate::credentials::Standing;
use crate::generations::Generations;
use crate::quarantine::Quarantine;
use crate::secrets::stores;
use crate::telemetry::Counts;
use crate::trial;
use strait_engine::WorkerFigures;
use strait_engine::figures::cell::{Counter, Gauge};
use strait_engine::figures::histogram::{Distribution, PARTS};
use strait_engine::figures::labels::{CallerKind, Decision, Layer, MethodClass, Outcome};
use strait_engine::figures::phases;
use strait_engine::figures::places::Place;
use strait_engine::figures::upstreams::UpstreamFigures;

pub use by_name::by_name;
use exemplars::Exemplars;
use exposition::{Exposition, Format, Kind};
pub use reloads::Reloads;
pub use text::{Dialect, Text};

/// What is shown, as of one moment.
pub struct Seen<'b> {
    pub workers: Vec<Worker>,
    pub upstreams: Vec<Upstream>,
    pub servers: Vec<(String, Place)>,
    /// By `id/measure`.
    pub limits: Vec<(String, Place)>,
    /// Who is called most, as of this look.
    pub tools: &'b tools::Shown,
    pub driver: &'static str,
    pub generation: &'b str,
    pub catalog: &'b str,
    pub ready: bool,
    pub reloads: Reloads,
    /// In use, those that only exchanges under way still hold included.
    pub snapshots: usize,
    pub quarantine: &'b Quarantine,
    pub generations: &'b Generations,
    pub trials: trial::Counts,
    /// When certificates that are shown end.
    pub certificates: &'b [Expiry],
    /// Tokens of this gateway's own, that upstreams are shown.
    pub tokens: &'b [Standing],
    /// Those that are in stores of others.
    pub secrets: Vec<stores::Figures>,
    pub revocations: Revocations,
    pub audit: Option<&'b strait_engine::audit::keeper::Standing>,
    pub shipping: &'b crate::shipping::Shown,
    /// What became of what a collector was to be told.
    pub telemetry: Option<&'b Counts>,
    pub exemplars: Option<Exemplars>,
}

/// Who is not believed any more.
#[derive(Clone, Copy, Debug, Default)]
pub struct Revocations {
    pub in_force: usize,
    /// They are what the file says.
    pub is_good: bool,
}

pub struct Worker {
    pub figures: Arc<WorkerFigures>,
    pub stalled: bool,
    pub stalls: u64,
}

pub struct Upstream {
    pub name: String,
    pub place: Place,
    /// Whether it has told its lists and not failed since; `None` when the table in use has none of that name.
    pub is_ready: Option<bool>,
}

/// Bucket bounds of what a request has several of: every power of two from 128 ns to 69 s.
const FINE: usize = PARTS;
/// Bucket bounds of what every upstream or worker has: every second power of two.
const COARSE: usize = 2 * PARTS;
/// Bucket bounds of the one figure that proofs are made of: every eighth of a power of two.
const FINEST: usize = 1;

pub fn tell(seen: &Seen<'_>, to: &mut dyn Format) {
    let mut out = Exposition(to);
    traffic(&mut out, &seen.workers, seen.exemplars.as_ref());
    servers(&mut out, seen);
    seen.tools.write(&mut out, &seen.workers.iter().map(|worker| &*worker.figures).collect::<Vec<_>>());
    upstreams(&mut out, seen);
    limits(&mut out, seen);
    tls::write(&mut out, &seen.workers, seen.certificates);
    costs::write(&mut out, &seen.workers);
    tokens::write(&mut out, seen.tokens);
    secrets::write(&mut out, &seen.secrets);
    audit::write(&mut out, seen.audit);
    shipping::write(&mut out, seen.shipping);
    generations::write(&mut out, seen);
    workers(&mut out, &seen.workers);
    telemetry::write(&mut out, &seen.workers, seen.telemetry);
    gateway(&mut out, seen);
    process::write(&mut out);
}

fn traffic(out: &mut Exposition, workers: &[Worker], traces: Option<&Exemplars>) {
    let all = || workers.iter().map(|worker| &*worker.figures);
    let mut requests = out.family(
        Kind::Counter,
        "strait_requests_total",
        "Requests told to their end, by what was asked and how it ended.",
    );
    for method in MethodClass::ALL {
        for outcome in Outcome::ALL {
            let count: u64 = all().map(|worker| worker.requests(*method, *outcome).get()).sum();
            requests.series(&[("method", method.label()), ("outcome", outcome.label())], count);
        }
    }
    let mut reasons: Vec<(&str, u64)> = Vec::new();
    for (reason, count) in all().flat_map(|worker| worker.refusals.iter()) {
        match reasons.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, sum)) => *sum += count,
            None => reasons.push((reason, count)),
        }
    }
    reasons.sort_unstable();
    let help = "Requests that were refused or failed, by the reason that their record names.";
    let mut refusals = out.family(Kind::Counter, "strait_refusals_total", help);
    for (reason, count) in reasons {
        refusals.series(&[("reason", reason)], count);
    }
    let help = "From the whole request to the last byte of its answer.";
    let mut duration = out.family(Kind::Histogram, "strait_request_duration_seconds", help);
    for method in MethodClass::ALL {
        let read = Distribution::of(all().map(|worker| &worker.duration[*method as usize]));
        let traces = traces.and_then(|traces| traces.of(*method));
        duration.traced(&[("method", method.label())], &read, traces);
    }
    let help = "Of answered calls to upstreams: their duration less what was spent waiting for the upstream.";
    let read = Distribution::of(all().map(|worker| &worker.added));
    out.family(Kind::Histogram, "strait_gateway_added_seconds", help).distribution(&[], &read, FINEST);
    let help = "Parts of a request's duration, in order.";
    let mut family = out.family(Kind::Histogram, "strait_phase_duration_seconds", help);
    for (index, phase) in phases().enumerate() {
        let read = Distribution::of(all().filter_map(|worker| worker.phases.get(index)));
        family.distribution(&[("phase", phase)], &read, FINE);
    }
    let sum =
        |counter: fn(&WorkerFigures) -> &Counter| all().map(|worker| counter(worker).get()).sum::<u64>();
    let help = "Bytes of clients' requests, heads and bodies.";
    out.one(Kind::Counter, "strait_received_bytes_total", help, sum(|worker| &worker.received_bytes));
    let help = "Bytes of answers to clients, heads and bodies.";
    out.one(Kind::Counter, "strait_sent_bytes_total", help, sum(|worker| &worker.sent_bytes));
}

fn upstreams(out: &mut Exposition, seen: &Seen<'_>) {
    let of = |upstream: &Upstream| -> Vec<&UpstreamFigures> {
        seen.workers.iter().filter_map(|worker| worker.figures.upstream_seen(upstream.place)).collect()
    };
    let met = seen.upstreams.iter().map(|upstream| (upstream, of(upstream)));
    let met: Vec<_> = met.filter(|(_, workers)| !workers.is_empty()).collect();
    let each = || met.iter().map(|(upstream, workers)| (upstream.name.as_str(), workers));
    let sum = |workers: &[&UpstreamFigures], counter: &dyn Fn(&UpstreamFigures) -> u64| -> u64 {
        workers.iter().map(|figures| counter(figures)).sum()
    };
    let help = "Calls of clients that were sent to an upstream.";
    let mut calls = out.family(Kind::Counter, "strait_upstream_calls_total", help);
    for (name, workers) in each() {
        calls.series(&[("upstream", name)], sum(workers, &|figures| figures.calls.get()));
    }
    let help = "Calls that an upstream did not answer as it should, by where it failed.";
    let mut errors = out.family(Kind::Counter, "strait_upstream_errors_total", help);
    for (name, workers) in each() {
        for layer in Layer::ALL {
            let count = sum(workers, &|figures| figures.errors(*layer).get());
            errors.series(&[("upstream", name), ("layer", layer.label())], count);
        }
    }
    let help = "From asking an upstream to the first event of its answer.";
    let mut latency = out.family(Kind::Histogram, "strait_upstream_duration_seconds", help);
    for (name, workers) in each() {
        let read = Distribution::of(workers.iter().map(|figures| &figures.latency));
        latency.distribution(&[("upstream", name)], &read, COARSE);
    }
    let help = "Whether an upstream has told its lists and has not failed since.";
    let mut ready = out.family(Kind::Gauge, "strait_upstream_ready", help);
    for (upstream, _) in &met {
        if let Some(is_ready) = upstream.is_ready {
            ready.series(&[("upstream", &upstream.name)], is_ready);
        }
    }
    let help = "Things that an upstream offers otherwise than strait.lock pins them.";
    let mut family = out.family(Kind::Gauge, "strait_upstream_quarantined", help);
    for (upstream, what, count) in seen.quarantine.counts() {
        family.series(&[("upstream", upstream), ("what", what.word())], count as u64);
    }
    children(
        out,
        &met.iter().map(|(upstream, workers)| (upstream.name.as_str(), &**workers)).collect::<Vec<_>>(),
    );
}

fn servers(out: &mut Exposition, seen: &Seen<'_>) {
    let help = "Requests to a server, by how their caller is known and by what policy said.";
    let mut requests = out.family(Kind::Counter, "strait_server_requests_total", help);
    for (name, place) in &seen.servers {
        let workers = || seen.workers.iter().filter_map(|worker| worker.figures.server_seen(*place));
        for (caller, verdict) in
            CallerKind::ALL.iter().flat_map(|c| Decision::ALL.iter().map(move |d| (c, d)))
        {
            let count: u64 = workers().map(|figures| figures.requests(*caller, *verdict).get()).sum();
            // Most pairs never happen: a server knows its callers in one way or two.
            if count > 0 {
                let labels =
                    [("server", name.as_str()), ("caller", caller.label()), ("verdict", verdict.label())];
                requests.series(&labels, count);
            }
        }
    }
}

fn limits(out: &mut Exposition, seen: &Seen<'_>) {
    let help = "Calls that a limit concerned: within all limits, or refused by this one.";
    let mut calls = out.family(Kind::Counter, "strait_limit_calls_total", help);
    for (name, place) in &seen.limits {
        let workers = || seen.workers.iter().filter_map(|worker| worker.figures.limit_seen(*place));
        let (limit, measure) = name.rsplit_once('/').unwrap_or((name, "any"));
        if workers().next().is_none() {
            continue;
        }
        let (admitted, refused) = workers().fold((0, 0), |(admitted, refused), figures| {
            (admitted + figures.admitted.get(), refused + figures.refused.get())
        });
        for (outcome, count) in [("admitted", admitted), ("refused", refused)] {
            calls.series(&[("limit", limit), ("measure", measure), ("outcome", outcome)], count);
        }
    }
}

/// Of those upstreams that have started one.
fn children(out: &mut Exposition, met: &[(&str, &[&UpstreamFigures])]) {
    let sum = |workers: &[&UpstreamFigures], counter: fn(&UpstreamFigures) -> &Counter| -> u64 {
        workers.iter().map(|figures| counter(figures).get()).sum()
    };
    let counts = met.iter().map(|(name, workers)| {
        // Ended before started, so that a child that comes and goes meanwhile makes no negative number.
        let ended = sum(workers, |figures| &figures.children_ended);
        let started = sum(workers, |figures| &figures.children_started);
        (*name, started, started.saturating_sub(ended), sum(workers, |figures| &figures.children_restarted))
    });
    let counts: Vec<_> = counts.filter(|(_, started, ..)| *started > 0).collect();
    let help = "Children of a stdio upstream that run.";
    let mut family = out.family(Kind::Gauge, "strait_upstream_children", help);
    counts.iter().for_each(|(name, _, running, _)| family.series(&[("upstream", name)], *running));
    let help = "Children that were started.";
    let mut family = out.family(Kind::Counter, "strait_upstream_children_started_total", help);
    counts.iter().for_each(|(name, started, ..)| family.series(&[("upstream", name)], *started));
    let help = "Of those, the ones that took the place of one that had ended.";
    let mut family = out.family(Kind::Counter, "strait_upstream_children_restarted_total", help);
    counts.iter().for_each(|(name, .., restarted)| family.series(&[("upstream", name)], *restarted));
}

/// A name, its help, and where every worker has it.
type Row<T> = (&'static str, &'static str, fn(&WorkerFigures) -> &T);

fn workers(out: &mut Exposition, workers: &[Worker]) {
    let names: Vec<String> = (0..workers.len()).map(|worker| worker.to_string()).collect();
    let each = || names.iter().map(String::as_str).zip(workers);
    let counters: [Row<Counter>; 10] = [
        ("strait_connections_accepted_total", "Connections that were accepted.", |w| &w.accepted),
        (
            "strait_connections_refused_total",
            "Connections that were answered 503 at the cap and closed.",
            |w| &w.turned_away,
        ),
        ("strait_accept_errors_total", "Accepts that failed, as when no more files may be open.", |w| {
            &w.accept_errors
        }),
        ("strait_mailbox_trips_total", "Requests and calls that were handed to another worker.", |w| {
            &w.mailbox_trips
        }),
        ("strait_mailbox_full_total", "Of those, the ones whose mailbox was full.", |w| &w.mailbox_full),
        (
            "strait_access_log_lines_dropped_total",
            "Access lines that were lost because their writer was behind.",
            |w| &w.log_lines_dropped,
        ),
        (
            "strait_kept_answers_dropped_total",
            "Answers that gave way to others before their clients came back for them.",
            |w| &w.answers_dropped,
        ),
        ("strait_worker_beats_total", "Ticks; 20 a second while a worker moves.", |w| &w.beats),
        ("strait_worker_panics_total", "Tasks that panicked and were ended.", |w| &w.panics),
        ("strait_worker_busy_polls_total", "Looks for work instead of sleeping (--busy-poll).", |w| {
            &w.busy_polls
        }),
    ];
    let gauges: [Row<Gauge>; 8] = [
        ("strait_connections", "Connections of clients that are open.", |w| &w.connections),
        ("strait_inflight_requests", "Requests under way.", |w| &w.inflight),
        ("strait_sessions", "Sessions of older revisions.", |w| &w.sessions),
        ("strait_suspended_calls", "Calls that wait for their clients to bring input.", |w| &w.suspended),
        ("strait_listens", "Open listens of modern clients.", |w| &w.listens),
        ("strait_standing_streams", "Answers that stand open.", |w| &w.standing),
        ("strait_buffer_held_bytes", "Bytes of buffers in use.", |w| &w.held_bytes),
        ("strait_buffer_pooled_bytes", "Bytes of buffers that wait for their next use.", |w| &w.pooled_bytes),
    ];
    for (name, help, counter) in counters {
        let mut family = out.family(Kind::Counter, name, help);
        each().for_each(|(worker, of)| family.series(&[("worker", worker)], counter(&of.figures).get()));
    }
    for (name, help, gauge) in gauges {
        let mut family = out.family(Kind::Gauge, name, help);
        each().for_each(|(worker, of)| family.series(&[("worker", worker)], gauge(&of.figures).get()));
    }
    let help = "Requests by the worker that told their story.";
    let mut requests = out.family(Kind::Counter, "strait_worker_requests_total", help);
    each().for_each(|(worker, of)| requests.series(&[("worker", worker)], of.figures.exchanges()));
    let mut stalled = out.family(Kind::Gauge, "strait_worker_stalled", "Whether a worker stands still.");
    each().for_each(|(worker, of)| stalled.series(&[("worker", worker)], of.stalled));
    let mut stalls = out.family(
        Kind::Counter,
        "strait_worker_stalls_total",
        "How often a worker was found standing still.",
    );
    each().for_each(|(worker, of)| stalls.series(&[("worker", worker)], of.stalls));
    let help = "How late a timer of a worker fired.";
    let mut lag = out.family(Kind::Histogram, "strait_worker_loop_lag_seconds", help);
    for (worker, of) in each() {
        lag.distribution(&[("worker", worker)], &Distribution::of([&of.figures.lag]), COARSE);
    }
}

fn gateway(out: &mut Exposition, seen: &Seen<'_>) {
    let mut info = out.family(Kind::Gauge, "strait_build_info", "Which Strait this is; always 1.");
    info.series(&[("version", env!("CARGO_PKG_VERSION"))], true);
    let mut backend =
        out.family(Kind::Gauge, "strait_io_backend", "How workers talk to the kernel; always 1.");
    backend.series(&[("kind", seen.driver)], true);
    out.one(Kind::Gauge, "strait_workers", "Workers.", seen.workers.len());
    out.one(Kind::Gauge, "strait_ready", "Whether `/readyz` says 200.", seen.ready);
    let help = "Which table and catalog are in use; always 1.";
    let mut generation = out.family(Kind::Gauge, "strait_config_generation_info", help);
    generation.series(&[("generation", seen.generation), ("catalog", seen.catalog)], true);
    let help = "Tables in memory: the one in use, and those that requests under way still hold.";
    out.one(Kind::Gauge, "strait_config_snapshots", help, seen.snapshots);
    seen.reloads.write(out);
    let help = "Revocations in force (`strait revoke`).";
    out.one(Kind::Gauge, "strait_revocations", help, seen.revocations.in_force);
    let help = "Whether they are what the file of the state folder says.";
    out.one(Kind::Gauge, "strait_revocations_file_good", help, seen.revocations.is_good);
}
