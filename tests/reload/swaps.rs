//! What a swap changes, and what it leaves alone.

use serde_json::json;
use strait_tests::client::{initialize, legacy};
use strait_tests::gateway::wait_for;
use strait_tests::scripted::{Gate, echoed, event, event_stream, json_reply, modern as script, tools};
use strait_tests::{Scripted, Step};

use crate::process::*;

fn echoes() -> Scripted {
    Scripted::modern(|request| json_reply(&echoed(request)))
}

#[test]
fn a_hangup_and_a_replaced_file_swap_the_table() {
    let (folder, upstream) = (Folder::new(), echoes());
    let (all, first) = folder.compile(&open_to_all(&upstream.url()));
    let (fewer, second) = folder.compile(&open_but_for(&upstream.url(), "secret"));
    folder.write("table", &all);
    let process = Process::serve(&folder, "table");
    assert_eq!(process.generation(), first);
    process.wait_for_tools("", &["echo", "slow", "secret"]);
    // Renamed over, nobody says a word.
    folder.replace("table", &fewer);
    process.wait_for_generation(&second);
    process.wait_for_tools("", &["echo", "slow"]);
    // Written in place, and said so.
    folder.write("table", &all);
    process.hang_up();
    process.wait_for_generation(&first);
    process.wait_for_tools("", &["echo", "slow", "secret"]);
    for text in
        [format!("generation {first} -> {second}, read in "), "in use by every worker after ".to_owned()]
    {
        assert!(process.log().contains(&text), "`{text}`: {}", process.log());
    }
    assert_eq!(process.reload()["adopted"], 2);
    assert_eq!(process.stop(), Some(0));
}

#[test]
fn the_same_table_again_is_no_swap() {
    let (folder, upstream) = (Folder::new(), echoes());
    let (all, _) = folder.compile(&open_to_all(&upstream.url()));
    folder.write("table", &all);
    let process = Process::serve(&folder, "table");
    process.hang_up();
    wait_for("the file to be read", || process.reload()["unchanged"] == 1);
    folder.replace("table", &all);
    wait_for("the file to be read", || process.reload()["unchanged"] == 2);
    assert_eq!(
        (process.reload()["adopted"].clone(), process.reload()["rejected"].clone()),
        (0.into(), 0.into())
    );
    assert!(process.log().contains("nothing to reload"), "{}", process.log());
}

#[test]
fn hangups_in_a_row_end_with_the_newest_file() {
    let (folder, upstream) = (Folder::new(), echoes());
    let (all, first) = folder.compile(&open_to_all(&upstream.url()));
    let (fewer, second) = folder.compile(&open_but_for(&upstream.url(), "secret"));
    folder.write("table", &all);
    let process = Process::serve(&folder, "table");
    for _ in 0..5 {
        folder.replace("table", &fewer);
        process.hang_up();
        process.hang_up();
        process.wait_for_generation(&second);
        process.hang_up();
        folder.replace("table", &all);
        process.hang_up();
        process.wait_for_generation(&first);
    }
    assert_eq!(process.reload()["rejected"], 0);
}

