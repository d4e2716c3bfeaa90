//! The addresses of a table: whether they can be listened on now.

use strait_table::Snapshot;

use super::Line;
use crate::listen;

pub struct Facts {
    pub what: String,
    pub address: String,
    /// What stands against it, and its remedy.
    pub refused: Option<(String, String)>,
}

pub fn look(table: &Snapshot) -> Vec<Facts> {
    let rules = table.rules();
    let listeners =
        rules.listeners.iter().map(|l| (format!("listener `{}`", l.name.as_str()), l.bind.as_str()));
    let all = listeners.chain([("`admin`".to_owned(), rules.admin_bind.as_str())]);
    all.map(|(what, address)| {
        let refused = listen::probe(&what, address).err();
        let refused = refused.map(|failure| (failure.message, failure.help.unwrap_or_default()));
        Facts { what, address: address.to_owned(), refused }
    })
    .collect()
}

pub fn judge(facts: &[Facts]) -> Vec<Line> {
    let line = |facts: &Facts| match &facts.refused {
        None => Line::ok("address", format!("{} is free for {}", facts.address, facts.what)),
        Some((why, fix)) => Line::fail("address", why.clone(), fix.clone()),
    };
    facts.iter().map(line).collect()
}
