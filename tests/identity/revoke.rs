//! `strait revoke`: whoever is named is believed no more, whatever is brought, by a gateway that runs and by the next one.

use std::process::Output;

use serde_json::{Value, json};
use strait_tests::gateway::wait_for;

use crate::gateway::{Site, claims, config, described, refused};
use crate::issuer::{Issuer, Pair};
use crate::process::{Process, signal, strait};

fn site(pair: &Pair) -> (Site, Issuer) {
    let issuer = Issuer::start(&[pair]);
    let named = "{ user: [email, sub], agent: azp, groups: groups }";
    (Site::new(&format!("jwt: {{ issuer: \"{}\", principal: {named} }}", issuer.url())), issuer)
}

/// `strait revoke` in the site's folder.
fn revoke(site: &Site, arguments: &[&str]) -> Output {
    let arguments = [&["revoke", "--state", "state", "--json"], arguments].concat();
    strait(&site.folder.0, &arguments)
}

fn facts(out: &Output) -> Value {
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).expect("JSON")
}

fn key(site: &Site) -> String {
    String::from_utf8(site.folder.read("state/keys/ci.robot.key")).expect("UTF-8").trim().to_owned()
}

/// The acts of the history, oldest first.
fn acts(site: &Site) -> Vec<(String, Value)> {
    let told = facts(&strait(&site.folder.0, &["history", "--state", "state", "--json"]));
    let mut acts: Vec<(String, Value)> = told["entries"]
        .as_array()
        .expect("entries")
        .iter()
        .map(|entry| (entry["act"].as_str().expect("an act").to_owned(), entry.clone()))
        .collect();
    acts.reverse();
    acts
}

#[test]
fn whoever_is_revoked_is_refused_with_whatever_is_brought_until_it_is_undone() {
    let pair = Pair::es256("one");
    let (site, issuer) = site(&pair);
    let token = |subject: &str, jti: &str| {
        let mut claims = claims(&issuer.url(), subject);
        claims["jti"] = jti.into();
        pair.sign(&claims)
    };
    let (ada, eve) = (token("ada", "1"), token("eve", "2"));
    assert_eq!((refused(&site.call(&ada)), refused(&site.call(&eve))), (None, None));
    let done = facts(&revoke(&site, &["ada", "robot", "--reason", "left the company"]));
    assert_eq!(
        (&done["ids"], &done["workers"], &done["behind"]),
        (&json!(["ada", "robot"]), &json!(2), &json!([]))
    );
    // In force when the verb is back: a token that was known, one that is made since, and an API key.
    for credential in [&ada, &token("ada", "3"), &key(&site)] {
        let answer = site.call(credential);
        assert_eq!((answer.status, refused(&answer).as_deref()), (401, Some("revoked")));
        assert_eq!(described(&answer), "it was revoked");
    }
    let keyed = site.call_at("/keyed", &key(&site));
    assert_eq!((keyed.status, refused(&keyed).as_deref()), (401, Some("revoked")));
    assert_eq!(refused(&site.call(&eve)), None, "nobody else is meant");
    assert_eq!(facts(&revoke(&site, &["ada"]))["already"], json!(["ada"]));

    let listed = facts(&revoke(&site, &["--list"]));
    let first = &listed["revoked"][0];
    assert_eq!(
        (&first["id"], &first["reason"], &first["by"]["via"]),
        (&json!("ada"), &json!("left the company"), &json!("socket"))
    );
    let (_, metrics) = site.process.ask("/metrics");
    assert!(
        metrics.contains("\nstrait_revocations 2\n")
            && metrics.contains("\nstrait_revocations_file_good 1\n"),
        "{metrics}"
    );
    assert!(metrics.contains("strait_refusals_total{reason=\"revoked\"}"), "{metrics}");
    assert_eq!(site.process.ready()["revocations"]["in_force"], 2);
    site.process.wait_for_log("revoke by");
    wait_for("a line", || {
        site.lines().iter().any(|line| line["refused"] == "revoked" && line["principal"] == "ada")
    });

    facts(&revoke(&site, &["ada", "--undo"]));
    assert_eq!(refused(&site.call(&ada)), None);
    assert_eq!(site.call(&key(&site)).status, 401);
    let acts = acts(&site);
    let words: Vec<&str> = acts.iter().map(|(act, _)| act.as_str()).collect();
    assert_eq!(words, ["start", "revoke", "unrevoke"]);
    assert_eq!(
        (&acts[1].1["message"], &acts[1].1["summary"]["ids"]),
        (&json!("left the company"), &json!(2))
    );
    assert_eq!(acts[1].1["from"], acts[1].1["to"]);
}

