//! OAuth client credentials: how a token is asked for, shown, renewed, and missed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use serde_json::json;
use strait_tests::gateway::wait_for;

use crate::gateway::*;
use crate::issuer::{Issuer, Script};
use crate::process::{Folder, call, strait};

#[test]
fn an_upstream_is_shown_a_token_that_was_asked_for() {
    let tokens =
        Tokens::start(|form, _| token(&format!("for-{}", form.get("resource").unwrap_or("none")), 3600));
    let upstream = guarded(|line| line.starts_with("Bearer for-"));
    let basic = oauth(&tokens.url());
    let post = basic.replace(
        " }",
        ", auth: post, scope: [crm, \"crm:read\"], resource: \"https://crm.internal/mcp\", audience: crm }",
    );
    let url = upstream.url();
    let folder = Folder::new();
    let process = serve(
        &folder,
        &open(&format!(
            "  basic: {{ http: \"{url}?basic\", credential: {{ {basic} }} }}\n  post: {{ http: \"{url}?post\", credential: {{ {post} }} }}\n"
        )),
    );
    let mut client = process.client();
    for (name, line) in [("basic", "Bearer for-none"), ("post", "Bearer for-https://crm.internal/mcp")] {
        let answer = call(&mut client, "", &format!("{name}__echo"), json!({"x": 1}));
        assert!(answer["result"].is_object(), "{name}: {answer}");
        let arrived = upstream.arrived("tools/call");
        assert_eq!(arrived.last().unwrap().header("authorization"), Some(line), "{name}");
    }
    // Lists were asked for with it as well: nothing was shown nothing.
    for method in ["server/discover", "tools/list", "tools/call"] {
        let all = upstream.arrived(method);
        assert!(!all.is_empty() && all.iter().all(|one| one.header("authorization").is_some()), "{method}");
    }
    let asked = tokens.asked();
    assert_eq!(asked.len(), 2, "each is asked for once, whatever the number of workers: {asked:?}");
    let post = asked.iter().find(|form| form.get("client_id").is_some()).expect("in the body");
    let basic = asked.iter().find(|form| form.get("client_id").is_none()).expect("in a header");
    assert!(asked.iter().all(|form| form.get("grant_type") == Some("client_credentials")));
    let pair = base64::engine::general_purpose::STANDARD.encode("str%3Aait:kanarie-client%20%25%26%2B");
    assert!(basic.head.contains(&format!("authorization: Basic {pair}")), "{}", basic.head);
    assert_eq!((basic.get("scope"), basic.get("resource"), basic.get("audience")), (None, None, None));
    assert!(!post.head.to_lowercase().contains("authorization"));
    assert_eq!((post.get("client_id"), post.get("client_secret")), (Some("str:ait"), Some(SECRET)));
    assert_eq!(
        (post.get("scope"), post.get("resource"), post.get("audience")),
        (Some("crm crm:read"), Some("https://crm.internal/mcp"), Some("crm"))
    );
    let shown = standing(&process, "tokens", "post");
    assert!(shown["not_after"].as_u64().unwrap() > 1_700_000_000 && shown["error"].is_null(), "{shown}");
    let metrics = process.ask("/metrics").1;
    assert!(
        metrics.contains("strait_upstream_token_last_request_successful{upstream=\"post\"} 1"),
        "{metrics}"
    );
}

#[test]
fn a_token_is_renewed_before_it_ends_and_no_request_fails() {
    let newest = Arc::new(AtomicUsize::new(0));
    let (gives, takes) = (newest.clone(), newest.clone());
    // Two seconds each; the last two are taken, as by a server that looks at their ends.
    let tokens = Tokens::start(move |_, count| {
        gives.store(count, Ordering::SeqCst);
        token(&format!("token-{count}"), 2)
    });
    let upstream = guarded(move |line| {
        let newest = takes.load(Ordering::SeqCst);
        [newest, newest.saturating_sub(1)].iter().any(|number| line == format!("Bearer token-{number}"))
    });
    let folder = Folder::new();
    let credential = oauth(&tokens.url());
    let process = serve(
        &folder,
        &open(&format!("  up: {{ http: \"{}\", credential: {{ {credential} }} }}\n", upstream.url())),
    );
    let mut client = process.client();
    let mut calls = 0;
    while newest.load(Ordering::SeqCst) < 4 {
        let answer = call(&mut client, "", "up__echo", json!({"x": 1}));
        assert!(answer["result"].is_object(), "after {calls}: {answer}");
        calls += 1;
    }
    assert!(calls > 10);
    // The same upstream all the while.
    assert_eq!(upstream.arrived("server/discover").len(), 1);
}

