//! Every figure in its place: a run whose numbers all differ, and what its JSON and its page make of them.

use serde_json::Value;

use super::plan::{Arrivals, Length, Loop};
use super::rates::Rates;
use super::raw;
use super::record::{Record, Times};
use super::report::{RESULT_SCHEMA, Report, Share};
use super::steady::{Steadiness, Windows};
use super::threshold::Judged;
use crate::proof::environment::Environment;
use crate::target::Cause;

/// A hundred times around so many us, a ten-thousandth apart.
fn fill(times: &mut Times, us: u64) {
    (0..100).for_each(|step| times.record(us * 1_000 + step * us / 10));
}

fn known() -> Report {
    let mut record = Record::new();
    for (times, us) in [
        (&mut record.latency, 9_000),
        (&mut record.service, 5_000),
        (&mut record.send_lag, 3_000),
        (&mut record.own_lag, 1_000),
        (&mut record.failed_latency, 20_000),
        (&mut record.failed_service, 15_000),
        (&mut record.first_event, 2_000),
        (&mut record.event_gap, 500),
    ] {
        fill(times, us);
    }
    (0..7).for_each(|_| record.failure(Cause::Timeout));
    record.events = 400;
    let mut windows = Windows::new(Some(10_000_000_000));
    // An answer each ms for ten seconds, every hundredth ten times as slow.
    (0..10_000u64).for_each(|at| {
        windows.answered(at * 1_000_000, if at % 100 == 99 { 90_000_000 } else { 9_000_000 });
    });
    let judged = |text: &str, passed| Judged {
        text: text.to_owned(),
        value: Some(9.0),
        passed,
        words: "9.00 ms".to_owned(),
    };
    Report {
        url: "http://127.0.0.1:1/mcp".to_owned(),
        server: "a test".to_owned(),
        revision: "2026-07-28",
        kind: Loop::Open { rates: Rates::Constant(10.0), arrivals: Arrivals::Constant },
        warmup: Length::Requests(0),
        connections: 4,
        reconnects: 2,
        seed: 1,
        spin_ns: 50_000,
        not_sent: 9,
        behind: 6,
        duration_ns: 10_000_000_000,
        interrupted: false,
        lost: None,
        warmed_ns: None,
        settled: true,
        steadiness: Steadiness::Steady,
        windows,
        think: None,
        cancel: None,
        size: 0,
        progress: false,
        timeout_ns: 1_000_000_000,
        record,
        shares: vec![Share { method: "tools/call", name: Some("echo".to_owned()), weight: 1.0, sent: 107 }],
        saturation: vec!["it was late".to_owned()],
        own_fault: None,
        notes: vec!["something to know".to_owned()],
        judged: vec![judged("p50<10ms", Some(true)), judged("p99<1ms", Some(false))],
        agents: Vec::new(),
    }
}

#[test]
fn json_has_every_name_and_every_figure_in_its_place() {
    let facts = known().to_json();
    let schema: Value = serde_json::from_str(RESULT_SCHEMA).unwrap();
    for name in schema["required"].as_array().unwrap() {
        assert!(facts.get(name.as_str().unwrap()).is_some(), "there is no {name}");
    }
    for (name, us) in [
        ("latency_ns", 9_000),
        ("service_ns", 5_000),
        ("send_lag_ns", 3_000),
        ("own_lag_ns", 1_000),
        ("failed_latency_ns", 20_000),
        ("failed_service_ns", 15_000),
        ("first_event_ns", 2_000),
        ("event_gap_ns", 500),
    ] {
        let p50 = facts[name]["p50"].as_u64().unwrap();
        assert!((us * 1_000..us * 1_020).contains(&p50), "{name}: {p50}");
    }
    for (name, value) in
        [("behind_at_end", 6), ("not_sent", 9), ("events", 400), ("failed", 7), ("succeeded", 100)]
    {
        assert_eq!(facts[name], value, "{name}");
    }
    assert_eq!((&facts["errors"]["timeout"], &facts["duration_s"]), (&7.into(), &10.0.into()));
    for (name, us) in [("latency", 9_000), ("service", 5_000), ("send_lag", 3_000)] {
        let histogram = raw::decode(facts["histograms"][name].as_str().unwrap()).unwrap();
        let p50 = histogram.value_at_quantile(0.5);
        assert!((us * 1_000..us * 1_020).contains(&p50), "{name}: {p50}");
    }
}

