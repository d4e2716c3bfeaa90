//! A collector as it is spoken to: one file per way of speaking.

mod hec;
mod otlp;
mod syslog;
mod webhook;

use std::time::Duration;

use strait_audit::export::Format;
use strait_engine::Secret;
use strait_table::ship::{ArchivedBegin, ArchivedCollector, ArchivedForm, ArchivedShip};

use super::batch::Record;
use super::post::Outcome;
use super::{Resolve, Ship};
use crate::fetch::Fetcher;

#[derive(Clone, PartialEq, Eq)]
pub enum Collector {
    Syslog { tls: bool, host: String, port: u16 },
    Hec { url: String, token: Secret, ack: Duration, is_json: bool },
    Otlp { endpoint: String, headers: Vec<(String, Secret)> },
    Webhook { url: String, secret: Secret, is_json: bool },
}

/// What a table says, with every reference replaced.
pub fn of(ship: &ArchivedShip, secret: Resolve<'_>) -> Result<Ship, String> {
    let form = match ship.format {
        ArchivedForm::Ndjson => Format::Ndjson,
        ArchivedForm::Ocsf => Format::Ocsf,
        ArchivedForm::Ecs => Format::Ecs,
        ArchivedForm::Cef => Format::Cef,
    };
    let is_json = form != Format::Cef;
    let to = match &ship.to {
        ArchivedCollector::Syslog { tls, host, port } => {
            Collector::Syslog { tls: *tls, host: host.as_str().to_owned(), port: port.to_native() }
        }
        ArchivedCollector::Hec { url, token, ack_ms } => Collector::Hec {
            url: url.as_str().to_owned(),
            token: secret(token).map_err(|why| format!("its token: {why}"))?,
            ack: Duration::from_millis(ack_ms.to_native().into()),
            is_json,
        },
        ArchivedCollector::Otlp { endpoint, headers } => {
            let header = |line: &strait_table::telemetry::ArchivedHeaderLine| {
                let name = line.name.as_str();
                let value = secret(&line.value).map_err(|why| format!("header `{name}`: {why}"))?;
                Ok::<_, String>((name.to_owned(), value))
            };
            let headers = headers.iter().map(header).collect::<Result<_, _>>()?;
            Collector::Otlp { endpoint: endpoint.as_str().to_owned(), headers }
        }
        ArchivedCollector::Webhook { url, secret: text } => Collector::Webhook {
            url: url.as_str().to_owned(),
            secret: secret(text).map_err(|why| format!("its secret: {why}"))?,
            is_json,
        },
    };
    let from_now = matches!(ship.begin, ArchivedBegin::Now);
    Ok(Ship { id: ship.id.as_str().to_owned(), to, form, from_now })
}

impl Collector {
    /// Sends these together; it has them all, or they are sent again. May be given up at any moment.
    pub async fn push(&self, fetcher: &Fetcher, records: &[&Record]) -> Outcome {
        match self {
            Collector::Syslog { tls, host, port } => {
                syslog::push(fetcher, (host, *port, *tls), records).await
            }
            Collector::Hec { url, token, ack, is_json } => {
                hec::push(fetcher, url, token, *ack, *is_json, records).await
            }
            Collector::Otlp { endpoint, headers } => otlp::push(fetcher, endpoint, headers, records).await,
            Collector::Webhook { url, secret, is_json } => {
                webhook::push(fetcher, url, secret, *is_json, records).await
            }
        }
    }
}
