//! Screens held against those they should be (`golden/`, `STRAIT_BLESS=1` writes them anew), and what keys do.

use std::path::Path;
use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::{Color, Modifier};
use serde_json::{Value, json};

use super::picture::{Look, View, Window};
use super::scrape::Scrape;
use super::screen::{Act, Link, Screen, draw};

/// Of a gateway that has answered this many calls.
fn look(at_s: u64, calls: u64, generation: &str) -> Look {
    let failed = calls / 100;
    let metrics = format!(
        "process_start_time_seconds 5\nprocess_cpu_seconds_total {cpu}\nprocess_resident_memory_bytes 61741568\n\
         process_open_fds 41\nstrait_workers 2\nstrait_connections{{worker=\"0\"}} 6\nstrait_connections{{worker=\"1\"}} 10\n\
         strait_inflight_requests{{worker=\"0\"}} 2\nstrait_sessions{{worker=\"1\"}} 3\n\
         strait_requests_total{{method=\"tools_call\",outcome=\"ok\"}} {ok}\n\
         strait_requests_total{{method=\"tools_call\",outcome=\"upstream_fault\"}} {failed}\n\
         strait_requests_total{{method=\"list\",outcome=\"refused\"}} {failed}\n\
         strait_request_duration_seconds_bucket{{method=\"tools_call\",le=\"0.000131072\"}} {half}\n\
         strait_request_duration_seconds_bucket{{method=\"tools_call\",le=\"0.000262144\"}} {calls}\n\
         strait_request_duration_seconds_bucket{{method=\"tools_call\",le=\"+Inf\"}} {calls}\n\
         strait_gateway_added_seconds_bucket{{le=\"0.000065536\"}} {calls}\nstrait_gateway_added_seconds_bucket{{le=\"+Inf\"}} {calls}\n\
         strait_refusals_total{{reason=\"denied-by-rule\"}} {failed}\nstrait_refusals_total{{reason=\"host\"}} 3\n\
         strait_upstream_calls_total{{upstream=\"crm\"}} {calls}\nstrait_upstream_errors_total{{upstream=\"crm\",layer=\"timeout\"}} {failed}\n\
         strait_upstream_calls_total{{upstream=\"git\"}} 0\nstrait_upstream_calls_total{{upstream=\"other\"}} 0\n\
         strait_worker_requests_total{{worker=\"0\"}} {half}\nstrait_worker_requests_total{{worker=\"1\"}} {half}\n\
         strait_buffer_held_bytes{{worker=\"0\"}} 114688\n",
        cpu = calls as f64 / 1e4,
        ok = calls - failed,
        half = calls / 2,
    );
    let ready = json!({
        "phase": "open", "generation": generation, "catalog": "c0ffee000000", "uptime_s": 3_700 + at_s, "driver": "io_uring",
        "version": "0.1.0", "reload": {"state": "adopted"}, "workers": [{}, {}], "quarantine": {"count": 0},
        "upstreams": [
            {"name": "crm", "state": "ready", "tools": 12},
            {"name": "git", "state": "unreachable", "error": "connect: refused\u{1b}[2J", "tools": 0},
        ],
    });
    let counted = |name: &str, calls: u64| {
        json!({"name": name, "calls": calls, "failed": calls / 100, "denied": 0,
            "duration": [[131_072, calls / 2], [262_144, calls - calls / 2]]})
    };
    let traffic = json!({
        "tools": [counted("crm.get", calls), counted("crm.a_tool_with_a_name_that_is_longer_than_its_column", calls / 2),
            counted("git.log", 0)],
        "principals": [counted("ann", calls)],
    });
    let open =
        json!({"upstreams": [{"name": "crm", "era": "modern", "calls": 4, "sessions": 0, "children": 0}]});
    Look {
        at: Duration::from_secs(at_s),
        ready,
        metrics: Scrape::parse(&metrics),
        open: Some(open),
        traffic: Some(traffic),
    }
}

fn window() -> Window {
    let mut window = Window::default();
    window.take(look(0, 100_000, "761fd39b9293"));
    window.take(look(5, 150_000, "761fd39b9293"));
    window
}

fn link() -> Link {
    Link { address: "127.0.0.1:8081".to_owned(), lost: None }
}

fn drawn(width: u16, height: u16, screen: &mut Screen, link: &Link, window: &Window) -> TestBackend {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, screen, link, window.picture().as_ref())).unwrap();
    terminal.backend().clone()
}

fn text(backend: &TestBackend) -> String {
    let width = usize::from(backend.buffer().area.width);
    let cells: Vec<&str> = backend.buffer().content().iter().map(|cell| cell.symbol()).collect();
    cells.chunks(width).map(|line| format!("{}\n", line.concat().trim_end())).collect()
}

