//! A real OpenBao: logins, renewals, rotation under callers, sealing, and what a gateway says of all that.

use std::net::SocketAddr;

use serde_json::{Value, json};
use strait_tests::gateway::wait_for;

use super::peer::*;
use crate::authority::Authority;
use crate::gateway::*;
use crate::process::*;

struct Bao {
    peer: Peer,
    pub role: String,
    pub secret: String,
}

impl Bao {
    /// In memory, with a KV store `kv` and a role whose tokens live so long.
    fn start(folder: &Folder, ttl: &str, max: &str) -> Bao {
        let port = free_port();
        let listen = format!("-dev-listen-address=127.0.0.1:{port}");
        Bao::started(folder, port, &[&listen], ttl, max)
    }

    /// The same, where `store.pem` and `store.key` are shown as well, at another port.
    fn start_tls(folder: &Folder) -> (Bao, u16) {
        let (port, tls) = (free_port(), free_port());
        let listen = format!("-dev-listen-address=127.0.0.1:{port}");
        folder.write(
            "store.hcl",
            format!(
                "listener \"tcp\" {{ address = \"127.0.0.1:{tls}\" tls_cert_file = \"store.pem\" tls_key_file = \"store.key\" }}\n"
            ),
        );
        (Bao::started(folder, port, &[&listen, "-config=store.hcl"], "1h", "1h"), tls)
    }

    fn started(folder: &Folder, port: u16, more: &[&str], ttl: &str, max: &str) -> Bao {
        let arguments =
            [&["server", "-dev", "-dev-no-store-token", "-dev-root-token-id=root"], more].concat();
        let peer = Peer::start(folder, "bao", port, &arguments, "/v1/sys/health");
        let mut bao = Bao { peer, role: String::new(), secret: String::new() };
        bao.root("POST", "sys/mounts/kv", json!({"type": "kv", "options": {"version": "2"}}));
        bao.root("POST", "sys/auth/approle", json!({"type": "approle"}));
        let policy = "path \"kv/data/crm\" { capabilities = [\"read\"] }";
        bao.root("PUT", "sys/policies/acl/crm", json!({"policy": policy}));
        let role = json!({"token_policies": "crm", "token_ttl": ttl, "token_max_ttl": max});
        bao.root("POST", "auth/approle/role/strait", role);
        let id = bao.root("GET", "auth/approle/role/strait/role-id", Value::Null);
        bao.role = id["data"]["role_id"].as_str().expect("an id").to_owned();
        bao.secret = bao.new_secret();
        bao
    }

    fn new_secret(&self) -> String {
        let said = self.root("POST", "auth/approle/role/strait/secret-id", json!({}));
        said["data"]["secret_id"].as_str().expect("a secret").to_owned()
    }

    fn address(&self) -> SocketAddr {
        self.peer.address
    }

    fn root(&self, method: &str, path: &str, body: Value) -> Value {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let headers = [("X-Vault-Token", "root"), ("Content-Type", "application/json")];
        let said = ask(self.address(), method, &format!("/v1/{path}"), &headers, &body).expect("an answer");
        assert!(said.0 < 300, "{path}: {said:?}");
        serde_json::from_str(&said.1).unwrap_or_default()
    }

    fn put(&self, value: &str) {
        self.root("POST", "kv/data/crm", json!({"data": {"token": value, "other": "x"}}));
    }

    /// How often somebody logged in, or renewed: counted by the tokens that there are.
    fn tokens(&self) -> usize {
        let said = self.root("LIST", "auth/token/accessors", Value::Null);
        said["data"]["keys"].as_array().map_or(0, Vec::len)
    }

    fn seal(&self) {
        self.root("PUT", "sys/seal", json!({}));
    }

