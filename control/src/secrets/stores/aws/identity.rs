//! Whose credentials are shown to AWS: those of the environment, of a profile in a file, of the container, of the instance; the
//! first that there are, looked for anew at every reading.

use std::path::{Path, PathBuf};
use std::time::Instant;

use axum::body::Bytes;
use axum::http::Method;
use serde::Deserialize;
use strait_engine::Secret;
use tokio::sync::Mutex;

use super::super::Means;
use crate::fetch::{Ask, Chosen, Url};
use crate::limits::{AWS_ROLE_BYTES_MAX, AWS_ROLE_KEPT, AWS_ROLE_WITHIN};
use crate::state::read_secret;

#[derive(Clone)]
pub struct Credentials {
    pub id: Secret,
    pub secret: Secret,
    pub token: Option<Secret>,
}

/// Those of the container or the instance: asked for by one at a time, and kept for a while.
#[derive(Default)]
pub struct OfRole(Mutex<Option<(Credentials, Instant)>>);

/// As both hand them out.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HandedOut {
    access_key_id: String,
    secret_access_key: String,
    token: Option<String>,
}

const CONTAINER: &str = "http://169.254.170.2";
const INSTANCE: &str = "http://169.254.169.254";

type Env<'a> = &'a (dyn Fn(&str) -> Option<String> + Sync);

pub async fn credentials(role: &OfRole, means: &Means, env: Env<'_>) -> Result<Credentials, String> {
    if let Some(found) = of_environment(env)? {
        return Ok(found);
    }
    if let Some(found) = of_profile(env)? {
        return Ok(found);
    }
    let mut kept = role.0.lock().await;
    if let Some((found, _)) = kept.as_ref().filter(|(_, since)| since.elapsed() < AWS_ROLE_KEPT) {
        return Ok(found.clone());
    }
    let found = match container(env) {
        Some(place) => of_container(&place?, means, env).await,
        None => of_instance(means, env).await,
    }?;
    *kept = Some((found.clone(), Instant::now()));
    Ok(found)
}

fn set(env: Env<'_>, name: &str) -> Option<String> {
    env(name).filter(|value| !value.is_empty())
}

fn of_environment(env: Env<'_>) -> Result<Option<Credentials>, String> {
    let (id, secret) = (set(env, "AWS_ACCESS_KEY_ID"), set(env, "AWS_SECRET_ACCESS_KEY"));
    match (id, secret) {
        (Some(id), Some(secret)) => Ok(Some(Credentials {
            id: Secret::new(id),
            secret: Secret::new(secret),
            token: set(env, "AWS_SESSION_TOKEN").map(Secret::new),
        })),
        (None, None) => Ok(None),
        _ => Err("there is one of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY without the other".to_owned()),
    }
}

fn of_profile(env: Env<'_>) -> Result<Option<Credentials>, String> {
    let (file, profile) = (set(env, "AWS_SHARED_CREDENTIALS_FILE"), set(env, "AWS_PROFILE"));
    let is_wanted = file.is_some() || profile.is_some();
    let usual = || set(env, "HOME").map(|home| Path::new(&home).join(".aws/credentials"));
    let Some(path) = file.map(PathBuf::from).or_else(usual) else { return Ok(None) };
    let text = match read_secret(&path) {
        Ok(text) => Secret::new(text),
        Err(error) if !is_wanted && error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("cannot read `{}`: {error}", path.display())),
    };
    let name = profile.unwrap_or_else(|| "default".to_owned());
    match of_section(&text, &name) {
        None if !is_wanted => Ok(None),
        None => Err(format!("`{}` has no whole profile `{name}`", path.display())),
        found => Ok(found),
    }
}

/// `key = value` lines below `[name]`.
fn of_section(text: &str, name: &str) -> Option<Credentials> {
    let mut is_in = false;
    let (mut id, mut secret, mut token) = (None, None, None);
    for line in text.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            is_in = section.trim() == name;
            continue;
        }
        let Some((key, value)) = line.split_once('=').filter(|_| is_in && !line.starts_with(['#', ';']))
        else {
            continue;
        };
        let value = Some(Secret::new(value.trim()));
        match key.trim() {
            "aws_access_key_id" => id = value,
            "aws_secret_access_key" => secret = value,
            "aws_session_token" => token = value,
            _ => {}
        }
    }
    Some(Credentials { id: id?, secret: secret?, token })
}