#[test]
fn a_token_that_is_not_taken_is_replaced() {
    let good = Arc::new(AtomicUsize::new(0));
    let takes = good.clone();
    let tokens = Tokens::start(|_, count| token(&format!("token-{count}"), 3600));
    let upstream = guarded(move |line| line == format!("Bearer token-{}", takes.load(Ordering::SeqCst)));
    let folder = Folder::new();
    let credential = oauth(&tokens.url());
    let process = serve(
        &folder,
        &open(&format!("  up: {{ http: \"{}\", credential: {{ {credential} }} }}\n", upstream.url())),
    );
    let mut client = process.client();
    assert!(call(&mut client, "", "up__echo", json!({}))["result"].is_object());
    assert_eq!(tokens.asked().len(), 1);
    // Somebody revoked it.
    good.store(1, Ordering::SeqCst);
    let answer = call(&mut client, "", "up__echo", json!({}));
    assert_eq!(answer["error"]["data"]["reason"], "upstream_status", "{answer}");
    assert!(answer["error"]["message"].as_str().unwrap().contains("HTTP 401"), "{answer}");
    wait_for("a new token", || call(&mut client, "", "up__echo", json!({}))["result"].is_object());
    assert_eq!(tokens.asked().len(), 2, "however many requests were refused");
}

#[test]
fn while_the_endpoint_is_down_the_last_token_stands_and_then_its_upstream_alone_is_not_asked() {
    let is_up = Arc::new(AtomicBool::new(true));
    let (answers, count) = (is_up.clone(), Arc::new(AtomicUsize::new(0)));
    let tokens = Tokens::start(move |_, _| match answers.load(Ordering::SeqCst) {
        true => token(&format!("token-{}", count.fetch_add(1, Ordering::SeqCst)), 6),
        false => says(503, &json!({"error": "temporarily_unavailable"})),
    });
    let upstream = guarded(|_| true);
    let folder = Folder::new();
    let credential = oauth(&tokens.url());
    let url = upstream.url();
    let process = serve(
        &folder,
        &open(&format!(
            "  up: {{ http: \"{url}?up\", credential: {{ {credential} }} }}\n  plain: {{ http: \"{url}?plain\" }}\n"
        )),
    );
    let mut client = process.client();
    assert!(call(&mut client, "", "up__echo", json!({}))["result"].is_object());
    is_up.store(false, Ordering::SeqCst);
    process.wait_for_log("temporarily_unavailable");
    process.wait_for_log("the last one stands for");
    assert!(standing(&process, "tokens", "up")["error"].as_str().unwrap().contains("503"));
    assert!(
        process
            .ask("/metrics")
            .1
            .contains("strait_upstream_token_last_request_successful{upstream=\"up\"} 0")
    );
    let shown = upstream.arrived("tools/call").len();
    assert!(call(&mut client, "", "up__echo", json!({}))["result"].is_object(), "the last one stands");
    assert_eq!(upstream.arrived("tools/call")[shown].header("authorization"), Some("Bearer token-0"));
    // It has ended.
    let mut answer = json!(null);
    wait_for("its end", || {
        answer = call(&mut client, "", "up__echo", json!({}));
        answer["error"].is_object()
    });
    let told = answer["error"]["message"].as_str().unwrap();
    assert!(told.contains("no token") && told.contains("503"), "{answer}");
    assert!(
        call(&mut client, "", "plain__echo", json!({}))["result"].is_object(),
        "the other is asked as before"
    );
    assert_eq!(process.log().matches("the last one stands for").count(), 1, "told once");
    is_up.store(true, Ordering::SeqCst);
    wait_for("the next token", || call(&mut client, "", "up__echo", json!({}))["result"].is_object());
    process.wait_for_log("its token is had again");
    assert!(standing(&process, "tokens", "up")["error"].is_null());
}

