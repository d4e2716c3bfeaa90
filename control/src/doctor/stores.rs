//! The stores of a table's secrets: whether somebody accepts connections there. Whether they give what is asked, only serving tells.

use std::time::Duration;

use strait_table::Snapshot;

use super::{Line, upstreams};
use crate::fetch::Url;
use crate::secrets::stores;

const CONNECT_WITHIN: Duration = Duration::from_secs(2);

pub struct Facts {
    /// Scheme, host and port.
    pub store: String,
    /// Names of the secrets that come from there.
    pub secrets: Vec<String>,
    pub found: Result<String, String>,
}

pub fn look(table: &Snapshot) -> Vec<Facts> {
    let mut all: Vec<Facts> = Vec::new();
    for secret in table.rules().secrets.iter() {
        let Some(store) = stores::address(&secret.source) else { continue };
        let name = secret.name.as_str().to_owned();
        if let Some(known) = all.iter_mut().find(|known| known.store == store) {
            known.secrets.push(name);
            continue;
        }
        let found =
            Url::parse(&store).and_then(|url| upstreams::reach(url.host(), url.port(), CONNECT_WITHIN));
        all.push(Facts { store, secrets: vec![name], found });
    }
    all
}

pub fn judge(facts: &[Facts]) -> Vec<Line> {
    let line = |facts: &Facts| {
        let Facts { store, secrets, found } = facts;
        let of = format!("{store} (`{}`)", secrets.join("`, `"));
        match found {
            Ok(found) => Line::ok("store", format!("{of}: {found}")),
            Err(why) => Line::fail(
                "store",
                format!("{of}: {why}"),
                "start it, or correct its address; a gateway that starts without it has none of these secrets",
            ),
        }
    };
    facts.iter().map(line).collect()
}
