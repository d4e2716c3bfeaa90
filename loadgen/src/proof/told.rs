//! Every figure in its place: data whose numbers differ in every arm, percentile, unit and clock, and what the text, the
//! JSON, the page, the recording and the histograms make of them. Two figures exchanged, a unit mistaken and a part left
//! out were each seen to be noticed here.

use super::bundle;
use super::result::{Context, Proof};
use super::samples::{Fault, Layer, Samples, Slot};
use super::schedule::{ARMS, Arm, Interleave, Turns};
use super::tests::{BUSY, context};
use super::{raw, result};

const SLOTS: usize = 1_000;
/// One slot of them has no times.
const FAILED: usize = 500;
/// ns at which each arm begins; a pattern of 100 steps of 10 ns follows, from another step in each.
const BASE: [u64; ARMS] = [10_000, 13_000, 30_000, 41_000, 73_000];
const FROM: [usize; ARMS] = [0, 50, 30, 0, 0];
/// What the kernel has less of each.
const LESS: [u64; ARMS] = [1_000, 2_000, 4_000, 5_000, 6_000];

fn known() -> Samples {
    let slot = |index: usize| {
        let step = |arm: usize| ((index * 7 + FROM[arm]) % 100) as u64 * 10;
        let times = std::array::from_fn(|arm| BASE[arm] + step(arm));
        let message = "expected 200, found 503".to_owned();
        let is_whole = index != FAILED;
        Slot {
            block: (index / 10) as u16,
            order: Turns::of(&Arm::ALL),
            outcome: if is_whole {
                Ok(times)
            } else {
                Err(Fault { arm: Arm::Rival, layer: Layer::Http, message })
            },
            wire: std::array::from_fn(|arm| is_whole.then(|| times[arm] - LESS[arm])),
        }
    };
    Samples { slots: (0..SLOTS).map(slot).collect() }
}

fn known_context(interleave: Interleave) -> Context {
    let url = |port| Some(format!("http://127.0.0.1:{port}/mcp"));
    Context {
        policy: url(3),
        rival: url(4),
        interleave,
        kernel_stamps: true,
        made_by: result::made_by(),
        ..context(&["p50=30us"], SLOTS, BUSY)
    }
}

fn proof() -> Proof {
    Proof::of(known_context(Interleave::Slot), &known())
}

/// Lines that begin like that, with blanks taken together.
fn lines(text: &str, start: &str) -> Vec<String> {
    let lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    lines.filter(|line| line.starts_with(start)).collect()
}

