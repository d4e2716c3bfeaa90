//! From two looks at a gateway to what happened between them: the tables of every view.
//!
//! Counts grow for as long as a process lives; what is shown is their growth over a window of a few seconds, so that
//! numbers neither jump nor remember yesterday. Two looks at different processes have nothing between them.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde_json::{Value, json};

use super::cell::Cell;
use super::scrape::{Bucket, Histogram, Labels, Scrape};
use super::table::{Column, Mood, Row, Table, column};
use crate::limits::{TOP_GENERATIONS_MAX, TOP_LOOKS_MAX};

/// What a gateway said at one moment.
#[derive(Debug, Default)]
pub struct Look {
    /// Since the first look.
    pub at: Duration,
    pub ready: Value,
    pub metrics: Scrape,
    /// `/admin/sessions`; `None` without a token.
    pub open: Option<Value>,
    /// `/admin/traffic`; `None` without a token.
    pub traffic: Option<Value>,
}

impl Look {
    fn process(&self) -> f64 {
        self.metrics.sum("process_start_time_seconds", &[]).unwrap_or_default()
    }

    pub fn generation(&self) -> &str {
        self.ready["generation"].as_str().unwrap_or("-")
    }
}

/// The last looks at one process, and the generations that were seen.
#[derive(Debug, Default)]
pub struct Window {
    looks: VecDeque<Look>,
    generations: Vec<Generation>,
}

#[derive(Clone, Debug)]
struct Generation {
    id: String,
    first: Duration,
    last: Duration,
    /// Requests that were told while it was in use, as far as looks can tell them apart.
    requests: f64,
}

impl Window {
    pub fn take(&mut self, look: Look) {
        if self.looks.back().is_some_and(|last| last.process() != look.process()) {
            self.looks.clear();
        }
        let told = |look: &Look| look.metrics.sum("strait_requests_total", &[]).unwrap_or_default();
        let more = self.looks.back().map_or(0.0, |last| (told(&look) - told(last)).max(0.0));
        match self.generations.last_mut().filter(|last| last.id == look.generation()) {
            Some(last) => {
                last.last = look.at;
                last.requests += more;
            }
            None => {
                let id = look.generation().to_owned();
                self.generations.push(Generation { id, first: look.at, last: look.at, requests: more });
                if self.generations.len() > TOP_GENERATIONS_MAX {
                    self.generations.remove(0);
                }
            }
        }
        self.looks.push_back(look);
        if self.looks.len() > TOP_LOOKS_MAX {
            self.looks.pop_front();
        }
    }

    /// `None` until there is a look.
    pub fn picture(&self) -> Option<Picture<'_>> {
        let now = self.looks.back()?;
        let before = self.looks.front().filter(|before| before.at < now.at);
        Some(Picture { before, now, generations: &self.generations })
    }
}

/// What is shown.
pub struct Picture<'w> {
    before: Option<&'w Look>,
    pub now: &'w Look,
    generations: &'w [Generation],
}

/// The views, in the order of their keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum View {
    #[default]
    Overview,
    Tools,
    Upstreams,
    Principals,
    Denials,
    Cores,
    Generations,
}

impl View {
    pub const ALL: [View; 7] = [
        View::Overview,
        View::Tools,
        View::Upstreams,
        View::Principals,
        View::Denials,
        View::Cores,
        View::Generations,
    ];

    pub fn word(self) -> &'static str {
        match self {
            View::Overview => "overview",
            View::Tools => "tools",
            View::Upstreams => "upstreams",
            View::Principals => "principals",
            View::Denials => "denials",
            View::Cores => "cores",
            View::Generations => "generations",
        }
    }

    /// How many columns its rows can be sorted by.
    pub fn columns(self) -> usize {
        match self {
            View::Overview => 1,
            View::Tools | View::Principals => TOOLS.len(),
            View::Upstreams => UPSTREAMS.len(),
            View::Denials => DENIALS.len(),
            View::Cores => CORES.len(),
            View::Generations => GENERATIONS.len(),
        }
    }

    /// What rows are sorted by at first.
    pub fn sorted(self) -> Option<usize> {
        matches!(self, View::Tools | View::Upstreams | View::Principals | View::Denials).then_some(1)
    }
}

