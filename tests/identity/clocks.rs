//! A wall clock that is put forward and back while tokens are known and revocations in force.
//!
//! libfaketime moves the clock of the gateway's process alone, and not its monotonic one: no real jump moves that either.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;
use strait_tests::gateway::wait_for;

use crate::gateway::{Site, claims, described, refused};
use crate::issuer::{Issuer, Pair, now_s};
use crate::process::{Folder, Process, binary, strait};

const DAY_S: i64 = 86_400;

fn library() -> PathBuf {
    let places = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let mut libraries = places.map(|place| place.path().join("faketime/libfaketimeMT.so.1"));
    let found = libraries.find(|library| library.exists());
    found.expect("libfaketime: as root, `apt-get install libfaketime` (tests/run does)")
}

/// The clock of the gateway is so far from the truth from now on.
fn jump(folder: &Folder, seconds: i64) {
    folder.replace("clock", format!("{seconds:+}"));
}

fn start(folder: &Folder) -> Process {
    let log = folder.at("log-jumping");
    let file = File::create(&log).expect("make the log");
    let child = Command::new(binary())
        .args(["serve", "strait.yaml", "--state", "state", "--workers", "2"])
        .current_dir(&folder.0)
        .env("LD_PRELOAD", library())
        .env("FAKETIME_TIMESTAMP_FILE", folder.at("clock"))
        .envs([("FAKETIME_NO_CACHE", "1"), ("DONT_FAKE_MONOTONIC", "1"), ("NO_FAKE_STAT", "1")])
        .stdin(Stdio::null())
        .stdout(file.try_clone().expect("clone"))
        .stderr(file)
        .spawn()
        .expect("start strait");
    Process::opened(child, log)
}

#[test]
fn a_clock_that_is_put_back_revives_nothing_and_one_that_is_ahead_takes_nothing_away() {
    let pair = Pair::es256("es");
    let issuer = Issuer::start(&[&pair]);
    let staff = format!("jwt: {{ issuer: \"{}\", skew: 0s }}", issuer.url());
    let Site { folder, process, address, upstream } = Site::new(&staff);
    drop(process);
    jump(&folder, 0);
    let site = Site { process: start(&folder), folder, address, upstream };
    let token = |jti: &str, name: &str, value: Value| {
        let mut claims = claims(&issuer.url(), "ada");
        (claims["jti"], claims["iat"]) = (jti.into(), (now_s() - 1).into());
        claims[name] = value;
        pair.sign(&claims)
    };
    let same = |jti: &str| token(jti, "azp", "console".into());
    // Each connection is on one of the workers; few, since whoever brings many bad tokens is held up.
    let mut clients: Vec<_> = (0..3).map(|_| site.client()).collect();
    let (known, brief) = (same("known"), token("brief", "exp", (now_s() + 20).into()));
    let mut says = |token: &str| -> Vec<(u16, String)> {
        let said = clients.iter_mut().map(|client| client.roundtrip(crate::gateway::call("/mcp", token)));
        let mut said: Vec<(u16, String)> = said.map(|answer| (answer.status, described(&answer))).collect();
        said.dedup();
        said
    };
    let fine = vec![(200, String::new())];
    let expired = vec![(401, "it has expired".to_owned())];
    assert_eq!((says(&known), says(&brief)), (fine.clone(), fine.clone()));
    let hour = strait(&site.folder.0, &["revoke", "eve", "--for", "1h", "--state", "state"]);
    assert!(hour.status.success());
    let eve = |site: &Site| {
        let mut claims = claims(&issuer.url(), "eve");
        claims["iat"] = Value::Null;
        claims["exp"] = (now_s() + 2 * DAY_S).into();
        refused(&site.call(&pair.sign(&claims)))
    };
    assert_eq!(eve(&site).as_deref(), Some("revoked"));

    // Ahead: what has ended by that clock is over, known or not, and so is a revocation.
    jump(&site.folder, DAY_S);
    wait_for("it to be over", || says(&known) == expired);
    assert_eq!(says(&same("new")), expired);
    wait_for("the revocation to end", || eve(&site).is_none());
    // Behind: what nobody here knows was not issued yet; what is known goes on, and ends when its own time is over.
    jump(&site.folder, -DAY_S);
    wait_for("it to be known", || says(&known) == fine);
    assert_eq!(says(&same("newer")), [(401, "it is not valid yet".to_owned())]);
    wait_for("the revocation to be in force again", || eve(&site).as_deref() == Some("revoked"));
    wait_for("the brief one to end by the clock that nobody puts back", || {
        let said = says(&brief);
        assert!(said.iter().all(|(status, _)| [200, 401].contains(status)), "{said:?}");
        said.iter().all(|(status, _)| *status == 401)
    });
    // And in time again.
    jump(&site.folder, 0);
    wait_for("all to be as it was", || says(&same("last")) == fine);
    assert_eq!(says(&brief), expired);
    assert_eq!(eve(&site).as_deref(), Some("revoked"));
}
