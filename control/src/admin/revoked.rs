//! `/admin/revocations`: who is not believed any more, one more, or one less. It asks for no generation: whom nobody shall believe is
//! the same whatever is served.

use axum::extract::{Extension, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::Desk;
use super::caller::Caller;
use super::config::{Head, failed, order};
use crate::limits::{CANDIDATE_WITHIN, REVOKE_BYTES_MAX};
use crate::revocations::Change;
use crate::rollout::Wish;

pub async fn shown(State(desk): State<Desk>) -> Response {
    axum::Json(desk.board.revoked()).into_response()
}

pub async fn more(
    State(desk): State<Desk>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Response {
    changed(desk, caller, request, false).await
}

pub async fn less(
    State(desk): State<Desk>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Response {
    changed(desk, caller, request, true).await
}

async fn changed(desk: Desk, caller: Caller, request: Request, undo: bool) -> Response {
    let read = axum::body::to_bytes(request.into_body(), REVOKE_BYTES_MAX);
    let Ok(Ok(body)) = tokio::time::timeout(CANDIDATE_WITHIN, read).await else {
        let why = format!("the body is longer than {REVOKE_BYTES_MAX} bytes, or never ended");
        return failed(StatusCode::PAYLOAD_TOO_LARGE, "usage", &why);
    };
    match serde_json::from_slice::<Change>(&body) {
        Ok(change) => order(&desk, Wish::Revoke(Change { undo, ..change }), caller, Head::default()).await,
        Err(error) => {
            let why =
                format!("expected a JSON object with `ids`, and perhaps `only`, `for_s`, `reason`: {error}");
            failed(StatusCode::BAD_REQUEST, "usage", &why)
        }
    }
}
