use std::path::PathBuf;

use strait_engine::caps::Room;
use strait_engine::io::files::Files;

use super::*;

/// A container as its engine makes it: io_uring denied by seccomp, few files, half a core, little memory.
fn container() -> Report {
    let denied = "io_uring is not available (Operation not permitted (os error 1)): a seccomp filter forbids it, as \
                  container engines do by default: allow io_uring_setup, io_uring_enter and io_uring_register in the \
                  container's seccomp profile";
    let mut lines = rings::judge(&rings::Facts {
        kernel: "6.1.0-18-amd64".into(),
        tried: vec![
            ("best", Some(denied.into())),
            ("good", Some(denied.into())),
            ("plain", Some(denied.into())),
        ],
        disabled: Some(0),
        memlock_bytes: Some(64 << 10),
    });
    let limit = Some(128);
    lines.extend(files::judge(&Files { soft_before: limit, soft: limit, hard: limit }, 2));
    lines.extend(memory::judge(&Room { files: None, memory_bytes: Some(256 << 20) }, 2, None));
    lines.extend(cores::judge(&cores::Facts { cores: 2, quota_percent: Some(50), workers: 2 }));
    lines.extend(clock::judge(&clock::Facts {
        source: Some("hpet".into()),
        read_ns: 1_200,
        slack_ns: 50_000,
        late_us: (900, 30_000),
    }));
    lines.extend(sockets::judge(&sockets::Facts {
        shared: Ok(()),
        migrates: Some(false),
        backlog: Some(128),
    }));
    lines.extend(state::judge(&state::Facts {
        path: PathBuf::from(".strait"),
        nearest: PathBuf::from("/srv"),
        writable: false,
        mode: None,
    }));
    lines.extend(ports::judge(&[ports::Facts {
        what: "listener `main`".into(),
        address: "127.0.0.1:8080".into(),
        refused: Some((
            "cannot listen on 127.0.0.1:8080 (listener `main`): Address in use".into(),
            "stop it".into(),
        )),
    }]));
    lines.extend(upstreams::judge(&[
        upstreams::Facts { name: "crm".into(), found: vec![Err("connect: 10.0.0.1:80: refused".into())] },
        upstreams::Facts { name: "git".into(), found: vec![Ok("`/usr/bin/git`".into())] },
        upstreams::Facts {
            name: "two".into(),
            found: vec![
                Ok("10.0.0.2:80 accepts connections".into()),
                Err("connect: 10.0.0.3:80: refused".into()),
            ],
        },
    ]));
    lines.extend(stores::judge(&[
        stores::Facts {
            store: "https://vault.internal:8200".into(),
            secrets: vec!["crm".into(), "pay".into()],
            found: Err("connect: 10.0.0.4:8200: refused".into()),
        },
        stores::Facts {
            store: "https://secretsmanager.eu-central-1.amazonaws.com".into(),
            secrets: vec!["mail".into()],
            found: Ok("10.0.0.5:443 accepts connections".into()),
        },
    ]));
    Report { lines }
}

/// A machine made for it.
fn server() -> Report {
    let mut lines = rings::judge(&rings::Facts {
        kernel: "6.18.5".into(),
        tried: vec![
            ("single_issuer+defer_taskrun+coop_taskrun", None),
            ("coop_taskrun", None),
            ("default", None),
        ],
        disabled: None,
        memlock_bytes: Some(8 << 20),
    });
    let files = Files { soft_before: Some(1_024), soft: Some(1 << 20), hard: Some(1 << 20) };
    lines.extend(files::judge(&files, 8));
    lines.extend(memory::judge(&Room { files: None, memory_bytes: Some(64 << 30) }, 8, None));
    lines.extend(cores::judge(&cores::Facts { cores: 8, quota_percent: None, workers: 8 }));
    lines.extend(clock::judge(&clock::Facts {
        source: Some("tsc".into()),
        read_ns: 24,
        slack_ns: 50_000,
        late_us: (60, 110),
    }));
    lines.extend(sockets::judge(&sockets::Facts {
        shared: Ok(()),
        migrates: Some(true),
        backlog: Some(4_096),
    }));
    lines.extend(state::judge(&state::Facts {
        path: PathBuf::from(".strait"),
        nearest: PathBuf::from(".strait"),
        writable: true,
        mode: Some(0o700),
    }));
    Report { lines }
}

/// `STRAIT_BLESS=1` writes the expected texts anew.
fn check(name: &str, report: &Report) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/doctor/expected").join(name);
    if std::env::var_os("STRAIT_BLESS").is_some() {
        std::fs::write(&path, report.text()).unwrap();
    }
    assert_eq!(report.text(), std::fs::read_to_string(&path).unwrap(), "{}", path.display());
}

#[test]
fn what_a_container_lacks_is_told_with_its_fix() {
    let report = container();
    check("container.txt", &report);
    assert_eq!(report.failures(), 5);
    let all = report.json();
    assert_eq!(all["ok"], false);
    for line in all["lines"].as_array().unwrap() {
        assert!(line["level"] == "ok" || line["fix"].as_str().is_some_and(|fix| !fix.is_empty()), "{line}");
    }
}

#[test]
fn a_good_machine_needs_nothing() {
    let report = server();
    check("server.txt", &report);
    assert!(report.lines.iter().all(|line| line.level == Level::Ok), "{}", report.text());
}

#[test]
fn old_kernels_and_half_refusals() {
    let facts = |kernel: &str, refused: usize| rings::Facts {
        kernel: kernel.into(),
        tried: ["a", "b", "c"]
            .iter()
            .enumerate()
            .map(|(n, f)| (*f, (n < refused).then(|| "no: fix".into())))
            .collect(),
        disabled: Some(2),
        memlock_bytes: Some(64 << 10),
    };
    let lines = rings::judge(&facts("5.10.0-8", 2));
    assert_eq!(lines.iter().map(|line| line.level).collect::<Vec<_>>(), [Level::Warn; 3]);
    assert!(lines[0].found.contains("only with c"), "{lines:?}");
    assert!(lines[1].found.contains("refused to everybody"), "{lines:?}");
    assert!(lines[2].found.contains("charges every ring"), "{lines:?}");
}