static REQUESTS: [Column; 7] = [
    column("REQUESTS", "method", 14),
    column("PER S", "per_s", 6),
    column("FAILED/S", "failed_per_s", 8),
    column("DENIED/S", "denied_per_s", 8),
    column("P50", "p50_ns", 7),
    column("P99", "p99_ns", 7),
    column("P99.9", "p999_ns", 7),
];

static PARTS: [Column; 4] = [
    column("WHERE THE TIME GOES", "part", 14),
    column("P50", "p50_ns", 7),
    column("P99", "p99_ns", 7),
    column("P99.9", "p999_ns", 7),
];

static STANDING: [Column; 2] = [column("NOW", "what", 14), column("", "value", 9)];

static TOOLS: [Column; 7] = by_name("TOOL");
static PRINCIPALS: [Column; 7] = by_name("PRINCIPAL");

const fn by_name(head: &'static str) -> [Column; 7] {
    [
        column(head, "name", 12),
        column("PER S", "per_s", 6),
        column("FAILED/S", "failed_per_s", 9),
        column("DENIED/S", "denied_per_s", 9),
        column("P50", "p50_ns", 8),
        column("P99", "p99_ns", 8),
        column("ALL", "total", 6),
    ]
}

static UPSTREAMS: [Column; 9] = [
    column("UPSTREAM", "name", 10),
    column("PER S", "per_s", 6),
    column("FAILED/S", "failed_per_s", 9),
    column("P50", "p50_ns", 8),
    column("P99", "p99_ns", 8),
    column("OPEN", "open", 5),
    column("TOOLS", "tools", 6),
    column("ERA", "era", 7),
    column("STATE", "state", 11),
];

static DENIALS: [Column; 3] =
    [column("REASON", "reason", 20), column("PER S", "per_s", 6), column("ALL", "total", 6)];

static CORES: [Column; 9] = [
    column("CORE", "worker", 5),
    column("PER S", "per_s", 6),
    column("CONNS", "connections", 6),
    column("CALLS", "inflight", 6),
    column("SESSNS", "sessions", 6),
    column("STREAMS", "streams", 7),
    column("TRIPS/S", "trips_per_s", 7),
    column("LATE P99", "lag_p99_ns", 8),
    column("HELD", "held_bytes", 9),
];

static GENERATIONS: [Column; 4] = [
    column("GENERATION", "generation", 14),
    column("REQUESTS", "requests", 9),
    column("SEEN FOR", "seen_s", 12),
    column("STATE", "state", 9),
];

