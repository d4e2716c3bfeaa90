//! The admin endpoints as an OpenAPI 3.1 document: `openapi.json` beside this file, served as it stands. A test holds it against the routes.

use axum::http::header;
use axum::response::{IntoResponse, Response};

pub const DOCUMENT: &str = include_str!("openapi.json");

pub async fn document() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT).into_response()
}
