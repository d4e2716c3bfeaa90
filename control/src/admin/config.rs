//! `/admin/config` and what belongs to it: the configuration in use, another one in its place, the one before, and what was in use when.
//!
//! Who wants to change something says which generation he looked at (`If-Match`); when that is not the running one any more, the
//! answer is 412. A candidate is a table, as `strait compile` writes it: a serving process compiles no text from the network.

use std::sync::Arc;

use axum::extract::{Extension, RawQuery, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use strait_table::Snapshot;
use tokio::sync::oneshot;

use super::Desk;
use super::caller::Caller;
use super::trial;
use crate::answers::decompiled;
use crate::limits::{
    CANDIDATE_BYTES_MAX, CANDIDATE_WITHIN, HISTORY_SHOWN_MAX, ORDER_WITHIN, ROLLBACK_BYTES_MAX,
};
use crate::rollout::history::Act;
use crate::rollout::order::{Answer, No};
use crate::rollout::{self, Order, Wish};

/// What an author says of an act.
const MESSAGE: &str = "strait-message";

/// The configuration in use, decompiled from the snapshot that workers have.
pub async fn effective(State(desk): State<Desk>) -> Response {
    let Some(snapshot) = desk.board.in_use() else { return not_open() };
    let facts = tokio::task::spawn_blocking(move || (tag(&snapshot), decompiled::facts(&snapshot))).await;
    match facts {
        Ok((tag, facts)) => ([(header::ETAG, tag)], axum::Json(facts)).into_response(),
        Err(error) => failed(StatusCode::INTERNAL_SERVER_ERROR, "bug", &error.to_string()),
    }
}

/// The table in use, as a file.
pub async fn table(State(desk): State<Desk>) -> Response {
    let Some(snapshot) = desk.board.in_use() else { return not_open() };
    let bytes = snapshot.table().to_vec();
    ([(header::ETAG, tag(&snapshot)), (header::CONTENT_TYPE, octets())], bytes).into_response()
}

pub async fn apply(
    State(desk): State<Desk>,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Response {
    let asked = match Asked::of(query.as_deref(), &["dry_run"]) {
        Ok(asked) => asked,
        Err(why) => return failed(StatusCode::BAD_REQUEST, "usage", &why),
    };
    let is_dry = asked.flag("dry_run");
    let head = match Head::of(request.headers()) {
        Ok(head) => head,
        Err(response) => return *response,
    };
    let length =
        request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if length.is_some_and(|length: u64| length > CANDIDATE_BYTES_MAX as u64) {
        let why = format!("a candidate may have {CANDIDATE_BYTES_MAX} bytes");
        return spoiled(&desk, is_dry, &caller, StatusCode::PAYLOAD_TOO_LARGE, "usage", &why).await;
    }
    let activation = match trial::activation(request.headers()) {
        Ok(activation) => activation,
        Err(why) => return failed(StatusCode::BAD_REQUEST, "usage", &why),
    };
    // Each is held whole, and looked into by a child.
    let Ok(_one) = desk.candidates.clone().try_acquire_owned() else {
        if !is_dry {
            refused_at_the_door(&desk, Act::Apply, &caller, &No::Busy.told(), false).await;
        }
        return denied(&No::Busy);
    };
    let read = axum::body::to_bytes(request.into_body(), CANDIDATE_BYTES_MAX);
    let bytes = match tokio::time::timeout(CANDIDATE_WITHIN, read).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(_)) => {
            let why = format!("the candidate broke off, or is longer than {CANDIDATE_BYTES_MAX} bytes");
            return spoiled(&desk, is_dry, &caller, StatusCode::PAYLOAD_TOO_LARGE, "usage", &why).await;
        }
        Err(_) => {
            let why = format!("the candidate did not arrive within {} s", CANDIDATE_WITHIN.as_secs());
            return failed(StatusCode::REQUEST_TIMEOUT, "unreachable", &why);
        }
    };
    let opened = tokio::task::spawn_blocking(move || Snapshot::from_bytes(&bytes)).await;
    let table = match opened {
        Ok(Ok(snapshot)) => Arc::new(snapshot),
        Ok(Err(error)) => {
            let why = format!("the candidate is no table that can be served: {error}");
            return spoiled(&desk, is_dry, &caller, StatusCode::UNPROCESSABLE_ENTITY, "failed", &why).await;
        }
        Err(error) => return failed(StatusCode::INTERNAL_SERVER_ERROR, "bug", &error.to_string()),
    };
    let wish = match is_dry {
        true => Wish::Plan { table },
        false => Wish::Apply { table, activation },
    };
    order(&desk, wish, caller, head).await
}