#[test]
fn a_token_is_revoked_by_its_id_and_others_of_its_principal_are_not() {
    let pair = Pair::es256("one");
    let (site, issuer) = site(&pair);
    let token = |jti: &str, user: &str| {
        let mut claims = claims(&issuer.url(), "ada");
        (claims["jti"], claims["email"]) = (jti.into(), user.into());
        pair.sign(&claims)
    };
    let (stolen, other) = (token("stolen", "ada@example.org"), token("other", "ada@example.org"));
    assert_eq!((refused(&site.call(&stolen)), refused(&site.call(&other))), (None, None));
    facts(&revoke(&site, &["stolen", "--only", "token"]));
    assert_eq!((site.call(&stolen).status, site.call(&other).status), (401, 200));
    // What is revoked as something else is not the token of that name.
    facts(&revoke(&site, &["other", "--only", "user"]));
    assert_eq!(site.call(&other).status, 200);
    facts(&revoke(&site, &["ada@example.org", "--only", "user"]));
    assert_eq!(refused(&site.call(&other)).as_deref(), Some("revoked"));
    facts(&revoke(&site, &["ada@example.org", "--undo"]));
    facts(&revoke(&site, &["console", "--only", "agent", "--for", "1h"]));
    assert_eq!(refused(&site.call(&other)).as_deref(), Some("revoked"));
}

#[test]
fn it_outlives_restarts_successors_and_reloads_that_are_refused() {
    let pair = Pair::es256("one");
    let (site, issuer) = site(&pair);
    let ada = pair.sign(&claims(&issuer.url(), "ada"));
    facts(&revoke(&site, &["ada"]));
    let good = String::from_utf8(site.folder.read("strait.yaml")).expect("UTF-8");
    site.folder.replace("strait.yaml", "strait: 1\nnonsense: true\n");
    site.process.wait_for_state("rejected");
    assert_eq!(refused(&site.call(&ada)).as_deref(), Some("revoked"));
    site.folder.replace(
        "strait.yaml",
        format!("{good}    - {{ id: more, deny: [\"no.such*\"] }}\n").replace("no.such", "up.n"),
    );
    site.process.wait_for_state("ok");
    assert_eq!(refused(&site.call(&ada)).as_deref(), Some("revoked"));
    let Site { folder, process, address, upstream } = site;
    drop(process);
    // Nobody runs: the next one goes by the folder.
    let out = strait(&folder.0, &["revoke", "robot", "--state", "state"]);
    assert!(out.status.success());
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(said.contains("no gateway runs"), "{said}");
    let site =
        Site { process: Process::start(&folder, &["serve", "strait.yaml"]), folder, upstream, address };
    assert_eq!(refused(&site.call(&ada)).as_deref(), Some("revoked"));
    assert_eq!(refused(&site.call(&key(&site))).as_deref(), Some("revoked"));
    facts(&revoke(&site, &["robot", "--undo"]));
    assert_eq!(refused(&site.call(&key(&site))), None);

    site.process.signal("USR2");
    site.process.wait_for_log("serves from here on");
    let log = site.process.log();
    let before = log.split_once(" serves from here on").expect("it was waited for").0;
    let successor = Successor(before.rsplit_once(' ').expect("a number").1.parse().expect("a number"));
    assert_eq!(refused(&site.call(&ada)).as_deref(), Some("revoked"));
    // It has taken the socket, and the list with it.
    facts(&revoke(&site, &["ada", "--undo"]));
    assert_eq!(refused(&site.call(&ada)), None);
    drop(successor);
}

/// A process that another one started.
struct Successor(u32);

impl Drop for Successor {
    fn drop(&mut self) {
        signal(self.0, "KILL");
    }
}

#[test]
fn a_candidate_and_a_gateway_that_shares_the_folder_go_by_it_too() {
    let pair = Pair::es256("one");
    let (site, issuer) = site(&pair);
    let (ada, eve) = (pair.sign(&claims(&issuer.url(), "ada")), pair.sign(&claims(&issuer.url(), "eve")));
    let changed =
        config(site.address, &site.upstream.url(), &format!("jwt: {{ issuer: \"{}\" }}", issuer.url()))
            .replace("allow: [\"*\"]", "allow: [\"up.*\"]");
    site.folder.write("next.yaml", changed);
    let tried = [
        "apply",
        "next.yaml",
        "--state",
        "state",
        "--canary",
        "100%",
        "--bake",
        "1h",
        "--samples",
        "1000000",
    ];
    let out = strait(&site.folder.0, &tried);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    assert_eq!((refused(&site.call(&ada)), refused(&site.call(&eve))), (None, None));
    // One beside it that has not the socket is told by the file.
    let beside = site.folder.compile(
        &crate::process::open_to_all(&site.upstream.url())
            .replace("path: /mcp,", "path: /mcp, auth: [ci],")
            .replace("policy:", "identity: { ci: { api_keys: { generate: [{ id: robot }] } } }\npolicy:"),
    );
    site.folder.write("beside.table", beside.0);
    let other = Process::start(&site.folder, &["serve", "beside.table"]);
    let robot = || {
        let key = key(&site);
        strait_tests::Client::connect(other.address)
            .roundtrip(
                String::from_utf8(crate::gateway::call("/mcp", &key))
                    .expect("UTF-8")
                    .replace("gw.example", "127.0.0.1"),
            )
            .status
    };
    assert_eq!(robot(), 200);
    facts(&revoke(&site, &["ada", "robot"]));
    assert_eq!(refused(&site.call(&ada)).as_deref(), Some("revoked"), "on trial");
    assert_eq!(refused(&site.call(&eve)), None);
    wait_for("the other gateway to read the file", || robot() == 401);
    facts(&revoke(&site, &["robot", "--undo"]));
    wait_for("the other gateway to read the file", || robot() == 200);
}

