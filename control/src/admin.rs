//! The admin listener: `/healthz` for whoever restarts a process, `/readyz` for whoever sends it
//! traffic, `/metrics` for Prometheus. On loopback none of these needs a token; `/admin/` does, the one of the state
//! folder. All refuse a foreign `Host` (see `host.rs`).

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::board::Board;
use crate::host;
use crate::metrics::CONTENT_TYPE;

/// The admin token, as far as it is needed to know it again.
#[derive(Clone)]
pub struct Token(blake3::Hash);

impl Token {
    pub fn of(text: &str) -> Token {
        Token(blake3::hash(text.as_bytes()))
    }

    /// Hashes compare in constant time.
    fn is_presented(&self, request: &Request) -> bool {
        let header = request.headers().get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
        let token = header.and_then(|value| value.strip_prefix(b"Bearer "));
        token.is_some_and(|token| blake3::hash(token) == self.0)
    }
}

/// Serves on `listener` as a task of this runtime.
pub fn start(listener: TcpListener, board: Arc<Board>, token: Token) -> std::io::Result<()> {
    let address = listener.local_addr()?;
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    tokio::spawn(async move { axum::serve(listener, router(board, address, token)).await });
    Ok(())
}

pub fn router(board: Arc<Board>, bound: SocketAddr, token: Token) -> Router {
    let names = Arc::new(vec![bound.ip().to_string()]);
    let administration = Router::new()
        .route("/admin/sessions", get(sessions))
        .route("/admin/quarantine", get(quarantine))
        .route_layer(middleware::from_fn_with_state(token, only_with_token));
    Router::new()
        .merge(administration)
        .route("/healthz", get(health))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(board)
        .layer(middleware::from_fn_with_state(names, only_for_us))
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

async fn only_with_token(State(token): State<Token>, request: Request, next: Next) -> Response {
    if token.is_presented(&request) {
        return next.run(request).await;
    }
    let text = "expected `Authorization: Bearer` with the token in `admin.token` of the state folder\n";
    (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")], text).into_response()
}

/// What is open: see `roll_call.rs`.
async fn sessions(State(board): State<Arc<Board>>) -> Response {
    match board.to_call() {
        Some(roll_call) => axum::Json(roll_call.run().await).into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, "the workers have not started yet\n").into_response(),
    }
}

/// What is not exposed because a lock file pins something else.
async fn quarantine(State(board): State<Arc<Board>>) -> Response {
    axum::Json(board.quarantined()).into_response()
}

/// 200 while every worker's beats advance. A worker that hangs cannot be mended from inside.
async fn health(State(board): State<Arc<Board>>) -> Response {
    let stalled = board.stalled(Instant::now());
    if stalled.is_empty() {
        return (StatusCode::OK, "ok\n").into_response();
    }
    let lines = stalled
        .iter()
        .map(|(worker, still)| format!("worker {worker} has not moved for {} s\n", still.as_secs()));
    (StatusCode::SERVICE_UNAVAILABLE, lines.collect::<String>()).into_response()
}

/// 200 when the gateway is open.
async fn ready(State(board): State<Arc<Board>>) -> Response {
    let status = if board.is_open() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, [(header::CONTENT_TYPE, "application/json")], format!("{}\n", board.ready())).into_response()
}

async fn metrics(State(board): State<Arc<Board>>) -> Response {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], board.metrics()).into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use serde_json::Value;
    use strait_engine::figures::places::Books;
    use strait_engine::{UpstreamId, WorkerFigures};

    use super::*;
    use crate::board::Phase;
    use crate::ledger::Ledger;
    use crate::limits::STALLED_AFTER;
    use crate::test_support::{run, send};

    fn get_from(board: &Arc<Board>, path: &str, host: &str) -> (u16, String) {
        let request = Request::get(path).header("host", host).body(Body::empty()).unwrap();
        run(async {
            let response =
                send(router(board.clone(), "10.0.0.5:8081".parse().unwrap(), Token::of("t0k")), request)
                    .await;
            let status = response.status().as_u16();
            let body = axum::body::to_bytes(response.into_body(), 1 << 16).await.unwrap();
            (status, String::from_utf8(body.to_vec()).unwrap())
        })
    }

    #[test]
    fn only_our_hosts_are_answered() {
        let board = Arc::default();
        let check = |host, status| assert_eq!(get_from(&board, "/healthz", host).0, status, "{host}");
        check("localhost:8081", 200);
        check("10.0.0.5:8081", 200);
        check("evil.example:8081", 403);
        assert_eq!(get_from(&board, "/none", "localhost").0, 404);
    }

    #[test]
    fn what_is_open_is_told_to_holders_of_the_token() {
        let board: Arc<Board> = Arc::default();
        let check = |authorization: Option<&str>, status| {
            let request = Request::get("/admin/sessions").header("host", "localhost");
            let request =
                authorization.into_iter().fold(request, |r, value| r.header("authorization", value));
            let request = request.body(Body::empty()).unwrap();
            let bound = "10.0.0.5:8081".parse().unwrap();
            let response = run(send(router(board.clone(), bound, Token::of("t0k")), request));
            assert_eq!(response.status().as_u16(), status, "{authorization:?}");
        };
        for wrong in [None, Some("Bearer t0"), Some("t0k"), Some("Bearer t0k "), Some("Basic t0k")] {
            check(wrong, 401);
        }
        // Known, but no engine runs here.
        check(Some("Bearer t0k"), 503);
    }

    #[test]
    fn readiness_follows_the_phase_and_shows_the_upstreams() {
        let board = Arc::new(Board::default());
        let mut ledger = Ledger::new([(UpstreamId(0), "crm".to_owned())].into_iter());
        ledger.learned(UpstreamId(0), Err("refused".into()));
        board.upstreams(&ledger);
        assert_eq!(get_from(&board, "/readyz", "localhost").0, 503);
        board.phase(Phase::Open);
        let (status, body) = get_from(&board, "/readyz", "localhost");
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, &body["ready"], &body["phase"]), (200, &true.into(), &"open".into()));
        assert_eq!(body["upstreams"][0]["state"], "unreachable");
        assert_eq!(body["upstreams"][0]["error"], "refused");
        board.left_out(&(0..40).map(|n| format!("{n:02}")).collect());
        let body: Value = serde_json::from_str(&get_from(&board, "/readyz", "localhost").1).unwrap();
        assert_eq!((&body["left_out"]["count"], &body["left_out"]["first"][31]), (&40.into(), &"31".into()));
        assert!(body["left_out"]["first"].get(32).is_none());
        board.phase(Phase::Draining);
        assert_eq!(get_from(&board, "/readyz", "localhost").0, 503);
    }

    #[test]
    fn a_worker_that_stands_still_is_named() {
        let board = Board::default();
        let figures = [Arc::new(WorkerFigures::default()), Arc::default()];
        board.engine(&figures, &Books::default(), "epoll");
        let later = Instant::now() + 2 * STALLED_AFTER;
        figures[0].beats.add(5);
        board.pulse(later);
        assert_eq!(board.stalled(later).iter().map(|(worker, _)| *worker).collect::<Vec<_>>(), [1]);
        figures[1].beats.add(1);
        board.pulse(later);
        assert!(board.stalled(later).is_empty());
    }
}
