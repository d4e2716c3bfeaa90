//! How each upstream is reached: references replaced, credentials made into headers, host names
//! looked up. Whatever is missing makes one upstream unreachable with a reason; the process goes on.
//!
//! A host name that does not resolve is tried again with growing pauses for as long as the process
//! lives, and the address is handed to the workers when it is found. Of several addresses an IPv4 one
//! is taken: servers made for one machine listen on 127.0.0.1 more often than on ::1.

use std::net::SocketAddr;
use std::path::Path;

use base64::Engine;
use strait_engine::{HttpEndpoint, Reach};
use strait_table::Snapshot;
use strait_table::rules::{
    ArchivedCredential, ArchivedEndpoint, ArchivedSample, ArchivedStdio, ArchivedTransport, ArchivedUpstream,
};
use tokio::sync::mpsc;

use crate::limits::{RESOLVE_AGAIN_MAX, RESOLVE_AGAIN_MIN, RESOLVE_WITHIN};
use crate::sample;
use crate::secret::References;

/// An upstream before any name is looked up.
#[derive(Debug)]
pub enum Plan {
    Ready(Reach),
    Http(Vec<Wanted>),
    /// `sample: http`, served by this process.
    Shop,
}

/// One endpoint whose address is wanted. No derived `Debug`: headers hold credentials.
#[derive(Clone)]
pub struct Wanted {
    host: String,
    port: u16,
    path: String,
    headers: Vec<(String, String)>,
}

impl std::fmt::Debug for Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}{}", self.host, self.port, self.path)
    }
}

/// An endpoint of an upstream whose address was found late.
#[derive(Debug)]
pub struct Found {
    pub upstream: usize,
    pub endpoint: HttpEndpoint,
}

/// One plan per upstream of the table.
pub fn plan(snapshot: &Snapshot, base: &Path, references: &References, this_program: &Path) -> Vec<Plan> {
    let upstreams = snapshot.rules().upstreams.iter();
    upstreams
        .map(|upstream| {
            plan_one(upstream, base, references, this_program)
                .unwrap_or_else(|why| Plan::Ready(Reach::Unreachable(why)))
        })
        .collect()
}

fn plan_one(
    upstream: &ArchivedUpstream,
    base: &Path,
    references: &References,
    this_program: &Path,
) -> Result<Plan, String> {
    Ok(match &upstream.transport {
        ArchivedTransport::Http { endpoints } => {
            let headers = upstream
                .credential
                .as_ref()
                .map_or(Ok(Vec::new()), |c| header(c, references).map(|h| vec![h]))?;
            Plan::Http(endpoints.iter().map(|endpoint| wanted(endpoint, &headers)).collect())
        }
        ArchivedTransport::Stdio(stdio) => Plan::Ready(child(stdio, base, references)?),
        ArchivedTransport::Sample(ArchivedSample::Http) => Plan::Shop,
        ArchivedTransport::Sample(ArchivedSample::Stdio) => Plan::Ready(Reach::Stdio {
            command: this_program.to_string_lossy().into_owned(),
            args: vec!["sample".into(), "stdio".into()],
            env: Vec::new(),
            cwd: None,
        }),
    })
}

fn child(stdio: &ArchivedStdio, base: &Path, references: &References) -> Result<Reach, String> {
    let variable = |(name, text): (&str, _)| match references.resolve(text)? {
        value if value.contains('\0') => Err(format!("the value of `{name}` holds a NUL byte")),
        value => Ok((name.to_owned(), value)),
    };
    let env =
        stdio.env.iter().map(|pair| variable((pair.0.as_str(), &pair.1))).collect::<Result<_, String>>()?;
    let cwd = stdio.cwd.as_ref().map_or_else(|| base.to_owned(), |cwd| base.join(cwd.as_str()));
    Ok(Reach::Stdio {
        command: stdio.command.as_str().to_owned(),
        args: stdio.args.iter().map(|arg| arg.as_str().to_owned()).collect(),
        env,
        // Absolute, since the child's folder is changed before its command is looked for.
        cwd: Some(std::path::absolute(&cwd).unwrap_or(cwd)),
    })
}

/// A credential as a header.
fn header(credential: &ArchivedCredential, references: &References) -> Result<(String, String), String> {
    let (name, value) = match credential {
        ArchivedCredential::Bearer(text) => {
            ("Authorization", format!("Bearer {}", references.resolve(text)?))
        }
        ArchivedCredential::Basic(text) => {
            let coded = base64::engine::general_purpose::STANDARD.encode(references.resolve(text)?);
            ("Authorization", format!("Basic {coded}"))
        }
        ArchivedCredential::Header { name, value } => (name.as_str(), references.resolve(value)?),
    };
    // Anything else could end the line and begin a header of its own.
    match value.chars().all(|c| matches!(c, ' '..='~' | '\t')) {
        true => Ok((name.to_owned(), value)),
        false => Err(format!("the credential for header `{name}` has a character that no header may have")),
    }
}

