//! The admin endpoints: `/healthz` for whoever restarts a process, `/readyz` for whoever sends it
//! traffic, `/metrics` for Prometheus, and `/admin/` for whoever operates the gateway (docs/ROLLOUT.md). They are served on the admin
//! listener and on a Unix socket in the state folder. On loopback the first three need no token; `/admin/` does, unless it is
//! reached through the socket, which only one user may open. All refuse a foreign `Host` (see `host.rs`).

mod bounded;
mod caller;
mod config;
pub mod doors;
mod openapi;
mod revoked;
pub mod socket;
mod trial;

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::AbortHandle;

use crate::board::Board;
use crate::host;
use crate::metrics::Dialect;
use crate::rollout::Order;
use bounded::Bounded;
pub use caller::Tokens;

/// What the endpoints are answered from.
#[derive(Clone)]
pub struct Desk {
    pub board: Arc<Board>,
    pub orders: mpsc::Sender<Order>,
    pub tokens: Tokens,
    /// The state folder, and the file that is served: the history is there.
    pub root: PathBuf,
    pub file: PathBuf,
    /// Candidates that are read or looked into: one at a time, since each is held whole.
    pub candidates: Arc<Semaphore>,
}

/// Serves on `listener` as a task of this runtime, which accepts until it is aborted.
pub fn start(listener: TcpListener, desk: Desk) -> std::io::Result<AbortHandle> {
    let names = vec![listener.local_addr()?.ip().to_string()];
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let service = router(desk, names).into_make_service_with_connect_info::<caller::Remote>();
    let serving = tokio::spawn(async move { axum::serve(Bounded::new(listener), service).await });
    Ok(serving.abort_handle())
}

/// All endpoints, under these names and those of loopback.
pub fn router(desk: Desk, names: Vec<String>) -> Router {
    let administration = Router::new()
        .route("/admin/sessions", get(sessions))
        .route("/admin/quarantine", get(quarantine))
        .route("/admin/traffic", get(traffic))
        .route("/admin/rollout", get(rollout))
        .route("/admin/config", get(config::effective).post(config::apply))
        .route("/admin/config/table", get(config::table))
        .route("/admin/rollback", post(config::rollback))
        .route("/admin/trial", get(trial::shown))
        .route("/admin/history", get(config::history))
        .route("/admin/revocations", get(revoked::shown).post(revoked::more).delete(revoked::less))
        .route_layer(middleware::from_fn_with_state(desk.clone(), caller::known));
    Router::new()
        .merge(administration)
        .route("/healthz", get(health))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/openapi.json", get(openapi::document))
        .with_state(desk)
        .layer(middleware::from_fn_with_state(Arc::new(names), only_for_us))
}

async fn only_for_us(State(names): State<Arc<Vec<String>>>, request: Request, next: Next) -> Response {
    if !host::admits(request.headers(), &names) {
        let text =
            format!("expected a `Host` of this machine ({}), and no foreign `Origin`\n", names.join(", "));
        return (StatusCode::FORBIDDEN, text).into_response();
    }
    let mut response = next.run(request).await;
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// What is open: see `roll_call.rs`.
async fn sessions(State(desk): State<Desk>) -> Response {
    match desk.board.to_call() {
        Some(roll_call) => axum::Json(roll_call.run().await).into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, "the workers have not started yet\n").into_response(),
    }
}

/// What is not exposed because a lock file pins something else.
async fn quarantine(State(desk): State<Desk>) -> Response {
    axum::Json(desk.board.quarantined()).into_response()
}

/// Which generation is served, on whose word, and what the file says beside it.
async fn rollout(State(desk): State<Desk>) -> Response {
    axum::Json(desk.board.rolled_out()).into_response()
}

/// What is counted by tool and by principal.
async fn traffic(State(desk): State<Desk>) -> Response {
    axum::Json(desk.board.traffic()).into_response()
}

/// 200 while every worker's beats advance. A worker that hangs cannot be mended from inside.
async fn health(State(desk): State<Desk>) -> Response {
    let stalled = desk.board.stalled(Instant::now());
    if stalled.is_empty() {
        return (StatusCode::OK, "ok\n").into_response();
    }
    let lines = stalled
        .iter()
        .map(|(worker, still)| format!("worker {worker} has not moved for {} s\n", still.as_secs()));
    (StatusCode::SERVICE_UNAVAILABLE, lines.collect::<String>()).into_response()
}

/// 200 when the gateway is open.
async fn ready(State(desk): State<Desk>) -> Response {
    let board = &desk.board;
    let status = if board.is_open() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, [(header::CONTENT_TYPE, "application/json")], format!("{}\n", board.ready())).into_response()
}

async fn metrics(State(desk): State<Desk>, asked: HeaderMap) -> Response {
    let dialect = Dialect::wanted(asked.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()));
    ([(header::CONTENT_TYPE, dialect.content_type())], desk.board.metrics(dialect)).into_response()
}

#[cfg(test)]
mod tests;
