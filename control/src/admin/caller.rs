//! Who asks an admin endpoint, and what he may.
//!
//! Two roles: a viewer may look, an operator may change what is served. A token of the state folder says which; whoever comes through
//! the Unix socket has been let in by the kernel, as the user who may open it, and is an operator.

use std::net::SocketAddr;

use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::serve::IncomingStream;
use serde_json::{Value, json};

use super::Desk;
use super::bounded::Bounded;
use super::config::{act_of, refused_at_the_door};

/// The admin tokens, as far as they are needed to know them again.
#[derive(Clone)]
pub struct Tokens {
    operator: blake3::Hash,
    viewer: blake3::Hash,
}

impl Tokens {
    pub fn of(operator: &str, viewer: &str) -> Tokens {
        Tokens { operator: blake3::hash(operator.as_bytes()), viewer: blake3::hash(viewer.as_bytes()) }
    }

    /// Hashes compare in constant time.
    fn role(&self, request: &Request) -> Option<Role> {
        let header = request.headers().get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
        let token = blake3::hash(header.and_then(|value| value.strip_prefix(b"Bearer "))?);
        match (token == self.operator, token == self.viewer) {
            (true, _) => Some(Role::Operator),
            (_, true) => Some(Role::Viewer),
            _ => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Viewer,
    Operator,
}

/// Whoever opened the Unix socket, as the kernel knows him.
#[derive(Clone, Copy)]
pub struct Local {
    uid: Option<u32>,
    pid: Option<i32>,
}

impl Connected<IncomingStream<'_, Bounded<tokio::net::UnixListener>>> for Local {
    fn connect_info(stream: IncomingStream<'_, Bounded<tokio::net::UnixListener>>) -> Local {
        let peer = stream.io().stream().peer_cred().ok();
        Local { uid: peer.map(|peer| peer.uid()), pid: peer.and_then(|peer| peer.pid()) }
    }
}

/// Whoever reached the admin listener.
#[derive(Clone, Copy)]
pub struct Remote(SocketAddr);

impl Connected<IncomingStream<'_, Bounded<tokio::net::TcpListener>>> for Remote {
    fn connect_info(stream: IncomingStream<'_, Bounded<tokio::net::TcpListener>>) -> Remote {
        Remote(*stream.remote_addr())
    }
}

/// Somebody who may ask, as the history names him.
#[derive(Clone)]
pub struct Caller(pub Value);

/// Lets in whoever has a token or came through the socket, and lets nobody but operators change anything.
pub async fn known(State(desk): State<Desk>, mut request: Request, next: Next) -> Response {
    let local = request.extensions().get::<ConnectInfo<Local>>().map(|found| found.0);
    let remote = request.extensions().get::<ConnectInfo<Remote>>().map(|found| found.0.0.to_string());
    let (role, by) = match local {
        Some(Local { uid, pid }) => (Role::Operator, json!({ "via": "socket", "uid": uid, "pid": pid })),
        None => {
            let Some(role) = desk.tokens.role(&request) else {
                let text = "expected `Authorization: Bearer` with the token in `admin.token` (or, to look only, \
                            `viewer.token`) of the state folder\n";
                return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")], text)
                    .into_response();
            };
            let word = match role {
                Role::Viewer => "viewer",
                Role::Operator => "operator",
            };
            (role, json!({ "via": "token", "role": word, "from": remote }))
        }
    };
    let caller = Caller(by);
    if role == Role::Viewer && !matches!(*request.method(), Method::GET | Method::HEAD) {
        let why = "the viewer token may look, and change nothing: the token in `admin.token` may";
        if let Some(act) = act_of(request.uri()) {
            refused_at_the_door(&desk, act, &caller, why, false).await;
        }
        return (StatusCode::FORBIDDEN, format!("{why}\n")).into_response();
    }
    request.extensions_mut().insert(caller);
    next.run(request).await
}
