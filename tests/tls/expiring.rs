//! Certificates that have ended, or are about to: told by `check` and `doctor`, before a peer tells.

use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::authority::Authority;
use crate::config;
use crate::process::{Folder, strait};

/// What a verb says of `strait.yaml`, its exit code and its facts.
fn told(folder: &Folder, arguments: &[&str]) -> (i32, Value, String) {
    let out = strait(&folder.0, arguments);
    let facts = serde_json::from_slice(&out.stdout).expect("JSON");
    (out.status.code().expect("a code"), facts, String::from_utf8_lossy(&out.stderr).into_owned())
}

#[test]
fn check_and_doctor_tell_which_certificates_have_expired_or_will_soon() {
    let folder = Folder::new();
    let ca = Authority::new(&folder, "ca");
    ca.expired_server(&folder, "old", "gw.example");
    ca.server(&folder, "soon", &["gw.example"]);
    ca.client_until(&folder, "fine", &["spiffe://a/b"], SystemTime::now() + Duration::from_secs(40 * 86_400));
    let tls = "[{ cert: old.pem, key: old.key }, { cert: soon.pem, key: soon.key }]";
    // What expired yesterday vouches for nobody, wherever it stands.
    let upstream = ", tls: { ca: old.pem, cert: fine.pem, key: fine.key }";
    folder.write("strait.yaml", config(tls, "https://127.0.0.1:1/mcp", upstream));

    let (code, facts, said) = told(&folder, &["check", "strait.yaml", "--json"]);
    assert_eq!((code, &facts["ok"]), (0, &Value::Bool(true)), "{facts}");
    let all: Vec<(&str, bool)> = facts["certificates"]
        .as_array()
        .expect("certificates")
        .iter()
        .map(|one| (one["path"].as_str().expect("a path"), one["expired"].as_bool().expect("a flag")))
        .collect();
    assert_eq!(all, [("./old.pem", true), ("./soon.pem", false), ("./old.pem", true)]);
    for expected in [
        "warning: certificate `./old.pem` has expired",
        "warning: certificate `./soon.pem` expires in 2",
        "warning: the last certificate of `./old.pem` has expired",
    ] {
        assert!(said.contains(expected), "{said}");
    }
    assert!(!said.contains("fine.pem") && !said.contains("`./ca.pem`"), "{said}");
    assert_eq!(told(&folder, &["check", "strait.yaml", "--json", "--deny-warnings"]).0, 1);
    // Of a table as well.
    assert!(strait(&folder.0, &["compile", "strait.yaml", "-o", "out.table"]).status.success());
    let (code, facts, _) = told(&folder, &["check", "out.table", "--json", "--deny-warnings"]);
    assert_eq!((code, facts["certificates"].as_array().map(Vec::len)), (1, Some(3)), "{facts}");

    let (code, facts, _) = told(&folder, &["doctor", "strait.yaml", "--json"]);
    assert_eq!(code, 1);
    let lines =
        facts["lines"].as_array().expect("lines").iter().filter(|line| line["about"] == "certificate");
    let levels: Vec<&str> = lines.map(|line| line["level"].as_str().expect("a level")).collect();
    assert_eq!(levels, ["fail", "warn", "ok", "fail"], "{facts}");
    // One that is not there is nothing that `check` may know of: it is perhaps where the table is served.
    std::fs::remove_file(folder.at("soon.pem")).expect("remove");
    assert_eq!(
        told(&folder, &["check", "strait.yaml", "--json"]).1["certificates"].as_array().map(Vec::len),
        Some(2)
    );
    let facts = told(&folder, &["doctor", "strait.yaml", "--json"]).1;
    assert!(facts.to_string().contains("cannot read `./soon.pem`"), "{facts}");
}
