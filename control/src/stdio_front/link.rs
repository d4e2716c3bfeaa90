//! The way to the gateway: HTTP/1.1 over TCP, one exchange per connection at a time.
//!
//! The decision: to cancel is to drop the answer. A connection whose answer was not read to its end is closed
//! with it, which is what a gateway of 2026-07-28 takes for a cancellation; only one that was is kept for the next
//! exchange, for a few seconds.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use strait_protocol::sse;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::budget::{Budget, Held};
use super::trouble::Trouble;
use crate::limits::*;

/// Headers that differ from exchange to exchange.
pub type Headers = Vec<(HeaderName, HeaderValue)>;

/// Where a gateway is: `http://host:port/path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    host: String,
    port: u16,
    /// With the query, as it is sent.
    target: String,
}

impl Endpoint {
    pub fn parse(text: &str) -> Result<Endpoint, String> {
        let expected = || format!("`{text}`: expected http://HOST:PORT/PATH");
        let uri: Uri = text.parse().map_err(|_| expected())?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => {
                return Err(format!(
                    "`{text}`: https is not there yet in this version; name the http address of a gateway on this \
                     machine or behind a tunnel of yours"
                ));
            }
            _ => return Err(expected()),
        }
        let authority = uri.authority().ok_or_else(expected)?;
        if authority.as_str().contains('@') {
            return Err(
                "a URL with a user or a password in it: pass the key in STRAIT_KEY or --key-file".into()
            );
        }
        let target = uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(expected());
        }
        Ok(Endpoint { host, port: authority.port_u16().unwrap_or(80), target })
    }

    pub fn at(address: SocketAddr, path: String) -> Endpoint {
        Endpoint { host: address.ip().to_string(), port: address.port(), target: path }
    }

    fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let path = self.target.split('?').next().unwrap_or_default();
        write!(f, "http://{}{path}", self.authority())
    }
}

pub struct Link {
    endpoint: Endpoint,
    host: HeaderValue,
    authorization: Option<HeaderValue>,
    budget: Budget,
    idle: RefCell<Vec<Idle>>,
}

struct Idle {
    sender: SendRequest<Full<Bytes>>,
    since: Instant,
}

impl Link {
    pub fn new(endpoint: Endpoint, key: Option<&str>, budget: Budget) -> Result<Rc<Link>, String> {
        let host = HeaderValue::try_from(endpoint.authority()).map_err(|_| "not a host name".to_owned())?;
        let authorization = key.map(|key| {
            let bearer = HeaderValue::try_from(format!("Bearer {key}"));
            let mut bearer =
                bearer.map_err(|_| "the key has characters that no header may have".to_owned())?;
            bearer.set_sensitive(true);
            Ok::<_, String>(bearer)
        });
        let authorization = authorization.transpose()?;
        Ok(Rc::new(Link { endpoint, host, authorization, budget, idle: RefCell::default() }))
    }

    pub async fn post(self: &Rc<Link>, body: Bytes, headers: &Headers) -> Result<Answer, Trouble> {
        self.exchange(Method::POST, body, "application/json, text/event-stream", headers).await
    }

    pub async fn get(self: &Rc<Link>, headers: &Headers) -> Result<Answer, Trouble> {
        self.exchange(Method::GET, Bytes::new(), "text/event-stream", headers).await
    }

    pub async fn delete(self: &Rc<Link>, headers: &Headers) -> Result<Answer, Trouble> {
        self.exchange(Method::DELETE, Bytes::new(), "*/*", headers).await
    }

    async fn exchange(
        self: &Rc<Link>,
        method: Method,
        body: Bytes,
        accept: &'static str,
        headers: &Headers,
    ) -> Result<Answer, Trouble> {
        let is_post = method == Method::POST;
        let mut request = Request::builder().method(method).uri(&self.endpoint.target);
        if let Some(all) = request.headers_mut() {
            all.insert(header::HOST, self.host.clone());
            all.insert(header::ACCEPT, HeaderValue::from_static(accept));
            if is_post {
                all.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            }
            if let Some(authorization) = &self.authorization {
                all.insert(header::AUTHORIZATION, authorization.clone());
            }
            for (name, value) in headers {
                all.insert(name.clone(), value.clone());
            }
        }
        let mut request = request.body(Full::new(body)).map_err(|error| self.broken(error))?;
        // A connection that was closed while it was idle gives the request back.
        while let Some(mut sender) = self.take_idle() {
            match sender.try_send_request(request).await {
                Ok(response) => return Ok(Answer::new(response, sender, self.clone())),
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(self.broken(error.into_error())),
                },
            }
        }
        let mut sender = self.connect().await?;
        let response = sender.send_request(request).await.map_err(|error| self.broken(error))?;
        Ok(Answer::new(response, sender, self.clone()))
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, Trouble> {
        let failed = |why: String| Trouble::Unreachable { endpoint: self.endpoint.to_string(), why };
        let connecting = TcpStream::connect((self.endpoint.host.as_str(), self.endpoint.port));
        let stream = match timeout(FRONT_CONNECT_WITHIN, connecting).await {
            Ok(connected) => connected.map_err(|error| failed(error.to_string()))?,
            Err(_) => return Err(failed(format!("no answer within {} s", FRONT_CONNECT_WITHIN.as_secs()))),
        };
        // Small messages, each awaited.
        let _ = stream.set_nodelay(true);
        let shaken = http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) = shaken.map_err(|error| failed(error.to_string()))?;
        // How it ends, whoever waits on it hears as well.
        tokio::task::spawn_local(async move { drop(connection.await) });
        Ok(sender)
    }

    fn broken(&self, error: impl std::error::Error) -> Trouble {
        let mut why = error.to_string();
        if let Some(source) = error.source() {
            why.push_str(&format!(": {source}"));
        }
        Trouble::Broken { endpoint: self.endpoint.to_string(), why }
    }

    fn take_idle(&self) -> Option<SendRequest<Full<Bytes>>> {
        let mut idle = self.idle.borrow_mut();
        idle.retain(|idle| !idle.sender.is_closed() && idle.since.elapsed() < FRONT_IDLE_WITHIN);
        idle.pop().map(|idle| idle.sender)
    }

    fn keep(&self, sender: SendRequest<Full<Bytes>>) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < FRONT_IDLE_CONNECTIONS_MAX && !sender.is_closed() {
            idle.push(Idle { sender, since: Instant::now() });
        }
    }
}

