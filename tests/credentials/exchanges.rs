//! Tokens in exchange for callers' (RFC 8693): each caller's own, on every way to an upstream, and on nobody else's behalf.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use strait_tests::gateway::wait_for;
use strait_tests::scripted::{echoed, json_reply, legacy};
use strait_tests::{Scripted, Step};

use crate::gateway::*;
use crate::issuer::{Issuer, Pair, Said, now_s};
use crate::process::{Folder, Process, call, config};

/// Who a token is about.
fn subject(token: &str) -> String {
    let claims = token.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    let claims: Option<Value> = claims.and_then(|claims| serde_json::from_slice(&claims).ok());
    claims.and_then(|claims| claims["sub"].as_str().map(str::to_owned)).unwrap_or_else(|| "nobody".to_owned())
}

/// What an honest endpoint says: `own` to the gateway itself, `for-NAME` in exchange.
fn honest(form: &Form, lasts: u64) -> Said {
    match form.get("subject_token") {
        None => token("own", 3600),
        Some(_) if form.get("actor_token") != Some("own") => says(400, &json!({"error": "invalid_request"})),
        Some(caller) if subject(caller) == "eve" => says(400, &json!({"error": "invalid_target"})),
        Some(caller) => token(&format!("for-{}", subject(caller)), lasts),
    }
}

pub struct Site {
    pair: Pair,
    pub tokens: Tokens,
    pub process: Process,
    pub folder: Folder,
}

impl Site {
    /// Upstreams are these lines, in which `EXCHANGE` stands for the credential.
    pub fn start(upstreams: &str, gives: impl Fn(&Form, usize) -> Said + Send + Sync + 'static) -> Site {
        let pair = Pair::es256("one");
        let tokens = Tokens::with_keys(&[&pair], gives);
        let exchange = oauth(&tokens.url()).replace("oauth: {", "exchange: { audience: crm, scope: [crm],");
        let folder = Folder::new();
        let process = serve(
            &folder,
            &config(&format!(
                "upstreams:\n{}\
                 identity:\n  staff: {{ jwt: {{ issuer: \"{}\", audience: gw }} }}\n  ci: {{ api_keys: {{ generate: [{{ id: robot }}] }} }}\n\
                 servers:\n  default: {{ path: /mcp, auth: [staff, ci], tools: [\"*\"], naming: prefix }}\n\
                 policy:\n  default: deny\n  rules:\n    - {{ id: all, allow: [\"*\"] }}\n",
                upstreams.replace("EXCHANGE", &exchange),
                tokens.issuer.url()
            )),
        );
        Site { pair, tokens, process, folder }
    }

    pub fn token(&self, name: &str, lasts: i64) -> String {
        let now = now_s();
        self.pair.sign(&json!({"iss": self.tokens.issuer.url(), "aud": "gw", "sub": name, "iat": now, "exp": now + lasts}))
    }

    /// A call of `up__echo` with this token or key.
    pub fn call(&self, token: &str) -> Value {
        call(&mut self.process.client(), token, "up__echo", json!({"x": 1}))
    }
}

/// Nothing of what arrived has any part of a caller's token, and all of it one of these lines.
fn shows_only(upstream: &Scripted, callers: &[&str], lines: &[&str]) {
    let methods = [
        "",
        "GET",
        "DELETE",
        "server/discover",
        "initialize",
        "notifications/initialized",
        "tools/list",
        "tools/call",
        "subscriptions/listen",
    ];
    let all: Vec<_> = methods.iter().flat_map(|method| upstream.arrived(method)).collect();
    assert_eq!(all.len(), upstream.requests(), "a method that nobody looks at");
    for request in all {
        let whole = format!("{} {}", request.head, String::from_utf8_lossy(&request.raw));
        for caller in callers {
            let parts = caller.split('.').filter(|part| part.len() > 20);
            assert!(parts.into_iter().all(|part| !whole.contains(part)), "{whole}");
        }
        let line = request.header("authorization");
        assert!(line.is_some_and(|line| lines.contains(&line)), "{line:?} in {whole}");
    }
}