/// Where the platform of a container says that it hands out credentials.
fn container(env: Env<'_>) -> Option<Result<Url, String>> {
    let full = set(env, "AWS_CONTAINER_CREDENTIALS_FULL_URI");
    let relative = set(env, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
    let url = relative.map(|path| format!("{CONTAINER}{path}")).or(full)?;
    Some(Url::parse(&url))
}

async fn of_container(place: &Url, means: &Means, env: Env<'_>) -> Result<Credentials, String> {
    let token = match set(env, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") {
        Some(path) => {
            Some(read_secret(Path::new(&path)).map_err(|error| format!("cannot read `{path}`: {error}"))?)
        }
        None => set(env, "AWS_CONTAINER_AUTHORIZATION_TOKEN"),
    };
    let token = token.map(Secret::new);
    let headers: Vec<(&str, &str)> = token.iter().map(|token| ("Authorization", &**token)).collect();
    handed_out(&asked(means, Method::GET, place, &headers).await?, place)
}

/// By its second version: a token first.
async fn of_instance(means: &Means, env: Env<'_>) -> Result<Credentials, String> {
    let nothing = "there are no credentials for AWS: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or \
                   AWS_SHARED_CREDENTIALS_FILE, or give this machine a role";
    if set(env, "AWS_EC2_METADATA_DISABLED").is_some_and(|value| value == "true") {
        return Err(nothing.to_owned());
    }
    let root = set(env, "AWS_EC2_METADATA_SERVICE_ENDPOINT").unwrap_or_else(|| INSTANCE.to_owned());
    let at = |path: &str| Url::parse(&format!("{}/latest/{path}", root.trim_end_matches('/')));
    let seconds = [("X-aws-ec2-metadata-token-ttl-seconds", "300")];
    let token = asked(means, Method::PUT, &at("api/token")?, &seconds).await;
    let token = token.map_err(|why| format!("{nothing} ({why})"))?;
    let token = Secret::new(text(&token)?);
    let shown = [("X-aws-ec2-metadata-token", &*token)];
    let roles = at("meta-data/iam/security-credentials/")?;
    let roles = asked(means, Method::GET, &roles, &shown).await?;
    let role = text(&roles)?.lines().next().unwrap_or_default().to_owned();
    if role.is_empty() || !role.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+=,.@_-".contains(&byte))
    {
        return Err("this machine has no role that could be asked for".to_owned());
    }
    let place = at(&format!("meta-data/iam/security-credentials/{role}"))?;
    handed_out(&asked(means, Method::GET, &place, &shown).await?, &place)
}

async fn asked(means: &Means, method: Method, url: &Url, headers: &[(&str, &str)]) -> Result<Bytes, String> {
    let ask = Ask {
        method,
        url,
        chosen: Chosen::ByPlatform,
        headers,
        body: Bytes::new(),
        within: AWS_ROLE_WITHIN,
        answer_bytes_max: AWS_ROLE_BYTES_MAX,
    };
    let said = means.fetcher(None)?.ask(ask).await.map_err(|fault| fault.to_string())?;
    match said.status {
        200 => Ok(said.body),
        status => Err(format!("{} answered {status}, expected 200", url.shown())),
    }
}

fn text(body: &Bytes) -> Result<String, String> {
    std::str::from_utf8(body)
        .map(|text| text.trim().to_owned())
        .map_err(|_| "whoever hands out this machine's credentials answered what is no text".to_owned())
}

fn handed_out(body: &Bytes, place: &Url) -> Result<Credentials, String> {
    let read: HandedOut = serde_json::from_slice(body)
        .map_err(|_| format!("{} answered what are no credentials", place.shown()))?;
    Ok(Credentials {
        id: Secret::new(read.access_key_id),
        secret: Secret::new(read.secret_access_key),
        token: read.token.map(Secret::new),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::Folder;

    fn shown(found: Result<Option<Credentials>, String>) -> Result<Option<String>, String> {
        let shown = |found: Credentials| {
            format!("{} {} {}", &*found.id, &*found.secret, found.token.as_deref().unwrap_or("-"))
        };
        found.map(|found| found.map(shown))
    }

    #[test]
    fn the_environment_comes_first_and_is_whole() {
        let check = |set: &[(&str, &str)], expected: Result<Option<&str>, &str>| {
            let env = |name: &str| {
                set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
            };
            match (shown(of_environment(&env)), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found.as_deref(), expected),
                (Err(why), Err(part)) => assert!(why.contains(part), "{why}"),
                (found, _) => panic!("{found:?}"),
            }
        };
        let (id, secret) = (("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b"));
        check(&[], Ok(None));
        check(&[id, secret], Ok(Some("a b -")));
        check(&[id, secret, ("AWS_SESSION_TOKEN", "c")], Ok(Some("a b c")));
        check(&[id], Err("without the other"));
        check(&[id, ("AWS_SECRET_ACCESS_KEY", "")], Err("without the other"));
    }

    #[test]
    fn a_profile_is_a_section_of_a_file() {
        let folder = Folder::new();
        let path = folder.path().join("credentials");
        let text = "# mine\n[default]\naws_access_key_id = a\naws_secret_access_key=b\n[ other ]\n\
                    aws_access_key_id=c\naws_secret_access_key=d=\naws_session_token = e\n[half]\naws_access_key_id=f\n";
        std::fs::write(&path, text).unwrap();
        let of = |profile: Option<&str>| {
            let env = |name: &str| match name {
                "AWS_SHARED_CREDENTIALS_FILE" => Some(path.display().to_string()),
                "AWS_PROFILE" => profile.map(str::to_owned),
                _ => None,
            };
            shown(of_profile(&env))
        };
        assert_eq!(of(None), Ok(Some("a b -".to_owned())));
        assert_eq!(of(Some("other")), Ok(Some("c d= e".to_owned())));
        assert!(of(Some("half")).unwrap_err().contains("no whole profile `half`"));
        // Nobody has asked for a file, and there is none.
        let home = |name: &str| (name == "HOME").then(|| folder.path().display().to_string());
        assert_eq!(shown(of_profile(&home)), Ok(None));
    }
}
