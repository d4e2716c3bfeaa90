//! Looks at a gateway, one after another, on a thread of its own: a gateway that hangs must not hold up the keys of
//! whoever watches it.

use std::path::Path;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{sleep, timeout};

use super::picture::Look;
use super::scrape::Scrape;
use crate::ask::{Gateway, Said};
use crate::failure::{Code, Failure};
use crate::limits::{STATUS_WITHIN, TOP_STOP_WITHIN};

/// Whom to look at.
pub struct Watched {
    pub address: String,
    gateway: Gateway,
}

/// What the thread says.
pub enum News {
    Look(Box<Look>),
    /// No answer, and why.
    Lost(String),
    /// SIGTERM, SIGINT or SIGHUP.
    Stop,
}

impl Watched {
    pub fn new(admin: Option<&str>, state: &Path) -> Watched {
        let address = admin.map(|url| url.trim_start_matches("http://").trim_end_matches('/'));
        let gateway = Gateway::seen(address, state);
        Watched { address: gateway.name(), gateway }
    }

    pub async fn look(&self, began: Instant) -> Result<Look, Failure> {
        let all = async {
            let ready = self.ask("/readyz").await?.unwrap_or_default();
            let metrics = Scrape::parse(&String::from_utf8_lossy(&self.gateway.look("/metrics").await?.body));
            let at = began.elapsed();
            let (open, traffic) = (self.ask("/admin/sessions").await?, self.ask("/admin/traffic").await?);
            Ok(Look { at, ready, metrics, open, traffic })
        };
        let late = || {
            let text = format!("no answer from {} within {} s", self.address, STATUS_WITHIN.as_secs());
            Failure::new(Code::Unreachable, text)
        };
        timeout(STATUS_WITHIN, all).await.unwrap_or_else(|_| Err(late()))
    }

    /// `None`: there is no token that the gateway takes, or it does not know the path.
    async fn ask(&self, path: &str) -> Result<Option<Value>, Failure> {
        let Said { status, body } = self.gateway.look(path).await?;
        if path.starts_with("/admin/") && status != 200 {
            return Ok(None);
        }
        serde_json::from_slice(&body).map(Some).map_err(|_| self.gateway.not_ours(path, status))
    }

    /// Looks every `interval` until nobody listens any more.
    pub fn watch(self, interval: Duration, news: Sender<News>) -> Result<(), Failure> {
        let runtime = runtime()?;
        let work = async move {
            tokio::select! {
                () = self.looks(interval, &news) => {}
                () = told_to_stop() => {
                    drop(news.send(News::Stop));
                    sleep(TOP_STOP_WITHIN).await;
                    end_anyway();
                }
            }
        };
        let started = thread::Builder::new().name("strait-top".into()).spawn(move || runtime.block_on(work));
        started
            .map(drop)
            .map_err(|error| Failure::new(Code::Unfit, format!("cannot start a thread: {error}")))
    }
}

impl Watched {
    async fn looks(self, interval: Duration, news: &Sender<News>) {
        let began = Instant::now();
        loop {
            let asked = Instant::now();
            let told = match self.look(began).await {
                Ok(look) => News::Look(Box::new(look)),
                Err(failure) => News::Lost(failure.message),
            };
            if news.send(told).is_err() {
                return;
            }
            sleep(interval.saturating_sub(asked.elapsed())).await;
        }
    }
}

pub fn runtime() -> Result<Runtime, Failure> {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::new(Code::Unfit, format!("cannot start a runtime: {error}")))
}

/// Whoever reads keys of a terminal that is gone reads for ever, and never hears that it is to stop.
#[expect(clippy::disallowed_methods, reason = "the thread with the destructors does not come back")]
fn end_anyway() -> ! {
    let _ = ratatui::try_restore();
    std::process::exit(0)
}

/// Also whoever closes the terminal.
async fn told_to_stop() {
    let on = |kind| signal(kind).ok();
    let (Some(mut terminate), Some(mut interrupt), Some(mut hangup)) =
        (on(SignalKind::terminate()), on(SignalKind::interrupt()), on(SignalKind::hangup()))
    else {
        return std::future::pending().await;
    };
    tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {}, _ = hangup.recv() => {} }
}
