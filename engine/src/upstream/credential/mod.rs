//! What an upstream is shown so that it lets us in.
//!
//! A [`Secret`] is a text that nobody reads by accident: it is overwritten when the last one who has it lets go, and its `Debug`
//! says nothing of it. The header lines of an upstream's credential come with the edition, so that a worker looks nothing up.
//!
//! While a secret is rotated there are two of them, and which one an upstream takes is known to nobody but it. What an edition
//! brings is tried first; a 401 to it says that nothing was carried out, so the same request may be sent once more with what was
//! there before, and a last time with the new one, should its server have changed over in between ([`Shown`]). Which of the two was
//! taken is not remembered: the time in which it matters is short.

pub mod lending;

use std::cell::Cell;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::core::Core;
use crate::edition::UpstreamId;
use crate::handle::{Event, HttpEndpoint, Level};
use crate::limits::REFUSED_TOLD_MS;

/// A text that is overwritten when nobody has it any more.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<Zeroizing<String>>);

impl Secret {
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(Arc::new(Zeroizing::new(text.into())))
    }
}

impl Deref for Secret {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// Lines of a head: names, and values that are secrets.
pub type Lines = Vec<(String, Secret)>;

/// Which of an endpoint's credentials a request shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// The one in use.
    Current,
    /// The one before it, since the one in use was not taken.
    Previous,
    /// The one in use, since neither was taken: its server may have changed from one to the other in between.
    Again,
}

impl Shown {
    pub fn lines(self, endpoint: &HttpEndpoint) -> &Lines {
        match self {
            Shown::Current | Shown::Again => &endpoint.headers,
            Shown::Previous => &endpoint.previous,
        }
    }

    /// What to show after an answer with this status, if there is anything left to show.
    pub fn after(self, status: u16, endpoint: &HttpEndpoint) -> Option<Shown> {
        if status != 401 || endpoint.previous.is_empty() {
            return None;
        }
        match self {
            Shown::Current => Some(Shown::Previous),
            Shown::Previous => Some(Shown::Again),
            Shown::Again => None,
        }
    }
}

/// What one worker has told of an upstream that does not take its credential.
#[derive(Default)]
pub struct Overlap {
    is_told: Cell<bool>,
    /// When control is told next, should it be refused again.
    next_ms: Cell<u64>,
}

impl Overlap {
    /// Control may have a way to another credential.
    pub fn report(&self, core: &Core, upstream: UpstreamId) {
        let now_ms = core.clock.coarse_ms();
        if now_ms >= self.next_ms.get() {
            self.next_ms.set(now_ms + REFUSED_TOLD_MS);
            core.report(Event::CredentialRefused { upstream });
        }
    }

    /// Tells it once per credential.
    pub fn refused(&self, core: &Core, upstream: &str) {
        if !self.is_told.replace(true) {
            let text = format!(
                "upstream `{upstream}` answers 401 to its new credential: it is asked once more with the one before, until it \
                 takes the new one"
            );
            core.notice(Level::Warn, text);
        }
    }

    /// Another credential is in use.
    pub fn renew(&self) {
        self.is_told.set(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_says_nothing_of_itself() {
        let endpoint = HttpEndpoint {
            address: "127.0.0.1:1".parse().unwrap(),
            host: "h".into(),
            path: "/".into(),
            headers: vec![("Authorization".into(), Secret::new("Bearer canary"))],
            previous: vec![("Authorization".into(), Secret::new("Bearer canary"))],
            stated: None,
            tls: None,
            lender: None,
        };
        assert!(!format!("{endpoint:?} {:?}", endpoint.headers).contains("canary"));
    }

    #[test]
    fn three_tries_at_the_most_and_only_after_a_401() {
        let line = |text: &str| vec![("Authorization".to_owned(), Secret::new(text))];
        let mut endpoint = HttpEndpoint {
            address: "127.0.0.1:1".parse().unwrap(),
            host: "h".into(),
            path: "/".into(),
            headers: line("new"),
            previous: line("old"),
            stated: None,
            tls: None,
            lender: None,
        };
        assert_eq!(Shown::Current.after(401, &endpoint), Some(Shown::Previous));
        assert_eq!(Shown::Current.after(403, &endpoint), None);
        assert_eq!(Shown::Previous.after(401, &endpoint), Some(Shown::Again));
        assert_eq!(Shown::Again.after(401, &endpoint), None);
        assert_eq!(Shown::Again.lines(&endpoint), &line("new"));
        assert_eq!(Shown::Previous.lines(&endpoint), &line("old"));
        endpoint.previous.clear();
        assert_eq!(Shown::Current.after(401, &endpoint), None);
    }
}
