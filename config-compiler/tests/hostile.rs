//! Configurations made to hurt: each is answered with findings, in bounded time and memory, without a
//! panic. What is limited is the processor time of the work, to several times what it takes, so that only a
//! change of order of growth is caught, never a busy neighbour.

use std::{fs::File, io::Write, path::PathBuf, time::Duration};

use proptest::prelude::*;
use rustix::time::{ClockId, clock_gettime};
use strait_config_compiler::{Outcome, load, load_text, render, render_short, to_json};

const TIME_MAX: Duration = Duration::from_secs(30);

/// Processor time of this thread from here on.
struct Work(Duration);

impl Work {
    fn begin() -> Work {
        Work(Work::now())
    }

    fn now() -> Duration {
        let now = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
    }

    fn done(&self) -> Duration {
        Work::now() - self.0
    }
}

/// Every rendering works on whatever a load gave.
fn check(outcome: &Outcome, codes: &[&str]) {
    render(outcome, true);
    to_json(outcome);
    let text = render_short(outcome);
    assert!(outcome.rules.is_none());
    assert!(outcome.findings.len() <= 100);
    for code in codes {
        assert!(text.contains(code), "expected {code}, found {text}");
    }
}

#[track_caller]
fn refused(text: &str, codes: &[&str]) {
    let start = Work::begin();
    check(&load_text("hostile.yaml", text, &|_| None), codes);
    assert!(start.done() < TIME_MAX, "took {:?}", start.done());
}

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        Scratch(std::env::temp_dir().join(format!("strait-hostile-{}-{name}", std::process::id())))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn a_file_of_100_mb_is_refused_by_its_size() {
    let file = Scratch::new("huge.yaml");
    // Sparse: if anybody read it, it would be 100 MB of zero bytes.
    File::create(&file.0).unwrap().set_len(100 << 20).unwrap();
    let start = Work::begin();
    check(&load(&file.0, &|_| None), &["ST0002"]);
    assert!(start.done() < Duration::from_secs(2));
}

#[test]
fn devices_and_pipes_are_refused_unread() {
    for path in ["/dev/zero", "/dev/null", "/", "/nonexistent/strait.yaml"] {
        check(&load(path.as_ref(), &|_| None), &["ST0001"]);
    }
}

#[test]
fn anchors_are_refused_and_never_expanded() {
    let mut bomb = String::from("strait: 1\na: &a [x, x, x, x, x, x, x, x, x]\n");
    for level in 0..30 {
        let (name, inner) =
            ((b'b' + level % 24) as char, if level == 0 { 'a' } else { (b'b' + (level - 1) % 24) as char });
        bomb.push_str(&format!(
            "{name}{level}: &{name}{level} [{}]\n",
            vec![format!("*{inner}{}", level.max(1) - 1); 9].join(", ")
        ));
    }
    refused(&bomb, &["ST0008"]);
    refused("a: &a\n", &["ST0008"]);
    refused(&vec!["*x"; 100_000].join("\n- ").replacen("*x", "- *x", 1), &["ST0008"]);
}

