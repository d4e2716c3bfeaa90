//! Why a handshake came to nothing: one word for figures, one sentence for people.

use std::io;

use rustls::{CertificateError, Error, PeerIncompatible};

/// What went wrong, as it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It did not end in time.
    Slow,
    /// The peer left, or the socket failed.
    Closed,
    /// A request without TLS.
    PlainHttp,
    /// Bytes that are no TLS, or not as TLS has it.
    Garbage,
    /// A version, cipher or application protocol that we do not speak.
    Incompatible,
    /// The peer's certificate is missing, expired, for somebody else or by somebody we do not trust.
    Certificate,
    /// The peer said no, about our certificate most likely.
    Refused,
    /// As many as a core works on are under way.
    TooMany,
    /// The listener has no certificate that can be used.
    NoCertificate,
}

impl Cause {
    pub const ALL: [Cause; 9] = [
        Cause::Slow,
        Cause::Closed,
        Cause::PlainHttp,
        Cause::Garbage,
        Cause::Incompatible,
        Cause::Certificate,
        Cause::Refused,
        Cause::TooMany,
        Cause::NoCertificate,
    ];

    /// The word in figures.
    pub fn label(self) -> &'static str {
        match self {
            Cause::Slow => "slow",
            Cause::Closed => "closed",
            Cause::PlainHttp => "plain_http",
            Cause::Garbage => "garbage",
            Cause::Incompatible => "incompatible",
            Cause::Certificate => "certificate",
            Cause::Refused => "refused",
            Cause::TooMany => "too_many",
            Cause::NoCertificate => "no_certificate",
        }
    }
}

/// A handshake that came to nothing.
#[derive(Debug)]
pub struct HandshakeFault {
    pub cause: Cause,
    pub why: String,
}

impl HandshakeFault {
    pub(crate) fn new(cause: Cause, why: impl Into<String>) -> HandshakeFault {
        HandshakeFault { cause, why: why.into() }
    }
}

impl From<io::Error> for HandshakeFault {
    fn from(error: io::Error) -> HandshakeFault {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                HandshakeFault::new(Cause::Closed, "the connection was closed in the middle of it")
            }
            _ => HandshakeFault::new(Cause::Closed, error.to_string()),
        }
    }
}

impl From<Error> for HandshakeFault {
    fn from(error: Error) -> HandshakeFault {
        let cause = match &error {
            Error::InvalidCertificate(_) | Error::NoCertificatesPresented => Cause::Certificate,
            Error::AlertReceived(_) => Cause::Refused,
            Error::PeerIncompatible(_) | Error::NoApplicationProtocol => Cause::Incompatible,
            _ => Cause::Garbage,
        };
        HandshakeFault::new(cause, told(&error))
    }
}

/// rustls names its types; people want to know what to do.
fn told(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(why) => certificate(why),
        Error::NoCertificatesPresented => "the peer showed no certificate, and one is required".to_owned(),
        Error::AlertReceived(alert) => format!("the peer refused it: {alert:?}"),
        Error::NoApplicationProtocol => {
            "the peer speaks no protocol that we do: expected http/1.1".to_owned()
        }
        Error::PeerIncompatible(
            PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::Tls13RequiredForQuic
            | PeerIncompatible::ServerDoesNotSupportTls12Or13,
        ) => "the peer speaks neither TLS 1.2 nor TLS 1.3".to_owned(),
        other => other.to_string(),
    }
}

fn certificate(why: &CertificateError) -> String {
    let why = match why {
        CertificateError::Expired => "it has expired".to_owned(),
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("it expired {}", since_1970(not_after.as_secs()))
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet".to_owned()
        }
        CertificateError::UnknownIssuer => "it was issued by nobody that is trusted here".to_owned(),
        CertificateError::NotValidForName => "it is for another name".to_owned(),
        CertificateError::NotValidForNameContext { expected, presented } => {
            format!("it is for {}, not for `{}`", presented.join(", "), expected.to_str())
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "it may not be used for this (extended key usage)".to_owned()
        }
        CertificateError::Revoked => "it was revoked".to_owned(),
        other => format!("{other:?}"),
    };
    format!("the peer's certificate is not accepted: {why}")
}

/// A moment as people read it, to the day.
fn since_1970(seconds: u64) -> String {
    let (year, month, day) = crate::io::clock::civil(seconds / 86_400);
    format!("on {year:04}-{month:02}-{day:02}")
}
