//! Asking upstreams what they offer, with the engine that would serve them: one worker that learns and accepts nobody.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use strait_engine::{Deadlines, DriverChoice, Edition, Event, Facts, Handle, KeyRing, Options, Reach};
use strait_policy::Principal;
use strait_table::Snapshot;
use strait_table::catalog::Lists;
use strait_table::rules::{Listener, LogTo};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::Wish;
use crate::certificates::Certificates;
use crate::credentials::{self, Grants};
use crate::failure::{Code, Failure};
use crate::fetch::Fetcher;
use crate::limits::{LOCK_DRAIN_WITHIN, LOCK_RETRY_WITHIN, SECRET_BYTES_MIN, STORES_WITHIN};
use crate::reach::{self, Given, Plan, Scout};
use crate::secrets::references::References;
use crate::secrets::{Secrets, has_references};
use crate::serve::runtime;
use crate::state::State;

/// What those upstreams offer that are wanted. One that does not answer is a failure.
pub fn all(snapshot: &Snapshot, base: &Path, wish: &Wish) -> Result<Vec<(String, Lists)>, Failure> {
    let snapshot = quiet(snapshot)?;
    let state = State::open(&wish.state)?;
    let secrets = Secrets::of(&state);
    let references = secrets.references(base, snapshot.rules());
    let offered = runtime()?.block_on(async {
        secrets.stores().gather(base, snapshot.rules()).await;
        learn(&snapshot, base, &references, wish).await
    })?;
    tell_no_secrets(&snapshot, &references, &offered)?;
    Ok(offered)
}

/// The table of a gateway that nobody comes to.
fn quiet(snapshot: &Snapshot) -> Result<Snapshot, Failure> {
    let quiet = snapshot.with_rules(|rules| {
        rules.access_log.to = LogTo::Off;
        rules.audit = None;
        rules.listeners = vec![Listener {
            name: "lock".into(),
            bind: "127.0.0.1:0".into(),
            public: None,
            hosts: vec!["127.0.0.1".into()],
            origins: Vec::new(),
            tls: None,
        }];
    });
    quiet.map_err(|error| Failure::bug(format!("the table does not open: {error}")))
}

async fn learn(
    snapshot: &Snapshot,
    base: &Path,
    references: &References<'_>,
    wish: &Wish,
) -> Result<Vec<(String, Lists)>, Failure> {
    let this_program = std::env::current_exe().map_err(|error| {
        Failure::new(Code::Unfit, format!("cannot find this program's own file: {error}"))
    })?;
    let names: Vec<String> =
        snapshot.rules().upstreams.iter().map(|upstream| upstream.name.as_str().to_owned()).collect();
    let is_wanted = |name: &String| wish.only.is_empty() || wish.only.contains(name);
    let (certificates, grants) = (Certificates::default(), Grants::new(Fetcher::new()));
    let given =
        Given { base, references, certificates: &certificates, grants: &grants, this_program: &this_program };
    let mut plans = reach::plan(snapshot, &given);
    if plans.iter().any(Plan::waits) {
        grants.begin(snapshot, Instant::now() + STORES_WITHIN).await;
        plans = reach::plan(snapshot, &given);
    }
    let plans = plans.into_iter().zip(&names);
    let not_now = || Plan::Ready(Reach::Unreachable("not asked".to_owned()));
    let plans = plans.map(|(plan, name)| if is_wanted(name) { plan } else { not_now() }).collect();
    // Addresses that are found too late are of no use here.
    let (found, _) = mpsc::unbounded_channel();
    let reaches = Scout::new(found).reach(plans).await;
    let mut heard: Vec<Option<Result<Lists, String>>> = reaches.iter().map(unreachable).collect();
    let ring = KeyRing { principals: vec![Principal::anonymous()], identities: Vec::new() };
    let facts = Facts { keys: Arc::new(ring), reaches: Arc::new(reaches), ..Facts::default() };
    let edition = Arc::new(Edition::first(Arc::new(snapshot.clone()), facts, 1));
    let options = Options {
        base: base.to_owned(),
        workers: 1,
        driver: DriverChoice::Auto,
        busy_poll: Duration::ZERO,
        force_wrong_worker: false,
        deadlines: Deadlines::default(),
        sessions: None,
        audit: None,
        sockets: Arc::default(),
    };
    let (handle, mut events) = strait_engine::start(options, edition.clone())
        .map_err(|error| Failure::new(Code::Unfit, error.to_string()))?;
    let wanted: Vec<bool> = names.iter().map(is_wanted).collect();
    hear(&edition, &mut events, &wanted, &mut heard, wish.within).await;
    end(handle, events).await;

    let (mut offered, mut silent) = (Vec::new(), Vec::new());
    for ((name, heard), _) in names.into_iter().zip(heard).zip(wanted).filter(|(_, wanted)| *wanted) {
        match heard {
            Some(Ok(lists)) => offered.push((name, lists)),
            Some(Err(why)) => silent.push(format!("upstream `{name}`: {why}")),
            None => silent.push(format!("upstream `{name}`: no answer within {} s", wish.within.as_secs())),
        }
    }
    match silent.is_empty() {
        true => Ok(offered),
        false => Err(Failure::new(Code::Unreachable, silent.join("\n"))
            .help("the lock file is as it was; start what is missing, or name the others with `--upstream`")),
    }
}