#[test]
fn at_start_one_whose_token_cannot_be_had_is_unreachable_alone_until_it_can() {
    let tokens = Tokens::start(|_, _| token("late", 3600));
    tokens.issuer.says("/token", Script::Hangs);
    let upstream = guarded(|_| true);
    let folder = Folder::new();
    let (credential, url) = (oauth(&tokens.url()), upstream.url());
    let process = serve(
        &folder,
        &open(&format!(
            "  up: {{ http: \"{url}?up\", credential: {{ {credential} }} }}\n  plain: {{ http: \"{url}?plain\" }}\n"
        )),
    );
    assert_eq!(standing(&process, "upstreams", "up")["state"], "unreachable");
    assert_eq!(process.tools(""), ["plain__echo", "plain__slow", "plain__secret"]);
    assert!(upstream.arrived("tools/list").iter().all(|one| one.head.contains("?plain ")));
    tokens.give(|_, _| token("late", 3600));
    let mut client = process.client();
    wait_for("the token", || call(&mut client, "", "up__echo", json!({}))["result"].is_object());
    let shown = upstream.arrived("tools/call");
    assert_eq!(shown.last().unwrap().header("authorization"), Some("Bearer late"));
}

#[test]
fn a_secret_that_is_rotated_is_asked_with_and_a_wrong_one_takes_nothing_away() {
    let tokens = Tokens::start(|form, count| match form.get("client_secret") {
        Some("wrong") => {
            says(401, &json!({"error": "invalid_client", "error_description": "kanarie-description"}))
        }
        _ => token(&format!("token-{count}"), 3600),
    });
    let upstream = guarded(|_| true);
    let folder = Folder::new();
    let credential = oauth(&tokens.url()).replace(" }", ", auth: post }");
    let process = serve(
        &folder,
        &open(&format!("  up: {{ http: \"{}\", credential: {{ {credential} }} }}\n", upstream.url())),
    );
    folder.write("state/secrets/client", "wrong");
    process.wait_for_log("invalid_client");
    let mut client = process.client();
    assert!(call(&mut client, "", "up__echo", json!({}))["result"].is_object());
    assert_eq!(upstream.arrived("tools/call")[0].header("authorization"), Some("Bearer token-0"));
    folder.write("state/secrets/client", "right");
    wait_for("the new secret", || {
        call(&mut client, "", "up__echo", json!({}));
        upstream.arrived("tools/call").last().unwrap().header("authorization") != Some("Bearer token-0")
    });
    assert_eq!(tokens.asked().last().unwrap().get("client_secret"), Some("right"));
    assert!(!process.log().contains("kanarie"), "{}", process.log());
}

#[test]
fn a_child_gets_its_token_in_a_variable() {
    let tokens = Tokens::start(|_, _| token("for-a-child", 3600));
    let strait = crate::process::binary().display().to_string();
    let folder = Folder::new();
    let credential = oauth(&tokens.url());
    let process = serve(
        &folder,
        &open(&format!(
            "  child: {{ stdio: {{ command: \"{strait}\", args: [sample, stdio] }}, credential: {{ {credential}, env: TOKEN }} }}\n  other: {{ stdio: {{ command: \"{strait}\", args: [sample, stdio] }} }}\n"
        )),
    );
    let mut all = Vec::new();
    wait_for("both children", || {
        all = children(process.pid());
        all.len() == 2
    });
    let with: Vec<&String> = all.iter().filter(|env| env.contains("for-a-child")).collect();
    assert_eq!(with.len(), 1, "{all:?}");
    assert!(with[0].split('\0').any(|variable| variable == "TOKEN=for-a-child"), "{with:?}");
}

