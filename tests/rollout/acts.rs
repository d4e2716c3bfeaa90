//! What an operator does at the terminal, and what it changes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::gateway::{Site, run};
use crate::process::*;
use crate::under_load::Raise;

#[test]
fn a_plan_tells_what_opens_and_closes_and_changes_nothing() {
    let site = Site::new();
    let process = site.serve();
    let ran = site.run(&["plan", "fewer.yaml", "--detailed-exitcode"]);
    assert_eq!(ran.code, 2, "{}{}", ran.out, ran.err);
    for text in ["CLOSED", "up.secret", "anonymous", "rules but", "0 sessions"] {
        assert!(ran.out.contains(text), "`{text}`: {}", ran.out);
    }
    let plan = site.json(&["plan", "fewer"]);
    assert_eq!((&plan["from"], &plan["to"]), (&json!(site.all), &json!(site.fewer)));
    assert_eq!((plan["diff"]["closed"].as_array().unwrap().len(), plan["fit"] == true), (1, true), "{plan}");
    let same = site.run(&["plan", "all.yaml", "--detailed-exitcode"]);
    assert_eq!(same.code, 0, "{}{}", same.out, same.err);
    assert!(same.out.contains("nothing differs"), "{}", same.out);
    assert_eq!(process.generation(), site.all);
    assert_eq!(site.history().len(), 1);
    // What would be refused says so.
    site.folder.write(
        "moved.yaml",
        open_to_all(&site.upstream.url())
            .replace("main: { bind: \"127.0.0.1:0\" }", "main: { bind: \"127.0.0.1:1234\" }"),
    );
    let ran = site.run(&["plan", "moved.yaml"]);
    assert_eq!(ran.code, 1, "{}{}", ran.out, ran.err);
    assert!(
        ran.err.contains("needs a restart") && ran.out.contains("listeners main"),
        "{}{}",
        ran.out,
        ran.err
    );
}

#[test]
fn an_apply_needs_no_restart_and_a_rollback_undoes_it() {
    let site = Site::new();
    let process = site.serve();
    process.wait_for_tools("", &["echo", "slow", "secret"]);
    let done = site.json(&["apply", "fewer.yaml", "-m", "because"]);
    assert_eq!((&done["from"], &done["to"]), (&json!(site.all), &json!(site.fewer)), "{done}");
    assert_eq!((&done["workers"], &done["behind"]), (&json!(2), &json!([])));
    // Every worker had it before the verb ended.
    assert_eq!(process.tools(""), ["echo", "slow"]);
    assert_eq!(process.generation(), site.fewer);
    let back = site.json(&["rollback"]);
    assert_eq!(back["to"], site.all);
    assert_eq!(process.tools(""), ["echo", "slow", "secret"]);
    // There and back again, by name.
    assert_eq!(site.json(&["rollback", &site.fewer[..6]])["to"], site.fewer);
    let unknown = site.run(&["rollback", "0000dead"]);
    assert_eq!(unknown.code, 1, "{}", unknown.err);
    assert!(unknown.err.contains(&site.all), "{}", unknown.err);

    let history = site.history();
    let told: Vec<String> = history
        .iter()
        .map(|entry| {
            format!(
                "{} {} {} {}",
                entry["n"],
                entry["act"].as_str().unwrap(),
                entry["outcome"].as_str().unwrap(),
                &entry["to"].as_str().unwrap().get(..12).unwrap_or("")
            )
        })
        .collect();
    let expected = [
        "5 rollback refused ".to_owned(),
        format!("4 rollback adopted {}", site.fewer),
        format!("3 rollback adopted {}", site.all),
        format!("2 apply adopted {}", site.fewer),
        format!("1 start adopted {}", site.all),
    ];
    assert_eq!(told, expected);
    let apply = &history[3];
    assert_eq!((&apply["message"], &apply["by"]["via"]), (&json!("because"), &json!("socket")));
    assert_eq!(apply["summary"]["closed"], 1, "{apply}");
    assert!(
        apply["by"]["uid"].is_number() && apply["sources"][0][1].as_str().unwrap().len() == 64,
        "{apply}"
    );
    let text = site.run(&["history"]);
    for part in ["because", "closed 1", "refused", "user "] {
        assert!(text.out.contains(part), "`{part}`: {}", text.out);
    }
    assert!(process.log().contains("apply by via socket"), "{}", process.log());
}

#[test]
fn a_saved_plan_is_applied_as_it_was_looked_at_or_not_at_all() {
    let site = Site::new();
    let process = site.serve();
    assert_eq!(site.run(&["plan", "fewer.yaml", "-o", "saved"]).code, 0);
    // Its file changes; the plan does not.
    site.folder.write("fewer.yaml", "no configuration");
    assert_eq!(site.run(&["apply", "saved"]).code, 0);
    assert_eq!(process.generation(), site.fewer);
    // Made against what is not running any more.
    let again = site.run(&["apply", "saved", "--json"]);
    assert_eq!(again.code, 6, "{}{}", again.out, again.err);
    let error: Value = serde_json::from_str(&again.err).unwrap();
    assert_eq!(error["error"]["code"], "conflict");
    assert!(error["error"]["message"].as_str().unwrap().contains(&site.fewer), "{error}");
    assert_eq!(site.history()[0]["outcome"], "refused");
    // A plan that was changed is no plan.
    let mut saved = site.folder.read("saved");
    let at = saved.len() - 100;
    saved[at] ^= 1;
    site.folder.write("spoiled", &saved);
    assert_eq!(site.run(&["apply", "spoiled"]).code, 1);
}