#[test]
fn each_caller_is_shown_as_itself_and_the_upstream_sees_no_callers_token() {
    let upstream =
        guarded(|line| ["own", "for-ada", "for-bob"].iter().any(|one| line == format!("Bearer {one}")));
    let site = Site::start(
        &format!("  up: {{ http: \"{}\", credential: {{ EXCHANGE }} }}\n", upstream.url()),
        |form, _| honest(form, 3600),
    );
    let (ada, bob) = (site.token("ada", 600), site.token("bob", 600));
    for (name, caller) in [("ada", &ada), ("bob", &bob), ("ada", &ada)] {
        for _ in 0..8 {
            let answer = site.call(caller);
            assert!(answer["result"].is_object(), "{name}: {answer}");
            let last = upstream.arrived("tools/call").pop().unwrap();
            assert_eq!(last.header("authorization"), Some(format!("Bearer for-{name}").as_str()));
        }
    }
    let exchanged = site.tokens.asked_for("token-exchange");
    assert_eq!(exchanged.len(), 2, "once for each caller, whatever the worker");
    for form in &exchanged {
        assert_eq!(form.get("actor_token"), Some("own"));
        assert_eq!((form.get("audience"), form.get("scope")), (Some("crm"), Some("crm")));
        let kind = Some("urn:ietf:params:oauth:token-type:access_token");
        assert_eq!((form.get("subject_token_type"), form.get("actor_token_type")), (kind, kind));
        assert!([ada.as_str(), bob.as_str()].contains(&form.get("subject_token").unwrap()));
    }
    shows_only(&upstream, &[&ada, &bob], &["Bearer own", "Bearer for-ada", "Bearer for-bob"]);
    // What lists is nobody's; what calls is never this gateway's own.
    assert!(
        upstream.arrived("tools/call").iter().all(|one| one.header("authorization") != Some("Bearer own"))
    );
    assert!(
        upstream.arrived("tools/list").iter().all(|one| one.header("authorization") == Some("Bearer own"))
    );
}

#[test]
fn whoever_has_no_token_or_is_refused_one_is_told_so_and_costs_nobody_else() {
    let upstream = guarded(|_| true);
    let site = Site::start(
        &format!("  up: {{ http: \"{}\", credential: {{ EXCHANGE }} }}\n", upstream.url()),
        |form, _| honest(form, 3600),
    );
    let key = String::from_utf8(site.folder.read("state/keys/ci.robot.key")).unwrap();
    let answer = site.call(key.trim());
    assert_eq!(answer["error"]["data"]["reason"], "upstream_credential", "{answer}");
    let told = answer["error"]["message"].as_str().unwrap();
    assert!(told.contains("upstream credential") && told.contains("has none"), "{told}");
    let eve = site.token("eve", 600);
    for _ in 0..3 {
        let answer = site.call(&eve);
        assert_eq!(answer["error"]["data"]["reason"], "upstream_credential", "{answer}");
        assert!(answer["error"]["message"].as_str().unwrap().contains("400 (invalid_target)"), "{answer}");
    }
    assert!(site.call(&site.token("ada", 600))["result"].is_object());
    assert_eq!(upstream.arrived("tools/call").len(), 1);
    shows_only(&upstream, &[&eve], &["Bearer own", "Bearer for-ada"]);
}

#[test]
fn a_token_of_another_issuer_is_not_shown_to_this_ones_endpoint() {
    let (pair, theirs) = (Pair::es256("one"), Pair::es256("theirs"));
    let (tokens, partner) =
        (Tokens::with_keys(&[&pair], |form, _| honest(form, 3600)), Issuer::start(&[&theirs]));
    let upstream = guarded(|_| true);
    let folder = Folder::new();
    let process = serve(
        &folder,
        &config(&format!(
            "upstreams:\n  up: {{ http: \"{}\", credential: {{ {} }} }}\n\
             identity:\n  staff: {{ jwt: {{ issuer: \"{}\", audience: gw }} }}\n  \
             partner: {{ jwt: {{ issuer: \"{}\", audience: gw }} }}\n\
             servers:\n  default: {{ path: /mcp, auth: [staff, partner], tools: [\"*\"], naming: prefix }}\n\
             policy:\n  default: deny\n  rules:\n    - {{ id: all, allow: [\"*\"] }}\n",
            upstream.url(),
            oauth(&tokens.url()).replace("oauth: {", "exchange: { audience: crm, scope: [crm],"),
            tokens.issuer.url(),
            partner.url(),
        )),
    );
    let ask = |pair: &Pair, issuer: &str| {
        let now = now_s();
        let token =
            pair.sign(&json!({"iss": issuer, "aud": "gw", "sub": "ada", "iat": now, "exp": now + 600}));
        call(&mut process.client(), &token, "up__echo", json!({"x": 1}))
    };
    let answer = ask(&pair, &tokens.issuer.url());
    assert!(answer["result"].is_object(), "{answer}");
    let answer = ask(&theirs, &partner.url());
    assert_eq!(answer["error"]["data"]["reason"], "upstream_credential", "{answer}");
    assert!(answer["error"]["message"].as_str().unwrap().contains("are not exchanged there"), "{answer}");
    assert_eq!(
        tokens.asked_for("token-exchange").len(),
        1,
        "the endpoint has seen no token of the partner's"
    );
    assert_eq!(upstream.arrived("tools/call").len(), 1);
}