pub async fn rollback(
    State(desk): State<Desk>,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Response {
    // Whoever asks what it would do must not have it done.
    if let Err(why) = Asked::of(query.as_deref(), &[]) {
        let why =
            format!("{why}: what a rollback would do, `POST /admin/config?dry_run=true` tells of that table");
        return failed(StatusCode::BAD_REQUEST, "usage", &why);
    }
    let head = match Head::of(request.headers()) {
        Ok(head) => head,
        Err(response) => return *response,
    };
    let read = axum::body::to_bytes(request.into_body(), ROLLBACK_BYTES_MAX);
    let Ok(Ok(body)) = tokio::time::timeout(CANDIDATE_WITHIN, read).await else {
        return failed(StatusCode::PAYLOAD_TOO_LARGE, "usage", "the body is too long, or never ended");
    };
    let asked: Value = match body.is_empty() {
        true => json!({}),
        false => serde_json::from_slice(&body).unwrap_or_default(),
    };
    let to = match (asked.as_object(), &asked["to"]) {
        (Some(members), _) if members.keys().any(|name| name != "to") => None,
        (Some(_), Value::Null) => Some(None),
        (Some(_), Value::String(to)) => Some(Some(to.clone())),
        _ => None,
    };
    let Some(to) = to else {
        let why = "expected nothing, or a JSON object with `to`: a generation";
        return failed(StatusCode::BAD_REQUEST, "usage", why);
    };
    order(&desk, Wish::Rollback { to }, caller, head).await
}

pub async fn history(State(desk): State<Desk>, RawQuery(query): RawQuery) -> Response {
    let asked = match Asked::of(query.as_deref(), &["before", "limit"]) {
        Ok(asked) => asked,
        Err(why) => return failed(StatusCode::BAD_REQUEST, "usage", &why),
    };
    let number = |name: &str| asked.get(name).map(str::parse::<u64>).transpose();
    let (Ok(before), Ok(limit)) = (number("before"), number("limit")) else {
        return failed(StatusCode::BAD_REQUEST, "usage", "`before` and `limit` are numbers");
    };
    let limit = limit.map_or(HISTORY_SHOWN_MAX, |limit| (limit as usize).min(HISTORY_SHOWN_MAX));
    let read =
        tokio::task::spawn_blocking(move || rollout::told(&desk.root, &desk.file, before, limit)).await;
    match read {
        Ok(Ok(told)) => axum::Json(told).into_response(),
        Ok(Err(error)) => failed(
            StatusCode::INTERNAL_SERVER_ERROR,
            "unfit",
            &format!("the history cannot be read: {error}"),
        ),
        Err(error) => failed(StatusCode::INTERNAL_SERVER_ERROR, "bug", &error.to_string()),
    }
}

/// Sends an order to the control loop, and tells what became of it.
pub async fn order(desk: &Desk, wish: Wish, Caller(by): Caller, head: Head) -> Response {
    let (reply, heard) = oneshot::channel();
    let order = Order { wish, by, expected: head.expected, message: head.message, reply };
    if desk.orders.try_send(order).is_err() {
        return denied(&No::Busy);
    }
    match tokio::time::timeout(ORDER_WITHIN, heard).await {
        Ok(Ok(Answer::Done(facts))) => axum::Json(facts).into_response(),
        Ok(Ok(Answer::Behind(facts))) => (StatusCode::ACCEPTED, axum::Json(facts)).into_response(),
        Ok(Ok(Answer::No(no))) => denied(&no),
        Ok(Err(_)) => denied(&No::NotOpen),
        Err(_) => {
            let why =
                format!("not done within {} s: `strait status` tells what is served", ORDER_WITHIN.as_secs());
            failed(StatusCode::GATEWAY_TIMEOUT, "unreachable", &why)
        }
    }
}

/// Refuses a candidate that never became an order.
async fn spoiled(
    desk: &Desk,
    is_dry: bool,
    caller: &Caller,
    status: StatusCode,
    code: &str,
    why: &str,
) -> Response {
    if !is_dry {
        refused_at_the_door(desk, Act::Apply, caller, why, true).await;
    }
    failed(status, code, why)
}

/// Has an act written down that was refused before it was an order. `spoils`: the candidate is shown as rejected.
pub async fn refused_at_the_door(desk: &Desk, act: Act, caller: &Caller, why: &str, spoils: bool) {
    let (reply, heard) = oneshot::channel();
    let wish = Wish::Refused { act, why: why.to_owned(), spoils };
    let order = Order { wish, by: caller.0.clone(), expected: String::new(), message: None, reply };
    // With that many waiting nobody counts refusals.
    if desk.orders.try_send(order).is_ok() {
        let _ = tokio::time::timeout(ORDER_WITHIN, heard).await;
    }
}

/// What somebody wants who sends something here.
pub fn act_of(uri: &Uri) -> Option<Act> {
    match uri.path() {
        "/admin/config" => Some(Act::Apply),
        "/admin/rollback" => Some(Act::Rollback),
        "/admin/revocations" => Some(Act::Revoke),
        _ => None,
    }
}

fn denied(no: &No) -> Response {
    let (status, code) = match no {
        No::Moved { .. } => (StatusCode::PRECONDITION_FAILED, "conflict"),
        No::Busy | No::Private => (StatusCode::CONFLICT, "conflict"),
        No::Usage { .. } => (StatusCode::BAD_REQUEST, "usage"),
        No::Unfit { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "failed"),
        No::Unknown { .. } => (StatusCode::NOT_FOUND, "failed"),
        No::NotKept { .. } => (StatusCode::INSUFFICIENT_STORAGE, "unfit"),
        No::NotOpen | No::HandingOver => (StatusCode::SERVICE_UNAVAILABLE, "unreachable"),
    };
    failed(status, code, &no.told())
}

fn not_open() -> Response {
    denied(&No::NotOpen)
}

pub fn failed(status: StatusCode, code: &str, message: &str) -> Response {
    (status, axum::Json(json!({ "error": { "code": code, "message": message } }))).into_response()
}

fn tag(snapshot: &Snapshot) -> HeaderValue {
    // Hex digits between quotes are a header value.
    HeaderValue::from_str(&format!("\"{}\"", snapshot.generation()))
        .unwrap_or(HeaderValue::from_static("\"\""))
}

fn octets() -> HeaderValue {
    HeaderValue::from_static("application/octet-stream")
}

/// The headers of whoever wants to change something.
#[derive(Default)]
pub struct Head {
    expected: String,
    message: Option<String>,
}

impl Head {
    fn of(headers: &HeaderMap) -> Result<Head, Box<Response>> {
        let Some(expected) = headers.get(header::IF_MATCH) else {
            let why = "expected `If-Match` with the generation that this was made against, in quotes: `GET /admin/config` \
                       has it as its ETag";
            return Err(Box::new(failed(StatusCode::PRECONDITION_REQUIRED, "usage", why)));
        };
        let expected = expected.to_str().ok().and_then(|text| text.strip_prefix('"')?.strip_suffix('"'));
        let Some(expected) = expected else {
            let why = "`If-Match` is one generation in quotes";
            return Err(Box::new(failed(StatusCode::BAD_REQUEST, "usage", why)));
        };
        let message =
            headers.get(MESSAGE).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        Ok(Head { expected: expected.to_owned(), message })
    }
}

/// The query, of which every name is known.
struct Asked<'q>(Vec<(&'q str, &'q str)>);

impl<'q> Asked<'q> {
    fn of(query: Option<&'q str>, known: &[&str]) -> Result<Asked<'q>, String> {
        let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        let pairs: Vec<(&str, &str)> =
            pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "true"))).collect();
        match pairs.iter().find(|(name, _)| !known.contains(name)) {
            Some((name, _)) => Err(format!("`{name}` is not asked here: expected {}", known.join(", "))),
            None => Ok(Asked(pairs)),
        }
    }

    fn get(&self, name: &str) -> Option<&'q str> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }

    fn flag(&self, name: &str) -> bool {
        // Whatever else it says, whoever wrote it did not mean to change anything.
        self.get(name).is_some_and(|value| value != "false")
    }
}