#[test]
fn a_list_that_is_broken_lets_nobody_in() {
    let pair = Pair::es256("one");
    let (site, issuer) = site(&pair);
    let ada = pair.sign(&claims(&issuer.url(), "ada"));
    facts(&revoke(&site, &["ada"]));
    site.folder.replace("state/revoked.json", "{\"revoked\": [");
    site.process.wait_for_log("whoever was revoked before stays so");
    assert_eq!(refused(&site.call(&ada)).as_deref(), Some("revoked"));
    assert!(
        site.process.ready()["revocations"]["problem"].as_str().expect("a problem").contains("revoked.json")
    );
    let refused_now = revoke(&site, &["eve"]);
    assert_eq!(refused_now.status.code(), Some(3), "{}", String::from_utf8_lossy(&refused_now.stderr));
    let Site { folder, process, .. } = site;
    drop(process);
    let out = strait(&folder.0, &["serve", "strait.yaml", "--state", "state"]);
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(3), "{said}");
    assert!(said.contains("revoked.json") && said.contains("help:"), "{said}");
}

#[test]
fn nonsense_is_refused_and_changes_nothing() {
    let pair = Pair::es256("one");
    let (site, _issuer) = site(&pair);
    let code = |arguments: &[&str]| revoke(&site, arguments).status.code();
    let long = "x".repeat(513);
    let reason = "x".repeat(2_000);
    let usage = Some(64);
    assert_eq!(code(&[]), usage);
    assert_eq!(code(&[""]), usage);
    assert_eq!(code(&["a\nb"]), usage);
    assert_eq!(code(&["anonymous"]), usage);
    assert_eq!(code(&[&long]), usage);
    assert_eq!(code(&["ada", "--reason", &reason]), usage);
    assert_eq!(code(&["ada", "--reason", "a\u{1b}[31mb"]), usage);
    assert_eq!(code(&["ada", "--only", "everything"]), usage);
    assert_eq!(code(&["ada", "--for", "0s"]), usage);
    assert_eq!(code(&["ada", "--for", "-1h"]), usage);
    assert_eq!(code(&["ada", "--undo", "--reason", "x"]), usage);
    assert_eq!(code(&["ada", "--undo"]), Some(1), "was never revoked");
    assert!(!site.folder.at("state/revoked.json").exists());
    let missing = strait(&site.folder.0, &["revoke", "ada", "--state", "elsewhere"]);
    assert_eq!(missing.status.code(), Some(3));
    assert!(!site.folder.at("elsewhere").exists());
    // Ten thousand at once, of whom nobody was ever heard.
    let many: Vec<String> = (0..10_000).map(|n| format!("agent-{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(facts(&revoke(&site, &many))["ids"].as_array().expect("ids").len(), 10_000);
    assert_eq!(site.process.ready()["revocations"]["in_force"], 10_000);
    assert_eq!(refused(&site.call(&key(&site))), None);
    // Whoever may only look, cannot.
    let viewer = String::from_utf8(site.folder.read("state/viewer.token")).expect("UTF-8");
    let body = "{\"ids\":[\"robot\"]}";
    let asked = format!(
        "POST /admin/revocations HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\r\n{body}",
        viewer.trim(),
        body.len()
    );
    assert_eq!(strait_tests::Client::connect(site.process.admin).roundtrip(asked).status, 403);
    for body in [
        "",
        "[]",
        "{}",
        "{\"ids\":\"robot\"}",
        "{\"ids\":[\"robot\"],\"undo\":true}",
        "{\"ids\":[\"a\\u0000\"]}",
    ] {
        let operator = String::from_utf8(site.folder.read("state/admin.token")).expect("UTF-8");
        let asked = format!(
            "POST /admin/revocations HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\r\n{body}",
            operator.trim(),
            body.len()
        );
        assert_eq!(strait_tests::Client::connect(site.process.admin).roundtrip(asked).status, 400, "{body}");
    }
    assert_eq!(refused(&site.call(&key(&site))), None);
}
