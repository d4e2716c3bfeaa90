//! `strait status`: what a running gateway says of itself, asked at its admin endpoints.

use std::path::Path;

use axum::body::Body;
use axum::http::{Request, header};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::failure::{Code, Failure};
use crate::limits::{STATUS_BYTES_MAX, STATUS_WITHIN};
use crate::state::read_secret;

/// Asks the gateway whose admin endpoints are at `address`, with the token of the state folder.
pub fn ask(address: &str, state: &Path) -> Result<Value, Failure> {
    let path = state.join("admin.token");
    let token = read_secret(&path).map_err(|error| {
        Failure::new(
            Code::NotAuthorised,
            format!("cannot read the admin token `{}`: {error}", path.display()),
        )
        .help("name the state folder of the running gateway with `--state DIR`, as its user")
    })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|error| Failure::new(Code::Unfit, format!("cannot start a runtime: {error}")))?;
    runtime.block_on(async {
        let asked = async {
            let ready = get(address, "/readyz", &token).await?;
            let open = get(address, "/admin/sessions", &token).await?;
            Ok(json!({ "gateway": ready, "open": open }))
        };
        timeout(STATUS_WITHIN, asked).await.unwrap_or_else(|_| {
            let text = format!("no answer from {address} within {} s", STATUS_WITHIN.as_secs());
            Err(Failure::new(Code::Unreachable, text))
        })
    })
}

async fn get(address: &str, path: &str, token: &str) -> Result<Value, Failure> {
    let unreachable = |what: String| {
        Failure::new(Code::Unreachable, format!("the admin endpoint at {address} {what}"))
            .help("`strait up` and `strait serve` print where it is; name it with `--admin HOST:PORT`")
    };
    let stream =
        TcpStream::connect(address).await.map_err(|e| unreachable(format!("cannot be reached: {e}")))?;
    let (mut sender, connection) = http1::handshake::<_, Body>(TokioIo::new(stream))
        .await
        .map_err(|e| unreachable(format!("does not speak HTTP: {e}")))?;
    tokio::spawn(connection);
    let request = Request::get(path)
        .header(header::HOST, address)
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .body(Body::empty())
        .map_err(|e| Failure::new(Code::Usage, format!("`{address}` is not an address: {e}")))?;
    let response =
        sender.send_request(request).await.map_err(|e| unreachable(format!("gave no answer: {e}")))?;
    let status = response.status().as_u16();
    if matches!(status, 401 | 403) {
        let text = format!("the gateway at {address} does not take this admin token (HTTP {status})");
        return Err(Failure::new(Code::NotAuthorised, text)
            .help("name the state folder of that gateway with `--state DIR`"));
    }
    let body = axum::body::to_bytes(Body::new(response.into_body()), STATUS_BYTES_MAX)
        .await
        .map_err(|e| unreachable(format!("broke off its answer to {path}: {e}")))?;
    serde_json::from_slice(&body)
        .map_err(|_| unreachable(format!("answered {path} with HTTP {status} and no JSON: another program?")))
}