impl Picture<'_> {
    pub fn tables(&self, view: View) -> Vec<Table> {
        match view {
            View::Overview => vec![self.requests(), self.parts(), self.standing()],
            View::Tools => vec![self.named(&TOOLS, "tools")],
            View::Upstreams => vec![self.upstreams()],
            View::Principals => vec![self.named(&PRINCIPALS, "principals")],
            View::Denials => vec![self.denials()],
            View::Cores => vec![self.cores()],
            View::Generations => vec![self.generations()],
        }
    }

    /// Why a view has no rows, when that is not because nothing happened.
    pub fn missing(&self, view: View) -> Option<&'static str> {
        let is_named = matches!(view, View::Tools | View::Principals);
        (is_named && self.now.traffic.is_none())
            .then_some("told to holders of the admin token: name its folder with --state DIR")
    }

    pub fn json(&self) -> Value {
        let mut all = json!({
            "gateway": {
                "version": self.now.ready["version"], "phase": self.now.ready["phase"], "generation": self.now.ready["generation"],
                "catalog": self.now.ready["catalog"], "uptime_s": self.now.ready["uptime_s"], "driver": self.now.ready["driver"],
            },
            "window_s": self.seconds(),
            "notices": self.notices(),
        });
        for view in View::ALL {
            let tables = self.tables(view);
            all[view.word()] = match view {
                View::Overview => {
                    tables.iter().map(|table| (table.title.to_owned(), table.json())).collect::<Value>()
                }
                _ => tables.first().map(Table::json).unwrap_or_default(),
            };
        }
        all
    }

    /// What somebody should know before they look at numbers.
    pub fn notices(&self) -> Vec<String> {
        let ready = &self.now.ready;
        let mut told = Vec::new();
        if let Some(phase) = ready["phase"].as_str().filter(|phase| *phase != "open") {
            told.push(format!("the gateway is {phase}"));
        }
        if ready["reload"]["state"] == "rejected" {
            let why = ready["reload"]["why"].as_str().unwrap_or("no reason given");
            let why = why.lines().find(|line| !line.trim().is_empty()).unwrap_or(why);
            told.push(format!("the last configuration was rejected: {why}"));
        }
        for upstream in
            ready["upstreams"].as_array().into_iter().flatten().filter(|one| one["state"] == "unreachable")
        {
            let name = upstream["name"].as_str().unwrap_or("-");
            told.push(format!("upstream {name}: {}", upstream["error"].as_str().unwrap_or("unreachable")));
        }
        for (at, worker) in ready["workers"].as_array().into_iter().flatten().enumerate() {
            if let Some(ms) = worker["stalled_ms"].as_u64() {
                told.push(format!("core {at} has not moved for {:.1} s", ms as f64 / 1e3));
            }
        }
        if let Some(count) = ready["quarantine"]["count"].as_u64().filter(|count| *count > 0) {
            told.push(format!("{count} definitions are quarantined: `strait status` names them"));
        }
        told
    }

    fn seconds(&self) -> f64 {
        self.before.map_or(0.0, |before| (self.now.at - before.at).as_secs_f64())
    }

    /// How fast a count grew.
    fn rate(&self, name: &str, labels: Labels<'_>) -> f64 {
        let Some(before) = self.before else { return 0.0 };
        let sum = |look: &Look| look.metrics.sum(name, labels).unwrap_or_default();
        ((sum(self.now) - sum(before)) / self.seconds()).max(0.0)
    }

    /// What was measured in the window.
    fn times(&self, name: &str, labels: Labels<'_>, shares: &[f64]) -> Vec<Cell> {
        let recent = match self.before {
            Some(before) => {
                self.now.metrics.histogram(name, labels).since(&before.metrics.histogram(name, labels))
            }
            None => Histogram::default(),
        };
        shares.iter().map(|share| Cell::Time(recent.quantile(*share))).collect()
    }

    fn gauge(&self, name: &str, labels: Labels<'_>) -> f64 {
        self.now.metrics.sum(name, labels).unwrap_or_default()
    }

    fn requests(&self) -> Table {
        let row = |name: &str, labels: Labels<'_>| {
            let rate = |outcomes: &[&str]| -> f64 {
                let of = |outcome: &&str| {
                    let labels: Vec<_> = labels.iter().copied().chain([("outcome", *outcome)]).collect();
                    self.rate("strait_requests_total", &labels)
                };
                outcomes.iter().map(of).sum()
            };
            let all = self.rate("strait_requests_total", labels);
            let (failed, denied) = (rate(&FAILED), rate(&["refused"]));
            let mut cells = vec![Cell::text(name), Cell::Rate(all), Cell::Rate(failed), Cell::Rate(denied)];
            cells.extend(self.times("strait_request_duration_seconds", labels, &[0.5, 0.99, 0.999]));
            let quiet = if all == 0.0 { Mood::Quiet } else { Mood::Usual };
            Row::new(cells).mood(if failed > 0.0 { Mood::Bad } else { quiet })
        };
        let mut rows = vec![row("all", &[])];
        rows.extend(METHODS.iter().map(|method| row(method, &[("method", *method)])));
        Table { title: "requests", columns: &REQUESTS, rows }
    }

    fn parts(&self) -> Table {
        let row = |name: &str, metric: &str, labels: Labels<'_>| {
            let mut cells = vec![Cell::text(name)];
            cells.extend(self.times(metric, labels, &[0.5, 0.99, 0.999]));
            Row::new(cells)
        };
        let mut rows = vec![row("added by the gateway", "strait_gateway_added_seconds", &[])];
        for phase in ["identify", "decode", "policy", "upstream", "respond"] {
            rows.push(row(phase, "strait_phase_duration_seconds", &[("phase", phase)]));
        }
        Table { title: "parts", columns: &PARTS, rows }
    }

    fn standing(&self) -> Table {
        let count = |what: &str, name: &str| Row::new([Cell::text(what), Cell::Count(self.gauge(name, &[]))]);
        let rows = vec![
            count("connections", "strait_connections"),
            count("under way", "strait_inflight_requests"),
            count("sessions", "strait_sessions"),
            count("streams", "strait_standing_streams"),
            Row::new([Cell::text("cores used"), Cell::Rate(self.rate("process_cpu_seconds_total", &[]))]),
            Row::new([Cell::text("memory"), Cell::Bytes(self.gauge("process_resident_memory_bytes", &[]))]),
            count("files open", "process_open_fds"),
        ];
        Table { title: "standing", columns: &STANDING, rows }
    }

    /// Of what is counted by name, behind the admin token.
    fn named(&self, columns: &'static [Column], kind: &'static str) -> Table {
        let rows_of = |look: &Look| -> BTreeMap<String, Value> {
            let all = look.traffic.as_ref().and_then(|traffic| traffic[kind].as_array());
            let named = all
                .into_iter()
                .flatten()
                .filter_map(|row| Some((row["name"].as_str()?.to_owned(), row.clone())));
            named.collect()
        };
        let before = self.before.map(rows_of).unwrap_or_default();
        let seconds = self.seconds();
        let rows = rows_of(self.now).into_iter().map(|(name, now)| {
            let earlier = before.get(&name).unwrap_or(&Value::Null);
            let number = |row: &Value, member: &str| row[member].as_f64().unwrap_or_default();
            let rate = |member: &str| match seconds > 0.0 {
                true => ((number(&now, member) - number(earlier, member)) / seconds).max(0.0),
                false => 0.0,
            };
            let recent = histogram(&now["duration"]).since(&histogram(&earlier["duration"]));
            let recent = if self.before.is_some() { recent } else { Histogram::default() };
            let time = |share| Cell::Time(recent.quantile(share));
            let (calls, failed) = (rate("calls"), rate("failed"));
            let cells = [
                Cell::Text(name),
                Cell::Rate(calls),
                Cell::Rate(failed),
                Cell::Rate(rate("denied")),
                time(0.5),
                time(0.99),
                Cell::Count(number(&now, "calls")),
            ];
            let quiet = if calls == 0.0 { Mood::Quiet } else { Mood::Usual };
            Row::new(cells).mood(if failed > 0.0 { Mood::Bad } else { quiet })
        });
        Table { title: kind, columns, rows: rows.collect() }
    }

    fn upstreams(&self) -> Table {
        let names = self.now.metrics.by("strait_upstream_calls_total", "upstream", &[]);
        let find = |all: &Value, name: &str| -> Value {
            all.as_array().into_iter().flatten().find(|one| one["name"] == name).cloned().unwrap_or_default()
        };
        let word = |value: &Value| value.as_str().map_or(Cell::None, Cell::text);
        let rows = names.into_keys().map(|name| {
            let standing = find(&self.now.ready["upstreams"], &name);
            let open = self.now.open.as_ref().map(|open| find(&open["upstreams"], &name)).unwrap_or_default();
            let labels = [("upstream", name.as_str())];
            let calls = self.rate("strait_upstream_calls_total", &labels);
            let failed = self.rate("strait_upstream_errors_total", &labels);
            let mut cells = vec![Cell::text(&name), Cell::Rate(calls), Cell::Rate(failed)];
            cells.extend(self.times("strait_upstream_duration_seconds", &labels, &[0.5, 0.99]));
            cells.push(open["calls"].as_f64().map_or(Cell::None, Cell::Count));
            cells.push(standing["tools"].as_f64().map_or(Cell::None, Cell::Count));
            cells.push(word(&open["era"]));
            cells.push(word(&standing["state"]));
            let is_bad = failed > 0.0 || standing["state"] == "unreachable" || standing["state"] == "stale";
            Row::new(cells).mood(match (is_bad, calls == 0.0) {
                (true, _) => Mood::Bad,
                (false, true) => Mood::Quiet,
                (false, false) => Mood::Usual,
            })
        });
        // Those without a name of their own are only worth a row when there are some.
        let rows =
            rows.filter(|row| row.cells.first() != Some(&Cell::text("other")) || row.mood != Mood::Quiet);
        Table { title: "upstreams", columns: &UPSTREAMS, rows: rows.collect() }
    }

    fn denials(&self) -> Table {
        let all = self.now.metrics.by("strait_refusals_total", "reason", &[]);
        let rows = all.into_iter().map(|(reason, total)| {
            let rate = self.rate("strait_refusals_total", &[("reason", &reason)]);
            let mood = if rate == 0.0 { Mood::Quiet } else { Mood::Usual };
            Row::new([Cell::Text(reason), Cell::Rate(rate), Cell::Count(total)]).mood(mood)
        });
        Table { title: "denials", columns: &DENIALS, rows: rows.collect() }
    }

    fn cores(&self) -> Table {
        let workers = self.gauge("strait_workers", &[]) as usize;
        let rows = (0..workers).map(|worker| {
            let name = worker.to_string();
            let labels = [("worker", name.as_str())];
            let gauge = |metric: &str| self.gauge(metric, &labels);
            let lag = self.times("strait_worker_loop_lag_seconds", &labels, &[0.99]);
            let mut cells = vec![
                Cell::text(&name),
                Cell::Rate(self.rate("strait_worker_requests_total", &labels)),
                Cell::Count(gauge("strait_connections")),
                Cell::Count(gauge("strait_inflight_requests")),
                Cell::Count(gauge("strait_sessions")),
                Cell::Count(gauge("strait_standing_streams")),
                Cell::Rate(self.rate("strait_mailbox_trips_total", &labels)),
            ];
            cells.extend(lag);
            cells.push(Cell::Bytes(gauge("strait_buffer_held_bytes")));
            Row::new(cells).mood(if gauge("strait_worker_stalled") > 0.0 { Mood::Bad } else { Mood::Usual })
        });
        Table { title: "cores", columns: &CORES, rows: rows.collect() }
    }

    /// Those that were in use while somebody looked, the newest first.
    fn generations(&self) -> Table {
        let rows = self.generations.iter().rev().enumerate().map(|(back, generation)| {
            let seen = (generation.last - generation.first).as_secs_f64();
            let state = if back == 0 { "in use" } else { "before" };
            Row::new([
                Cell::text(&generation.id),
                Cell::Count(generation.requests),
                Cell::Age(seen),
                Cell::text(state),
            ])
            .mood(if back == 0 { Mood::Usual } else { Mood::Quiet })
        });
        let mut rows: Vec<Row> = rows.collect();
        let reload = &self.now.ready["reload"];
        if reload["state"] == "rejected" {
            let candidate = reload["candidate"].as_str().unwrap_or("unreadable");
            let cells = [Cell::text(candidate), Cell::None, Cell::None, Cell::text("rejected")];
            rows.insert(0, Row::new(cells).mood(Mood::Bad));
        }
        Table { title: "generations", columns: &GENERATIONS, rows }
    }
}

/// Those that are somebody's fault other than the caller's.
const FAILED: [&str; 4] = ["error", "overloaded", "upstream_fault", "internal"];

const METHODS: [&str; 6] = ["tools_call", "get", "list", "session", "other", "unread"];

/// `[[largest value in ns, how many], …]`, as an eighth of a power of two wide as the engine counts them.
fn histogram(buckets: &Value) -> Histogram {
    let bucket = |pair: &Value| {
        let up_to = pair[0].as_u64()?;
        let width = (1u64 << up_to.saturating_sub(1).checked_ilog2().unwrap_or(0)) / 8;
        let above_ns = up_to.saturating_sub(width) as f64;
        Some(Bucket { above_ns, up_to_ns: up_to as f64, count: pair[1].as_f64()? })
    };
    Histogram(buckets.as_array().into_iter().flatten().filter_map(bucket).collect())
}