/// What an answer's body is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Media {
    Json,
    Events,
    Other,
}

/// An answer whose body was not read yet. Dropping it closes its connection.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    body: Incoming,
    sender: SendRequest<Full<Bytes>>,
    link: Rc<Link>,
}

impl Answer {
    fn new(response: hyper::Response<Incoming>, sender: SendRequest<Full<Bytes>>, link: Rc<Link>) -> Answer {
        let (head, body) = response.into_parts();
        Answer { status: head.status, headers: head.headers, body, sender, link }
    }

    pub fn media(&self) -> Media {
        let said = self.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let essence = said.and_then(|said| said.split(';').next()).unwrap_or_default().trim();
        match essence.to_ascii_lowercase().as_str() {
            "application/json" => Media::Json,
            "text/event-stream" => Media::Events,
            _ => Media::Other,
        }
    }

    /// All of the body, counted among what the front holds.
    pub async fn whole(mut self) -> Result<(Vec<u8>, Held), Trouble> {
        let mut bytes = Vec::new();
        let mut held = self.link.budget.empty();
        while let Some(piece) = piece(&mut self.body, &self.link).await? {
            if bytes.len() + piece.len() > FRONT_LINE_BYTES_MAX {
                return Err(Trouble::AnswerTooLarge);
            }
            if !held.grow(piece.len()) {
                return Err(Trouble::Full("bytes held at once"));
            }
            bytes.extend_from_slice(&piece);
        }
        self.link.keep(self.sender);
        Ok((bytes, held))
    }

    pub fn events(self) -> Events {
        Events { reader: sse::Reader::new(), data: Vec::new(), rest: Bytes::new(), answer: Some(self) }
    }
}

/// The next bytes of a body; none at its end.
async fn piece(body: &mut Incoming, link: &Link) -> Result<Option<Bytes>, Trouble> {
    loop {
        match body.frame().await {
            None => return Ok(None),
            Some(Err(error)) => return Err(link.broken(error)),
            // Trailers say nothing to us.
            Some(Ok(frame)) => match frame.into_data() {
                Ok(bytes) => return Ok(Some(bytes)),
                Err(_) => continue,
            },
        }
    }
}

/// The events of a stream, also of one that goes on over another connection.
pub struct Events {
    reader: sse::Reader,
    data: Vec<u8>,
    rest: Bytes,
    answer: Option<Answer>,
}

impl Events {
    /// The data of the next event; none when the stream has ended.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, Trouble> {
        loop {
            if !self.rest.is_empty() {
                let step = self.reader.push(&self.rest, &mut self.data);
                let step = step.map_err(|fault| Trouble::NotMcp(fault.message().into()))?;
                self.rest = self.rest.slice(step.consumed..);
                match step.event {
                    Some(event) if event.kind == sse::EventKind::Message => {
                        return Ok(Some(std::mem::take(&mut self.data)));
                    }
                    _ => continue,
                }
            }
            let Some(answer) = &mut self.answer else { return Ok(None) };
            match piece(&mut answer.body, &answer.link).await? {
                Some(bytes) => self.rest = bytes,
                None => {
                    if let Some(answer) = self.answer.take() {
                        answer.link.keep(answer.sender);
                    }
                    return Ok(None);
                }
            }
        }
    }

    /// Goes on with another answer.
    pub fn resume(&mut self, answer: Answer) {
        self.reader.restart();
        self.data.clear();
        self.rest = Bytes::new();
        self.answer = Some(answer);
    }

    /// What `Last-Event-ID` must say for the stream to go on; none when it had no ids.
    pub fn last_event_id(&self) -> Option<HeaderValue> {
        let id = self.reader.last_event_id();
        (!id.is_empty()).then(|| HeaderValue::from_bytes(id).ok()).flatten()
    }

    pub fn retry_ms(&self) -> Option<u64> {
        self.reader.retry_ms()
    }
}