#[test]
fn of_two_operators_at_once_one_is_told_that_he_comes_too_late() {
    let site = Site::new();
    let process = site.serve();
    site.folder.write("slow.yaml", open_but_for(&site.upstream.url(), "slow"));
    for (name, file) in [("one", "fewer.yaml"), ("two", "slow.yaml")] {
        assert_eq!(site.run(&["plan", file, "-o", name]).code, 0);
    }
    let (first, second) = std::thread::scope(|scope| {
        let folder = &site.folder.0;
        let apply = |plan: &'static str| scope.spawn(move || run(folder, &["apply", plan]));
        let (first, second) = (apply("one"), apply("two"));
        (first.join().unwrap(), second.join().unwrap())
    });
    let mut codes = [first.code, second.code];
    codes.sort_unstable();
    assert_eq!(codes, [0, 6], "{}{}", first.err, second.err);
    let adopted = site
        .history()
        .iter()
        .filter(|entry| entry["act"] == "apply" && entry["outcome"] == "adopted")
        .count();
    assert_eq!(adopted, 1);
    assert_ne!(process.generation(), site.all);
}

#[test]
fn what_nobody_can_serve_is_refused_with_its_findings() {
    let site = Site::new();
    let process = site.serve();
    let refused = |name: &str, code: i32, text: &str| {
        let ran = site.run(&["apply", name]);
        assert_eq!(ran.code, code, "{name}: {}", ran.err);
        assert!(ran.err.contains(text), "{name}: `{text}`: {}", ran.err);
        assert_eq!(process.generation(), site.all);
    };
    site.folder.write("bad.yaml", open_to_all(&site.upstream.url()).replace("up.*", "upp.*"));
    refused("bad.yaml", 1, "upp");
    refused("gone.yaml", 64, "cannot read");
    // Nobody ever writes into it: neither whoever asks nor the gateway may wait for that.
    let made = std::process::Command::new("mkfifo").arg(site.folder.at("pipe.yaml")).status();
    assert!(made.expect("mkfifo").success());
    refused("pipe.yaml", 64, "not a regular file");
    std::fs::rename(site.folder.at("pipe.yaml"), site.folder.at("table")).expect("rename");
    process.wait_for_state("rejected");
    site.folder.replace("table", site.folder.read("all"));
    process.wait_for_state("ok");
    let mut next = site.folder.read("fewer");
    next[8] += 1;
    site.folder.write("next", &next);
    refused("next", 1, "version");
    site.folder.write(
        "needs.yaml",
        open_to_all(&site.upstream.url())
            .replace("access_log: { path: off }", "access_log: { path: other.log }"),
    );
    refused("needs.yaml", 1, "needs a restart");
    let ran = site.run(&["apply", "fewer.yaml"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let nobody = strait(&site.folder.0, &["status", "--state", "nowhere"]);
    assert_eq!(nobody.status.code(), Some(5));
}

/// Whoever writes it has not finished: what is applied is one of the texts that were there, whole, or nothing.
#[test]
fn a_candidate_that_changes_while_it_is_read_is_applied_whole_or_not_at_all() {
    let site = Site::new();
    let texts = ["all.yaml", "fewer.yaml"].map(|name| site.folder.read(name));
    let generations = texts.clone().map(|text| {
        site.folder.write("moving.yaml", text);
        let out = strait(&site.folder.0, &["compile", "moving.yaml", "-o", "moved", "--json"]).stdout;
        let facts: Value = serde_json::from_slice(&out).expect("JSON");
        facts["generation"].as_str().unwrap().to_owned()
    });
    let process = site.serve();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // In place, so that a reader may meet half of it as well.
            for text in texts.iter().cycle().take_while(|_| !done.load(Ordering::SeqCst)) {
                site.folder.write("moving.yaml", text);
                std::thread::sleep(Duration::from_millis(60));
            }
        });
        // However this ends, the writer does.
        let _over = Raise(&done);
        let mut refused = 0;
        for _ in 0..12 {
            let ran = site.run(&["apply", "moving.yaml"]);
            let running = process.generation();
            match ran.code {
                0 => assert!(generations.contains(&running), "{running}: {}", ran.out),
                1 | 64 => refused += 1,
                code => panic!("{code}: {}{}", ran.out, ran.err),
            }
            assert!(running == site.all || generations.contains(&running), "{running}");
        }
        println!("{refused} of 12 refused");
    });
    assert_eq!(process.stop(), Some(0));
}
