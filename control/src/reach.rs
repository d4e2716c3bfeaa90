//! How each upstream is reached: references replaced, credentials made into headers, host names
//! looked up. Whatever is missing makes one upstream unreachable with a reason; the process goes on.
//!
//! A host name that does not resolve is tried again with growing pauses for as long as a table wants
//! it, and the address is handed to the workers when it is found. Of several addresses an IPv4 one
//! is taken: servers made for one machine listen on 127.0.0.1 more often than on ::1.
//!
//! A reload looks up only what is new: an upstream whose plan stayed the same keeps its addresses, and
//! with them its connections.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use strait_engine::lending::Lender;
use strait_engine::{ClientTls, HttpEndpoint, Reach, Secret, Stated};
use strait_table::Snapshot;
use strait_table::rules::{
    ArchivedEndpoint, ArchivedSample, ArchivedStdio, ArchivedTransport, ArchivedUpstream,
};
use tokio::sync::{OnceCell, mpsc};
use tokio::task::AbortHandle;

use crate::certificates::Certificates;
use crate::credentials::{self, Grants, Lack, Shown};
use crate::identity_header;
use crate::limits::{RESOLVE_AGAIN_MAX, RESOLVE_AGAIN_MIN, RESOLVE_WITHIN};
use crate::sample;
use crate::secrets::references::References;

/// An upstream before any name is looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    Ready(Reach),
    Http(Vec<Wanted>),
    /// `sample: http`, served by this process.
    Shop,
    /// It is shown a token that is not there yet, and is being asked for; the text says why.
    Waits(String),
}

/// One endpoint whose address is wanted. No derived `Debug`: headers hold credentials.
#[derive(Clone, PartialEq, Eq)]
pub struct Wanted {
    host: String,
    port: u16,
    path: String,
    headers: Vec<(String, Secret)>,
    /// What stood there before a secret was rotated.
    previous: Vec<(String, Secret)>,
    stated: Option<Arc<Stated>>,
    tls: Option<ClientTls>,
    lender: Option<Lender>,
}

impl std::fmt::Debug for Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}{}", self.host, self.port, self.path)
    }
}

/// An address that was found late, for whoever wants it now: tables may have been swapped meanwhile.
#[derive(Debug)]
pub struct Found {
    pub wanted: Wanted,
    pub endpoint: HttpEndpoint,
}

/// Looks for the addresses that tables want; one for the whole process.
#[derive(Clone)]
pub struct Scout {
    found: mpsc::UnboundedSender<Found>,
    /// The sample server, once it was started.
    shop: Arc<OnceCell<Reach>>,
    /// What is still being looked for.
    missing: Arc<Mutex<Vec<(Wanted, AbortHandle)>>>,
}

/// What plans are made of beside the table.
pub struct Given<'a> {
    pub base: &'a Path,
    pub references: &'a References<'a>,
    pub certificates: &'a Certificates,
    pub grants: &'a Grants,
    pub this_program: &'a Path,
}

/// One plan per upstream of the table.
pub fn plan(snapshot: &Snapshot, given: &Given<'_>) -> Vec<Plan> {
    let upstreams = snapshot.rules().upstreams.iter();
    upstreams
        .map(|upstream| {
            plan_one(upstream, given).unwrap_or_else(|lack| match lack {
                Lack::Stated(why) => Plan::Ready(Reach::Unreachable(why)),
                Lack::Token(why) => Plan::Waits(why),
            })
        })
        .collect()
}

fn plan_one(upstream: &ArchivedUpstream, given: &Given<'_>) -> Result<Plan, Lack> {
    let shown = credentials::shown(upstream, given.references, given.grants)?;
    Ok(match &upstream.transport {
        ArchivedTransport::Http { endpoints } => {
            let stated = upstream.identity_header.as_ref();
            let stated = stated.map(|of| identity_header::stated(of, given.references)).transpose();
            let stated = stated.map_err(Lack::Stated)?;
            let tls = |endpoint: &ArchivedEndpoint| match endpoint.https {
                true => given.certificates.client(upstream, given.base, bare(endpoint)).map(Some),
                false => Ok(None),
            };
            let all = endpoints.iter().map(|endpoint| {
                let mut wanted = wanted(endpoint, &shown, tls(endpoint)?);
                wanted.stated.clone_from(&stated);
                Ok(wanted)
            });
            let all = all.collect::<Result<_, String>>();
            Plan::Http(all.map_err(|why| Lack::Stated(format!("TLS: {why}")))?)
        }
        ArchivedTransport::Stdio(stdio) => {
            let child = child(stdio, given.base, given.references, shown);
            Plan::Ready(child.map_err(Lack::Stated)?)
        }
        ArchivedTransport::Sample(ArchivedSample::Http) => Plan::Shop,
        ArchivedTransport::Sample(ArchivedSample::Stdio) => Plan::Ready(Reach::Stdio {
            command: given.this_program.to_string_lossy().into_owned(),
            args: vec!["sample".into(), "stdio".into()],
            env: Vec::new(),
            cwd: None,
            lender: None,
        }),
    })
}

