//! What stays after a restart, a hangup or a kill: the last act wins, and neither of these is one.

use std::fs;

use serde_json::{Value, json};
use strait_tests::gateway::wait_for;

use crate::gateway::Site;

#[test]
fn what_was_applied_stays_until_the_file_changes() {
    let site = Site::new();
    let process = site.serve();
    assert_eq!(site.run(&["apply", "fewer.yaml"]).code, 0);
    let state = |expected: &str| {
        let rollout = site.json(&["status"])["rollout"].clone();
        assert_eq!(rollout["file"]["state"], expected, "{rollout}");
    };
    state("overruled");
    // Everything is read again: the file says what it said.
    process.hang_up();
    wait_for("the file to be read", || process.reload()["unchanged"] == 1);
    assert_eq!(process.generation(), site.fewer);
    assert_eq!(process.stop(), Some(0));
    let mut process = site.serve();
    assert_eq!(process.generation(), site.fewer);
    assert_eq!(process.tools(""), ["echo", "slow"]);
    state("overruled");
    let text = site.run(&["status"]).out;
    assert!(text.contains("says something else") && text.contains(&site.all), "{text}");
    process.kill();
    let process = site.serve();
    assert_eq!(process.generation(), site.fewer);
    // A change of the file is the newer act.
    let (third, generation) =
        site.folder.compile(&crate::process::open_but_for(&site.upstream.url(), "slow"));
    site.folder.replace("table", third);
    process.wait_for_generation(&generation);
    state("served");
    assert_eq!(site.history()[0]["act"], "file");
    // Back to what an operator had put into use, and then to what the file says.
    assert_eq!(site.json(&["rollback"])["to"], site.fewer);
    state("overruled");
    assert_eq!(site.run(&["apply", "to-compile.yaml"]).code, 0);
    state("served");
}

#[test]
fn a_file_that_changed_while_nobody_served_wins() {
    let site = Site::new();
    let process = site.serve();
    assert_eq!(site.run(&["apply", "fewer.yaml"]).code, 0);
    assert_eq!(process.stop(), Some(0));
    let (third, generation) =
        site.folder.compile(&crate::process::open_but_for(&site.upstream.url(), "slow"));
    site.folder.replace("table", third);
    let process = site.serve();
    assert_eq!(process.generation(), generation);
    assert_eq!(site.history()[0]["act"], "start");
    assert_eq!(process.stop(), Some(0));
    // A bad one does not: what was served last is served on.
    site.folder.replace("table", "no table");
    assert_eq!(site.serve().generation(), generation);
}

#[test]
fn a_torn_end_of_the_history_is_told_and_a_changed_line_is_found() {
    let site = Site::new();
    let process = site.serve();
    assert_eq!(site.run(&["apply", "fewer.yaml"]).code, 0);
    assert_eq!(process.stop(), Some(0));
    let path = site.rollout().join("history");
    let whole = fs::read(&path).unwrap();
    // As a power cut leaves it: the last line is not there to its end, so that the apply never was.
    fs::write(&path, &whole[..whole.len() - 7]).unwrap();
    let process = site.serve();
    assert_eq!(process.generation(), site.all);
    assert!(process.log().contains("not finished"), "{}", process.log());
    let rollout = site.json(&["status"])["rollout"].clone();
    assert!(rollout["history"]["found"].as_str().unwrap().contains("not finished"), "{rollout}");
    assert!(site.json(&["history"])["torn"].as_u64().unwrap() > 0);
    assert_eq!(site.run(&["apply", "fewer.yaml"]).code, 0);
    let told = site.json(&["history"]);
    assert_eq!((&told["torn"], &told["verified"]), (&json!(0), &json!(true)), "{told}");
    assert!(told["entries"][0]["torn"].as_u64().unwrap() > 0, "{told}");
    // Somebody takes an act out of a history that is read: found at once.
    let whole = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    for spoiled in [
        whole.replacen("\"apply\"", "\"start\"", 1),
        format!("{}\n", lines[1..].join("\n").replacen("\"n\":2", "\"n\":1", 1)),
        format!("{}\n{}\n", lines[1], lines[0]),
    ] {
        fs::write(&path, spoiled).unwrap();
        let ran = site.run(&["history"]);
        assert_eq!(ran.code, 1, "{}{}", ran.out, ran.err);
        assert!(ran.err.contains("broken"), "{}", ran.err);
    }
    // And after a start it is put aside, kept for whoever looks, and said.
    assert_eq!(process.stop(), Some(0));
    let process = site.serve();
    assert_eq!(process.generation(), site.all);
    assert!(process.log().contains("put aside"), "{}", process.log());
    let told = site.json(&["history"]);
    assert_eq!((&told["verified"], &told["total"]), (&Value::Bool(true), &json!(1)));
}
