//! Asks other programs over HTTP, off the workers: identity providers, secret stores, token endpoints, collectors.
//!
//! One request, one connection, one answer of a bounded size within a bounded time. Redirects are never followed: whoever was
//! configured is asked, nobody they name. Who chose the URL decides where it may lead ([`Chosen`]): an operator may name any host,
//! a peer none of ours. An address is looked at after its name was resolved, and it is the one that is connected to, so a name
//! that resolves twice leads to nothing else.

mod address;
#[cfg(test)]
mod tests;
mod url;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, Request, header};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub use url::Url;

/// Bytes of the head of an answer: hyper's own bound for one header is larger than anybody needs.
const HEAD_BYTES_MAX: usize = 32 * 1024;

/// Who chose a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chosen {
    /// It is written in the configuration, or comes from a document of the same origin as one that is. Clear text is for
    /// loopback only.
    ByOperator,
    /// The environment says that the platform below this machine answers there: in clear text on this machine, or at an address of
    /// this link.
    ByPlatform,
    /// A token, a document or a client names it: https alone, and no address of this machine or its networks.
    ByPeer,
}

/// What is asked.
pub struct Ask<'a> {
    pub method: Method,
    pub url: &'a Url,
    pub chosen: Chosen,
    /// Values may be secrets.
    pub headers: &'a [(&'a str, &'a str)],
    pub body: Bytes,
    /// All of it: name, connection, handshake, answer.
    pub within: Duration,
    pub answer_bytes_max: usize,
}

/// What was said, whatever it is.
pub struct Said {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Why there is no answer. Names the URL's origin and path, never its query, headers or body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchFault(String);

impl std::fmt::Display for FetchFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for FetchFault {}

/// Asks; its copies share what they trust.
#[derive(Clone, Default)]
pub struct Fetcher {
    /// Whom it trusts; `None`: whom this machine does.
    tls: Option<Arc<ClientConfig>>,
}

/// Whom this machine trusts, once somebody is asked over TLS. A hundred and fifty certificates are 300 KiB, and most gateways
/// ask nobody.
static MACHINE: OnceCell<Arc<ClientConfig>> = OnceCell::const_new();

impl Fetcher {
    /// Trusts the certificates that this machine trusts (`SSL_CERT_FILE` and `SSL_CERT_DIR` name others) when it first asks.
    pub fn new() -> Fetcher {
        Fetcher::default()
    }

    /// Trusts these alone.
    pub fn trusting(roots: RootCertStore) -> Fetcher {
        Fetcher { tls: Some(trusting(roots)) }
    }

    async fn handshake(
        &self,
        name: ServerName<'static>,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, String> {
        let tls = match &self.tls {
            Some(tls) => tls,
            None => {
                // Files, which may be slow.
                MACHINE
                    .get_or_try_init(|| tokio::task::spawn_blocking(machine))
                    .await
                    .map_err(|error| format!("cannot be asked: the certificates of this machine: {error}"))?
            }
        };
        let connected = TlsConnector::from(tls.clone()).connect(name, stream).await;
        connected.map_err(|error| format!("failed in the TLS handshake: {error}"))
    }

    pub async fn ask(&self, ask: Ask<'_>) -> Result<Said, FetchFault> {
        let place = ask.url.shown();
        let within = ask.within;
        let answered = tokio::time::timeout(within, self.answered(ask)).await;
        answered
            .unwrap_or_else(|_| Err(format!("gave no whole answer within {} ms", within.as_millis())))
            .map_err(|why| FetchFault(format!("{place} {why}")))
    }

    async fn answered(&self, ask: Ask<'_>) -> Result<Said, String> {
        let url = ask.url;
        let stream = connect(url, ask.chosen).await?;
        if !url.is_https() {
            return exchange(stream, ask).await;
        }
        let name = ServerName::try_from(url.host().to_owned())
            .map_err(|_| "has a host that no certificate can name".to_owned())?;
        exchange(self.handshake(name, stream).await?, ask).await
    }
}

/// A connection, in clear text or not.
pub trait Channel: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Channel for T {}

impl Fetcher {
    /// Connects to somebody whom the operator chose and who does not speak HTTP; in clear text on this machine alone.
    pub async fn dial(&self, host: &str, port: u16, tls: bool) -> Result<Box<dyn Channel>, String> {
        let found = tokio::net::lookup_host((host, port)).await;
        let found: Vec<SocketAddr> = found.map_err(|error| format!("is not found: {error}"))?.collect();
        let mut last = "has no address".to_owned();
        for address in found {
            if !tls && !address.ip().to_canonical().is_loopback() {
                last = format!(
                    "is to be told in clear text, and {} is another machine: use `tls://`",
                    address.ip()
                );
                continue;
            }
            match TcpStream::connect(address).await {
                Ok(stream) if !tls => return Ok(Box::new(stream)),
                Ok(stream) => {
                    let name = ServerName::try_from(host.to_owned())
                        .map_err(|_| "has a name that no certificate can have".to_owned())?;
                    return Ok(Box::new(self.handshake(name, stream).await?));
                }
                Err(error) => last = format!("cannot be reached at {address}: {error}"),
            }
        }
        Err(last)
    }
}

fn machine() -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    // One that cannot be read makes the servers it vouches for unreachable, with a reason, and no others.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    trusting(roots)
}

fn trusting(roots: RootCertStore) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap_or_else(|error| unreachable!("the provider has no protocol version of its own: {error}"))
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

async fn connect(url: &Url, chosen: Chosen) -> Result<TcpStream, String> {
    let found = tokio::net::lookup_host((url.host(), url.port())).await;
    let found: Vec<SocketAddr> = found.map_err(|error| format!("is not found: {error}"))?.collect();
    let mut last = "has no address".to_owned();
    for address in found {
        if let Err(why) = address::allowed(url, chosen, address.ip()) {
            last = why;
            continue;
        }
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = format!("cannot be reached at {address}: {error}"),
        }
    }
    Err(last)
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ask: Ask<'_>,
) -> Result<Said, String> {
    let said = |what: &str, error: hyper::Error| format!("{what}: {error}");
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .handshake::<_, Body>(TokioIo::new(stream))
        .await
        .map_err(|error| said("does not speak HTTP", error))?;
    let connection = Ended(tokio::spawn(connection));
    let mut request = Request::builder()
        .method(ask.method)
        .uri(ask.url.path_and_query())
        .header(header::HOST, ask.url.authority())
        .header(header::ACCEPT, "application/json")
        .header(header::CONNECTION, "close");
    for (name, value) in ask.headers {
        request = request.header(*name, *value);
    }
    // Its own text could hold the header's value.
    let request = request
        .body(Body::from(ask.body))
        .map_err(|_| "cannot be asked: a header has a character that no header may have".to_owned())?;
    let response = sender.send_request(request).await.map_err(|error| said("gave no answer", error))?;
    let (parts, body) = response.into_parts();
    let body = axum::body::to_bytes(Body::new(body), ask.answer_bytes_max)
        .await
        .map_err(|_| format!("broke off its answer, or it is over {} bytes", ask.answer_bytes_max))?;
    drop(connection);
    Ok(Said { status: parts.status.as_u16(), headers: parts.headers, body })
}

/// The task of a connection, which is over with its exchange: a peer that goes on sending is heard by nobody.
struct Ended(tokio::task::JoinHandle<Result<(), hyper::Error>>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.abort();
    }
}