#[test]
fn depth_is_bounded_before_anything_is_built() {
    refused(&"[".repeat(10_000), &["ST0006"]);
    refused(&"{a: ".repeat(10_000), &["ST0006"]);
    refused(&"- ".repeat(10_000), &["ST0006"]);
    refused(&(0..2_000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect::<String>(), &["ST0006"]);
    refused(&format!("strait: 1\nroles: {{ a: '{}true' }}", "!".repeat(1 << 20)), &["ST0403"]);
    refused(&"? ".repeat(10_000), &["ST0006"]);
}

#[test]
fn a_million_keys_are_too_many() {
    let keys: String = (0..400_000).map(|n| format!("k{n}: 1\n")).collect();
    refused(&keys, &["ST0007"]);
    let same = "a: 1\n".repeat(120_000);
    refused(&same, &["ST0011"]);
    refused(&format!("[{}", "a,".repeat(1_000_000)), &["ST0007"]);
}

/// Drawing is work too: a hundred findings in four megabytes, on one line and on many.
#[test]
fn findings_in_a_large_file_are_drawn_in_bounded_time() {
    let keys = "\"a\":1,".repeat(120_000);
    let padding = " ".repeat(3 << 20);
    refused(&format!("{{{keys}{padding}\"b\":1}}"), &["ST0011"]);
    refused(&format!("# {padding}\n{}", "a: 1\n".repeat(120_000)), &["ST0011"]);
}

#[test]
fn many_rules_patterns_and_unknown_names_take_bounded_time() {
    let mut text = String::from("strait: 1\nupstreams:\n");
    (0..4_000).for_each(|n| text.push_str(&format!("  u{n}: {{ sample: http }}\n")));
    text.push_str("policy:\n  default: deny\n  rules:\n");
    for n in 0..4_000 {
        text.push_str(&format!("    - {{ id: a{n}, allow: [\"*u{n}*x*.y*\"], to: [nobody{n}] }}\n"));
        text.push_str(&format!("    - {{ id: d{n}, deny: [\"u*{n}*q.y{n}*\"] }}\n"));
    }
    refused(&text, &["ST0202"]);
}

/// Cedar texts: as long, as deep and as wrong as a file can hold.
#[test]
fn hostile_cedar_is_refused_in_bounded_time() {
    let folder = Scratch::new("cedar");
    std::fs::create_dir_all(&folder.0).unwrap();
    let config = "strait: 1\nupstreams: { u: { sample: http } }\nservers: { s: { path: /mcp, tools: [\"*\"] } }\n\
                  policy: { default: deny, cedar: p.cedar }\n";
    std::fs::write(folder.0.join("c.yaml"), config).unwrap();
    let loaded = |bytes: &[u8]| {
        std::fs::write(folder.0.join("p.cedar"), bytes).unwrap();
        let start = Work::begin();
        let outcome = load(&folder.0.join("c.yaml"), &|_| None);
        let begins = String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into_owned();
        assert!(start.done() < TIME_MAX, "{begins}… took {:?}", start.done());
        outcome
    };
    let refused = |bytes: &[u8], code: &str| check(&loaded(bytes), &[code]);
    let when = |condition: &str| format!("permit (principal, action, resource) when {{ {condition} }};");
    refused(&vec![b' '; (4 << 20) + 1], "ST0002");
    refused(b"permit (principal, action, resource)\0;", "ST0003");
    refused(b"permit (principal, action, resource); // \xff", "ST0003");
    for (before, inside, after) in [
        ("(", "true", ")"),
        ("[", "1", "]"),
        ("!(", "true", ")"),
        ("{a:", "1", "}"),
        ("if ", "true", " then true else true"),
    ] {
        refused(
            when(&format!("{}{inside}{}", before.repeat(200_000), after.repeat(100_000))).as_bytes(),
            "ST0453",
        );
    }
    refused(when(&format!("context{}", ".a".repeat(1 << 20))).as_bytes(), "ST0453");
    refused(when(&"!".repeat(1 << 20)).as_bytes(), "ST0451");
    refused("permit (".repeat(500_000).as_bytes(), "ST0451");
    refused("'".repeat(4 << 20).as_bytes(), "ST0451");
    refused("\"".repeat((4 << 20) - 1).as_bytes(), "ST0451");
    refused("@a ".repeat(1 << 20).as_bytes(), "ST0451");
    refused(when(&vec!["context.args.a == 1"; 100_000].join(" && ")).as_bytes(), "ST0453");
    refused(when(&vec!["true == context.args.a"; 100_000].join(" || ")).as_bytes(), "ST0453");
    // Doubled at each step, if nobody counted.
    let mut doubled = "context.args.a == 1".to_owned();
    (0..60).for_each(|_| doubled = format!("!({doubled} && context.args.b == 1)"));
    refused(when(&doubled).as_bytes(), "ST0453");
    let mut chosen = "context.args.a == 1".to_owned();
    (0..60).for_each(|_| chosen = format!("(if {chosen} then true else context.args.b == 1)"));
    refused(when(&chosen).as_bytes(), "ST0453");
    refused(when(&format!("resource.name like \"{}\"", "*a".repeat(1 << 20))).as_bytes(), "ST0453");
    refused(when(&format!("resource.name like \"{}\"", "*a?b".repeat(200))).as_bytes(), "ST0453");
    let forbids: String = (0..100_000)
        .map(|n| format!("forbid(principal,action,resource)when{{context.args.a>{n}}};"))
        .take(60_000)
        .collect();
    refused(&forbids.as_bytes()[..(4 << 20).min(forbids.len())], "ST0456");
    let many = "permit(principal,action,resource);".repeat(120_000);
    let outcome = loaded(many.as_bytes());
    render(&outcome, false);
    assert!(outcome.rules.is_some());
    let long = (0..200_000).map(|n| format!("\"a{n}\"")).collect::<Vec<_>>().join(",");
    assert!(loaded(when(&format!("[{long}].contains(resource.name)")).as_bytes()).rules.is_some());
    std::fs::remove_dir_all(&folder.0).unwrap();
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    let file = Scratch::new("junk.yaml");
    for bytes in [
        &b"\x7fELF\x02\x01\x01\0\0\0"[..],
        b"\xff\xfes\0t\0",
        b"strait: \x80",
        b"\xef\xbb\xbf\xef\xbb\xbf\0",
        b"",
    ] {
        File::create(&file.0).unwrap().write_all(bytes).unwrap();
        check(&load(&file.0, &|_| None), &["ST0"]);
    }
}

#[test]
fn a_byte_order_mark_and_windows_lines_are_text() {
    let file = Scratch::new("windows.yaml");
    let text = "\u{feff}strait: 1\r\nupstreams: { a: { sample: http } }\r\nservers: { d: { path: /mcp, tools: [\"*\"] } }\r\npolicy: { default: allow }\r\n";
    File::create(&file.0).unwrap().write_all(text.as_bytes()).unwrap();
    let outcome = load(&file.0, &|_| None);
    assert!(outcome.rules.is_some(), "{}", render(&outcome, false));
}

#[test]
fn odd_texts_are_refused_without_a_panic() {
    for text in [
        "\t",
        "%YAML 1.2\n---\na",
        "!!binary x",
        "&a",
        "*a",
        "\"\\ud800\"",
        "\"\\",
        "'",
        "|",
        ">9\n",
        "- - -\n -",
        ":",
        "? :",
        "\u{2028}",
        "a: \u{85}b",
        "---",
        "...",
        "{",
        "}",
        "strait: 1\nroles: { a: '\u{1F600}\" in principal.groups' }",
        "strait: 1\nroles: { \"\\u00e9\\\"\": \"\\\"\\u00e9\" }",
    ] {
        refused(text, &[]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Cuts, copies and replacements anywhere in the quickstart.
    #[test]
    fn a_mutated_quickstart_never_panics(edits in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0u8..4, "[ \t\n:{}\\[\\]\"'&*!|>,.#$a-z0-9-]{0,6}"), 1..8)) {
        let mut text: Vec<char> = include_str!("../../examples/quickstart.yaml").chars().collect();
        for (from, to, kind, insert) in edits {
            let (from, to) = (from.index(text.len() + 1), to.index(text.len() + 1));
            let (from, to) = (from.min(to), from.max(to).min(from.min(to) + 40));
            match kind {
                0 => { text.drain(from..to); }
                1 => { text.splice(from..to, insert.chars()); }
                2 => { let copy: Vec<char> = text[from..to].to_vec(); text.splice(from..from, copy); }
                _ => { text.splice(from..from, insert.chars()); }
            }
        }
        let text: String = text.into_iter().collect();
        let outcome = load_text("mutated.yaml", &text, &|_| None);
        render(&outcome, false);
        render_short(&outcome);
        to_json(&outcome);
        prop_assert_eq!(outcome.rules.is_some(), outcome.errors() == 0);
    }

    #[test]
    fn any_text_is_answered(text in "\\PC{0,200}") {
        let outcome = load_text("any.yaml", &text, &|_| None);
        render(&outcome, false);
        prop_assert_eq!(outcome.rules.is_some(), outcome.errors() == 0);
    }

    #[test]
    fn any_condition_is_answered(text in "[ !()|&=.,\\[\\]\"'a-z\\\\]{0,60}") {
        let quoted = serde_json::to_string(&text).unwrap();
        let config = format!("{{\"strait\": 1, \"roles\": {{\"r\": {quoted}}}, \"policy\": {{\"default\": \"deny\"}}}}");
        let outcome = load_text("any.json", &config, &|_| None);
        render(&outcome, false);
    }
}