#[test]
fn a_configuration_is_compiled_again_when_any_part_of_it_changes() {
    let (folder, upstream) = (Folder::new(), echoes());
    let include = |rules: &str| format!("policy:\n  default: deny\n  rules:\n{rules}");
    let all = "    - { id: all, allow: [\"*\"] }\n";
    folder.write("rules.yaml", include(all));
    folder.write(
        "strait.yaml",
        config(&format!(
            "include: [rules.yaml]\nupstreams:\n  up: {{ http: \"{}\" }}\nservers:\n  default: {{ path: /mcp, tools: \
             [\"up.*\"] }}\n",
            upstream.url()
        )),
    );
    let process = Process::start(&folder, &["up", "strait.yaml"]);
    process.wait_for_tools("", &["echo", "slow", "secret"]);
    folder.write("rules.yaml", include(&format!("{all}    - {{ id: no, deny: [\"*.slow\"] }}\n")));
    process.wait_for_tools("", &["echo", "secret"]);
    // A part that was renamed over is watched on.
    folder.replace("rules.yaml", include(all));
    process.wait_for_tools("", &["echo", "slow", "secret"]);
    let left = std::fs::read_dir(folder.at("state")).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = left.filter(|name| name.to_string_lossy().starts_with("candidate")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn an_upstream_that_stays_keeps_its_connections_wherever_it_moves() {
    let folder = Folder::new();
    let (stays, goes, comes) = (echoes(), echoes(), echoes());
    let table = |upstreams: &str| {
        folder.compile(&config(&format!(
            "upstreams:\n{upstreams}servers:\n  default: {{ path: /mcp, naming: prefix, tools: [\"*\"] }}\npolicy:\n  default: \
             deny\n  rules:\n    - {{ id: all, allow: [\"*\"] }}\n"
        )))
    };
    let at = |name: &str, upstream: &Scripted| format!("  {name}: {{ http: \"{}\" }}\n", upstream.url());
    let (before, _) = table(&format!("{}{}", at("goes", &goes), at("stays", &stays)));
    let (after, second) = table(&format!("{}{}", at("stays", &stays), at("comes", &comes)));
    folder.write("table", before);
    let process = Process::serve(&folder, "table");
    let mut client = process.client();
    // One worker serves this connection, so that its pool is the one that is looked at.
    for _ in 0..3 {
        let answer = call(&mut client, "", "stays__echo", json!({"n": 1}));
        assert!(answer["result"].is_object(), "{answer}");
    }
    let connections = stays.connections();
    let lists = stays.arrived("tools/list").len();
    folder.replace("table", after);
    process.wait_for_generation(&second);
    let listed =
        ["stays__echo", "stays__slow", "stays__secret", "comes__echo", "comes__slow", "comes__secret"];
    process.wait_for_tools("", &listed);
    for _ in 0..3 {
        let answer = call(&mut client, "", "stays__echo", json!({"n": 2}));
        assert!(answer["result"].is_object(), "{answer}");
        let answer = call(&mut client, "", "comes__echo", json!({"n": 2}));
        assert!(answer["result"].is_object(), "{answer}");
    }
    assert_eq!(stays.connections(), connections, "its connections were not used again");
    assert_eq!(stays.arrived("tools/list").len(), lists, "its lists were asked for again");
    let gone = call(&mut client, "", "goes__echo", json!({}));
    assert_eq!(gone["error"]["code"], -32602, "{gone}");
    assert_eq!(goes.arrived("tools/call").len(), 0);
}

#[test]
fn a_changed_upstream_shows_its_last_lists_until_it_has_answered() {
    let folder = Folder::new();
    let gate = Gate::default();
    let (old, held) = (echoes(), gate.clone());
    let others = json!([{"name": "other", "description": "d", "inputSchema": {"type": "object"}}]);
    let answers = script(others, |request| json_reply(&echoed(request)));
    let new = Scripted::start(move |request| {
        let mut steps = answers(request);
        if request.body["method"] == "tools/list" {
            steps.insert(0, Step::Await(held.clone()));
        }
        steps
    });
    let (before, _) = folder.compile(&open_to_all(&old.url()));
    let (after, second) = folder.compile(&open_to_all(&new.url()));
    folder.write("table", before);
    let process = Process::serve(&folder, "table");
    process.wait_for_tools("", &["echo", "slow", "secret"]);
    folder.replace("table", after);
    process.wait_for_generation(&second);
    assert_eq!(process.tools(""), ["echo", "slow", "secret"]);
    assert_eq!(process.ready()["upstreams"][0]["state"], "stale");
    gate.open();
    process.wait_for_tools("", &["other"]);
    assert_eq!(old.arrived("tools/call").len() + new.arrived("tools/call").len(), 0);
}

#[test]
fn a_call_ends_on_the_upstream_and_the_rules_it_began_with() {
    let folder = Folder::new();
    let gate = Gate::default();
    let held = gate.clone();
    let old = Scripted::modern(move |request| {
        let result = json!({"jsonrpc": "2.0", "id": request.body["id"], "result": {"content": []}});
        let note = json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {
            "progressToken": request.body["params"]["_meta"]["progressToken"], "progress": 1}});
        vec![
            Step::Send(event_stream()),
            Step::Send(event(&note)),
            Step::Await(held.clone()),
            Step::Send(event(&result)),
            Step::Send(b"0\r\n\r\n".to_vec()),
        ]
    });
    let new = echoes();
    let (before, first) = folder.compile(&open_to_all(&old.url()));
    // Another upstream behind the name, and the tool denied as well.
    let (after, second) = folder.compile(&open_but_for(&new.url(), "slow"));
    folder.write("table", before);
    let process = Process::serve(&folder, "table");
    let mut client = process.client();
    client.send(modern(
        "",
        7,
        "tools/call",
        json!({"name": "slow", "arguments": {}, "_meta": {"progressToken": "t"}}),
    ));
    client.until_unread(b"notifications/progress");
    folder.replace("table", after);
    process.wait_for_generation(&second);
    let denied = call(&mut process.client(), "", "slow", json!({}));
    assert_eq!(denied["error"]["code"], -32602, "{denied}");
    assert_eq!(process.ready()["snapshots"], 2, "the call in flight holds {first}");
    gate.open();
    let rest = client.until_unread(b"\"result\"");
    assert!(String::from_utf8_lossy(&rest).contains("\"id\":7"), "{}", String::from_utf8_lossy(&rest));
    client.until_unread(b"0\r\n\r\n");
    wait_for("the old table to be freed", || process.ready()["snapshots"] == 1);
    assert_eq!(new.arrived("tools/call").len(), 0);
}

