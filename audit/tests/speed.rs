//! What it costs to check a log, beside what `sha256sum` needs for the same bytes. A measurement, and no test: it asserts no time.
//!
//!     STRAIT_RECORDS=1000000 cargo test --release -p strait-audit --test speed -- --ignored --nocapture

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use strait_audit::verify::{Against, verify};
use strait_audit::{Kept, Log, Options, Payload, SigningKey, Which, segment};

/// Records of which every second has payloads, as calls of a gateway with `payload: redacted` leave them.
fn write(dir: &Path, records: u64) {
    let key = SigningKey::open_or_make(&dir.with_extension("key")).unwrap();
    let options = Options {
        origin: "gateway.example/audit".to_owned(),
        cores: 2,
        rotate_bytes: 256 << 20,
        start: r#"{"version":"0.1.0"}"#.to_owned(),
        recipients: Vec::new(),
        now_ms: 1_795_348_800_000,
    };
    let mut opened = Log::open(dir, &key, &options).unwrap();
    for n in 0..records {
        let facts = format!(
            r#"{{"ts":"2026-11-22T12:00:{:02}.{:03}Z","kind":"exchange","generation":"0123456789ab","catalog":"ba9876543210","listener":"main","principal":"robot-{}","server":"default","method":"tools/call","upstream":"crm","tool":"crm.find","verdict":"permit","rule":"all","peer":"127.0.0.1","status":200,"bytes_in":512,"bytes_out":733,"ns":{{"total":{},"identify":1811,"decode":2211,"policy":1200,"upstream":81234,"respond":9123}}}}"#,
            n / 1_000 % 60,
            n % 1_000,
            n % 17,
            90_000 + n
        );
        let (arguments, result) =
            (br#"{"q":"<12>","n":12}"#, br#"{"content":[{"type":"<4>","text":"<240>"}],"isError":false}"#);
        let payloads = [
            Payload { which: Which::Arguments, bytes: 30, kept: Kept::Redacted(arguments) },
            Payload { which: Which::Result, bytes: 320, kept: Kept::Redacted(result) },
        ];
        let payloads = if n % 2 == 0 { &payloads[..] } else { &[] };
        opened.folder.add((n / 2 % 2) as u16, n / 4 * 2 + n % 2, facts.as_bytes(), payloads).unwrap();
        if opened.folder.is_full() {
            commit(&mut opened);
        }
        if n % 20_000 == 0 {
            commit(&mut opened);
            opened
                .folder
                .checkpoint()
                .unwrap_or_default()
                .iter()
                .for_each(|step| opened.disk.apply(step).unwrap());
        }
    }
    opened.folder.add_own("stop", "{}").unwrap();
    commit(&mut opened);
    opened.folder.checkpoint().unwrap().iter().for_each(|step| opened.disk.apply(step).unwrap());
}

fn commit(opened: &mut strait_audit::Opened) {
    if let Some(batch) = opened.folder.batch() {
        opened.disk.write(&batch).unwrap();
        opened.folder.committed(batch);
    }
}

fn cpu() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// The CPU time of `sha256sum`, as the shell tells it.
fn sha256sum(files: &[PathBuf]) -> f64 {
    let ran = Command::new("bash")
        .args(["-c", "TIMEFORMAT='%U %S'; time sha256sum \"$@\" >/dev/null", "sha256sum"])
        .args(files)
        .output()
        .unwrap();
    let told = String::from_utf8(ran.stderr).unwrap();
    told.split_whitespace().map(|part| part.parse::<f64>().unwrap()).sum()
}

#[test]
#[ignore = "a measurement"]
fn verify_beside_sha256sum() {
    let records = std::env::var("STRAIT_RECORDS").ok().and_then(|text| text.parse().ok()).unwrap_or(100_000);
    let base = std::env::temp_dir().join(format!("strait-audit-speed-{}", std::process::id()));
    std::fs::create_dir_all(&base).unwrap();
    let dir = base.join("audit");
    write(&dir, records);
    let mut files = Vec::new();
    for (kind, path) in
        [("entries", segment::entries_path as fn(u64) -> String), ("payload", segment::payload_path)]
    {
        files.extend(segment::firsts(&dir, kind).unwrap().into_iter().map(|first| dir.join(path(first))));
    }
    let bytes: u64 = files.iter().map(|file| file.metadata().unwrap().len()).sum();
    println!("{records} records, {} MiB in {} files", bytes >> 20, files.len());
    for round in 1..=5 {
        let before = cpu();
        let report = verify(&dir, &Against::default()).unwrap_or_else(|error| panic!("{error}"));
        let verified = (cpu() - before).as_secs_f64();
        let summed = sha256sum(&files);
        assert_eq!(report.records, records + 2);
        println!(
            "round {round}: verify {verified:.3} s, sha256sum {summed:.3} s, ratio {:.2}",
            verified / summed
        );
    }
    std::fs::remove_dir_all(&base).unwrap();
}
