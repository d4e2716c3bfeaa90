//! TLS to a target: whom to trust, and what to show. The decision: a blocking conversation and a connection of the generator have
//! the same settings, tickets included, so that the greeting measures nothing that the run does not.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::TargetFault;

/// As the user says it.
#[derive(Clone, Debug, Default)]
pub struct TlsFiles {
    /// PEM file of whom to trust; none: whom this machine trusts.
    pub ca: Option<PathBuf>,
    /// PEM files of a certificate and its key to show.
    pub pair: Option<(PathBuf, PathBuf)>,
}

/// How a target's TLS is spoken.
#[derive(Clone, Debug)]
pub struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Tls {
    pub(super) fn of(host: &str, files: &TlsFiles) -> Result<Tls, TargetFault> {
        let wrong = |text: String| TargetFault::Usage(text);
        let name = ServerName::try_from(host.to_owned());
        let name = name.map_err(|_| wrong(format!("`{host}` is no name that a certificate can have")))?;
        let mut roots = RootCertStore::empty();
        match &files.ca {
            Some(path) => certificates(path)?.into_iter().for_each(|one| drop(roots.add(one))),
            None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
        }
        if roots.is_empty() {
            let text = match &files.ca {
                Some(path) => format!("`{}` has no certificate of an authority", path.display()),
                None => "this machine trusts no authority: name one with `--ca FILE`".to_owned(),
            };
            return Err(wrong(text));
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| wrong(error.to_string()))?.with_root_certificates(roots);
        let config = match &files.pair {
            None => builder.with_no_client_auth(),
            Some((cert, key)) => {
                let read = PrivateKeyDer::from_pem_file(key);
                let read = read
                    .map_err(|error| wrong(format!("cannot read a key in `{}`: {error}", key.display())))?;
                let both = builder.with_client_auth_cert(certificates(cert)?, read);
                both.map_err(|error| {
                    wrong(format!("`{}` is not usable with its key: {error}", cert.display()))
                })?
            }
        };
        Ok(Tls { config: Arc::new(config), name })
    }

    /// One end of a connection that has not begun.
    pub(crate) fn begin(&self) -> Result<ClientConnection, rustls::Error> {
        let mut client = ClientConnection::new(self.config.clone(), self.name.clone())?;
        // A request is written whole, and waits here for its socket.
        client.set_buffer_limit(None);
        Ok(client)
    }

    pub(super) fn over(&self, socket: TcpStream) -> io::Result<Stream> {
        let client = self.begin().map_err(io::Error::other)?;
        Ok(Stream::Tls(Box::new(StreamOwned::new(client, socket))))
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TargetFault> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    read.map_err(|error| {
        TargetFault::Usage(format!("cannot read certificates in `{}`: {error}", path.display()))
    })
}

/// A connection whose calls block.
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    pub(super) fn socket(&self) -> &TcpStream {
        match self {
            Stream::Plain(socket) => socket,
            Stream::Tls(stream) => &stream.sock,
        }
    }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(socket) => socket.read(into),
            Stream::Tls(stream) => stream.read(into),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(socket) => socket.write(bytes),
            Stream::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Plain(socket) => socket.flush(),
            Stream::Tls(stream) => stream.flush(),
        }
    }
}
