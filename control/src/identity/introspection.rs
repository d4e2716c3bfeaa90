//! Tokens that only their issuer can read: it is asked (RFC 7662), and its answer is kept for a while.
//!
//! The token goes to the configured endpoint and nowhere else. What the answer says is held against the same rules as the claims of
//! a signed token, and `active` against all of them.

use std::sync::{Arc, RwLock};

use axum::body::Bytes;
use axum::http::Method;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use strait_engine::Secret;
use strait_engine::trust::Doubt;

use super::jwt::text;
use crate::fetch::{Ask, Chosen, Fetcher, Said, Url};
use crate::limits::{ISSUER_BYTES_MAX, ISSUER_WITHIN};
use crate::log;

/// What is not told where another identity of the same server has something to say of the token.
pub const OF_ANOTHER_KIND: &str = "it is of a kind that its issuer is not asked about";

/// What an issuer is shown by a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// `Err`: why there is none.
    secret: Result<Secret, String>,
    /// The one before it: nobody changes it here and there in the same moment.
    previous: Option<Secret>,
    /// Why it is not another one by now.
    lost: Option<String>,
}

impl Shown {
    pub fn first(secret: Result<Secret, String>) -> Shown {
        Shown { secret, previous: None, lost: None }
    }

    /// What is shown once this was read; one that cannot be read leaves the one that was there.
    pub fn rotated(&self, new: Result<Secret, String>) -> Shown {
        match (&self.secret, new) {
            (Ok(last), Ok(new)) if *last != new => {
                Shown { secret: Ok(new), previous: Some(last.clone()), lost: None }
            }
            (Ok(_), Ok(_)) => Shown { lost: None, ..self.clone() },
            (Ok(_), Err(why)) => Shown { lost: Some(why), ..self.clone() },
            (Err(_), new) => Shown::first(new),
        }
    }

    /// Why it is not another one by now, where that has not been told.
    pub fn newly_lost(&self, last: &Shown) -> Option<&str> {
        self.lost.as_deref().filter(|_| self.lost != last.lost)
    }

    /// Whether an issuer would see no difference.
    pub fn is_same(&self, other: &Shown) -> bool {
        (&self.secret, &self.previous) == (&other.secret, &other.previous)
    }
}

pub struct Introspector {
    pub url: Url,
    pub issuer: String,
    client: String,
    shown: Shown,
    pub keep_ms: u64,
    fetcher: Fetcher,
    /// What was last complained of.
    complaint: Arc<RwLock<Option<String>>>,
}

impl Introspector {
    pub fn new(
        url: Url,
        issuer: String,
        client: String,
        shown: Shown,
        keep_ms: u64,
        fetcher: Fetcher,
    ) -> Introspector {
        Introspector { url, issuer, client, shown, keep_ms, fetcher, complaint: Arc::default() }
    }

    /// What its issuer says of a token that it calls active.
    pub async fn ask(&self, token: &[u8]) -> Result<Value, Doubt> {
        match self.answer(token).await {
            Ok(None) => {
                self.complain(None);
                Err(Doubt::Invalid(OF_ANOTHER_KIND))
            }
            Ok(Some(answer)) => {
                self.complain(None);
                match answer.get("active") {
                    Some(Value::Bool(true)) => {}
                    _ => return Err(Doubt::Invalid("its issuer does not know it, or not any more")),
                }
                match answer.get("iss").and_then(Value::as_str) {
                    Some(issuer) if issuer != self.issuer => Err(Doubt::Invalid("it is of another issuer")),
                    _ => Ok(answer),
                }
            }
            Err(why) => {
                self.complain(Some(why));
                Err(Doubt::Unavailable("its issuer does not answer"))
            }
        }
    }

    /// `None`: it is not asked about tokens like this one.
    async fn answer(&self, token: &[u8]) -> Result<Option<Value>, String> {
        let secret = self.shown.secret.as_ref().map_err(Clone::clone)?;
        let mut said = self.said(token, secret).await?;
        if let (401, Some(previous)) = (said.status, &self.shown.previous) {
            said = self.said(token, previous).await?;
        }
        let shown = self.url.shown();
        match said.status {
            200 => text::object(&said.body)
                .map(Some)
                .map_err(|why| format!("{shown} answered what cannot be used: {why}")),
            400 if is_of_another_kind(&said.body) => Ok(None),
            401 | 403 => Err(format!("{shown} does not know this gateway: look at `client` and `secret`")),
            status => Err(format!("{shown} answered {status}, expected 200")),
        }
    }

    async fn said(&self, token: &[u8], secret: &Secret) -> Result<Said, String> {
        let encoded = |text: &[u8]| -> String { form_encoded(text) };
        let pair = format!("{}:{}", encoded(self.client.as_bytes()), encoded(secret.as_bytes()));
        let basic = format!("Basic {}", STANDARD.encode(pair));
        let body = format!("token={}&token_type_hint=access_token", encoded(token));
        let headers =
            [("Authorization", basic.as_str()), ("Content-Type", "application/x-www-form-urlencoded")];
        let ask = Ask {
            method: Method::POST,
            url: &self.url,
            chosen: Chosen::ByOperator,
            headers: &headers,
            body: Bytes::from(body),
            within: ISSUER_WITHIN,
            answer_bytes_max: ISSUER_BYTES_MAX,
        };
        self.fetcher.ask(ask).await.map_err(|fault| fault.to_string())
    }

    /// Says once what is wrong, and once that it is over.
    fn complain(&self, why: Option<String>) {
        let Ok(mut last) = self.complaint.write() else { return };
        if *last == why {
            return;
        }
        match &why {
            Some(why) => log::warn(format!("introspection: {why}; its tokens are refused until it does")),
            None => log::info(format!("introspection: {} answers again", self.url.shown())),
        }
        *last = why;
    }
}

/// Some issuers are asked about opaque tokens only, and say so of the signed ones that another identity of the same server may
/// know: nothing is wrong with the issuer then, nor with how it is asked.
fn is_of_another_kind(body: &[u8]) -> bool {
    text::object(body)
        .is_ok_and(|said| said.get("error").is_some_and(|error| error == "unsupported_token_type"))
}

fn form_encoded(text: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(*byte))
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_may_say_that_it_is_not_asked_about_such_tokens() {
        assert!(is_of_another_kind(br#"{"error": "unsupported_token_type", "error_description": "signed"}"#));
        for other in [
            "{\"error\": \"invalid_request\"}",
            "{\"error\": [\"unsupported_token_type\"]}",
            "[]",
            "<html>",
            "",
        ] {
            assert!(!is_of_another_kind(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn the_secret_before_is_kept_for_one_rotation_and_one_that_is_gone_changes_nothing() {
        let of = |text: &str| Ok(Secret::new(text));
        let first = Shown::first(of("a"));
        assert!(first.rotated(of("a")).is_same(&first));
        let second = first.rotated(of("b"));
        assert_eq!((second.secret.as_deref(), second.previous.as_deref()), (Ok("b"), Some("a")));
        let lost = second.rotated(Err("gone".into()));
        assert!(lost.is_same(&second));
        assert_eq!(lost.newly_lost(&second), Some("gone"));
        assert_eq!(lost.rotated(Err("gone".into())).newly_lost(&lost), None);
        let third = lost.rotated(of("c"));
        assert_eq!((third.secret.as_deref(), third.previous.as_deref()), (Ok("c"), Some("b")));
        assert!(Shown::first(Err("none yet".into())).rotated(of("a")).is_same(&first));
    }
}