fn child(stdio: &ArchivedStdio, base: &Path, references: &References, shown: Shown) -> Result<Reach, String> {
    let variable = |(name, text): (&str, _)| match references.resolve(text)? {
        value if value.contains('\0') => Err(format!("the value of `{name}` holds a NUL byte")),
        value => Ok((name.to_owned(), value)),
    };
    let env = stdio.env.iter().map(|pair| variable((pair.0.as_str(), &pair.1)));
    let env = env.chain(shown.variable.map(Ok)).collect::<Result<_, String>>()?;
    let cwd = stdio.cwd.as_ref().map_or_else(|| base.to_owned(), |cwd| base.join(cwd.as_str()));
    Ok(Reach::Stdio {
        command: stdio.command.as_str().to_owned(),
        args: stdio.args.iter().map(|arg| arg.as_str().to_owned()).collect(),
        env,
        // Absolute, since the child's folder is changed before its command is looked for.
        cwd: Some(std::path::absolute(&cwd).unwrap_or(cwd)),
        lender: shown.lender,
    })
}

/// An IPv6 address without its brackets.
fn bare(endpoint: &ArchivedEndpoint) -> &str {
    endpoint.host.as_str().trim_matches(['[', ']'])
}

fn wanted(endpoint: &ArchivedEndpoint, shown: &Shown, tls: Option<ClientTls>) -> Wanted {
    Wanted {
        host: bare(endpoint).to_owned(),
        tls,
        port: endpoint.port.to_native(),
        path: endpoint.path.as_str().to_owned(),
        headers: shown.lines.clone(),
        previous: Vec::new(),
        stated: None,
        lender: shown.lender.clone(),
    }
}

impl Wanted {
    fn at(&self, address: SocketAddr) -> HttpEndpoint {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let usual = if self.tls.is_some() { 443 } else { 80 };
        let host = if self.port == usual { host } else { format!("{host}:{}", self.port) };
        HttpEndpoint {
            address,
            host,
            path: self.path.clone(),
            headers: self.headers.clone(),
            previous: self.previous.clone(),
            stated: self.stated.clone(),
            tls: self.tls.clone(),
            lender: self.lender.clone(),
        }
    }

    /// Whether it is the same place, whatever is shown there.
    fn is_at(&self, other: &Wanted) -> bool {
        (&self.host, self.port, &self.path, &self.tls, &self.lender)
            == (&other.host, other.port, &other.path, &other.tls, &other.lender)
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

impl Scout {
    pub fn new(found: mpsc::UnboundedSender<Found>) -> Scout {
        Scout { found, shop: Arc::default(), missing: Arc::default() }
    }

    /// Looks all names up at once, and starts the sample. What is not found goes on being looked for.
    pub async fn reach(&self, plans: Vec<Plan>) -> Vec<Reach> {
        let tasks: Vec<_> = plans
            .into_iter()
            .map(|plan| {
                let scout = self.clone();
                tokio::spawn(async move { scout.reach_one(plan).await })
            })
            .collect();
        let mut reaches = Vec::with_capacity(tasks.len());
        for task in tasks {
            let reached = task.await;
            reaches.push(
                reached.unwrap_or_else(|error| Reach::Unreachable(format!("a bug in strait: {error}"))),
            );
        }
        reaches
    }

    async fn reach_one(&self, plan: Plan) -> Reach {
        let all = match plan {
            Plan::Ready(reach) => return reach,
            Plan::Waits(why) => return Reach::Unreachable(why),
            Plan::Shop => return self.shop.get_or_init(shop).await.clone(),
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
                    self.keep_looking(wanted);
                }
            }
        }
        if endpoints.is_empty() { Reach::Unreachable(reasons.join("; ")) } else { Reach::Http { endpoints } }
    }

    fn keep_looking(&self, wanted: Wanted) {
        let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        // What was found before may be lost again.
        missing.retain(|(_, task)| !task.is_finished());
        if !missing.iter().any(|(known, _)| known.is_at(&wanted)) {
            let task = tokio::spawn(keep_looking(wanted.clone(), self.found.clone()));
            missing.push((wanted, task.abort_handle()));
        }
    }

