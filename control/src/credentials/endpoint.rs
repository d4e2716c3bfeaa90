//! A token endpoint of OAuth (RFC 6749): asked for a token, its answer held against what a token may be.
//!
//! It is asked as an operator wrote it, and nowhere else: no redirect is followed, and clear text stays on this machine. What it
//! says is bounded and taken for a stranger's word: a token that could not stand in a header, or that has ended already, is none.
//! Of an answer that is a refusal its `error` is told, and never its text, which may repeat what it was asked.

use std::time::Duration;

use axum::body::Bytes;
use axum::http::Method;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use strait_engine::Secret;
use strait_table::rules::ArchivedGrant;
use zeroize::Zeroizing;

use crate::fetch::{Ask, Chosen, Fetcher, Url};
use crate::identity::jwt::text;
use crate::limits::{
    GRANT_BYTES_MAX, GRANT_LASTS_MAX, GRANT_LASTS_UNSAID, GRANT_TOKEN_BYTES_MAX, GRANT_WITHIN,
};

/// What a table says of a token endpoint, and of what is asked of it.
pub struct Endpoint {
    url: Url,
    client: String,
    /// Client and secret stand in the body.
    in_body: bool,
    /// `scope`, `resource`, `audience`, as far as they were written.
    wishes: Vec<(&'static str, String)>,
    fetcher: Fetcher,
}

/// A token that was given.
pub struct Issued {
    pub token: Secret,
    /// From when it was asked for.
    pub lasts: Duration,
}

impl Endpoint {
    pub fn of(grant: &ArchivedGrant, fetcher: Fetcher) -> Result<Endpoint, String> {
        let mut wishes = Vec::new();
        let scope: Vec<&str> = grant.scope.iter().map(|scope| scope.as_str()).collect();
        if !scope.is_empty() {
            wishes.push(("scope", scope.join(" ")));
        }
        for (name, wish) in [("resource", &grant.resource), ("audience", &grant.audience)] {
            if let Some(wish) = wish.as_ref() {
                wishes.push((name, wish.as_str().to_owned()));
            }
        }
        let url = Url::parse(&grant.token_url).map_err(|why| format!("`token_url`: {why}"))?;
        Ok(Endpoint {
            url,
            client: grant.client.as_str().to_owned(),
            in_body: grant.in_body,
            wishes,
            fetcher,
        })
    }

    /// Asks for a token, with these members beside what every request of this endpoint says.
    pub async fn ask(&self, secret: &str, members: &[(&str, &str)]) -> Result<Issued, String> {
        let wishes = self.wishes.iter().map(|(name, wish)| (*name, wish.as_str()));
        let ours = [("client_id", self.client.as_str()), ("client_secret", secret)];
        let ours = ours.into_iter().filter(|_| self.in_body);
        let body = form(members.iter().copied().chain(wishes).chain(ours));
        let basic = self.basic(secret);
        let mut headers = vec![("Content-Type", "application/x-www-form-urlencoded")];
        if !self.in_body {
            headers.push(("Authorization", basic.as_str()));
        }
        let ask = Ask {
            method: Method::POST,
            url: &self.url,
            chosen: Chosen::ByOperator,
            headers: &headers,
            body: Bytes::from_owner(body),
            within: GRANT_WITHIN,
            answer_bytes_max: GRANT_BYTES_MAX,
        };
        let said = self.fetcher.ask(ask).await.map_err(|fault| fault.to_string())?;
        read(said.status, &said.body).map_err(|why| format!("{} {why}", self.url.shown()))
    }

    /// Both parts are form-encoded before they are joined (RFC 6749, 2.3.1).
    fn basic(&self, secret: &str) -> Zeroizing<String> {
        let mut pair = Zeroizing::new(Vec::with_capacity(3 * (self.client.len() + secret.len()) + 1));
        encode(&mut pair, self.client.as_bytes());
        pair.push(b':');
        encode(&mut pair, secret.as_bytes());
        let coded = Zeroizing::new(STANDARD.encode(&*pair));
        Zeroizing::new(["Basic ", coded.as_str()].concat())
    }
}

fn form<'t>(members: impl Iterator<Item = (&'t str, &'t str)> + Clone) -> Zeroizing<Vec<u8>> {
    // As large as it becomes: a text that grows leaves copies behind.
    let room = members.clone().map(|(name, value)| name.len() + 3 * value.len() + 2).sum();
    let mut body = Zeroizing::new(Vec::with_capacity(room));
    for (name, value) in members {
        if !body.is_empty() {
            body.push(b'&');
        }
        encode(&mut body, name.as_bytes());
        body.push(b'=');
        encode(&mut body, value.as_bytes());
    }
    body
}

fn encode(into: &mut Vec<u8>, text: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => into.push(*byte),
            _ => into.extend([b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]),
        }
    }
}