#[test]
fn a_session_lives_as_long_as_its_server() {
    let (folder, upstream) = (Folder::new(), echoes());
    let servers = |servers: &str| {
        folder.compile(&config(&format!(
            "upstreams:\n  up: {{ http: \"{}\" }}\nservers:\n{servers}policy:\n  default: deny\n  rules:\n    - {{ id: all, \
             allow: [\"*\"] }}\n",
            upstream.url()
        )))
    };
    let main = "  main: { path: /mcp, tools: [\"up.*\"] }\n";
    let (alone, first) = servers(main);
    let (moved, second) = servers(&format!("  first: {{ path: /first, tools: [\"up.echo\"] }}\n{main}"));
    let (other, third) = servers("  other: { path: /mcp, tools: [\"up.*\"] }\n");
    folder.write("table", &alone);
    let process = Process::serve(&folder, "table");
    let mut client = process.client();
    let session = initialize(&mut client, "", "2025-11-25");
    let mut listed = |expected: u16, what: &str| {
        let answer = client.roundtrip(legacy("", &session, 2, "tools/list", json!({})));
        assert_eq!(answer.status, expected, "{what}: {}", String::from_utf8_lossy(&answer.body));
    };
    listed(200, "at first");
    for (table, generation) in [(&moved, &second), (&alone, &first), (&moved, &second)] {
        folder.replace("table", table);
        process.wait_for_generation(generation);
        listed(200, "its server stands elsewhere in the table");
    }
    folder.replace("table", &other);
    process.wait_for_generation(&third);
    listed(404, "another server at its path");
}

