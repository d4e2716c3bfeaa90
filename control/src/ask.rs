//! A running gateway, asked at its admin endpoints: through the socket of its state folder, or at an address with a token from there.

use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{Method, Request, header};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::admin::socket;
use crate::failure::{Code, Failure};
use crate::limits::{ADMIN_ANSWER_BYTES_MAX, ORDER_WITHIN, STATUS_WITHIN};
use crate::revocations::Change;
use crate::state::read_secret;

/// Where the admin listener is when nobody says otherwise.
const ADDRESS: &str = "127.0.0.1:8081";

/// Where a gateway is asked.
pub struct Gateway {
    at: At,
}

enum At {
    Socket(PathBuf),
    Address { address: String, token: Option<String> },
}

/// What it said.
pub struct Said {
    pub status: u16,
    pub body: Bytes,
}

impl Gateway {
    /// The gateway with this state folder, through its socket; or at `admin`. Without a socket, at the default address.
    pub fn at(admin: Option<&str>, state: &Path) -> Result<Gateway, Failure> {
        let socket = socket::path(state);
        if admin.is_none() && socket.exists() {
            return Ok(Gateway { at: At::Socket(socket) });
        }
        // Whoever may look only has the other one.
        let tokens = ["admin.token", "viewer.token"].map(|name| state.join(name));
        let token = read_secret(&tokens[0]).or_else(|error| read_secret(&tokens[1]).map_err(|_| error));
        let token = token.map_err(|error| {
            let path = tokens[0].display();
            Failure::new(Code::NotAuthorised, format!("cannot read the admin token `{path}`: {error}"))
                .help("name the state folder of the running gateway with `--state DIR`, as its user")
        })?;
        Ok(Gateway { at: At::Address { address: admin.unwrap_or(ADDRESS).to_owned(), token: Some(token) } })
    }

    /// The gateway that has this state folder's socket now, if one does.
    pub fn of_socket(state: &Path) -> Option<Gateway> {
        let socket = socket::path(state);
        let is_there = std::os::unix::net::UnixStream::connect(&socket).is_ok();
        is_there.then_some(Gateway { at: At::Socket(socket) })
    }

    /// The same for whoever only looks: what wants a token is asked with the one of the state folder, if there is one.
    pub(crate) fn seen(admin: Option<&str>, state: &Path) -> Gateway {
        let socket = socket::path(state);
        if admin.is_none() && socket.exists() {
            return Gateway { at: At::Socket(socket) };
        }
        let tokens = ["admin.token", "viewer.token"].map(|name| read_secret(&state.join(name)).ok());
        let token = tokens.into_iter().flatten().next();
        Gateway { at: At::Address { address: admin.unwrap_or(ADDRESS).to_owned(), token } }
    }

    /// What `GET path` says, whatever that is.
    pub(crate) async fn look(&self, path: &str) -> Result<Said, Failure> {
        self.send(Method::GET, path, &[], Bytes::new()).await
    }

    /// Something answers there, and it is no gateway.
    pub(crate) fn not_ours(&self, path: &str, status: u16) -> Failure {
        self.unreachable(format!("answered {path} with HTTP {status} and no JSON: another program?"))
    }

    pub(crate) fn name(&self) -> String {
        match &self.at {
            At::Socket(path) => path.display().to_string(),
            At::Address { address, .. } => address.clone(),
        }
    }

    /// What `GET path` says, as JSON.
    pub fn get(&self, path: &str) -> Result<Value, Failure> {
        let said = self.run(STATUS_WITHIN, self.send(Method::GET, path, &[], Bytes::new()))?;
        self.json(path, &said)
    }

    /// Puts a table into use that was made against the generation `expected`; or, dry, tells what that would do.
    pub fn apply(
        &self,
        table: Vec<u8>,
        expected: &str,
        message: Option<&str>,
        dry: bool,
    ) -> Result<Value, Failure> {
        let path = if dry { "/admin/config?dry_run=true" } else { "/admin/config" };
        self.act(path, table, expected, message, &[])
    }

    /// Has a table tried beside what is served; `terms` are headers that say how.
    pub fn try_out(
        &self,
        table: Vec<u8>,
        expected: &str,
        message: Option<&str>,
        terms: &[(&str, &str)],
    ) -> Result<Value, Failure> {
        self.act("/admin/config", table, expected, message, terms)
    }

    pub fn rollback(
        &self,
        to: Option<&str>,
        expected: &str,
        message: Option<&str>,
    ) -> Result<Value, Failure> {
        self.act("/admin/rollback", json!({ "to": to }).to_string().into_bytes(), expected, message, &[])
    }