#[track_caller]
fn check(name: &str, backend: &TestBackend) {
    let seen = text(backend);
    assert!(seen.is_ascii(), "{name}:\n{seen}");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/top/golden").join(format!("{name}.txt"));
    if std::env::var_os("STRAIT_BLESS").is_some() {
        std::fs::write(&path, &seen).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(seen, expected, "{name}: the screen is\n{seen}");
}

fn press(screen: &mut Screen, keys: &str) {
    for c in keys.chars() {
        let code = match c {
            '\n' => KeyCode::Enter,
            '\t' => KeyCode::Tab,
            '\u{1b}' => KeyCode::Esc,
            c => KeyCode::Char(c),
        };
        assert_eq!(screen.key(KeyEvent::new(code, KeyModifiers::NONE)), Act::Stay, "{c:?}");
    }
}

#[test]
fn every_view_at_80_by_24() {
    let window = window();
    let mut screen = Screen::new(true);
    for view in View::ALL {
        press(&mut screen, &(view as usize + 1).to_string());
        check(view.word(), &drawn(80, 24, &mut screen, &link(), &window));
    }
    press(&mut screen, "?");
    check("help", &drawn(80, 24, &mut screen, &link(), &window));
}

#[test]
fn before_the_first_look_without_an_answer_and_in_little_room() {
    let mut screen = Screen::new(true);
    check("waiting", &drawn(80, 24, &mut screen, &link(), &Window::default()));
    let lost =
        Link { lost: Some(("the admin endpoint at 127.0.0.1:8081 cannot be reached".into(), 12)), ..link() };
    check("lost", &drawn(80, 24, &mut screen, &lost, &window()));
    check("small", &drawn(66, 10, &mut screen, &link(), &window()));
    check("too_small", &drawn(40, 5, &mut screen, &link(), &window()));
    check("wide", &drawn(160, 50, &mut screen, &link(), &window()));
    // Every size, without a panic.
    for (width, height) in (0..90).zip((0..30).cycle()) {
        drawn(width, height, &mut screen, &link(), &window());
    }
}

#[test]
fn keys_sort_filter_pause_and_leave() {
    let window = window();
    let mut screen = Screen::new(true);
    let first = |screen: &mut Screen| {
        let seen = text(&drawn(80, 24, screen, &link(), &window));
        let mut lines = seen.lines().skip_while(|line| !line.contains("PER S")).skip(1);
        lines.next().unwrap_or_default().split_whitespace().next().unwrap_or_default().to_owned()
    };
    press(&mut screen, "2");
    assert_eq!(first(&mut screen), "crm.get");
    press(&mut screen, "r");
    assert_eq!(first(&mut screen), "git.log");
    press(&mut screen, "rS");
    assert!(first(&mut screen).starts_with("crm.a_tool"));
    press(&mut screen, "/LoG\n");
    assert_eq!(first(&mut screen), "git.log");
    // A view has its own filter, and letters of a filter are no keys.
    press(&mut screen, "4/q\n");
    assert_eq!(first(&mut screen), "nothing");
    press(&mut screen, "\u{1b}");
    assert_eq!(first(&mut screen), "ann");
    press(&mut screen, "p");
    assert!(screen.is_paused);
    check("paused", &drawn(80, 24, &mut screen, &link(), &window));
    let key = |screen: &mut Screen, code, modifiers| screen.key(KeyEvent::new(code, modifiers));
    assert_eq!(key(&mut screen, KeyCode::Char('q'), KeyModifiers::NONE), Act::Quit);
    assert_eq!(key(&mut screen, KeyCode::Char('c'), KeyModifiers::CONTROL), Act::Quit);
}

#[test]
fn without_colours_nothing_is_coloured() {
    let colors = |is_colored: bool| {
        let backend = drawn(80, 24, &mut Screen::new(is_colored), &link(), &window());
        let cells = backend.buffer().content();
        let bold = cells.iter().filter(|cell| cell.modifier.contains(Modifier::BOLD)).count();
        (cells.iter().filter(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset).count(), bold)
    };
    let (colored, plain) = (colors(true), colors(false));
    assert!(colored.0 > 0 && plain.0 == 0 && plain.1 > 0, "{colored:?} {plain:?}");
}

#[test]
fn another_process_and_another_generation() {
    let mut window = window();
    window.take(look(6, 160_000, "c807f9016c71"));
    let json = window.picture().unwrap().json();
    let ids = |json: &Value| -> Vec<String> {
        json["generations"].as_array().unwrap().iter().map(|one| one["generation"].to_string()).collect()
    };
    assert_eq!(ids(&json), ["\"c807f9016c71\"", "\"761fd39b9293\""]);
    assert_eq!(
        (&json["generations"][0]["state"], &json["generations"][0]["requests"]),
        (&json!("in use"), &json!(10_100))
    );
    assert_eq!(json["overview"]["requests"][0]["per_s"], json!(10_100.0));
    // Its counts begin anew: there is nothing between the two.
    let mut restarted = look(7, 10, "c807f9016c71");
    restarted.metrics = Scrape::parse(
        "process_start_time_seconds 9\nstrait_requests_total{method=\"list\",outcome=\"ok\"} 10\n",
    );
    window.take(restarted);
    let json = window.picture().unwrap().json();
    assert_eq!((&json["overview"]["requests"][0]["per_s"], &json["window_s"]), (&json!(0.0), &json!(0.0)));
}

#[test]
fn what_is_wrong_is_told_first() {
    let mut last = look(5, 150_000, "761fd39b9293");
    last.ready["reload"] =
        json!({"state": "rejected", "why": "error[ST0101]: no key `tols`", "candidate": null});
    last.ready["workers"] = json!([{}, {"stalled_ms": 2_400}]);
    let mut window = Window::default();
    window.take(last);
    let told = window.picture().unwrap().notices();
    assert_eq!(told[0], "the last configuration was rejected: error[ST0101]: no key `tols`");
    assert!(told[1].starts_with("upstream git: ") && told[2] == "core 1 has not moved for 2.4 s", "{told:?}");
}
