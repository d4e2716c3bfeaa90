//! One child, many callers: everything that a server on stdin and stdout may do to them.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use strait_tests::client::{initialize, legacy, modern};
use strait_tests::gateway::{PATIENCE, assert_no_worker_panicked, wait_for};
use strait_tests::scripted::{echoed, json_reply, modern as modern_server};
use strait_tests::{Client, Gateway, Scripted, Setup};

use crate::child::{
    ERAS, KEY, SHORT, Script, ask, assert_recovers, assert_serves, config, doing, doing_as, everywhere,
    fault, is_gone, pid, said,
};

#[test]
fn clients_of_both_eras_list_and_call() {
    everywhere("", "", |gateway, _| assert_serves(gateway));
}

#[test]
fn lines_that_are_no_messages_are_skipped() {
    everywhere("", "", |gateway, _| {
        for id in 1..4 {
            assert_eq!(said(&ask(gateway, id, json!({"do": "noise"})), id), "after the noise");
        }
        assert_serves(gateway);
        wait_for("a notice", || {
            gateway.notices().iter().any(|text| text.contains("`kid`") && text.contains("starting up"))
        });
        assert!(gateway.notices().len() < 10, "an odd server does not flood the log");
    });
}

#[test]
fn a_child_that_exits_at_once_is_named_and_retried_and_harms_nobody_else() {
    let tools = json!([{"name": "other", "description": "d", "inputSchema": {"type": "object"}}]);
    for era in ERAS {
        for force_wrong_worker in [false, true] {
            let script = Script::write();
            std::fs::write(script.flag(), "").unwrap();
            let other = Scripted::start(modern_server(tools.clone(), |request| json_reply(&echoed(request))));
            let config =
                config(&format!("{}\n  other: {{ http: \"{}\" }}", script.kid(era, "", ""), other.url()));
            let gateway = Gateway::start(Setup { force_wrong_worker, ..Setup::new(config) });
            let why = (0..2).filter_map(|upstream| gateway.learning_fault(upstream)).collect::<Vec<_>>();
            assert_eq!(why, ["its process ended (exit code 7) before answering"]);
            let call_other = || {
                let call = modern(KEY, 1, "tools/call", json!({"name": "other", "arguments": {}}));
                Client::connect(gateway.address).roundtrip(call)
            };
            assert_eq!(said(&call_other(), 1), "{}");
            std::fs::remove_file(script.flag()).unwrap();
            assert_recovers(&gateway);
            // Now that its tools are known, calls say what happened.
            std::fs::write(script.flag(), "").unwrap();
            let message = fault(&ask(&gateway, 2, json!({"do": "exit"})), 2);
            assert_eq!(message, "upstream `kid`: its process ended (exit code 3) before answering");
            let until = Instant::now() + Duration::from_millis(700);
            while Instant::now() < until {
                let message = fault(&ask(&gateway, 3, json!({})), 3);
                assert!(message.contains("ended ("), "{message}");
                assert_eq!(said(&call_other(), 1), "{}");
            }
            let message = fault(&ask(&gateway, 4, json!({})), 4);
            assert!(message.contains("exit code 7"), "{message}");
            std::fs::remove_file(script.flag()).unwrap();
            assert_recovers(&gateway);
        }
    }
}

#[test]
fn a_child_that_exits_during_calls_is_named_and_comes_back() {
    everywhere("", "", |gateway, _| {
        let mut bystander = Client::connect(gateway.address);
        bystander.send(doing(8, json!({"do": "never"})));
        // The bystander's call has arrived when a later one is answered.
        let first = pid(gateway);
        for (how, code) in [("exit", 3), ("half", 4)] {
            let message = fault(&ask(gateway, 7, json!({"do": how})), 7);
            let expected = format!("upstream `kid`: its process ended (exit code {code}) before answering");
            assert_eq!(message, expected);
            if how == "exit" {
                assert_eq!(fault(&bystander.answer().expect("an answer"), 8), expected);
            }
            assert_recovers(gateway);
        }
        assert_ne!(pid(gateway), first);
        assert!(is_gone(first), "reaped");
    });
}

