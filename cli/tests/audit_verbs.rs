//! `strait audit …` as a shell sees it: a log that a gateway could have written, read, checked, proven, damaged, erased.

mod common;

use std::path::Path;

use common::{Folder, strait};
use serde_json::Value;
use strait_audit::{Kept, Log, Options, Payload, SigningKey, Which, hash};

/// Three calls by two callers, and what the log adds.
fn log(folder: &Folder) {
    let key = SigningKey::open_or_make(&folder.path().join("audit.key")).unwrap();
    let options = Options {
        origin: "gateway.example/audit".to_owned(),
        cores: 1,
        rotate_bytes: 1 << 20,
        start: r#"{"version":"0.1.0"}"#.to_owned(),
        recipients: Vec::new(),
        now_ms: 1_795_348_800_000,
    };
    let mut opened = Log::open(&folder.path().join("audit"), &key, &options).unwrap();
    let calls = [
        ("ann", "crm.find", "permit", "reads", ""),
        ("bob", "crm.drop", "deny", "no-drop", r#","refused":"policy""#),
        ("ann", "crm.\u{202e}\\u001b[2J", "permit", "reads", ""),
    ];
    for (n, (principal, tool, verdict, rule, more)) in calls.into_iter().enumerate() {
        let facts = format!(
            r#"{{"ts":"2026-11-22T12:00:0{n}.000Z","kind":"exchange","id":"0-0-{n}","principal":"{principal}","method":"tools/call","tool":"{tool}","verdict":"{verdict}","rule":"{rule}","status":200{more}}}"#
        );
        let (arguments, result) = (br#"{"q":"secret"}"#, b"found");
        let payloads = [
            Payload { which: Which::Arguments, bytes: 14, kept: Kept::Full(arguments) },
            Payload { which: Which::Result, bytes: 5, kept: Kept::Digest(hash::plain(result)) },
        ];
        opened.folder.add(0, n as u64, facts.as_bytes(), &payloads).unwrap();
    }
    write(&mut opened);
    std::fs::copy(folder.path().join("audit/checkpoint"), folder.path().join("kept")).unwrap();
    opened.folder.add_own("stop", "{}").unwrap();
    write(&mut opened);
}

fn write(opened: &mut strait_audit::Opened) {
    let batch = opened.folder.batch().unwrap();
    opened.disk.write(&batch).unwrap();
    opened.folder.committed(batch);
    opened.folder.checkpoint().unwrap().iter().for_each(|step| opened.disk.apply(step).unwrap());
}

fn facts(folder: &Folder, arguments: &[&str]) -> (i32, Value) {
    let ran = strait(folder.path(), &[&["audit"], arguments, &["--json"]].concat());
    let facts = serde_json::from_str(&ran.stdout)
        .unwrap_or_else(|error| panic!("{error}: {} {}", ran.stdout, ran.stderr));
    (ran.code, facts)
}

#[test]
fn records_are_shown_and_filtered() {
    let folder = Folder::new();
    log(&folder);
    let run = |arguments: &[&str]| strait(folder.path(), &[&["audit", "show", "audit"], arguments].concat());
    let shown = run(&[]);
    assert_eq!((shown.code, shown.stderr.as_str()), (0, ""));
    assert_eq!(
        shown.stdout,
        r"   index  time                      kind           whom              what                          verdict  why
       0  2026-11-22T12:00:00.000Z  start          -                 -                             -
       1  2026-11-22T12:00:00.000Z  exchange       ann               crm.find                      permit   reads
       2  2026-11-22T12:00:01.000Z  exchange       bob               crm.drop                      deny     policy
       3  2026-11-22T12:00:02.000Z  exchange       ann               crm.\u{202e}\u{1b}[2J         permit   reads
       4  2026-11-22T12:00:00.000Z  stop           -                 -                             -
"
    );
    let lines = |arguments: &[&str]| run(arguments).stdout.lines().count() - 1;
    assert_eq!(lines(&["--principal", "ann"]), 2);
    assert_eq!(lines(&["--tool", "crm.d*"]), 1);
    assert_eq!(lines(&["--verdict", "deny", "--kind", "exchange"]), 1);
    assert_eq!(lines(&["--since", "2026-11-22T12:00:01Z", "--until", "2026-11-22T13:00:02+01:00"]), 1);
    assert_eq!(run(&["--since", "noon"]).code, 64);
    assert!(run(&["--payload"]).stdout.contains(r#"arguments: {"q":"secret"}"#));
    let json = run(&["--json", "--payload", "--principal", "bob"]).stdout;
    let record: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&record["index"], &record["verdict"]), (&2.into(), &"deny".into()));
    assert_eq!(record["kept"]["arguments"]["text"], r#"{"q":"secret"}"#);
    assert_eq!(strait(folder.path(), &["audit", "show", "none"]).code, 64);
}

#[test]
fn verify_tells_what_is_intact_and_what_is_not() {
    let folder = Folder::new();
    log(&folder);
    let (code, report) = facts(&folder, &["verify", "audit", "--checkpoint", "kept"]);
    assert_eq!(
        (code, &report["verdict"], &report["records"], &report["signed"]),
        (0, &"intact".into(), &5.into(), &5.into())
    );
    let told = strait(folder.path(), &["audit", "verify", "audit"]);
    assert!(
        told.stdout.starts_with("intact   5 records in 1 segment") && told.stdout.contains("alone "),
        "{}",
        told.stdout
    );

    let path = folder.path().join("audit/entries/00000000000000000000");
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(8).position(|part| part == b"crm.drop").unwrap();
    bytes[at] = b'C';
    std::fs::write(&path, &bytes).unwrap();
    let (code, report) = facts(&folder, &["verify", "audit"]);
    assert_eq!((code, &report["verdict"], &report["record"]), (1, &"damaged".into(), &2.into()));
    assert_eq!(report["file"], "entries/00000000000000000000");
    let told = strait(folder.path(), &["audit", "verify", "audit"]);
    assert!(told.stdout.starts_with("DAMAGED  `entries/00000000000000000000` at byte "), "{}", told.stdout);
    assert_eq!((told.code, told.stderr.as_str()), (1, ""));
    assert_eq!(strait(folder.path(), &["audit", "verify", "."]).code, 64);
}

#[test]
fn a_proof_is_checked_without_the_log() {
    let folder = Folder::new();
    log(&folder);
    std::fs::copy(folder.path().join("audit/key.pub"), folder.path().join("trusted.pub")).unwrap();
    let proof = strait(folder.path(), &["audit", "prove", "audit", "0-2"]);
    assert_eq!(proof.code, 0, "{}", proof.stderr);
    folder.write("proof.json", &proof.stdout);
    let (code, consistent) = facts(&folder, &["consistency", "kept", "audit/checkpoint"]);
    assert_eq!((code, &consistent["sizes"]), (0, &serde_json::json!([4, 5])));
    assert_eq!(
        strait(folder.path(), &["audit", "consistency", "audit/checkpoint", "kept", "--log", "audit"]).code,
        1
    );
    std::fs::remove_dir_all(folder.path().join("audit")).unwrap();
    let (code, proven) = facts(&folder, &["check-proof", "proof.json", "--key", "trusted.pub"]);
    assert_eq!(
        (code, &proven["verdict"], &proven["index"], &proven["trusted"]),
        (0, &"proven".into(), &3.into(), &true.into())
    );
    let told = strait(folder.path(), &["audit", "check-proof", "proof.json"]);
    assert!(told.stdout.contains("alone ") && !told.stdout.contains('\u{202e}'), "{}", told.stdout);
    folder.write("forged.json", proof.stdout.replace("permit", "deny"));
    let told = strait(folder.path(), &["audit", "check-proof", "forged.json"]);
    assert!(told.code == 1 && told.stderr.contains("does not lead to the root"), "{}", told.stderr);
}

#[test]
fn what_is_erased_is_gone_and_the_log_stays_intact() {
    let folder = Folder::new();
    log(&folder);
    let secrets = |dir: &Path| {
        let bytes = std::fs::read(dir.join("audit/payload/00000000000000000000")).unwrap();
        bytes.windows(6).filter(|part| part == b"secret").count()
    };
    assert_eq!(secrets(folder.path()), 3);
    let (code, erased) = facts(&folder, &["erase", "audit", "1", "--field", "arguments"]);
    assert_eq!((code, &erased["erased"]), (0, &serde_json::json!(["arguments"])));
    assert_eq!(secrets(folder.path()), 2);
    let (code, report) = facts(&folder, &["verify", "audit", "--checkpoint", "kept"]);
    assert_eq!((code, &report["erased"], &report["payloads"]), (0, &1.into(), &5.into()));
    assert!(
        strait(folder.path(), &["audit", "show", "audit", "--payload"])
            .stdout
            .contains("arguments: (erased)")
    );
    assert_eq!(strait(folder.path(), &["audit", "erase", "audit", "0"]).code, 1);
    assert_eq!(strait(folder.path(), &["audit", "erase", "audit", "x"]).code, 64);
}

#[test]
fn records_leave_in_other_forms() {
    let folder = Folder::new();
    log(&folder);
    for (form, word) in [
        ("ndjson", "\"index\":1"),
        ("ocsf", "\"class_uid\":6003"),
        ("ecs", "\"ecs\":{"),
        ("cef", "CEF:0|Strait|"),
    ] {
        let told =
            strait(folder.path(), &["audit", "export", "audit", "--format", form, "--principal", "ann"]);
        assert_eq!((told.code, told.stdout.lines().count()), (0, 2), "{form}: {}", told.stdout);
        assert!(
            told.stdout.lines().all(|line| line.contains(word) || form == "ndjson"),
            "{form}: {}",
            told.stdout
        );
    }
}
