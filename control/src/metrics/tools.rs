//! Calls by tool: the tools that are called most by name, all others together.
//!
//! The decision: which tools those are changes while the process runs, and yet no series may fall, none may leap, and nothing may be
//! counted twice. So what is shown is not what workers have counted, but what was *added since the last look*: to the tool's own
//! series while it is shown, to `other`'s while it is not. A tool that comes to be shown begins at nothing, one that gives way ends,
//! and one that comes back goes on where it was. As long as [`TOOLS_SHOWN_MAX`] tools or fewer are called, every one is shown from its first call.
//!
//! A newcomer must have been called twice as often as the one whose place it takes: two tools that are called alike do not
//! change places with every look.

use std::cmp::Reverse;
use std::collections::HashMap;

use strait_engine::WorkerFigures;
use strait_engine::figures::histogram::{Distribution, Histogram};
use strait_engine::figures::labels::Outcome;
use strait_engine::figures::places::OTHER;

use super::COARSE;
use super::exposition::{Exposition, Kind};
use crate::limits::{TOOLS_SHOWN_MAX, TOOLS_TIMED_MAX};

/// By [`Outcome`].
type Counts = [u64; Outcome::ALL.len()];

/// What was shown so far.
#[derive(Default)]
pub struct Shown {
    by_name: HashMap<Box<str>, usize>,
    tools: Vec<Tool>,
    others: Told,
    /// Histograms that workers were asked for.
    timed: usize,
}

struct Tool {
    name: Box<str>,
    is_shown: bool,
    told: Told,
}

#[derive(Default)]
struct Told {
    /// As workers have counted it: now, and at the last look.
    now: Counts,
    last: Counts,
    /// The values of the series.
    shown: Counts,
}

impl Told {
    fn calls(&self) -> u64 {
        self.now.iter().sum()
    }

    /// What was counted since the last look.
    fn since(&mut self) -> Counts {
        let since = std::array::from_fn(|at| self.now[at].saturating_sub(self.last[at]));
        self.last = std::mem::take(&mut self.now);
        since
    }
}

fn add(to: &mut Counts, what: &Counts) {
    to.iter_mut().zip(what).for_each(|(to, what)| *to += what);
}

impl Shown {
    /// Looks at what workers have counted, and at who is shown.
    pub fn look(&mut self, workers: &[&WorkerFigures]) {
        for (name, figures) in workers.iter().flat_map(|worker| worker.tools.iter()) {
            let at = self.place_of(name);
            let tool = &mut self.tools[at];
            add(&mut tool.told.now, &figures.outcomes());
            // How long its calls take is asked for where it was not met among the first.
            if tool.is_shown && self.timed < TOOLS_TIMED_MAX && figures.is_timed_from_now() {
                self.timed += 1;
            }
        }
        workers.iter().for_each(|worker| add(&mut self.others.now, &worker.tools.rest().outcomes()));
        self.choose();
        let since = self.others.since();
        add(&mut self.others.shown, &since);
        for tool in &mut self.tools {
            let since = tool.told.since();
            add(if tool.is_shown { &mut tool.told.shown } else { &mut self.others.shown }, &since);
        }
    }

    fn place_of(&mut self, name: &str) -> usize {
        if let Some(at) = self.by_name.get(name) {
            return *at;
        }
        self.tools.push(Tool { name: name.into(), is_shown: false, told: Told::default() });
        self.by_name.insert(name.into(), self.tools.len() - 1);
        self.tools.len() - 1
    }

    /// Who is shown from now on.
    fn choose(&mut self) {
        let calls = |at: usize| self.tools[at].told.calls();
        let (mut shown, others): (Vec<usize>, Vec<usize>) =
            (0..self.tools.len()).partition(|at| self.tools[*at].is_shown);
        shown.sort_unstable_by_key(|at| calls(*at));
        let free = TOOLS_SHOWN_MAX.saturating_sub(shown.len());
        // Most looks end here: nobody was called so often that it comes into question.
        let least = match shown.first() {
            Some(first) if free == 0 => calls(*first).saturating_mul(2),
            _ => 0,
        };
        let mut newcomers: Vec<usize> = others.into_iter().filter(|at| calls(*at) > least).collect();
        newcomers.sort_unstable_by_key(|at| (Reverse(calls(*at)), *at));
        let gives_way = std::iter::repeat_n(None, free).chain(shown.into_iter().map(Some));
        let changes: Vec<(usize, Option<usize>)> = newcomers
            .into_iter()
            .zip(gives_way)
            .take_while(|(newcomer, of)| of.is_none_or(|of| calls(*newcomer) > calls(of).saturating_mul(2)))
            .collect();
        for (newcomer, of) in changes {
            self.tools[newcomer].is_shown = true;
            of.into_iter().for_each(|of| self.tools[of].is_shown = false);
        }
    }