#[test]
fn a_call_that_is_never_answered_times_out() {
    everywhere("", SHORT, |gateway, era| {
        let mut client = Client::connect(gateway.address);
        let session = initialize(&mut client, KEY, "2025-11-25");
        for arguments in [json!({"do": "never"}), json!({"do": "wrong id"})] {
            let params = json!({"name": "do", "arguments": arguments});
            for call in [doing(5, arguments.clone()), legacy(KEY, &session, 5, "tools/call", params)] {
                let begun = Instant::now();
                let message = fault(&client.roundtrip(call), 5);
                assert_eq!(message, "upstream `kid`: no first byte of an answer within 1000 ms");
                let took = begun.elapsed();
                assert!(took >= Duration::from_millis(950) && took < PATIENCE, "{took:?}");
            }
            assert_serves(gateway);
        }
        let seen = seen(gateway);
        let cancelled = seen["cancelled"].as_array().unwrap();
        assert_eq!(cancelled.len(), 4, "{era}: told that nobody waits any more: {seen}");
        assert_eq!(cancelled[..2], seen["waiting"].as_array().unwrap()[..]);
    });
}

/// Which calls the child has not answered, and which it was told to cancel.
fn seen(gateway: &Gateway) -> Value {
    serde_json::from_str(&said(&ask(gateway, 6, json!({"do": "seen"})), 6)).expect("JSON")
}

#[test]
fn a_second_answer_to_the_same_call_is_dropped() {
    everywhere("", "", |gateway, _| {
        let mut client = Client::connect(gateway.address);
        for id in 1..20 {
            assert_eq!(said(&client.roundtrip(doing(id, json!({"do": "twice"}))), id), "first");
        }
        assert_serves(gateway);
    });
}

#[test]
fn answers_out_of_order_find_their_callers() {
    const CALLS: i64 = 50;
    everywhere("", "", |gateway, _| {
        let mut clients: Vec<Client> = (0..CALLS).map(|_| Client::connect(gateway.address)).collect();
        let arguments = |number: i64| json!({"do": "reverse", "count": CALLS, "number": number});
        for (number, client) in (0..CALLS).zip(&mut clients) {
            // Every third has the same id: ids are the clients' own.
            client.send(doing(number % 3, arguments(number)));
        }
        for (number, client) in (0..CALLS).zip(&mut clients) {
            let text = said(&client.answer().expect("an answer"), number % 3);
            assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), arguments(number));
        }
        assert_serves(gateway);
    });
}

#[test]
fn a_large_answer_arrives_whole() {
    everywhere("", "", |gateway, _| {
        let mut client = Client::connect(gateway.address);
        let bytes = 2 * 1024 * 1024;
        for id in 1..3 {
            let text = said(&client.roundtrip(doing(id, json!({"do": "large", "bytes": bytes}))), id);
            assert!(text.len() == bytes && text.bytes().all(|byte| byte == b'x'));
        }
        let text = "y".repeat(900 * 1024);
        let answer = client.roundtrip(doing(3, json!({"text": text})));
        assert!(said(&answer, 3).contains(&text), "a large call as well");
        assert_serves(gateway);
    });
}

#[test]
fn a_childs_own_requests_are_answered_by_the_gateway() {
    everywhere("", "", |gateway, _| {
        let answer = ask(gateway, 4, json!({"do": "ask"}));
        assert_eq!(answer.messages().len(), 1, "its requests are not the caller's");
        let answers: Value = serde_json::from_str(&said(&answer, 4)).unwrap();
        assert_eq!(answers["ping-1"], json!({"jsonrpc": "2.0", "id": "ping-1", "result": {}}));
        assert_eq!(answers["77"]["id"], 77);
        assert_eq!(answers["77"]["error"]["code"], -32601);
        assert_serves(gateway);
    });
}