/// What an answer says: a token, or why there is none.
fn read(status: u16, body: &[u8]) -> Result<Issued, String> {
    let document = text::object(body);
    if status != 200 {
        let error = document.ok().and_then(|said| said.get("error")?.as_str().map(str::to_owned));
        let is_word = |error: &String| {
            error.len() <= 64 && error.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        let error = error.filter(is_word).map(|error| format!(" ({error})")).unwrap_or_default();
        let advice = if matches!(status, 400 | 401 | 403) {
            ": look at `client`, `secret` and what is asked for"
        } else {
            ""
        };
        return Err(format!("answered {status}{error}, expected 200{advice}"));
    }
    let document = document.map_err(|why| format!("answered what cannot be used: {why}"))?;
    let said = |name: &str| document.get(name).and_then(Value::as_str);
    let kind = said("token_type").ok_or("answered without a `token_type`")?;
    if !kind.eq_ignore_ascii_case("bearer") {
        return Err(
            "gave a token that is no bearer token: it cannot be shown in a header as it is".to_owned()
        );
    }
    let token = said("access_token").ok_or("answered without an `access_token`")?;
    if token.is_empty() || token.len() > GRANT_TOKEN_BYTES_MAX {
        return Err(format!("gave a token of {} bytes, expected 1 to {GRANT_TOKEN_BYTES_MAX}", token.len()));
    }
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("gave a token with a character that no header may have".to_owned());
    }
    let lasts = lasts(document.get("expires_in"))?;
    Ok(Issued { token: Secret::new(token), lasts })
}

fn lasts(said: Option<&Value>) -> Result<Duration, String> {
    let seconds = match said {
        None | Some(Value::Null) => return Ok(GRANT_LASTS_UNSAID),
        Some(Value::Number(number)) => number.as_f64(),
        // Some write it so.
        Some(Value::String(text)) => text.parse::<u32>().ok().map(f64::from),
        Some(_) => None,
    };
    match seconds.filter(|seconds| seconds.is_finite()) {
        None => Err("gave a token whose `expires_in` is no number of seconds".to_owned()),
        Some(seconds) if seconds < 1.0 => {
            Err("gave a token that has ended already (`expires_in`)".to_owned())
        }
        Some(seconds) => Ok(Duration::from_secs_f64(seconds.min(GRANT_LASTS_MAX.as_secs_f64()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_that_are_tokens_and_answers_that_are_none() {
        let given = |members: &str| {
            let body = format!("{{\"access_token\":\"t\",\"token_type\":\"bearer\"{members}}}");
            read(200, body.as_bytes()).map(|issued| issued.lasts.as_secs())
        };
        assert_eq!(given(""), Ok(GRANT_LASTS_UNSAID.as_secs()));
        assert_eq!(given(",\"expires_in\":null"), Ok(GRANT_LASTS_UNSAID.as_secs()));
        assert_eq!(given(",\"expires_in\":3600"), Ok(3600));
        assert_eq!(given(",\"expires_in\":\"3600\""), Ok(3600));
        assert_eq!(given(",\"expires_in\":1e300"), Ok(GRANT_LASTS_MAX.as_secs()));
        assert_eq!(given(",\"expires_in\":18446744073709551616"), Ok(GRANT_LASTS_MAX.as_secs()));
        for bad in ["0", "-1", "-1e300", "0.5", "\"-5\"", "\"soon\"", "true", "[]"] {
            assert!(given(&format!(",\"expires_in\":{bad}")).is_err(), "{bad}");
        }
        for bad in [
            "",
            "[]",
            "{}",
            "{\"access_token\":\"t\"}",
            "{\"token_type\":\"bearer\"}",
            "{\"access_token\":\"t\",\"token_type\":\"mac\"}",
            "{\"access_token\":\"t\",\"token_type\":\"N_A\"}",
            "{\"access_token\":\"\",\"token_type\":\"Bearer\"}",
            "{\"access_token\":7,\"token_type\":\"Bearer\"}",
            "{\"access_token\":\"a b\",\"token_type\":\"Bearer\"}",
            "{\"access_token\":\"a\\r\\nX: y\",\"token_type\":\"Bearer\"}",
            "{\"access_token\":\"\u{e9}\",\"token_type\":\"Bearer\"}",
        ] {
            assert!(read(200, bad.as_bytes()).is_err(), "{bad}");
        }
        let long = "t".repeat(GRANT_TOKEN_BYTES_MAX + 1);
        let long = format!("{{\"access_token\":\"{long}\",\"token_type\":\"Bearer\"}}");
        assert!(read(200, long.as_bytes()).is_err());
    }

    #[test]
    fn a_refusal_is_told_by_its_code_alone() {
        let refused = |body: &str| read(400, body.as_bytes()).err().unwrap();
        let told = refused("{\"error\":\"invalid_target\",\"error_description\":\"kanarie\"}");
        assert!(told.contains("400 (invalid_target)") && !told.contains("kanarie"), "{told}");
        for body in ["{\"error\":\"kanarie with spaces\"}", "{\"error\":[\"kanarie\"]}", "kanarie"] {
            let told = refused(body);
            assert!(told.contains("answered 400, expected 200") && !told.contains("kanarie"), "{told}");
        }
    }

    #[test]
    fn a_form_holds_whatever_a_secret_may_be() {
        let body = form([("a", "1 2"), ("b", "&=%\u{e9}")].into_iter());
        assert_eq!(String::from_utf8(body.to_vec()).unwrap(), "a=1%202&b=%26%3D%25%C3%A9");
    }
}
