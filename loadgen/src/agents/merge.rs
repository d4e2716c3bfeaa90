//! One agent's report on its way, and all of them as one.
//!
//! The decision: histograms travel whole, with the exact sum and maximum beside them, and are added bucket by bucket, so that a merged report is the report
//! of all samples: nothing is averaged. What cannot be added, such as whether the generator kept up, is kept with the name of the agent.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use serde_json::json;
use strait_protocol::mcp::{Method, Revision};

use crate::load::Options;
use crate::load::plan::Loop;
use crate::load::raw;
use crate::load::record::{Codes, Record, Times};
use crate::load::report::{AgentPart, Report, Share, times_json};
use crate::load::steady::{Steadiness, Windows};

#[derive(Serialize, Deserialize, Debug)]
struct TimesForm {
    histogram: String,
    /// More than 64 bits when a run is long; digits, which every JSON holds.
    sum_ns: String,
    max_ns: u64,
}

#[derive(Serialize, Deserialize, Debug)]
struct CodesForm {
    counts: Vec<(i64, u64)>,
    others: u64,
}

#[derive(Serialize, Deserialize, Debug)]
struct ShareForm {
    method: String,
    name: Option<String>,
    weight: f64,
    sent: u64,
}

#[derive(Serialize, Deserialize, Debug)]
enum SteadinessForm {
    Steady,
    NotSteady(String),
    Unknown(String),
}

/// What an agent found.
#[derive(Serialize, Deserialize, Debug)]
pub struct Found {
    server: String,
    revision: String,
    reconnects: u64,
    spin_ns: u64,
    not_sent: u64,
    behind: u64,
    duration_ns: u64,
    interrupted: bool,
    warmed_ns: Option<u64>,
    steadiness: SteadinessForm,
    /// Each with when it began.
    windows: Vec<(u64, String)>,
    shares: Vec<ShareForm>,
    saturation: Vec<String>,
    own_fault: Option<String>,
    notes: Vec<String>,
    /// In the order of [`times_of`].
    times: Vec<TimesForm>,
    causes: Vec<u64>,
    cancelled: u64,
    crossed: u64,
    statuses: CodesForm,
    codes: CodesForm,
    body_bytes: u64,
    events: u64,
}

fn times_of(record: &mut Record) -> [&mut Times; 8] {
    [
        &mut record.latency,
        &mut record.service,
        &mut record.send_lag,
        &mut record.own_lag,
        &mut record.failed_latency,
        &mut record.failed_service,
        &mut record.first_event,
        &mut record.event_gap,
    ]
}

impl Found {
    pub fn of(mut report: Report) -> Found {
        let codes = |codes: &Codes| CodesForm { counts: codes.iter().collect(), others: codes.others };
        let (statuses, other_codes) = (codes(&report.record.statuses), codes(&report.record.codes));
        let times = times_of(&mut report.record).map(|times| TimesForm {
            histogram: raw::encode(times.histogram()),
            sum_ns: times.sum_ns().to_string(),
            max_ns: times.max().unwrap_or(0),
        });
        let shares = report.shares.into_iter().map(|share| ShareForm {
            method: share.method.to_owned(),
            name: share.name,
            weight: share.weight,
            sent: share.sent,
        });
        Found {
            server: report.server,
            revision: report.revision.to_owned(),
            reconnects: report.reconnects,
            spin_ns: report.spin_ns,
            not_sent: report.not_sent,
            behind: report.behind,
            duration_ns: report.duration_ns,
            interrupted: report.interrupted,
            warmed_ns: report.warmed_ns,
            steadiness: match report.steadiness {
                Steadiness::Steady => SteadinessForm::Steady,
                Steadiness::NotSteady(why) => SteadinessForm::NotSteady(why),
                Steadiness::Unknown(why) => SteadinessForm::Unknown(why),
            },
            windows: report.windows.timed().map(|(began, set)| (began, raw::encode(set))).collect(),
            shares: shares.collect(),
            saturation: report.saturation,
            own_fault: report.own_fault,
            notes: report.notes,
            times: times.into(),
            causes: report.record.causes.to_vec(),
            cancelled: report.record.cancelled,
            crossed: report.record.crossed,
            statuses,
            codes: other_codes,
            body_bytes: report.record.body_bytes,
            events: report.record.events,
        }
    }