#[test]
fn while_the_endpoint_hangs_only_those_wait_who_need_it() {
    let hangs = Arc::new(AtomicBool::new(false));
    let (is_slow, release) =
        (hangs.clone(), Arc::new((std::sync::Mutex::new(false), std::sync::Condvar::new())));
    let gate = release.clone();
    let upstream = guarded(|_| true);
    let site = Site::start(
        &format!(
            "  up: {{ http: \"{url}?up\", credential: {{ EXCHANGE }} }}\n  plain: {{ http: \"{url}?plain\" }}\n",
            url = upstream.url()
        ),
        move |form, _| {
            if is_slow.load(Ordering::SeqCst) {
                drop(gate.1.wait_while(gate.0.lock().unwrap(), |open| !*open).unwrap());
            }
            honest(form, 3600)
        },
    );
    let (ada, bob) = (site.token("ada", 600), site.token("bob", 600));
    assert!(site.call(&ada)["result"].is_object());
    hangs.store(true, Ordering::SeqCst);
    let address = site.process.address;
    let waiting = bob.clone();
    let waits = std::thread::spawn(move || {
        call(&mut strait_tests::Client::connect(address), &waiting, "up__echo", json!({}))
    });
    wait_for("the question", || site.tokens.asked_for("token-exchange").len() == 2);
    // Meanwhile whoever is known is served, on every worker, and so is everything else.
    for _ in 0..8 {
        assert!(site.call(&ada)["result"].is_object());
        let plain = call(&mut site.process.client(), &bob, "plain__echo", json!({}));
        assert!(plain["result"].is_object(), "{plain}");
    }
    let answer = waits.join().unwrap();
    assert_eq!(answer["error"]["data"]["reason"], "upstream_credential", "{answer}");
    assert!(answer["error"]["message"].as_str().unwrap().contains("within 3000 ms"), "{answer}");
    hangs.store(false, Ordering::SeqCst);
    *release.0.lock().unwrap() = true;
    release.1.notify_all();
    wait_for("bob", || site.call(&bob)["result"].is_object());
}

#[test]
fn what_was_had_ends_with_the_shorter_of_both_tokens() {
    let upstream = guarded(|_| true);
    let site = Site::start(
        &format!("  up: {{ http: \"{}\", credential: {{ EXCHANGE }} }}\n", upstream.url()),
        |form, _| honest(form, 2),
    );
    let ada = site.token("ada", 600);
    assert!(site.call(&ada)["result"].is_object());
    assert_eq!(site.tokens.asked_for("token-exchange").len(), 1);
    wait_for("another one", || {
        assert!(site.call(&ada)["result"].is_object());
        site.tokens.asked_for("token-exchange").len() == 2
    });
    // A caller whose token is over is nobody, whatever was had for it.
    let brief = site.token("bob", -25);
    assert!(site.call(&brief)["result"].is_object(), "within the skew");
    wait_for("its end", || site.call(&brief)["result"].is_null());
}

#[test]
fn a_session_of_an_older_server_is_its_callers_from_the_first_message_on() {
    let script = legacy(|request| json_reply(&echoed(request)));
    let upstream = Scripted::start(move |request| -> Vec<Step> { script(request) });
    let site = Site::start(
        &format!("  up: {{ http: \"{}\", credential: {{ EXCHANGE }} }}\n", upstream.url()),
        |form, _| honest(form, 3600),
    );
    let (ada, bob) = (site.token("ada", 600), site.token("bob", 600));
    for caller in [&ada, &bob, &ada, &bob] {
        assert!(site.call(caller)["result"].is_object());
    }
    shows_only(&upstream, &[&ada, &bob], &["Bearer own", "Bearer for-ada", "Bearer for-bob"]);
    for (method, own) in [("tools/call", 0), ("tools/list", usize::MAX)] {
        let shown = upstream
            .arrived(method)
            .iter()
            .filter(|one| one.header("authorization") == Some("Bearer own"))
            .count();
        assert_eq!(shown, own.min(upstream.arrived(method).len()), "{method}");
    }
    for line in ["Bearer own", "Bearer for-ada", "Bearer for-bob"] {
        for method in ["initialize", "notifications/initialized"] {
            let all = upstream.arrived(method);
            assert!(all.iter().any(|one| one.header("authorization") == Some(line)), "{method} {line}");
        }
    }
}