#[test]
fn the_text_has_every_figure_in_its_place() {
    let text = proof().to_text();
    let medians = lines(&text, "p50 ");
    let begin = [
        "p50 10.5 13.5 30.5 20.0 [",
        // The further arms.
        "p50 41.5 31.0 [",
        "p50 73.5 63.0 [",
        // Within a slot.
        "p50 20.3 [",
        // By the kernel, and how far the clocks are apart.
        "p50 9.5 11.5 26.5 17.0 [",
        "p50 1.0 2.0 4.0 3.0 [3.0, 3.0] 1.0 [1.0, 1.0]",
    ];
    assert_eq!(medians.len(), begin.len(), "{text}");
    for (line, begin) in medians.iter().zip(begin) {
        assert!(line.starts_with(begin), "`{line}` does not begin with `{begin}`\n{text}");
    }
    // The null stands last; what the rival adds more beside it.
    for (line, null) in [(0, "] 3.0 ["), (2, "through - rival -43.0 ["), (3, "] 2.5 ["), (4, "] 2.0 [")] {
        assert!(medians[line].contains(null), "`{}` has no `{null}`\n{text}", medians[line]);
    }
    assert!(lines(&text, "p90 ")[0].starts_with("p90 10.9 13.9 30.9 20.0 ["), "{text}");
    for words in [
        "warning: the host was disturbed",
        "failures: 1 of 1000 slots",
        "arm rival, layer http: expected 200, found 503",
        "both in every arm of 999 of 999 slots\n",
        "policy p50: 36.5, added 27.0 [",
        "rival p50: 67.5, added 58.0 [",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
}

#[test]
fn json_has_every_name_and_every_figure_in_its_place() {
    let facts = proof().to_json();
    // As docs/PROOF.md promises them.
    let names = "verdict limits added_ns null_ns delta_ns null_delta_ns added_quarters_ns latency_ns policy rival less_rival_ns \
                 residence_ns kernel_stamps floor_ns subjects made_by cpu_us_per_request cpu slots slots_planned failures failures_by \
                 environment warnings interleave seed blocks resamples confidence busy_poll direct through call started_unix_s \
                 reproduce";
    for name in names.split_whitespace() {
        assert!(facts.get(name).is_some(), "there is no `{name}`");
    }
    let at =
        |path: &str| facts.pointer(path).unwrap_or_else(|| panic!("{path}: {facts:#}")).as_i64().unwrap();
    for (path, ns) in [
        ("/latency_ns/direct/p50", 10_490),
        ("/latency_ns/again/p50", 13_490),
        ("/latency_ns/through/p90", 30_890),
        ("/latency_ns/policy/p50", 41_490),
        ("/latency_ns/rival/p50", 73_490),
        ("/added_ns/p50/estimate", 20_000),
        ("/null_ns/p50/estimate", 3_000),
        ("/delta_ns/p50/estimate", 20_300),
        ("/null_delta_ns/p50/estimate", 2_500),
        ("/policy/added_ns/p50/estimate", 31_000),
        ("/policy/delta_ns/p50/estimate", 31_000),
        ("/rival/added_ns/p50/estimate", 63_000),
        ("/less_rival_ns/p50/estimate", -43_000),
        ("/kernel_stamps/arms/again/latency_ns/p50", 11_490),
        ("/kernel_stamps/arms/through/apart_ns/p50", 4_000),
        ("/kernel_stamps/arms/through/added_ns/p50/estimate", 17_000),
        ("/kernel_stamps/arms/through/parted_ns/p50/estimate", 3_000),
        ("/kernel_stamps/arms/policy/parted_ns/p50/estimate", 4_000),
        ("/kernel_stamps/null_ns/p50/estimate", 2_000),
        ("/kernel_stamps/null_parted_ns/p50/estimate", 1_000),
    ] {
        assert!((at(path) - ns).abs() <= 10, "{path} is {}, expected {ns}", at(path));
    }
    assert_eq!((&facts["interleave"], &facts["direct"]), (&"slot".into(), &"http://127.0.0.1:1/mcp".into()));
}

/// What stands between the tags of a table's row, after the heading that names the table.
fn rows(html: &str, title: &str) -> Vec<Vec<String>> {
    let heading = format!("aria-label=\"{title}\"");
    let table = html.split_once(&heading).unwrap_or_else(|| panic!("no table `{title}`")).1;
    let body = table.split_once("<tbody>").unwrap().1.split_once("</tbody>").unwrap().0;
    let cells = |row: &str| {
        let cells = row.split('<').filter_map(|piece| piece.split_once('>'));
        cells.filter(|(tag, _)| tag.starts_with('t')).map(|(_, text)| text.to_owned()).collect::<Vec<_>>()
    };
    body.lines()
        .map(cells)
        .map(|row| row.into_iter().skip(1).collect())
        .filter(|row: &Vec<_>| !row.is_empty())
        .collect()
}

#[test]
fn the_page_has_every_figure_in_its_place() {
    let html = proof().to_html(&known());
    let first = |title: &str| rows(&html, title).remove(0);
    assert_eq!(first("Latency"), ["p50", "10.5", "13.5", "30.5", "41.5", "73.5"]);
    let begin = |title: &str, cells: &[&str]| {
        let row = first(title);
        assert_eq!(row.len(), cells.len(), "{title}: {row:?}");
        for (cell, begin) in row.iter().zip(cells) {
            assert!(cell.starts_with(begin), "{title}: `{cell}` does not begin with `{begin}`");
        }
    };
    begin(
        "Added: difference of quantiles, 95 % interval",
        &["p50", "20.0 [", "31.0 [", "63.0 [", "3.0 [", "-43.0 ["],
    );
    begin(
        "Within a slot: quantiles of differences, 95 % interval",
        &["p50", "20.3 [", "31.0 [", "63.0 [", "2.5 ["],
    );
    let kernel = ["p50", "9.5", "11.5", "26.5", "36.5", "67.5", "17.0 [", "27.0 [", "58.0 [", "2.0 ["];
    begin("By the kernel&#39;s stamps, 95 % interval", &kernel);
    let apart = ["p50", "1.0", "2.0", "4.0", "5.0", "6.0", "3.0 [", "4.0 [", "5.0 [", "1.0 ["];
    begin("This tool&#39;s clock minus the kernel&#39;s, of one exchange, 95 % interval", &apart);
    assert_eq!(first("Failures"), ["rival", "http", "1", "expected 200, found 503"]);

    // The numbers behind the figures: units, arms, and ends.
    let curve = rows(&html, "Latency by percentile: the numbers");
    assert_eq!(curve[0], ["p0", "10 us", "13 us", "30 us", "41 us", "73 us"]);
    // The last that ten samples lie beyond.
    assert!(curve.len() > 20 && curve[curve.len() - 1][0].starts_with("p98.99"), "{:?}", curve.last());
    let run = rows(&html, "Percentiles over the run: the numbers");
    for row in &run {
        let us = |cell: usize| row[cell].strip_suffix(" us").unwrap().parse::<f64>().unwrap();
        let (direct, through) = (us(1)..us(2), us(3)..us(4));
        assert!(10.0 < direct.start && direct.start < direct.end && direct.end < 11.0, "{row:?}");
        assert!(30.0 < through.start && through.start < through.end && through.end < 31.0, "{row:?}");
    }
    let counts = |title: &str| -> Vec<u64> {
        rows(&html, &format!("{title}: the numbers")).iter().map(|row| row[1].parse().unwrap()).collect()
    };
    let (direct, through) =
        (counts("All requests straight to the server"), counts("All requests through the gateway"));
    // From the slowest cell to the fastest: all of one at one end, all of the other at the other.
    assert_eq!((direct.iter().sum::<u64>(), through.iter().sum::<u64>()), (999, 999));
    assert!(direct[0] == 0 && direct[27] > 0 && through[0] > 0 && through[27] == 0, "{direct:?} {through:?}");
    let within = rows(&html, "Differences within a slot: the numbers");
    assert_eq!((within[0][0].as_str(), within[within.len() - 1][0].as_str()), ("2.5 us", "63 us"));
    assert_eq!(within[within.len() - 1][1..], ["100 %", "100 %", "100 %", "100 %"]);

    let heading = html.split_once("<h1>").unwrap().1.split_once("</h1>").unwrap().0;
    assert!(heading.starts_with("<span class=\"mark unsure\">INCONCLUSIVE</span>"), "{heading}");
    let findings = html.split_once("<ul class=\"findings\">").unwrap().1.split_once("</ul>").unwrap().0;
    assert!(
        findings.contains("p50=30us: ") && findings.contains("p50=30us with full policy: "),
        "{findings}"
    );
    for words in [
        "the host was disturbed",
        "<dt>arm policy</dt><dd>http://127.0.0.1:3/mcp</dd>",
        "<code>strait prove</code>",
    ] {
        assert!(html.contains(words), "{words}");
    }
}

/// Requests of one slot were not sent one after the other then: nothing is said of them together.
#[test]
fn by_the_block_no_differences_are_shown() {
    let proof = Proof::of(known_context(Interleave::Block), &known());
    let html = proof.to_html(&known());
    assert!(!html.contains("Within a slot") && !html.contains("Differences within a slot"));
    assert!(!proof.to_text().contains("within a slot"));
    let facts = proof.to_json();
    for path in ["/delta_ns/p50", "/null_delta_ns/p50", "/policy/delta_ns/p50"] {
        assert_eq!(facts.pointer(path), Some(&serde_json::Value::Null), "{path}");
    }
    assert!(facts.pointer("/added_ns/p50/estimate").is_some());
    let slot = self::proof();
    assert!(
        slot.to_html(&known()).contains("Differences within a slot")
            && slot.to_text().contains("within a slot")
    );
}

/// The form that others read, spelt out: a program that writes and reads it wrongly alike would read its own.
#[test]
fn a_recording_and_its_histograms_have_every_figure_in_its_place() {
    let text = raw::print(&known_context(Interleave::Slot), &known()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[2],
        "slot,block,order,direct_ns,again_ns,through_ns,policy_ns,rival_ns,direct_wire_ns,again_wire_ns,through_wire_ns,\
         policy_wire_ns,rival_wire_ns,failed_arm,failed_layer,message"
    );
    assert_eq!(lines[3], "0,0,datpr,10000,13500,30300,41000,73000,9000,11500,26300,36000,67000,,,");
    assert_eq!(lines[3 + FAILED], "500,50,datpr,,,,,,,,,,,rival,http,expected 200, found 503");

    let folder = std::env::temp_dir().join(format!("strait-proof-told-{}", std::process::id()));
    // Left over by one that was killed.
    let _ = std::fs::remove_dir_all(&folder);
    bundle::write(&folder, &known_context(Interleave::Slot), &known()).unwrap();
    let log = std::fs::read_to_string(folder.join("latency.hlog"));
    std::fs::remove_dir_all(&folder).unwrap();
    for (arm, base) in Arm::ALL.into_iter().zip(BASE) {
        let log = log.as_ref().unwrap();
        let line = log.lines().find(|line| line.starts_with(&format!("Tag={},", arm.name()))).unwrap();
        // In ms, as other tools' logs.
        let most: f64 = line.split(',').nth(3).unwrap().parse().unwrap();
        assert!((most * 1e6 - (base + 990) as f64).abs() < 600.0, "{line}");
    }
}