    /// Has somebody believed no more, or again.
    pub fn revoke(&self, change: &Change) -> Result<Value, Failure> {
        let Change { ids, only, for_s, reason, undo } = change;
        let body = json!({ "ids": ids, "only": only, "for_s": for_s, "reason": reason }).to_string();
        let (path, method) = ("/admin/revocations", if *undo { Method::DELETE } else { Method::POST });
        let said = self.run(ORDER_WITHIN, self.send(method, path, &[], body.into()))?;
        self.json(path, &said)
    }

    fn act(
        &self,
        path: &str,
        body: Vec<u8>,
        expected: &str,
        message: Option<&str>,
        more: &[(&str, &str)],
    ) -> Result<Value, Failure> {
        let expected = format!("\"{expected}\"");
        let mut headers = vec![("if-match", expected.as_str())];
        headers.extend(message.map(|message| ("strait-message", message)));
        headers.extend(more);
        let said = self.run(ORDER_WITHIN, self.send(Method::POST, path, &headers, body.into()))?;
        self.json(path, &said)
    }

    fn json(&self, path: &str, said: &Said) -> Result<Value, Failure> {
        let name = self.name();
        let found: Option<Value> = serde_json::from_slice(&said.body).ok();
        let told = found.as_ref().and_then(|found| found["error"]["message"].as_str().map(str::to_owned));
        let told = told.unwrap_or_else(|| String::from_utf8_lossy(&said.body).trim().to_owned());
        let code = match said.status {
            200..=299 | 503 if found.as_ref().is_some_and(|found| found["error"].is_null()) => {
                return found.ok_or_else(|| self.unreachable("said nothing".to_owned()));
            }
            401 | 403 => {
                let text =
                    format!("the gateway at {name} does not let this one (HTTP {}): {told}", said.status);
                let failure = Failure::new(Code::NotAuthorised, text);
                return Err(failure.help("name the state folder of that gateway with `--state DIR`"));
            }
            409 | 412 => Code::Conflict,
            404 | 422 if found.is_some() => Code::Failed,
            400 | 413 | 428 => Code::Usage,
            507 => Code::Unfit,
            503 | 504 | 408 => Code::Unreachable,
            status => {
                return Err(self.not_ours(path, status));
            }
        };
        Err(Failure::new(code, told))
    }

    fn unreachable(&self, what: String) -> Failure {
        Failure::new(Code::Unreachable, format!("the admin endpoint at {} {what}", self.name()))
            .help("is the gateway running? Name its state folder with `--state DIR`, or its admin listener with `--admin HOST:PORT`")
    }

    fn run(
        &self,
        within: Duration,
        asked: impl Future<Output = Result<Said, Failure>>,
    ) -> Result<Said, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime =
            runtime.map_err(|error| Failure::new(Code::Unfit, format!("cannot start a runtime: {error}")))?;
        let told = runtime.block_on(async { timeout(within, asked).await });
        told.unwrap_or_else(
            |_| Err(self.unreachable(format!("gave no answer within {} s", within.as_secs()))),
        )
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Said, Failure> {
        let failed = |error: std::io::Error| self.unreachable(format!("cannot be reached: {error}"));
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        match &self.at {
            At::Socket(path) => {
                let stream = UnixStream::connect(path).await.map_err(failed)?;
                self.exchange(stream, request.header(header::HOST, "localhost"), body).await
            }
            At::Address { address, token } => {
                let stream = TcpStream::connect(address).await.map_err(failed)?;
                let request = request.header(header::HOST, address);
                let request = token.iter().fold(request, |request, token| {
                    request.header(header::AUTHORIZATION, format!("Bearer {token}"))
                });
                self.exchange(stream, request, body).await
            }
        }
    }

    async fn exchange(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        request: axum::http::request::Builder,
        body: Bytes,
    ) -> Result<Said, Failure> {
        let unreachable = |what: &str, error: hyper::Error| self.unreachable(format!("{what}: {error}"));
        let (mut sender, connection) = http1::handshake::<_, Body>(TokioIo::new(stream))
            .await
            .map_err(|error| unreachable("does not speak HTTP", error))?;
        tokio::spawn(connection);
        let request = request
            .body(Body::from(body))
            .map_err(|error| Failure::new(Code::Usage, format!("that cannot be asked: {error}")))?;
        let response =
            sender.send_request(request).await.map_err(|error| unreachable("gave no answer", error))?;
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(Body::new(response.into_body()), ADMIN_ANSWER_BYTES_MAX)
            .await
            .map_err(|error| self.unreachable(format!("broke off its answer: {error}")))?;
        Ok(Said { status, body })
    }
}