fn wanted(endpoint: &ArchivedEndpoint, headers: &[(String, String)]) -> Wanted {
    Wanted {
        host: endpoint.host.as_str().trim_matches(['[', ']']).to_owned(),
        port: endpoint.port.to_native(),
        path: endpoint.path.as_str().to_owned(),
        headers: headers.to_owned(),
    }
}

impl Wanted {
    fn at(&self, address: SocketAddr) -> HttpEndpoint {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let host = if self.port == 80 { host } else { format!("{host}:{}", self.port) };
        HttpEndpoint { address, host, path: self.path.clone(), headers: self.headers.clone() }
    }

    async fn look_up(&self) -> Result<HttpEndpoint, String> {
        let lookup = tokio::net::lookup_host((self.host.as_str(), self.port));
        let host = &self.host;
        let addresses: Vec<SocketAddr> = match tokio::time::timeout(RESOLVE_WITHIN, lookup).await {
            Err(_) => return Err(format!("looking up `{host}` took over {} s", RESOLVE_WITHIN.as_secs())),
            Ok(Err(error)) => return Err(format!("host `{host}` is not found: {error}")),
            Ok(Ok(addresses)) => addresses.collect(),
        };
        let best = addresses.iter().find(|address| address.is_ipv4()).or(addresses.first());
        best.map(|address| self.at(*address)).ok_or_else(|| format!("host `{host}` has no address"))
    }
}

/// Looks all names up at once, and starts the sample. What is not found goes on being looked for, and
/// is sent to `found`.
pub async fn reach(plans: Vec<Plan>, found: &mpsc::UnboundedSender<Found>) -> Vec<Reach> {
    let tasks: Vec<_> = plans
        .into_iter()
        .enumerate()
        .map(|(upstream, plan)| tokio::spawn(reach_one(upstream, plan, found.clone())))
        .collect();
    let mut reaches = Vec::with_capacity(tasks.len());
    for task in tasks {
        reaches
            .push(task.await.unwrap_or_else(|error| Reach::Unreachable(format!("a bug in strait: {error}"))));
    }
    reaches
}

async fn reach_one(upstream: usize, plan: Plan, found: mpsc::UnboundedSender<Found>) -> Reach {
    let all = match plan {
        Plan::Ready(reach) => return reach,
        Plan::Shop => return shop().await,
        Plan::Http(all) => all,
    };
    let lookups: Vec<_> = all
        .into_iter()
        .map(|wanted| {
            let first = wanted.clone();
            (wanted, tokio::spawn(async move { first.look_up().await }))
        })
        .collect();
    let (mut endpoints, mut reasons) = (Vec::new(), Vec::new());
    for (wanted, lookup) in lookups {
        match lookup.await.unwrap_or_else(|error| Err(error.to_string())) {
            Ok(endpoint) => endpoints.push(endpoint),
            Err(why) => {
                reasons.push(why);
                tokio::spawn(keep_looking(upstream, wanted, found.clone()));
            }
        }
    }
    if endpoints.is_empty() { Reach::Unreachable(reasons.join("; ")) } else { Reach::Http { endpoints } }
}

async fn keep_looking(upstream: usize, wanted: Wanted, found: mpsc::UnboundedSender<Found>) {
    let mut pause = RESOLVE_AGAIN_MIN;
    loop {
        tokio::time::sleep(pause).await;
        if let Ok(endpoint) = wanted.look_up().await {
            // Nobody listens any more: the process is ending.
            let _ = found.send(Found { upstream, endpoint });
            return;
        }
        pause = (pause * 2).min(RESOLVE_AGAIN_MAX);
    }
}

async fn shop() -> Reach {
    match sample::http::start(sample::Kind::Shop).await {
        Ok(address) => {
            let path = sample::http::PATH.to_owned();
            let endpoint = HttpEndpoint { address, host: address.to_string(), path, headers: Vec::new() };
            Reach::Http { endpoints: vec![endpoint] }
        }
        Err(error) => Reach::Unreachable(format!("the sample server cannot listen on loopback: {error}")),
    }
}

/// Adds an endpoint that was found late.
pub fn add(reaches: &mut [Reach], found: Found) {
    match reaches.get_mut(found.upstream) {
        Some(Reach::Http { endpoints }) => endpoints.push(found.endpoint),
        Some(reach) => *reach = Reach::Http { endpoints: vec![found.endpoint] },
        None => {}
    }
}

#[cfg(test)]
mod tests;