#[test]
fn the_same_progress_token_of_two_clients_is_two_tokens() {
    everywhere("", "", |gateway, _| {
        for token in [json!("tok"), json!(1)] {
            let call = |who: &str| json!({"name": "do", "arguments": {"do": "progress", "who": who}, "_meta": {"progressToken": token}});
            let (mut ann, mut bob) = (Client::connect(gateway.address), Client::connect(gateway.address));
            let session = initialize(&mut bob, "key-small", "2025-11-25");
            ann.send(modern(KEY, 5, "tools/call", call("ann")));
            bob.send(legacy("key-small", &session, 5, "tools/call", call("bob")));
            for (client, who) in [(&mut ann, "ann"), (&mut bob, "bob")] {
                let answer = client.answer().expect("an answer");
                assert_eq!(said(&answer, 5), who);
                let messages = answer.messages();
                assert_eq!(messages.len(), 4, "{messages:?}");
                for (step, message) in messages[..3].iter().enumerate() {
                    let params = json!({"progressToken": token, "progress": step, "message": who});
                    assert_eq!(message["params"], params);
                }
            }
        }
        assert_serves(gateway);
    });
}

#[test]
fn progress_that_nobody_asked_for_is_dropped() {
    everywhere("", "", |gateway, _| {
        let answer = ask(gateway, 3, json!({"do": "unasked progress"}));
        assert_eq!(said(&answer, 3), "done");
        assert_eq!(answer.messages().len(), 1, "{:?}", answer.messages());
    });
}

#[test]
fn a_client_that_goes_away_cancels_its_call() {
    everywhere("", "", |gateway, era| {
        let mut client = Client::connect(gateway.address);
        client.send(doing(5, json!({"do": "never"})));
        let seen = || seen(gateway);
        wait_for("the call to arrive", || seen()["waiting"].as_array().unwrap().len() == 1);
        assert_eq!(seen()["cancelled"], json!([]), "{era}");
        drop(client);
        wait_for("the child to be told", || seen()["cancelled"] == seen()["waiting"]);
        assert_serves(gateway);
    });
}

#[test]
fn a_child_inherits_nothing_but_five_variables() {
    for force_wrong_worker in [false, true] {
        // A shell looks at itself: an installed `python3` may be a script that adds variables.
        let script = Script::write();
        let path = script.path().display().to_string();
        let look = format!("cat /proc/$$/environ >{path}.environ; exec python3 {path} modern");
        let stdio = format!("{{ command: sh, args: [\"-c\", \"{look}\"], env: {{ TOLD: word }} }}");
        let config = config(&format!("  kid: {{ stdio: {stdio} }}"));
        let gateway = Gateway::start(Setup { force_wrong_worker, ..Setup::new(config) });
        let told = ask(&gateway, 1, json!({"do": "variable", "name": "TOLD"}));
        assert_eq!(said(&told, 1), "word");
        let environ = std::fs::read(format!("{path}.environ")).unwrap();
        let names = environ.split(|byte| *byte == 0).filter(|pair| !pair.is_empty());
        let names =
            names.map(|pair| String::from_utf8_lossy(pair.split(|byte| *byte == b'=').next().unwrap()));
        let mut names: Vec<String> = names.map(|name| name.into_owned()).collect();
        names.sort_unstable();
        let allowed = ["HOME", "LANG", "PATH", "TMPDIR", "USER"];
        let mut expected: Vec<&str> =
            allowed.into_iter().filter(|name| std::env::var_os(name).is_some()).chain(["TOLD"]).collect();
        expected.sort_unstable();
        assert_eq!(names, expected);
        assert_eq!(said(&ask(&gateway, 2, json!({"do": "fds"})), 2), "[0, 1, 2]");
    }
}