#[test]
fn each_principals_child_has_its_own_token_and_no_other() {
    let strait = crate::process::binary().display().to_string();
    let site = Site::start(
        &format!(
            "  up: {{ stdio: {{ command: \"{strait}\", args: [sample, stdio], per: principal }}, credential: {{ EXCHANGE, env: TOKEN }} }}\n  other: {{ stdio: {{ command: \"{strait}\", args: [sample, stdio] }} }}\n"
        ),
        |form, _| honest(form, 3600),
    );
    let (ada, bob) = (site.token("ada", 600), site.token("bob", 600));
    let tool = site.process.tools(&ada).into_iter().find(|tool| tool.starts_with("up__")).expect("a tool");
    for caller in [&ada, &bob] {
        let answer = call(&mut site.process.client(), caller, &tool, json!({}));
        assert!(answer["error"]["data"]["reason"] != "upstream_credential", "{answer}");
    }
    let key = String::from_utf8(site.folder.read("state/keys/ci.robot.key")).unwrap();
    let answer = call(&mut site.process.client(), key.trim(), &tool, json!({}));
    assert_eq!(answer["error"]["data"]["reason"], "upstream_credential", "{answer}");
    let mut all = Vec::new();
    wait_for("the children", || {
        all = children(site.process.pid());
        all.len() == 4
    });
    let mut with: Vec<String> = all
        .iter()
        .map(|env| {
            env.split('\0').filter(|variable| variable.starts_with("TOKEN=")).collect::<Vec<_>>().join(",")
        })
        .collect();
    with.sort();
    assert_eq!(with, ["", "TOKEN=for-ada", "TOKEN=for-bob", "TOKEN=own"]);
    for env in &all {
        assert!(!env.contains(&ada) && !env.contains(&bob));
        assert!(env.matches("for-").count() + env.matches("=own").count() <= 1, "{env}");
    }
}

#[test]
fn an_upstream_is_told_who_calls_beside_the_callers_own_token() {
    let upstream =
        guarded(|line| ["own", "for-ada", "for-bob"].iter().any(|one| line == format!("Bearer {one}")));
    let site = Site::start(
        &format!(
            "  up: {{ http: \"{}\", credential: {{ EXCHANGE }}, identity_header: {{ name: X-Who, key: \"${{secret:identity}}\", issuer: gw }} }}\n",
            upstream.url()
        ),
        |form, _| honest(form, 3600),
    );
    let (ada, bob) = (site.token("ada", 600), site.token("bob", 600));
    for (name, caller) in [("ada", &ada), ("bob", &bob), ("ada", &ada), ("bob", &bob)] {
        let answer = site.call(caller);
        assert!(answer["result"].is_object(), "{name}: {answer}");
        let last = upstream.arrived("tools/call").pop().unwrap();
        assert_eq!(last.header("authorization"), Some(format!("Bearer for-{name}").as_str()));
        let statement = last.header("x-who").expect("a statement");
        let mut validation = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::HS256);
        validation.set_audience(&["up"]);
        let key = jsonwebtoken::DecodingKey::from_secret(IDENTITY_KEY.as_bytes());
        let said = jsonwebtoken::decode::<Value>(statement, &key, &validation).expect("a good one").claims;
        assert_eq!(
            (&said["sub"], &said["identity"], &said["iss"]),
            (&json!(name), &json!("staff"), &json!("gw"))
        );
    }
    // What the gateway asks for itself is asked with its own token, and is nobody's call.
    for request in upstream.arrived("tools/list") {
        assert_eq!((request.header("authorization"), request.header("x-who")), (Some("Bearer own"), None));
    }
    shows_only(&upstream, &[&ada, &bob], &["Bearer own", "Bearer for-ada", "Bearer for-bob"]);
    // Whose token is refused, of him nothing is told either.
    let before = upstream.requests();
    assert_eq!(site.call(&site.token("eve", 600))["error"]["data"]["reason"], "upstream_credential");
    assert_eq!(upstream.requests(), before);
}
