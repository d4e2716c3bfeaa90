//! A store that is not well, and what of it reaches callers: nothing, as long as it was well once.

use serde_json::json;
use strait_tests::gateway::wait_for;

use super::peer::*;
use super::stub::{Mood, Stub};
use crate::gateway::*;
use crate::process::*;

const UP: &str = "strait_secret_store_up{secret=\"crm\",store=\"vault\"}";

fn source(stub: &Stub) -> String {
    format!(
        "vault: {{ address: \"http://{}\", path: kv/data/crm, field: token, refresh: 1s, namespace: team/a, \
         approle: {{ role: \"${{env:ROLE}}\", secret: \"${{file:role.secret}}\" }} }}",
        stub.address
    )
}

fn started(folder: &Folder, stub: &Stub, url: &str) -> Process {
    folder.write("role.secret", "kanarie-role-secret\n");
    folder.write("config.yaml", with_secret(url, &source(stub)));
    serve(folder, "config.yaml", &[("ROLE", "kanarie-role")])
}

fn works(process: &Process) -> bool {
    call(&mut process.client(), "", "echo", json!({}))["result"].is_object()
}

#[test]
fn whatever_a_store_does_the_last_value_is_used_on_and_nothing_of_it_is_told() {
    let folder = Folder::new();
    let stub = Stub::start("kanarie-1");
    let accepted = Accepted::default();
    accepted.only("Bearer kanarie-1");
    let upstream = guarded(&accepted);
    let process = started(&folder, &stub, &upstream.url());
    for (mood, expected) in [
        (Mood::Silent, "no whole answer within 2000 ms"),
        (Mood::Closes, "gave no answer"),
        (Mood::Elsewhere, "answered 307"),
        (Mood::Garbage, "no secret of a KV store"),
        (Mood::Endless, "over 1048576 bytes"),
        (Mood::Sealed, "unseal it"),
    ] {
        stub.is(mood);
        wait_for(&format!("{mood:?}"), || {
            failing(&process)["why"].as_str().unwrap_or_default().contains(expected)
        });
        assert_eq!(metric(&process, UP), Some(0.0), "{mood:?}");
        assert_eq!(failing(&process)["state"], "kept", "{mood:?}");
        assert!(works(&process), "{mood:?}");
        stub.is(Mood::Well);
        wait_for("it to be well", || metric(&process, UP) == Some(1.0));
    }
    assert!(!stub.heard().contains("/v1/elsewhere"), "a redirect was followed");
    assert!(
        stub.heard().contains("x-vault-namespace: team/a")
            || stub.heard().contains("X-Vault-Namespace: team/a")
    );
    let (log, ready) = (process.log(), process.ready().to_string());
    assert!(!log.contains("kanarie") && !ready.contains("kanarie"), "{log}\n{ready}");
    // The readings of all that time went in by one door.
    assert_eq!(stub.logins(), 1);
}

#[test]
fn many_secrets_of_one_store_are_one_login() {
    let folder = Folder::new();
    let stub = Stub::start("same");
    let accepted = Accepted::default();
    accepted.only("Bearer same");
    let upstream = guarded(&accepted);
    folder.write("role.secret", "x");
    let mut text = with_secret(&upstream.url(), &source(&stub));
    for number in 0..20 {
        text.push_str(&format!(
            "  s{number}: {{ {} }}\n",
            source(&stub).replace("kv/data/crm", &format!("kv/data/s{number}"))
        ));
    }
    folder.write("config.yaml", text);
    let process = serve(&folder, "config.yaml", &[("ROLE", "role")]);
    assert!(works(&process));
    assert!(stub.reads() >= 21, "{}", stub.reads());
    assert_eq!(stub.logins(), 1);
}

#[test]
fn a_store_that_hangs_at_start_does_not_keep_the_gateway_from_opening() {
    let folder = Folder::new();
    let stub = Stub::start("late");
    stub.is(Mood::Silent);
    let accepted = Accepted::default();
    accepted.only("Bearer late");
    let upstream = guarded(&accepted);
    let process = started(&folder, &stub, &upstream.url());
    assert!(!works(&process));
    assert_eq!(failing(&process)["state"], "missing");
    stub.is(Mood::Well);
    wait_for("the upstream", || works(&process));
}

#[test]
fn another_place_is_another_secret_and_one_that_does_not_answer_is_not_adopted() {
    let folder = Folder::new();
    let (one, other) = (Stub::start("one"), Stub::start("other"));
    let accepted = Accepted::default();
    accepted.only("Bearer one");
    let upstream = guarded(&accepted);
    let process = started(&folder, &one, &upstream.url());
    other.is(Mood::Sealed);
    folder.replace("config.yaml", with_secret(&upstream.url(), &source(&other)));
    process.wait_for_state("rejected");
    assert!(works(&process));
    // A reload may not make it worse; it comes by itself as soon as it makes it better.
    accepted.only("Bearer other");
    other.is(Mood::Well);
    wait_for("the other store", || works(&process));
    process.wait_for_state("ok");
}