    /// What it recorded, or what is wrong with it.
    fn record(&self) -> Result<Record, String> {
        let mut record = Record::new();
        self.add_to(&mut record)?;
        Ok(record)
    }

    fn add_to(&self, record: &mut Record) -> Result<(), String> {
        if self.causes.len() != record.causes.len() || self.times.len() != times_of(record).len() {
            return Err("figures of another kind".to_owned());
        }
        for (into, from) in times_of(record).into_iter().zip(&self.times) {
            let sum =
                from.sum_ns.parse().map_err(|_| format!("`{}` as a sum", from.sum_ns.escape_debug()))?;
            into.add(&raw::decode(&from.histogram)?, sum, from.max_ns)?;
        }
        for (into, from) in record.causes.iter_mut().zip(&self.causes) {
            *into = into.saturating_add(*from);
        }
        for (into, from) in [(&mut record.statuses, &self.statuses), (&mut record.codes, &self.codes)] {
            from.counts.iter().for_each(|(code, times)| into.add(*code, *times));
            into.others = into.others.saturating_add(from.others);
        }
        for (into, from) in [
            (&mut record.cancelled, self.cancelled),
            (&mut record.crossed, self.crossed),
            (&mut record.body_bytes, self.body_bytes),
            (&mut record.events, self.events),
        ] {
            *into = into.saturating_add(from);
        }
        Ok(())
    }

    fn windows(&self) -> Result<Vec<(u64, Histogram<u64>)>, String> {
        self.windows.iter().map(|(began, text)| Ok((*began, raw::decode(text)?))).collect()
    }
}

/// How an agent's clocks stand to ours.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ClockSeen {
    /// The wall clock: positive when it is ahead of ours.
    pub wall_ns: i64,
    /// The clock that plans are run by.
    pub plan_ns: i128,
    /// Half of the fastest round trip: how far both may be off.
    pub bound_ns: u64,
}

/// One agent's part of a run.
pub(super) struct Part {
    pub address: String,
    pub connections: usize,
    pub before: ClockSeen,
    pub after: Option<ClockSeen>,
    pub found: Found,
}

impl Part {
    fn told(&self, record: &Record) -> AgentPart {
        let found = &self.found;
        let measured = record.succeeded() + record.failed() + record.cancelled;
        let rate =
            if found.duration_ns == 0 { 0.0 } else { measured as f64 * 1e9 / found.duration_ns as f64 };
        let drift = self.after.map(|after| (after.plan_ns - self.before.plan_ns) as i64);
        let json = json!({
            "address": self.address,
            "connections": self.connections,
            "clock": {
                "offset_ns": self.before.wall_ns,
                "bound_ns": self.before.bound_ns,
                "drift_ns": drift,
                "drift_bound_ns": self.after.map(|after| after.bound_ns + self.before.bound_ns),
            },
            "achieved_rate": rate,
            "measured": measured,
            "succeeded": record.succeeded(),
            "failed": record.failed(),
            "not_sent": found.not_sent,
            "behind_at_end": found.behind,
            "latency_ns": times_json(&record.latency),
            "own_lag_ns": times_json(&record.own_lag),
            "spin_ns": found.spin_ns,
            "self_saturated": !found.saturation.is_empty(),
            "saturation": found.saturation,
        });
        let shown = crate::words::shown_ns;
        let text = format!(
            "agent {}: {measured} measured, {} failed, {rate:.1}/s over {} connections; its clock is {} {} ours (± {})",
            self.address,
            record.failed(),
            self.connections,
            shown(self.before.wall_ns.unsigned_abs() as f64),
            if self.before.wall_ns < 0 { "behind" } else { "ahead of" },
            shown(self.before.bound_ns as f64),
        );
        AgentPart { json, text }
    }
}