    fn unseal(&self) {
        let key = || {
            let log = self.peer.log();
            let mut said = log.lines().filter_map(|line| line.strip_prefix("Unseal Key: "));
            said.next().map(|key| key.trim().to_owned())
        };
        // It answers before it says so.
        wait_for("the key in its log", || key().is_some());
        let key = key();
        let said = ask(self.address(), "PUT", "/v1/sys/unseal", &[], &json!({"key": key}).to_string());
        assert_eq!(said.expect("an answer").0, 200);
    }

    /// The source of the secret, with the AppRole in a file and the environment.
    fn source(&self) -> String {
        format!(
            "vault: {{ address: \"http://{}\", path: kv/data/crm, field: token, refresh: 1s, \
             approle: {{ role: \"${{env:ROLE}}\", secret: \"${{file:role.secret}}\" }} }}",
            self.address()
        )
    }

    fn serve(&self, folder: &Folder, url: &str) -> Process {
        folder.write("role.secret", &self.secret);
        folder.write("config.yaml", with_secret(url, &self.source()));
        serve(folder, "config.yaml", &[("ROLE", &self.role)])
    }
}

#[test]
#[ignore = "wants tests/peers/install"]
fn openbao_a_secret_is_rotated_under_callers_and_no_request_fails() {
    let folder = Folder::new();
    // Tokens end after four seconds, whatever is renewed.
    let bao = Bao::start(&folder, "2s", "4s");
    bao.put("kanarie-bao-0");
    let accepted = Accepted::default();
    accepted.only("Bearer kanarie-bao-0");
    let upstream = guarded(&accepted);
    let process = bao.serve(&folder, &upstream.url());
    let callers = Callers::start(process.address);
    for rotation in 1..=5 {
        callers.go_on();
        let value = format!("kanarie-bao-{rotation}");
        bao.put(&value);
        let line = format!("Bearer {value}");
        wait_for("the new secret to be shown", || {
            upstream.arrived("tools/call").iter().any(|call| call.header("authorization") == Some(&line))
        });
        callers.go_on();
        accepted.only(&line);
    }
    callers.none_failed();
    process.wait_for_log("has version 6");
    assert!(process.ready()["secrets"].as_array().is_some_and(Vec::is_empty), "{}", process.ready());
    assert_eq!(process.reload()["rejected"], 0);
    let log = process.log();
    assert!(!log.contains("kanarie") && !log.contains(&bao.secret), "{log}");
}

#[test]
#[ignore = "wants tests/peers/install"]
fn openbao_one_login_is_renewed_until_it_cannot_be() {
    let folder = Folder::new();
    let bao = Bao::start(&folder, "3s", "1h");
    bao.put("one");
    let upstream = guarded(&Accepted::default());
    let before = bao.tokens();
    let process = bao.serve(&folder, &upstream.url());
    let up = "strait_secret_fetches_total{secret=\"crm\",store=\"vault\",result=\"answered\"}";
    // Longer than a token lives that nobody renews.
    wait_for("readings", || metric(&process, up).is_some_and(|count| count > 6.0));
    assert_eq!(bao.tokens(), before + 1, "one login is renewed");
    // Revoked, it is of no use any more: the next reading logs in again.
    for accessor in bao.root("LIST", "auth/token/accessors", Value::Null)["data"]["keys"].as_array().unwrap()
    {
        let of = json!({"accessor": accessor});
        let looked_up = bao.root("POST", "auth/token/lookup-accessor", of.clone());
        if looked_up["data"]["path"] == "auth/approle/login" {
            bao.root("POST", "auth/token/revoke-accessor", of);
        }
    }
    bao.put("two");
    wait_for("the other value", || {
        call(&mut process.client(), "", "echo", json!({}));
        upstream.arrived("tools/call").last().is_some_and(|last| last.head.contains("Bearer two"))
    });
}