fn unreachable(reach: &Reach) -> Option<Result<Lists, String>> {
    match reach {
        Reach::Unreachable(why) => Some(Err(why.clone())),
        _ => None,
    }
}

/// Until everybody has answered. One that failed may be starting still: it has a while to be asked again.
async fn hear(
    edition: &Edition,
    events: &mut mpsc::Receiver<Event>,
    wanted: &[bool],
    heard: &mut [Option<Result<Lists, String>>],
    within: Duration,
) {
    let (retry_until, until) = (Instant::now() + LOCK_RETRY_WITHIN.min(within), Instant::now() + within);
    loop {
        let of_wanted = || heard.iter().zip(wanted).filter(|(_, wanted)| **wanted).map(|(heard, _)| heard);
        let by =
            match (of_wanted().all(Option::is_some), of_wanted().all(|heard| matches!(heard, Some(Ok(_))))) {
                (_, true) => return,
                (true, false) => retry_until,
                (false, false) => until,
            };
        let Ok(Some(event)) = timeout_at(by, events.recv()).await else { return };
        if let Event::Learned { upstream, outcome } = event
            && let Some(slot) = edition.index_of(upstream).and_then(|index| heard.get_mut(index))
        {
            *slot = Some(outcome);
        }
    }
}

/// Children are told to end; a worker that does not end in time ends with the process.
async fn end(handle: Handle, mut events: mpsc::Receiver<Event>) {
    handle.drain(LOCK_DRAIN_WITHIN);
    let by = Instant::now() + LOCK_DRAIN_WITHIN + LOCK_DRAIN_WITHIN;
    while let Ok(Some(event)) = timeout_at(by, events.recv()).await {
        if matches!(event, Event::Stopped { .. }) {
            return handle.join();
        }
    }
}

/// A server that repeats the credential it was given must not bring it into a file that is committed.
fn tell_no_secrets(
    snapshot: &Snapshot,
    references: &References<'_>,
    offered: &[(String, Lists)],
) -> Result<(), Failure> {
    for upstream in snapshot.rules().upstreams.iter() {
        let texts = credentials::texts(upstream).filter(|text| has_references(text));
        let secrets = texts.filter_map(|text| references.resolve(text).ok());
        for secret in secrets.filter(|secret| secret.len() >= SECRET_BYTES_MIN) {
            if let Some((name, what)) =
                offered.iter().find_map(|(name, lists)| Some((name, says(lists, &secret)?)))
            {
                let message = format!("upstream `{name}` repeats a secret of this configuration in {what}");
                return Err(Failure::new(Code::Failed, message)
                    .help("nothing was written: a lock file is read by many; have the server say less, and change the secret"));
            }
        }
    }
    Ok(())
}

/// Where an upstream says this.
fn says(lists: &Lists, secret: &str) -> Option<String> {
    if lists.instructions.as_ref().is_some_and(|text| text.contains(secret)) {
        return Some("its instructions".to_owned());
    }
    strait_table::Kind::ALL.into_iter().find_map(|kind| {
        let item =
            lists.of(kind).iter().find(|item| item.json.contains(secret) || item.name.contains(secret))?;
        let name = item.name.replace(secret, "***");
        Some(format!("{} `{name}`", kind.word()))
    })
}