#[test]
fn children_stay_with_an_upstream_that_stays_and_end_with_one_that_goes() {
    let folder = Folder::new();
    let program = env!("CARGO_BIN_EXE_strait");
    let table = |upstreams: &[&str]| {
        let line = |name: &&str| {
            format!(
                "  {name}: {{ stdio: {{ command: \"{program}\", args: [sample, stdio], env: {{ NAME: {name} }} }} }}\n"
            )
        };
        let upstreams: String = upstreams.iter().map(line).collect();
        folder.compile(&config(&format!(
            "upstreams:\n{upstreams}servers:\n  default: {{ path: /mcp, naming: prefix, tools: [\"*\"] }}\npolicy:\n  default: \
             deny\n  rules:\n    - {{ id: all, allow: [\"*\"] }}\n"
        )))
    };
    let (both, _) = table(&["goes", "stays"]);
    let (one, second) = table(&["stays"]);
    folder.write("table", both);
    let process = Process::serve(&folder, "table");
    let children = || {
        let children =
            std::fs::read_dir(format!("/proc/{}/task", process.pid())).unwrap().flatten().flat_map(|task| {
                let text = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
                text.split_whitespace().map(|pid| pid.parse::<u32>().unwrap()).collect::<Vec<_>>()
            });
        let mut all: Vec<(String, u32)> = children
            .filter_map(|pid| {
                let environ = std::fs::read_to_string(format!("/proc/{pid}/environ")).ok()?;
                let name = environ.split('\0').find_map(|line| line.strip_prefix("NAME="))?.to_owned();
                Some((name, pid))
            })
            .collect();
        all.sort();
        all
    };
    wait_for("both children", || children().len() == 2);
    let stays = children()[1].1;
    folder.replace("table", one);
    process.wait_for_generation(&second);
    wait_for("the child of the upstream that went to end", || children() == [("stays".to_owned(), stays)]);
    assert!(call(&mut process.client(), "", "stays__greet", json!({"name": "Ann"}))["result"].is_object());
    assert_eq!(children(), [("stays".to_owned(), stays)]);
}

#[test]
fn a_hangup_while_it_starts_is_heard_and_kills_nobody() {
    let folder = Folder::new();
    let gate = Gate::default();
    let held = gate.clone();
    let answers = script(tools(), |request| json_reply(&echoed(request)));
    let upstream = Scripted::start(move |request| {
        let mut steps = answers(request);
        if request.body["method"] == "tools/list" {
            steps.insert(0, Step::Await(held.clone()));
        }
        steps
    });
    let (all, _) = folder.compile(&open_to_all(&upstream.url()));
    let (fewer, second) = folder.compile(&open_but_for(&upstream.url(), "secret"));
    folder.write("table", all);
    let (child, log) = Process::spawn(&folder, &["serve", "table"]);
    wait_for("it to ask its upstream", || !upstream.arrived("tools/list").is_empty());
    folder.replace("table", fewer);
    signal(child.id(), "HUP");
    wait_for("the swap", || std::fs::read_to_string(&log).unwrap().contains(&format!("-> {second}")));
    gate.open();
    let process = Process::opened(child, log);
    process.wait_for_tools("", &["echo", "slow"]);
}

#[test]
fn a_hangup_while_it_stops_changes_nothing() {
    let folder = Folder::new();
    let gate = Gate::default();
    let held = gate.clone();
    let upstream = Scripted::modern(move |request| {
        let mut steps = json_reply(&echoed(request));
        steps.insert(0, Step::Await(held.clone()));
        steps
    });
    let (all, _) = folder.compile(&open_to_all(&upstream.url()));
    let (fewer, _) = folder.compile(&open_but_for(&upstream.url(), "slow"));
    folder.write("table", all);
    let mut process = Process::serve(&folder, "table");
    let mut client = process.client();
    client.send(modern("", 1, "tools/call", json!({"name": "slow", "arguments": {"a": 1}})));
    wait_for("the call to arrive", || upstream.arrived("tools/call").len() == 1);
    process.signal("TERM");
    process.wait_for_log("stopping");
    folder.replace("table", fewer);
    process.hang_up();
    process.wait_for_log("stopping already");
    gate.open();
    assert!(client.answer().expect("an answer").json()["result"].is_object());
    assert_eq!(process.ended(), Some(0));
    assert!(!process.log().contains("reloaded"), "{}", process.log());
}
