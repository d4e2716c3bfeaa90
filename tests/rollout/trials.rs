//! A candidate on trial at a running gateway: promoted, rolled back, shadowing, ended by what comes between.

use serde_json::{Value, json};
use strait_tests::client::modern;
use strait_tests::gateway::wait_for;
use strait_tests::scripted::{echoed, http, json_reply};
use strait_tests::{Scripted, Step};

use crate::gateway::{Site, run};
use crate::process::*;

/// A call of `echo` that says that it is for the canary, and its answer.
fn as_canary(process: &Process, tool: &str) -> Value {
    let request = modern("", 1, "tools/call", json!({"name": tool, "arguments": {"x": "planted"}}));
    let request = String::from_utf8(request).expect("UTF-8").replacen("\r\n", "\r\nX-Canary: yes\r\n", 1);
    process.client().roundtrip(request).json()
}

fn is_permitted(answer: &Value) -> bool {
    answer["error"].is_null()
}

impl Site {
    fn try_out(&self, file: &str, more: &[&str]) -> Value {
        self.json(&[&["apply", file, "--canary", "header=X-Canary:yes"], more].concat())
    }

    fn trial(&self) -> Value {
        self.json(&["status"])["trial"].clone()
    }
}

#[test]
fn a_canary_that_does_well_is_promoted_at_the_end_of_its_bake() {
    let site = Site::new();
    let process = site.serve();
    process.wait_for_tools("", &["echo", "slow", "secret"]);
    let begun = site.try_out("fewer.yaml", &["--bake", "1s", "--samples", "3", "-m", "try it"]);
    assert_eq!(
        (&begun["trial"], &begun["to"], &begun["behind"]),
        (&json!("canary"), &json!(site.fewer), &json!([]))
    );
    assert_eq!(process.generation(), site.all);
    // Those who say so are served by it, and nobody else.
    assert!(!is_permitted(&as_canary(&process, "secret")));
    assert!(is_permitted(&call(&mut process.client(), "", "secret", json!({}))));
    assert_eq!(site.trial()["serves"], "header=X-Canary:yes");
    for _ in 0..3 {
        assert!(is_permitted(&as_canary(&process, "echo")));
    }
    process.wait_for_generation(&site.fewer);
    assert_eq!(process.tools(""), ["echo", "slow"]);
    let last = site.trial()["last"].clone();
    assert_eq!(
        (&last["ended"], &last["figures"]["candidate"]["failed"]),
        (&json!("promoted"), &json!(0)),
        "{last}"
    );
    let history = site.history();
    let told =
        |n: usize| (history[n]["outcome"].clone(), history[n]["to"].as_str().unwrap()[..12].to_owned());
    assert_eq!(told(0), (json!("adopted"), site.fewer.clone()));
    assert_eq!(told(1), (json!("tried"), site.fewer.clone()));
    assert_eq!((&history[0]["message"], &history[1]["message"]), (&json!("try it"), &json!("try it")));
    let metrics = process.ask("/metrics").1;
    for line in [
        &*format!("strait_generation_info{{generation=\"{}\",role=\"live\"}} 1", site.fewer),
        "strait_trials_total{result=\"promoted\"} 1",
        "strait_trials_total{result=\"rolled_back\"} 0",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    // A restart serves what was promoted.
    assert_eq!(process.stop(), Some(0));
    assert_eq!(site.serve().generation(), site.fewer);
}

#[test]
fn a_canary_whose_upstream_errs_is_rolled_back_by_itself() {
    let site = Site::new();
    let broken = Scripted::modern(|_| vec![Step::Send(http(500, "text/plain", b"no"))]);
    let process = site.serve();
    process.wait_for_tools("", &["echo", "slow", "secret"]);
    let (table, generation) = site.folder.compile(&open_to_all(&broken.url()));
    site.folder.write("broken", table);
    let begun = site.try_out("broken", &["--bake", "1h", "--samples", "5", "--abort-if", "error_rate>10%"]);
    assert_eq!(begun["to"], generation);
    for _ in 0..5 {
        assert!(!is_permitted(&as_canary(&process, "echo")));
        assert!(is_permitted(&call(&mut process.client(), "", "echo", json!({}))));
    }
    wait_for("the canary to be rolled back", || process.ready()["trial"]["state"] == "none");
    let last = site.trial()["last"].clone();
    assert_eq!((&last["generation"], &last["ended"]), (&json!(generation), &json!("rolled_back")), "{last}");
    assert!(last["why"].as_str().unwrap().starts_with("error_rate>10%: 100.00 %"), "{last}");
    // Everybody is served as before.
    assert!(is_permitted(&as_canary(&process, "echo")));
    assert_eq!(process.generation(), site.all);
    let entry = site.history()[0].clone();
    assert_eq!((&entry["outcome"], &entry["why"]), (&json!("rolled_back"), &last["why"]), "{entry}");
    let metrics = process.ask("/metrics").1;
    assert!(
        metrics.contains(
            "strait_generation_requests_total{generation=\"earlier\",outcome=\"upstream_fault\"} 5"
        ),
        "{metrics}"
    );
    assert!(!metrics.contains(&generation), "{metrics}");
}

#[test]
fn a_shadow_tells_what_would_differ_and_ends_when_told() {
    let site = Site::new();
    let process = site.serve();
    process.wait_for_tools("", &["echo", "slow", "secret"]);
    assert_eq!(site.json(&["apply", "fewer.yaml", "--shadow"])["trial"], "shadow");
    for tool in ["echo", "secret", "secret"] {
        assert!(is_permitted(&call(&mut process.client(), "", tool, json!({"x": "planted"}))));
    }
    let trial = site.trial();
    let expected = json!([{ "what": "tool up.secret", "opens": 0, "closes": 2, "other_rule": 0 }]);
    assert_eq!((&trial["generation"], &trial["found"]["differences"]), (&json!(site.fewer), &expected));
    let sample = &trial["found"]["samples"][0];
    assert_eq!(
        (&sample["principal"], &sample["live"]["rule"], &sample["candidate"]["rule"]),
        (&json!("anonymous"), &json!("all"), &json!("but")),
        "{sample}"
    );
    assert!(!trial.to_string().contains("planted"), "{trial}");
    let told = site.run(&["status"]);
    assert!(told.out.contains("as a shadow") && told.out.contains("tool up.secret"), "{}", told.out);
    let metrics = process.ask("/metrics").1;
    assert!(metrics.contains("strait_shadow_decisions_total{difference=\"closes\"} 2"), "{metrics}");
    let ended = site.json(&["rollback"]);
    assert_eq!((&ended["trial"], &ended["to"]), (&json!("rolled_back"), &json!(site.all)), "{ended}");
    assert_eq!((process.generation(), &site.trial()["state"]), (site.all.clone(), &json!("none")));
    assert!(site.history()[0]["why"].as_str().unwrap().starts_with("ended by "), "{}", site.history()[0]);
}

#[test]
fn whatever_is_served_instead_ends_a_trial_and_a_restart_forgets_it() {
    let site = Site::new();
    let process = site.serve();
    process.wait_for_tools("", &["echo", "slow", "secret"]);
    let (third, _) = site.folder.compile(&open_but_for(&site.upstream.url(), "slow"));
    site.folder.write("third", third);
    site.try_out("third", &[]);
    // The same file again is no other generation.
    process.hang_up();
    wait_for("the file to be read", || process.reload()["unchanged"] == 1);
    assert_eq!(process.ready()["trial"]["state"], "canary");
    site.folder.replace("table", site.folder.read("fewer"));
    process.wait_for_generation(&site.fewer);
    let trial = process.ready()["trial"].clone();
    assert_eq!((&trial["state"], &trial["last"]["ended"]), (&json!("none"), &json!("rolled_back")));
    assert!(trial["last"]["why"].as_str().unwrap().contains(&site.fewer), "{trial}");
    // One candidate takes another's place.
    site.try_out("third", &[]);
    assert_eq!(site.json(&["apply", "all", "--shadow"])["trial"], "shadow");
    assert_eq!(process.ready()["trial"]["state"], "shadow");
    assert_eq!(process.stop(), Some(0));
    let process = site.serve();
    assert_eq!(
        (process.generation(), &process.ready()["trial"]["state"]),
        (site.fewer.clone(), &json!("none"))
    );
}

#[test]
fn what_cannot_be_tried_is_refused_by_name() {
    let site = Site::new();
    let process = site.serve();
    let moved = open_to_all(&site.upstream.url()).replace(
        "{ bind: \"127.0.0.1:0\" } }\nadmin",
        "{ bind: \"127.0.0.1:0\", origins: [\"https://x.example\"] } }\nadmin",
    );
    site.folder.write("moved.yaml", moved);
    let ran = site.run(&["apply", "moved.yaml", "--canary", "5%"]);
    assert_eq!(ran.code, 1, "{}{}", ran.out, ran.err);
    assert!(ran.err.contains("`listeners` cannot be tried"), "{}", ran.err);
    let same = site.run(&["apply", "all.yaml", "--shadow"]);
    assert_eq!(same.code, 1, "{}{}", same.out, same.err);
    assert!(same.err.contains("there is nothing to try"), "{}", same.err);
    for (more, expected) in [
        (&["--canary", "5"][..], "expected a share (`5%`)"),
        (&["--canary", "5%", "--bake", "soon"], "found `soon`"),
        (&["--canary", "5%", "--abort-if", "tears"], "found `tears`"),
        (&["--canary", "5%", "--shadow"], "cannot be used with"),
    ] {
        let ran = site.run(&[&["apply", "fewer.yaml"], more].concat());
        assert!(ran.code != 0 && ran.err.contains(expected), "{more:?}: {} {}", ran.code, ran.err);
    }
    assert_eq!(
        (process.generation(), &process.ready()["trial"]["state"]),
        (site.all.clone(), &json!("none"))
    );
}

#[test]
fn keys_that_change_reach_both_and_a_revoked_one_ends_what_it_had_open() {
    let (folder, upstream) = (Folder::new(), Scripted::modern(|request| json_reply(&echoed(request))));
    let key = |verb: &[&str]| {
        let out = strait(&folder.0, &[&["keys"], verb, &["--json"]].concat());
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let made: Value = serde_json::from_slice(&out.stdout).unwrap_or_default();
        made["key"].as_str().unwrap_or_default().to_owned()
    };
    let bob = key(&["new", "keys.yaml", "--id", "bob"]);
    let config = |rules: &str| {
        config(&format!(
            "upstreams:\n  up: {{ http: \"{}\" }}\nservers:\n  default: {{ path: /mcp, auth: [staff], tools: [\"up.*\"] }}\n\
             identity:\n  staff: {{ api_keys: keys.yaml }}\npolicy:\n  default: deny\n  rules:\n    - {{ id: all, allow: \
             [\"*\"] }}\n{rules}",
            upstream.url()
        ))
    };
    folder.write("table", folder.compile(&config("")).0);
    folder.write("fewer", folder.compile(&config("    - { id: but, deny: [up.slow] }\n")).0);
    let process = Process::serve(&folder, "table");
    process.wait_for_tools(&bob, &["echo", "slow", "secret"]);
    let ran = run(&folder.0, &["apply", "fewer", "--canary", "principals=bob,carol"]);
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    assert_eq!(process.tools(&bob), ["echo", "secret"]);
    let mut listening = process.client();
    let wanted = json!({"notifications": {"toolsListChanged": true}});
    listening.send(modern(&bob, 7, "subscriptions/listen", wanted));
    assert_eq!(listening.stream_head().status, 200);
    assert!(listening.event().is_some(), "an acknowledgement");
    // One that is made now is known to the candidate.
    let carol = key(&["new", "keys.yaml", "--id", "carol"]);
    let status = |key: &str| process.client().roundtrip(modern(key, 1, "tools/list", json!({}))).status;
    wait_for("the new key to work", || status(&carol) == 200);
    process.wait_for_tools(&carol, &["echo", "secret"]);
    key(&["revoke", "keys.yaml", "bob"]);
    wait_for("the revoked key to be refused", || status(&bob) == 401);
    let last = listening.event().expect("the end of the listen").message;
    assert_eq!(last["result"]["resultType"], "complete", "{last}");
    assert_eq!(process.ready()["trial"]["state"], "canary");
}