    pub fn write(&self, out: &mut Exposition, workers: &[&WorkerFigures]) {
        let mut shown: Vec<&Tool> = self.tools.iter().filter(|tool| tool.is_shown).collect();
        shown.sort_unstable_by_key(|tool| &tool.name);
        let help = "Calls of tools, by how they ended: of the tools that are called most, and of all others.";
        let mut calls = out.family(Kind::Counter, "strait_tool_calls_total", help);
        let is_any = self.others.shown.iter().any(|count| *count > 0);
        let others = is_any.then_some((OTHER, &self.others.shown));
        for (tool, counts) in shown.iter().map(|tool| (&*tool.name, &tool.told.shown)).chain(others) {
            for (outcome, count) in Outcome::ALL.iter().zip(counts) {
                calls.series(&[("tool", tool), ("outcome", outcome.label())], *count);
            }
        }
        let mut timed: HashMap<&str, Vec<&Histogram>> = HashMap::new();
        for (name, figures) in workers.iter().flat_map(|worker| worker.tools.iter()) {
            if let Some(duration) = figures.duration() {
                timed.entry(name).or_default().push(duration);
            }
        }
        let help = "Of answered calls of the tools that are shown: from the whole request to the last byte of the answer.";
        let mut duration = out.family(Kind::Histogram, "strait_tool_duration_seconds", help);
        for tool in shown {
            let of = timed.get(&*tool.name).map(Vec::as_slice).unwrap_or_default();
            if !of.is_empty() {
                let read = Distribution::of(of.iter().copied());
                duration.distribution(&[("tool", &tool.name)], &read, COARSE);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use strait_engine::figures::tools::Met;
    use strait_engine::limits::TOOLS_COUNTED_MAX;

    use super::super::exemplars::Buckets;
    use super::super::exposition::{Format, Labels, Number};
    use super::*;

    /// Values of `strait_tool_calls_total` by tool, all outcomes together, and the tools that have durations.
    #[derive(Default)]
    struct Read {
        calls: BTreeMap<String, u64>,
        timed: Vec<String>,
        series: usize,
    }

    impl Format for Read {
        fn family(&mut self, _: Kind, _: &'static str, _: &str) {}

        fn series(&mut self, labels: Labels<'_>, value: Number) {
            let Number::Whole(n) = value else { panic!("a count is whole") };
            *self.calls.entry(labels[0].1.to_owned()).or_default() += n;
            self.series += 1;
        }

        fn distribution(
            &mut self,
            labels: Labels<'_>,
            read: &Distribution,
            step: usize,
            _: Option<&Buckets>,
        ) {
            self.timed.push(labels[0].1.to_owned());
            self.series += read.cumulative(step).count() + 3;
        }
    }

    fn look(shown: &mut Shown, workers: &[WorkerFigures]) -> Read {
        let workers: Vec<&WorkerFigures> = workers.iter().collect();
        let mut read = Read::default();
        shown.look(&workers);
        shown.write(&mut Exposition(&mut read), &workers);
        read
    }

    fn call(worker: &WorkerFigures, met: &mut Met, tool: &str, times: u64) {
        let place = met.place_of(&worker.tools, tool);
        (0..times).for_each(|_| worker.tools.count(place, Outcome::Ok, 1_000));
    }

    #[test]
    fn a_few_tools_are_all_shown_with_all_their_calls() {
        let (workers, mut met) =
            ([WorkerFigures::default(), WorkerFigures::default()], [Met::default(), Met::default()]);
        let mut shown = Shown::default();
        call(&workers[0], &mut met[0], "a.x", 3);
        call(&workers[1], &mut met[1], "a.y", 1);
        call(&workers[1], &mut met[1], "a.x", 4);
        let read = look(&mut shown, &workers);
        assert_eq!(read.calls, BTreeMap::from([("a.x".to_owned(), 7), ("a.y".to_owned(), 1)]));
        assert_eq!(read.timed, ["a.x", "a.y"]);
        assert_eq!(look(&mut shown, &workers).calls, read.calls);
    }

    /// Tools overtake each other between looks: no series falls, none leaps by calls that were made before, all calls are shown once, and
    /// the number of series has its bound.
    #[test]
    fn no_series_falls_when_other_tools_are_called_most() {
        let (workers, mut met) =
            ([WorkerFigures::default(), WorkerFigures::default()], [Met::default(), Met::default()]);
        let (mut shown, mut made) = (Shown::default(), 0);
        let mut before: BTreeMap<String, u64> = BTreeMap::new();
        let mut ever = BTreeMap::new();
        for round in 0..40u64 {
            let mut in_round = 0;
            for tool in 0..400u64 {
                // Another eighth of them is busy in every round, ever more so.
                let times = if tool / 50 == round % 8 { 1 + round * 3 } else { tool % 2 };
                let worker = (tool % 2) as usize;
                call(&workers[worker], &mut met[worker], &format!("up.tool{tool}"), times);
                in_round += times;
            }
            made += in_round;
            let read = look(&mut shown, &workers);
            assert!(read.calls.len() <= TOOLS_SHOWN_MAX + 1, "{} tools", read.calls.len());
            assert!(
                read.series <= (TOOLS_SHOWN_MAX + 1) * Outcome::ALL.len() + TOOLS_SHOWN_MAX * 18,
                "{} series",
                read.series
            );
            for (tool, count) in &read.calls {
                let was = before.get(tool).or_else(|| ever.get(tool)).copied().unwrap_or(0);
                assert!(*count >= was && *count - was <= in_round, "{tool}: {was}, then {count}");
                ever.insert(tool.clone(), *count);
            }
            assert_eq!(ever.values().sum::<u64>(), made, "every call once");
            before = read.calls;
        }
        assert!(ever.len() > TOOLS_SHOWN_MAX + 1, "some gave way");
        assert!(before.contains_key(OTHER));
    }

    /// What workers have no cell for is counted with the rest, and belongs to `other`.
    #[test]
    fn more_tools_than_are_counted_lose_no_call_and_make_no_series() {
        let (workers, mut met) = ([WorkerFigures::default()], Met::default());
        let mut shown = Shown::default();
        for calls in [1, 2] {
            for tool in 0..TOOLS_COUNTED_MAX + 5_000 {
                call(&workers[0], &mut met, &format!("up.tool{tool}"), 1);
            }
            let read = look(&mut shown, &workers);
            assert_eq!(read.calls.len(), TOOLS_SHOWN_MAX + 1);
            let all = (calls * (TOOLS_COUNTED_MAX + 5_000)) as u64;
            assert_eq!(read.calls.values().sum::<u64>(), all);
            assert_eq!(read.calls[OTHER], all - (calls * TOOLS_SHOWN_MAX) as u64);
        }
    }

    #[test]
    fn the_tools_that_are_called_most_come_to_be_shown_and_timed() {
        let (workers, mut met) = ([WorkerFigures::default()], Met::default());
        let mut shown = Shown::default();
        for tool in 0..1_000 {
            call(&workers[0], &mut met, &format!("up.tool{tool}"), 1);
        }
        assert!(!look(&mut shown, &workers).calls.contains_key("up.tool999"));
        call(&workers[0], &mut met, "up.tool999", 1);
        assert!(!look(&mut shown, &workers).calls.contains_key("up.tool999"), "not twice as many");
        call(&workers[0], &mut met, "up.tool999", 1);
        assert_eq!(look(&mut shown, &workers).calls["up.tool999"], 1);
        call(&workers[0], &mut met, "up.tool999", 5);
        look(&mut shown, &workers);
        call(&workers[0], &mut met, "up.tool999", 5);
        let read = look(&mut shown, &workers);
        assert_eq!(read.calls["up.tool999"], 11);
        assert!(read.timed.iter().any(|tool| tool == "up.tool999"));
    }
}
