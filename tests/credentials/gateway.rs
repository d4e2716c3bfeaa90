//! A gateway whose upstreams want tokens, and a token endpoint that gives them out.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use strait_tests::Scripted;
use strait_tests::scripted::{Arrived, echoed, http, json_reply, modern, tools};

use crate::issuer::{Issuer, Pair, Said, Script};
use crate::process::{Folder, Process, config, strait};

/// The secret of this gateway at the token endpoint.
pub const SECRET: &str = "kanarie-client %&+";

/// What statements of who calls are signed with.
pub const IDENTITY_KEY: &str = "kanarie-identity, thirty-two bytes and more";

/// A request to a token endpoint, taken apart.
#[derive(Clone, Debug)]
pub struct Form {
    pub head: String,
    pub members: HashMap<String, String>,
}

impl Form {
    fn parse(request: &str) -> Form {
        let (head, body) = request.split_once("\r\n\r\n").expect("a head");
        let pairs = body.split('&').filter_map(|pair| pair.split_once('='));
        let members = pairs.map(|(name, value)| (decoded(name), decoded(value))).collect();
        Form { head: head.to_owned(), members }
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.members.get(name).map(String::as_str)
    }
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let digits = [rest.next().expect("a digit"), rest.next().expect("a digit")];
                let digits = std::str::from_utf8(&digits).expect("ASCII");
                bytes.push(u8::from_str_radix(digits, 16).expect("two digits"));
            }
            b'+' => bytes.push(b' '),
            other => bytes.push(other),
        }
    }
    String::from_utf8(bytes).expect("UTF-8")
}

/// A token endpoint at `/token`.
pub struct Tokens {
    pub issuer: Issuer,
    asked: Arc<Mutex<Vec<Form>>>,
}

impl Tokens {
    /// Answers with what `gives` makes of the form and of how often it was asked before.
    pub fn start(gives: impl Fn(&Form, usize) -> Said + Send + Sync + 'static) -> Tokens {
        let tokens = Tokens { issuer: Issuer::silent(), asked: Arc::default() };
        tokens.give(gives);
        tokens
    }

    /// The same beside keys that tokens of callers are signed with.
    pub fn with_keys(
        pairs: &[&Pair],
        gives: impl Fn(&Form, usize) -> Said + Send + Sync + 'static,
    ) -> Tokens {
        let tokens = Tokens { issuer: Issuer::start(pairs), asked: Arc::default() };
        tokens.give(gives);
        tokens
    }

    /// Requests of one grant.
    pub fn asked_for(&self, grant: &str) -> Vec<Form> {
        self.asked()
            .into_iter()
            .filter(|form| form.get("grant_type").is_some_and(|one| one.ends_with(grant)))
            .collect()
    }

    pub fn give(&self, gives: impl Fn(&Form, usize) -> Said + Send + Sync + 'static) {
        let (asked, count) = (self.asked.clone(), AtomicUsize::new(0));
        let does = move |request: &str| {
            let form = Form::parse(request);
            asked.lock().unwrap().push(form.clone());
            gives(&form, count.fetch_add(1, Ordering::SeqCst))
        };
        self.issuer.says("/token", Script::Does(Arc::new(does)));
    }

    pub fn url(&self) -> String {
        format!("{}/token", self.issuer.url())
    }

    pub fn asked(&self) -> Vec<Form> {
        self.asked.lock().unwrap().clone()
    }
}

/// A token as an endpoint gives it.
pub fn token(token: &str, expires_in: u64) -> Said {
    says(200, &json!({"access_token": token, "token_type": "Bearer", "expires_in": expires_in}))
}

pub fn says(status: u16, body: &Value) -> Said {
    (status, "Content-Type: application/json\r\n".to_owned(), body.to_string().into_bytes())
}

/// An upstream that takes these lines of `Authorization`, and whom it has let in.
pub fn guarded(takes: impl Fn(&str) -> bool + Send + Sync + 'static) -> Scripted {
    let script = modern(tools(), |request| json_reply(&echoed(request)));
    Scripted::start(move |request: &Arrived| match takes(request.header("authorization").unwrap_or("")) {
        true => script(request),
        false => {
            let body = br#"{"error":"invalid_token"}"#;
            vec![strait_tests::Step::Send(http(401, "application/json", body))]
        }
    })
}

/// A configuration for everybody, with these upstreams.
pub fn open(upstreams: &str) -> String {
    config(&format!(
        "upstreams:\n{upstreams}\
         servers:\n  default: {{ path: /mcp, tools: [\"*\"], naming: prefix }}\n\
         policy:\n  default: deny\n  rules:\n    - {{ id: all, allow: [\"*\"] }}\n"
    ))
}

/// The lines of `oauth` for an endpoint.
pub fn oauth(url: &str) -> String {
    format!("oauth: {{ token_url: \"{url}\", client: \"str:ait\", secret: \"${{secret:client}}\" }}")
}

pub fn serve(folder: &Folder, config: &str) -> Process {
    prepare(folder, config);
    let driver = std::env::var("STRAIT_DRIVER").unwrap_or_else(|_| "auto".to_owned());
    Process::start(folder, &["serve", "strait.yaml", "--driver", &driver])
}

/// Writes the configuration, and the secret.
pub fn prepare(folder: &Folder, config: &str) {
    std::fs::create_dir_all(folder.at("state/secrets")).expect("make the folder");
    folder.write("state/secrets/client", SECRET);
    folder.write("state/secrets/identity", IDENTITY_KEY);
    folder.write("strait.yaml", config);
    let out = strait(&folder.0, &["check", "strait.yaml"]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

/// How the named upstream stands in `/readyz`.
pub fn standing(process: &Process, list: &str, upstream: &str) -> Value {
    let ready = process.ready();
    let all = ready[list].as_array().cloned().unwrap_or_default();
    all.into_iter().find(|one| one["name"] == upstream || one["upstream"] == upstream).unwrap_or_default()
}

/// Environments of the gateway's children.
pub fn children(parent: u32) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let status = std::fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        if status.lines().any(|line| line == format!("PPid:\t{parent}")) {
            let bytes = std::fs::read(entry.path().join("environ")).unwrap_or_default();
            found.push(String::from_utf8_lossy(&bytes).into_owned());
        }
    }
    found
}