#[test]
#[ignore = "wants tests/peers/install"]
fn openbao_what_it_said_last_is_used_while_it_is_sealed_and_that_is_told() {
    let folder = Folder::new();
    let bao = Bao::start(&folder, "2s", "4s");
    bao.put("kanarie-bao");
    let accepted = Accepted::default();
    accepted.only("Bearer kanarie-bao");
    let upstream = guarded(&accepted);
    let process = bao.serve(&folder, &upstream.url());
    let up = "strait_secret_store_up{secret=\"crm\",store=\"vault\"}";
    assert_eq!(metric(&process, up), Some(1.0));
    let works = || call(&mut process.client(), "", "echo", json!({}))["result"].is_object();
    bao.seal();
    wait_for("the alarm", || metric(&process, up) == Some(0.0));
    let shown = failing(&process);
    assert_eq!((shown["name"].as_str(), shown["state"].as_str()), (Some("crm"), Some("kept")), "{shown}");
    assert!(shown["why"].as_str().unwrap().contains("sealed"), "{shown}");
    assert!(works());
    assert_eq!(process.log().matches("version 1 is used on").count(), 1, "{}", process.log());
    // What cannot be known is not refused either: the table is read again and serves.
    process.hang_up();
    process.wait_for_log("nothing to reload");
    assert!(works());
    bao.unseal();
    wait_for("it to be well again", || metric(&process, up) == Some(1.0));
    process.wait_for_log("gives it again");
    assert!(process.ready()["secrets"].as_array().is_some_and(Vec::is_empty));
}

#[test]
#[ignore = "wants tests/peers/install"]
fn openbao_one_that_is_sealed_at_start_costs_its_upstream_alone_until_it_is_not() {
    let folder = Folder::new();
    let bao = Bao::start(&folder, "1h", "1h");
    bao.put("late");
    bao.seal();
    let accepted = Accepted::default();
    accepted.only("Bearer late");
    let (guarded, open) = (guarded(&accepted), guarded(&Accepted::default()));
    folder.write("role.secret", &bao.secret);
    folder.write(
        "config.yaml",
        config(&format!(
            "upstreams:\n  a: {{ http: \"{}\", credential: {{ bearer: \"${{secret:crm}}\" }} }}\n  b: {{ http: \"{}\" }}\n\
             servers:\n  default: {{ path: /mcp, tools: [\"*\"] }}\n\
             policy:\n  default: deny\n  rules:\n    - {{ id: all, allow: [\"*\"] }}\n\
             secrets:\n  crm: {{ {} }}\n",
            guarded.url(),
            open.url(),
            bao.source()
        )),
    );
    let process = serve(&folder, "config.yaml", &[("ROLE", &bao.role)]);
    assert!(call(&mut process.client(), "", "b__echo", json!({}))["result"].is_object());
    let ready = process.ready();
    let error = ready["upstreams"][0]["error"].as_str().unwrap_or_default();
    assert!(error.contains("secret `crm`") && error.contains("sealed"), "{ready}");
    assert_eq!(failing(&process)["state"], "missing");
    bao.unseal();
    wait_for("the upstream", || call(&mut process.client(), "", "a__echo", json!({}))["result"].is_object());
}