#[test]
fn a_token_that_only_a_candidate_on_trial_wants_is_renewed_too() {
    let newest = Arc::new(AtomicUsize::new(0));
    let (gives, takes) = (newest.clone(), newest.clone());
    let tokens = Tokens::start(move |_, count| {
        gives.store(count, Ordering::SeqCst);
        token(&format!("token-{count}"), 2)
    });
    let upstream = guarded(move |line| {
        let newest = takes.load(Ordering::SeqCst);
        // Two ask in turns.
        (newest.saturating_sub(3)..=newest).any(|number| line == format!("Bearer token-{number}"))
    });
    let plain = guarded(|_| true);
    let folder = Folder::new();
    let live = open(&format!("  plain: {{ http: \"{}\" }}\n", plain.url()));
    let process = serve(&folder, &live);
    let strait_binary = crate::process::binary().display().to_string();
    let credential = oauth(&tokens.url());
    // A child gets each token in its environment, so each is another child.
    folder.write(
        "next.yaml",
        live.replace(
            "servers:",
            &format!(
                "  up: {{ http: \"{}\", credential: {{ {credential} }} }}\n  child: {{ stdio: {{ command: \"{strait_binary}\", args: [sample, stdio] }}, credential: {{ {credential}, env: TOKEN }} }}\nservers:",
                upstream.url()
            ),
        ),
    );
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
    let out = strait(&folder.0, &tried);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let mut client = process.client();
    wait_for("its tools", || call(&mut client, "", "up__echo", json!({"x": 1}))["result"].is_object());
    let mut calls = 0;
    while newest.load(Ordering::SeqCst) < 8 {
        let answer = call(&mut client, "", "up__echo", json!({"x": 1}));
        assert!(answer["result"].is_object(), "after {calls}: {answer}");
        calls += 1;
    }
    assert!(calls > 10);
    assert_eq!(upstream.arrived("server/discover").len(), 1, "the same upstream all the while");
    // Each of both asks every second and a half, so this child is of the last but three at most.
    let newest_child = || {
        let all = children(process.pid());
        all.iter()
            .flat_map(|env| env.split('\0'))
            .filter_map(|one| one.strip_prefix("TOKEN=token-")?.parse().ok())
            .max()
    };
    let before: usize = newest_child().unwrap_or(0);
    wait_for("a child with a later token", || {
        newest_child().is_some_and(|newest: usize| newest > before + 2)
    });
    assert_eq!(process.ready()["trial"]["state"], "canary");
}

#[test]
fn a_store_and_a_token_endpoint_are_asked_side_by_side() {
    let tokens = Tokens::start(|_, _| token("unused", 3600));
    tokens.issuer.says("/token", Script::Hangs);
    let upstream = guarded(|line| line == "Bearer of-the-store" || line.is_empty());
    // A store that gives what it has once the endpoint was asked, and nothing before.
    let (store, asked) = (Issuer::silent(), tokens.issuer.clone());
    store.says_json("/v1/auth/token/lookup-self", &json!({"data": {"ttl": 3600, "renewable": false}}));
    let gives = move |_: &str| {
        let began = Instant::now();
        while asked.asked("/token") == 0 && began.elapsed() < Duration::from_millis(1_500) {
            std::thread::yield_now();
        }
        match asked.asked("/token") {
            0 => says(503, &json!({"errors": []})),
            _ => says(200, &json!({"data": {"data": {"token": "of-the-store"}, "metadata": {"version": 1}}})),
        }
    };
    store.says("/v1/kv/data/crm", Script::Does(Arc::new(gives)));
    let url = upstream.url();
    let folder = Folder::new();
    let text = open(&format!(
        "  plain: {{ http: \"{url}?plain\" }}\n  up: {{ http: \"{url}?up\", credential: {{ {} }} }}\n  crm: {{ http: \"{url}?crm\", credential: {{ bearer: \"${{secret:crm}}\" }} }}\n",
        oauth(&tokens.url())
    ));
    let secrets = format!(
        "secrets: {{ crm: {{ vault: {{ address: \"{}\", path: kv/data/crm, field: token, token: \"${{env:HOME}}\" }} }} }}\n",
        store.url()
    );
    let process = serve(&folder, &format!("{text}{secrets}"));
    assert_eq!(store.asked("/v1/kv/data/crm"), 1, "{}", process.log());
    assert_eq!(standing(&process, "upstreams", "up")["state"], "unreachable");
    let mut client = process.client();
    for name in ["plain", "crm"] {
        assert!(call(&mut client, "", &format!("{name}__echo"), json!({}))["result"].is_object(), "{name}");
    }
}