/// All parts as one report, or which agent's cannot be used, and why.
pub(super) fn merged(options: &Options, parts: &[Part]) -> Result<Report, (String, String)> {
    let mut record = Record::new();
    let mut agents = Vec::new();
    let mut windows = Vec::new();
    for part in parts {
        let unfit = |why| (part.address.clone(), why);
        part.found.add_to(&mut record).map_err(unfit)?;
        agents.push(part.told(&part.found.record().map_err(unfit)?));
        windows.push(part.found.windows().map_err(unfit)?);
    }
    let first = parts.first().ok_or_else(|| (String::new(), "no agent".to_owned()))?;
    let revision = Revision::parse(first.found.revision.as_bytes());
    let unknown = || (first.address.clone(), "a revision that is none".to_owned());
    let sum = |of: fn(&Found) -> u64| parts.iter().map(|part| of(&part.found)).fold(0, u64::saturating_add);
    let most = |of: fn(&Found) -> u64| parts.iter().map(|part| of(&part.found)).max().unwrap_or(0);
    let each = |of: fn(&Found) -> &[String]| -> Vec<String> {
        let named = parts.iter().flat_map(|part| {
            of(&part.found).iter().map(move |words| format!("agent {}: {words}", part.address))
        });
        named.collect()
    };
    let windows = Windows::together(&windows);
    let steadiness = match &windows {
        Some(windows) => Steadiness::of(&windows.medians()),
        None => Steadiness::Unknown("the agents' windows of time are not the same".to_owned()),
    };
    let changes = matches!(&options.kind, Loop::Open { rates, .. } if rates.constant().is_none());
    let steadiness = match (&first.found.steadiness, changes) {
        (SteadinessForm::Unknown(why), true) => Steadiness::Unknown(why.clone()),
        _ => steadiness,
    };
    let mut notes = same_notes(parts);
    if parts.iter().any(|part| part.found.server != first.found.server) {
        notes.push("the agents do not name the same server: see that they mean the same target".to_owned());
    }
    let own_fault =
        |part: &Part| part.found.own_fault.as_ref().map(|why| format!("agent {}: {why}", part.address));
    let mut report = Report {
        url: options.target.url.clone(),
        server: first.found.server.clone(),
        revision: revision.ok_or_else(unknown)?.as_str(),
        kind: options.kind.clone(),
        warmup: options.warmup,
        connections: options.connections,
        reconnects: sum(|found| found.reconnects),
        seed: options.seed,
        spin_ns: most(|found| found.spin_ns),
        not_sent: sum(|found| found.not_sent),
        behind: sum(|found| found.behind),
        duration_ns: most(|found| found.duration_ns),
        interrupted: parts.iter().any(|part| part.found.interrupted),
        lost: None,
        warmed_ns: parts.iter().filter_map(|part| part.found.warmed_ns).max(),
        settled: false,
        steadiness,
        windows: windows.unwrap_or_else(|| Windows::new(None)),
        think: options.think,
        cancel: options.cancel,
        size: options.size,
        progress: options.progress,
        timeout_ns: options.timeout_ns,
        record,
        shares: shares(parts)?,
        saturation: each(|found| &found.saturation),
        own_fault: parts.iter().find_map(own_fault),
        notes,
        judged: Vec::new(),
        agents,
    };
    report.judge(&options.thresholds);
    Ok(report)
}

/// What all say is said once, and the rest by name.
fn same_notes(parts: &[Part]) -> Vec<String> {
    let mut notes: Vec<String> = Vec::new();
    for part in parts {
        for note in &part.found.notes {
            let is_of_all = parts.iter().all(|other| other.found.notes.contains(note));
            let note = if is_of_all { note.clone() } else { format!("agent {}: {note}", part.address) };
            if !notes.contains(&note) {
                notes.push(note);
            }
        }
    }
    notes
}