#[test]
#[ignore = "wants tests/peers/install"]
fn openbao_each_refusal_has_its_own_words_and_a_mended_one_is_taken_up() {
    let folder = Folder::new();
    let bao = Bao::start(&folder, "1h", "1h");
    let upstream = guarded(&Accepted::default());
    let says = |process: &Process, text: &str| {
        wait_for(&format!("`{text}`"), || {
            failing(process)["why"].as_str().unwrap_or_default().contains(text)
        });
    };
    // Nothing is there yet.
    let process = bao.serve(&folder, &upstream.url());
    says(&process, "is not there");
    bao.root("POST", "kv/data/crm", json!({"data": {"other": "x"}}));
    says(&process, "has no field `token`");
    bao.root("POST", "kv/data/crm", json!({"data": {"token": 5}}));
    says(&process, "has a field `token` that is no text");
    bao.root(
        "PUT",
        "sys/policies/acl/crm",
        json!({"policy": "path \"kv/data/crm\" { capabilities = [\"deny\"] }"}),
    );
    says(&process, "give its policy `read`");
    let policy = "path \"kv/data/crm\" { capabilities = [\"read\"] }";
    bao.root("PUT", "sys/policies/acl/crm", json!({"policy": policy}));
    bao.put("there");
    wait_for("the upstream", || call(&mut process.client(), "", "echo", json!({}))["result"].is_object());
    bao.root("DELETE", "kv/data/crm", Value::Null);
    says(&process, "was deleted");
    assert_eq!(failing(&process)["state"], "kept");
    drop(process);
    // An AppRole that it does not take, until the file has the right one.
    bao.put("there");
    folder.write("role.secret", "kanarie-wrong-secret");
    let process = serve(&folder, "config.yaml", &[("ROLE", &bao.role)]);
    says(&process, "does not take this AppRole");
    assert!(!process.log().contains("kanarie"), "{}", process.log());
    folder.replace("role.secret", bao.new_secret());
    wait_for("the upstream", || call(&mut process.client(), "", "echo", json!({}))["result"].is_object());
}

/// Who vouches for it is in a file, which is read again with each question.
#[test]
#[ignore = "wants tests/peers/install"]
fn openbao_over_https_is_believed_on_the_word_of_its_ca_alone() {
    let folder = Folder::new();
    Authority::new(&folder, "strangers");
    Authority::new(&folder, "ca").server(&folder, "store", &["127.0.0.1"]);
    let (bao, port) = Bao::start_tls(&folder);
    bao.put("kanarie-tls-1");
    let upstream = guarded(&Accepted::default());
    let source = |host: &str| {
        let at = format!("address: \"https://{host}:{port}\", ca: store-ca.pem");
        bao.source().replace(&format!("address: \"http://{}\"", bao.address()), &at)
    };
    let is_shown = |line: &str| {
        upstream.arrived("tools/call").last().is_some_and(|call| call.header("authorization") == Some(line))
    };
    let comes = |process: &Process, value: &str| {
        wait_for(value, || {
            call(&mut process.client(), "", "echo", json!({}));
            is_shown(&format!("Bearer {value}"))
        });
    };
    folder.write("role.secret", &bao.secret);
    folder.write("store-ca.pem", folder.read("strangers.pem"));
    folder.write("config.yaml", with_secret(&upstream.url(), &source("127.0.0.1")));
    let process = serve(&folder, "config.yaml", &[("ROLE", &bao.role)]);
    let why = || failing(&process)["why"].as_str().unwrap_or_default().to_owned();
    wait_for("the reason", || why().contains("certificate"));
    assert_eq!(failing(&process)["state"], "missing");
    // The right one is taken up without another table, and it is the store that is asked.
    folder.replace("store-ca.pem", folder.read("ca.pem"));
    comes(&process, "kanarie-tls-1");
    bao.put("kanarie-tls-2");
    comes(&process, "kanarie-tls-2");
    // One that is believed no more is asked nothing, and what it said is used on.
    folder.replace("store-ca.pem", folder.read("strangers.pem"));
    wait_for("the reason", || why().contains("certificate"));
    assert_eq!(failing(&process)["state"], "kept");
    bao.put("kanarie-tls-3");
    folder.replace("store-ca.pem", "nobody");
    wait_for("the reason", || why().contains("store-ca.pem"));
    comes(&process, "kanarie-tls-2");
    drop(process);
    // A name that its certificate has not.
    folder.replace("store-ca.pem", folder.read("ca.pem"));
    folder.write("config.yaml", with_secret(&upstream.url(), &source("localhost")));
    let process = serve(&folder, "config.yaml", &[("ROLE", &bao.role)]);
    wait_for("the reason", || {
        failing(&process)["why"].as_str().is_some_and(|why| why.contains("certificate"))
    });
    assert!(!process.log().contains("kanarie"), "{}", process.log());
}