/// The cells of the rows of the table that is named so.
fn rows(html: &str, title: &str) -> Vec<Vec<String>> {
    let table =
        html.split_once(&format!("aria-label=\"{title}\"")).unwrap_or_else(|| panic!("no table `{title}`")).1;
    let body = table.split_once("<tbody>").unwrap().1.split_once("</tbody>").unwrap().0;
    let cells = |row: &str| {
        let cells = row.split('<').filter_map(|piece| piece.split_once('>'));
        cells
            .filter(|(tag, _)| tag.starts_with("td") || tag.starts_with("th"))
            .map(|(_, text)| text.to_owned())
            .collect()
    };
    body.lines().map(cells).filter(|row: &Vec<String>| !row.is_empty()).collect()
}

#[test]
fn the_page_has_every_figure_in_its_place() {
    let html = known().to_html(&Environment::default(), "strait load".to_owned());
    let times = rows(&html, "Times");
    let medians: Vec<(&str, &str, &str)> =
        times.iter().map(|row| (row[0].as_str(), row[1].as_str(), row[2].as_str())).collect();
    assert_eq!(
        medians,
        [
            ("latency", "100", "9.05 ms"),
            ("service", "100", "5.03 ms"),
            ("first event", "100", "2.01 ms"),
            ("event gap", "100", "503 us"),
            ("send lag", "100", "3.02 ms"),
            ("our own", "100", "1.01 ms"),
            ("failed", "100", "20.1 ms"),
        ]
    );
    assert_eq!(rows(&html, "Failures"), [["timeout", "7"]]);
    assert_eq!(rows(&html, "What was sent"), [["tools/call", "echo", "1", "107"]]);
    // The fastest of each, as near as a histogram of three digits has it.
    for (title, us) in [("Latency by percentile", [9_000.0, 5_000.0]), ("Send lag", [3_000.0, 1_000.0])] {
        let row = rows(&html, &format!("{title}: the numbers")).remove(0);
        let told: Vec<f64> =
            row[1..].iter().map(|cell| cell.strip_suffix(" us").unwrap().parse().unwrap()).collect();
        let is_near = told.len() == 2 && told.iter().zip(us).all(|(told, us)| (told / us - 1.0).abs() < 0.01);
        assert!(row[0] == "p0" && is_near, "{title}: {row:?}");
    }
    // Of every part p50; p90 where ten answers lie beyond it, and p99 nowhere.
    let table = html.split_once("aria-label=\"Percentiles over the run: the numbers\"").unwrap().1;
    let head = table.split_once("</thead>").unwrap().0;
    assert!(head.contains(">p50<") && head.contains(">p90<") && !head.contains(">p99<"), "{head}");
    let cells = rows(&html, "All answers: the numbers");
    let count = |row: &Vec<String>| row[1].parse::<u64>().unwrap();
    assert_eq!((count(&cells[0]), count(&cells[27])), (100, 9_900), "{cells:?}");

    let heading = html.split_once("<h1>").unwrap().1.split_once("</h1>").unwrap().0;
    assert!(heading.starts_with("<span class=\"mark unsure\">INCONCLUSIVE</span>"), "{heading}");
    let findings = html.split_once("<ul class=\"findings\">").unwrap().1.split_once("</ul>").unwrap().0;
    for words in [">MET</span> <span>p50&lt;10ms: 9.00 ms", ">NOT MET</span> <span>p99&lt;1ms", "it was late"]
    {
        assert!(findings.contains(words), "{words}: {findings}");
    }
    for words in [
        "<li>something to know</li>",
        "<dt>target</dt><dd>http://127.0.0.1:1/mcp</dd>",
        "<code>strait load</code>",
    ] {
        assert!(html.contains(words), "{words}");
    }
}