fn shares(parts: &[Part]) -> Result<Vec<Share>, (String, String)> {
    let mut shares: Vec<Share> = Vec::new();
    for part in parts {
        for form in &part.found.shares {
            let method = Method::from_bytes(form.method.as_bytes()).as_str();
            if method != form.method {
                return Err((part.address.clone(), "a method that is none".to_owned()));
            }
            match shares.iter_mut().find(|share| share.method == method && share.name == form.name) {
                Some(share) => share.sent = share.sent.saturating_add(form.sent),
                None => shares.push(Share {
                    method,
                    name: form.name.clone(),
                    weight: form.weight,
                    sent: form.sent,
                }),
            }
        }
    }
    Ok(shares)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Idle;
    use crate::load::interval::IntervalFiles;
    use crate::load::mix::Mix;
    use crate::load::plan::{Arrivals, Length, Portion};
    use crate::load::rates::Rates;
    use crate::load::report::Verdict;
    use crate::random::Random;
    use crate::target::{Cause, EraChoice, Target};

    fn options() -> Options {
        Options {
            target: Target::parse("http://127.0.0.1:1/mcp").unwrap(),
            era: EraChoice::Auto,
            kind: Loop::Open { rates: Rates::Constant(100.0), arrivals: Arrivals::Constant },
            warmup: Length::Requests(0),
            length: Length::Requests(5),
            connections: 3,
            timeout_ns: 1_000_000_000,
            idle: Idle::Hybrid,
            seed: 1,
            mix: Mix::default(),
            tools: Vec::new(),
            arguments: None,
            size: 0,
            progress: false,
            thresholds: Vec::new(),
            abort: false,
            think: None,
            cancel: None,
            files: IntervalFiles::default(),
            portion: Portion::WHOLE,
            i_own_this: false,
        }
    }

    fn found(record: Record) -> Found {
        let clock = ClockSeen { wall_ns: -5, plan_ns: 7, bound_ns: 3 };
        let nothing = Found {
            server: "s 1".to_owned(),
            revision: "2026-07-28".to_owned(),
            reconnects: 1,
            spin_ns: 20_000,
            not_sent: 0,
            behind: 0,
            duration_ns: 1_000_000_000,
            interrupted: false,
            warmed_ns: Some(0),
            steadiness: SteadinessForm::Steady,
            windows: Vec::new(),
            shares: Vec::new(),
            saturation: Vec::new(),
            own_fault: None,
            notes: Vec::new(),
            times: Vec::new(),
            causes: Vec::new(),
            cancelled: 0,
            crossed: 0,
            statuses: CodesForm { counts: Vec::new(), others: 0 },
            codes: CodesForm { counts: Vec::new(), others: 0 },
            body_bytes: 0,
            events: 0,
        };
        let part =
            Part { address: "a".to_owned(), connections: 1, before: clock, after: None, found: nothing };
        let mut report = merged(&options(), &[Part { found: with_times(part.found), ..part }]).unwrap();
        report.record = record;
        report.notes = vec!["as all".to_owned()];
        let share = |sent| Share { method: "tools/call", name: Some("echo".to_owned()), weight: 1.0, sent };
        report.shares = vec![share(report.record.succeeded())];
        // Over the wire, as it would come.
        serde_json::from_slice(&serde_json::to_vec(&Found::of(report)).unwrap()).unwrap()
    }

    fn with_times(found: Found) -> Found {
        let empty = || TimesForm {
            histogram: raw::encode(Times::new().histogram()),
            sum_ns: "0".to_owned(),
            max_ns: 0,
        };
        Found { times: (0..8).map(|_| empty()).collect(), causes: vec![0; Cause::WORDS.len()], ..found }
    }

    fn part(address: &str, found: Found) -> Part {
        let before = ClockSeen { wall_ns: 1_000, plan_ns: 0, bound_ns: 50 };
        let after = Some(ClockSeen { wall_ns: 1_200, plan_ns: 200, bound_ns: 40 });
        Part { address: address.to_owned(), connections: 1, before, after, found }
    }

    /// Three machines' samples, each recorded there and added here, are the samples of all: bucket by bucket, sum and maximum exact.
    #[test]
    fn what_is_merged_is_what_one_would_have_recorded() {
        let mut random = Random::new(11);
        let mut whole = Record::new();
        let mut parts = vec![Record::new(), Record::new(), Record::new()];
        for _ in 0..30_000 {
            let ns = (random.exponential() * 3e6) as u64;
            let part = &mut parts[random.below(3) as usize];
            for record in [&mut whole, part] {
                record.latency.record(ns);
                record.service.record(ns / 2);
                record.send_lag.record(ns / 3);
                record.own_lag.record(ns / 4);
                record.first_event.record(ns / 5);
                record.event_gap.record(ns / 6);
                record.events += 2;
                if ns.is_multiple_of(10) {
                    record.failure(Cause::HttpStatus(500 + (ns % 7) as u16));
                    record.failure(Cause::JsonRpc(-32_603));
                    record.failed_latency.record(ns * 100_000);
                    record.failed_service.record(ns);
                }
            }
        }
        let parts = parts.into_iter().enumerate().map(|(n, record)| part(&format!("m{n}"), found(record)));
        let mut report = merged(&options(), &parts.collect::<Vec<_>>()).unwrap();
        for (found, expected) in times_of(&mut report.record).into_iter().zip(times_of(&mut whole)) {
            assert_eq!(found.histogram(), expected.histogram());
            assert_eq!((found.sum_ns(), found.max()), (expected.sum_ns(), expected.max()));
        }
        let codes = |codes: &Codes| {
            let mut all: Vec<_> = codes.iter().collect();
            all.sort_unstable();
            all
        };
        assert_eq!(codes(&report.record.statuses), codes(&whole.statuses));
        assert_eq!(codes(&report.record.codes), codes(&whole.codes));
        assert_eq!((report.record.causes, report.record.events), (whole.causes, whole.events));
        assert_eq!((report.shares.len(), report.shares[0].sent), (1, 30_000));
        assert_eq!((report.notes, report.agents.len()), (vec!["as all".to_owned()], 3));
        let clock = &report.agents[0].json["clock"];
        assert_eq!((&clock["offset_ns"], &clock["drift_ns"]), (&json!(1_000), &json!(200)));
        assert_eq!((&clock["bound_ns"], &clock["drift_bound_ns"]), (&json!(50), &json!(90)));
    }

    #[test]
    fn what_one_machine_could_not_do_is_of_the_run() {
        let quiet = || with_times(found(Record::new()));
        let late = Found {
            saturation: vec!["late".to_owned()],
            notes: vec!["hot".to_owned()],
            ..found(Record::new())
        };
        let report = merged(&options(), &[part("one", quiet()), part("two", late)]).unwrap();
        assert_eq!(report.saturation, ["agent two: late"]);
        assert_eq!(report.verdict(), Verdict::Inconclusive);
        assert!(report.notes.contains(&"agent two: hot".to_owned()), "{:?}", report.notes);
        let cut = Found { interrupted: true, ..found(Record::new()) };
        let report = merged(&options(), &[part("one", quiet()), part("two", cut)]).unwrap();
        assert_eq!(report.verdict(), Verdict::Interrupted);
    }

    /// Whatever an agent sends, it is figures or a fault that names the agent.
    #[test]
    fn nonsense_is_a_fault_of_its_agent() {
        let good = || found(Record::new());
        let mut other_bounds = good();
        let small = Histogram::<u64>::new_with_bounds(1, 1_000, 2).unwrap();
        other_bounds.times[0].histogram = raw::encode(&small);
        let mut other_sum = good();
        other_sum.times[3].sum_ns = "-1".to_owned();
        let mut other_share = good();
        other_share.shares.push(ShareForm { method: "x".to_owned(), name: None, weight: 1.0, sent: 1 });
        let unfit = [
            Found { causes: vec![0; 3], ..good() },
            Found { times: Vec::new(), ..good() },
            Found { revision: "1066-10-14".to_owned(), ..good() },
            Found { windows: vec![(0, "AAAA".to_owned())], ..good() },
            other_bounds,
            other_sum,
            other_share,
        ];
        for (place, unfit) in unfit.into_iter().enumerate() {
            let fault = merged(&options(), &[part("bad", unfit)]).err();
            assert!(fault.as_ref().is_some_and(|(agent, _)| agent == "bad"), "{place}: {fault:?}");
        }
    }
}