    /// Gives up what no upstream of these wants any more.
    pub fn want_only(&self, plans: &[Plan]) {
        let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        missing.retain(|(wanted, task)| {
            let is_wanted = !task.is_finished() && plans.iter().any(|plan| plan.wants(wanted));
            if !is_wanted {
                task.abort();
            }
            is_wanted
        });
    }
}

async fn keep_looking(wanted: Wanted, found: mpsc::UnboundedSender<Found>) {
    let mut pause = RESOLVE_AGAIN_MIN;
    loop {
        tokio::time::sleep(pause).await;
        if let Ok(endpoint) = wanted.look_up().await {
            // Nobody listens any more: the process is ending.
            let _ = found.send(Found { wanted, endpoint });
            return;
        }
        pause = (pause * 2).min(RESOLVE_AGAIN_MAX);
    }
}

async fn shop() -> Reach {
    match sample::http::start(sample::Kind::Shop).await {
        Ok(address) => {
            let path = sample::http::PATH.to_owned();
            let endpoint = HttpEndpoint {
                address,
                host: address.to_string(),
                path,
                headers: Vec::new(),
                previous: Vec::new(),
                stated: None,
                tls: None,
                lender: None,
            };
            Reach::Http { endpoints: vec![endpoint] }
        }
        Err(error) => Reach::Unreachable(format!("the sample server cannot listen on loopback: {error}")),
    }
}

impl Plan {
    fn wants(&self, wanted: &Wanted) -> bool {
        self.wanted_at(wanted).is_some()
    }

    /// What is wanted of the place of another one, which may be shown other secrets.
    fn wanted_at(&self, other: &Wanted) -> Option<&Wanted> {
        match self {
            Plan::Http(all) => all.iter().find(|wanted| wanted.is_at(other)),
            _ => None,
        }
    }

    /// Whether the same places are reached, whatever is shown there.
    pub fn is_same_but_for_credentials(&self, other: &Plan) -> bool {
        match (self, other) {
            (Plan::Http(all), Plan::Http(others)) => {
                all.len() == others.len() && all.iter().zip(others).all(|(one, other)| one.is_at(other))
            }
            (Plan::Ready(one), Plan::Ready(other)) => one.is_same_but_for_credentials(other),
            _ => self == other,
        }
    }

    /// Keeps what was shown before this plan, for servers that do not know what is shown now.
    pub fn after(&mut self, last: &Plan) {
        let Plan::Http(all) = self else { return };
        for wanted in all {
            let Some(before) = last.wanted_at(wanted) else { continue };
            wanted.previous = match before.headers == wanted.headers {
                true => before.previous.clone(),
                false => before.headers.clone(),
            };
        }
    }

    /// What is reached now, shown what this plan shows.
    pub fn shown_at(&self, reach: &Reach) -> Reach {
        if let Plan::Ready(now) = self {
            return now.clone();
        }
        let (Plan::Http(all), Reach::Http { endpoints }) = (self, reach) else { return reach.clone() };
        let renewed = endpoints.iter().map(|endpoint| {
            let known = all.iter().map(|wanted| wanted.at(endpoint.address));
            known.into_iter().find(|known| known.is_at(endpoint)).unwrap_or_else(|| endpoint.clone())
        });
        Reach::Http { endpoints: renewed.collect() }
    }

    /// Whether a token is on its way, or so it is hoped.
    pub fn waits(&self) -> bool {
        matches!(self, Plan::Waits(_))
    }

    /// A reference that nothing resolves, or a value that cannot be used: what to do about it.
    pub fn missing(&self) -> Option<&str> {
        match self {
            Plan::Ready(Reach::Unreachable(why)) => Some(why),
            _ => None,
        }
    }
}

/// Adds an endpoint that was found late to every upstream that wants it.
pub fn add(plans: &[Plan], reaches: &mut [Reach], found: &Found) {
    for (plan, reach) in plans.iter().zip(reaches) {
        // What is shown there may have changed since it was looked for.
        let Some(wanted) = plan.wanted_at(&found.wanted) else { continue };
        let endpoint = wanted.at(found.endpoint.address);
        match reach {
            Reach::Http { endpoints } if endpoints.contains(&endpoint) => {}
            Reach::Http { endpoints } => endpoints.push(endpoint),
            reach => *reach = Reach::Http { endpoints: vec![endpoint] },
        }
    }
}

#[cfg(test)]
mod tests;