/// For a person: what is served, then how upstreams are spoken to, then who is connected.
pub fn text(status: &Value) -> String {
    let (gateway, open) = (&status["gateway"], &status["open"]);
    let mut out = format!(
        "strait {} is {}: generation {}, catalog {}, up {} s, driver {}\n",
        word(&gateway["version"]),
        word(&gateway["phase"]),
        word(&gateway["generation"]),
        word(&gateway["catalog"]),
        gateway["uptime_s"],
        word(&gateway["driver"]),
    );
    let known = |name: &Value| {
        let all = gateway["upstreams"].as_array().into_iter().flatten();
        all.into_iter().find(|upstream| upstream["name"] == *name)
    };
    out.push_str("\nUPSTREAM              STATE        ERA     CALLS  SESSIONS  CHILDREN\n");
    for upstream in open["upstreams"].as_array().into_iter().flatten() {
        let standing = known(&upstream["name"]);
        out.push_str(&format!(
            "{:<21} {:<12} {:<7} {:>5}  {:>8}  {:>8}\n",
            word(&upstream["name"]),
            standing.map_or("-".into(), |standing| word(&standing["state"])),
            word(&upstream["era"]),
            upstream["calls"].to_string(),
            upstream["sessions"].to_string(),
            upstream["children"].to_string(),
        ));
        if let Some(error) = standing.and_then(|standing| standing["error"].as_str()) {
            out.push_str(&format!("  {error}\n"));
        }
    }
    let quarantine = &gateway["quarantine"];
    if quarantine["count"].as_u64().is_some_and(|count| count > 0) {
        out.push_str(&format!(
            "\n{} quarantined: review what changed, then run `strait lock`\n",
            quarantine["count"]
        ));
        for one in quarantine["shown"].as_array().into_iter().flatten() {
            let name = word(&one["name"]);
            let dot = if name.is_empty() { "" } else { "." };
            let (what, part, upstream) = (word(&one["what"]), word(&one["part"]), word(&one["upstream"]));
            out.push_str(&format!("  {what:<8} {part} {upstream}{dot}{name}\n"));
        }
    }
    table(
        &mut out,
        &open["sessions"],
        "sessions of older clients",
        "WORKER  SERVER           PRINCIPAL        REVISION    IDLE S  QUESTIONS  SUBSCRIBED  STREAM",
        |session| {
            format!(
                "{:>6}  {:<16} {:<16} {:<10} {:>7}  {:>9}  {:>10}  {}",
                session["worker"].to_string(),
                word(&session["server"]),
                word(&session["principal"]),
                word(&session["revision"]),
                seconds(&session["idle_ms"]),
                session["questions"].to_string(),
                session["subscriptions"].to_string(),
                if session["stream_open"] == true { "open" } else { "-" },
            )
        },
    );
    table(
        &mut out,
        &open["suspended"],
        "calls that wait for their clients' input",
        "WORKER  SERVER           PRINCIPAL        UPSTREAM         ITEM                  AGE S  LEFT S  QUESTIONS",
        |call| {
            format!(
                "{:>6}  {:<16} {:<16} {:<16} {:<20} {:>6} {:>7}  {:>9}",
                call["worker"].to_string(),
                word(&call["server"]),
                word(&call["principal"]),
                word(&call["upstream"]),
                word(&call["item"]),
                seconds(&call["age_ms"]),
                seconds(&call["left_ms"]),
                call["questions"].to_string(),
            )
        },
    );
    table(
        &mut out,
        &open["listens"],
        "listens of clients",
        "WORKER  SERVER           PRINCIPAL         AGE S  SUBSCRIBED  HEARS OF",
        |listen| {
            let filter = listen["filter"].as_array().into_iter().flatten().filter_map(Value::as_str);
            format!(
                "{:>6}  {:<16} {:<16} {:>6}  {:>10}  {}",
                listen["worker"].to_string(),
                word(&listen["server"]),
                word(&listen["principal"]),
                seconds(&listen["age_ms"]),
                listen["subscriptions"].to_string(),
                filter.collect::<Vec<_>>().join(" "),
            )
        },
    );
    for worker in open["silent_workers"].as_array().into_iter().flatten() {
        out.push_str(&format!("worker {worker} did not answer: what it has open is not shown\n"));
    }
    out
}

/// How many there are of a kind, then a line of each that is shown.
fn table(out: &mut String, kind: &Value, what: &str, head: &str, line: impl Fn(&Value) -> String) {
    out.push_str(&format!("\n{} {what}\n", kind["total"]));
    let shown = kind["shown"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !shown.is_empty() {
        out.push_str(&format!("{head}\n"));
    }
    for value in shown {
        out.push_str(&line(value));
        out.push('\n');
    }
}

fn word(value: &Value) -> String {
    value.as_str().unwrap_or("-").to_owned()
}

fn seconds(ms: &Value) -> u64 {
    ms.as_u64().unwrap_or_default() / 1_000
}
