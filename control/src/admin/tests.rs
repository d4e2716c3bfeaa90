//! The admin endpoints, called without a socket.

use axum::body::Body;
use serde_json::Value;
use strait_engine::figures::places::Books;
use strait_engine::{UpstreamId, WorkerFigures};

use super::*;
use crate::board::Phase;
use crate::ledger::Ledger;
use crate::limits::STALLED_AFTER;
use crate::test_support::{run, send};

fn desk(board: &Arc<Board>) -> Desk {
    Desk {
        board: board.clone(),
        orders: mpsc::channel(1).0,
        tokens: Tokens::of("t0k", "v1ew"),
        root: std::env::temp_dir(),
        file: "none".into(),
        candidates: Arc::new(Semaphore::new(1)),
    }
}

fn get_from(board: &Arc<Board>, path: &str, host: &str) -> (u16, String) {
    let request = Request::get(path).header("host", host).body(Body::empty()).unwrap();
    run(async {
        let response = send(router(desk(board), vec!["10.0.0.5".into()]), request).await;
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
        let request = authorization.into_iter().fold(request, |r, value| r.header("authorization", value));
        let request = request.body(Body::empty()).unwrap();
        let response = run(send(router(desk(&board), Vec::new()), request));
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

/// Every path and method of the router, as its source says them, and of the document.
#[test]
fn the_document_speaks_of_the_routes_that_there_are() {
    let source = include_str!("../admin.rs");
    let mut routes = Vec::new();
    for line in source.lines().filter_map(|line| line.trim().strip_prefix(".route(\"")) {
        let (path, handlers) = line.split_once("\", ").unwrap();
        for method in
            ["get", "post", "delete"].iter().filter(|method| handlers.contains(&format!("{method}(")))
        {
            routes.push(format!("{method} {path}"));
        }
    }
    let document: Value = serde_json::from_str(openapi::DOCUMENT).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    let paths = document["paths"].as_object().unwrap().iter();
    let mut told: Vec<String> = paths
        .flat_map(|(path, methods)| {
            methods.as_object().unwrap().keys().map(move |method| format!("{method} {path}"))
        })
        .collect();
    routes.sort();
    told.sort();
    assert_eq!(told, routes);
    assert!(routes.len() > 10, "{routes:?}");
    let text = openapi::DOCUMENT;
    for piece in text.split("\"$ref\": \"#/components/schemas/").skip(1) {
        let name = piece.split('"').next().unwrap();
        assert!(document["components"]["schemas"][name].is_object(), "{name}");
    }
    let board = Arc::default();
    assert_eq!(get_from(&board, "/openapi.json", "localhost"), (200, text.to_owned()));
}