#[test]
fn no_child_outlives_its_gateway() {
    let script = Script::write();
    for era in ERAS {
        for force_wrong_worker in [false, true] {
            for last_deed in ["pid", "stubborn", "leave a grandchild"] {
                let config = config(&script.kid(era, "", ""));
                let gateway = Gateway::start(Setup { force_wrong_worker, ..Setup::new(config) });
                let child = pid(&gateway);
                let other: u32 = said(&ask(&gateway, 1, json!({"do": last_deed})), 1).parse().unwrap();
                gateway.stop();
                assert!(is_gone(child), "{last_deed}");
                // Its parent is init by now, which may take its time to reap it.
                wait_for("the grandchild to be gone", || is_gone(other) || is_zombie(other));
                assert_no_worker_panicked();
            }
        }
    }
}

fn is_zombie(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'))
}

#[test]
fn principals_share_a_child_only_when_told_to() {
    for (per, same) in [("shared", true), ("principal", false)] {
        everywhere(&format!(", per: {per}"), "", |gateway, _| {
            let pid_for = |key| {
                let answer =
                    Client::connect(gateway.address).roundtrip(doing_as(key, 1, json!({"do": "pid"})));
                said(&answer, 1)
            };
            let (ann, sam) = (pid_for(KEY), pid_for("key-small"));
            assert_eq!(ann == sam, same, "per: {per}");
            assert_eq!(pid_for(KEY), ann, "and keeps it");
            assert_eq!(pid_for("key-small"), sam);
        });
    }
}

#[test]
fn the_child_that_was_idle_longest_gives_way_when_all_places_are_taken() {
    let script = Script::write();
    for era in ERAS {
        let config = config(&script.kid(era, ", per: principal, max: 1", ""));
        let gateway = Gateway::start(Setup { workers: 1, ..Setup::new(config) });
        let ask_as = |key, arguments| Client::connect(gateway.address).roundtrip(doing_as(key, 1, arguments));
        let pid_for = |key| said(&ask_as(key, json!({"do": "pid"})), 1);
        // The child of our own questions gives way to ann's, hers to sam's, and back.
        let ann = pid_for(KEY);
        let sam = pid_for("key-small");
        assert_ne!(ann, sam);
        wait_for("ann's child to be gone", || is_gone(ann.parse().unwrap()));
        let again = pid_for(KEY);
        assert!(again != ann && again != sam, "started anew");
        wait_for("sam's child to be gone", || is_gone(sam.parse().unwrap()));
        // One that works on a call stays.
        let mut busy = Client::connect(gateway.address);
        busy.send(doing(5, json!({"do": "never"})));
        wait_for("the call to arrive", || {
            let seen = said(&ask_as(KEY, json!({"do": "seen"})), 1);
            serde_json::from_str::<Value>(&seen).unwrap()["waiting"].as_array().unwrap().len() == 1
        });
        let message = fault(&ask_as("key-small", json!({"do": "pid"})), 1);
        assert!(message.contains("busy: 1 calls"), "{message}");
        assert_eq!(pid_for(KEY), again);
        drop(busy);
    }
}

#[test]
fn sessions_have_children_of_their_own_when_told_to() {
    everywhere(", per: session", "", |gateway, _| {
        let mut client = Client::connect(gateway.address);
        let mut pid_in = |session: &str| {
            let params = json!({"name": "do", "arguments": {"do": "pid"}});
            said(&client.roundtrip(legacy(KEY, session, 1, "tools/call", params)), 1)
        };
        let mut other = Client::connect(gateway.address);
        let sessions = [(); 2].map(|()| initialize(&mut other, KEY, "2025-11-25"));
        let pids = [pid_in(&sessions[0]), pid_in(&sessions[1])];
        assert_ne!(pids[0], pids[1]);
        assert_eq!(pid_in(&sessions[0]), pids[0]);
    });
}
