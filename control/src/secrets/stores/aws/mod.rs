//! AWS Secrets Manager: `GetSecretValue`, signed with what this machine has.

mod identity;
mod sign;

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::Method;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use strait_engine::Secret;
use strait_table::secret::ArchivedAws;
use zeroize::Zeroizing;

use super::super::variable;
use super::{Found, Means, text_of};
use crate::fetch::{Ask, Chosen, Said, Url};
use crate::limits::{STORE_ANSWER_BYTES_MAX, STORE_WITHIN};
pub use identity::OfRole;
use sign::{Request, Scope};

const SERVICE: &str = "secretsmanager";
const CONTENT_TYPE: &str = "application/x-amz-json-1.1";
const TARGET: &str = "secretsmanager.GetSecretValue";

/// One secret, as tables say it.
#[derive(Clone, PartialEq, Eq)]
pub struct Place {
    pub endpoint: String,
    region: String,
    name: String,
    field: Option<String>,
    pub refresh: Duration,
}

/// What the service said, as far as anybody looks.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    secret_string: Option<String>,
    secret_binary: Option<String>,
    version_id: Option<String>,
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(rename = "__type")]
    kind: String,
}

impl Place {
    pub fn of(aws: &ArchivedAws) -> Place {
        let region = aws.region.as_str().to_owned();
        let endpoint = match aws.endpoint.as_ref() {
            Some(endpoint) => endpoint.as_str().to_owned(),
            None => {
                let of_china = if region.starts_with("cn-") { ".cn" } else { "" };
                format!("https://{SERVICE}.{region}.amazonaws.com{of_china}")
            }
        };
        Place {
            endpoint,
            region,
            name: aws.name.as_str().to_owned(),
            field: aws.field.as_ref().map(|field| field.as_str().to_owned()),
            refresh: Duration::from_secs(aws.refresh_s.to_native().into()),
        }
    }

    pub fn shown(&self) -> String {
        format!("{} `{}`", self.endpoint, self.name)
    }

    /// What is there now.
    pub async fn fetch(&self, role: &OfRole, means: &Means) -> Result<Found, String> {
        let said = self.asked(role, means).await?;
        self.found(&said).map_err(|why| format!("{} {why}", self.shown()))
    }

    async fn asked(&self, role: &OfRole, means: &Means) -> Result<Said, String> {
        let credentials = identity::credentials(role, means, &variable).await?;
        let url = Url::parse(&format!("{}/", self.endpoint))?;
        let body = json!({ "SecretId": self.name }).to_string();
        let moment: String =
            crate::time::rfc3339(crate::time::unix_s()).chars().filter(|c| !matches!(c, '-' | ':')).collect();
        let host = url.authority();
        // In the order of their names, as they are signed.
        let mut headers =
            vec![("content-type", CONTENT_TYPE), ("host", host.as_str()), ("x-amz-date", moment.as_str())];
        headers.extend(credentials.token.as_deref().map(|token| ("x-amz-security-token", token)));
        headers.push(("x-amz-target", TARGET));
        let request = Request { method: "POST", path: "/", headers: &headers, body: body.as_bytes() };
        let scope = Scope { region: &self.region, service: SERVICE, moment: &moment };
        let line = sign::authorization(&request, &scope, &credentials);
        // Written by whoever sends it.
        headers.retain(|(name, _)| *name != "host");
        headers.push(("authorization", line.as_str()));
        let ask = Ask {
            method: Method::POST,
            url: &url,
            chosen: Chosen::ByOperator,
            headers: &headers,
            body: Bytes::from(body),
            within: STORE_WITHIN,
            answer_bytes_max: STORE_ANSWER_BYTES_MAX,
        };
        means.fetcher(None)?.ask(ask).await.map_err(|fault| fault.to_string())
    }

    fn found(&self, said: &Said) -> Result<Found, String> {
        if said.status != 200 {
            return Err(refused(said));
        }
        let cannot_be_read = || "answered what is no secret".to_owned();
        let answer: Answer = serde_json::from_slice(&said.body).map_err(|_| cannot_be_read())?;
        let version = answer.version_id.unwrap_or_default();
        let version = version.chars().take(64).filter(|c| c.is_ascii_graphic()).collect();
        let whole = match (answer.secret_string, answer.secret_binary) {
            (Some(text), _) => Zeroizing::new(text),
            (None, Some(coded)) => {
                let coded = Zeroizing::new(coded);
                let bytes = Zeroizing::new(STANDARD.decode(&*coded).map_err(|_| cannot_be_read())?);
                let text = std::str::from_utf8(&bytes).map_err(|_| "is binary: expected text".to_owned())?;
                Zeroizing::new(text.to_owned())
            }
            (None, None) => return Err(cannot_be_read()),
        };
        let Some(field) = &self.field else {
            return Ok(Found { value: Secret::new(std::mem::take(&mut *{ whole })), version });
        };
        let fields: BTreeMap<String, &RawValue> = serde_json::from_str(&whole)
            .map_err(|_| format!("is no JSON object, and so has no field `{field}`: leave `field` out"))?;
        let raw = fields.get(field).ok_or_else(|| format!("has no field `{field}`"))?;
        let value = text_of(raw).map_err(|why| format!("has a field `{field}` that {why}"))?;
        Ok(Found { value, version })
    }
}

/// By the name of the fault; its text is nobody's business.
fn refused(said: &Said) -> String {
    let read: Option<Refusal> = serde_json::from_slice(&said.body).ok();
    let kind = read.map(|read| read.kind).unwrap_or_default();
    let kind = kind.rsplit('#').next().unwrap_or_default();
    match kind {
        "ResourceNotFoundException" => "is not there: look at `name` and `region`".to_owned(),
        "AccessDeniedException" => {
            "is not for these credentials: allow `secretsmanager:GetSecretValue` on it".to_owned()
        }
        "UnrecognizedClientException" | "InvalidClientTokenId" | "ExpiredTokenException" | "ExpiredToken" => {
            "does not know these credentials, or not any more: put others in their place".to_owned()
        }
        "InvalidSignatureException" | "SignatureDoesNotMatch" => {
            "does not take the signature: look at AWS_SECRET_ACCESS_KEY, and at this machine's clock"
                .to_owned()
        }
        "DecryptionFailure" => "cannot be decrypted there: allow `kms:Decrypt` with its key".to_owned(),
        "InvalidRequestException" => "is about to be deleted, or has no current version".to_owned(),
        "ThrottlingException" => "is asked for too often: raise `refresh`".to_owned(),
        kind => {
            let kind: String = kind.chars().filter(char::is_ascii_alphanumeric).take(64).collect();
            let named = if kind.is_empty() { String::new() } else { format!(" ({kind})") };
            format!("answered {}{named}, expected 200", said.status)
        }
    }
}
